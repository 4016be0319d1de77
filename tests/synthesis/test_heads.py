"""Synthetic heads: what counts as brain, where it lies, and what is done to it."""

from random import Random

import head_phantom
import numpy as np
import pytest
import torch

from dal_fast import DalFastError
from dal_fast.synthesis import head_defects, head_maps
from dal_fast.synthesis.head_atrophy import atrophied
from dal_fast.synthesis.head_contrast import draw_contrast
from dal_fast.synthesis.head_maps import CLASSES, COUNT, STEPS, brain_target, load_heads
from dal_fast.synthesis.head_view import distance_to_faces, draw_view, inside_box
from dal_fast.synthesis.heads import synthesise_head

SHAPE, MM, REACH = (32, 48, 48), 2.5, 10.0


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    return head_phantom.write_maps(tmp_path_factory.mktemp("maps"), 2)


@pytest.fixture(scope="module")
def heads(maps):
    return load_heads(head_maps.head_maps(maps))


@pytest.fixture(scope="module")
def samples(heads):
    """A scan of each seed, of either head in turn."""
    return [synthesise_head(heads[seed % 2], SHAPE, MM, REACH, seed) for seed in range(40)]


@pytest.fixture
def plain(monkeypatch):
    """Heads as they are: nothing removed, painted, or done to the image."""
    for name in ("paint_lesions", "open_skull", "removed"):
        monkeypatch.setattr(f"dal_fast.synthesis.heads.{name}", lambda *_: None)
    monkeypatch.setattr("dal_fast.synthesis.heads.acquire", lambda draft, *_: draft.image)


def test_the_brain_has_its_fluid_and_no_bone():
    labels = head_phantom.head_labels()
    brain = brain_target(labels)
    tissue = (labels > 0) & (labels < 500) & (labels != 24)
    assert brain[tissue].all()
    assert brain[np.isin(labels, [507, 511, 515])].mean() < 0.01
    sulcus = (labels == 24) & (np.arange(80) > 60) & (np.abs(np.arange(64) - 40) < 2)[:, None, None]
    r = np.linalg.norm((np.argwhere(sulcus) - [32, 36, 52]) / head_phantom.BRAIN_RADIUS, axis=1)
    deep = tuple(np.argwhere(sulcus)[r < 0.9].T)
    assert brain[deep].all()
    assert brain[(labels == 514) & (np.arange(80) < 66)].mean() > 0.8
    rim = (labels == 24) & ~sulcus
    assert brain[rim].mean() < 0.35
    assert brain[labels == 512].mean() < 0.1


def test_a_map_is_packed_and_kept(maps, heads, monkeypatch):
    head = heads[0]
    classes, distance = head.packed & 255, (head.packed >> 8).float() / STEPS
    assert classes.max() < COUNT
    for name in ("grey", "white", "stem"):
        assert distance[classes == CLASSES.index(name)].min() > 0
    for name in ("bone", "skin", "air"):
        outside = distance[classes == CLASSES.index(name)] < 0
        assert outside.float().mean() > 0.98
    inside = (distance > 0).nonzero()
    assert inside.min(0).values.tolist() == list(head.low)
    assert inside.max(0).values.tolist() == list(head.high)
    assert len(torch.unique(classes[classes >= head_maps.SOFT])) >= 8
    monkeypatch.setattr(head_maps, "_prepare", None)  # from the cache, or not at all
    again = load_heads(head_maps.head_maps(maps))
    assert [h.name for h in again] == ["sub-00", "sub-01"]
    assert torch.equal(again[0].packed, head.packed)


def test_a_seed_makes_a_scan_and_another_seed_another(heads):
    one, same, other = (synthesise_head(heads[0], SHAPE, MM, REACH, s) for s in (3, 3, 4))
    assert torch.equal(one.image, same.image)
    assert torch.equal(one.distance, same.distance)
    assert not torch.equal(one.image, other.image)


