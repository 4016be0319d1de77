"""The compiled stages around the tissue network against torch, on every instruction set."""

import pytest
import torch
from chain.volumes import MEANS, SHAPES, compiled, noise, phantom, random_case, reference
from support import each_isa

from dal_fast.models.dal import probabilities
from dal_fast.models.evidence import TissueEvidence, combine

TOLERANCE = 1e-5


def smooth_atlas(sides=(40, 48, 40)):
    axes = torch.meshgrid(*(torch.linspace(-2, 2, n) for n in sides), indexing="ij")
    return torch.stack([axes[0].square(), axes[1].square() + 0.1, axes[2]]).softmax(0)[None]


def evidence_of(x, mask, atlas):
    tissue = TissueEvidence(3)
    tissue.atlas = atlas
    return torch.cat([tissue(x, mask), tissue.place(mask, tissue=1)], dim=1)


@each_isa
@pytest.mark.parametrize("contrast", MEANS)
def test_the_evidence_of_a_phantom(isa, contrast, poisoned):
    x, _, mask = phantom(contrast)
    got = compiled(evidence_of, x, mask, smooth_atlas())
    exactly = reference(evidence_of, x, mask, smooth_atlas(), double=True)
    assert (got - exactly).abs().max() < TOLERANCE
    assert (got - reference(evidence_of, x, mask, smooth_atlas())).abs().max() < TOLERANCE


@each_isa
@pytest.mark.parametrize("sides", [(40, 48, 40), (7, 1, 3)], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_evidence_of_anything(isa, shape, sides, poisoned):
    """Tissues that cannot be told apart: spreads at their limit, and few samples or none."""
    x, _, _, mask = random_case(shape)
    got = compiled(evidence_of, x, mask, smooth_atlas(sides))
    exactly = reference(evidence_of, x, mask, smooth_atlas(sides), double=True)
    assert (got - exactly).abs().max() < 5 * TOLERANCE


@each_isa
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_logits_and_probabilities(isa, shape, poisoned):
    x, _, _, mask = random_case(shape)
    evidence, output = evidence_of(x, mask, smooth_atlas())[:, :7], 3 * noise((1, 4, *shape), 2)
    got = compiled(combine, evidence, output)
    exactly = reference(combine, evidence, output, double=True)
    assert (got - exactly).abs().max() < TOLERANCE
    found = compiled(probabilities, got, mask)
    assert (found - reference(probabilities, got, mask, double=True)).abs().max() < 1e-6


def test_far_logits_are_no_nan():
    logits = torch.tensor([200.0, -200, 0, -1e30, 1e30, 0]).view(1, 3, 1, 1, 2)
    mask = torch.ones(1, 1, 1, 1, 2, dtype=torch.bool)
    want = reference(probabilities, logits, mask)
    assert torch.equal(compiled(probabilities, logits, mask), want)
