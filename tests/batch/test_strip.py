"""``dal-fast strip``: masks, stripped scans, tables, resuming, and use by a later screening."""

import csv
import json
import re

import nibabel as nib
import numpy as np
import pytest
from heads import KnownBrain, head
from phantom import phantom, save
from tiny import tiny_weights
from typer.testing import CliRunner

from dal_fast.batch import resident
from dal_fast.batch.job import Job
from dal_fast.batch.outputs import strip_names
from dal_fast.batch.strip import StripStages
from dal_fast.cli import app
from dal_fast.imaging.bids import brain_mask_name
from dal_fast.imaging.mask_files import find_brain_masks
from dal_fast.imaging.mask_origin import MASK_HASH
from dal_fast.screening import chain
from dal_fast.screening.brain_extraction import BrainExtractor
from dal_fast.screening.scan import load_scan

run = CliRunner().invoke


def load_known_brain(self):
    self._network = KnownBrain()


@pytest.fixture
def known(monkeypatch):
    """The extractor's network knows the brain of the test heads; the compiled chain's does not."""
    monkeypatch.setattr(BrainExtractor, "load", load_known_brain)
    for module in (chain, resident):
        monkeypatch.setattr(module, "why_not", lambda settings: "its network does not know them")


def save_head(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    data, affine, brain = head()
    save(path, data, affine)
    return brain


def rows(table):
    return list(csv.DictReader(table.read_text().splitlines(), delimiter="\t"))


@pytest.mark.parametrize(
    ("scan", "mask"),
    [
        ("sub-01_T2w.nii.gz", "sub-01_space-T2w_desc-brain_mask.nii.gz"),
        ("sub-01_acq-a_run-2_FLAIR.nii.gz",
         "sub-01_acq-a_run-2_space-FLAIR_desc-brain_mask.nii.gz"),
        ("sub-01_space-MNI_T1w.nii.gz", "sub-01_space-MNI_desc-brainT1w_mask.nii.gz"),
        ("head.nii.gz", "head_desc-brain_mask.nii.gz"),
    ],
)  # fmt: skip
def test_names(scan, mask):
    assert brain_mask_name(scan) == mask


def test_one_head(known, tmp_path):
    brain = save_head(tmp_path / "sub-01_T2w.nii.gz")
    out = tmp_path / "out"
    done = run(app, ["strip", str(tmp_path / "sub-01_T2w.nii.gz"), str(out)])
    assert done.exit_code == 0, done.output
    assert re.search(
        r"brain of 1,\d\d\d mL, extracted by dal_fast, confidence [01]\.\d\d", done.stdout
    )
    names = strip_names(tmp_path / "sub-01_T2w.nii.gz")
    assert {path.name for path in out.iterdir()} == set(names.values())
    mask = nib.load(out / names["mask"])
    assert mask.get_data_dtype() == np.uint8
    inside = np.asanyarray(mask.dataobj) > 0
    assert np.count_nonzero(inside ^ brain) < 0.05 * np.count_nonzero(brain)
    scan = nib.load(tmp_path / "sub-01_T2w.nii.gz").get_fdata()
    np.testing.assert_array_equal(nib.load(out / names["brain"]).get_fdata(), scan * inside)
    facts = json.loads((out / names["sidecar"]).read_text())
    assert facts["Type"] == "Brain"
    assert facts["Brain"]["Confidence"] > 0.9
    again = run(app, ["strip", str(tmp_path / "sub-01_T2w.nii.gz"), str(out)])
    assert "already stripped" in again.stdout


def test_resuming_notices_the_scan_and_the_options(known, tmp_path):
    save_head(tmp_path / "sub-01_T2w.nii.gz")
    job = Job(tmp_path / "sub-01_T2w.nii.gz", tmp_path / "out")

    def outcome(**options):
        stages = StripStages(runtime="torch", **options)
        return stages.write(job, stages.compute(job, stages.read(job))).status

    assert outcome() == "done"
    assert outcome() == "kept"
    assert outcome(overwrite=True) == "done"
    assert outcome(nonfinite="replace") == "done"
    data, affine, _ = head(seed=5)
    save(job.scan, data, affine)
    assert outcome(nonfinite="replace") == "done"


def test_a_folder_of_scans(tmp_path):
    """Two that are stripped already, and one too small to hold a brain."""
    source, out = tmp_path / "ds", tmp_path / "ds" / "derivatives" / "strip"
    for label in ("01", "02"):
        data, affine, _ = phantom("RAS", (3.0, 3.0, 3.0), seed=int(label))
        folder = source / f"sub-{label}" / "anat"
        folder.mkdir(parents=True)
        save(folder / f"sub-{label}_T2w.nii.gz", data, affine)
    noise = np.random.default_rng(0).rayleigh(20, (12, 12, 12)).astype(np.float32)
    save(folder / "sub-02_FLAIR.nii.gz", noise, affine)
    arguments = ["strip", str(source), str(out), "--runtime", "torch"]
    done = run(app, arguments)
    assert done.exit_code == 1, done.output
    assert "2 stripped, 0 already there, 1 failed" in done.output
    assert f"overview: {out / 'brains.html'}" in done.output
    brains = rows(out / "brains.tsv")
    assert [row["scan"] for row in brains] == [f"sub-0{n}/anat/sub-0{n}_T2w" for n in (1, 2)]
    assert all(row["confidence"] == "n/a" for row in brains)
    failures = rows(out / "brains_failures.tsv")
    assert [(row["scan"], row["code"]) for row in failures] == [
        ("sub-02/anat/sub-02_FLAIR.nii.gz", "brain-not-found")
    ]
    page = (out / "brains.html").read_text()
    assert page.count("<img") == 2
    assert "brain-not-found" in page
    again = run(app, arguments)
    assert "0 stripped, 2 already there, 1 failed" in again.output
    scan = source / "sub-01/anat/sub-01_T2w.nii.gz"
    assert find_brain_masks(scan) == [out / "sub-01/anat/sub-01_space-T2w_desc-brain_mask.nii.gz"]
    assert find_brain_masks(source / "sub-02/anat/sub-02_FLAIR.nii.gz") == []


@pytest.mark.usefixtures("in_this_process")
def test_a_folder_of_masks_may_be_screened_into(tmp_path):
    """What each of the two commands writes of the folder is still there after the other."""
    source, out = tmp_path / "study", tmp_path / "out"
    source.mkdir()
    data, affine, _ = phantom("RAS", (4.0, 4.0, 4.0))
    save(source / "sub-01_T2w.nii.gz", data, affine)
    (source / "sub-02_T2w.nii.gz").write_bytes(b"no scan")
    words = [str(source), str(out), "--runtime", "torch"]
    strip, screen = ["strip", *words], ["screen", *words, "--weights", str(tiny_weights(tmp_path))]
    of_the_masks = ("brains.html", "brains.tsv", "brains_failures.tsv")
    of_the_maps = ("index.html", "scores.tsv", "failures.tsv")
    for command, written, others in (
        (strip, of_the_masks, of_the_maps),
        (screen, of_the_maps, of_the_masks),
        (strip, of_the_masks, of_the_maps),
    ):
        before = {name: (out / name).stat().st_ino for name in others if (out / name).exists()}
        done = run(app, command)
        assert done.exit_code == 1, done.output
        assert f"overview: {out / written[0]}" in done.output
        assert all((out / name).is_file() for name in written)
        assert before == {name: (out / name).stat().st_ino for name in before}
    assert len(before) == len(of_the_maps)


def test_refusals_of_the_command(tmp_path):
    for words, code in (
        ([str(tmp_path / "none.nii.gz"), str(tmp_path / "out")], "file-missing"),
        ([str(tmp_path), str(tmp_path / "out")], "no-scans"),
    ):
        refused = run(app, ["strip", *words])
        assert refused.exit_code == 2
        assert refused.stderr.startswith(f"error [{code}]: ")
        assert not (tmp_path / "out").exists()


def doubtful_mask(monkeypatch, tmp_path):
    """A dataset of one head, and the mask that was stripped into it, which raises a flag."""
    monkeypatch.setattr(
        BrainExtractor,
        "load",
        lambda self: setattr(self, "_network", KnownBrain(mirrored=3.0)),
    )
    scan, out = tmp_path / "ds/sub-01/anat/sub-01_T2w.nii.gz", tmp_path / "ds/derivatives/strip"
    save_head(scan)
    folder = out / "sub-01" / "anat"
    done = run(app, ["strip", str(scan), str(folder)])
    assert done.exit_code == 0, done.output
    mask = folder / strip_names(scan)["mask"]
    facts = json.loads(mask.with_name(strip_names(scan)["sidecar"]).read_text())
    assert [flag["code"] for flag in facts["QualityFlags"]] == ["brain-mask-uncertain"]
    return scan, mask, facts


def test_a_later_screening_knows_what_was_doubtful_about_a_mask(known, monkeypatch, tmp_path):
    scan, mask, facts = doubtful_mask(monkeypatch, tmp_path)
    for found in (load_scan(scan), load_scan(scan, mask)):
        assert {**found.brain, "Source": "dal_fast"} == facts["Brain"]
        assert [note.code for note in found.mask.notes] == ["brain-mask-uncertain"]
        assert found.mask.path == mask


@pytest.mark.parametrize("change", ["voxels", "sidecar lost", "sidecar damaged", "older sidecar"])
def test_a_mask_that_was_changed_is_no_longer_doubted(known, monkeypatch, tmp_path, change):
    scan, mask, facts = doubtful_mask(monkeypatch, tmp_path)
    sidecar = mask.with_name(strip_names(scan)["sidecar"])
    if change == "voxels":
        image = nib.load(mask)
        data = np.asanyarray(image.dataobj).copy()
        data[tuple(np.argwhere(data)[0])] = 0
        nib.save(nib.Nifti1Image(data, image.affine, image.header), mask)
    elif change == "sidecar lost":
        sidecar.unlink()
    elif change == "sidecar damaged":
        sidecar.write_text(json.dumps({**facts, "Brain": {"Confidence": "high"}}))
    else:
        sidecar.write_text(json.dumps({k: v for k, v in facts.items() if k != MASK_HASH}))
    found = load_scan(scan)
    assert found.mask.path == mask
    assert "Confidence" not in found.brain
    assert found.mask.notes == ()
