"""Is the default map better than plain intensity? Every column, by one command.

    python -m benchmarks.detection OUT --data derivative/ --masks lesion-masks/

The cases are those of :mod:`benchmarks.detection_cases`. Each one's row is appended to a file in
the folder ``OUT``, a JSON object a line; the same command goes on where it stopped, ``--share 0/2``
and ``--share 1/2`` divide the work between two processes of one thread, and without ``--data`` the
tables of what is there are printed. Rows that other weights made are refused; rows of other code
are not told apart, so take a new folder then. ``--before FOLDER`` adds what changed in the cases
that another folder holds, too.

In every column of contrast, sign and volume the default score stands beside two floors: the best
plain detector that is not told the sign (``two_sided``, or intensity in the direction that is usual
in the contrast), and the best of all, which is told. Which one, and which median, is best is seen
from the column itself, which is to the floor's advantage. Differences are paired by case: their
mean, its standard error over cases, and the mean by seed.
"""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

import torch

from benchmarks.detection_cases import FLOORS, Row, jobs, run
from benchmarks.rows import load, mean_of, options_of, read_rows, short, signed, standard_error
from dal_fast.evaluation.case_metrics import size_class
from dal_fast.evaluation.validation_samples import DECOY, GENERATORS, HEALTHY, SIGNS
from dal_fast.memory import keep_freed_memory
from dal_fast.screening.calibration import BRIGHT, USUAL
from dal_fast.synthesis.brains import SCANS
from dal_fast.synthesis.given_masks import read_masks

CLASSES = {"1 to 10 mL": (1.0, 10.0), "10 to 60 mL": (10.0, 60.0), "60 mL and more": (60.0, 1e9)}
COLUMNS = [(contrast, sign) for contrast in SCANS for sign in SIGNS]


@dataclass(frozen=True)
class Against:
    """The default score against a floor.

    Attributes:
        floor: its name and median.
        value: its average precision, mean over cases.
        difference: the default score's less the floor's, mean over cases.
        error: its standard error over cases; NaN for one case.
        by_seed: the mean difference of every seed.
    """

    floor: str
    value: float
    difference: float
    error: float
    by_seed: tuple[float, ...]

    def __str__(self) -> str:
        error = "" if math.isnan(self.error) else f" ({short(self.error)})"
        seeds = " ".join(signed(value) for value in self.by_seed)
        return f"{signed(self.difference)}{error} [{seeds}]"


def against(rows: Sequence[Row], told: bool) -> Against:
    """Compare with the best floor of a column, all of whose rows have one contrast and sign."""
    usual = "intensity" if USUAL[rows[0].contrast] == BRIGHT else "dark_intensity"
    allowed = FLOORS if told else (usual, "two_sided")
    means = {
        name: fmean(row.floors[name] for row in rows)
        for name in rows[0].floors
        if name.split()[0] in allowed
    }
    best = max(means, key=means.__getitem__)
    differences = [row.auto - row.floors[best] for row in rows]
    by_seed = defaultdict(list)
    for row, difference in zip(rows, differences, strict=True):
        by_seed[row.seed].append(difference)
    return Against(
        best,
        means[best],
        fmean(differences),
        standard_error(differences),
        tuple(fmean(by_seed[seed]) for seed in sorted(by_seed)),
    )


def with_lesions(rows: Iterable[Row]) -> list[Row]:
    """The cases with lesions of 1 mL and more."""
    return [row for row in rows if row.sign in SIGNS and row.ml >= 1 and not math.isnan(row.auto)]


def class_of(row: Row) -> str:
    """Of the case's lesions, by their volume."""
    return next(name for name, (least, most) in CLASSES.items() if least <= row.ml < most)


def tables(rows: Sequence[Row]) -> list[str]:
    """All tables, with empty lines between them."""
    lesions = with_lesions(rows)
    parts = (
        verdict(lesions), columns(lesions), by_generator(lesions), lesion_wise(lesions),
        healthy(rows),
    )  # fmt: skip
    return [line for part in parts for line in (*part, "")]


def verdict(rows: Sequence[Row]) -> list[str]:
    """In how many columns the default score is above each floor."""
    fine = [own for _, own in _columns(rows, class_of)]
    whole = [own for _, own in _columns(rows, lambda row: "")]
    generators = [own for _, own in _columns(rows, lambda row: f"{row.generator} {class_of(row)}")]
    kinds = {
        "contrast x sign x volume": fine,
        "contrast x sign": whole,
        "contrast x sign x volume x generator": generators,
    }
    lines = []
    for name, found in kinds.items():
        for told in (False, True):
            above = sum(against(own, told).difference > 0 for own in found)
            floor = "is told" if told else "is not told"
            lines.append(f"- above the best floor that {floor} the sign in {above} of {len(found)} "
                         f"columns of {name}")  # fmt: skip
    return lines


def columns(rows: Sequence[Row]) -> list[str]:
    """The generators together: every column of contrast, sign and volume."""
    lines = [
        "| AP | n | `auto` | sign known | floor, sign not told | `auto` less it (SE) [by seed] | "
        "floor, sign told | `auto` less it (SE) [by seed] |",
        "|---" * 8 + "|",
    ]
    for kind in (class_of, lambda row: "1 mL and more"):
        for name, own in _columns(rows, kind):
            cells = [short(mean_of(own, score)) for score in ("auto", "told")]
            for told in (False, True):
                found = against(own, told)
                cells += [f"{short(found.value)} {found.floor}", str(found)]
            lines.append(f"| {name} | {len(own)} | {' | '.join(cells)} |")
    return lines


