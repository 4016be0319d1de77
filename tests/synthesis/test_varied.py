"""The varied generator: modes, differences, kinds, laws, decoys, and what scanners do."""

import math

import pytest
import torch
from brains import structures, t1w
from distributions import deviation_from_uniform

from dal_fast.synthesis import acquisition, decoys, lesion_kinds
from dal_fast.synthesis.anatomy import MassEffect, deform
from dal_fast.synthesis.laws import LESIONS, lesion_level
from dal_fast.synthesis.lesion_kinds import KINDS, Place, ventricle_distance
from dal_fast.synthesis.recipe import VariedRecipe
from dal_fast.synthesis.sample import Draft
from dal_fast.synthesis.shapes import Region, covered, solid_shape
from dal_fast.synthesis.synthesiser import Synthesiser
from dal_fast.synthesis.textures import MODES, Canvas, blend, selected
from dal_fast.synthesis.varied_lesions import AddVariedLesions

MAPS = structures((48, 56, 48))
TISSUE = MAPS[0, 0].long() // 256 - 1
MEANS = torch.tensor([0.2, 0.5, 0.8])
T2W, FLAIR, T1W = 0, 1, 2


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _image(seed=0, texture=0.03):
    """The phantom with texture, ``(1, D, H, W)``."""
    noise = torch.randn(TISSUE.shape, generator=_generator(seed))
    image = torch.cat([torch.zeros(1), MEANS])[TISSUE + 1] + texture * noise
    return (image * (TISSUE >= 0))[None].clamp_min(0)


def _canvas(images=None):
    return Canvas(_image() if images is None else images, TISSUE, MEANS, _image(9)[0])


def _draft(images=None, n=1):
    images = _image()[None] if images is None else images
    mask = (MAPS > 0).expand(n, -1, -1, -1, -1).clone()
    return Draft(
        structures=MAPS.expand(n, -1, -1, -1, -1), contrast=torch.full((n,), T1W),
        means=MEANS.expand(n, 3), images=images.expand(n, -1, -1, -1, -1).clone(), mask=mask,
        lesion=torch.zeros_like(mask), decoy=torch.zeros_like(mask), mass=torch.zeros(n, 4),
    )  # fmt: skip


def _region(volume=500, seed=1):
    return solid_shape((24, 28, 14), volume, TISSUE == 2, _generator(seed))


# -- modes ------------------------------------------------------------------------------------


def _correlation(a, b):
    return float(torch.corrcoef(torch.stack([a, b]))[0, 1])


def _core(region):
    inside = torch.zeros(TISSUE.shape, dtype=torch.bool)
    inside[region.box] = region.cover > 0.95
    return inside & (TISSUE == 2)


def test_added_texture_stays_and_replaced_texture_goes():
    region, kept = _region(), {}
    core = _core(region)
    for mode in ("additive", "replaced", "foreign"):
        correlations = []
        for seed in range(12):
            canvas, before = _canvas(), _image()[0]
            blend(canvas, region, 0.0, mode, _generator(seed))
            correlations.append(_correlation(canvas.images[0][core], before[core]))
        kept[mode] = min(correlations)
    assert kept["additive"] > 0.6
    assert kept["replaced"] < 0.4
    assert kept["foreign"] < 0.4


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("delta", [-0.3, 0.3])
def test_a_difference_has_its_size_and_its_sign(mode, delta):
    region, changes = _region(), []
    core = _core(region)
    for seed in range(12):
        canvas, before = _canvas(), _image()[0]
        blend(canvas, region, delta, mode, _generator(seed))
        changes.append(float((canvas.images[0] - before)[core].mean()) / delta)
        far = region.cover < 1e-3
        assert torch.allclose(canvas.images[0][region.box][far], before[region.box][far], atol=1e-2)
    if mode in ("additive", "selective"):
        assert all(c == pytest.approx(1, abs=0.15) for c in changes)
    else:  # opacity 0.1 to 1
        assert 0 < min(changes) < 0.5
        assert 0.6 < max(changes) < 1.2


def test_foreign_texture_has_a_healthy_range():
    region = _region()
    for seed in range(8):
        canvas = _canvas()
        blend(canvas, region, 0.0, "foreign", _generator(seed))
        spread = float(canvas.images[0][_core(region)].std())
        assert spread < 4 * canvas.healthy_sd


