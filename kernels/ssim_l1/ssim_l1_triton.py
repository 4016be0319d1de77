"""Triton kernels of SSIM, hybrid score and the L1 + SSIM loss; formulas in ssim_l1.h and README.md.

Two passes over memory, with four filtered fields between them:

    y, marching     filter_xy_kernel                      filter_z: every voxel, 2r + 1 planes
       |  z x tile  row y: x filter by shifted loads         z
       v [#####]    2r + 1 rows of sums in registers,        | tile of z and (y x)
         [#####]    each row adds to all, one is done        | [########]  -> SSIM, score, sums,
         [#####]    -> workspace (V, D, H, 4, P)             v [########]     derivatives, gradients

V = N * C volumes, P the width padded to 16 as in ``fields``. The window's weights go by value.
"""

import os

import torch
import triton
import triton.language as tl
from torch import Tensor

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
XY_Z = tl.constexpr(8 if INTERPRETED else 4)  # filter_xy_kernel: planes, columns, marched rows
XY_X = tl.constexpr(32)
XY_ROWS = tl.constexpr(16 if INTERPRETED else 64)
Z_Z = tl.constexpr(16)  # the z pass: planes, elements of a padded plane
Z_YX = tl.constexpr(512 if INTERPRETED else 32)
SAMPLED = tl.constexpr(64)  # rows that a volume's shift is the mean of, 16 planes of 4


@triton.jit
def _reflect(i, n, SHORT: tl.constexpr):
    """c b a | a b c | c b a. SHORT: the window may pass an axis of n voxels more than once."""
    if SHORT:
        i = (i + 16 * n) % (2 * n)
        i = tl.minimum(i, 2 * n - 1 - i)
    else:
        i = tl.where(i < 0, -1 - i, tl.where(i >= n, 2 * n - 1 - i, i))
    return i