def by_generator(rows: Sequence[Row]) -> list[str]:
    """Differences to both floors by generator and volume."""
    heads = " | ".join(f"{name}, not told · told (n)" for name in CLASSES)
    lines = [f"| `auto` less floor | {heads} |", "|---" * (1 + len(CLASSES)) + "|"]
    for generator in GENERATORS:
        drawn = [row for row in rows if row.generator == generator]
        for name, own in _columns(drawn, lambda row: ""):
            cells = []
            for size in CLASSES:
                found = [row for row in own if class_of(row) == size]
                pair = [signed(against(found, told).difference) for told in (False, True) if found]
                cells.append(f"{' · '.join(pair)} ({len(found)})" if found else "–")
            lines.append(f"| `{generator}` {name} | {' | '.join(cells)} |")
    return lines


def lesion_wise(rows: Sequence[Row]) -> list[str]:
    """What is marked: Dice, sign, single lesions by their volume, and regions without lesion."""
    sizes = [size_class(ml) for ml in (0.05, 0.5, 5.0, 50.0)]
    heads = " | ".join(f"found, {name}" for name in sizes)
    lines = [
        f"| marked | n | Dice (SE) | its sign shown | {heads} | regions beside, median |",
        "|---" * (5 + len(sizes)) + "|",
    ]
    for name, own in _columns(rows, lambda row: ""):
        dices = [row.dice for row in own]
        right = fmean(row.shown in (row.sign, "both") for row in own)
        cells = [f"{short(fmean(dices))} ({short(standard_error(dices))})", f"{100 * right:.0f} %"]
        for size in sizes:
            total, found = (sum(row.lesions.get(size, [0, 0])[i] for row in own) for i in (0, 1))
            cells.append(f"{found} of {total}")
        cells.append(f"{median(row.false_regions for row in own):g}")
        lines.append(f"| {name} | {len(own)} | {' | '.join(cells)} |")
    return lines


def healthy(rows: Sequence[Row]) -> list[str]:
    """Healthy voxels above the threshold, and how decoys score."""
    lines = ["| healthy voxels above, % | mean | most | scans without | n |", "|---" * 5 + "|"]
    for contrast in SCANS:
        for generator in GENERATORS:
            shares = [
                row.above
                for row in rows
                if (row.contrast, row.generator, row.sign) == (contrast, generator, HEALTHY)
            ]
            if shares:
                none = sum(share == 0 for share in shares)
                lines.append(f"| {contrast}, `{generator}` | {fmean(shares):.2f} | "
                             f"{max(shares):.2f} | {none} | {len(shares)} |")  # fmt: skip
    lines += ["", "| decoys' AUROC (SE) | " + " | ".join(SCANS) + " |", "|---" * 4 + "|"]
    cells = []
    for contrast in SCANS:
        values = [
            row.decoys
            for row in rows
            if (row.contrast, row.sign) == (contrast, DECOY) and not math.isnan(row.decoys)
        ]
        cells.append("–")
        if values:
            cells[-1] = f"{short(fmean(values))} ({short(standard_error(values))}, n={len(values)})"
    return [*lines, f"| `auto` | {' | '.join(cells)} |"]


def changes(before: Sequence[Row], rows: Sequence[Row]) -> list[str]:
    """The default score of the same cases, measured before and now."""
    then = {row.case: row for row in before}
    both = [row for row in rows if row.case in then]
    lines = ["| before → now | n | AP | difference (SE) | Dice |", "|---" * 5 + "|"]
    for kind in (class_of, lambda row: "1 mL and more"):
        for name, own in _columns(with_lesions(both), kind):
            pairs = [(then[row.case], row) for row in own]
            differences = [now.auto - old.auto for old, now in pairs]
            cells = [
                f"{short(fmean(old.auto for old, _ in pairs))} → {short(mean_of(own, 'auto'))}",
                f"{signed(fmean(differences))} ({short(standard_error(differences))})",
                f"{short(fmean(old.dice for old, _ in pairs))} → {short(mean_of(own, 'dice'))}",
            ]
            lines.append(f"| {name} | {len(own)} | {' | '.join(cells)} |")
    for contrast in SCANS:
        own = [row for row in both if (row.contrast, row.sign) == (contrast, HEALTHY)]
        if own:
            shares = fmean(then[row.case].above for row in own), mean_of(own, "above")
            lines.append(f"| {contrast} healthy, % above | {len(own)} | "
                         f"{shares[0]:.3f} → {shares[1]:.3f} | | |")  # fmt: skip
    return lines


def _columns(rows: Sequence[Row], kind: Callable[[Row], str]) -> list[tuple[str, list[Row]]]:
    """Rows by contrast, sign and kind, and in that order."""
    found: dict[tuple[int, str], list[Row]] = defaultdict(list)
    for row in rows:
        found[COLUMNS.index((row.contrast, row.sign)), kind(row)].append(row)
    return [
        (" ".join(filter(None, (*COLUMNS[column], name))), found[column, name])
        for column, name in sorted(found)
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = options_of("benchmarks.detection", __doc__, seeds=(0, 1, 2))
    parser.add_argument("--masks", type=Path, help="as for dal-fast make-validation")
    parser.add_argument("--before", type=Path, help="folder of rows to compare with")
    options = parser.parse_args(arguments)
    if options.data:
        if not options.masks:
            parser.error("--masks is needed to draw cases")
        detector, brains = load(options)
        todo = jobs(len(brains), options.seeds)
        run(options.out, detector, brains, read_masks(options.masks), todo, options.share)
    rows = read_rows(options.out, Row)
    lines = tables(rows)
    if options.before:
        lines += changes(read_rows(options.before, Row), rows)
    print("\n".join([f"{len(rows)} cases", "", *lines]))
    return 0


if __name__ == "__main__":
    keep_freed_memory()
    torch.set_num_threads(1)
    sys.exit(main())
