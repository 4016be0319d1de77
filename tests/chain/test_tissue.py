"""The compiled stages around the tissue network against torch."""

import pytest
import torch
from chain.volumes import (
    MEANS,
    SHAPES,
    everywhere,
    far,
    noise,
    phantom,
    random_case,
    reference_parts,
)

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


@pytest.mark.parametrize("contrast", MEANS)
def test_the_evidence_of_a_phantom(contrast):
    x, _, mask = phantom(contrast)
    (got,) = everywhere(evidence_of, x, mask, smooth_atlas())
    assert far(got, *reference_parts(evidence_of, x, mask, smooth_atlas(), double=True)) < TOLERANCE
    assert (
        far(got, *reference_parts(evidence_of, x, mask, smooth_atlas())) < 3 * TOLERANCE
    )  # its own


@pytest.mark.parametrize("sides", [(40, 48, 40), (7, 1, 3)], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_evidence_of_anything(shape, sides):
    """Tissues that cannot be told apart: spreads at their limit, and few samples or none."""
    x, _, _, mask = random_case(shape)
    (got,) = everywhere(evidence_of, x, mask, smooth_atlas(sides))
    exactly = reference_parts(evidence_of, x, mask, smooth_atlas(sides), double=True)
    assert far(got, *exactly) < 5 * TOLERANCE


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_logits_and_probabilities(shape):
    x, _, _, mask = random_case(shape)
    evidence, output = evidence_of(x, mask, smooth_atlas())[:, :7], 3 * noise((1, 4, *shape), 2)
    (got,) = everywhere(combine, evidence, output)
    assert far(got, *reference_parts(combine, evidence, output, double=True)) < TOLERANCE
    (found,) = everywhere(probabilities, got, mask)
    assert far(found, *reference_parts(probabilities, got, mask, double=True)) < 1e-6


def test_far_logits_are_no_nan():
    logits = torch.tensor([200.0, -200, 0, -1e30, 1e30, 0]).view(1, 3, 1, 1, 2)
    mask = torch.ones(1, 1, 1, 1, 2, dtype=torch.bool)
    (want,) = reference_parts(probabilities, logits, mask)
    assert torch.equal(everywhere(probabilities, logits, mask)[0], want)
