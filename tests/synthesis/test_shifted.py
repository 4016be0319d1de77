"""The generators for validation alone: other shapes, textures, coils; masks of patients."""

import nibabel
import numpy as np
import pytest
import torch
from brains import structures, t1w

from dal_fast import DalFastError
from dal_fast.ops import components3d
from dal_fast.synthesis import shapes, shifted
from dal_fast.synthesis.given_masks import AddMaskLesions, MaskRecipe, read_masks
from dal_fast.synthesis.sample import Draft
from dal_fast.synthesis.shifted import CoilField, RicianNoise, ShiftedRecipe
from dal_fast.synthesis.synthesiser import Synthesiser

MAPS = structures((40, 48, 40))
TISSUE = MAPS[0, 0].long() // 256 - 1
CENTRE = (20.0, 24.0, 20.0)
BOX = shapes.box_around(CENTRE, 14, TISSUE.shape)


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _draft(value=1.0):
    mask = MAPS > 0
    return Draft(
        structures=MAPS, contrast=torch.tensor([1]), means=torch.tensor([[0.1, 0.6, 0.5]]),
        images=torch.full(MAPS.shape, value), mask=mask, lesion=torch.zeros_like(mask),
        decoy=torch.zeros_like(mask), mass=torch.zeros(1, 4),
    )  # fmt: skip


def test_harmonics_are_orthogonal_to_a_ball():
    """The radius varies with direction, and every direction has one."""
    score = shifted.harmonic_score(BOX, CENTRE, 500, _generator())
    distance = shapes.length(shapes.offsets(BOX, CENTRE, torch.device("cpu")))
    radius = (-distance / score)[distance > 3]
    assert radius.std() > 0.1 * radius.mean()
    assert radius.min() > 0
    inside = shapes.cut(score, TISSUE[BOX] >= -1, 500)
    assert int(inside.sum()) == pytest.approx(500, abs=2)


def test_a_grown_region_is_connected_and_stays_in_its_domain():
    for seed in range(4):
        domain = TISSUE[BOX] >= 1
        centre = (20.0, 24.0, 10.0)
        region = shifted.grown(BOX, centre, 300, domain, _generator(seed))
        assert 200 <= int(region.sum()) <= 900
        assert not (region & ~domain).any()
        assert int(components3d(region[None, None], 6).max()) == 1


def test_the_texture_has_a_falling_spectrum():
    for seed in range(4):
        texture = shifted.spectral_texture((32, 32, 32), _generator(seed))
        assert texture.std() == pytest.approx(1.0, abs=1e-2)
        power = torch.fft.fftn(texture).abs().square()
        assert power[1:4, 1:4, 1:4].mean() > 5 * power[12:16, 12:16, 12:16].mean()


def test_coils_have_the_spread_that_was_drawn():
    draft = _draft()
    CoilField((0.4, 0.4))(draft, _generator())
    assert draft.images[draft.mask].log().std() == pytest.approx(0.4, abs=0.01)
    assert draft.images[draft.mask].log().mean() == pytest.approx(0.0, abs=0.01)


def test_rician_noise_raises_what_is_dark():
    dark, bright = _draft(0.01), _draft(1.0)
    for draft in (dark, bright):
        RicianNoise((0.1, 0.1))(draft, _generator())
    assert dark.images.mean() > 0.04
    assert bright.images.mean() == pytest.approx(1.0, abs=0.01)
    assert bright.images.std() == pytest.approx(0.04, rel=0.1)


@pytest.mark.parametrize("bright", [0.0, 1.0])
def test_signs_are_those_that_were_asked_for(bright):
    recipe = ShiftedRecipe(
        bright=bright, decoys=0.0, noise=(0.0, 0.0), bias=(0.0, 0.0), volume=(2.0, 10.0),
    ).only("FLAIR")  # fmt: skip
    signs = []
    for seed in range(6):
        sample = Synthesiser(_generator(seed), recipe, healthy=True).contrasts(
            MAPS, {"T1w": t1w(MAPS)}, ["recolour"]
        )
        assert sample.lesion.any()
        change = (sample.image - sample.healthy)[sample.lesion].mean()
        signs.append(float(change) > 0)
    assert signs == [bool(bright)] * 6


def test_another_seed_is_another_sample_and_healthy_ones_have_none():
    draw = [Synthesiser(_generator(s), ShiftedRecipe()).paint(MAPS) for s in (1, 1, 2)]
    assert torch.equal(draw[0].image, draw[1].image)
    assert not torch.equal(draw[0].image, draw[2].image)
    healthy = Synthesiser(_generator(), ShiftedRecipe().with_lesions(0.0)).paint(MAPS)
    assert not healthy.lesion.any()


# -- masks of patients --------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """One mask of 20 mm in MNI space, in the left hemisphere, stored from right to left."""
    data = np.zeros((182, 218, 182), np.uint8)
    affine = np.array([[-1.0, 0, 0, 90], [0, 1, 0, -126], [0, 0, 1, -72], [0, 0, 0, 1]])
    data[110:130, 100:120, 80:100] = 1  # x from -39 to -20
    nibabel.save(nibabel.Nifti1Image(data, affine), tmp_path / "patient01_lesion.nii.gz")
    return tmp_path


def test_masks_are_cut_to_the_brain_of_mni(folder):
    (mask,) = read_masks(folder)
    assert mask.shape == (145, 182, 155)
    assert int(mask.sum()) == 8000
    assert mask[:72].sum() == 8000  # left, where the axis points to the right


def test_a_mask_is_scaled_to_the_brain_and_stays_out_of_fluid(folder):
    masks, sides = read_masks(folder), set()
    brain = TISSUE >= 0
    expected = 8000 * int(brain.any(2).any(1).sum()) * int(brain.any(2).any(0).sum())
    expected *= int(brain.any(0).any(0).sum()) / (145 * 182 * 155)
    for seed in range(6):
        draft = _draft(0.5)
        AddMaskLesions(masks)(draft, _generator(seed))
        size = int(draft.lesion.sum())
        assert 0.4 * expected < size < 1.2 * expected
        assert (TISSUE[draft.lesion[0, 0]] >= 0).all()
        assert (draft.images != 0.5).any()
        sides.add(bool(draft.lesion[0, 0].nonzero()[:, 0].float().mean() < 20))
    assert sides == {True, False}


def test_masks_in_whole_samples(folder):
    recipe = MaskRecipe(read_masks(folder)).only("FLAIR")
    sample = Synthesiser(_generator(), recipe).contrasts(MAPS, {"T1w": t1w(MAPS)}, ["recolour"])
    assert sample.lesion.any()
    assert not Synthesiser(_generator(), recipe.with_lesions(0.0)).paint(MAPS).lesion.any()


def test_masks_that_are_not_there(tmp_path):
    with pytest.raises(DalFastError) as refused:
        read_masks(tmp_path)
    assert refused.value.code == "no-data"
    (tmp_path / "a_lesion.nii.gz").write_bytes(b"nothing")
    with pytest.raises(DalFastError, match="not readable") as refused:
        read_masks(tmp_path)
    assert refused.value.code == "no-data"


@pytest.mark.shared
def test_real_masks(shared_data):
    masks = read_masks(shared_data / "mslub-masks")
    assert len(masks) == 27
    volumes = sorted(float(mask.sum()) / 1000 for mask in masks)
    assert volumes[0] == pytest.approx(0.3, abs=0.15)
    assert volumes[-1] == pytest.approx(52, abs=3)