def test_a_shrunken_brain_leaves_fluid_in_the_same_head():
    labels = head_phantom.head_labels()
    fewer = atrophied(labels, "sub-00")
    assert np.array_equal(fewer[labels >= 500], labels[labels >= 500])
    assert np.array_equal(fewer == 0, labels == 0)
    assert np.array_equal(fewer, atrophied(labels, "sub-00"))
    assert not np.array_equal(fewer, atrophied(labels, "sub-01"))
    tissue, before = (np.isin(v, [2, 3, 16]).sum() for v in (fewer, labels))
    assert 0.6 < tissue / before < 0.97
    assert (fewer == 24).sum() > 1.1 * (labels == 24).sum()
    assert brain_target(fewer).sum() < 0.98 * brain_target(labels).sum()


def test_shrunken_maps_are_kept_apart_from_the_others(maps, heads, monkeypatch):
    paths = head_maps.head_maps(maps)
    shrunken = load_heads(paths, shrunken=True)
    assert [h.name for h in shrunken] == ["sub-00-shrunken", "sub-01-shrunken"]
    for small, large in zip(shrunken, heads, strict=True):
        assert int((small.packed >> 8 > 0).sum()) < int((large.packed >> 8 > 0).sum())
    monkeypatch.setattr(head_maps, "_prepare", None)  # from the cache, or not at all
    assert torch.equal(load_heads(paths, shrunken=True)[1].packed, shrunken[1].packed)


def test_a_scan_says_what_was_drawn(samples):
    said = [sample.traits[0] for sample in samples]
    assert {traits[0] for traits in said} >= {"T1w", "T2w", "FLAIR", "ordered", "free"}
    everything = {trait for traits in said for trait in traits}
    assert everything >= {"thick slices", "motion", "lesions", "defaced", "partly in view"}
    assert all(len(set(traits)) == len(traits) for traits in said)


def test_every_scan_is_usable(samples):
    for seed, sample in enumerate(samples):
        assert sample.image.shape == sample.distance.shape == (1, 1, *SHAPE), seed
        assert sample.image.isfinite().all(), seed
        assert sample.image.min() >= 0, seed
        assert 0.5 < sample.image.max() <= 1.5, seed
        assert sample.distance.abs().max() <= REACH, seed
        assert (sample.distance > 0).any(), seed


@pytest.mark.usefixtures("plain")
def test_the_distance_is_that_of_the_brain_that_is_seen(heads, monkeypatch):
    """With a contrast in which the brain alone is bright, the bright voxels are the inside."""
    brain = torch.zeros(COUNT)
    tissue = {"grey", "white", "stem", "ventricle", "sulcal_fluid", "vein"}
    brain[[CLASSES.index(name) for name in tissue]] = 1.0
    monkeypatch.setattr(
        "dal_fast.synthesis.heads.draw_contrast", lambda _: (brain, torch.zeros(COUNT), [])
    )
    for seed in range(8):
        sample = synthesise_head(heads[0], SHAPE, MM, REACH, seed)
        seen = sample.image[0, 0] > 0.5 * sample.image.max()
        assert not (seen & (sample.distance[0, 0] < -1.5)).any()
        deep = (sample.distance[0, 0] > 3) & (sample.image[0, 0] > 0)
        assert seen[deep].float().mean() > 0.98


def test_where_the_field_of_view_cuts_the_brain_ends_a_voxel_outside(heads, samples):
    for seed, sample in enumerate(samples):
        view = draw_view(heads[seed % 2], SHAPE, MM, Random(seed))
        faces = distance_to_faces(view)
        inside = inside_box(view.inside())
        assert torch.equal(inside, faces >= 0)
        assert not (sample.distance[0, 0] > (faces + MM).clamp_min(-REACH) + 1e-4).any()
        assert not sample.image[0, 0][~inside].any()


def test_views_are_as_varied_as_scans(heads):
    views = [draw_view(heads[0], SHAPE, MM, Random(seed)) for seed in range(300)]
    half = [(b - a) / 2 for a, b in zip(heads[0].low, heads[0].high, strict=True)]
    cut = [any(v.high[a] - v.centre[a] < half[a] * v.scale * 0.9 for a in range(3)) for v in views]
    assert 0.1 < np.mean(cut) < 0.5
    assert min(v.scale for v in views) < 0.85
    assert max(v.scale for v in views) > 1.1
    mirrored = np.mean([float(torch.linalg.det(v.matrix)) < 0 for v in views])
    assert 0.4 < mirrored < 0.6


