"""The histogram behind VoxelMetrics: custom ops, and the state that adds histograms up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dal_fast.context import _C
from dal_fast.ops._checks import DTYPE_CODES, address
from dal_fast.ops._dispatch import launcher
from dal_fast.ops._register import op

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

PAGES = 2**16
"""Pages ``key >> 16`` of the float32s' order-preserving keys."""
EMPTY_SPAN = (2**32 - 1, 0)
"""Lowest and highest key of a bin without a score."""
_SEGMENT = 2**31  # voxels that the kernel's 32-bit scratch counters can hold


@op("score_pages", remedy="metrics are counts")
def _score_pages(score: Tensor, mask: Tensor | None, backend: str) -> tuple[Tensor, Tensor]:
    score, mask = score.contiguous(), None if mask is None else mask.contiguous()
    kernels, where = launcher(backend, score)
    pages = score.new_empty(PAGES, dtype=torch.bool)
    nans = score.new_empty((), dtype=torch.int64)
    kernels.score_pages(
        score=address(score), mask=address(mask), voxels=score.numel(),
        pages=address(pages), nans=address(nans), dtype=DTYPE_CODES[score.dtype], where=where,
    )  # fmt: skip
    return pages, nans


@_score_pages.register_fake
def _(score: Tensor, mask: Tensor | None, backend: str) -> tuple[Tensor, Tensor]:
    pages = score.new_empty(PAGES, dtype=torch.bool)
    return pages, score.new_empty((), dtype=torch.int64)


@op("score_histogram", remedy="metrics are counts")
def _score_histogram(
    score: Tensor,
    target: Tensor,
    mask: Tensor | None,
    base: Tensor,
    shift: int,
    bins: int,
    backend: str,
) -> tuple[Tensor, Tensor]:
    score, target = score.contiguous(), target.contiguous()
    mask = None if mask is None else mask.contiguous()
    kernels, where = launcher(backend, score)
    size = kernels.score_histogram_workspace(bins=bins, where=where)
    workspace = score.new_empty(size, dtype=torch.uint8)
    counts = score.new_empty((bins, 2), dtype=torch.int64)
    span = score.new_empty((bins, 2), dtype=torch.int64)
    kernels.score_histogram(
        score=address(score), target=address(target), mask=address(mask), voxels=score.numel(),
        bins=_C.ScoreBins(base=address(base), shift=shift, bins=bins), segment=_SEGMENT,
        workspace=address(workspace), counts=address(counts), span=address(span),
        dtype=DTYPE_CODES[score.dtype], where=where,
    )  # fmt: skip
    return counts, span


@_score_histogram.register_fake
def _(
    score: Tensor,
    target: Tensor,
    mask: Tensor | None,
    base: Tensor,
    shift: int,
    bins: int,
    backend: str,
) -> tuple[Tensor, Tensor]:
    shape = (bins, 2)
    return score.new_empty(shape, dtype=torch.int64), score.new_empty(shape, dtype=torch.int64)


def score_pages(score: Tensor, mask: Tensor | None, backend: str) -> tuple[Bools, int]:
    """The pages that hold a score inside ``mask``, and the number of NaN."""
    if backend == "reference":
        from dal_fast import reference

        pages, nans = reference.score_pages(score, mask)
    else:
        pages, nans = _score_pages(score, mask, backend)
    return pages.cpu().numpy(), int(nans)


def key_to_score(keys: Ints) -> npt.NDArray[np.float32]:
    """The float32 whose order-preserving key is given."""
    bits = np.where(keys >= 2**31, keys - 2**31, -1 - keys)
    return bits.astype(np.int32).view(np.float32)


