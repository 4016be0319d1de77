"""The files that hold the result of one scan: all of them are written, or none.

They are written into a hidden folder beside their targets and renamed when all are whole, the JSON
sidecar last: where it exists, the scan is complete. A process that is killed at any moment leaves
no partial file under a final name; its hidden folder is removed by the next run.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from dal_fast._version import generated_by
from dal_fast.errors import Code, InputError
from dal_fast.imaging.atomic import staged_files, write_bytes, write_json, write_text
from dal_fast.imaging.bids import brain_mask_name, output_name, parse_name
from dal_fast.imaging.mask_origin import MASK_HASH, hash_of_file
from dal_fast.imaging.nifti import Volume
from dal_fast.imaging.nifti_output import write_volume
from dal_fast.screening.result import Result

_SIDECAR_VERSION = 2


def output_names(scan: Path) -> dict[str, str]:
    """File names of a scan's outputs by what they are; ``sidecar`` is written last."""
    anomaly = output_name(scan, "anomaly")
    return {
        "anomaly": anomaly,
        "pseudohealthy": output_name(scan, "pseudohealthy"),
        "brain_mask": output_name(scan, "brain", mask=True),
        "anomaly_mask": output_name(scan, "anomaly", mask=True),
        "report": f"{parse_name(scan).stem}.html",
        "thumbnail": f"{parse_name(scan).stem}.png",
        "sidecar": f"{parse_name(anomaly).stem}.json",
    }


def strip_names(scan: Path) -> dict[str, str]:
    """File names of a scan's brain by what they are; ``sidecar`` is written last."""
    mask = brain_mask_name(scan)
    stem = parse_name(mask).stem
    return {
        "brain": output_name(scan, "brain"),
        "mask": mask,
        "picture": f"{stem}.png",
        "sidecar": f"{stem}.json",
    }


def check_source_stays(scan: Path, folder: Path, names: dict[str, str]) -> None:
    """Refuse to overwrite a scan by its own results, whose names it may have.

    Args:
        scan: its file.
        folder: of the results.
        names: of them.

    Raises:
        InputError: ``value``.
    """
    if folder.resolve() == scan.absolute().parent.resolve() and scan.name in names.values():
        raise InputError(
            Code.VALUE,
            f"{scan} has the name of one of its own results, which would overwrite it; give "
            "another folder for these",
        )


def write_result(
    result: Result, volume: Volume, page: str, picture: bytes, folder: Path
) -> dict[str, Path]:
    """Write maps, masks, report and sidecar of one scan.

    Args:
        result: of the screening.
        volume: the scan, whose grid and header the maps take.
        page: the HTML report.
        picture: a PNG that stands for the scan in a folder's index.
        folder: created where it does not exist, and removed again if the writing fails.

    Returns:
        Paths by what they are, see :func:`output_names`.

    Raises:
        OutputError: ``output-unwritable``, ``disk-full``; then nothing of this scan was written.
    """
    names = output_names(volume.path)
    with staged_files(folder, list(names.values())) as stage:
        write_volume(stage / names["anomaly"], result.anomaly.data, volume)
        write_volume(stage / names["pseudohealthy"], result.pseudo_healthy.data, volume)
        write_volume(stage / names["brain_mask"], result.brain_mask.data, volume, dtype="uint8")
        write_volume(stage / names["anomaly_mask"], result.anomaly_mask.data, volume, dtype="uint8")
        write_text(stage / names["report"], page)
        write_bytes(stage / names["thumbnail"], picture)
        mask_hash = {MASK_HASH: hash_of_file(stage / names["brain_mask"])}
        write_json(stage / names["sidecar"], sidecar(result, names) | mask_hash)
    return {what: folder / name for what, name in names.items()}


def sidecar(result: Result, names: dict[str, str]) -> dict[str, Any]:
    """The provenance of a result, JSON-ready."""
    return {
        "FormatVersion": _SIDECAR_VERSION,
        "Description": "Anomaly map: higher is stranger. Research software, not a medical device.",
        "GeneratedBy": generated_by(),
        "Source": result.source,
        "Parameters": result.parameters,
        "Requested": result.requested,
        "Brain": result.brain,
        "Score": result.score,
        "VolumeAboveThresholdML": result.volume_ml,
        "Regions": [asdict(region) for region in result.regions],
        "QualityFlags": [asdict(flag) for flag in result.flags],
        "Seconds": result.timings,
        "Outputs": {what: name for what, name in names.items() if what != "sidecar"},
    }
