"""Triton kernels of 3D Canny; formulas and border rules in canny3d.h and README.md.

    values -blur_x-> a -blur_along y-> b -blur_along z-> s -magnitude-> M -suppress-> level, 8 bits
                                         division by the weight               0, 1 weak, 2 strong
    level -propagate, until nothing changes-> 2 wherever a chain of weak voxels holds a strong one

Without a mask the weight is separable and every blur divides by the part of its taps that lies in
the volume; with one it is blurred beside the image. s and M are 32 times what the formulas call
so where only a ratio counts: Sobel is not divided by 32, the thresholds are multiplied.
"""

import os
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
# One voxel a thread where loads are shifted along x, so that a warp's load is one row of 32.
ROWS = tl.constexpr(64 if INTERPRETED else 4)  # rows (z y) and columns of a program
COLUMNS = tl.constexpr(32)
ALONG = tl.constexpr(32)  # blur_along_kernel: voxels along the axis and beside it
BESIDE = tl.constexpr(128 if INTERPRETED else 32)
GROW_Z = tl.constexpr(8 if INTERPRETED else 4)  # propagate_kernel: block of voxels
GROW_Y = tl.constexpr(16 if INTERPRETED else 8)
GROW_X = tl.constexpr(32 if INTERPRETED else 16)
TIE = tl.constexpr(1.0001)  # a neighbour suppresses when it is larger by more than this factor
ROUNDS = 4  # propagations between two looks at the flag


