"""The resident screener: a model in memory, one scan in, maps and a score out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dal_fast.imaging.grid import ModelGrid, to_model_grid
from dal_fast.imaging.normalise import Normalisation, normalise
from dal_fast.models import load_model, read_card, weights_sha256
from dal_fast.models.dal import DALOutput
from dal_fast.screening import postprocess
from dal_fast.screening.calibration import Calibration, Scored
from dal_fast.screening.model_input import Case, NonFinite, load_case
from dal_fast.screening.model_output import Restored, beside, check_model_score, unseen_share
from dal_fast.screening.qc import quality_flags
from dal_fast.screening.result import Flag, Image, Result
from dal_fast.screening.runtimes import make_runtime
from dal_fast.screening.scoring import check_score

UNCALIBRATED = Flag(
    "uncalibrated", "these weights hold no thresholds of healthy brains; scans are not comparable"
)
UNSEEN_SHARE = 0.01  # of the brain


class Clock:
    """Seconds per stage."""

    def __init__(self, before: dict[str, float]) -> None:
        self.seconds = dict(before)
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = now - self._last
        self._last = now


@dataclass(frozen=True, eq=False)
class Restoration:
    """A scan and what a healthy brain would look like in its place, before any score.

    Attributes:
        grid: the model's, and the way back to the scan's.
        mask: brain on it, bool ``(1, 1, D, H, W)``.
        way: from normalised intensities to the scan's.
        pair: the scan there beside what the model made of it.
        clock: seconds so far.
    """

    grid: ModelGrid
    mask: Tensor
    way: Normalisation
    pair: Restored
    clock: Clock


class Screener:
    """Finds what a healthy brain would not show.

    read → brain mask → model grid (2 mm) → normalise (brain median 0.5) → network (tissue, edges,
    pseudo-healthy image) → score map → median → back to the scan's own grid. The whole volume at
    once; the model stays in memory between scans.

    Args:
        weights: ``"default"`` or the path of a weight file.
        runtime: ``"auto"`` or a name of :data:`dal_fast.screening.runtimes.RUNTIMES`.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        score: name of the anomaly score, see :func:`dal_fast.screening.scoring.anomaly_score`.
        median: size of the median filter in voxels of the model's grid: 0 (none), 3 or 5;
            ``None`` chooses by contrast (:func:`dal_fast.screening.postprocess.choose_median`), or
            5 for an autoencoder.
        threshold: anomaly value from which a voxel belongs to the anomaly mask; ``None`` takes
            what one healthy voxel in a thousand exceeds at this score and contrast, which the
            weight file says.
        nonfinite: refuse or replace NaN and infinite voxels.

    Raises:
        InputError: ``weights-…``, ``runtime-unavailable``, ``device-unavailable``, ``value``.
    """

    def __init__(
        self,
        weights: str | Path = "default",
        runtime: str = "auto",
        device: str = "auto",
        *,
        score: str = "auto",
        median: int | None = None,
        threshold: float | None = None,
        nonfinite: NonFinite = "refuse",
    ) -> None:
        postprocess.check_median(median)
        self.nonfinite = nonfinite
        self.score, self.median, self.threshold = check_score(score), median, threshold
        postprocess.check_threshold(threshold)
        model = load_model(weights)
        check_model_score(score, model)
        self.healthy = Calibration.model_validate(read_card(weights).get("healthy", {}))
        self.model, self.voxel_mm = model, float(model.config.voxel_mm)
        self.runtime = make_runtime(runtime, model, device)
        self.parameters: dict[str, Any] = {
            "score": score,
            "threshold": "auto" if threshold is None else threshold,
            "median": "auto" if median is None else median,
            "model_voxel_mm": self.voxel_mm,
            "weights": str(weights),
            "weights_sha256": weights_sha256(weights),
            "runtime": self.runtime.name,
            "device": self.runtime.device,
            "nonfinite": nonfinite,
        }

    def screen(self, scan: str | Path, mask: str | Path | None = None) -> Result:
        """Screen one scan.

        Args:
            scan: NIfTI file with one 3D volume, any orientation and voxel size.
            mask: brain mask on the scan's grid; without it a BIDS ``desc-brain_mask`` beside the
                scan or, if the skull is already stripped, its non-zero voxels.

        Raises:
            InputError: with a code for whatever cannot be processed.
        """
        return self.screen_case(load_case(scan, mask, self.nonfinite))

    def median_for(self, scored: Scored) -> int | str:
        """The smoothing of a map."""
        return scored.median if self.median is None else self.median

    def restore(self, case: Case) -> Restoration:
        """Bring a scan onto the model's grid, normalise it and run the network."""
        clock = Clock(case.timings)
        placed = to_model_grid(case.volume, case.mask.data, self.voxel_mm)
        mask = placed.mask
        assert mask is not None  # there was one on the scan's grid
        x, view, way = normalise(placed.image, mask)
        clock.lap("model grid")
        output = self.runtime.run(x, mask)
        clock.lap("network")
        return Restoration(placed.grid, mask, way, beside(x, view, output, self.model), clock)

    def screen_case(self, case: Case) -> Result:
        """Screen a scan that was read by :func:`dal_fast.screening.model_input.load_case`."""
        volume, brain = case.volume, case.mask.data
        restored = self.restore(case)
        pair, mask, clock = restored.pair, restored.mask, restored.clock
        scored = pair.scored(self.healthy, self.score)
        clock.lap("score")
        usual = self.healthy.threshold(scored.contrast, scored.score)
        threshold = self.threshold or usual
        median = self.median_for(scored)
        anomaly = postprocess.smooth(scored.anomaly, pair.view, median)
        number = postprocess.scan_score(anomaly, mask)
        clock.lap("median")
        on_scan = Image(restored.grid.to_scan(anomaly) * brain, volume.affine)
        phi = restored.way.image_to_scan(pair.output.pseudo_healthy) * mask
        healthy = restored.grid.to_scan(phi) * brain
        clock.lap("scan grid")
        above = postprocess.anomaly_mask(on_scan, threshold)
        regions = postprocess.regions(on_scan, above)
        tissue, edges = _anatomy(pair, restored)
        scan = Image(volume.data, volume.affine)
        labels = None if tissue is None else tissue.data
        flags = quality_flags(scan, brain, labels, pair.x[0, 0].numpy(), above, volume.nonfinite)
        flags += self._flags(pair, mask)
        clock.lap("regions")
        return Result(
            name=case.name,
            source=case.source,
            scan=scan,
            anomaly=on_scan,
            pseudo_healthy=Image(healthy, volume.affine),
            brain_mask=Image(brain, volume.affine),
            anomaly_mask=Image(above, volume.affine),
            tissue=tissue,
            edges=edges,
            score=number,
            regions=regions,
            parameters={
                **self.parameters,
                "score": scored.score,
                "threshold": threshold,
                "median": median,
                "contrast": scored.contrast,
                "sign": scored.sign,
            },
            requested=self.parameters,
            flags=flags,
            timings=clock.seconds,
        )

    def _flags(self, pair: Restored, mask: Tensor) -> list[Flag]:
        """What about the model makes a map less trustworthy."""
        flags = [] if self.healthy.thresholds else [UNCALIBRATED]
        unseen = unseen_share(pair, mask)
        if unseen > UNSEEN_SHARE:
            message = f"{unseen:.0%} of the brain is outside the volume that the model sees"
            flags.append(Flag("outside-model", message))
        return flags


def _anatomy(pair: Restored, restored: Restoration) -> tuple[Image | None, Image | None]:
    """Tissue labels and edges, where the model makes them."""
    output = pair.output
    if not isinstance(output, DALOutput):
        return None, None
    labels = tissue_labels(output.probabilities, restored.mask)
    edges: NDArray[np.bool_] = output.edges[0, 0].numpy()
    return Image(labels, restored.grid.affine), Image(edges, restored.grid.affine)


def tissue_labels(probabilities: Tensor, mask: Tensor) -> NDArray[np.uint8]:
    """``(1, 3, D, H, W)`` to ``(D, H, W)``: 0 outside, 1 CSF, 2 grey, 3 white matter."""
    fluid, grey, white = probabilities[0]
    labels = 1 + (grey > fluid).to(torch.uint8)
    labels = labels.masked_fill_(white > torch.maximum(fluid, grey), 3) * mask[0, 0]
    array: NDArray[np.uint8] = labels.numpy()
    return array
