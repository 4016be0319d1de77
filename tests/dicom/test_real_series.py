"""The real head series end as objects in the right place; the phantoms end in a refusal."""

import csv
import json

import numpy as np
import pytest

pytest.importorskip("highdicom", reason="needs dal_fast[dicom]")

from dicom_lab import tools
from pydicom import dcmread
from support import one_in
from typer.testing import CliRunner

from dal_fast.cli import app
from dal_fast.dicom.files import find_files
from dal_fast.weights import BRAIN

pytestmark = [pytest.mark.shared, pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def archives(shared_data):
    folder = shared_data / "dicom"
    if not folder.is_dir():
        pytest.skip(f"needs the real series of {folder}")
    if not BRAIN.exists():
        pytest.skip("needs the weights of brain extraction")
    return folder


def run(*arguments):
    return CliRunner().invoke(app, ["dicom", *map(str, arguments)])


def check_objects(out, archive):
    """Three objects without errors, whose frames lie where slices of the source lie."""
    (folder,) = out.glob("study-*")
    headers = [file.header for file in find_files(archive).images]
    places = np.array([np.array(h.ImagePositionPatient, float) for h in headers])
    uids = {str(header.SOPInstanceUID) for header in headers}
    for kind in ("seg", "map", "sr"):
        (path,) = folder.glob(f"*_{kind}.dcm")
        assert tools.errors_of(path) == []
        ds = dcmread(path)
        assert ds.StudyInstanceUID == headers[0].StudyInstanceUID
        for group in ds.get("PerFrameFunctionalGroupsSequence", ()):
            place = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
            assert np.abs(places - place).max(1).min() < 1e-3
            (source,) = group.DerivationImageSequence[0].SourceImageSequence
            assert source.ReferencedSOPInstanceUID in uids
    return folder


def test_a_head_of_a_scanner(archives, tmp_path):
    result = run(archives / "t1-philips.zip", tmp_path / "out")
    assert result.exit_code == 0, result.output
    folder = check_objects(tmp_path / "out", archives / "t1-philips.zip")
    (sidecar,) = folder.glob("series-1301_T1w.json")
    assert 900 < json.loads(sidecar.read_text())["Brain"]["VolumeML"] < 1800


@pytest.mark.long
def test_a_defaced_head_is_screened_when_it_is_named(archives, tmp_path):
    archive = archives / "t1-defaced.zip"
    refused = run(archive, tmp_path / "out")
    assert refused.exit_code == 2
    assert "does not say how it was acquired" in refused.output
    uid = find_files(archive).images[0].header.SeriesInstanceUID
    result = run(archive, tmp_path / "out", "--series", uid)
    assert result.exit_code == 0, result.output
    check_objects(tmp_path / "out", archive)


@pytest.mark.parametrize("name", one_in(2, ["phantom-jpeg-lossless", "phantom-jpeg2000"]))
def test_no_brain_is_found_in_a_phantom(archives, tmp_path, name):
    result = run(archives / f"{name}.zip", tmp_path / "out")
    assert result.exit_code == 1
    with (tmp_path / "out" / "failures.tsv").open() as file:
        (row,) = csv.DictReader(file, delimiter="\t")
    assert row["code"] == "brain-not-found"
    assert not list((tmp_path / "out").glob("*/*.dcm"))
