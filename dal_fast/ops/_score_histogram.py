"""The histogram behind VoxelMetrics: custom ops, and the state that adds histograms up."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dal_fast import reference
from dal_fast.backend import _C
from dal_fast.ops._checks import DTYPE_CODES, address

_SEGMENT = 2**31  # voxels that the kernel's 32-bit scratch counters can hold


@torch.library.custom_op("dal_fast::score_pages", mutates_args=(), device_types="cpu")
def _score_pages(score: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    score, mask = score.contiguous(), None if mask is None else mask.contiguous()
    pages = torch.empty(reference.PAGES, dtype=torch.bool)
    nans = _C.score_pages(
        address(score), address(mask), address(pages),
        score.numel(), DTYPE_CODES[score.dtype], torch.get_num_threads(),
    )  # fmt: skip
    return pages, torch.tensor(nans)


@_score_pages.register_fake
def _(score: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    pages = score.new_empty(reference.PAGES, dtype=torch.bool)
    return pages, score.new_empty((), dtype=torch.int64)


@torch.library.custom_op("dal_fast::score_histogram", mutates_args=(), device_types="cpu")
def _score_histogram(
    score: Tensor, target: Tensor, mask: Tensor | None, base: Tensor, shift: int, bins: int
) -> tuple[Tensor, Tensor]:
    score, target = score.contiguous(), target.contiguous()
    mask = None if mask is None else mask.contiguous()
    threads = torch.get_num_threads()
    size = _C.score_histogram_workspace(bins, threads)
    workspace = torch.empty(size, dtype=torch.uint8)
    counts = torch.empty(bins, 2, dtype=torch.int64)
    span = torch.empty(bins, 2, dtype=torch.int64)
    _C.score_histogram(
        address(score), address(target), address(mask), address(base), address(workspace),
        address(counts), address(span), score.numel(), bins, shift,
        _SEGMENT, DTYPE_CODES[score.dtype], threads,
    )  # fmt: skip
    return counts, span


@_score_histogram.register_fake
def _(
    score: Tensor, target: Tensor, mask: Tensor | None, base: Tensor, shift: int, bins: int
) -> tuple[Tensor, Tensor]:
    shape = (bins, 2)
    return score.new_empty(shape, dtype=torch.int64), score.new_empty(shape, dtype=torch.int64)


def score_pages(score: Tensor, mask: Tensor | None, backend: str) -> tuple[Tensor, int]:
    """The pages that hold a score inside ``mask``, bool on the CPU, and the number of NaN."""
    pages, nans = (reference.score_pages if backend == "reference" else _score_pages)(score, mask)
    return pages.cpu(), int(nans)


def key_to_score(keys: Tensor) -> Tensor:
    """The float32 whose order-preserving key is given (inverse of ``reference.score_keys``)."""
    bits = torch.where(keys >= 2**31, keys - 2**31, -1 - keys)
    return bits.to(torch.int32).view(torch.float32)


@dataclass
class Layout:
    """Where a key is counted: bin ``base[key >> 16] + ((key & 0xffff) >> shift)``.

    Occupied pages follow each other in ``2^(16 - shift)`` bins each, with the smallest shift for
    which they fit into ``limit`` bins; at least 2^16 bins always suffice.
    """

    base: Tensor  # int32 (65536)
    shift: int
    bins: int

    @classmethod
    def of(cls, pages: Tensor, limit: int) -> Layout:
        """The finest layout of at most ``limit`` bins for bool ``pages``."""
        count, shift = int(pages.sum()), 0
        while count << (16 - shift) > limit:
            shift += 1
        rank = (pages.cumsum(0) - 1).clamp_(min=0)
        return cls((rank << (16 - shift)).int(), shift, count << (16 - shift))

    def bin_of(self, keys: Tensor) -> Tensor:
        """int64 bins of int64 ``keys``."""
        return self.base[keys >> 16] + ((keys & 0xFFFF) >> self.shift)


@dataclass
class ScoreHistogram:
    """Counts of healthy and lesion voxels.

    The bins are a function of the occupied pages alone. Adding is therefore exact and commutative:
    whatever the order, the sum is the histogram of all the voxels together.

    Attributes:
        limit: most bins that may be used.
        pages: bool ``(65536)``, those that hold a score.
        counts: int64 ``(bins, 2)``, healthy and lesion.
        span: int64 ``(bins, 2)``, lowest and highest key of a bin.
    """

    limit: int
    pages: Tensor
    counts: Tensor
    span: Tensor

    @classmethod
    def empty(cls, pages: Tensor, limit: int) -> ScoreHistogram:
        """Nothing counted yet in the layout of ``pages``."""
        bins = Layout.of(pages, limit).bins
        span = torch.tensor(reference.EMPTY_SPAN).repeat(bins, 1)
        return cls(limit, pages, torch.zeros(bins, 2, dtype=torch.int64), span)

    @classmethod
    def count(
        cls,
        score: Tensor,
        target: Tensor,
        mask: Tensor | None,
        pages: Tensor,
        limit: int,
        backend: str,
    ) -> ScoreHistogram:
        """One volume, whose occupied pages are known; free of NaN inside ``mask``."""
        layout = Layout.of(pages, limit)
        run = reference.score_histogram if backend == "reference" else _score_histogram
        base = layout.base.to(score.device)
        counts, span = run(score, target, mask, base, layout.shift, layout.bins)
        return cls(limit, pages, counts.cpu(), span.cpu())

    def occupied(self) -> Tensor:
        """int64 indices of the bins that hold a voxel, rising."""
        return torch.nonzero(self.span[:, 0] <= self.span[:, 1]).squeeze(1)

    def add(self, other: ScoreHistogram) -> ScoreHistogram:
        """The histogram of both; neither is changed."""
        if not len(self.counts):
            return other
        pages = self.pages | other.pages
        a, b = self._spread(pages), other._spread(pages)
        low = torch.minimum(a.span[:, 0], b.span[:, 0])
        high = torch.maximum(a.span[:, 1], b.span[:, 1])
        return ScoreHistogram(self.limit, pages, a.counts + b.counts, torch.stack([low, high], 1))

    def _spread(self, pages: Tensor) -> ScoreHistogram:
        """The same counts in the layout of ``pages``, which include this one's."""
        if torch.equal(pages, self.pages):
            return self
        old = self.occupied()
        new = Layout.of(pages, self.limit).bin_of(self.span[old, 0])  # a bin lies within one bin
        out = ScoreHistogram.empty(pages, self.limit)
        out.counts.index_add_(0, new, self.counts[old])
        out.span[:, 0].scatter_reduce_(0, new, self.span[old, 0], "amin")
        out.span[:, 1].scatter_reduce_(0, new, self.span[old, 1], "amax")
        return out
