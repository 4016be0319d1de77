"""Does the method keep what it promises for lesions, fields, contrasts and decoys?

    python -m benchmarks.restoration OUT --data derivative/ [--weights default] [--brains 8]

The cases are those of :mod:`benchmarks.restoration_cases`, the rows those of
:mod:`benchmarks.rows`: each scan beside its twin, the same scan without lesions, or without decoys.
Without ``--data`` the tables of what is there are printed: first, whether each aim is met, then the
numbers, with their standard error over cases.

1. phi keeps at most .05 of the contrast of lesions of 10 mL and more. The share is that of all
   lesions together, the sum of what they move phi by over the sum of their heights, so that faint
   ones do not decide it; the median of the single ones must be as small. The last column leaves
   faint ones out.
2. Inside lesions, the mean of |log b - log b_true| is at most .03; log b - log b_true has mean 0
   over the rest of the brain. The twin shows what is wrong without the lesion, and the last column
   by how much the lesion moves b.
3. A field of a log-SD of .4 moves average precision by at most .02, and the share of healthy voxels
   above the threshold by at most .05 %: means of the paired differences.
4. The contrast is guessed right on 95 % of the scans with lesions of 5 to 15 % of the brain.
5. Decoys score like the background: the mean AUROC of their voxels is at most .05 from a half. The
   control is that of the same voxels without the decoys, because sulci and ventricles may score
   higher by themselves: the paired difference is at most .05, too.

The last table has no aim: average precision by how far a lesion stands out from the scan without
it.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from statistics import fmean, median

import torch

from benchmarks.restoration_cases import FIELDS, VOLUMES_ML, Row, jobs, measure
from benchmarks.rows import (
    append_rows,
    load,
    options_of,
    read_rows,
    short,
    signed,
    standard_error,
)
from dal_fast.evaluation.validation_samples import DECOY, SIGNS
from dal_fast.memory import keep_freed_memory
from dal_fast.synthesis.brains import SCANS

KEPT, OFF, MOVED_AP, MOVED_ABOVE, RIGHT, ALIKE = 0.05, 0.03, 0.02, 0.05, 0.95, 0.05
LEAST_ML = 10.0
CLEAR = 0.1  # contrast of a clear lesion; the brain's median is .5
PERCENT = (5.0, 15.0)
HEIGHTS = (0.0, 0.05, CLEAR, 0.2, math.inf)
"""From which contrast to which a row of the last table goes."""

Part = tuple[list[str], list[bool]]
"""A table, and whether its aim is met in each row, or in each number of it that has a limit."""


def tables(rows: Sequence[Row]) -> list[str]:
    """All tables, after a line for each aim."""
    large = [row for row in rows if row.sign in SIGNS and row.ml >= LEAST_ML]
    parts = {
        f"(1) phi keeps at most {KEPT:g} of a lesion's contrast": kept(large),
        f"(2) b is within {OFF:g} of the truth inside lesions": fields(large),
        f"(3) a field of {FIELDS[1]:g} moves AP by at most {MOVED_AP:g} and healthy voxels above "
        f"by at most {MOVED_ABOVE:g} %": moved(large),
        f"(4) the guess of the contrast is right on {RIGHT:.0%}": guesses(large),
        f"(5) decoys score like background, within {ALIKE:g}": decoys(rows),
    }
    lines = []
    for aim, (_, met) in parts.items():
        verdict = "met" if met and all(met) else "missed" if met else "not measured"
        lines.append(f"- {aim}: {verdict}, {sum(met)} of {len(met)} checks met")
    printed = [*(table for table, _ in parts.values()), precision(large)]
    return [*lines, "", *(line for table in printed for line in (*table, ""))]


def kept(rows: Sequence[Row]) -> Part:
    """What phi keeps, by contrast, sign and field."""
    lines = _head(
        "kept by phi", "n", "of all together (SE)", "median", "contrast of the lesion",
        f"of those with {CLEAR:g} and more (SE, n)",
    )  # fmt: skip
    met = []
    for name, own in _columns(rows):
        share, error = ratio([row.moved for row in own], [row.height for row in own])
        middle = median(row.moved / row.height for row in own)
        met.append(max(abs(share), abs(middle)) <= KEPT)
        cells = [f"{short(share)} ({short(error)})", short(middle)]
        cells += [signed(fmean(row.height for row in own)), "–"]
        clear = [row for row in own if abs(row.height) >= CLEAR]
        if clear:
            share, error = ratio([row.moved for row in clear], [row.height for row in clear])
            cells[-1] = f"{short(share)} ({short(error)}, n={len(clear)})"
        lines.append(_line(name, len(own), *cells))
    return lines, met


def ratio(parts: Sequence[float], wholes: Sequence[float]) -> tuple[float, float]:
    """The sum of ``parts`` over that of ``wholes``, and its standard error, linearised."""
    share = sum(parts) / sum(wholes)
    residuals = [part - share * whole for part, whole in zip(parts, wholes, strict=True)]
    return share, standard_error(residuals) / abs(fmean(wholes))


def fields(rows: Sequence[Row]) -> Part:
    """How far b is from the truth inside lesions, by contrast, sign and field."""
    lines = _head(
        "b inside lesions", "n", "mean of \\|error\\| (SE)", "the twin's", "difference (SE)",
        "mean of error (SE)", "less the twin's (SE)",
    )  # fmt: skip
    met = []
    for name, own in _columns([row for row in rows if not math.isnan(row.off)]):
        off = [row.off for row in own]
        met.append(fmean(off) <= OFF)
        lines.append(_line(
            name, len(own), _plain(off), short(fmean(row.off_twin for row in own)),
            _mean([row.off - row.off_twin for row in own]), _mean([row.shift for row in own]),
            _mean([row.shift - row.shift_twin for row in own]),
        ))  # fmt: skip
    return lines, met


def moved(rows: Sequence[Row]) -> Part:
    """What a field changes of the same scan, by contrast."""
    lines = _head(
        "without field → with", "n", "AP", "difference (SE)", "of one scan, mean \\|difference\\|",
        "healthy above, %", "difference (SE)", "without lesion, %", "difference (SE)",
    )  # fmt: skip
    scans = {(row.subject, row.seed, row.contrast, row.sign, row.size, row.log_sd): row
             for row in rows}  # fmt: skip
    met = []
    for contrast in SCANS:
        pairs = [
            (row, scans[*key[:-1], FIELDS[1]])
            for key, row in scans.items()
            if (row.contrast, row.log_sd) == (contrast, FIELDS[0])
            and (*key[:-1], FIELDS[1]) in scans
        ]
        if not pairs:
            continue
        cells = []
        for name, most in (
            ("precision", MOVED_AP), ("above", MOVED_ABOVE), ("above_twin", MOVED_ABOVE),
        ):  # fmt: skip
            values = [(getattr(before, name), getattr(after, name)) for before, after in pairs]
            before, after = (fmean(side) for side in zip(*values, strict=True))
            differences = [b - a for a, b in values]
            met.append(abs(fmean(differences)) <= most)
            cells += [f"{short(before)} → {short(after)}", _mean(differences)]
            if name == "precision":
                cells.append(short(fmean(abs(value) for value in differences)))
        lines.append(_line(contrast, len(pairs), *cells))
    return lines, met


def precision(rows: Sequence[Row]) -> list[str]:
    """Average precision by contrast and volume of the lesion."""
    lines = _head("contrast of the lesion", *(f"{size}: n, AP (SE)" for size in VOLUMES_ML))
    for least, most in itertools.pairwise(HEIGHTS):
        own = [row for row in rows if least <= abs(row.height) < most]
        cells = []
        for size in VOLUMES_ML:
            values = [row.precision for row in own if row.size == size]
            cells.append(f"{len(values)}, {_plain(values)}" if values else "–")
        if own:
            name = f"{short(least)} and more" if most == math.inf else f"to {short(most)}"
            lines.append(_line(name, *cells))
    return lines


def guesses(rows: Sequence[Row]) -> Part:
    """How often the guess is right, by contrast and sign, and what else is guessed."""
    lines = _head(
        f"lesions of {PERCENT[0]:g} to {PERCENT[1]:g} % of the brain", "n", "guessed right",
        "the twins", "taken for",
    )  # fmt: skip
    met = []
    for contrast in SCANS:
        for sign in SIGNS:
            own = [
                row
                for row in rows
                if (row.contrast, row.sign) == (contrast, sign)
                and PERCENT[0] <= row.percent <= PERCENT[1]
            ]
            if not own:
                continue
            right = fmean(row.guess == contrast for row in own)
            twins = fmean(row.guess_twin == contrast for row in own)
            wrong = [row.guess for row in own if row.guess != contrast]
            met.append(right >= RIGHT)
            lines.append(_line(
                f"{contrast} {sign}", len(own), f"{right:.0%} ({_binomial(right, len(own))})",
                f"{twins:.0%}",
                ", ".join(f"{wrong.count(name)} {name}" for name in SCANS if name in wrong) or "–",
            ))  # fmt: skip
    return lines, met


def decoys(rows: Sequence[Row]) -> Part:
    """How decoys score, and the same voxels without them, by contrast."""
    lines = _head(
        "decoys' AUROC", "n", "with decoys (SE)", "same voxels without (SE)", "difference (SE)"
    )
    met = []
    for contrast in SCANS:
        own = [row for row in rows if (row.contrast, row.sign) == (contrast, DECOY)]
        own = [row for row in own if not math.isnan(row.decoys)]
        if own:
            values = [row.decoys for row in own]
            differences = [row.decoys - row.decoys_twin for row in own]
            met += [abs(fmean(values) - 0.5) <= ALIKE, abs(fmean(differences)) <= ALIKE]
            lines.append(_line(
                contrast, len(own), _plain(values), _plain([row.decoys_twin for row in own]),
                _mean(differences),
            ))  # fmt: skip
    return lines, met


def _columns(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Rows by contrast, sign and field."""
    for contrast in SCANS:
        for sign in SIGNS:
            for log_sd in FIELDS:
                key = (contrast, sign, log_sd)
                own = [row for row in rows if (row.contrast, row.sign, row.log_sd) == key]
                if own:
                    yield f"{contrast} {sign}{f', field {log_sd:g}' if log_sd else ''}", own


def _head(*cells: str) -> list[str]:
    return [_line(*cells), "|---" * len(cells) + "|"]


def _line(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _plain(values: Sequence[float]) -> str:
    return f"{short(fmean(values))} ({short(standard_error(values))})"


def _mean(values: Sequence[float]) -> str:
    return f"{signed(fmean(values))} ({short(standard_error(values))})"


def _binomial(share: float, n: int) -> str:
    return f"{math.sqrt(share * (1 - share) / n):.0%}"


def main(arguments: Sequence[str] | None = None) -> int:
    options = options_of("benchmarks.restoration", __doc__, seeds=(0,)).parse_args(arguments)
    if options.data:
        detector, brains = load(options)
        cases = {
            job.name(brains[job.brain].name): partial(measure, detector, brains[job.brain], job)
            for job in jobs(len(brains), options.seeds)
        }
        append_rows(options.out, Row, detector.digest, cases, options.share)
    rows = read_rows(options.out, Row)
    print("\n".join([f"{len(rows)} scans", "", *tables(rows)]))
    return 0


if __name__ == "__main__":
    keep_freed_memory()
    torch.set_num_threads(1)
    sys.exit(main())
