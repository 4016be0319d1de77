"""The cases of an evaluation: scans, where the brain is, and where the lesions are.

From a BIDS dataset:

    sub-01/anat/sub-01_FLAIR.nii.gz                      the scan
    …/sub-01[_mod-FLAIR]_label-lesion_mask.nii.gz        its lesions, beside it or in derivatives/*/
    …/sub-01_seg-anomaly_mask.nii.gz                     (as UAD-IMAG names them)
    …/sub-01[_mod-FLAIR]_desc-brain_mask.nii.gz          its brain; else its non-zero voxels
    participants.tsv                                     site, scanner, age, sex, …

from a table (CSV or TSV) of paths, see :func:`table_cases`, or from the validation set that
``dal-fast make-validation`` writes (:mod:`dal_fast.evaluation.validation_set`).

A scan without a lesion mask, or with an empty one, cannot be evaluated unless a rule says that it
is healthy: a lost file must not turn a patient into a healthy person. Whatever is wrong with one
case is listed as a :data:`Failure` of that case; the others are evaluated.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from dal_fast.errors import Code, InputError
from dal_fast.evaluation.images import read_grid
from dal_fast.imaging.bids import INDICES, find_scans, parse_name, select_scans
from dal_fast.imaging.mask_files import find_brain_masks, find_lesion_masks
from dal_fast.imaging.participants import read_participants
from dal_fast.report.index import Failure

_SCAN = ("scan", "img_path", "image", "Path")
_BRAIN = ("brain", "mask_path", "brain_mask")
_LESION = ("lesion", "seg_path", "lesion_mask", "label")
_EMPTY = ("", "nan", "n/a", "none")


@dataclass(frozen=True)
class Case:
    """One scan and what is known of it.

    Attributes:
        name: of the scan's file, without extension; unique.
        participant: whose brain it is; scans of one participant are not independent.
        scan: its file.
        brain: mask file; ``None`` for a BIDS mask beside the scan, or its non-zero voxels.
        lesion: mask file; ``None`` for a healthy scan.
        facts: its BIDS entities, ``suffix``, and the columns of the participant's row, or of the
            table's.
        healthy: whether a rule says that the scan is healthy, so that its lesion mask may be
            empty or absent.
    """

    name: str
    participant: str
    scan: Path
    brain: Path | None
    lesion: Path | None
    facts: dict[str, str]
    healthy: bool = False

    @property
    def suffix(self) -> str:
        """Such as ``"T2w"``; empty for a name that is not BIDS."""
        return self.facts.get("suffix", "")


class CaseList(NamedTuple):
    """The cases of a dataset, and one failure for every case that cannot be evaluated."""

    cases: list[Case]
    failures: list[Failure]


def bids_cases(dataset: Path, healthy: str | None = None, suffixes: Sequence[str] = ()) -> CaseList:
    """The scans of a BIDS dataset.

    Args:
        dataset: with ``dataset_description.json``.
        healthy: ``KEY=VALUE``: scans that are known to be healthy, by a column of
            ``participants.tsv``, an entity of the name or ``suffix``; ``"all"``.
        suffixes: which; none means all.

    Returns:
        Failures are ``case-twice``, ``lesion-missing``, and what was left out of the dataset.

    Raises:
        InputError: ``rule``, and those of :func:`dal_fast.imaging.bids.select_scans`.
    """
    _, rows = read_participants(dataset)
    cases = []
    for scan in select_scans(dataset, suffixes=suffixes):
        name = parse_name(scan)
        label = name.entities["sub"]
        facts = {**rows.get(label, {}), **name.entities, "suffix": str(name.suffix)}
        facts.pop("participant_id", None)
        brain, lesion = _brain_of(scan), next(iter(find_lesion_masks(scan)), None)
        cases.append(Case(name.stem, label, scan, brain, lesion, facts))
    left_out: list[Failure] = [
        (str(f.path), f.code, f.reason) for f in find_scans(dataset).left_out
    ]
    return _usable(cases, left_out, healthy)


def table_cases(path: Path, healthy: str | None = None, suffixes: Sequence[str] = ()) -> CaseList:
    """The scans that a table lists, CSV or TSV by its name, in UTF-8, UTF-16 or Latin-1.

    Columns (either name): ``scan``, ``img_path`` or ``Path`` (UAD-IMAG); ``brain`` or
    ``mask_path``; ``lesion`` or ``seg_path``; ``participant_id``, ``subject`` or the name's
    ``sub-``; all others are facts. Paths are absolute or relative to the table. Masks for which
    there is no column are looked for beside the scan, as in a BIDS dataset.

    Args:
        path: of the table.
        healthy: as for :func:`bids_cases`, by the columns.
        suffixes: which; none means all.

    Returns:
        Failures are ``cases-table`` for a row without a scan, ``file-missing``, ``case-twice`` and
        ``lesion-missing``.

    Raises:
        InputError: ``cases-table`` for a file that is no table of scans, ``rule``,
            ``label-unknown`` for a suffix that no scan has.
    """
    rows, columns = _read_table(path)
    scan = next((name for name in _SCAN if name in columns), None)
    if scan is None or not rows:
        raise InputError(
            Code.CASES_TABLE,
            f"{path} lists no scans; it needs a column {' or '.join(_SCAN[:2])}, and has "
            f"{', '.join(columns) or 'none'}",
        )
    brain = next((name for name in _BRAIN if name in columns), "")
    lesion = next((name for name in _LESION if name in columns), "")
    cases: list[Case] = []
    failures: list[Failure] = []
    for number, row in enumerate(rows, 2):  # the header is line 1
        try:
            cases.append(_row_case(path, number, row, scan, brain, lesion))
        except InputError as error:
            failures.append((row[scan] or f"row {number}", error.code, error.message))
    listed = sorted({case.suffix for case in cases})
    unknown = [suffix for suffix in suffixes if suffix not in listed]
    if cases and unknown:
        raise InputError(
            Code.LABEL_UNKNOWN,
            f"{path} lists no scan of the suffix {', '.join(unknown)}; it lists "
            f"{', '.join(filter(None, listed)) or 'none at all'}",
        )
    chosen = [case for case in cases if not suffixes or case.suffix in suffixes]
    return _usable(chosen, failures, healthy)


def matching(cases: Sequence[Case], rule: str) -> list[Case]:
    """Those that ``KEY=VALUE`` names (by their facts), or ``"all"``.

    Raises:
        InputError: ``rule`` when it is no such rule, or nothing has that key.
    """
    if rule == "all":
        return list(cases)
    key, equals, value = rule.partition("=")
    keys = sorted({name for case in cases for name in case.facts})
    if not equals or key not in keys:
        raise InputError(
            Code.RULE, f"{rule!r} is not a rule KEY=VALUE; the keys are {', '.join(keys) or 'none'}"
        )
    return [case for case in cases if _plain(key, case.facts.get(key)) == _plain(key, value)]


def _plain(key: str, value: str | None) -> str | None:
    """A value as it is compared: ``run-01`` is ``run-1``."""
    if key in INDICES and value is not None and value.isdecimal():
        return str(int(value))
    return value


def _read_table(path: Path) -> tuple[list[dict[str, str]], list[str]]:
    """Rows, every column of each present, and the columns."""
    try:
        text = decode(path.read_bytes())
        if "\0" in text:
            raise InputError(Code.CASES_TABLE, f"{path} is no table but a binary file")
        table = csv.DictReader(
            io.StringIO(text, newline=""), delimiter="\t" if path.suffix == ".tsv" else ","
        )
        rows, columns = list(table), list(table.fieldnames or [])
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise InputError(Code.CASES_TABLE, f"{path} cannot be read: {error}") from None
    return [_cells(row) for row in rows], columns


def decode(content: bytes) -> str:
    """The text of a table in UTF-8, in UTF-16 with a byte order mark, or else in Latin-1."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _cells(row: dict[str, str]) -> dict[str, str]:
    """A row of a table as text; short rows have empty cells, cells without a header are left."""
    return {name: (value or "").strip() for name, value in row.items() if name}


