"""What was screened into a folder, read back from the sidecars that lie there."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dal_fast.batch.outputs import output_names
from dal_fast.batch.resume import made_from_this
from dal_fast.imaging.bids import parse_name
from dal_fast.imaging.text import one_line

BRAIN_COLUMNS = ("mask_from", "brain_ml", "mask_confidence")
"""Of tables: where the mask comes from, its volume, and the confidence of an extracted one."""


@dataclass(frozen=True)
class Record:
    """One complete scan.

    Attributes:
        name: path of the scan's results below the folder, without extension.
        participant, session, suffix: labels of its name; empty where it is not BIDS.
        score: the scan's one number.
        volume_ml: above the threshold.
        flags: codes of its quality flags.
        page, thumbnail: paths below the folder.
        outputs: names of the files beside its sidecar, by what they are.
        folder: of the files.
        brain: facts of its brain mask, see :attr:`dal_fast.screening.scan.Scan.brain`.
        settings: what two scores must have in common to be compared, by name.
    """

    name: str
    participant: str
    session: str
    suffix: str
    score: float
    volume_ml: float
    flags: tuple[str, ...]
    page: str
    thumbnail: str
    outputs: dict[str, str]
    folder: Path
    brain: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def brain_cells(self) -> tuple[str, str, str]:
        """The brain mask in a table, see :data:`BRAIN_COLUMNS`."""
        volume, confidence = self.brain.get("VolumeML"), self.brain.get("Confidence")
        return (
            self.brain.get("Source", "n/a"),
            "n/a" if volume is None else f"{volume:.1f}",
            "n/a" if confidence is None else f"{confidence:.3f}",
        )


def flag_codes(facts: dict[str, Any]) -> tuple[str, ...]:
    """The codes of a sidecar's quality flags, each once: a code may come with two messages."""
    return tuple(dict.fromkeys(flag["code"] for flag in facts["QualityFlags"]))


def read_record(sidecar: Path, out: Path) -> Record | None:
    """The scan of a sidecar below ``out``; ``None`` where there is no complete one."""
    try:
        facts: dict[str, Any] = json.loads(sidecar.read_text(encoding="utf-8"))
        names = facts["Outputs"]
        if not all((sidecar.parent / name).is_file() for name in names.values()):
            return None
        below = sidecar.parent.relative_to(out)
        scan = parse_name(Path(names["report"]).stem)
        return Record(
            name=(below / scan.stem).as_posix(),
            participant=scan.entities.get("sub", ""),
            session=scan.entities.get("ses", ""),
            suffix=scan.suffix or "",
            score=float(facts["Score"]),
            volume_ml=float(facts["VolumeAboveThresholdML"]),
            flags=flag_codes(facts),
            page=(below / names["report"]).as_posix(),
            thumbnail=(below / names["thumbnail"]).as_posix(),
            outputs=names,
            folder=sidecar.parent,
            brain=facts.get("Brain", {}),
            settings=_settings(facts),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _settings(facts: dict[str, Any]) -> dict[str, str]:
    """Of a sidecar: the score and weights that were used, the options that were given."""
    used, given = facts.get("Parameters", {}), facts.get("Requested", {})
    found = {
        "version": facts.get("GeneratedBy", {}).get("Version"),
        "weights": str(used.get("weights_sha256"))[:8],
        "score": used.get("score"),
        "median": given.get("median"),
        "threshold": given.get("threshold"),
    }
    return {name: str(value) for name, value in found.items()}


def records_of(
    scans: Sequence[Path], dataset: Path, out: Path, failed: Collection[str] = ()
) -> list[Record]:
    """What was screened of scans, the highest score first.

    Args:
        scans: of the dataset.
        dataset: a folder.
        out: of the results.
        failed: paths below the dataset, a line each, of scans that a run has failed with: an
            earlier result counts only if it was made from what lies there now.
    """
    found = []
    for scan in scans:
        below = scan.relative_to(dataset)
        folder = out / below.parent
        record = read_record(folder / output_names(scan)["sidecar"], out)
        stale = one_line(str(below)) in failed and not made_from_this(scan, folder)
        if record is not None and not stale:
            found.append(record)
    return sorted(found, key=lambda record: (-record.score, record.name))


def count_others(out: Path, scans: Sequence[Path], dataset: Path) -> int:
    """How many complete results a BIDS derivative holds that are of none of these scans."""
    own = {out / s.relative_to(dataset).with_name(output_names(s)["sidecar"]) for s in scans}
    others = set(out.glob("**/sub-*_desc-anomaly_*.json")) - own
    seen = (path for path in others if not any(p[0] == "." for p in path.relative_to(out).parts))
    return sum(read_record(path, out) is not None for path in seen)
