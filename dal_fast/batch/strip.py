"""Brain masks of many scans, without screening them: names, stages, and the sidecar."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dal_fast._version import generated_by
from dal_fast.batch.job import Job, Outcome, attempt
from dal_fast.batch.outputs import strip_names
from dal_fast.batch.resume import is_unchanged
from dal_fast.imaging.atomic import staged_files, write_bytes, write_json
from dal_fast.imaging.bids import parse_name
from dal_fast.imaging.mask import nonzero_mask
from dal_fast.imaging.mask_origin import MASK_HASH, hash_of_file
from dal_fast.imaging.nifti import Volume, read_volume
from dal_fast.imaging.nifti_output import write_volume
from dal_fast.screening.result import Flag, Image
from dal_fast.screening.scan import Brain, Head, NonFinite, Scan, brain_or_head

if TYPE_CHECKING:
    from dal_fast.batch.resident import AnyExtractor
    from dal_fast.screening.chain import Opening

_SIDECAR_VERSION = 1


@dataclass(frozen=True, eq=False)
class Stripped:
    """A scan and what is to be known of its brain mask."""

    scan: Scan
    flags: list[Flag] = field(default_factory=list)


class StripStages:
    """As :class:`dal_fast.batch.job.Stages`, for brain masks.

    A scan that is skull-stripped already keeps its non-zero voxels. Masks that lie beside a scan
    are not looked at.

    Args:
        brain: ``"strip"`` or ``"hd-bet"``.
        runtime, device: of the network, see :class:`dal_fast.screening.screener.Screener`.
        nonfinite: refuse or replace NaN and infinite voxels.
        overwrite: extract again what is complete.
        opening: see :func:`dal_fast.batch.resident.make_extractor`.

    Raises:
        InputError: ``weights-missing``.
        RuntimeUnavailable: ``extra-missing``, ``device-unavailable``.
    """

    def __init__(
        self,
        brain: Brain = "strip",
        runtime: str = "auto",
        device: str = "auto",
        nonfinite: NonFinite = "refuse",
        overwrite: bool = False,
        opening: Opening | None = None,
    ) -> None:
        from dal_fast.batch.resident import make_extractor

        self.overwrite, self.nonfinite = overwrite, nonfinite
        self.extractor: AnyExtractor = make_extractor(brain, runtime, device, opening)
        self.parameters: dict[str, Any] = {
            "brain": brain,
            "runtime": runtime,
            "device": device,
            "nonfinite": nonfinite,
            **self.extractor.parameters,
        }

    def read(self, job: Job) -> Volume | Outcome:
        def work() -> Volume | Outcome:
            names = strip_names(job.scan)
            if not self.overwrite and is_unchanged(job.scan, job.folder, self.parameters, names):
                return Outcome(job.scan, job.folder, "kept")
            return read_volume(job.scan, self.nonfinite)

        return attempt(job, work)

    def compute(self, job: Job, volume: Volume | Outcome) -> Stripped | Outcome:
        if isinstance(volume, Outcome):
            return volume
        return attempt(job, lambda: self.strip(volume))

    def write(self, job: Job, work: Stripped | Outcome) -> Outcome:
        if isinstance(work, Outcome):
            return work

        def write() -> Outcome:
            write_brain(work, self.parameters, job.folder)
            return Outcome(job.scan, job.folder, "done")

        return attempt(job, write)

    def strip(self, volume: Volume) -> Stripped:
        """The brain of a volume, and quality flags of its mask.

        Raises:
            InputError: ``brain-not-found``.
        """
        from dal_fast.screening.qc import mask_flags

        start = time.perf_counter()
        scan = brain_or_head(volume, nonzero_mask(volume), parse_name(volume.path).stem, {})
        if isinstance(scan, Head):
            scan = scan.with_brain(self.extractor.extract(volume), {})
        scan = replace(scan, timings={"brain extraction": time.perf_counter() - start})
        return Stripped(scan, mask_flags(volume, scan.mask))


def write_brain(stripped: Stripped, parameters: dict[str, Any], folder: Path) -> dict[str, Path]:
    """Write the mask, the scan without its skull, a picture of the outline, and the sidecar.

    Args:
        stripped: the scan.
        parameters: of the extraction, JSON-ready.
        folder: created where it does not exist, and removed again if the writing fails.

    Returns:
        Paths by what they are, see :func:`strip_names`.

    Raises:
        OutputError: ``output-unwritable``, ``disk-full``; then nothing of this scan was written.
    """
    from dal_fast.report.outline import outline_picture
    from dal_fast.report.png import encode

    scan = stripped.scan
    volume, brain = scan.volume, scan.mask.data
    names = strip_names(volume.path)
    picture = outline_picture(Image(volume.data, volume.affine), Image(brain, volume.affine))
    with staged_files(folder, list(names.values())) as stage:
        write_volume(stage / names["brain"], np.where(brain, volume.data, 0), volume)
        write_volume(stage / names["mask"], brain, volume, dtype="uint8")
        write_bytes(stage / names["picture"], encode(picture))
        mask_hash = {MASK_HASH: hash_of_file(stage / names["mask"])}
        write_json(stage / names["sidecar"], _sidecar(stripped, parameters, names) | mask_hash)
    return {what: folder / name for what, name in names.items()}


def _sidecar(
    stripped: Stripped, parameters: dict[str, Any], names: dict[str, str]
) -> dict[str, Any]:
    """The provenance of a mask, JSON-ready; ``Type`` and ``SpatialReference`` are BIDS' own."""
    scan = stripped.scan
    return {
        "FormatVersion": _SIDECAR_VERSION,
        "Type": "Brain",
        "SpatialReference": scan.volume.path.name,
        "GeneratedBy": generated_by(),
        "Source": {"path": str(scan.volume.path.absolute()), "sha256": scan.volume.sha256},
        "Requested": parameters,
        "Brain": scan.brain,
        "QualityFlags": [asdict(flag) for flag in stripped.flags],
        "Seconds": scan.timings,
        "Outputs": {what: name for what, name in names.items() if what != "sidecar"},
    }