def test_a_selective_lesion_changes_one_tissue():
    region = solid_shape((24, 28, 10), 1500, TISSUE >= 1, _generator(2))
    tissues = set()
    for seed in range(8):
        part = selected(region, _canvas(), _generator(seed))
        inside = (region.cover > 0.8) & (TISSUE[region.box] >= 1)
        shares = [float(part.cover[inside & (TISSUE[region.box] == k)].mean()) for k in (1, 2)]
        assert max(shares) > 2 * min(shares)
        tissues.add(shares.index(max(shares)))
    assert tissues == {0, 1}


# -- differences --------------------------------------------------------------------------------


def test_random_differences_are_log_uniform_from_the_noise_to_the_contrast():
    g, canvas = _generator(), _canvas()
    painter = AddVariedLesions(1.0)
    low, high = canvas.healthy_sd, canvas.contrast
    drawn = [painter.difference(0.5, "", T2W, canvas, g) for _ in range(600)]
    at = [math.log(abs(d) / low) / math.log(high / low) for d in drawn]
    assert deviation_from_uniform(at) < 1.63
    assert sum(d > 0 for d in drawn) / 600 == pytest.approx(0.9, abs=0.05)


def test_the_laws_say_what_radiologists_see():
    def level(part, contrast, means):
        g = _generator()
        return torch.tensor([lesion_level(part, contrast, means, g) for _ in range(60)]).median()

    t2w, flair, t1w_means = (
        torch.tensor([0.9, 0.5, 0.35]),
        torch.tensor([0.1, 0.5, 0.4]),
        torch.tensor([0.2, 0.5, 0.7]),
    )
    assert level("oedema", T2W, t2w) > 0.4
    assert level("oedema", FLAIR, flair) > 0.45
    assert level("oedema", T1W, t1w_means) < 0.6
    assert level("plaque", FLAIR, flair) > 0.45
    assert level("cavity", FLAIR, flair) < level("infarct", FLAIR, flair)
    assert level("core", T2W, t2w) > level("solid", T2W, t2w)
    assert level("haematoma", T1W, t1w_means) > 0.7
    assert lesion_level("core", 3, t2w, _generator()) is None
    assert all(lesion_level(p, c, t2w, _generator()) >= 0 for p in LESIONS for c in range(3))


# -- kinds --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [kind for kind, _ in KINDS])
def test_a_kind_lies_in_the_brain_and_not_in_fluid(kind):
    sizes = []
    for seed in range(8):
        place = Place(TISSUE, torch.zeros(4), (0.5, 30.0))
        regions = [region for region, _ in kind(place, _generator(seed))]
        mask = covered(regions, TISSUE)
        sizes.append(int(mask.sum()))
        if mask.any():
            assert float((TISSUE[mask] >= 1).float().mean()) > 0.8
    assert sum(size > 0 for size in sizes) >= 7
    assert max(sizes) > 3 * sorted(sizes)[1]


def test_a_tumour_lies_where_the_mass_effect_is():
    mass = torch.tensor([16.0, 28.0, 24.0, 6.0])
    names = set()
    for seed in range(6):
        parts = lesion_kinds.tumour(Place(TISSUE, mass, (2.0, 40.0)), _generator(seed))
        names |= {name for _, name in parts}
        mask = covered([region for region, _ in parts], TISSUE)
        middle = mask.nonzero().float().mean(dim=0)
        assert float((middle - mass[:3]).norm()) < 10
    assert names == {"core", "rim", "solid", "oedema"}


def test_oedema_follows_white_matter():
    shares = []
    for seed in range(10):
        place = Place(TISSUE, torch.zeros(4), (5.0, 20.0))
        for region, name in lesion_kinds.tumour(place, _generator(seed)):
            if name == "oedema":
                mask = covered([region], TISSUE)
                shares.append(float((TISSUE[mask] == 2).float().mean()))
    assert len(shares) >= 3
    assert min(shares) > 0.7


