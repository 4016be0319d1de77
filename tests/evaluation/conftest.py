"""A validation set with a patient, made once."""

import nibabel
import numpy as np
import pytest
from brains import write_dataset
from tiny import tiny_weights
from typer.testing import CliRunner

from dal_fast.cli import app
from dal_fast.synthesis.brains import is_held_out


@pytest.fixture(scope="session")
def brains(tmp_path_factory):
    """A data set of two held-out subjects."""
    names = [name for name in (f"sub-{i:03d}" for i in range(100)) if is_held_out(name)][:2]
    return write_dataset(tmp_path_factory.mktemp("brains") / "data", names)


def write_mask(folder):
    """A lesion in the brain of MNI152, 4 mm voxels."""
    folder.mkdir()
    data = np.zeros((48, 56, 48), np.uint8)
    data[28:34, 26:32, 28:34] = 1
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = (-94, -126, -92)
    nibabel.save(nibabel.Nifti1Image(data, affine), folder / "a_lesion.nii.gz")


@pytest.fixture(scope="session")
def made(brains, tmp_path_factory):
    """A set of all generators written by the command line, with a patient, and one whose mask is
    empty."""
    root = tmp_path_factory.mktemp("set")
    scan = nibabel.load(next(brains.glob("sub-*/anat/*T1w.nii.gz")))
    for label, value in (("sub-07", 1), ("sub-08", 0)):
        anat = root / "real" / label / "anat"
        anat.mkdir(parents=True)
        nibabel.save(scan, anat / f"{label}_FLAIR.nii.gz")
        lesion = np.zeros(scan.shape, np.uint8)
        lesion[14:17, 24:27, 14:17] = value
        mask = nibabel.Nifti1Image(lesion, scan.affine)
        nibabel.save(mask, anat / f"{label}_label-lesion_mask.nii.gz")
    write_mask(root / "masks")
    words = ["make-validation", str(root / "a"), "--data", str(brains), "--seed", "3"]
    words += ["--masks", str(root / "masks"), "--patients", str(root / "real")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1, done.output
    assert done.stderr.startswith("failed [all-zero] sub-08_FLAIR: ")
    return root / "a"


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    return tiny_weights(tmp_path_factory.mktemp("weights"))
