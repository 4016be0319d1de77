"""The limbic system in made contrasts: brighter in a FLAIR, a little in a T2w, by one offset."""

import pytest
import torch
from brains import structures, t1w

from dal_fast.synthesis.appearance import Look, paint, recolour, remap
from dal_fast.synthesis.contrast import CONTRASTS
from dal_fast.synthesis.limbic import limbic_offsets
from dal_fast.synthesis.recipe import Recipe
from dal_fast.synthesis.synthesiser import Synthesiser

GREY = 2 * 256
CORTEX = {"DLMUSE": (100, 101), "FreeSurfer": (3, 42)}
LIMBIC = {
    "DLMUSE": {31, 32, 47, 48, 100, 101, 102, 103, 116, 117, 138, 139}
    | {166, 167, 170, 171, 172, 173, 186, 187},
    "FreeSurfer": {17, 18, 53, 54},
}
HIPPOCAMPUS = {"DLMUSE": 48, "FreeSurfer": 17}
MEANS = torch.tensor([0.1, 0.6, 0.5])
PROTOCOLS = pytest.mark.parametrize("protocol", CORTEX)


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _maps(protocol):
    """A brain whose front half of grey matter is hippocampus, with two slices of cortex."""
    maps = structures()
    grey, along = maps // 256 == 2, torch.arange(maps.shape[3]).view(-1, 1)
    first, second = CORTEX[protocol]
    for where, label in ((along == 8, first), (along == 10, second),
                         (along >= 20, HIPPOCAMPUS[protocol])):  # fmt: skip
        maps = torch.where(grey & where, GREY + label, maps)
    return maps


def _offsets(maps, contrast, n=200, seed=0):
    kind = torch.full((n,), CONTRASTS.index(contrast))
    maps = maps.expand(n, -1, -1, -1, -1)
    return limbic_offsets(maps, kind, MEANS.expand(n, 3), _generator(seed))


@PROTOCOLS
@pytest.mark.parametrize(("contrast", "most"), [("FLAIR", 0.1), ("T2w", 0.05)])
def test_limbic_structures_share_one_offset_a_scan(protocol, contrast, most):
    offsets = _offsets(_maps(protocol), contrast)
    limbic = sorted(GREY + label for label in LIMBIC[protocol])
    drawn = offsets[:, limbic]
    assert torch.equal(drawn, drawn[:, :1].expand_as(drawn))
    most *= 0.55 / 0.5  # between grey and white matter lies about the brain's median
    assert drawn.min() >= 0
    assert drawn.max() <= most
    assert drawn[:, 0].mean() == pytest.approx(most / 2, rel=0.1)
    offsets[:, limbic] = 0
    assert not offsets.any()


@PROTOCOLS
@pytest.mark.parametrize("contrast", ["T1w", "random"])
def test_other_contrasts_have_none(protocol, contrast):
    assert not _offsets(_maps(protocol), contrast, 8).any()


def test_labels_of_another_protocol_mean_nothing():
    assert not _offsets(structures(), "FLAIR", 8).any()


def test_the_random_numbers_of_all_else_stay_as_they_are():
    maps, generator = _maps("DLMUSE"), _generator()
    before = generator.get_state()
    limbic_offsets(maps, torch.tensor([CONTRASTS.index("FLAIR")]), MEANS[None], generator)
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("way", ["paint", "remap", "recolour"])
def test_every_way_shows_the_offset(way):
    maps = _maps("DLMUSE")
    offsets = torch.zeros(1, 1024)
    offsets[:, GREY + 48] = 0.2
    scan = () if way == "paint" else (t1w(maps),)
    make = {"paint": paint, "remap": remap, "recolour": recolour}[way]
    with_it, without = (
        make(*scan, maps, Look(MEANS[None], 0.0, table), _generator())
        for table in (offsets, torch.zeros_like(offsets))
    )
    change = with_it - without
    assert change[maps == GREY + 48].max() == pytest.approx(0.2, abs=0.02)
    assert change[..., :18, :].abs().max() < 1e-6


@pytest.mark.parametrize("way", ["paint", "remap", "recolour"])
def test_a_made_flair_shows_it_and_a_made_t1w_does_not(way):
    still = Recipe(lesions=0.0, spread=0.0)
    for contrast, same in (("FLAIR", False), ("T1w", True)):
        samples = []
        for maps in (_maps("DLMUSE"), structures()):
            synthesiser = Synthesiser(_generator(3), still.only(contrast))
            scan = () if way == "paint" else (t1w(maps),)
            samples.append(getattr(synthesiser, way)(*scan, maps))
        named, plain = samples
        assert torch.equal(named.mask, plain.mask)
        assert torch.equal(named.tissue, plain.tissue)
        assert torch.equal(named.image, plain.image) is same
