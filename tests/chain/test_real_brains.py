"""The compiled stages on brains of the IXI data set, from the file to the pseudo-healthy image."""

import pytest
import torch
from chain.volumes import everywhere, far, reference_parts
from tiny import needs_default_weights
from torch.nn import functional as F

from dal_fast import context
from dal_fast.models import load_weights
from dal_fast.models.dal import probabilities
from dal_fast.models.evidence import TissueEvidence
from dal_fast.models.recouple import closed_form
from dal_fast.models.residuals import highest_nearby, usual_spread
from dal_fast.screening.model_input import prepare_input
from dal_fast.screening.scan import load_scan

pytestmark = [pytest.mark.shared, needs_default_weights]


@pytest.fixture(scope="module", params=["012", "079"])
def brain(request, shared_data):
    """The scan on the model's grid by the compiled stages and by torch, cut for the networks."""
    name = f"sub-IXI{request.param}"
    path = shared_data / f"ixi-hh-2mm/{name}/anat/{name}_desc-brain_T1w.nii.gz"
    if not path.exists():
        pytest.skip(f"there is no {path}")
    scan = load_scan(path)
    got = prepare_input(scan, 2.0)
    with context.use(backend="reference"):
        want = prepare_input(scan, 2.0)
    assert got.grid.shape == want.grid.shape
    assert torch.equal(got.mask, want.mask)
    assert torch.equal(got.field_of_view, want.field_of_view)
    assert far(got.image, want.image) < 1e-6
    model = load_weights()
    pads = model.pads(want.mask)
    x, mask = F.pad(want.image * want.mask, pads).clamp_max(1), F.pad(want.mask, pads)
    with torch.inference_mode():
        logits = model.tissue_logits(x, mask)
    return model, x.clone(), mask.clone(), logits.clone()


def evidence_of(x, mask, atlas):
    tissue = TissueEvidence(3)
    tissue.atlas = atlas
    return tissue(x, mask)


def test_evidence(brain):
    model, x, mask, _ = brain
    inputs = x, mask, model.part("evidence").atlas
    (got,) = everywhere(evidence_of, *inputs)
    assert far(got, *reference_parts(evidence_of, *inputs, double=True)) < 1e-5


def test_pseudo_healthy_image_and_what_follows(brain):
    """Torch's own float32 is up to 2e-5 from float64 here: its normal equations are float32."""
    _, x, mask, logits = brain
    (p,) = everywhere(probabilities, logits, mask)
    assert far(p, *reference_parts(probabilities, logits, mask, double=True)) < 1e-6
    got = everywhere(closed_form, x, p, mask)
    exactly = reference_parts(closed_form, x, p, mask, double=True)
    single = reference_parts(closed_form, x, p, mask)
    for a, b, c in zip(got, exactly, single, strict=True):
        assert far(a, b) < 1e-6
        assert far(a, c) < 5e-5
    phi, inside = got[0], mask & (x > 0)
    (spread,) = everywhere(usual_spread, x, phi, p, inside)
    assert far(spread, *reference_parts(usual_spread, x, phi, p, inside, double=True)) < 1e-6
    (highest,) = everywhere(highest_nearby, phi, mask)
    assert torch.equal(highest, *reference_parts(highest_nearby, phi, mask))
