"""Voxel-wise detection metrics over any number of volumes, in constant memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dal_fast.errors import Code, InputError
from dal_fast.ops._checks import check_mask, check_number, check_volume, check_whole
from dal_fast.ops._dispatch import resolve
from dal_fast.ops._score_curve import ScoreCurve, ThresholdedDice
from dal_fast.ops._score_histogram import ScoreHistogram, score_pages

MIN_BINS, MAX_BINS = 2**16, 2**24


class CaseScore(NamedTuple):
    """What is kept of one case. Without a lesion voxel every metric is NaN.

    ``dice_at_fpr`` maps each false-positive rate named in ``VoxelMetrics(fprs=...)``.
    """

    average_precision: float
    auroc: float
    best_dice: ThresholdedDice
    dice_at_fpr: dict[float, ThresholdedDice]
    lesion_voxels: int
    voxels: int


class RocCurve(NamedTuple):
    """As ``sklearn.metrics.roc_curve``: thresholds fall, from +inf at (0, 0)."""

    fpr: Tensor
    tpr: Tensor
    thresholds: Tensor


class PrecisionRecallCurve(NamedTuple):
    """As ``sklearn.metrics.precision_recall_curve``: thresholds rise; the last point is (1, 0)."""

    precision: Tensor
    recall: Tensor
    thresholds: Tensor


class DiceCurve(NamedTuple):
    """Dice of ``score >= threshold``; thresholds fall."""

    dice: Tensor
    thresholds: Tensor


class VoxelMetrics:
    """Average precision, ROC and Dice of anomaly scores, streamed volume by volume.

    Scores are counted in at most ``bins`` intervals of the float32's order-preserving bit pattern:
    linear within an octave, no range is asked for, and parts of the number line without a score
    cost nothing. The intervals do not depend on the order of volumes. Memory is at most ``32 bins``
    bytes (8 MB by default) plus a few numbers a case.

    TP and FP are exact at every threshold that the curves list, and ties count as in scikit-learn.
    Different scores that share an interval are taken in random order; their share in the AP is
    what :meth:`average_precision_bounds` bounds (with the default, AP is within 1e-4 of
    scikit-learn unless most lesion voxels fall into a few intervals).

    Args:
        bins: most intervals, 2^16 to 2^24; more make the bounds tighter.
        fprs: false-positive rates at which every case's Dice is kept.
        backend: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"reference"``.

    Raises:
        InputError: ``bins`` out of range, ``value`` for a rate outside [0, 1].

    Example:
        >>> import torch
        >>> from dal_fast import ops
        >>> lesion = torch.zeros(1, 1, 8, 8, 8, dtype=torch.bool)
        >>> lesion[..., 2:4, 2:4, 2:4] = True
        >>> metrics = ops.VoxelMetrics()
        >>> metrics.update(lesion.float(), lesion, case="sub-01")
        >>> metrics.average_precision(), metrics.cases["sub-01"].lesion_voxels
        (1.0, 8)

    Not specified in the paper: whether a case without lesion enters the mean. Here its metrics are
    NaN and its voxels count in the pooled ones.
    """

    def __init__(
        self,
        bins: int = 2**18,
        fprs: Sequence[float] = (0.001, 0.01, 0.05),
        *,
        backend: str = "auto",
    ) -> None:
        bins = check_whole(bins, "bins", Code.BINS)
        if not MIN_BINS <= bins <= MAX_BINS:
            raise InputError(
                Code.BINS, f"bins must be between {MIN_BINS} and {MAX_BINS}, not {bins}"
            )
        for fpr in fprs:
            _check_rate(fpr)
        self.bins, self.fprs, self.backend = bins, tuple(float(f) for f in fprs), backend
        self.cases: dict[str, CaseScore] = {}
        self._histogram = ScoreHistogram.empty(self.bins)
        self._cached_curve: ScoreCurve | None = None

    def update(
        self,
        score: Tensor,
        target: Tensor,
        mask: Tensor | None = None,
        case: str | Sequence[str] | None = None,
    ) -> None:
        """Count a batch.

        Args:
            score: anomaly scores ``(N, 1, D, H, W)``, float32, float64 (compared as float32),
                float16 or bfloat16, any strides; infinities are ordered, NaN is refused.
            target: lesion mask, bool, same shape.
            mask: brain mask, bool, same shape; voxels outside do not count.
            case: a name, or N names, under which per-case metrics are kept in ``cases``; without
                one the batch enters only the pooled metrics.

        Raises:
            InputError: wrong shape or dtype; ``nan`` with their number; ``case`` for a name already
                used or a wrong number of names. Nothing has been counted then.
        """
        check_volume(score, "score")
        if score.shape[1] != 1:
            raise InputError(Code.SHAPE, f"score must have one channel, not {tuple(score.shape)}")
        check_mask(target, score, "target")
        check_mask(mask, score)
        names = self._names(case, score.shape[0])
        backend = resolve(self.backend, score)
        masks = [None] * len(score) if mask is None else list(mask)
        counted = [score_pages(s, m, backend) for s, m in zip(score, masks, strict=True)]
        nans = sum(n for _, n in counted)
        if nans:
            raise InputError(Code.NAN, f"score has {nans} NaN inside the mask")
        histogram, cases = self._histogram, []
        for s, t, m, (pages, _) in zip(score, target, masks, counted, strict=True):
            part = ScoreHistogram.count(s, t, m, pages, self.bins, backend)
            if names:
                cases.append(self._case_score(ScoreCurve.of(part)))
            histogram = histogram.add(part)
        # nothing has changed before this line, whatever was raised above
        self.cases.update(zip(names, cases, strict=True))
        self._histogram, self._cached_curve = histogram, None

    def merge(self, other: VoxelMetrics) -> VoxelMetrics:
        """Add what another worker has counted; returns this object.

        The result is the same, bit for bit, as if one worker had seen all volumes.

        Raises:
            InputError: ``value`` for anything but a :class:`VoxelMetrics`; different ``bins`` or
                ``fprs``; a case that both have seen.
        """
        if not isinstance(other, VoxelMetrics):
            raise InputError(
                Code.VALUE, f"merge adds another VoxelMetrics, not {type(other).__name__}"
            )
        if (self.bins, self.fprs) != (other.bins, other.fprs):
            raise InputError(
                Code.BINS,
                f"bins {self.bins} and {other.bins}, fprs {self.fprs} and {other.fprs} must agree",
            )
        both = sorted(self.cases.keys() & other.cases.keys())
        if both:
            raise InputError(Code.CASE, f"both have seen {len(both)} cases, among them {both[0]!r}")
        self.cases.update(other.cases)
        self._histogram = self._histogram.add(other._histogram)
        self._cached_curve = None
        return self

    def average_precision(self) -> float:
        """Pooled AP, ``sum_k (R_k - R_{k-1}) P_k``; NaN without lesion voxels."""
        return self._curve.average_precision()

    def average_precision_bounds(self) -> tuple[float, float]:
        """Lowest and highest AP that the counted scores can have: the exact one lies between."""
        return self._curve.average_precision_bounds()

    def auroc(self) -> float:
        """Pooled area under the ROC; NaN without lesion or without healthy voxels."""
        return self._curve.auroc()

    def roc(self) -> RocCurve:
        """Pooled ROC, float64, at most ``bins + 1`` points."""
        c = self._curve
        return RocCurve(
            torch.from_numpy(np.append(0.0, c.fp / (c.healthies or np.nan))),
            torch.from_numpy(np.append(0.0, c.tp / (c.lesions or np.nan))),
            torch.from_numpy(np.append(np.float32(np.inf), c.thresholds)),
        )

    def precision_recall(self) -> PrecisionRecallCurve:
        """Pooled precision and recall, float64, at most ``bins + 1`` points."""
        c = self._curve
        return PrecisionRecallCurve(
            torch.from_numpy(np.append((c.tp / (c.tp + c.fp))[::-1], 1.0)),
            torch.from_numpy(np.append((c.tp / (c.lesions or np.nan))[::-1], 0.0)),
            torch.from_numpy(c.thresholds[::-1].copy()),
        )

    def dice(self) -> DiceCurve:
        """Pooled Dice ``2 TP / (TP + FP + P)`` at every threshold, float64."""
        c = self._curve
        return DiceCurve(torch.from_numpy(c.dice()), torch.from_numpy(c.thresholds))

    def best_dice(self) -> ThresholdedDice:
        """The highest pooled Dice and its threshold; NaN without lesion voxels."""
        return self._curve.best_dice()

    def dice_at_fpr(self, fpr: float) -> ThresholdedDice:
        """Pooled Dice at the lowest threshold whose false-positive rate does not exceed ``fpr``.

        Inside a bin the count and the threshold are interpolated.

        Raises:
            InputError: ``fpr`` outside [0, 1].
        """
        _check_rate(fpr)
        return self._curve.dice_at_fpr(fpr)

    @property
    def _curve(self) -> ScoreCurve:
        if self._cached_curve is None:
            self._cached_curve = ScoreCurve.of(self._histogram)
        return self._cached_curve

    def _case_score(self, curve: ScoreCurve) -> CaseScore:
        return CaseScore(
            curve.average_precision(),
            curve.auroc(),
            curve.best_dice(),
            {fpr: curve.dice_at_fpr(fpr) for fpr in self.fprs},
            int(curve.lesions),
            int(curve.lesions + curve.healthies),
        )

    def _names(self, case: str | Sequence[str] | None, batch: int) -> list[str]:
        if case is None:
            return []
        names = [case] if isinstance(case, str) else list(case)
        if len(names) != batch or len(set(names)) != batch:
            raise InputError(
                Code.CASE, f"{batch} volumes need {batch} different names, not {names}"
            )
        known = [name for name in names if name in self.cases]
        if known:
            raise InputError(Code.CASE, f"case {known[0]!r} has been counted already")
        return names


def _check_rate(fpr: float) -> None:
    check_number(fpr, "a false-positive rate")
    if not 0 <= fpr <= 1:
        raise InputError(Code.VALUE, f"a false-positive rate lies in [0, 1], not {fpr}")
