"""What anomaly maps are compared with: scans, where the brain is, and where the lesions are.

From a BIDS dataset:

    sub-01/anat/sub-01_FLAIR.nii.gz                      the scan
    …/sub-01[_mod-FLAIR]_label-lesion_mask.nii.gz        its lesions, beside it or in derivatives/*/
    …/sub-01_seg-anomaly_mask.nii.gz                     (as UAD-IMAG names them)
    …/sub-01[_mod-FLAIR]_desc-brain_mask.nii.gz          its brain; else its non-zero voxels
    participants.tsv                                     site, scanner, age, sex, …

or from a table (CSV or TSV) of paths, see :func:`table_truths`. A scan without a lesion mask is
refused unless a rule says that it is healthy: a lost file must not make a patient healthy.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dal_fast.batch.cohort import read_participants
from dal_fast.errors import Code, InputError
from dal_fast.imaging.bids import find_brain_masks, find_lesion_masks, parse_name, select_scans

_SCAN = ("scan", "img_path", "image", "Path")
_BRAIN = ("brain", "mask_path", "brain_mask")
_LESION = ("lesion", "seg_path", "lesion_mask", "label")
_NAMED = 5  # scans that an error lists


@dataclass(frozen=True)
class Truth:
    """One scan and what is known of it.

    Attributes:
        name: of the scan's file, without extension.
        participant: whose brain it is; scans of one participant are not independent.
        scan: its file.
        brain: mask file; ``None`` for the non-zero voxels of the scan.
        lesion: mask file; ``None`` when the scan is known to be healthy.
        facts: its BIDS entities, ``suffix``, and the columns of the participant's row, or of the
            table's.
    """

    name: str
    participant: str
    scan: Path
    brain: Path | None
    lesion: Path | None
    facts: dict[str, str]

    @property
    def suffix(self) -> str:
        """Such as ``"T2w"``; empty for a name that is not BIDS."""
        return self.facts.get("suffix", "")


def bids_truths(
    dataset: Path, healthy: str | None = None, suffixes: Sequence[str] = ()
) -> list[Truth]:
    """The scans of a BIDS dataset.

    Args:
        dataset: with ``dataset_description.json``.
        healthy: ``KEY=VALUE``: scans without a lesion mask that are known to be healthy, by a
            column of ``participants.tsv``, an entity of the name or ``suffix``; ``"all"``.
        suffixes: which; none means all.

    Raises:
        InputError: ``lesion-missing``, ``rule``, and those of
            :func:`dal_fast.imaging.bids.select_scans`.
    """
    _, rows = read_participants(dataset)
    found = []
    for scan in select_scans(dataset, suffixes=suffixes):
        name = parse_name(scan)
        label = name.entities["sub"]
        facts = {**rows.get(label, {}), **name.entities, "suffix": str(name.suffix)}
        facts.pop("participant_id", None)
        lesions = find_lesion_masks(scan)
        brains = find_brain_masks(scan)
        found.append(
            Truth(
                name.stem, label, scan, brains[0] if brains else None,
                lesions[0] if lesions else None, facts,
            )
        )  # fmt: skip
    return _healthy_known(found, healthy, str(dataset))


def table_truths(path: Path, healthy: str | None = None) -> list[Truth]:
    """The scans that a table lists, CSV or TSV by its name.

    Columns (either name): ``scan``, ``img_path`` or ``Path`` (UAD-IMAG); ``brain`` or
    ``mask_path``; ``lesion`` or ``seg_path``; ``participant_id``, ``subject`` or the name's
    ``sub-``; all others are facts. Paths are absolute or relative to the table. Masks for which
    there is no column are looked for beside the scan, as in a BIDS dataset.

    Args:
        path: of the table.
        healthy: as for :func:`bids_truths`, by the columns.

    Raises:
        InputError: ``cases-table`` for a table without scans or with a file that is not there,
            ``lesion-missing``, ``rule``.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",")
            rows, columns = list(table), list(table.fieldnames or [])
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(Code.CASES_TABLE, f"{path} cannot be read: {error}") from None
    scan = next((name for name in _SCAN if name in columns), None)
    if scan is None or not rows:
        raise InputError(
            Code.CASES_TABLE,
            f"{path} lists no scans; it needs a column {' or '.join(_SCAN[:2])}, and has "
            f"{', '.join(columns) or 'none'}",
        )
    brain = next((name for name in _BRAIN if name in columns), "")
    lesion = next((name for name in _LESION if name in columns), "")
    found = [_row_truth(path, row, scan, brain, lesion) for row in rows]
    return _healthy_known(found, healthy, str(path))


def matching(truths: Sequence[Truth], rule: str) -> list[Truth]:
    """Those that ``KEY=VALUE`` names (by their facts), or ``"all"``.

    Raises:
        InputError: ``rule`` when it is no such rule, or nothing has that key.
    """
    if rule == "all":
        return list(truths)
    key, equals, value = rule.partition("=")
    known = sorted({name for truth in truths for name in truth.facts})
    if not equals or key not in known:
        raise InputError(
            "rule", f"{rule!r} is no rule KEY=VALUE; the keys are {', '.join(known) or 'none'}"
        )
    return [truth for truth in truths if truth.facts.get(key) == value]


def _row_truth(table: Path, row: dict[str, str], scan: str, brain: str, lesion: str) -> Truth:
    def file(column: str) -> Path | None:
        text = (row.get(column) or "").strip()
        if not text or text.lower() in ("nan", "n/a", "none"):
            return None
        path = table.parent / text
        if not path.is_file():
            raise InputError(Code.CASES_TABLE, f"{table} names {path}, which is not there")
        return path

    image = file(scan)
    if image is None:
        raise InputError(Code.CASES_TABLE, f"{table} has a row without {scan}")
    name = parse_name(image)
    facts = {key: value or "" for key, value in row.items() if key not in (scan, brain, lesion)}
    facts |= name.entities | ({"suffix": name.suffix} if name.suffix else {})
    owner = facts.get("participant_id") or facts.get("subject") or name.entities.get("sub")
    owner = (owner or name.stem).removeprefix("sub-")
    return Truth(
        name.stem,
        owner,
        image,
        file(brain) if brain else next(iter(find_brain_masks(image)), None),
        file(lesion) if lesion else next(iter(find_lesion_masks(image)), None),
        facts,
    )


def _healthy_known(found: list[Truth], healthy: str | None, source: str) -> list[Truth]:
    """``found``, when names differ and every scan without a lesion mask is healthy by the rule."""
    twice = [name for name, number in Counter(truth.name for truth in found).items() if number > 1]
    if twice:
        raise InputError(
            Code.CASE_TWICE,
            f"{source} has {len(twice)} file names more than once, among them {twice[0]}; maps are "
            "found by the scan's file name",
        )
    without = [truth for truth in found if truth.lesion is None]
    known = {t.scan for t in matching(found, healthy)} if healthy else set()
    lost = [truth for truth in without if truth.scan not in known]
    if lost:
        names = ", ".join(truth.name for truth in lost[:_NAMED])
        raise InputError(
            Code.LESION_MISSING,
            f"{len(lost)} scans of {source} have no lesion mask: {names}"
            f"{', …' if len(lost) > _NAMED else ''}. If they are healthy, say so: "
            "--healthy KEY=VALUE, by a column of participants.tsv or an entity of the name",
        )
    return found
