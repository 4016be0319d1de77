"""The bias field against phantoms whose field is known: a lesion is no part of it."""

import pytest
import torch
from brains import probabilities, structures
from torch.nn import functional as F

from dal_fast.models import bias, closed_form

MEANS = {"T2w": (0.9, 0.55, 0.4), "FLAIR": (0.15, 0.6, 0.5), "T1w": (0.2, 0.5, 0.8)}
SPACE = (64, 80, 64)
ML = 0.008  # of a voxel of 2 mm


def _coordinates():
    axes = [torch.linspace(-1, 1, side) for side in SPACE]
    return torch.meshgrid(*axes, indexing="ij")


def _field(mask, log_sd, one_sided=True):
    """Three coils, one of them on the left only."""
    places = [(-1.5, 0.3, 0.2), (0.0, 1.6, 0.4), (0.0, -0.8, 1.5)][not one_sided :]
    u, v, w = _coordinates()
    total = sum(1 / (1 + (u - a) ** 2 + (v - b) ** 2 + (w - c) ** 2) for a, b, c in places)
    log_field = total.log()
    inside = log_field[mask[0, 0]]
    return ((log_field - inside.mean()) * (log_sd / inside.std())).exp()


def _ball(mask, centre, radius):
    u, v, w = _coordinates()
    gap = [(axis - c) * side / 2 for axis, c, side in zip((u, v, w), centre, SPACE, strict=True)]
    return (sum(g * g for g in gap).sqrt() < radius) & mask[0, 0]


def _phantom(contrast, log_sd=0.0, one_sided=True):
    maps = structures(SPACE)
    p, mask = probabilities(maps), maps > 0
    field = _field(mask, log_sd, one_sided) if log_sd else torch.ones(SPACE)
    healthy = torch.einsum("k,nkdhw->ndhw", torch.tensor(MEANS[contrast]), p)[:, None]
    noise = torch.randn(healthy.shape, generator=torch.Generator().manual_seed(0))
    return (healthy + 0.03 * noise).clamp_min(0.01) * mask, field, p, mask


def _kept(sick, healthy, lesion):
    """Share of the lesion's contrast that phi shows, by what phi is without the lesion."""
    before, after = healthy[0], sick[0]
    change = (after.image - before.image)[0, 0][lesion].mean()
    return abs(float(change / (sick[1] - healthy[1])[0, 0][lesion].mean()))


@pytest.mark.parametrize("contrast", MEANS)
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("radius", "log_sd", "limit"), [(7, 0.0, 0.03), (11, 0.2, 0.09), (15, 0.0, 0.07)]
)
def test_a_large_lesion_is_no_bias(contrast, sign, radius, log_sd, limit):
    """Of 11, 45 and 110 mL, up to a sixth of this small brain."""
    clean, field, p, mask = _phantom(contrast, log_sd)
    lesion = _ball(mask, (0.35, 0.1, 0.1), radius)
    assert 0.7 < float(lesion.sum()) / (4.19 * radius**3) <= 1.05
    sick = (clean + 0.25 * sign * lesion).clamp_min(0.02) * field
    healthy = clean * field
    results = [(closed_form(scan, p, mask), scan) for scan in (sick, healthy)]
    assert _kept(*results, lesion) < limit
    found = results[0][0].bias[0, 0] / field
    error = found / found[mask[0, 0] & ~lesion].median() - 1
    assert float(error[lesion].mean().abs()) < limit


@pytest.mark.parametrize("contrast", MEANS)
def test_lesions_on_both_sides_are_no_bias(contrast):
    clean, _, p, mask = _phantom(contrast)
    lesion = _ball(mask, (0.4, 0.1, 0.1), 8) | _ball(mask, (-0.4, 0.1, 0.1), 8)
    sick = clean + 0.25 * lesion
    results = [(closed_form(scan, p, mask), scan) for scan in (sick, clean)]
    assert _kept(*results, lesion) < 0.08


@pytest.mark.parametrize("contrast", MEANS)
@pytest.mark.parametrize("one_sided", [True, False])
def test_a_strong_field_is_found(contrast, one_sided):
    clean, field, p, mask = _phantom(contrast, 0.4, one_sided)
    found = closed_form(clean * field, p, mask).bias
    error = (found[0, 0] / field).log()[mask[0, 0]]
    assert float(error.std()) < 0.08, "of a field whose log SD is .4"


def test_most_of_a_brain_that_stands_out_changes_nothing(monkeypatch):
    """Where two thirds of the brain are flagged there is no telling what is healthy."""
    clean, field, p, mask = _phantom("FLAIR", 0.1)
    scan = clean * field
    monkeypatch.setattr(bias, "_STANDS_OUT", (0.01, 0.02))
    found = bias.bias_field(scan[:, 0], p, mask[:, 0], 2)
    assert not found.suspicious.any()
    assert float((found.bias[0] / field).log()[mask[0, 0]].std()) < 0.04


def test_what_stands_out_is_told():
    clean, _, p, mask = _phantom("T1w")
    lesion = _ball(mask, (0.35, 0.1, 0.1), 8)
    scan = (clean - 0.25 * lesion).clamp_min(0.02)
    found = bias.bias_field(scan[:, 0], p, mask[:, 0], 2)
    assert float(found.suspicious[0, lesion].float().mean()) > 0.9
    near = F.max_pool3d(lesion[None, None].float(), 9, 1, 4)[0, 0] > 0
    assert float(found.suspicious[0, mask[0, 0] & ~near].float().mean()) < 0.05


@pytest.mark.parametrize("contrast", MEANS)
@pytest.mark.parametrize("height", [0.04, 0.06, 0.08, 0.1, 0.14])
def test_rounding_in_the_tissue_is_rounding_in_the_field(contrast, height):
    """Also where a cluster is about to be left out: no decision is taken about it as a whole."""
    clean, field, p, mask = _phantom(contrast, 0.2)
    lesion = _ball(mask, (0.35, 0.1, 0.1), 9)
    scan = (clean + height * lesion).clamp_min(0.02) * field
    noise = torch.randn(p.shape, generator=torch.Generator().manual_seed(1))
    logits = p.clamp_min(1e-4).log()
    sizes = (0.0, 1e-6, 1e-4)
    fits = [
        closed_form(scan, (logits + size * noise).softmax(1) * mask, mask).bias for size in sizes
    ]
    for size, fit in zip(sizes[1:], fits[1:], strict=True):
        assert float((fit - fits[0]).abs().max()) < 20 * size


def test_gradients_reach_the_tissue_alone():
    clean, field, p, mask = _phantom("T2w", 0.2)
    logits = p.clamp_min(1e-3).log().requires_grad_()
    image = closed_form(clean * field, logits.softmax(1) * mask, mask).image
    image.square().mean().backward()
    assert bool(logits.grad.isfinite().all())
    assert bool(logits.grad.any())