def test_a_stroke_holds_cortex_and_white_matter():
    held = set()
    for seed in range(8):
        place = Place(TISSUE, torch.zeros(4), (10.0, 40.0))
        parts = lesion_kinds.stroke(place, _generator(seed))
        mask = covered([region for region, _ in parts], TISSUE)
        held |= set(TISSUE[mask].unique().tolist())
        assert (TISSUE[mask] == 1).any()
    assert {1, 2} <= held


def test_plaques_and_hyperintensities_lie_near_the_ventricle():
    distance = ventricle_distance(TISSUE)
    usual = float(distance[TISSUE == 2].mean())
    assert float(distance[(TISSUE == 0) & (distance < 6)].mean()) < 2
    for kind in (lesion_kinds.plaques, lesion_kinds.hyperintensities):
        found = []
        for seed in range(8):
            place = Place(TISSUE, torch.zeros(4), (0.5, 5.0))
            mask = covered([r for r, _ in kind(place, _generator(seed))], TISSUE)
            found.append(float(distance[mask].mean()))
        assert sum(found) / 8 < 0.9 * usual, kind


def test_a_brain_without_fluid_has_no_ventricle():
    assert (ventricle_distance(torch.full((16, 16, 16), 2)) > 100).all()
    place = Place(torch.full((16, 16, 16), 1), torch.zeros(4))
    assert lesion_kinds.plaques(place, _generator()) == []  # no white matter either


def test_a_mass_effect_is_centred_where_it_says():
    """Where the deformed volume comes from changes half as fast at the centre, and nowhere less."""
    axes = [torch.arange(float(side)) for side in TISSUE.shape]
    coordinates = torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]
    for seed in range(5):
        steps = [MassEffect(1.0, strength=(0.5, 0.5))]
        brain = deform(MAPS, coordinates, steps, _generator(seed))
        centre, radius = brain.mass[0, :3].long(), float(brain.mass[0, 3])
        assert 4 <= radius <= 14
        slopes = sum(torch.gradient(brain.scan[0, a], dim=a)[0] for a in range(3)) / 3
        x, y, z = centre.tolist()
        assert float(slopes[x, y, z]) == pytest.approx(0.5, abs=0.05)
        inner = slopes[2:-2, 2:-2, 2:-2]
        assert float(slopes[x, y, z]) < float(inner.min()) + 0.02
    brain = deform(MAPS, MAPS.float(), [MassEffect(0.0)], _generator())
    assert float(brain.mass[0, 3]) == 0
    assert torch.equal(brain.structures, MAPS)


# -- decoys -------------------------------------------------------------------------------------


@pytest.mark.parametrize("decoy", decoys.DECOYS)
def test_a_decoy_leaves_the_targets_and_changes_scan_and_healthy_image_alike(decoy, monkeypatch):
    monkeypatch.setattr(decoys, "DECOYS", (decoy,))
    changed = 0
    for seed in range(6):
        draft = _draft(torch.cat([_image(), _image()])[None])
        before = draft.images.clone(), draft.tissue.clone()
        decoys.AddDecoys(1.0)(draft, _generator(seed))
        assert not draft.lesion.any()
        assert torch.equal(draft.tissue, before[1])
        assert torch.equal(draft.images[:, 0], draft.images[:, 1])
        changed += bool((draft.images != before[0]).any()) and bool(draft.decoy.any())
    assert changed >= 4


def test_a_decoy_of_nothing_has_the_mean_of_its_surroundings():
    differences = []
    for seed in range(10):
        canvas, before = _canvas(), _image()
        regions = decoys.nothing_added(canvas, _generator(seed))
        mask = covered(regions, TISSUE)
        differences.append(float((canvas.images - before)[0][mask].mean()))
    assert max(map(abs, differences)) < 0.01 * 0.6
    assert not all(d == 0 for d in differences)


def test_no_decoys():
    draft = _draft()
    decoys.AddDecoys(0.0)(draft, _generator())
    assert torch.equal(draft.images, _draft().images)


# -- scanners -----------------------------------------------------------------------------------


def test_ghosts_are_copies_and_keep_the_intensity():
    draft = _draft()
    before = draft.images.clone()
    acquisition.Motion(1.0, (0.05, 0.05), (7.0, 7.5))(draft, _generator())
    assert draft.images.mean() == pytest.approx(float(before.mean()), rel=1e-4)
    ghosts = [
        0.9 * before + 0.05 * (before.roll(7, axis) + before.roll(-7, axis)) for axis in (2, 3, 4)
    ]
    assert any(torch.allclose(draft.images, ghost, atol=1e-6) for ghost in ghosts)


