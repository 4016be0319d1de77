"""The axes of the conformance tables, shared by every op's test."""

import pytest
import torch

from dal_fast import context

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10, torch.float16: 1e-3, torch.bfloat16: 8e-3}

# round, odd, prime, thinner than any window, single voxel, batch and channels, no batch
SHAPES = [
    (1, 1, 16, 24, 32),
    (2, 1, 9, 11, 37),
    (1, 2, 7, 13, 17),
    (1, 1, 3, 2, 5),
    (1, 1, 1, 1, 1),
    (1, 1, 1, 40, 3),
    (0, 1, 4, 4, 4),
]


def _sliced(x):
    """The same values inside a larger buffer whose rest is NaN: reading beyond shows."""
    n, c, *space = x.shape
    big = torch.full((n, c, *(s + 2 for s in space)), float("nan"), dtype=x.dtype, device=x.device)
    inner = big[..., 1:-1, 1:-1, 1:-1]
    inner.copy_(x)
    return inner.detach()


LAYOUTS = {
    "contiguous": lambda x: x.contiguous(),
    "sliced": _sliced,
    "permuted": lambda x: x.permute(0, 1, 4, 3, 2).contiguous().permute(0, 1, 4, 3, 2),
    "stride-0": lambda x: x[..., :1].expand_as(x),
}


def one_in(n, rows):
    """pytest parameters: every ``n``-th row runs in the suite, the others in ``make long``."""
    marks = [[], [pytest.mark.long]]
    rows = [row if isinstance(row, tuple) else (row,) for row in rows]
    return [pytest.param(*row, marks=marks[i % n > 0]) for i, row in enumerate(rows)]


each_isa = pytest.mark.parametrize("isa", context.supported_instruction_sets(), indirect=True)
