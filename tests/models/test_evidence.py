"""What intensities and place say: the fit finds the means of any contrast, lesions or not."""

import pytest
import torch
from brains import structures

from dal_fast.imaging.morphology import bounding_box, surrounded
from dal_fast.models import DAL, DALConfig
from dal_fast.models.evidence import (
    TissueEvidence,
    average_tissue,
    combine,
    fit_tissues,
    widened,
)

CONTRASTS = {"T1w": (0.2, 0.5, 0.8), "T2w": (1.2, 0.6, 0.4), "FLAIR": (0.1, 0.6, 0.5)}


def _labels():
    return structures()[0, 0].long() // 256


def _evidence():
    evidence = TissueEvidence(3)
    evidence.atlas.copy_(average_tissue([_labels()], 3))
    return evidence


def _scan(means, noise=0.01, seed=0):
    maps = structures()
    table = torch.tensor([0.0, *means])
    g = torch.Generator().manual_seed(seed)
    x = table[maps.long() // 256]
    return (x + noise * torch.randn(x.shape, generator=g)) * (maps > 0), maps > 0


@pytest.mark.parametrize("means", CONTRASTS.values(), ids=CONTRASTS)
@pytest.mark.parametrize("lesion", [False, True])
def test_the_posterior_finds_the_tissue(means, lesion):
    x, mask = _scan(means)
    spot = torch.zeros_like(mask)
    if lesion:
        spot[..., 6:12, 16:24, 12:20] = True
        x[spot & mask] = 0.95
    evidence = _evidence()(x, mask)
    assert evidence.shape == (1, 7, *x.shape[2:])
    fresh = torch.zeros(1, 4, *x.shape[2:])
    right = combine(evidence, fresh).argmax(dim=1) == (_labels() - 1)[None]
    assert right[(mask & ~spot)[:, 0]].float().mean() > 0.97
    assert torch.equal(evidence[:, :1], x)
    assert (evidence[:, 1:] * ~mask == 0).all()


@pytest.mark.parametrize("served", [True, False])
def test_a_dark_border_that_is_no_brain_is_no_evidence_of_fluid(served):
    """A mask reaches a voxel beyond the brain; a T2w is dark there, and its fluid is not."""
    x, mask = _scan(CONTRASTS["T2w"])
    inside = surrounded(mask[:, 0])[:, None]
    x[mask & ~inside] = 0.1
    if not served:
        x = x.clone().requires_grad_()
    fluid = _evidence()(x, mask)[:, 1:2]
    there = inside & (_labels() == 1)
    assert fluid[there].median() > 0.5
    assert fluid[mask & ~inside].max() < 0.01


@pytest.mark.parametrize("served", [True, False])
def test_a_mask_that_is_all_border_is_fitted_all_the_same(served):
    x, mask = _scan(CONTRASTS["T2w"])
    depth = mask.shape[2] // 2 // 2 * 2  # a plane that is sampled
    mask[:, :, :depth], mask[:, :, depth + 1 :] = False, False
    if not served:
        x = x.clone().requires_grad_()
    assert _evidence()(x, mask)[:, 1:4].amax(dim=1, keepdim=True)[mask].median() > 0.5


def test_a_lesion_that_fits_no_tissue_stands_out():
    x, mask = _scan(CONTRASTS["FLAIR"])
    x[..., 6:12, 16:24, 12:20] = 0.95
    likelihood = _evidence()(x, mask)[:, 1:4].amax(dim=1, keepdim=True)
    assert likelihood[..., 6:12, 16:24, 12:20].mean() < 0.05
    assert likelihood[mask].median() > 0.5


def test_means_and_spreads_are_the_scans():
    g = torch.Generator().manual_seed(0)
    tissue = torch.randint(0, 3, (6000,), generator=g)
    x = torch.tensor([0.2, 0.5, 0.8])[tissue] + 0.05 * torch.randn(6000, generator=g)
    prior = 0.25 + 0.25 * torch.nn.functional.one_hot(tissue, 3).T.float()
    inside = torch.ones(1, 6000, dtype=torch.bool)
    (means,), (spreads,) = fit_tissues(x[None], prior[None], inside)
    assert torch.allclose(means, torch.tensor([0.2, 0.5, 0.8]), atol=0.02)
    assert torch.allclose(spreads, torch.full((3,), 0.05), atol=0.015)


def test_nothing_to_fit_is_no_error():
    mask = torch.zeros(1, 1, 8, 8, 8, dtype=torch.bool)
    assert _evidence()(torch.zeros(1, 1, 8, 8, 8), mask).isfinite().all()
    assert bounding_box(mask[0, 0]) == (slice(0, 0),) * 3


def test_the_atlas_is_symmetric_and_sums_to_one():
    atlas = average_tissue([_labels()], 3)
    assert torch.allclose(atlas.sum(dim=0), torch.ones(atlas.shape[1:]), atol=1e-5)
    assert torch.equal(atlas, atlas.flip(1))


def test_a_fresh_network_starts_as_the_classical_segmentation():
    model = DAL(DALConfig(tissue_input="evidence", tissue_widths=(4, 8)))
    with torch.no_grad():
        for parameter in model.part("tissue").parameters():
            parameter.zero_()
    x, mask = _scan(CONTRASTS["T2w"])
    model.part("evidence").atlas.copy_(average_tissue([_labels()], 3))
    out = model(x, mask)
    assert (out.tissue_logits.argmax(dim=1) == _labels() - 1)[mask[:, 0]].float().mean() > 0.97


def test_where_there_is_no_trust_the_network_decides():
    x, mask = _scan(CONTRASTS["T1w"])
    evidence = _evidence()(x, mask)
    output = torch.randn(1, 4, *x.shape[2:], generator=torch.Generator().manual_seed(0))
    output[:, -1] = -20
    assert torch.allclose(combine(evidence, output), output[:, :3], atol=1e-4)


def test_a_widened_network_does_at_first_what_it_did():
    torch.manual_seed(0)
    narrow, wide = (
        DAL(DALConfig(tissue_input=kind, tissue_widths=(4, 8))) for kind in ("scan", "evidence")
    )
    x, mask = _scan(CONTRASTS["T1w"])
    wide.part("evidence").atlas.copy_(average_tissue([_labels()], 3))
    before = wide(x, mask).tissue_logits
    states = (model.part("tissue").state_dict() for model in (narrow, wide))
    wide.part("tissue").load_state_dict(widened(*states))
    want, got = narrow(x, mask).tissue_logits, wide(x, mask).tissue_logits
    inside = mask.expand_as(want)
    assert (got - want)[inside].abs().mean() < 0.2 * (before - want)[inside].abs().mean()
