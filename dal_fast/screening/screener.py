"""The resident screener: a model in memory, one scan in, maps and a score out."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dal_fast.errors import Code, InputError
from dal_fast.imaging.nifti import Volume
from dal_fast.models import Autoencoder, load_screening_model, read_card
from dal_fast.models.dal import DALOutput
from dal_fast.ops import _map_stages as stages
from dal_fast.ops._image_stages import served
from dal_fast.screening import postprocess
from dal_fast.screening.brain_extraction import make_extractor
from dal_fast.screening.calibration import AnomalyMap, Calibration
from dal_fast.screening.clock import Clock
from dal_fast.screening.contrast import GUESSED, KnownContrast, check_contrast, known_contrast
from dal_fast.screening.device import chain
from dal_fast.screening.device.plan import Plan
from dal_fast.screening.device.result import result_of
from dal_fast.screening.device.runner import Screened, make_chain
from dal_fast.screening.model_input import ModelInput, prepare_input
from dal_fast.screening.model_output import ModelOutput, check_model_score
from dal_fast.screening.qc import quality_flags, shape_flags
from dal_fast.screening.result import Flag, Image, Result
from dal_fast.screening.runtimes import make_runtime
from dal_fast.screening.scan import (
    Brain,
    Head,
    NonFinite,
    Scan,
    check_brain,
    load_scan_or_head,
    scan_or_head,
)
from dal_fast.screening.scoring import check_score
from dal_fast.screening.settings import Settings

UNCALIBRATED = Flag(
    "uncalibrated", "these weights hold no thresholds of healthy brains; scans are not comparable"
)
OUTSIDE_SHARE = 0.01  # of the brain


@cache
def _survive_forks() -> None:
    """Have torch use one thread in every process that this one forks from now on.

    The threads of its OpenMP do not come along, and a loop that waits for them never ends.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


def _calibration(weights: str | Path) -> Calibration:
    """What a weight file says of healthy brains.

    Raises:
        InputError: ``weights-mismatch``.
    """
    try:
        return Calibration.model_validate(read_card(weights).get("healthy", {}))
    except (ValueError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            Code.WEIGHTS_MISMATCH, f"{weights}: its card cannot be read: {reason}"
        ) from None


