"""Brings scans to the chain in batches, and takes the results home.

Each scan's volume is uploaded once, from pinned memory, and the results of a batch are fetched
together after everything has been launched; in between the host waits for nothing. While a GPU
computes a batch, the next one is gathered and uploaded and the one before is fetched and taken
apart. The chain of a bucket that comes again is recorded as a CUDA graph and replayed from then on.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dal_fast.errors import InputError
from dal_fast.imaging.normalise import half_without_signal, no_signal, too_faint
from dal_fast.imaging.orientation import voxel_ml
from dal_fast.models import DAL, AnyModel
from dal_fast.ops._image_stages import by_torch
from dal_fast.screening import postprocess
from dal_fast.screening.calibration import BRIGHT, COMBINED, Calibration
from dal_fast.screening.device import chain, normalise
from dal_fast.screening.device.graph import Graphs
from dal_fast.screening.device.plan import Bucket, Inputs, Plan, plan, stack, tree
from dal_fast.screening.device.precision import Precision, in_precision
from dal_fast.screening.device.regions import CAPACITY
from dal_fast.screening.device.score import SIGNS, Tables
from dal_fast.screening.device.transfer import Arriving, Transfers
from dal_fast.screening.model_output import usual_score
from dal_fast.screening.result import Image, Region
from dal_fast.screening.runtimes import Runtime
from dal_fast.screening.runtimes.precision import full_precision
from dal_fast.screening.scan import Scan
from dal_fast.screening.scoring import ENHANCED
from dal_fast.screening.settings import CONTRASTS

BATCH = 8  # scans at a time
AHEAD = 1  # batches that are begun before the oldest is waited for


@dataclass(frozen=True, eq=False)
class Screened:
    """What the chain found in one scan; arrays as of :class:`dal_fast.screening.result.Result`.

    Attributes:
        anomaly, pseudo_healthy: float32 ``(I, J, K)``, in Fortran order.
        above: the anomaly mask, bool, the same shape.
        tissue: uint8 ``(D, H, W)``.
        edges: bool, the same shape.
        bias: float32, the same shape; None for a model that estimates none.
        image: the normalised scan, float32, the same shape.
        affine: of the model's grid.
        regions: highest peak first.
        score: the scan's one number.
        contrast: the map was made for.
        looks_like: the contrast that the intensities suggest.
        sign: of the lesions that are shown, ``"bright"`` or ``"dark"``.
    """

    anomaly: NDArray[np.float32]
    pseudo_healthy: NDArray[np.float32]
    above: NDArray[np.bool_]
    tissue: NDArray[np.uint8]
    edges: NDArray[np.bool_]
    bias: NDArray[np.float32] | None
    image: NDArray[np.float32]
    affine: NDArray[np.float64]
    regions: list[Region]
    score: float
    contrast: str
    looks_like: str
    sign: str


class DeviceChain:
    """The chain of a model on a device; several threads may use it, one batch runs at a time.

    Args:
        model: put into evaluation mode and moved to ``device``.
        calibration: what it shows of healthy brains.
        device: ``"cuda"``, ``"cuda:N"``, or ``"cpu"``, where tests compare.
        options: of the screener.
        precision: of the networks; everything else is float32.
    """

    def __init__(
        self,
        model: DAL,
        calibration: Calibration,
        device: str,
        options: chain.Options,
        precision: Precision = "float32",
    ) -> None:
        self.device, self.options = torch.device(device), options
        on_gpu = self.device.type == "cuda"
        # where cuDNN keeps all bits of float32, it has kernels for the channels-first layout only
        channels_first = on_gpu and precision == "float32"
        layout = torch.contiguous_format if channels_first else torch.channels_last_3d
        model = in_precision(model.eval(), precision)
        self.model = model.to(self.device, memory_format=layout)  # type: ignore[call-overload]
        self.tables = Tables.of(calibration, self.device)
        self._graphs = Graphs() if on_gpu else None
        self._transfers = Transfers(self.device) if on_gpu else None
        self._lock = threading.Lock()

    def plan(self, scan: Scan, contrast: str | None) -> Plan:
        """What a scan needs before it is run; on the host, from any thread.

        Args:
            scan: with its brain mask.
            contrast: where it is known.

        Raises:
            InputError: ``mask-empty``, ``grid-mismatch``.
        """
        return plan(scan, self.model, contrast)

    def run(self, plans: Sequence[Plan]) -> list[Screened | InputError]:
        """Screen scans, those of a bucket together; a scan that cannot be is its error.

        Args:
            plans: of scans, any number of any bucket.
        """
        found: list[Screened | InputError | None] = [None] * len(plans)
        begun: deque[tuple[Arriving, list[int]]] = deque()
        for bucket, places in _batches(plans):
            begun.append((self._begin([plans[place] for place in places], bucket), places))
            if len(begun) > AHEAD:
                self._finish(*begun.popleft(), plans, found)
        while begun:
            self._finish(*begun.popleft(), plans, found)
        return [one for one in found if one is not None]

    def launch(self, bucket: Bucket, inputs: Inputs) -> chain.Outputs:
        """The chain of inputs that are on the device; nothing is waited for."""
        if self._graphs is not None:
            return self._graphs.run(self.by_kernels, bucket, inputs)
        return self.by_kernels(bucket, inputs)

    def by_kernels(self, bucket: Bucket, inputs: Inputs) -> chain.Outputs:
        """The same, launched kernel by kernel."""
        with torch.inference_mode(), full_precision(), by_torch():
            return chain.run(self.model, self.tables, self.options, bucket, inputs)

    def _begin(self, plans: Sequence[Plan], bucket: Bucket) -> Arriving:
        """Everything that a batch needs, launched."""
        inputs = stack([one.inputs for one in plans], pinned=self._transfers is not None)
        if self._transfers is None:
            with self._lock:
                return Arriving(self.launch(bucket, inputs))
        with self._lock, torch.cuda.stream(self._transfers.computing):
            outputs = self.launch(bucket, self._transfers.upload(inputs))
            return self._transfers.download(outputs)

    def _finish(
        self,
        arriving: Arriving,
        places: Sequence[int],
        plans: Sequence[Plan],
        found: list[Screened | InputError | None],
    ) -> None:
        """The scans of a batch in their places, once they have arrived."""
        outputs = arriving.wait()
        for n, place in enumerate(places):
            found[place] = self._screened(outputs, n, plans[place])

    def _screened(self, outputs: chain.Outputs, n: int, of: Plan) -> Screened | InputError:
        one = tree(lambda t: t[n].numpy(), outputs)
        error = _error(int(one.problem), float(one.median))
        if error is not None:
            return error
        contrast = CONTRASTS[int(one.contrast)]
        shown = self.options.score if self.options.score != COMBINED else SIGNS[int(one.sign)]
        image = Image(one.anomaly.T, of.grid.scan_affine)
        return Screened(
            anomaly=one.anomaly.T,
            pseudo_healthy=one.pseudo_healthy.T,
            above=one.above.T,
            tissue=one.tissue,
            edges=one.edges,
            bias=one.bias if one.bias.size else None,
            image=one.image,
            affine=of.grid.affine,
            regions=_regions(one, image),
            score=float(one.score),
            contrast=contrast,
            looks_like=CONTRASTS[int(one.looks_like)],
            sign="bright" if shown == BRIGHT else "dark",
        )


def make_chain(
    model: AnyModel,
    calibration: Calibration,
    runtime: Runtime,
    score: str,
    median: int | None,
    threshold: float | None,
) -> DeviceChain | None:
    """The chain for a screener whose networks run on a GPU in torch.

    None for any other runtime, and where the chain cannot do what was asked for: another score than
    the enhanced one, or a model without tissue maps. Then the networks alone run on the GPU.
    """
    on_gpu = runtime.name == "torch" and runtime.device.startswith("cuda")
    name = usual_score(model) if score == "auto" else score
    if not on_gpu or not isinstance(model, DAL) or name not in ENHANCED:
        return None
    options = chain.Options(name, median or 0, threshold or 1.0)
    return DeviceChain(model, calibration, runtime.device, options)


def _batches(plans: Sequence[Plan]) -> list[tuple[Bucket, list[int]]]:
    """Which plans go through together: of one bucket, at most ``BATCH``."""
    places: dict[Bucket, list[int]] = {}
    for place, one in enumerate(plans):
        places.setdefault(one.bucket, []).append(place)
    return [
        (bucket, all_of[first : first + BATCH])
        for bucket, all_of in places.items()
        for first in range(0, len(all_of), BATCH)
    ]


def _error(problem: int, median: float) -> InputError | None:
    """What the CPU's normalisation raises."""
    if problem == normalise.FINE:
        return None
    if problem == normalise.NO_SIGNAL:
        return no_signal()
    return half_without_signal() if problem == normalise.HALF_WITHOUT_SIGNAL else too_faint(median)


def _regions(one: Any, image: Image) -> list[Region]:
    """From the device's table, or, where it did not hold them all, from the maps."""
    count = int(one.regions.number)
    if count > CAPACITY:
        return postprocess.regions(image, one.above.T)
    size, peak, mean, place = (column[:count] for column in one.regions[1:])
    voxels = np.stack(np.unravel_index(place, one.anomaly.shape)[::-1], axis=1)
    volume = voxel_ml(image.affine)
    found = [
        Region(float(n * volume), float(p), float(m), (float(c[0]), float(c[1]), float(c[2])))
        for n, p, m, c in zip(size, peak, mean, image.world(voxels), strict=True)
    ]
    return sorted(found, key=lambda region: -region.peak)
