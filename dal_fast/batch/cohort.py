"""The rank of each scan of a screened dataset among its healthy participants.

Scores are compared on a logarithmic scale, scans with scans of the same suffix: z is the distance
from the healthy mean in healthy standard deviations, the percentile the share of healthy scores
below (ties count half). A healthy participant is compared with the others. Not in the paper.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from dal_fast.batch.records import Record
from dal_fast.errors import Code, InputError
from dal_fast.imaging.text import first_few

FEWEST = 5  # healthy participants below which there is no comparison
EVERYONE = "all"
_LEAST_SCORE = 1e-6


@dataclass(frozen=True)
class Rank:
    """Where the score of a scan lies among those of ``n`` scans of healthy participants.

    Attributes:
        z: in standard deviations of the healthy log scores; NaN where these are all equal.
        percentile: 0 to 100.
        n: healthy scans that it was compared with.
    """

    z: float
    percentile: float
    n: int

    def __str__(self) -> str:
        share = f"{self.percentile:.0f} %"
        return share if math.isnan(self.z) else f"z {self.z:+.1f}, {share}"

    @property
    def z_cell(self) -> str:
        """z in a table."""
        return "n/a" if math.isnan(self.z) else f"{self.z:.3f}"


def rank_scores(records: Sequence[Record], healthy: Collection[str]) -> dict[str, Rank]:
    """Ranks by the record's name; scans with fewer than ``FEWEST`` healthy others have none.

    Args:
        records: of the dataset.
        healthy: labels of the healthy participants.
    """
    ranks = {}
    for record in records:
        others = [
            other
            for other in records
            if other.suffix == record.suffix
            and other.participant in healthy
            and other.participant != record.participant
        ]
        if len({other.participant for other in others}) >= FEWEST:
            ranks[record.name] = _rank(record.score, [other.score for other in others])
    return ranks


def _rank(score: float, healthy: list[float]) -> Rank:
    log, logs = _log(score), [_log(value) for value in healthy]
    below = sum(value < log for value in logs) + 0.5 * sum(value == log for value in logs)
    spread = stdev(logs) or math.nan
    return Rank((log - fmean(logs)) / spread, 100 * below / len(logs), len(logs))


def _log(score: float) -> float:
    return math.log(max(score, _LEAST_SCORE))


def healthy_participants(
    rule: str, columns: Sequence[str], rows: dict[str, dict[str, str]], labels: Collection[str]
) -> set[str]:
    """Labels that a rule names: ``"all"``, or ``"COLUMN=VALUE"`` of ``participants.tsv``.

    Raises:
        InputError: ``healthy-rule`` when there is no such column, or nobody has that value.
    """
    if rule == EVERYONE:
        return set(labels)
    column, _, value = rule.partition("=")
    if column not in columns:
        if not columns:
            reason = "participants.tsv is missing or says nothing but labels; add it, or use all"
        else:
            reason = f"participants.tsv has no column {column!r}; its columns: {', '.join(columns)}"
        raise InputError(Code.HEALTHY_RULE, reason)
    found = {label for label in labels if rows.get(label, {}).get(column) == value}
    if not found:
        values = sorted({row[column] for row in rows.values() if row.get(column)})
        raise InputError(
            Code.HEALTHY_RULE,
            f"no screened participant has {column} = {value!r}; participants.tsv has "
            f"{first_few(values)}",
        )
    return found
