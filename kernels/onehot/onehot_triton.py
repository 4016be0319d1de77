"""Triton kernels of the one-hot family; formulas in onehot.h, rooflines in README.md.

A program takes ``BLOCK`` consecutive voxels of one batch entry and every class of them::

    class 0   ....[#######]....      voxels, contiguous
    class 1   ....[#######]....      one program: argmax or softmax down the column
    class 2   ....[#######]....

Classes are unrolled, levels are passed by value: a call copies nothing to the device.
"""

import os
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
BLOCK = tl.constexpr(512 if INTERPRETED else 1024)  # voxels per program


@triton.jit
def _tile(voxels):
    """Batch entry, voxels of it and first of the tile (int64); lanes of the tile, which exist."""
    chunks = tl.cdiv(voxels, BLOCK)
    program = tl.program_id(0).to(tl.int64)
    first = program % chunks * BLOCK
    lane = tl.arange(0, BLOCK)
    return program // chunks, tl.cast(voxels, tl.int64), first, lane, lane < voxels - first


@triton.jit
def _argmax(row, stride, lane, inside, CLASSES: tl.constexpr):
    """The winning class; ties go to the lowest, a NaN never wins against an earlier class."""
    top = tl.load(row + lane, mask=inside, other=0).to(tl.float32)
    best = tl.zeros([BLOCK], tl.int32)
    for k in tl.static_range(1, CLASSES):
        row += stride
        z = tl.load(row + lane, mask=inside, other=0).to(tl.float32)
        best = tl.where(z > top, k, best)
        top = tl.where(z > top, z, top)
    return best


@triton.jit
def forward_kernel(logits, levels, mask, out, voxels, CLASSES: tl.constexpr):
    """logits (N, K, V) -> out (N, K, V) one-hot, or (N, V) levels[argmax] inside the mask."""
    n, voxels, first, lane, inside = _tile(voxels)
    best = _argmax(logits + n * CLASSES * voxels + first, voxels, lane, inside, CLASSES)
    if levels is None:
        row = out + n * CLASSES * voxels + first
        for k in tl.static_range(CLASSES):
            tl.store(row + lane, (best == k).to(out.dtype.element_ty), mask=inside)
            row += voxels
    else:
        image = tl.full([BLOCK], 0.0, tl.float32)
        for k in tl.static_range(CLASSES):
            image = tl.where(best == k, levels[k], image)
        at = n * voxels + first
        if mask is not None:
            image = tl.where(tl.load(mask + at + lane, mask=inside, other=0) != 0, image, 0.0)
        tl.store(out + at + lane, image.to(out.dtype.element_ty), mask=inside)


@triton.jit
def backward_kernel(
    logits, grad_out, levels, mask, grad_logits, voxels, inverse_t, CLASSES: tl.constexpr
):
    """dL/dz_k = p_k (g_k - sum_j p_j g_j) / T with p = softmax(z / T), g_k = m c_k g for an image.

    The numerators e_k = exp((z_k - max z) / T) are computed twice rather than kept: the logits come
    from the first-level cache the second time, and the number of classes is free.
    """
    n, voxels, first, lane, inside = _tile(voxels)
    at = n * CLASSES * voxels + first
    z_row = logits + at
    top = tl.load(z_row + lane, mask=inside, other=0).to(tl.float32)
    for k in tl.static_range(1, CLASSES):
        z = tl.load(z_row + k * voxels + lane, mask=inside, other=0)
        top = tl.maximum(top, z.to(tl.float32))

    g_row = grad_out + (at if levels is None else n * voxels + first)
    g = tl.load(g_row + lane, mask=inside, other=0).to(tl.float32)
    if mask is not None:
        m = tl.load(mask + n * voxels + first + lane, mask=inside, other=0)
        g = tl.where(m != 0, g, 0.0)

    total = tl.zeros([BLOCK], tl.float32)
    dot = tl.zeros([BLOCK], tl.float32)
    for k in tl.static_range(CLASSES):
        z = tl.load(z_row + k * voxels + lane, mask=inside, other=0).to(tl.float32)
        e = tl.exp((z - top) * inverse_t)
        if levels is None:
            g = tl.load(g_row + k * voxels + lane, mask=inside, other=0).to(tl.float32)
        total += e
        dot += e * (g if levels is None else g * levels[k])
    inverse = 1.0 / total
    dot *= inverse
    for k in tl.static_range(CLASSES):
        z = tl.load(z_row + k * voxels + lane, mask=inside, other=0).to(tl.float32)
        p = tl.exp((z - top) * inverse_t) * inverse
        if levels is None:
            g = tl.load(g_row + k * voxels + lane, mask=inside, other=0).to(tl.float32)
        d = p * ((g if levels is None else g * levels[k]) - dot) * inverse_t
        out = grad_logits + at + k * voxels + lane
        tl.store(out, d.to(grad_logits.dtype.element_ty), mask=inside)


def onehot_forward(
    logits: Tensor, levels: Sequence[float] | None, mask: Tensor | None, out: Tensor
) -> None:
    """Fills ``out``: one-hot ``(N, K, D, H, W)``, or with levels the image ``(N, 1, D, H, W)``.

    Args:
        logits: contiguous ``(N, K, D, H, W)``, float32, float16 or bfloat16.
        levels: K grey levels, or None.
        mask: contiguous bool ``(N, 1, D, H, W)``, only with levels; None: everywhere.
        out: contiguous, the dtype of ``logits``.
    """
    n, classes = logits.shape[:2]
    voxels = logits[0, 0].numel() if n else 0
    if voxels == 0:
        return
    table = None if levels is None else tuple(float(c) for c in levels)
    with torch.cuda.device_of(logits):
        forward_kernel[(n * triton.cdiv(voxels, BLOCK.value),)](
            logits, table, _bytes(mask), out, voxels, CLASSES=classes
        )


def onehot_backward(
    logits: Tensor,
    grad_out: Tensor,
    levels: Sequence[float] | None,
    mask: Tensor | None,
    temperature: float,
    grad_logits: Tensor,
) -> None:
    """Fills ``grad_logits`` ``(N, K, D, H, W)``; ``grad_out`` is contiguous, shaped as the output.

    Args: see :func:`onehot_forward`; ``temperature`` of the surrogate softmax.
    """
    n, classes = logits.shape[:2]
    voxels = logits[0, 0].numel() if n else 0
    if voxels == 0:
        return
    table = None if levels is None else tuple(float(c) for c in levels)
    with torch.cuda.device_of(logits):
        backward_kernel[(n * triton.cdiv(voxels, BLOCK.value),)](
            logits, grad_out, table, _bytes(mask), grad_logits, voxels, 1 / temperature,
            CLASSES=classes,
        )  # fmt: skip


def _bytes(mask: Tensor | None) -> Tensor | None:
    return None if mask is None else mask.view(torch.uint8)
