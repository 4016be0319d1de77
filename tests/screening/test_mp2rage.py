"""The uniform image of an MP2RAGE of real heads' maps is screened as its denoised image is."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from mp2rage import uniform_images

from dal_fast.batch.resident import make_extractor, make_screener
from dal_fast.imaging import noisy_background
from dal_fast.imaging.nifti import Volume
from dal_fast.screening.brain_extraction import BrainExtractor
from dal_fast.screening.compiled import CompiledExtractor
from dal_fast.screening.scan import Head
from dal_fast.synthesis.head_maps import _LABELS
from dal_fast.weights import BRAIN

pytestmark = pytest.mark.shared
ALIKE = {  # label of the phantom's tissue, for classes of a map
    2: ("white", "cerebellar_white", "pallidum"),
    3: ("grey", "cerebellar_grey", "striatum", "thalamus", "hippocampus"),
    16: ("stem", "optic_nerve", "cord"),
    24: ("outer_fluid", "ventricle", "eye"),
    511: ("skin", "eye_muscle", "mucosa"),
    507: ("marrow",),
    514: ("artery", "vein"),
    515: ("bone",),
}


@pytest.fixture(scope="module")
def images(shared_data):
    """The two images, at 2 mm, as volumes."""
    if not BRAIN.exists():
        pytest.skip("needs the weights of brain extraction")
    path = shared_data / "synthseg-maps-1mm" / "sub-09_dseg.nii.gz"
    if not path.is_file():
        pytest.skip("needs the maps of whole heads")
    image = nib.as_closest_canonical(nib.load(path))
    found = np.asanyarray(image.dataobj)[::2, ::2, ::2]
    labels = np.where(found == 507, 507, 0)
    for label, names in ALIKE.items():
        labels[np.isin(found, [one for name in names for one in _LABELS[name]])] = label
    affine = image.affine @ np.diag([2.0, 2.0, 2.0, 1.0])
    header = nib.Nifti1Image(labels.astype(np.float32), affine).header
    return [
        Volume(np.asfortranarray(data, np.float32), affine, header, Path("x_T1w.nii.gz"), "0", 0)
        for data in uniform_images(labels)
    ]


def dice(first, second):
    return 2 * np.count_nonzero(first & second) / (first.sum() + second.sum())


@pytest.mark.parametrize("kind", [BrainExtractor, CompiledExtractor])
def test_the_brain_is_that_of_the_denoised_image(images, kind):
    extractor = (
        BrainExtractor() if kind is BrainExtractor else make_extractor("strip", "auto", "auto")
    )
    if not isinstance(extractor, kind):
        pytest.skip("the compiled chain is not to be had here")
    uniform, denoised = (extractor.extract(image) for image in images)
    assert dice(uniform.data, denoised.data) > 0.97
    assert [note.code for note in uniform.notes] == ["noisy-background"]
    assert denoised.notes == ()
    assert uniform.quality.confidence > 0.9


def test_the_flag_is_the_only_difference_to_the_eye(images):
    screener = make_screener({})
    uniform, denoised = (
        screener.screen_scan(Head("sub-1_T1w", image, "strip", {})) for image in images
    )
    assert {flag.code for flag in uniform.flags} - {flag.code for flag in denoised.flags} == {
        "noisy-background"
    }
    assert np.array_equal(uniform.scan.data, images[0].data)
    assert dice(uniform.brain_mask.data, denoised.brain_mask.data) > 0.97


def test_noise_is_looked_for_once_before_the_brain_is_extracted(images, monkeypatch):
    screener, counted = make_screener({}), []
    found = noisy_background._spikes
    monkeypatch.setattr(noisy_background, "_spikes", lambda *a: counted.append(1) or found(*a))
    result = screener.screen_scan(Head("sub-1_T1w", images[0], "strip", {}))
    assert "noisy-background" in {flag.code for flag in result.flags}
    assert len(counted) <= 2, "and once more if what is outside the brain is brighter"