class Screener:
    """Finds what a healthy brain would not show.

    read → brain mask → model grid (2 mm) → normalise (brain median 0.5) → network (tissue, edges,
    pseudo-healthy image) → enhanced score map → back to the scan's own grid. The whole volume at
    once; the model stays in memory between scans. Several threads may use one screener at a time;
    so may the children of a process that forked after it was made, each with one thread.

    Args:
        weights: ``"default"``, ``"published"`` or the path of a weight file.
        runtime: ``"auto"`` or a name of :data:`dal_fast.screening.runtimes.RUNTIMES`.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        score: name of the anomaly score, see :func:`dal_fast.screening.scoring.anomaly_score`.
        median: size of the median filter in voxels of the model's grid: 0 (none), 3 or 5;
            ``None`` chooses: none for the default score, which smooths by itself, by contrast for
            the others (:func:`dal_fast.screening.postprocess.choose_median`), 5 for an autoencoder.
        threshold: anomaly value from which a voxel belongs to the anomaly mask; ``None`` takes
            what one healthy voxel in a thousand exceeds at this score and contrast, which the
            weight file says; 1 for the default score.
        contrast: of the scans, ``"T1w"``, ``"T2w"`` or ``"FLAIR"``; ``None`` takes what a file's
            name says (BIDS), or its DICOM header, and guesses only otherwise.
        nonfinite: refuse or replace NaN and infinite voxels.
        brain: where brain masks come from, see :data:`dal_fast.screening.scan.Brain`. The network
            that extracts brains is loaded with the first head; a process that forks calls
            ``screener.extractor.load()`` before.

    Raises:
        InputError: ``weights-missing``, ``weights-corrupt``, ``weights-mismatch``; ``value`` for a
            setting out of its range.
        RuntimeUnavailable: ``runtime-unavailable``, ``device-unavailable``, ``engine-build``,
            ``engine-parity``, or, for HD-BET, ``extra-missing``.

    Example:
        ::

            from dal_fast import Screener

            screener = Screener()  # the weights that come with dal_fast
            result = screener.screen("sub-01_FLAIR.nii.gz")
            print(result)
            result.anomaly.data  # float32, of the scan's shape; result.anomaly.affine
            for region in result.regions:
                print(f"{region.volume_ml:.1f} mL, {result.place_in_words(region)}")
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
        contrast: str | None = None,
        nonfinite: NonFinite = "refuse",
        brain: Brain = "auto",
    ) -> None:
        _survive_forks()
        postprocess.check_median(median)
        self.nonfinite = nonfinite
        self.score, self.median, self.threshold = check_score(score), median, threshold
        postprocess.check_threshold(threshold)
        self.contrast = check_contrast(contrast)
        model = load_screening_model(weights)
        check_model_score(score, model)
        self.calibration = _calibration(weights)
        self.model, self.voxel_mm = model, float(model.config.voxel_mm)
        self.runtime = make_runtime(runtime, model, device)
        self.chain = make_chain(model, self.calibration, self.runtime, score, median, threshold)
        self.brain = check_brain(brain)
        self.extractor = None if brain == "given" else make_extractor(self.brain, runtime, device)
        settings = Settings(
            weights, runtime, device, score, median, threshold, contrast, nonfinite, brain
        )
        extraction = {} if self.extractor is None else self.extractor.parameters
        self.parameters: dict[str, Any] = settings.parameters(
            self.voxel_mm, self.runtime.name, self.runtime.device, extraction
        )

    def screen(self, scan: str | Path, mask: str | Path | None = None) -> Result:
        """Screen one scan.

        Args:
            scan: NIfTI file with one 3D volume, any orientation and voxel size.
            mask: brain mask on the scan's grid; without it a BIDS ``desc-brain_mask`` beside the
                scan or, if the skull is already stripped, its non-zero voxels; else the brain is
                extracted.

        Raises:
            InputError: with a code for whatever cannot be processed.
        """
        return self.screen_scan(load_scan_or_head(scan, mask, self.nonfinite, self.brain))

    def scan_of_volume(self, volume: Volume, name: str, brain: Brain | None = None) -> Scan:
        """A volume that is in memory, such as a DICOM series, with its brain mask.

        The mask is found as :meth:`screen` finds that of a file.

        Args:
            volume: see :func:`dal_fast.screening.scan.scan_of`.
            name: of its results, such as ``sub-01_FLAIR``.
            brain: where the mask comes from; by default as the screener was told.

        Raises:
            InputError: with a code for whatever cannot be processed.
        """
        found = scan_or_head(volume, name, None, brain or self.brain, {})
        return self.find_brain(found) if isinstance(found, Head) else found

    def find_brain(self, head: Head) -> Scan:
        """Extract the brain of a head.

        Raises:
            InputError: ``brain-not-found``.
        """
        start = time.perf_counter()
        extractor = self.extractor
        if extractor is None or extractor.kind != head.extractor:
            runtime, device = self.runtime.name, self.runtime.device
            extractor = make_extractor(head.extractor, runtime, device)
        mask = extractor.extract(head.volume)
        timings = {**head.timings, "brain extraction": time.perf_counter() - start}
        return head.with_brain(mask, timings)

    def prepare(self, scan: Scan) -> ModelInput:
        """The scan on the model's grid, normalised."""
        return prepare_input(scan, self.voxel_mm)

    def predict(self, model_input: ModelInput) -> ModelOutput:
        """Run the network."""
        prediction = self.runtime.run(model_input.image, model_input.mask)
        return ModelOutput.of(model_input.image, model_input.field_of_view, prediction, self.model)

    def median_for(self, anomaly_map: AnomalyMap) -> int | str:
        """The smoothing of a map, as :func:`dal_fast.screening.postprocess.smooth` takes it."""
        return anomaly_map.median if self.median is None else self.median

    def screen_batch(self, scans: Sequence[Scan | Head]) -> list[Result | InputError]:
        """Screen several scans; on a GPU those of like shapes go through together.

        Args:
            scans: any number; each may be a head.

        Returns:
            For every scan its result, or why it cannot be processed.
        """
        found: list[Result | InputError | None] = [None] * len(scans)
        planned: dict[int, tuple[Scan, KnownContrast | None, Clock, Plan]] = {}
        for place, scan in enumerate(scans):
            try:
                scan = self.find_brain(scan) if isinstance(scan, Head) else scan
                if self.chain is None:
                    found[place] = self.screen_scan(scan)
                    continue
                clock, known = Clock(scan.timings), known_contrast(scan, self.contrast)
                plan = self.chain.plan(scan, None if known is None else known.name)
                clock.lap("plan")
                planned[place] = scan, known, clock, plan
            except InputError as error:
                found[place] = error
        if self.chain is not None:
            screened = self.chain.run([plan for *_, plan in planned.values()])
            for (place, (scan, known, clock, _)), one in zip(
                planned.items(), screened, strict=True
            ):
                clock.lap("device")
                if isinstance(one, Screened):
                    found[place] = self._result_of(scan, known, one, clock)
                else:
                    found[place] = one
        return [one for one in found if one is not None]

    def _result_of(
        self, scan: Scan, known: KnownContrast | None, found: Screened, clock: Clock
    ) -> Result:
        """Of what the chain on a device found."""
        assert self.chain is not None
        parameters = self._parameters_of(
            known, **self.chain.options._asdict(), contrast=found.contrast, sign=found.sign
        )
        flags = self._calibration_flags()
        return result_of(scan, found, known, parameters, self.parameters, flags, clock.lap)

    def screen_scan(self, scan: Scan | Head) -> Result:
        """Screen a scan, or a head of :func:`dal_fast.screening.scan.load_scan_or_head`."""
        if isinstance(scan, Head):
            scan = self.find_brain(scan)
        if self.chain is None:
            return self._screen_on_host(scan)
        [found] = self.screen_batch([scan])
        if isinstance(found, InputError):
            raise found
        return found

    def _screen_on_host(self, scan: Scan) -> Result:
        """Of networks that run in the runtime, and everything else on the CPU."""
        clock = Clock(scan.timings)
        volume, brain = scan.volume, scan.mask.data
        model_input = self.prepare(scan)
        clock.lap("model grid")
        model_output = self.predict(model_input)
        clock.lap("network")
        known = known_contrast(scan, self.contrast)
        anomaly_map = model_output.anomaly_map(
            self.calibration, self.score, None if known is None else known.name
        )
        clock.lap("score")
        median = self.median_for(anomaly_map)
        threshold = self.threshold or anomaly_map.threshold
        parameters = self._parameters_of(
            known,
            score=anomaly_map.score,
            threshold=threshold,
            median=median,
            contrast=anomaly_map.contrast,
            sign=anomaly_map.sign,
        )
        smooth = postprocess.smooth(anomaly_map.data, model_output.field_of_view, median)
        score = postprocess.scan_score(smooth, model_input.mask)
        clock.lap("median")
        anomaly = Image(model_input.grid.to_scan(smooth) * brain, volume.affine)
        phi = model_input.intensities_on_scan(model_output.prediction.pseudo_healthy) * brain
        clock.lap("scan grid")
        above = postprocess.anomaly_mask(anomaly, threshold)
        regions = postprocess.regions(anomaly, above)
        tissue, edges = _anatomy(model_input, model_output)
        bias = _bias(model_input, model_output)
        flags = quality_flags(
            volume,
            brain,
            None if tissue is None else tissue.data,
            model_output.image[0, 0].numpy(),
            above,
            known,
            anomaly_map.looks_like,
            None if bias is None else bias.data,
        )
        flags += shape_flags(volume, scan.mask)
        flags += self._model_flags(model_output, model_input.mask)
        clock.lap("regions")
        return Result(
            name=scan.name,
            source=scan.source,
            brain=scan.brain,
            scan=Image(volume.data, volume.affine),
            anomaly=anomaly,
            pseudo_healthy=Image(phi, volume.affine),
            brain_mask=Image(brain, volume.affine),
            anomaly_mask=Image(above, volume.affine),
            tissue=tissue,
            edges=edges,
            bias=bias,
            score=score,
            regions=regions,
            parameters=parameters,
            requested=self.parameters,
            flags=flags,
            timings=clock.seconds,
        )

    def _parameters_of(self, known: KnownContrast | None, **chosen: Any) -> dict[str, Any]:
        """``parameters`` with what was chosen for this scan in the place of ``"auto"``."""
        source = self._contrast_source(known)
        return {**self.parameters, "contrast_from": source, **chosen, "chain": "torch"}

    def _contrast_source(self, known: KnownContrast | None) -> str:
        """Where the contrast of a map is known from; an autoencoder has its own."""
        if isinstance(self.model, Autoencoder):
            return "weights"
        return GUESSED if known is None else known.source

    def _calibration_flags(self) -> list[Flag]:
        return [] if self.calibration.thresholds else [UNCALIBRATED]

    def _model_flags(self, model_output: ModelOutput, mask: Tensor) -> list[Flag]:
        """What about the model makes a map less trustworthy."""
        flags = self._calibration_flags()
        outside = model_output.share_outside(mask)
        if outside > OUTSIDE_SHARE:
            message = f"{outside:.0%} of the brain is outside the volume that the model sees"
            flags.append(Flag("outside-model", message))
        return flags