def _row_case(
    table: Path, number: int, row: dict[str, str], scan: str, brain: str, lesion: str
) -> Case:
    image = _file(table, row[scan])
    if image is None:
        raise InputError(Code.CASES_TABLE, f"row {number} of {table} has no {scan}")
    name = parse_name(image)
    facts = {key: value for key, value in row.items() if key not in (scan, brain, lesion)}
    facts |= name.entities | ({"suffix": name.suffix} if name.suffix else {})
    owner = facts.get("participant_id") or facts.get("subject") or name.entities.get("sub")
    return Case(
        name.stem,
        (owner or name.stem).removeprefix("sub-"),
        image,
        _file(table, row[brain]) if brain else _brain_of(image),
        _file(table, row[lesion]) if lesion else next(iter(find_lesion_masks(image)), None),
        facts,
    )


def _brain_of(scan: Path) -> Path | None:
    """The first mask that BIDS attributes to a scan and that lies on its grid, as in screening."""
    masks = find_brain_masks(scan)
    if len(masks) > 1:  # else the check of the cases says what is wrong with it
        with contextlib.suppress(InputError):
            grid = read_grid(scan)
            return next((mask for mask in masks if read_grid(mask).same_as(grid)), masks[0])
    return next(iter(masks), None)


def _file(table: Path, cell: str) -> Path | None:
    """The file that a cell names."""
    if cell.lower() in _EMPTY:
        return None
    path = table.parent / cell
    check_exists(path, f"{table} names {path}")
    return path


