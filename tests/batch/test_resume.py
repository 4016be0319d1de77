"""What is complete is told from the content of its files, wherever they lie and however named."""

import os
import shutil

import nibabel as nib
import numpy as np
import pytest
from heads import KnownBrain, head
from phantom import phantom, save

from dal_fast.batch.job import Job, Stages
from dal_fast.batch.resume import is_unchanged, up_to_date
from dal_fast.screening.scan import load_scan, load_scan_or_head
from dal_fast.screening.screener import Screener


@pytest.fixture(scope="module")
def screener(weights):
    return Screener(weights, "torch")


def screen(screener, job, **options):
    stages = Stages(screener, **options)
    outcome = stages.write(job, stages.compute(job, stages.read(job)))
    return outcome.code or outcome.status


@pytest.fixture
def job(tmp_path):
    data, affine, _ = phantom("RAS", (4.0, 4.0, 4.0))
    folder = tmp_path / "sub-00" / "anat"
    folder.mkdir(parents=True)
    return Job(save(folder / "sub-00_T2w.nii.gz", data, affine), tmp_path / "out")


def save_mask(path, like, side=1.0, inside=lambda data: data > 0):
    """A mask of a scan, or of a grid that is ``side`` times as coarse."""
    image = nib.load(like)
    affine = image.affine @ np.diag([side, 1, 1, 1])
    path.parent.mkdir(parents=True, exist_ok=True)
    return save(path, inside(image.get_fdata()).astype("float32"), affine)


def test_another_scan_other_parameters_or_a_file_that_is_gone(screener, job, tmp_path):
    assert screen(screener, job) == "done"
    assert screen(screener, job) == "kept"
    assert screen(screener, job, overwrite=True) == "done"
    parameters = screener.parameters
    assert not is_unchanged(job.scan, job.folder, {**parameters, "median": 5})
    assert not is_unchanged(job.scan, job.folder, {**parameters, "weights_sha256": "0"})
    assert not is_unchanged(job.scan, job.folder, {**parameters, "brain": "strip"})
    assert not is_unchanged(job.scan, job.folder, {**parameters, "brain_weights_sha256": "0"})
    (tmp_path / "elsewhere").mkdir()
    moved = job.scan.rename(tmp_path / "elsewhere" / job.scan.name)
    assert is_unchanged(moved, job.folder, parameters)
    data, affine, _ = phantom("RAS", (4.0, 4.0, 4.0), seed=9)
    save(job.scan, data, affine)  # another scan of that name
    assert screen(screener, job) == "done"
    next(job.folder.glob("*pseudohealthy*")).unlink()
    assert screen(screener, job) == "done"
    assert screen(screener, job) == "kept"
    job.scan.write_bytes(job.scan.read_bytes()[:-100])
    assert screen(screener, job) == "gzip-truncated"


def test_a_mask_that_comes_and_one_that_changes(screener, job):
    assert screen(screener, job) == "done"
    mask = job.scan.with_name("sub-00_desc-brain_mask.nii.gz")
    save_mask(mask, job.scan)
    assert screen(screener, job) == "done"
    assert screen(screener, job) == "kept"
    save_mask(mask, job.scan, inside=lambda data: (data > 0) & (data < data.max() / 2))
    assert screen(screener, job) == "done"
    mask.unlink()
    assert screen(screener, job) == "done"


def test_a_head_is_kept_until_it_gets_a_mask(weights, tmp_path):
    data, affine, brain = head((4.0, 4.0, 4.0))
    job = Job(save(tmp_path / "sub-00_T2w.nii.gz", data, affine), tmp_path / "out")
    screener = Screener(weights, "torch")
    screener.extractor._network = KnownBrain()
    assert screen(screener, job) == "done"
    assert screen(screener, job) == "kept"
    assert up_to_date(load_scan_or_head(job.scan), job.folder, screener.parameters)
    save(tmp_path / "sub-00_desc-brain_mask.nii.gz", brain.astype("float32"), affine)
    assert screen(screener, job) == "done"
    always = Screener(weights, "torch", brain="strip")
    always.extractor._network = KnownBrain()
    assert screen(always, job) == "done"
    assert screen(always, job) == "kept"
    assert screen(Screener(weights, "torch", brain="given"), job) == "done"


def test_a_mask_on_another_grid_is_not_the_one_that_was_used(screener, job, tmp_path):
    """The first mask that is found does not fit; the second one is used, and resuming knows."""
    first = save_mask(job.scan.with_name("sub-00_desc-brain_mask.nii.gz"), job.scan, side=2.0)
    folder = tmp_path / "derivatives" / "strip" / "sub-00" / "anat"
    second = save_mask(folder / "sub-00_desc-brain_mask.nii.gz", job.scan)
    assert screen(screener, job) == "done"
    assert screen(screener, job) == "kept"
    scan = load_scan(job.scan)
    assert scan.mask.path == second
    assert up_to_date(scan, job.folder, screener.parameters)
    save_mask(first, job.scan, inside=lambda data: data > data.max() / 2)  # now it fits
    assert screen(screener, job) == "done"
    assert load_scan(job.scan).mask.path == first
    first.write_bytes(b"damaged")
    assert screen(screener, job) == "not-gzip"


def test_only_masks_on_other_grids(screener, job):
    save_mask(job.scan.with_name("sub-00_desc-brain_mask.nii.gz"), job.scan, side=2.0)
    assert screen(screener, job) == "done"
    assert screen(screener, job) == "kept"


@pytest.mark.parametrize("way", ["relative", "dotted", "copied", "linked"])
def test_the_same_weights_by_another_path(screener, weights, job, tmp_path, monkeypatch, way):
    assert screen(screener, job) == "done"
    monkeypatch.chdir(weights.parent)
    if way == "copied":
        shutil.copy(weights, tmp_path / "copy.safetensors")
    if way == "linked":
        (tmp_path / "link.safetensors").symlink_to(weights)
    path = {
        "relative": weights.name,
        "dotted": os.path.join(".", weights.name),
        "copied": tmp_path / "copy.safetensors",
        "linked": tmp_path / "link.safetensors",
    }[way]
    assert screen(Screener(path, "torch"), job) == "kept"