@triton.jit
def _row_tile(depth, height, width):
    """Volume (int64), row of the volume (ROWS, 1), column (1, COLUMNS)."""
    tiles_x = tl.cdiv(width, COLUMNS)
    tiles = tl.cdiv(depth * height, ROWS) * tiles_x
    program = tl.program_id(0)
    volume = (program // tiles).to(tl.int64)
    row = program % tiles // tiles_x * ROWS + tl.arange(0, ROWS)[:, None]
    return volume, row, program % tiles_x * COLUMNS + tl.arange(0, COLUMNS)[None, :]


@triton.jit
def _image(values, levels, mask, at, inside, voxels, CLASSES: tl.constexpr):
    """m A and m at the offsets ``at``: the value, or the level of the highest of the logits.

    Ties go to the lowest class, a NaN never wins against an earlier one. Not inside: 0, 0.
    """
    image = tl.load(values + at, mask=inside, other=0).to(tl.float32)
    if levels is not None:
        top = image
        image = tl.where(inside, levels[0], 0.0)
        for k in tl.static_range(1, CLASSES):
            z = tl.load(values + k * voxels + at, mask=inside, other=0).to(tl.float32)
            higher = z > top
            image = tl.where(higher, levels[k], image)
            top = tl.where(higher, z, top)
    weight = inside.to(tl.float32)
    if mask is not None:
        m = tl.load(mask + at, mask=inside, other=0) != 0
        image = tl.where(m, image, 0.0)
        weight = m.to(tl.float32)
    return image, weight


@triton.jit
def blur_x_kernel(
    values, levels, mask, taps, radius, out, out_weight, per_mask, depth, height, width,
    CLASSES: tl.constexpr,
):  # fmt: skip
    """out (V, D, H, W) = g * (m A) along x, with a mask out_weight = g * m, else divided by it.

    values (V, D, H, W), or logits (V, CLASSES, D, H, W) with levels; mask (V / per_mask, D, H, W);
    taps (radius + 1,) g(0) ... g(radius).
    """
    volume, row, column = _row_tile(depth, height, width)
    voxels = tl.cast(depth, tl.int64) * height * width
    values += volume * voxels * CLASSES
    if mask is not None:
        mask += volume // per_mask * voxels
    line = row.to(tl.int64) * width
    in_row = row < depth * height
    center = tl.load(taps)
    image, weight = _image(
        values, levels, mask, line + column, in_row & (column < width), voxels, CLASSES
    )
    image *= center
    weight *= center
    for k in tl.range(1, tl.minimum(radius + 1, width), loop_unroll_factor=4):
        tap = tl.load(taps + k)
        for side in tl.static_range(-1, 2, 2):
            x = column + side * k
            inside = in_row & (x >= 0) & (x < width)
            a, m = _image(values, levels, mask, line + x, inside, voxels, CLASSES)
            image += tap * a
            weight += tap * m
    to = volume * voxels + line + column
    inside = in_row & (column < width)
    if mask is None:
        image /= weight
    else:
        tl.store(out_weight + to, weight, mask=inside)
    tl.store(out + to, image, mask=inside)


@triton.jit
def blur_along_kernel(
    image, weight, taps, radius, out, out_weight, length, beside, LAST: tl.constexpr
):
    """One blur of image and weight (O, length, beside) along the middle axis.

    weight None: no mask, out is divided by the taps in range. LAST: out = image / weight, 0 where
    the weight is 0, NaN where not finite; out_weight is not written.
    """
    tiles_beside = tl.cdiv(beside, BESIDE)
    tiles = tl.cdiv(length, ALONG) * tiles_beside
    program = tl.program_id(0)
    block = (program // tiles).to(tl.int64) * length
    i = program % tiles // tiles_beside * ALONG + tl.arange(0, ALONG)[:, None]
    lane = program % tiles_beside * BESIDE + tl.arange(0, BESIDE)[None, :]
    at = (block + i) * beside + lane
    inside = (i < length) & (lane < beside)
    center = tl.load(taps)
    value = center * tl.load(image + at, mask=inside, other=0)
    if weight is None:
        norm = tl.full([ALONG, 1], 0.0, tl.float32) + center
    else:
        norm = center * tl.load(weight + at, mask=inside, other=0)
    for k in tl.range(1, tl.minimum(radius + 1, length), loop_unroll_factor=4):
        tap = tl.load(taps + k)
        for side in tl.static_range(-1, 2, 2):
            j = i + side * k
            in_range = (j >= 0) & (j < length)
            near = (block + j) * beside + lane
            value += tap * tl.load(image + near, mask=inside & in_range, other=0)
            if weight is None:
                norm += tl.where(in_range, tap, 0.0)
            else:
                norm += tap * tl.load(weight + near, mask=inside & in_range, other=0)
    if weight is None:
        value /= norm
    elif LAST:
        value = tl.where(norm > 0, value / norm, 0.0)
    else:
        tl.store(out_weight + at, norm, mask=inside)
    if LAST:
        value = tl.where(tl.abs(value) < float("inf"), value, float("nan"))
    tl.store(out + at, value, mask=inside)


@triton.jit
def _steps(row, column, depth, height, width):
    """Offsets to the neighbours before and behind on z, y and x; 0 where the edge voxel repeats."""
    z = row // height
    y = row % height
    plane = tl.cast(height, tl.int64) * width
    return (
        tl.where(z > 0, -plane, 0),
        tl.where(z < depth - 1, plane, 0),
        tl.where(y > 0, -width, 0),
        tl.where(y < height - 1, width, 0),
        tl.where(column > 0, -1, 0),
        tl.where(column < width - 1, 1, 0),
    )


@triton.jit
def _sobel(s, steps, inside):
    """32 (gz, gy, gx) at the pointers ``s``.

    t = a + 2 c + d, e = d - a over z;   p, q, r: t smooth, t difference, e smooth over y
    gx = p[x+1] - p[x-1]      gy = q[x-1] + 2 q[x] + q[x+1]      gz: the same of r
    """
    gx = tl.zeros(inside.shape, tl.float32)
    gy = gx
    gz = gx
    for x in tl.static_range(-1, 2):
        column = s if x == 0 else s + (steps[4] if x < 0 else steps[5])
        p = tl.zeros(inside.shape, tl.float32)
        q = p
        r = p
        for y in tl.static_range(-1, 2):
            here = column if y == 0 else column + (steps[2] if y < 0 else steps[3])
            a = tl.load(here + steps[0], mask=inside, other=0)
            c = tl.load(here, mask=inside, other=0)
            d = tl.load(here + steps[1], mask=inside, other=0)
            p += (2 - y * y) * (a + 2 * c + d)
            q += y * (a + 2 * c + d)
            r += (2 - y * y) * (d - a)
        gx += x * p
        gy += (2 - x * x) * q
        gz += (2 - x * x) * r
    return gz, gy, gx


@triton.jit
def magnitude_kernel(smoothed, magnitude, depth, height, width):
    """magnitude (V, D, H, W) = 32 |G| of smoothed."""
    volume, row, column = _row_tile(depth, height, width)
    inside = (row < depth * height) & (column < width)
    at = (volume * (depth * height) + row) * width + column
    gz, gy, gx = _sobel(smoothed + at, _steps(row, column, depth, height, width), inside)
    tl.store(magnitude + at, tl.sqrt(gx * gx + gy * gy + gz * gz), mask=inside)


@triton.jit
def _between(m, dz, dy, dx, uz, uy, ux, inside):
    """Magnitude at the pointers m + u d, trilinear between m and the far corner of the cube."""
    value = tl.zeros(inside.shape, tl.float32)
    for z in tl.static_range(2):
        for y in tl.static_range(2):
            near = m + z * dz + y * dy
            a = tl.load(near, mask=inside, other=0)
            b = tl.load(near + dx, mask=inside, other=0)
            wz = uz if z == 1 else 1 - uz
            wy = uy if y == 1 else 1 - uy
            value += wz * wy * ((1 - ux) * a + ux * b)
    return value


@triton.jit
def suppress_kernel(smoothed, magnitude, mask, level, per_mask, depth, height, width, low, high):
    """level (V, D, H, W) = 2 strong, 1 weak, 0 neither; low and high: thresholds on 32 M.

    A tile without a candidate (most of the background) stops after one load a voxel.
    """
    volume, row, column = _row_tile(depth, height, width)
    inside = (row < depth * height) & (column < width)
    at = (volume * (depth * height) + row) * width + column
    m = tl.load(magnitude + at, mask=inside, other=0)
    candidate = inside & (m >= low) & (m > 0)
    if mask is not None:
        in_volume = (volume // per_mask * (depth * height) + row) * width + column
        candidate &= tl.load(mask + in_volume, mask=candidate, other=0) != 0
    result = tl.zeros(candidate.shape, tl.uint8)
    if tl.max(tl.max(candidate.to(tl.int32), 1), 0) > 0:
        steps = _steps(row, column, depth, height, width)
        gz, gy, gx = _sobel(smoothed + at, steps, candidate)
        az = tl.abs(gz)
        ay = tl.abs(gy)
        ax = tl.abs(gx)
        largest = tl.maximum(tl.maximum(az, ay), ax)
        uz = az / largest
        uy = ay / largest
        ux = ax / largest
        ahead = _between(
            magnitude + at, tl.where(gz < 0, steps[0], steps[1]),
            tl.where(gy < 0, steps[2], steps[3]), tl.where(gx < 0, steps[4], steps[5]),
            uz, uy, ux, candidate,
        )  # fmt: skip
        behind = _between(
            magnitude + at, tl.where(gz < 0, steps[1], steps[0]),
            tl.where(gy < 0, steps[3], steps[2]), tl.where(gx < 0, steps[5], steps[4]),
            uz, uy, ux, candidate,
        )  # fmt: skip
        keep = candidate & (ahead <= m * TIE) & (behind <= m * TIE)
        result = tl.where(keep, tl.where(m >= high, 2, 1), 0).to(tl.uint8)
    tl.store(level + at, result, mask=inside)


@triton.jit(do_not_specialize=["launch"])
def propagate_kernel(level, flags, launch, depth, height, width):
    """In a block, weak voxels that touch a strong one become strong until none is left to.

    ``flags[launch + 1]`` becomes 1 if one did; nothing is done if ``flags[launch]`` is 0, because
    the launch before changed nothing. Neighbouring blocks are read while they grow: levels only
    rise, so that a late read costs a launch and not the result.
    """
    tiles_x = tl.cdiv(width, GROW_X)
    tiles_y = tl.cdiv(height, GROW_Y)
    tiles_z = tl.cdiv(depth, GROW_Z)
    program = tl.program_id(0)
    volume = (program // (tiles_x * tiles_y * tiles_z)).to(tl.int64)
    z = program // (tiles_x * tiles_y) % tiles_z * GROW_Z + tl.arange(0, GROW_Z)[:, None, None]
    y = program // tiles_x % tiles_y * GROW_Y + tl.arange(0, GROW_Y)[None, :, None]
    x = program % tiles_x * GROW_X + tl.arange(0, GROW_X)[None, None, :]
    inside = (z < depth) & (y < height) & (x < width)
    row = z * height + y
    here = level + (volume * (depth * height) + row) * width + x
    inside &= tl.load(flags + launch) != 0
    weak = tl.load(here, mask=inside, other=0) == 1
    growing = tl.max(tl.reshape(weak.to(tl.int32), [GROW_Z * GROW_Y * GROW_X]), 0)
    if growing > 0:
        plane = tl.cast(height, tl.int64) * width
        before = tl.where(z > 0, -plane, 0)
        behind = tl.where(z < depth - 1, plane, 0)
        above = tl.where(y > 0, -width, 0)
        below = tl.where(y < height - 1, width, 0)
        left = tl.where(x > 0, -1, 0)
        right = tl.where(x < width - 1, 1, 0)
        changed = growing * 0
        while growing > 0:
            near = tl.zeros(weak.shape, tl.uint8)
            for i in tl.static_range(27):
                at = here
                if i // 9 != 1:
                    at += before if i // 9 == 0 else behind
                if i // 3 % 3 != 1:
                    at += above if i // 3 % 3 == 0 else below
                if i % 3 != 1:
                    at += left if i % 3 == 0 else right
                near = tl.maximum(near, tl.load(at, mask=weak, other=0))
            grown = weak & (near == 2)
            tl.store(here, tl.full(weak.shape, 2, tl.uint8), mask=grown)
            tl.debug_barrier()  # the next round reads what this one wrote
            weak = weak & (near != 2)
            growing = tl.max(tl.reshape(grown.to(tl.int32), [GROW_Z * GROW_Y * GROW_X]), 0)
            changed = tl.maximum(changed, growing)
        if changed > 0:
            tl.store(flags + launch + 1, 1)


def canny3d(
    values: Tensor,
    levels: Sequence[float] | None,
    mask: Tensor | None,
    taps: Sequence[float],
    low: float,
    high: float,
    edges: Tensor,
) -> None:
    """Fills ``edges``, bool ``(N, C, D, H, W)``, or ``(N, 1, D, H, W)`` with levels.

    The host waits for the hysteresis: it reads a flag after every ``ROUNDS`` propagations, so that
    the call cannot be captured in a graph. A queue of blocks, or blocks that wait for each other,
    would need guarantees of residency and of memory order that Triton does not give on every GPU.
    A block grows until it is stable, so a chain takes a launch for each block it enters, and a
    launch that finds nothing to do reads a byte a voxel at most.

    Args:
        values: contiguous ``(N, C, D, H, W)``, float32, float16 or bfloat16; logits with levels.
        levels: C grey levels, or None.
        mask: contiguous bool ``(N, 1, D, H, W)``; None: everywhere.
        taps: ``g(0) ... g(radius)`` up to a common factor.
        low, high: thresholds, grey value a voxel.
        edges: contiguous.
    """
    n, c, depth, height, width = values.shape
    if values.numel() == 0:
        return
    images, per_mask = (n * c, c) if levels is None else (n, 1)
    size = (images, depth, height, width)
    rows = images * triton.cdiv(depth * height, ROWS.value) * triton.cdiv(width, COLUMNS.value)
    mask = None if mask is None else mask.view(torch.uint8)
    table = None if levels is None else tuple(float(v) for v in levels)
    with torch.cuda.device_of(values):
        a, b = (values.new_empty(size, dtype=torch.float32) for _ in range(2))
        wa, wb = (None if mask is None else torch.empty_like(a) for _ in range(2))
        g = torch.tensor(taps, dtype=torch.float32, device=values.device)
        blur_x_kernel[(rows,)](
            values, table, mask, g, len(taps) - 1, a, wa, per_mask, depth, height, width,
            CLASSES=1 if table is None else c,
        )  # fmt: skip
        _blur_along(a, wa, g, b, wb, images * depth, height, width, last=False)
        _blur_along(b, wb, g, a, wa, images, depth, height * width, last=True)
        magnitude_kernel[(rows,)](a, b, depth, height, width)
        level = values.new_empty(size, dtype=torch.uint8)
        suppress_kernel[(rows,)](
            a, b, mask, level, per_mask, depth, height, width, 32 * low, 32 * max(low, high)
        )
        _hysteresis(level)
        torch.eq(level.view(edges.shape), 2, out=edges)


def _blur_along(
    image: Tensor, weight: Tensor | None, taps: Tensor, out: Tensor, out_weight: Tensor | None,
    outer: int, length: int, beside: int, last: bool,
) -> None:  # fmt: skip
    programs = outer * triton.cdiv(length, ALONG.value) * triton.cdiv(beside, BESIDE.value)
    blur_along_kernel[(programs,)](
        image, weight, taps, len(taps) - 1, out, out_weight, length, beside, LAST=last
    )


def _hysteresis(level: Tensor) -> None:
    """Every weak voxel of ``level`` (V, D, H, W) that a chain joins to a strong one becomes 2."""
    images, *size = level.shape
    programs = images
    for voxels, block in zip(size, (GROW_Z, GROW_Y, GROW_X), strict=True):
        programs *= triton.cdiv(voxels, block.value)
    changed = True
    while changed:
        flags = torch.zeros(ROUNDS + 1, dtype=torch.int32, device=level.device)
        flags[:1].fill_(1)
        for launch in range(ROUNDS):
            propagate_kernel[(programs,)](level, flags, launch, *size)
        changed = bool(flags[ROUNDS].item())
