"""What was screened into a folder, read back from the sidecars that lie there."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dal_fast.imaging.bids import parse_name

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


def collect_records(out: Path, participant: str = "*") -> list[Record]:
    """Every complete scan of a BIDS derivative, or of one participant, the highest score first."""
    sidecars = out.glob(f"sub-{participant}/**/*_desc-anomaly_*.json")
    found = [record for path in sidecars if (record := read_record(path, out)) is not None]
    return sorted(found, key=lambda record: (-record.score, record.name))
