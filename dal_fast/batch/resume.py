"""Which scans are complete from an earlier run.

Complete outputs are up to date when the same version made them, with the same parameters, from a
scan and a brain mask of the same content. Where the files lie, and by which path they were named,
makes no difference.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from isal import igzip, isal_zlib

from dal_fast._version import generated_by
from dal_fast.batch.outputs import output_names
from dal_fast.imaging.header import LONGEST_HEADER, parse_header
from dal_fast.imaging.mask import grid_difference
from dal_fast.imaging.mask_files import find_brain_masks
from dal_fast.imaging.mask_origin import hash_of_file, read_sidecar
from dal_fast.imaging.nifti import Volume
from dal_fast.screening.scan import EXTRACTED, Head, Scan

_DAMAGED: Any = (ValueError, OSError, EOFError, isal_zlib.error)
"""What reading a damaged file may raise."""
_PATHS = frozenset(("weights",))
"""Parameters that name a file; another one holds its hash."""


def up_to_date(scan: Scan | Head, folder: Path, parameters: dict[str, Any]) -> bool:
    """Whether ``folder`` holds the complete result of a scan that was read.

    Args:
        scan: with its brain mask, or a head.
        folder: of the outputs.
        parameters: :attr:`dal_fast.screening.screener.Screener.parameters`.
    """
    names = output_names(scan.volume.path)
    return _made_from(folder, names, parameters) == scan.hashes


def is_unchanged(
    scan: Path, folder: Path, parameters: dict[str, Any], names: dict[str, str] | None = None
) -> bool:
    """Whether ``folder`` holds the complete result of a scan, without decoding its voxels.

    The mask is the one that :func:`dal_fast.imaging.mask.find_mask` would choose: the first one on
    the scan's grid; none, where the parameters say that the brain is always extracted. Where that
    takes more than headers and hashes, the answer is no.

    Args:
        scan: its file.
        folder: of the outputs.
        parameters: :attr:`dal_fast.screening.screener.Screener.parameters`.
        names: of the outputs; by default those of a screening.
    """
    made_from = _made_from(folder, names or output_names(scan), parameters)
    return made_from is not None and made_from == _hashes(scan, parameters)


def made_from_this(scan: Path, folder: Path) -> bool:
    """Whether the result in ``folder`` was made from a scan and mask as they lie there now, by
    whatever version and with whatever parameters."""
    old = read_sidecar(folder / output_names(scan)["sidecar"]) or {}
    source, requested = old.get("Source"), old.get("Requested")
    if not isinstance(source, dict) or not isinstance(requested, dict):
        return False
    return (source.get("sha256"), source.get("mask_sha256")) == _hashes(scan, requested)


def _hashes(scan: Path, parameters: dict[str, Any]) -> tuple[str, str | None] | None:
    """Of a scan and the mask that would be chosen; ``None`` where they cannot be told."""
    try:
        extracted = parameters["brain"] in EXTRACTED
        return hash_of_file(scan), None if extracted else _mask_sha256(scan)
    except _DAMAGED:
        return None


def _made_from(
    folder: Path, names: dict[str, str], parameters: dict[str, Any]
) -> tuple[str | None, str | None] | None:
    """Hashes of the scan and mask that complete outputs with these parameters were made from."""
    old = read_sidecar(folder / names["sidecar"])
    if (
        old is None
        or old.get("GeneratedBy") != generated_by()
        or _comparable(old.get("Requested")) != _comparable(parameters)
        or not all((folder / name).is_file() for name in names.values())
    ):
        return None
    source = old.get("Source")
    return (source.get("sha256"), source.get("mask_sha256")) if isinstance(source, dict) else None


def _comparable(parameters: Any) -> Any:
    """Parameters as JSON gives them back, without the paths of files."""
    if not isinstance(parameters, dict):
        return None
    return json.loads(json.dumps({k: v for k, v in parameters.items() if k not in _PATHS}))


def _mask_sha256(scan: Path) -> str | None:
    """Hash of the brain mask that would be chosen; ``None`` where none is found on the grid."""
    masks = find_brain_masks(scan)
    if masks:
        grid = _read_grid(scan)
        for mask in masks:
            if grid_difference(_read_grid(mask), grid) is None:
                return hash_of_file(mask)
    return None


def _read_grid(path: Path) -> Volume:
    """A volume without its voxels."""
    with path.open("rb") as file:
        compressed = path.name.lower().endswith(".gz")
        stream: Any = igzip.GzipFile(fileobj=file, mode="rb") if compressed else file  # type: ignore[no-untyped-call]
        header = parse_header(stream.read(LONGEST_HEADER), str(path))
    voxels = np.broadcast_to(np.float32(0), header.shape)
    return Volume(voxels, header.affine, header.raw, path, "", 0)
