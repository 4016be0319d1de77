"""The compiled stages from the residual to the map against torch in float64."""

from functools import cache

import pytest
import torch
from chain.volumes import SHAPES, compiled, noise, random_case, reference
from support import each_isa

from dal_fast import context
from dal_fast.models.residual_head import abnormal_probability, residual_evidence
from dal_fast.models.residuals import usual_spread
from dal_fast.screening.enhance import enhanced, structural_difference


SMALLER = [(23, 33, 21), *SHAPES[2:]]


def compared(shape, seed=0):
    """x, phi, p, fluid, mask, and where the scan has signal."""
    x, phi, p, mask = random_case(shape, seed)
    fluid = (p[:, :1] + 0.3 * (noise(mask.shape, 7) > 1) * mask).clamp_max(1)
    return x, phi, p, fluid, mask, mask & (x > 0.1)


@each_isa
@pytest.mark.parametrize("shape", SMALLER, ids=str)
def test_the_residual_evidence(isa, shape, poisoned):
    given = compared(shape)[:5]
    got, exactly = (
        compiled(residual_evidence, *given),
        reference(residual_evidence, *given, double=True),
    )
    assert got.shape == (1, 11, *shape)
    assert (got - exactly).abs().amax((0, 2, 3, 4)).tolist() == pytest.approx([0] * 11, abs=2e-5)


def test_evidence_of_a_batch_and_of_an_empty_mask():
    cases = [compared((17, 33, 21), seed)[:5] for seed in (0, 5)]
    cases[1] = (*cases[1][:4], torch.zeros_like(cases[1][4]))
    both = residual_evidence(*(torch.cat(pair) for pair in zip(*cases, strict=True)))
    assert torch.equal(both[:1], residual_evidence(*cases[0]))
    assert not both[1].any()


@each_isa
def test_the_probability_of_an_abnormal_voxel(isa, poisoned):
    logit, mask = (
        torch.linspace(-120, 120, 30011).view(1, 1, 1, 1, -1),
        noise((1, 1, 1, 1, 30011), 0) > -1,
    )
    got = compiled(abnormal_probability, logit, mask)
    exactly = reference(abnormal_probability, logit, mask, double=True)
    assert (got - exactly).abs().max() < 2e-7
    near = (logit.abs() < 80) & mask
    assert ((got - exactly).abs() / exactly)[near].max() < 4e-7


@each_isa
@pytest.mark.parametrize("shape", SMALLER, ids=str)
def test_the_structural_difference(isa, shape, poisoned):
    x, phi, _, fluid, _, view = compared(shape)
    got = compiled(structural_difference, x, phi, fluid, view)
    assert (
        got - reference(structural_difference, x, phi, fluid, view, double=True)
    ).abs().max() < 2e-6


def score_case(shape, sign, sharpness, head):
    x, phi, p, fluid, _, view = compared(shape)
    spread, structure = usual_spread(x, phi, p, view), noise(x.shape, 3).abs()
    evidence = noise(x.shape, 4).sigmoid() if head else None
    return x, phi, fluid, view, spread, structure, sign, sharpness, evidence


@cache
def exact_score(*case):
    """By torch in float64; cluster enhancement, whose reference is slow, by its kernel in float64."""
    doubles = (
        t.double() if isinstance(t, torch.Tensor) and t.is_floating_point() else t
        for t in score_case(*case)
    )
    return enhanced(*doubles)


CASES = [(1.0, 1.0, False), (1.0, 0.5, True), (-1.0, 1.0, True), (-1.0, 0.5, False)]


@each_isa
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("shape", SMALLER, ids=str)
def test_the_enhanced_score(isa, shape, case, poisoned):
    got, exactly = compiled(enhanced, *score_case(shape, *case)), exact_score(shape, *case)
    assert (got - exactly).abs().max() <= 1e-5 * max(1, float(exactly.max()))


def test_the_bits_do_not_depend_on_the_instruction_set():
    x, phi, p, fluid, mask, view = compared((24, 35, 48))
    found = []
    for name in context.supported_instruction_sets():
        with context.use(instruction_set=name):
            spread, structure = (
                usual_spread(x, phi, p, view),
                structural_difference(x, phi, fluid, view),
            )
            evidence = residual_evidence(x, phi, p, fluid, mask)
            h = abnormal_probability(evidence[:, 1:2], mask)
            e = enhanced(x, phi, fluid, view, spread, structure, -1.0, 0.5, h)
            found.append((structure, evidence, h, e))
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))
