"""Maps of how unusual an anomaly value is among healthy participants at the same place.

A place is a position in the brain's bounding box, along right, anterior and superior: no
registration, on a grid of ``SIDES``. z is the distance of a voxel from the mean of the healthy
voxels at its place, in their standard deviations; the percentile says how many healthy scans have a
lower average there than this one (ties count half). A healthy participant is compared with the
others. Ours, not in the paper.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from dal_fast.batch.cohort import FEWEST
from dal_fast.batch.records import Record
from dal_fast.imaging.bids import output_name
from dal_fast.imaging.folders import file_refusals
from dal_fast.imaging.morphology import bounding_box
from dal_fast.imaging.nifti import Volume
from dal_fast.imaging.nifti_output import write_volume

orientations: Any = nib.orientations
SIDES = (36, 44, 36)  # about 4 mm
_SMOOTH = 3  # places a side that mean and spread are averaged over
_LEAST_SPREAD = 0.5  # of the median spread of all places: where healthy maps are all 0


Track = Callable[[Sequence[Record], str], Iterable[Record]]
"""Iterates over records and may show the progress; the text says what is being done."""


def quiet(records: Sequence[Record], what: str) -> Iterable[Record]:
    """Iterate without showing any progress."""
    return records


def write_cohort_maps(
    records: Sequence[Record], healthy: Collection[str], track: Track = quiet
) -> None:
    """``desc-anomalyZ`` and ``desc-anomalyPercentile`` beside each anomaly map.

    Those of an earlier comparison go where there is none now.

    Args:
        records: of the dataset; scans are compared with scans of the same suffix.
        healthy: labels of the healthy participants; with fewer than ``FEWEST`` others no map.
        track: iterates over the records: first the healthy ones, then all.

    Raises:
        OutputError: ``output-unwritable``, ``disk-full``.
    """
    healthy_maps: dict[str, dict[str, list[Tensor]]] = defaultdict(lambda: defaultdict(list))
    chosen = [record for record in records if record.participant in healthy]
    for record in track(chosen, "reading healthy maps"):
        healthy_maps[record.suffix][record.participant].append(_read(record).places())
    for record in track(records, "comparing maps"):
        of_suffix = healthy_maps[record.suffix]
        others = [maps for label, maps in of_suffix.items() if label != record.participant]
        if len(others) >= FEWEST:
            _write(_read(record), torch.stack([m for maps in others for m in maps]))
        else:
            remove_cohort_maps([record])


def remove_cohort_maps(records: Iterable[Record]) -> None:
    """Remove the maps that :func:`write_cohort_maps` wrote.

    Raises:
        OutputError: ``output-unwritable``.
    """
    for record in records:
        for path in _paths(record.folder / record.outputs["anomaly"]):
            with file_refusals(path):
                path.unlink(missing_ok=True)


def _paths(anomaly: Path) -> list[Path]:
    """Of the maps of z and percentile beside an anomaly map."""
    return [
        anomaly.with_name(output_name(anomaly, what)) for what in ("anomalyZ", "anomalyPercentile")
    ]


@dataclass(frozen=True, eq=False)
class _Map:
    """An anomaly map and its brain.

    Attributes:
        path: of the map.
        image: as it lies on disk.
        turn: nibabel's orientation from the image's axes to right, anterior, superior.
        anomaly: ``(D, H, W)`` in the brain's box.
        brain: bool, the same shape.
        shape: of the turned image.
        box: the brain's, within it.
    """

    path: Path
    image: Any
    turn: NDArray[np.float64]
    anomaly: Tensor
    brain: Tensor
    shape: tuple[int, ...]
    box: tuple[slice, ...]

    def places(self) -> Tensor:
        """``(2, *SIDES)``: the mean of the brain's voxels at each place, and that of their squares.

        0 where there are none.
        """
        brain = self.brain.float()
        volumes = torch.stack([self.anomaly, self.anomaly.square(), brain])
        *sums, share = F.adaptive_avg_pool3d(volumes, SIDES)
        return torch.stack(sums) / share.clamp_min(1e-3)


def _read(record: Record) -> _Map:
    path = record.folder / record.outputs["anomaly"]
    image: Any = nib.load(path)
    turn = orientations.io_orientation(image.affine)
    mask: Any = nib.load(record.folder / record.outputs["brain_mask"])
    brain = orientations.apply_orientation(np.asanyarray(mask.dataobj) > 0, turn)
    data = orientations.apply_orientation(np.asanyarray(image.dataobj), turn)
    box = bounding_box(brain)
    inside, values = (torch.from_numpy(np.ascontiguousarray(v[box])) for v in (brain, data))
    return _Map(path, image, turn, values.float() * inside, inside, brain.shape, box)


def _write(scan: _Map, others: Tensor) -> None:
    """Write the maps of z and percentile of one scan among ``others (N, 2, *SIDES)``."""
    mean, square = _average(others.mean(dim=0))
    spread = (square - mean.square()).clamp_min(0).sqrt()
    spread = spread.clamp_min(_LEAST_SPREAD * float(spread[spread > 0].median().nan_to_num(1.0)))
    average, averages = scan.places()[0], others[:, 0]
    below = (averages < average).float().mean(dim=0)
    below += 0.5 * (averages == average).float().mean(dim=0)
    z = (scan.anomaly - _enlarge(mean, scan)) / _enlarge(spread, scan)
    back = orientations.ornt_transform(orientations.axcodes2ornt(("R", "A", "S")), scan.turn)
    maps = (z, _enlarge(100 * below, scan))
    for path, values in zip(_paths(scan.path), maps, strict=True):
        whole = np.zeros(scan.shape, np.float32)
        whole[scan.box] = (values * scan.brain).numpy()
        data = orientations.apply_orientation(whole, back)
        like = Volume(data, scan.image.affine, scan.image.header, scan.path, "", 0)
        write_volume(path, data, like)


def _average(places: Tensor) -> Tensor:
    return F.avg_pool3d(places, _SMOOTH, 1, _SMOOTH // 2, count_include_pad=False)


def _enlarge(places: Tensor, scan: _Map) -> Tensor:
    return F.interpolate(places[None, None], scan.anomaly.shape, mode="trilinear")[0, 0]
