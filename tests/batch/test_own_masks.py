"""Masks that a screening wrote beside a scan: its outputs, not masks that somebody gave."""

import json

import nibabel as nib
import numpy as np
import pytest
from heads import KnownBrain, head
from phantom import save

from dal_fast.batch.job import Job, Stages
from dal_fast.batch.outputs import output_names
from dal_fast.imaging.mask_files import mask_files
from dal_fast.screening.screener import Screener


@pytest.fixture
def doubtful(weights):
    screener = Screener(weights, "torch")
    screener.extractor._network = KnownBrain(mirrored=3.0)
    return Stages(screener)


@pytest.fixture
def job(tmp_path):
    """A scan with no BIDS name, whose results go into its own folder."""
    data, affine, _ = head((4.0, 4.0, 4.0))
    return Job(save(tmp_path / "scan.nii.gz", data, affine), tmp_path)


def screen(stages, job):
    outcome = stages.write(job, stages.compute(job, stages.read(job)))
    return outcome.code or outcome.status


def sidecar(job):
    return json.loads((job.folder / output_names(job.scan)["sidecar"]).read_text())


def test_the_mask_of_an_earlier_run_is_not_taken_for_a_given_one(doubtful, job):
    assert screen(doubtful, job) == "done"
    first = sidecar(job)
    assert first["Brain"]["Source"] == "dal_fast"
    assert "brain-mask-uncertain" in [flag["code"] for flag in first["QualityFlags"]]
    assert [mask.why_not is None for mask in mask_files(job.scan, "desc", "brain")] == [False]
    assert screen(doubtful, job) == "kept"
    doubtful.overwrite = True
    assert screen(doubtful, job) == "done"
    assert sidecar(job)["Brain"] == first["Brain"]
    assert sidecar(job)["QualityFlags"] == first["QualityFlags"]


def test_the_mask_of_an_earlier_run_that_was_corrected_is_a_given_one(doubtful, job):
    assert screen(doubtful, job) == "done"
    mask = job.folder / output_names(job.scan)["brain_mask"]
    image = nib.load(mask)
    data = np.asanyarray(image.dataobj).copy()
    data[tuple(np.argwhere(data)[0])] = 0
    nib.save(nib.Nifti1Image(data, image.affine, image.header), mask)
    assert screen(doubtful, job) == "done"
    assert sidecar(job)["Brain"]["Source"] == "bids"
    assert "Confidence" not in sidecar(job)["Brain"]


def test_a_mask_that_was_given_stays_one_when_results_take_its_name(doubtful, job):
    """The results hold a copy of it under the name that it had."""
    _, affine, brain = head((4.0, 4.0, 4.0))
    save(job.folder / output_names(job.scan)["brain_mask"], brain.astype(np.float32), affine)
    for _ in range(2):
        assert screen(doubtful, job) == "done"  # once more, as the file is another one
        assert sidecar(job)["Brain"]["Source"] == "bids"
    assert screen(doubtful, job) == "kept"