@triton.jit
def shift_kernel(x, y, shifts, depth, height, width, X: tl.constexpr):
    """shifts (V, 2) = means of the finite voxels of SAMPLED rows of x and of y; 0 without one."""
    volume = tl.program_id(0).to(tl.int64)
    step_z = tl.cdiv(depth, SAMPLED // 4)
    step_y = tl.cdiv(height, 4)
    sample = tl.arange(0, SAMPLED)[:, None]
    z = step_z // 2 + sample // 4 * step_z
    row = step_y // 2 + sample % 4 * step_y
    inside = (z < depth) & (row < height)
    at = ((volume * depth + z) * height + row) * width
    for i in tl.static_range(2):
        source = x if i == 0 else y
        total = tl.zeros([SAMPLED, X], tl.float32)
        count = tl.zeros([SAMPLED, X], tl.float32)
        for first in range(0, width, X):
            lane = first + tl.arange(0, X)[None, :]
            v = tl.load(source + at + lane, mask=inside & (lane < width), other=float("nan"))
            v = v.to(tl.float32)
            finite = tl.abs(v) < float("inf")
            total += tl.where(finite, v, 0.0)
            count += tl.where(finite, 1.0, 0.0)
        mean = tl.sum(total.to(tl.float64)) / tl.maximum(tl.sum(count), 1.0)
        tl.store(shifts + 2 * volume + i, mean.to(tl.float32))


@triton.jit
def _row_of_moments(x, y, taps, weights, s, t, R: tl.constexpr):
    """x filter of u, u^2, v, v^2 with u = (x - s) - (y - t), v = (x - s) + (y - t).

    x, y: pointers (XY_Z, 1) to the row in each plane; taps: offsets (1, XY_X) in it of the 2r + 1
    voxels that count.
    """
    zero = tl.zeros([XY_Z, XY_X], tl.float32)
    u1, u2, v1, v2 = zero, zero, zero, zero
    for k in tl.static_range(-R, R + 1):
        d = tl.load(x + taps[k + R]).to(tl.float32) - s
        e = tl.load(y + taps[k + R]).to(tl.float32) - t
        u = weights[k if k >= 0 else -k] * (d - e)
        v = weights[k if k >= 0 else -k] * (d + e)
        u1 += u
        u2 += u * (d - e)
        v1 += v
        v2 += v * (d + e)
    return u1, u2, v1, v2


@triton.jit
def _row_of_fields(fields, taps, weights, padded, R: tl.constexpr):
    """x filter of four fields that lie ``padded`` apart; pointers and offsets as for moments."""
    zero = tl.zeros([XY_Z, XY_X], tl.float32)
    out = (zero, zero, zero, zero)
    for k in tl.static_range(-R, R + 1):
        at = fields + taps[k + R]
        w = weights[k if k >= 0 else -k]
        new = ()
        for f in tl.static_range(4):
            new += (out[f] + w * tl.load(at + f * padded),)
        out = new
    return out


@triton.jit
def filter_xy_kernel(
    x, y, shifts, fields, out, weights, depth, height, width, padded,
    R: tl.constexpr, SHORT: tl.constexpr,
):  # fmt: skip
    """out (V, D, H, 4, P) = x and y filter of u, u^2, v, v^2, or of ``fields`` where given.

    Row j adds itself to the sums of rows j - r ... j + r; the first of them is then complete and
    the others move up. Offsets of rows are 64-bit, those in a row 32-bit.
    """
    chunks = tl.cdiv(height, XY_ROWS)
    tiles_x = tl.cdiv(width, XY_X)
    tiles_z = tl.cdiv(depth, XY_Z)
    program = tl.program_id(0)
    volume = (program // (chunks * tiles_x * tiles_z)).to(tl.int64)
    z0 = program // (chunks * tiles_x) % tiles_z * XY_Z
    column = program // chunks % tiles_x * XY_X + tl.arange(0, XY_X)[None, :]
    first = program % chunks * XY_ROWS
    last = tl.minimum(first + XY_ROWS, height)

    dz = tl.arange(0, XY_Z)[:, None]
    inside = (z0 + dz < depth) & (column < width)
    dz = tl.minimum(dz, depth - 1 - z0).to(tl.int64)
    column = tl.minimum(column, width - 1)
    plane = (volume * depth + z0) * height  # rows before this tile's first plane
    if fields is None:
        pitch = width  # elements from a row of the source to the next
        s = tl.load(shifts + 2 * volume)
        t = tl.load(shifts + 2 * volume + 1)
    else:
        pitch = 4 * padded
    taps = ()
    for k in tl.static_range(-R, R + 1):
        taps += (_reflect(column + k, width, SHORT),)
    planes = dz * height  # rows from the first plane to each

    zero = tl.zeros([XY_Z, XY_X], tl.float32)
    sums = (zero,) * (8 * R + 4)
    for j in tl.range(first - R, last + R, loop_unroll_factor=1):
        at = (plane + planes + _reflect(j, height, SHORT)) * pitch
        if fields is None:
            new = _row_of_moments(x + at, y + at, taps, weights, s, t, R)
        else:
            new = _row_of_fields(fields + at, taps, weights, padded, R)
        moved = ()
        for i in tl.static_range(-R, R):
            w = weights[i if i >= 0 else -i]
            for f in tl.static_range(4):
                moved += (sums[4 * (i + R + 1) + f] + w * new[f],)
        for f in tl.static_range(4):
            moved += (weights[R] * new[f],)
        sums = moved
        to = out + (plane + planes + j - R) * (4 * padded) + column
        for f in tl.static_range(4):
            tl.store(to + f * padded, sums[f], mask=inside & (j >= first + R))


@triton.jit
def _z_tile(depth, height, width, padded):
    """Volume and plane (Z_Z, 1) as int64; y and x (1, Z_YX) in a padded plane; what is in range."""
    tiles_yx = tl.cdiv(height * padded, Z_YX)
    tiles_z = tl.cdiv(depth, Z_Z)
    program = tl.program_id(0)
    volume = (program // (tiles_yx * tiles_z)).to(tl.int64)
    z = program // tiles_yx % tiles_z * Z_Z + tl.arange(0, Z_Z)[:, None]
    i = program % tiles_yx * Z_YX + tl.arange(0, Z_YX)[None, :]
    return volume, z, i // padded, i % padded, (z < depth) & (i < height * padded)


@triton.jit
def _filter_z(work, volume, z, y, x, inside, weights, depth, height, padded, R: tl.constexpr,
              SHORT: tl.constexpr):  # fmt: skip
    """z filter of the four fields of ``work`` (V, D, H, 4, P) at a tile."""
    plane = tl.cast(height, tl.int64) * (4 * padded)
    work += volume * depth * plane
    column = y.to(tl.int64) * (4 * padded) + x
    zero = tl.zeros([Z_Z, Z_YX], tl.float32)
    out = (zero, zero, zero, zero)
    z = tl.minimum(z, depth - 1)
    for k in tl.static_range(-R, R + 1):
        at = work + _reflect(z + k, depth, SHORT) * plane + column
        w = weights[k if k >= 0 else -k]
        new = ()
        for f in tl.static_range(4):
            new += (out[f] + w * tl.load(at + f * padded, mask=inside, other=0),)
        out = new
    return out


@triton.jit
def _not_negative(v):
    """What rounding makes negative is 0; a NaN passes."""
    return tl.where(v < 0, 0.0, v)


@triton.jit
def _local(f, shifts, volume, c1, c2):
    """Mu, Mv, P1, Q1, P2, Q2 of ssim_l1.h from the filtered u, u^2, v, v^2."""
    s = tl.load(shifts + 2 * volume)
    t = tl.load(shifts + 2 * volume + 1)
    mu = f[0] + (s - t)
    mv = f[2] + (s + t)
    q1 = 0.5 * mu * mu
    p1 = 0.5 * mv * mv + c1
    q2 = 0.5 * _not_negative(f[1] - f[0] * f[0])
    p2 = 0.5 * _not_negative(f[3] - f[2] * f[2]) + c2
    return mu, mv, p1, q1, p2, q2


@triton.jit
def _dissimilarity(p1, q1, p2, q2):
    """1 - SSIM without the subtraction: never negative."""
    return 2 * (p1 * q2 + q1 * p2) / ((p1 + q1) * (p2 + q2))


@triton.jit
def map_kernel(
    x, y, shifts, work, out, weights, depth, height, width, padded, c1, c2,
    HYBRID: tl.constexpr, R: tl.constexpr, SHORT: tl.constexpr,
):  # fmt: skip
    """out (V, D, H, W) = SSIM, or |x - y| (1 - SSIM)."""
    volume, z, row, column, inside = _z_tile(depth, height, width, padded)
    inside &= column < width
    f = _filter_z(work, volume, z, row, column, inside, weights, depth, height, padded, R, SHORT)
    _, _, p1, q1, p2, q2 = _local(f, shifts, volume, c1, c2)
    at = (volume * depth + z) * height * width + (row * width + column)
    if HYBRID:
        a = tl.load(x + at, mask=inside, other=0).to(tl.float32)
        b = tl.load(y + at, mask=inside, other=0).to(tl.float32)
        value = tl.abs(a - b) * _dissimilarity(p1, q1, p2, q2)
    else:  # rounded to nearest: equal numerator and denominator give 1, a smaller one no more
        value = tl.div_rn((p1 - q1) * (p2 - q2), (p1 + q1) * (p2 + q2))
    tl.store(out + at, value.to(out.dtype.element_ty), mask=inside)


@triton.jit
def fields_kernel(
    x, y, shifts, work, grad, fields, partials, weights, depth, height, width, padded, c1, c2,
    R: tl.constexpr, SHORT: tl.constexpr,
):  # fmt: skip
    """Derivatives of sum(g SSIM) by F[u], F[u^2], F[v], F[v^2], and the sums of a tile.

    fields (V, D, H, 4, P) or None; grad g (V, D, H, W), None: 1; partials (programs, 2) float64:
    sum |x - y| and sum (1 - SSIM), or None.
    """
    volume, z, row, column, in_row = _z_tile(depth, height, width, padded)
    inside = in_row & (column < width)
    f = _filter_z(work, volume, z, row, column, inside, weights, depth, height, padded, R, SHORT)
    mu, mv, p1, q1, p2, q2 = _local(f, shifts, volume, c1, c2)
    plane = (volume * depth + z) * height
    at = plane * width + (row * width + column)
    if partials is not None:
        a = tl.load(x + at, mask=inside, other=0).to(tl.float32)
        b = tl.load(y + at, mask=inside, other=0).to(tl.float32)
        apart = tl.where(inside, _dissimilarity(p1, q1, p2, q2), 0.0)
        to = partials + 2 * tl.program_id(0).to(tl.int64)
        tl.store(to, tl.sum(tl.abs(a - b).to(tl.float64)))
        tl.store(to + 1, tl.sum(apart.to(tl.float64)))
    if fields is not None:
        # r = 1 / (B1 B2), q = SSIM, A = P - Q, B = P + Q
        a1, b1, a2, b2 = p1 - q1, p1 + q1, p2 - q2, p2 + q2
        r = 1.0 / (b1 * b2)
        q = a1 * a2 * r
        g = r
        if grad is not None:
            g *= tl.load(grad + at, mask=inside, other=0).to(tl.float32)
        by_var_u = -0.5 * g * (a1 + q * b1)
        by_var_v = 0.5 * g * (a1 - q * b1)
        by_u = -g * mu * (a2 + q * b2) - 2 * f[0] * by_var_u
        by_v = g * mv * (a2 - q * b2) - 2 * f[2] * by_var_v
        to = fields + plane * (4 * padded) + (row.to(tl.int64) * (4 * padded) + column)
        by = (by_u, by_var_u, by_v, by_var_v)
        for i in tl.static_range(4):
            tl.store(to + i * padded, tl.where(inside, by[i], 0.0), mask=in_row)


@triton.jit
def gradient_kernel(
    x, y, shifts, work, upstream, grad_x, grad_y, weights, depth, height, width, padded, scale, l1,
    R: tl.constexpr, SHORT: tl.constexpr,
):  # fmt: skip
    """f = F[fields]: by u = f0 + 2 u f1, by v = f2 + 2 v f3; for x their sum, for y by v - by u."""
    volume, z, row, column, inside = _z_tile(depth, height, width, padded)
    inside &= column < width
    f = _filter_z(work, volume, z, row, column, inside, weights, depth, height, padded, R, SHORT)
    if upstream is not None:
        up = tl.load(upstream)
        scale = (up * scale).to(tl.float32)
        l1 = (up * l1).to(tl.float32)
    at = (volume * depth + z) * height * width + (row * width + column)
    a = tl.load(x + at, mask=inside, other=0).to(tl.float32)
    b = tl.load(y + at, mask=inside, other=0).to(tl.float32)
    d = a - tl.load(shifts + 2 * volume)
    e = b - tl.load(shifts + 2 * volume + 1)
    by_u = scale * (f[0] + 2 * (d - e) * f[1])
    by_v = scale * (f[2] + 2 * (d + e) * f[3])
    step = tl.where(a > b, l1, 0.0) - tl.where(a < b, l1, 0.0)
    if grad_x is not None:
        tl.store(grad_x + at, (by_v + by_u + step).to(grad_x.dtype.element_ty), mask=inside)
    if grad_y is not None:
        tl.store(grad_y + at, (by_v - by_u - step).to(grad_y.dtype.element_ty), mask=inside)


class _Filtered:
    """Sizes, weights and ``work``: x, y ``(N, C, D, H, W)`` or ``fields`` after the xy pass."""

    def __init__(self, x: Tensor, y: Tensor, weights: Tensor, fields: Tensor | None = None) -> None:
        n, c, depth, height, width = x.shape
        volumes, padded = n * c, (width + 15) // 16 * 16
        self.sizes = (depth, height, width, padded)
        self.weights = tuple(weights.tolist())
        radius = len(self.weights) - 1
        self.window = {"R": radius, "SHORT": min(depth, height, width) < radius}
        self.shifts = x.new_empty((volumes, 2), dtype=torch.float32)
        shift_kernel[(volumes,)](x, y, self.shifts, depth, height, width, X=32)
        self.work = x.new_empty((volumes, depth, height, 4, padded), dtype=torch.float32)
        rows = triton.cdiv(height, XY_ROWS.value) * triton.cdiv(width, XY_X.value)
        filter_xy_kernel[(volumes * triton.cdiv(depth, XY_Z.value) * rows,)](
            x, y, self.shifts, fields, self.work, self.weights, *self.sizes, **self.window
        )
        tiles_yx = triton.cdiv(height * padded, Z_YX.value)
        self.z_programs = volumes * triton.cdiv(depth, Z_Z.value) * tiles_yx


def ssim_map(
    x: Tensor, y: Tensor, out: Tensor, hybrid: bool, weights: Tensor, c1: float, c2: float
) -> None:
    """``out`` = SSIM, or ``|x - y| (1 - SSIM)``; all contiguous ``(N, C, D, H, W)``, one dtype.

    A plane has fewer than 2^31 voxels, its rows padded to 16.

    Args:
        x, y: float32, float16 or bfloat16.
        out: as x.
        hybrid: which of the two.
        weights: of the window from its centre on, ``w[0..radius]``, float64 on the CPU.
        c1, c2: ``(0.01 L)^2``, ``(0.03 L)^2`` for the data range L.
    """
    if x.numel() == 0:
        return
    with torch.cuda.device_of(x):
        p = _Filtered(x, y, weights)
        map_kernel[(p.z_programs,)](
            x, y, p.shifts, p.work, out, p.weights, *p.sizes, c1, c2, HYBRID=hybrid, **p.window
        )


def ssim_sums(
    x: Tensor, y: Tensor, sums: Tensor, fields: Tensor | None, weights: Tensor, c1: float, c2: float
) -> None:
    """``sums`` (2,) float64 = sum |x - y|, sum (1 - SSIM); ``fields`` for g = 1 unless None.

    The sums of tiles are added in a fixed order: the same bits on every run.

    Args: see :func:`ssim_map`; fields ``(N * C, D, H, 4, padded W)`` float32.
    """
    if x.numel() == 0:
        sums.zero_()
        return
    with torch.cuda.device_of(x):
        p = _Filtered(x, y, weights)
        partials = x.new_empty((p.z_programs, 2), dtype=torch.float64)
        fields_kernel[(p.z_programs,)](
            x, y, p.shifts, p.work, None, fields, partials, p.weights, *p.sizes, c1, c2, **p.window
        )
        torch.sum(partials, 0, out=sums)


def ssim_fields(
    x: Tensor, y: Tensor, grad: Tensor, fields: Tensor, weights: Tensor, c1: float, c2: float
) -> None:
    """``fields`` for the upstream gradient ``grad`` of the SSIM map, shaped and typed as x."""
    if x.numel() == 0:
        return
    with torch.cuda.device_of(x):
        p = _Filtered(x, y, weights)
        fields_kernel[(p.z_programs,)](
            x, y, p.shifts, p.work, grad, fields, None, p.weights, *p.sizes, c1, c2, **p.window
        )


def ssim_backward(
    x: Tensor, y: Tensor, fields: Tensor, upstream: Tensor | None, scale: float, l1: float,
    grad_x: Tensor | None, grad_y: Tensor | None, weights: Tensor,
) -> None:  # fmt: skip
    """Gradients of ``upstream (scale sum(g SSIM) + l1 sum |x - y|)``; no upstream: 1.

    Args: see :func:`ssim_map`; ``upstream`` is one float64 on the device of x, read there, so that
        nothing waits for the host. grad_x, grad_y: as x, None where not wanted.
    """
    if x.numel() == 0:
        return
    with torch.cuda.device_of(x):
        p = _Filtered(x, y, weights, fields)
        gradient_kernel[(p.z_programs,)](
            x, y, p.shifts, p.work, upstream, grad_x, grad_y, p.weights, *p.sizes, scale, l1,
            **p.window,
        )  # fmt: skip
