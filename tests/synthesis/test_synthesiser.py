"""Synthesis: truth is exact, every seed has its sample, ranges hold."""

import pytest
import torch
from brains import probabilities, structures, t1w

from dal_fast.imaging.normalise import WIDEST
from dal_fast.synthesis import fields
from dal_fast.synthesis.contrast import CONTRASTS, bend, tissue_means
from dal_fast.synthesis.recipe import Recipe
from dal_fast.synthesis.sample import encode_structures
from dal_fast.synthesis.synthesiser import Synthesiser

STILL = Recipe(
    lesions=0.0, swelling=0.0, spread=0.0, thick_slices=0.0, blur=(0.0, 0.0), bias=(0.0, 0.0),
    noise=(0.0, 0.0), mask_error=0.0,
)  # fmt: skip


def _synthesiser(seed=0, **changes):
    return Synthesiser(torch.Generator().manual_seed(seed), Recipe(**changes))


def _draw(way, seed, n=2, **changes):
    maps = structures().expand(n, -1, -1, -1, -1)
    synthesiser = _synthesiser(seed, **changes)
    if way == "paint":
        return synthesiser.paint(maps)
    return getattr(synthesiser, way)(t1w(maps), maps)


@pytest.mark.parametrize("way", ["paint", "remap", "recolour", "keep"])
def test_a_sample_is_what_it_says(way):
    for seed in range(4):
        sample = _draw(way, seed)
        n, space = 2, structures().shape[2:]
        assert sample.image.shape == sample.mask.shape == sample.lesion.shape == (n, 1, *space)
        assert sample.tissue.shape == (n, *space)
        assert sample.image.dtype == torch.float32
        assert sample.tissue.dtype == torch.int64
        assert sample.image.min() >= 0
        assert sample.image.max() <= WIDEST
        assert (sample.image[~sample.mask] == 0).all()
        assert set(sample.tissue.unique().tolist()) <= {0, 1, 2}
        assert not (sample.lesion & ~sample.mask).any()
        for image, mask in zip(sample.image, sample.mask, strict=True):
            assert image[mask & (image > 0)].median() == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("way", ["paint", "remap", "recolour", "keep"])