def _anatomy(
    model_input: ModelInput, model_output: ModelOutput
) -> tuple[Image | None, Image | None]:
    """Tissue labels and edges, where the model makes them."""
    prediction, affine = model_output.prediction, model_input.grid.affine
    if not isinstance(prediction, DALOutput):
        return None, None
    labels = tissue_labels(prediction.probabilities, model_input.mask)
    edges: NDArray[np.bool_] = prediction.edges[0, 0].numpy()
    return Image(labels, affine), Image(edges, affine)


def _bias(model_input: ModelInput, model_output: ModelOutput) -> Image | None:
    """The scan's bias field, where the model estimates one."""
    prediction = model_output.prediction
    if not isinstance(prediction, DALOutput) or prediction.bias is None:
        return None
    return Image((prediction.bias * model_input.mask)[0, 0].numpy(), model_input.grid.affine)


def tissue_labels(probabilities: Tensor, mask: Tensor) -> NDArray[np.uint8]:
    """``(1, 3, D, H, W)`` to ``(D, H, W)``: 0 outside, 1 CSF, 2 grey, 3 white matter."""
    if served(probabilities, mask):
        found: NDArray[np.uint8] = stages.tissue_labels(probabilities, mask).numpy()
        return found
    array: NDArray[np.uint8] = chain.tissue_labels(probabilities, mask)[0].numpy()
    return array
