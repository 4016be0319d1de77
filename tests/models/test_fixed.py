"""Torch's forms of fixed shapes, which GPUs take, against the compiled ones of a CPU."""

import pytest
import torch
from brains import probabilities, structures

from dal_fast.models import closed_form, fixed
from dal_fast.models.evidence import TissueEvidence
from dal_fast.models.residual_head import residual_evidence
from dal_fast.models.residuals import usual_spread
from dal_fast.ops._image_stages import by_torch

MEANS = {"T2w": (0.9, 0.55, 0.4), "T1w": (0.2, 0.5, 0.8)}
SPACE = (64, 80, 64)


def batch(shift=3):
    """Two scans of unlike brains: one with a lesion and a bias field, one moved, partly without
    signal."""
    maps = structures(SPACE)
    maps = torch.cat([maps, maps.roll(shift, 2) * (torch.arange(SPACE[0]) > 12)[:, None, None]])
    p, mask = probabilities(maps), maps > 0
    table = torch.tensor([MEANS["T2w"], MEANS["T1w"]])
    x = torch.einsum("nk,nkdhw->ndhw", table, p)[:, None]
    x = x + 0.03 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    ramp = torch.linspace(-0.2, 0.2, SPACE[1])[:, None]
    x[0] = x[0] * ramp.exp()
    x[0, 0, 38:46, 40:50, 30:40] += 0.4
    x[1, 0, :, :, 60:] = 0
    return x.clamp(0, 2) * mask, p, mask


def both(work):
    want = work()
    with by_torch():
        return work(), want


def test_recoupling_is_the_same():
    x, p, mask = batch()
    got, want = both(lambda: closed_form(x, p, mask))
    torch.testing.assert_close(got.means, want.means, atol=2e-5, rtol=0)
    torch.testing.assert_close(got.bias, want.bias, atol=5e-4, rtol=0)
    torch.testing.assert_close(got.image, want.image, atol=5e-4, rtol=0)
    assert float((want.bias - 1).abs().amax()) > 0.1  # there is a field to find


def test_a_brain_of_few_voxels_has_no_field():
    x, p, mask = batch()
    mask = mask & (torch.arange(SPACE[2]) == 31)
    mask[:, :, :30] = mask[:, :, 32:] = False
    assert 0 < int(mask[0].sum()) < 200
    got, want = both(lambda: closed_form(x, p, mask))
    assert torch.equal(got.bias, torch.ones_like(x))
    torch.testing.assert_close(got.image, want.image, atol=1e-5, rtol=0)


def test_tissue_evidence_is_the_same():
    x, _, mask = batch()
    evidence = TissueEvidence(3)
    atlas = torch.rand(evidence.atlas.shape, generator=torch.Generator().manual_seed(1))
    evidence.atlas.copy_(atlas / atlas.sum(1, keepdim=True))
    got, want = both(lambda: evidence(x, mask))
    torch.testing.assert_close(got, want, atol=2e-3, rtol=0)
    got, want = both(lambda: evidence.place(mask, tissue=1))
    torch.testing.assert_close(got, want, atol=1e-5, rtol=0)
    got, want = both(lambda: evidence(x, torch.zeros_like(mask)))
    assert torch.equal(got, want)


def test_spreads_and_residual_evidence_are_the_same():
    x, p, mask = batch()
    x = x.clamp_max(1)
    phi = closed_form(x, p, mask).image
    got, want = both(lambda: usual_spread(x, phi, p, mask & (x > 0)))
    torch.testing.assert_close(got, want, atol=1e-6, rtol=0)
    got, want = both(lambda: residual_evidence(x, phi, p, p[:, :1], mask))
    torch.testing.assert_close(got, want, atol=2e-4, rtol=0)  # SSIM takes variances from sums


@pytest.mark.parametrize("space", [(32, 40, 32), (36, 44, 40)])
def test_small_volumes_are_sampled_alike(space):
    """A brain that fills its volume, on either side of 60,000 voxels."""
    p = torch.rand(1, 3, *space, generator=torch.Generator().manual_seed(0)).mul(8).softmax(1)
    x = torch.einsum("k,nkdhw->ndhw", torch.tensor(MEANS["T2w"]), p)[:, None]
    x = x * torch.linspace(-0.3, 0.3, space[2]).exp()
    got, want = both(lambda: closed_form(x, p, torch.ones_like(x, dtype=torch.bool)))
    torch.testing.assert_close(got.bias, want.bias, atol=1e-5, rtol=0)
    assert float((want.bias - 1).abs().amax()) > 0.1


@pytest.mark.parametrize("count", [0, 1, 2, 7, 100])
def test_medians_and_means_of_the_highest(count):
    generator = torch.Generator().manual_seed(count)
    values = torch.randn(3, 4000, generator=generator)
    mask = torch.zeros(3, 4000, dtype=torch.bool)
    mask[:, torch.randperm(4000, generator=generator)[:count]] = True
    median, mean = fixed.masked_median(values, mask), fixed.masked_mean(values, mask)
    top = fixed.top_mean(values, mask, 0.03)
    for n in range(3):
        inside = values[n][mask[n]]
        if count == 0:
            assert median[n].isnan()
            assert mean[n] == top[n] == 0
            continue
        assert median[n] == inside.median()
        assert float(mean[n]) == pytest.approx(float(inside.mean()), abs=1e-6)
        highest = inside.sort(descending=True).values[: -(-3 * count // 100)]
        assert float(top[n]) == pytest.approx(float(highest.double().mean()), abs=1e-12)


def test_a_box_is_taken_as_padding_takes_it():
    volumes = torch.randn(2, 2, 6, 7, 8)
    pads = [[-1, 3, 0, -2, 2, 1], [0, 2, -2, 0, 1, 2]]  # of W, H and D, as F.pad takes them
    box = [fixed_box(pads, axis, size) for axis, size in enumerate(volumes.shape[2:])]
    taken = fixed.Taken(*(tuple(part) for part in zip(*box, strict=True)))
    for n in range(2):
        want = torch.nn.functional.pad(volumes[n], pads[n])
        assert torch.equal(fixed.take(volumes, taken)[n], want)


def fixed_box(pads, axis, size):
    """Indices and validity along an axis, ``(N, side)`` each."""
    lead = [pad[4 - 2 * axis] for pad in pads]
    side = size + lead[0] + pads[0][5 - 2 * axis]
    index = torch.stack([torch.arange(side) - first for first in lead])
    return index.clamp(0, size - 1), (index >= 0) & (index < size)
