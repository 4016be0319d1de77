"""Order statistics inside a mask: exactly those of a sort, on every path and for any threads."""

import numpy as np
import pytest
import torch
from support import each_isa

from dal_fast import context
from dal_fast.imaging.selection import Selection


def volumes():
    """(name, values): ties, signs, subnormals, infinities, one digit alone."""
    g = torch.Generator().manual_seed(0)
    normal = torch.randn(70, 41, 53, generator=g)
    yield "normal", normal
    yield "ties", (normal * 3).round()
    yield "all negative", -normal.abs() - 1
    yield "constant", torch.full((5, 6, 7), 0.3)
    yield "tiny", normal * 1e-42
    yield "wide", torch.ldexp(normal, torch.randint(-120, 120, normal.shape, generator=g))
    yield (
        "infinite",
        torch.where(normal > 2, torch.inf, torch.where(normal < -2, -torch.inf, normal)),
    )
    yield "last digit", (torch.arange(1000) + 0x3F800000).int().view(torch.float32)
    yield "one", torch.tensor([-2.5])


@each_isa
@pytest.mark.parametrize(("name", "x"), list(volumes()), ids=lambda v: v if type(v) is str else "")
def test_equals_a_sort(isa, name, x, poisoned):
    density = 1.0 if x.numel() == 1 else 0.6
    mask = torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) < density
    inside = np.sort(x[mask].numpy())
    above = inside[inside > 0]
    for threads in (1, 2, 3):
        with context.use(threads=threads):
            brain = Selection(x, mask)
            counts = brain.counts()
            assert counts.inside == len(inside)
            assert (counts.negative, counts.positive) == ((inside < 0).sum(), len(above))
            for positive, values in ((False, inside), (True, above)):
                ranks = {0, len(values) // 1000, (len(values) - 1) // 2, len(values) - 1}
                for k in ranks if len(values) else ():
                    assert brain.kth(k, positive=positive) == values[k]


def test_the_median_is_torchs():
    x = torch.randn(2, 30, 31, generator=torch.Generator().manual_seed(2))
    for n in (1860, 1859):  # even and odd
        mask = torch.arange(x.numel()).view(x.shape) < n
        assert Selection(x, mask).kth((n - 1) // 2) == float(x[mask].median())


def test_any_layout_and_mask_bytes():
    x = torch.randn(9, 10, 11, generator=torch.Generator().manual_seed(3)).transpose(0, 2)
    mask = torch.tensor([0, 1, 128, 255], dtype=torch.uint8)[
        torch.randint(0, 4, x.shape, generator=torch.Generator().manual_seed(4))
    ]
    counts = Selection(x, mask.view(torch.bool)).counts()
    assert counts.inside == int((mask != 0).sum())
    assert counts.positive == int(((mask != 0) & (x > 0)).sum())
