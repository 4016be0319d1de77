"""Every op on every engine against the float64 reference: dtypes, layouts, shapes, poisoned memory.

The same table serves the CPU's instruction sets, the CUDA sources on the CPU, Triton's interpreter
and a GPU; see engines.py for how to choose.
"""

from __future__ import annotations

from functools import cache

import pytest
import torch
from conformance.case import Case, noise
from conformance.cases import CASES, GRAD_TOLERANCE
from engines import Engine, engines
from support import LAYOUTS, SHAPES

BY_NAME = {case.name: case for case in CASES}
LARGER = [(1, 1, 44, 35, 21), (1, 2, 6, 70, 41)]  # more than a tile of any GPU kernel in each axis


def _floating(case: Case) -> bool:
    return case.inputs((1, 1, 1, 1, 1), torch.float32)[0].is_floating_point()


def _shapes(engine: Engine, case: Case, first: bool) -> list[tuple[int, ...]]:
    """All; where threads are emulated fewer, and for other dtypes than the first only one."""
    if engine.small and case.costly:
        return [(1, 1, 3, 2, 5)] if first else []
    if engine.emulated and not first:
        return [(1, 2, 7, 13, 17)]
    if engine.small:
        return [(1, 2, 7, 13, 17), (1, 1, 3, 2, 5), (1, 1, 1, 1, 1)]
    return SHAPES + (LARGER if first and engine.backend != "cpu" else [])


def _together(engine: Engine, shapes: list[tuple[int, ...]]) -> list[list[tuple[int, ...]]]:
    """The shapes of each test: on a CPU, where thousands would be of milliseconds, all of them."""
    return [shapes] if engine.backend == "cpu" else [[shape] for shape in shapes]


def _combinations():
    """(engine, case, dtype, layout, shapes): every dtype contiguous, float32 in every layout."""
    for parameter in engines():
        (engine,) = parameter.values
        if engine is None:  # cannot run here: one test says why
            yield pytest.param(*(None,) * 5, marks=parameter.marks, id=parameter.id)
            continue
        for case in CASES:
            if engine.backend not in case.backends:
                continue
            dtypes = engine.dtypes if _floating(case) else [torch.bool]
            kinds = [(dtype, "contiguous") for dtype in dtypes]
            kinds += [(dtypes[0], k) for k in LAYOUTS if k != "contiguous" and not engine.small]
            for i, (dtype, layout) in enumerate(kinds):
                name = str(dtype).removeprefix("torch.")
                for shapes in _together(engine, _shapes(engine, case, i == 0)):
                    label = " ".join(f"{layout}-{'x'.join(map(str, shape))}" for shape in shapes)
                    yield pytest.param(
                        engine, case.name, dtype, layout, shapes, marks=parameter.marks,
                        id=f"{parameter.id}-{case.name}-{name}-{label}",
                    )  # fmt: skip


def _laid_out(case, dtype, layout, shape, device="cpu"):
    given = case.inputs(shape, dtype)
    return [None if t is None else LAYOUTS[layout](t.to(device)) for t in given]


def _with_gradients(case, inputs, call, up):
    """The result, and the gradients of ``sum(up * result)``; of a mean's sum over the voxels."""
    leaves = [t.detach().requires_grad_() for t in inputs[: case.differentiable]]
    out = call(*leaves, *inputs[case.differentiable :])
    if not leaves:
        return out, ()
    weight = up(out) if out.dim() else out.new_tensor(float(inputs[0].numel()))
    return out.detach(), torch.autograd.grad(out, leaves, weight)


@cache
def _expected(name, dtype, layout, shape):
    case = BY_NAME[name]
    inputs = [
        t.double() if t is not None and t.is_floating_point() else t
        for t in _laid_out(case, dtype, layout, shape)
    ]
    up = lambda out: noise(out.shape, dtype, 9).double()  # noqa: E731
    return _with_gradients(case, inputs, case.reference, up)


@pytest.mark.parametrize(("engine", "name", "dtype", "layout", "shapes"), list(_combinations()))
def test_matches_reference(engine, name, dtype, layout, shapes, poisoned):
    for shape in shapes:
        _check(engine, BY_NAME[name], dtype, layout, shape)


def _check(engine, case, dtype, layout, shape):
    want, want_gradients = _expected(case.name, dtype, layout, shape)
    inputs = _laid_out(case, dtype, layout, shape, engine.device)
    with engine.running():
        got, gradients = _with_gradients(
            case, inputs, lambda *args: case.ours(engine.backend, *args),
            lambda out: noise(out.shape, dtype, 9).to(engine.device),
        )  # fmt: skip
    assert got.shape == want.shape, shape
    if got.dim() == 5:
        assert got.is_contiguous(), shape
    if got.dtype == torch.bool:
        allowed = 0 if dtype == torch.float64 else case.may_differ
        assert (got.cpu() != want).sum() <= allowed * want.numel(), shape
    else:
        atol = case.tolerance[got.dtype] if got.is_floating_point() else 0
        torch.testing.assert_close(
            got.cpu().double(), want.double(), rtol=0, atol=atol, equal_nan=True,
            msg=lambda text: f"{shape}: {text}",
        )  # fmt: skip
    for a, b in zip(gradients, want_gradients, strict=True):
        size = max(1.0, b.abs().max().item() if b.numel() else 0.0)
        torch.testing.assert_close(
            a.cpu().double(), b, rtol=0, atol=GRAD_TOLERANCE[dtype] * size,
            msg=lambda text: f"gradients of {shape}: {text}",
        )  # fmt: skip
