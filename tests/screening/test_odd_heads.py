"""Inputs that are no ordinary head never end in a map that looks fine."""

import json

import nibabel as nib
import numpy as np
import pytest
from odd_heads import ODD
from phantom import save
from support import one_in
from tiny import needs_default_weights
from typer.testing import CliRunner

from dal_fast import InputError, Screener
from dal_fast.batch.outputs import output_names
from dal_fast.cli import app
from dal_fast.screening.chain import open_chain, why_not_here
from dal_fast.screening.compiled import CompiledScreener
from dal_fast.screening.scan import load_scan_or_head
from dal_fast.screening.settings import Settings

pytestmark = [
    pytest.mark.shared,
    pytest.mark.slow,
    pytest.mark.usefixtures("one_chain"),
    needs_default_weights,
]

ABOUT_THE_MASK = {"brain-not-found", "brain-mask-uncertain", "brain-mask-shape"}


@pytest.fixture(scope="module")
def ordinary(shared_data):
    """A T1w head in voxels of about 2 mm: data and affine, axes right, anterior, superior."""
    path = shared_data / "ixi-hh-2mm/sub-IXI012/anat/sub-IXI012_T1w.nii.gz"
    image = nib.as_closest_canonical(nib.load(path))
    return np.asanyarray(image.dataobj).astype(np.float32), image.affine


def odd_scan(ordinary, folder, name):
    data, affine = ordinary
    return save(folder / "sub-01_T1w.nii", *ODD[name](data.copy(), affine.copy()))


def flags_by_command(path, out):
    """Codes of the flags, or of the refusal, of ``dal-fast screen``."""
    done = CliRunner().invoke(app, ["screen", str(path), str(out)])
    if done.exit_code == 2:
        assert done.stderr.startswith("error [")
        assert done.stderr.count("\n") == 1
        assert not out.exists()
        return {done.stderr.partition("[")[2].partition("]")[0]}
    assert done.exit_code == 0, done.output
    names = output_names(path)
    flags = json.loads((out / names["sidecar"]).read_text())["QualityFlags"]
    page = (out / names["report"]).read_text()
    for flag in flags:  # whoever looks at the map is told
        assert flag["code"] in done.output
        assert flag["code"] in page
    return {flag["code"] for flag in flags}


def test_there_are_enough_of_them():
    assert len(ODD) >= 60


def test_the_ordinary_head_has_no_flag(ordinary, tmp_path):
    path = save(tmp_path / "sub-01_T1w.nii", *ordinary)
    assert flags_by_command(path, tmp_path / "out") == set()


@pytest.mark.parametrize("name", one_in(5, ODD))
def test_an_odd_head_is_flagged_or_refused(ordinary, tmp_path, name):
    path = odd_scan(ordinary, tmp_path, name)
    assert flags_by_command(path, tmp_path / "out")


@pytest.fixture(scope="module")
def screeners():
    """Both chains."""
    if (reason := why_not_here()) is not None:
        pytest.skip(f"one chain alone: {reason}")
    return Screener(runtime="torch"), CompiledScreener(Settings(), open_chain())


@pytest.mark.long
@pytest.mark.parametrize("name", ODD)
def test_both_chains_say_the_same(screeners, ordinary, tmp_path, name):
    path = odd_scan(ordinary, tmp_path, name)
    said = []
    for screener in screeners:
        try:
            flags = screener.screen_scan(load_scan_or_head(path)).flags
        except InputError as refused:
            said.append({refused.code})
        else:
            said.append({flag.code for flag in flags})
    assert said[0] & ABOUT_THE_MASK == said[1] & ABOUT_THE_MASK
    assert all(said)