def test_no_view_has_less_than_two_fifths_of_the_brain_along_an_axis(heads):
    half = [(b - a) / 2 for a, b in zip(heads[0].low, heads[0].high, strict=True)]
    for seed in range(1000):
        view = draw_view(heads[0], (80, 96, 96), MM, Random(seed))
        for axis, size in enumerate(half):
            length = size * view.scale * 0.93  # the smallest of an axis
            low, high = (face - view.centre[axis] for face in (view.low[axis], view.high[axis]))
            assert min(high, length) - max(low, -length) > 0.36 * 2 * length


def test_the_brain_of_every_scan_can_be_seen(heads, monkeypatch):
    """Contrasts whose brain is black and whose scalp is bright are drawn again."""
    drawn = []

    def draw(rng):
        means, spreads, traits = draw_contrast(rng)
        drawn.append(len(drawn))
        if len(drawn) % 2:
            means[1 : CLASSES.index("dura")] = 0.0
        return means, spreads, traits

    monkeypatch.setattr("dal_fast.synthesis.heads.draw_contrast", draw)
    for seed in range(12):
        sample = synthesise_head(heads[0], SHAPE, MM, REACH, seed)
        brain = sample.image[(sample.distance > 0) & sample.covered]
        assert brain.median() >= 0.1


def test_what_wraps_around_is_no_brain(heads):
    wrapped = 0
    for seed in range(200):
        view = draw_view(heads[0], SHAPE, MM, Random(seed))
        x, y, z = (axis.square() for axis in view.axes())
        distance = 30 - (x[:, None, None] + y[:, None] + z).sqrt()
        draft = head_defects.Draft(distance, distance, distance, distance, heads[0], view)
        inside = inside_box(view.inside())
        brain, around = ((distance > 5).float(), (distance < 0).float())
        added = head_defects._wrapped(brain, draft, Random(seed)) - brain
        assert not added[inside].any()
        added = head_defects._wrapped(around, draft, Random(seed)) - around
        wrapped += bool(added[inside].any())
    assert wrapped > 20


def test_contrasts_cover_what_is_asked(heads):
    drawn = [draw_contrast(Random(seed)) for seed in range(400)]
    assert all(mean.shape == spread.shape == (COUNT,) for mean, spread, _ in drawn)
    means = torch.stack([mean for mean, *_ in drawn])
    assert means.min() >= 0
    assert means.max() <= 1.6
    white, grey, fluid, bone = (
        means[:, CLASSES.index(name)] for name in ("white", "grey", "ventricle", "bone")
    )
    assert 0.2 < (white > grey).float().mean() < 0.8
    assert 0.2 < (fluid > grey).float().mean() < 0.8
    assert 0.5 < (bone < 0.25).float().mean() < 0.95
    fat = means[:, head_maps.SOFT]
    assert (fat > 0.9).float().mean() > 0.1
    assert (fat < 0.3).float().mean() > 0.1


def test_what_is_removed_spares_the_brain(heads):
    for seed in range(60):
        drawn = {}

        def keep(draft, rng, generator, drawn=drawn):
            drawn["distance"] = draft.distance
            drawn["gone"] = head_defects.removed(draft, rng, generator)
            return drawn["gone"]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("dal_fast.synthesis.heads.removed", keep)
            synthesise_head(heads[0], SHAPE, MM, REACH, seed)
        if drawn["gone"] is not None:
            assert not drawn["gone"][drawn["distance"] > 4].any()


def test_refusals(tmp_path, maps):
    with pytest.raises(DalFastError) as caught:
        head_maps.head_maps(tmp_path)
    assert caught.value.code == "no-data"
    import nibabel as nib

    stripped = np.where(head_phantom.head_labels() < 500, head_phantom.head_labels(), 0)
    nib.save(nib.Nifti1Image(stripped.astype(np.int16), np.eye(4)), tmp_path / "a_dseg.nii.gz")
    with pytest.raises(DalFastError, match="whole head"):
        load_heads([tmp_path / "a_dseg.nii.gz"])
    (tmp_path / "b_dseg.nii.gz").write_bytes(b"nothing")
    with pytest.raises(DalFastError, match="not readable"):
        load_heads([tmp_path / "b_dseg.nii.gz"])
