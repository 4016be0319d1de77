"""Everything a screened scan leaves on disk, all of it or nothing.

The files are written into a hidden folder beside their targets and renamed when all are whole.
The JSON sidecar comes last: where it exists, the scan is complete. A process that is killed at any
moment leaves no partial file under a final name; its hidden folder is removed by the next run.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import dal_fast
from dal_fast.errors import Code, OutputError
from dal_fast.imaging.atomic import TEMPORARY_SUFFIX, write_bytes, write_json, write_volume
from dal_fast.imaging.bids import output_name, parse_name
from dal_fast.imaging.nifti import Volume
from dal_fast.screening.result import Result

_SIDECAR_VERSION = 2
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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


def check_folder(folder: Path) -> None:
    """Refuse early an output folder that cannot be written; leaves nothing behind.

    Raises:
        InputError: ``output-unwritable``, ``disk-full``.
    """
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"x")
    except OSError as error:
        raise refusal(folder, error) from None


def refusal(path: Path, error: OSError) -> OutputError:
    """What an error of the file system means for the user."""
    code = Code.DISK_FULL if error.errno in _FULL else Code.OUTPUT_UNWRITABLE
    return OutputError(code, f"{path} cannot be written: {error.strerror or error}")


def read_sidecar(scan: Path, folder: Path) -> dict[str, Any] | None:
    """The sidecar of a scan that is complete in ``folder``; ``None`` where there is none."""
    try:
        content = json.loads((folder / output_names(scan)["sidecar"]).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


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
        InputError: ``output-unwritable``, ``disk-full``; then nothing of this scan was written.
    """
    names = output_names(volume.path)
    with _folder(folder), _staging(folder, volume.path) as stage:
        write_volume(stage / names["anomaly"], result.anomaly.data, volume)
        write_volume(stage / names["pseudohealthy"], result.pseudo_healthy.data, volume)
        write_volume(stage / names["brain_mask"], result.brain_mask.data, volume, dtype="uint8")
        write_volume(stage / names["anomaly_mask"], result.anomaly_mask.data, volume, dtype="uint8")
        write_bytes(stage / names["report"], page.encode())
        write_bytes(stage / names["thumbnail"], picture)
        write_json(stage / names["sidecar"], sidecar(result, names))
        _publish(stage, folder, list(names.values()))
    return {what: folder / name for what, name in names.items()}


def sidecar(result: Result, names: dict[str, str]) -> dict[str, Any]:
    """The provenance of a result, JSON-ready."""
    return {
        "FormatVersion": _SIDECAR_VERSION,
        "Description": "Anomaly map: higher is stranger. Research software, not a medical device.",
        "GeneratedBy": {"Name": "dal_fast", "Version": dal_fast.__version__},
        "Source": result.source,
        "Parameters": result.parameters,
        "Requested": result.requested,
        "Score": result.score,
        "VolumeAboveThresholdML": sum(region.volume_ml for region in result.regions),
        "Regions": [asdict(region) for region in result.regions],
        "QualityFlags": [asdict(flag) for flag in result.flags],
        "Seconds": result.timings,
        "Outputs": {what: name for what, name in names.items() if what != "sidecar"},
    }


@contextlib.contextmanager
def _folder(folder: Path) -> Iterator[None]:
    """The folder while the block runs; what was created for it goes again if the block fails."""
    created = [p for p in (folder, *folder.parents) if not p.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refusal(folder, error) from None
    try:
        yield
    except BaseException:
        for path in created:
            with contextlib.suppress(OSError):  # someone else put something there meanwhile
                path.rmdir()
        raise


@contextlib.contextmanager
def _staging(folder: Path, scan: Path) -> Iterator[Path]:
    """A hidden folder on the same file system; also clears what a killed run left."""
    prefix = f".{parse_name(scan).stem}."
    for stale in folder.glob(f"{prefix}*{TEMPORARY_SUFFIX}"):
        shutil.rmtree(stale, ignore_errors=True)
    try:
        stage = Path(tempfile.mkdtemp(prefix=prefix, suffix=TEMPORARY_SUFFIX, dir=folder))
    except OSError as error:
        raise refusal(folder, error) from None
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _publish(stage: Path, folder: Path, names: list[str]) -> None:
    """Rename the whole files to their targets, the last name last; an old last name goes first."""
    try:
        (folder / names[-1]).unlink(missing_ok=True)
        for name in names:
            os.replace(stage / name, folder / name)
    except OSError as error:
        raise refusal(folder, error) from None