def check_exists(path: Path, subject: str) -> None:
    """Refuse a file that is not there.

    Args:
        path: of the file.
        subject: of the message, such as ``"cases.csv names sub-01_T2w.nii.gz"``.

    Raises:
        InputError: ``file-missing``, ``file-unreadable``.
    """
    try:
        if path.is_symlink() and not path.exists():
            raise InputError(
                Code.FILE_MISSING, f"{subject}, a link whose target is missing (datalad get?)"
            )
        if not path.is_file():
            raise InputError(Code.FILE_MISSING, f"{subject}, which is not a file that exists")
    except OSError as error:
        raise InputError(Code.FILE_UNREADABLE, f"{subject}: {error.strerror}") from None


def _usable(cases: list[Case], failures: list[Failure], healthy: str | None) -> CaseList:
    """The cases that can be evaluated, in order."""
    known = {case.scan for case in matching(cases, healthy)} if healthy and cases else set()
    by_name: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        by_name[case.name].append(case)
    usable = []
    for name, same in by_name.items():
        case, *others = same
        paths = {str(other.scan) for other in same}
        if len(paths) > 1:
            failures.append((name, Code.CASE_TWICE, _several(paths)))
            continue
        failures += [(name, Code.CASE_TWICE, f"{case.scan} is listed twice")] * len(others)
        is_healthy = case.scan in known
        if case.lesion is None and not is_healthy:
            failures.append((name, Code.LESION_MISSING, _without_mask(case)))
            continue
        usable.append(replace(case, healthy=is_healthy))
    return CaseList(usable, failures)


def _several(paths: set[str]) -> str:
    return (
        f"several scans have this file name: {', '.join(sorted(paths))}; anomaly maps are found by "
        "the scan's file name, so names must differ"
    )


def _without_mask(case: Case) -> str:
    return (
        f"{case.scan} has no lesion mask. If it is healthy, say so: --healthy KEY=VALUE, by a "
        "column of participants.tsv or an entity of the name"
    )
