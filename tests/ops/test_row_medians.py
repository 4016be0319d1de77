"""The kernel that selects medians, on rows of one block and of many; a CPU plays its threads."""

import pytest
import torch
from cuda_on_host.build import why_not
from engines import host_cuda

from dal_fast.ops._row_medians import row_medians

emulated = pytest.mark.skipif(bool(why_not()), reason=why_not() or "runs")


def rows(length):
    """A spread over many digits; many equal values; the same with gaps; no number at all."""
    generator = torch.Generator().manual_seed(length)
    normal = torch.randn(4, length, generator=generator)
    out = torch.stack([normal[0].exp(), normal[1].mul(2).round(), normal[2], normal[3]])
    out[2, torch.rand(length, generator=generator) < 0.7] = torch.nan
    out[3] = torch.nan
    return out


@emulated
@pytest.mark.parametrize("order", ["ascending", "random"])
@pytest.mark.parametrize("length", [1, 2, 511, 32768, 32769, 70001])
def test_is_what_a_sort_finds(length, order):
    x = rows(length)
    with host_cuda("fast", order):
        got = row_medians(x, backend="cuda")
    torch.testing.assert_close(got, x.nanmedian(dim=-1).values, rtol=0, atol=0, equal_nan=True)


@emulated
def test_finds_extremes_and_infinities():
    x = torch.tensor([[-torch.inf] * 3 + [torch.inf] * 2, [torch.inf, 3e38, -3e38, 1e-45, -1e-45]])
    with host_cuda("fast"):
        assert row_medians(x, backend="cuda").tolist() == [-torch.inf, x[1, 3].item()]


@emulated
@pytest.mark.emulated
def test_no_block_depends_on_when_another_runs():
    """With `make emulated`, which builds all kernels this way: the suite would for this alone."""
    x = rows(40000)[:2]
    with host_cuda("race"):
        got = row_medians(x, backend="cuda")
    assert torch.equal(got, x.nanmedian(dim=-1).values)


def test_a_gradient_takes_the_way_that_has_one():
    x = torch.tensor([[3.0, 1.0, 2.0]], requires_grad=True)
    row_medians(x).sum().backward()
    assert x.grad.tolist() == [[0.0, 0.0, 1.0]]
