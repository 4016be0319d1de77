"""What healthy structures show in made contrasts, by one draw a structure and scan."""

import pytest
import torch
from brains import structures, t1w

from dal_fast.synthesis.appearance import Look, paint, recolour, remap
from dal_fast.synthesis.brains import _FREESURFER_SIDES
from dal_fast.synthesis.contrast import CONTRASTS
from dal_fast.synthesis.recipe import Recipe
from dal_fast.synthesis.synthesiser import Synthesiser
from dal_fast.synthesis.usual import differences, usual_offsets

GREY, WHITE = 2 * 256, 3 * 256
CORTEX = {"DLMUSE": 100, "FreeSurfer": 3}
HIPPOCAMPUS = {"DLMUSE": 47, "FreeSurfer": 17}
PALLIDUM = {"DLMUSE": 55, "FreeSurfer": 13}
LIMBIC = {
    "DLMUSE": {31, 32, 47, 48, 100, 101, 102, 103, 116, 117, 138, 139}
    | {166, 167, 170, 171, 172, 173, 186, 187},
    "FreeSurfer": {17, 18, 53, 54},
}
MEANS = torch.tensor([0.1, 0.6, 0.5])
UNIT = 0.55 / 0.5  # between grey and white matter lies about the brain's median
PROTOCOLS = pytest.mark.parametrize("protocol", CORTEX)


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _maps(protocol):
    """A brain whose front half of grey matter is hippocampus, with a slice of cortex."""
    maps = structures()
    grey, along = maps // 256 == 2, torch.arange(maps.shape[3]).view(-1, 1)
    for where, label in ((along == 8, CORTEX[protocol]), (along >= 20, HIPPOCAMPUS[protocol])):
        maps = torch.where(grey & where, GREY + label, maps)
    return maps


def _offsets(maps, contrast, n=200, seed=0):
    kind = torch.full((n,), CONTRASTS.index(contrast))
    maps = maps.expand(n, -1, -1, -1, -1)
    return usual_offsets(maps, kind, MEANS.expand(n, 3), _generator(seed))


@PROTOCOLS
@pytest.mark.parametrize(("contrast", "most"), [("FLAIR", 0.13), ("T2w", 0.05)])
def test_limbic_structures_share_one_offset_a_scan(protocol, contrast, most):
    offsets = _offsets(_maps(protocol), contrast)
    drawn = offsets[:, sorted(GREY + label for label in LIMBIC[protocol])]
    assert torch.equal(drawn, drawn[:, :1].expand_as(drawn))
    assert drawn.min() >= 0
    assert drawn.max() <= most * UNIT
    assert drawn[:, 0].mean() == pytest.approx(most * UNIT / 2, rel=0.1)


@PROTOCOLS
@pytest.mark.parametrize(("contrast", "least", "most"), [("FLAIR", 0.05, 0.15), ("T2w", 0.12, 0.3)])
def test_iron_darkens_the_pallidum(protocol, contrast, least, most):
    dark = -_offsets(_maps(protocol), contrast)[:, GREY + PALLIDUM[protocol]]
    assert dark.min() >= least * UNIT
    assert dark.max() <= most * UNIT
    assert dark.max() - dark.min() > 0.8 * (most - least) * UNIT


def test_both_sides_are_alike_where_no_table_tells_them():
    maps, offsets = _maps("FreeSurfer"), {}
    for contrast in ("T2w", "FLAIR"):
        offsets[contrast] = _offsets(maps, contrast, 8)
        for right, left in _FREESURFER_SIDES.items():
            both = offsets[contrast][:, [GREY + left, GREY + right]]
            assert torch.equal(both[:, 0], both[:, 1])
    assert offsets["T2w"][:, GREY + 52].max() < 0


@PROTOCOLS
def test_what_is_named_by_no_row_is_as_its_tissue(protocol):
    offsets = _offsets(_maps(protocol), "FLAIR", 8)
    unnamed = {"DLMUSE": 190, "FreeSurfer": 3}[protocol]  # superior frontal gyrus; cortex
    assert not offsets[:, [unnamed, GREY + unnamed, WHITE + unnamed]].any()


@PROTOCOLS
@pytest.mark.parametrize("contrast", ["T1w", "random"])
def test_other_contrasts_have_none(protocol, contrast):
    assert not _offsets(_maps(protocol), contrast, 8).any()


def test_labels_of_another_protocol_mean_nothing():
    assert not _offsets(structures(), "FLAIR", 8).any()
    assert torch.equal(differences(structures()), torch.ones(1, 1024))


def test_white_matter_of_the_lobes_differs_less():
    share = differences(_maps("DLMUSE"))[0]
    lobes = [WHITE + label for label in range(81, 89)]
    assert torch.allclose(share[lobes], torch.tensor(0.3))
    assert share[WHITE + 93] == share[GREY + 55] == 1
    assert torch.equal(differences(_maps("FreeSurfer")), torch.ones(1, 1024))


def test_the_random_numbers_of_all_else_stay_as_they_are():
    maps, generator = _maps("DLMUSE"), _generator()
    before = generator.get_state()
    usual_offsets(maps, torch.tensor([CONTRASTS.index("FLAIR")]), MEANS[None], generator)
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("way", ["paint", "remap", "recolour"])
def test_every_way_shows_the_offset(way):
    maps = _maps("DLMUSE")
    offsets = torch.zeros(1, 1024)
    offsets[:, GREY + HIPPOCAMPUS["DLMUSE"]] = 0.2
    scan = () if way == "paint" else (t1w(maps),)
    make = {"paint": paint, "remap": remap, "recolour": recolour}[way]
    with_it, without = (
        make(*scan, maps, Look(MEANS[None], torch.zeros(1, 1024), table), _generator())
        for table in (offsets, torch.zeros_like(offsets))
    )
    change = with_it - without
    assert change[maps == GREY + HIPPOCAMPUS["DLMUSE"]].max() == pytest.approx(0.2, abs=0.02)
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