@dataclass
class Layout:
    """Where a key is counted: bin ``base[key >> 16] + ((key & 0xffff) >> shift)``.

    Occupied pages follow each other in ``2^(16 - shift)`` bins each, with the smallest shift for
    which they fit into ``limit`` bins; at least 2^16 bins always suffice.
    """

    base: npt.NDArray[np.int32]  # (65536), -1 for a page without a score
    shift: int
    bins: int

    @classmethod
    def of(cls, pages: Bools, limit: int) -> Layout:
        """The finest layout of at most ``limit`` bins for the occupied ``pages``."""
        count, shift = int(pages.sum()), 0
        while count << (16 - shift) > limit:
            shift += 1
        first = (np.cumsum(pages, dtype=np.int32) - 1) << (16 - shift)
        return cls(np.where(pages, first, np.int32(-1)), shift, count << (16 - shift))

    def bin_of(self, keys: Ints) -> Ints:
        """Bins of ``keys``."""
        bins: Ints = self.base[keys >> 16] + ((keys & 0xFFFF) >> self.shift)
        return bins


@dataclass
class ScoreHistogram:
    """Counts of healthy and lesion voxels.

    The bins are a function of the occupied pages alone. Adding is therefore exact and commutative:
    whatever the order, the sum is the histogram of all the voxels together. The arrays are numpy's:
    operations on a few thousand bins are not worth waking torch's threads.

    Attributes:
        limit: most bins that may be used.
        pages: bool ``(65536)``, those that hold a score.
        counts: int64 ``(bins, 2)``, healthy and lesion.
        span: int64 ``(bins, 2)``, lowest and highest key of a bin.
    """

    limit: int
    pages: Bools
    counts: Ints
    span: Ints

    @classmethod
    def empty(cls, limit: int) -> ScoreHistogram:
        """Nothing counted yet: no page, no bin."""
        nothing = np.zeros((0, 2), dtype=np.int64)
        return cls(limit, np.zeros(PAGES, dtype=np.bool_), nothing, nothing)

    @classmethod
    def count(
        cls,
        score: Tensor,
        target: Tensor,
        mask: Tensor | None,
        pages: Bools,
        limit: int,
        backend: str,
    ) -> ScoreHistogram:
        """One volume, whose occupied pages are known; free of NaN inside ``mask``."""
        layout = Layout.of(pages, limit)
        base = torch.from_numpy(layout.base).to(score.device)
        work = score, target, mask, base, layout.shift, layout.bins
        if backend == "reference":
            from dal_fast import reference

            counts, span = reference.score_histogram(*work)
        else:
            counts, span = _score_histogram(*work, backend)
        return cls(limit, pages, counts.cpu().numpy(), span.cpu().numpy())

    def occupied(self) -> Ints:
        """The bins that hold a voxel, rising."""
        return np.flatnonzero(self.span[:, 0] <= self.span[:, 1])

    def add(self, other: ScoreHistogram) -> ScoreHistogram:
        """The histogram of both; neither is changed."""
        if not len(self.counts):
            return other
        pages = self.pages | other.pages
        a, b = self._spread(pages), other._spread(pages)
        low = np.minimum(a.span[:, 0], b.span[:, 0])
        high = np.maximum(a.span[:, 1], b.span[:, 1])
        span = np.stack([low, high], axis=1)
        return ScoreHistogram(self.limit, pages, a.counts + b.counts, span)

    def _spread(self, pages: Bools) -> ScoreHistogram:
        """The same counts in the layout of ``pages``, which include this one's."""
        if np.array_equal(pages, self.pages):
            return self
        layout, old = Layout.of(pages, self.limit), self.occupied()
        counts = np.zeros((layout.bins, 2), dtype=np.int64)
        span = np.tile(np.array(EMPTY_SPAN), (layout.bins, 1))
        if len(old):
            new = layout.bin_of(self.span[old, 0])  # rises; an old bin lies within one new bin
            first = np.flatnonzero(np.diff(new, prepend=-1))
            last = np.append(first[1:], len(old)) - 1
            counts[new[first]] = np.add.reduceat(self.counts[old], first, axis=0)
            span[new[first], 0] = self.span[old[first], 0]
            span[new[first], 1] = self.span[old[last], 1]
        return ScoreHistogram(self.limit, pages, counts, span)