def test_a_seed_is_a_sample(way):
    first, again, other = _draw(way, 5), _draw(way, 5), _draw(way, 6)
    for name in ("image", "tissue", "mask", "lesion"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    assert not torch.equal(first.image, other.image)


def test_inputs_are_left_alone():
    maps = structures()
    scan = t1w(maps)
    before = maps.clone(), scan.clone()
    _synthesiser().remap(scan, maps)
    assert torch.equal(maps, before[0])
    assert torch.equal(scan, before[1])


def test_a_painted_brain_without_disturbance_shows_its_tissues():
    """Constant inside each tissue, in the order of the contrast that was asked for."""
    order = {"T2w": (2, 1, 0), "FLAIR": (0, 2, 1), "T1w": (0, 1, 2)}
    for kind, expected in order.items():
        weights = tuple(float(name == kind) for name in CONTRASTS)
        recipe = {**STILL.__dict__, "contrasts": weights}
        sample = Synthesiser(torch.Generator().manual_seed(1), Recipe(**recipe)).paint(structures())
        mask = sample.mask[0, 0]
        values = [sample.image[0, 0][mask & (sample.tissue[0] == k)] for k in range(3)]
        assert all(v.std() < 1e-6 for v in values)
        means = [values[k].mean() for k in expected]
        assert means == sorted(means)


def test_lesions_change_the_image_and_not_the_truth():
    maps = structures().expand(6, -1, -1, -1, -1)
    recipe = Recipe(lesions=1.0)
    sample = Synthesiser(torch.Generator().manual_seed(0), recipe, healthy=True).paint(maps)
    assert int(sample.lesion.flatten(1).any(dim=1).sum()) >= 5
    changed = (sample.image - sample.healthy).abs()
    assert changed[sample.lesion].mean() > 5 * changed[~sample.lesion].mean()
    without = Synthesiser(torch.Generator().manual_seed(0), Recipe(lesions=0.0)).paint(maps)
    assert not without.lesion.any()
    assert torch.equal(sample.tissue, without.tissue)


def test_labels_become_structures():
    labels = torch.tensor([0, 3, 9, 255, 500, -1])
    got = encode_structures(labels, {3: 0, 9: 2, 255: 1, 500: 1, -1: 2})
    assert got.tolist() == [0, 256 + 3, 3 * 256 + 9, 2 * 256 + 255, 0, 0]


def test_tissue_means_of_a_phantom():
    maps = structures()
    assert torch.allclose(tissue_means(t1w(maps), maps), torch.tensor([[0.2, 0.55, 0.85]]))
    assert probabilities(maps).sum() == (maps > 0).sum()


def test_zero_blur_and_unit_slices_are_the_identity():
    x = torch.rand(2, 1, 9, 7, 5)
    assert torch.allclose(fields.blur(x, torch.zeros(2, 3)), x)
    unit = [fields.slice_matrix(s, torch.ones(2)) for s in (9, 7, 5)]
    assert torch.allclose(fields.apply_separable(x, unit), x, atol=1e-6)


def test_blur_and_slices_keep_a_constant():
    x = torch.full((2, 1, 11, 8, 6), 0.7)
    assert torch.allclose(fields.blur(x, torch.full((2, 3), 1.3)), x)
    thick = [fields.slice_matrix(s, torch.tensor([2.0, 3.4])) for s in (11, 8, 6)]
    assert torch.allclose(fields.apply_separable(x, thick), x, atol=1e-5)


def test_warp_by_the_identity_and_by_a_shift():
    x = torch.rand(1, 1, 6, 7, 8)
    axes = torch.meshgrid(*(torch.arange(float(s)) for s in (6, 7, 8)), indexing="ij")
    field = torch.stack(axes)[None]
    assert torch.allclose(fields.warp(x, field), x, atol=1e-5)
    field[:, 0] += 2
    assert torch.allclose(fields.warp(x, field)[:, :, :4], x[:, :, 2:], atol=1e-5)
    assert (fields.warp(x, field)[:, :, 5] == 0).all()


def test_smooth_fields_are_smooth_and_about_unit():
    g = torch.Generator().manual_seed(0)
    field = fields.smooth_field(30, 1, (24, 24, 24), 6, g)
    assert field.std() == pytest.approx(1.0, abs=0.25)
    assert field.diff(dim=2).std() < 0.3 * field.std()


def test_an_easy_recipe_grows_into_the_full_one():
    recipe = Recipe()
    assert recipe.at_difficulty(1.0) == recipe
    easy, middle = recipe.at_difficulty(0.0), recipe.at_difficulty(0.5)
    assert easy.lesions == easy.swelling == easy.mask_error == easy.contrasts[3] == 0
    assert easy.noise[1] < middle.noise[1] < recipe.noise[1]
    sample = Synthesiser(torch.Generator().manual_seed(0), easy).paint(structures())
    assert not sample.lesion.any()


def test_contrasts_of_one_brain_share_its_anatomy():
    maps = structures()
    recipe = {"lesions": 0.0, "mask_error": 0.0}
    sample = _synthesiser(3, **recipe).contrasts(
        maps, {"T1w": t1w(maps)}, ["T1w", "paint", "remap", "recolour"]
    )
    assert len(sample.image) == 4
    for other in sample.tissue[1:]:
        assert torch.equal(other, sample.tissue[0])
    assert not torch.allclose(sample.image[0], sample.image[1], atol=0.1)
    assert sample.healthy is None


def test_drawn_contrasts_differ_while_there_are_others():
    synthesiser = _synthesiser(0, contrasts=(1.0, 1.0, 1.0, 0.0))
    for _ in range(5):
        assert sorted({int(synthesiser._draw_contrasts(1, [0, 2])) for _ in range(3)}) == [1]
    assert int(_synthesiser(0, contrasts=(0.0, 0.0, 1.0, 0.0))._draw_contrasts(1, [2])) == 2


def test_the_healthy_twin_lacks_the_lesion_and_nothing_else():
    maps = structures().expand(4, -1, -1, -1, -1)
    recipe = Recipe(lesions=1.0, mask_error=0.0, blur=(0.0, 0.0), thick_slices=0.0)
    sample = Synthesiser(torch.Generator().manual_seed(2), recipe, healthy=True).paint(maps)
    assert sample.lesion.any()
    far = torch.nn.functional.max_pool3d(sample.lesion.float(), 13, 1, 6) == 0
    far &= sample.mask & (sample.image > 0)
    difference = (sample.image - sample.healthy).abs()
    assert difference[sample.lesion].mean() > 0.03
    assert difference[far].mean() < 0.1 * difference[sample.lesion].mean()


def test_bending_moves_the_means_and_keeps_the_borders():
    scan = torch.tensor([0.2, 0.5, 0.8, 0.35, 0.9, 0.0]).view(1, 1, 1, 1, 6)
    own, new = torch.tensor([[0.2, 0.5, 0.8]]), torch.tensor([[0.9, 0.4, 0.3]])
    bent = bend(scan, own, new).flatten()
    assert torch.allclose(bent[:3], new[0])
    assert bent[3] == pytest.approx(0.65)
    assert bent[4] == pytest.approx(0.3 - 0.1 * 0.3)
    assert bent[5] == pytest.approx(0.9 + 0.3 * 0.5)  # flat beyond 0.3 of the piece