def test_gaps_are_at_the_surface_of_the_mask():
    draft = _draft(n=4)
    before = draft.mask.clone()
    acquisition.MaskGaps(1.0)(draft, _generator())
    lost = (before & ~draft.mask).flatten(1).sum(1)
    assert (draft.mask <= before).all()
    assert (lost > 20).all()
    assert (lost < 0.4 * before.flatten(1).sum(1)).all()


def test_a_partial_field_of_view_lacks_its_share_of_slices():
    tops = set()
    for seed in range(8):
        draft = _draft()
        acquisition.PartialFieldOfView(1.0, (0.2, 0.2))(draft, _generator(seed))
        height = [bool(s.any()) for s in (MAPS > 0)[0, 0].unbind(2)]
        left = [bool(s.any()) for s in draft.mask[0, 0].unbind(2)]
        assert sum(left) == sum(height) - round(0.2 * sum(height))
        assert (draft.images[~draft.mask & (MAPS > 0)] == 0).all()
        tops.add(left[height.index(True)])
    assert tops == {True, False}


def test_strong_fields_and_thick_slices_are_drawn():
    recipe = VariedRecipe()
    assert recipe.bias[1] == pytest.approx(0.4)
    assert 2 * recipe.thickness[1] == pytest.approx(7.0)  # mm
    spreads = []
    for seed in range(40):
        draft = _draft(torch.ones(1, 1, *TISSUE.shape))
        acquisition.BiasField(recipe.bias, exact=True)(draft, _generator(seed))
        spreads.append(float(draft.images.log().std()))
    assert deviation_from_uniform([s / 0.4 for s in spreads]) < 1.63


# -- all together -------------------------------------------------------------------------------


def _sample(seed, method="recolour", recipe=None, healthy=True):
    synthesiser = Synthesiser(_generator(seed), recipe or VariedRecipe(), healthy)
    scans = {} if method == "paint" else {"T1w": t1w(MAPS)}
    return synthesiser.contrasts(MAPS, scans, [method, method], t1w(MAPS).flip(2))


@pytest.mark.parametrize("method", ["paint", "remap", "recolour"])
def test_a_sample_is_a_function_of_its_seed(method):
    first, again, other = _sample(3, method), _sample(3, method), _sample(4, method)
    for name in ("image", "tissue", "mask", "lesion", "healthy", "decoy"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    assert not torch.equal(first.image, other.image)
    assert torch.equal(first.tissue[0], first.tissue[1])  # one anatomy
    assert (first.image[~first.mask] == 0).all()
    assert 0 <= float(first.image.min()) <= float(first.image.max()) <= 2


def test_lesions_differ_from_the_healthy_image_where_they_are():
    recipe = VariedRecipe(lesions=1.0, volume=(1.0, 20.0), noise=(0.0, 0.01))
    ratios = []
    for seed in range(8):
        sample = _sample(seed, recipe=recipe)
        change = (sample.image - sample.healthy).abs()
        if sample.lesion.any():
            outside = sample.mask & ~sample.lesion
            ratios.append(float(change[sample.lesion].mean() / change[outside].mean()))
    assert len(ratios) >= 6
    assert sorted(ratios)[len(ratios) // 2] > 5


def test_a_varied_recipe_grows_from_an_easy_one():
    recipe = VariedRecipe()
    assert recipe.at_difficulty(1.0) == recipe
    easy = recipe.at_difficulty(0.0)
    assert easy.lesions == easy.decoys == easy.mask_gaps == easy.partial_view == 0
    assert not _sample(0, recipe=easy).lesion.any()
    assert recipe.only("FLAIR").contrasts == (0, 1, 0, 0)
    assert recipe.with_lesions(0.3).lesions == 0.3


def test_parts_of_a_region_are_added_up():
    half = Region((slice(0, 2), slice(0, 2), slice(0, 2)), torch.full((2, 2, 2), 0.4))
    assert not covered([half], TISSUE).any()
    assert int(covered([half, half], TISSUE).sum()) == 8
