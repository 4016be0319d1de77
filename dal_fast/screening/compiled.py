"""The compiled chain as a screener: one scan in, a result out, on a CPU and without torch.

The default weights are run by OpenVINO's C library, everything between by the kernels that
:class:`dal_fast.screening.screener.Screener` calls too: masks are equal, maps and scores differ by
rounding. It starts in a fraction of the time that torch takes to be imported. What it does not
serve, :mod:`dal_fast.screening.chain` says. Sources: ``csrc/bind_screen.h`` and ``csrc/capi``.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dal_fast import arrays
from dal_fast.context import _C
from dal_fast.errors import Code, InputError
from dal_fast.imaging.brain_shape import shape_clauses
from dal_fast.imaging.mask import BrainMask
from dal_fast.imaging.mask_origin import MaskQuality
from dal_fast.imaging.nifti import Volume
from dal_fast.imaging.noisy_background import quiet_background
from dal_fast.imaging.normalise import CEILING
from dal_fast.imaging.orientation import Note
from dal_fast.screening.brain_verdict import doubts, hopeless, not_found
from dal_fast.screening.chain import chain_errors, engine_of
from dal_fast.screening.contrast import GUESSED, known_contrast
from dal_fast.screening.qc import quality_flags, shape_flags
from dal_fast.screening.result import Image, Region, Result
from dal_fast.screening.scan import Head, Scan
from dal_fast.screening.settings import CONTRASTS, Settings
from dal_fast.weights import read_config, weights_sha256

_STAGES = (
    "copy", "brain extraction", "model grid", "network", "recoupling", "residual head", "score",
    "scan grid", "regions",
)  # fmt: skip
"""In the order of DAL_SECONDS_READ and its successors."""
_SIGNS = {1: "bright", -1: "dark"}


class CompiledChain:
    """The compiled chain, for volumes as they are read.

    Args:
        chain: opened by :mod:`dal_fast.screening.chain`.
    """

    def __init__(self, chain: _C.Chain) -> None:
        self._chain = chain
        self._lock = threading.Lock()

    @property
    def voxel_mm(self) -> float:
        """Of the model's grid."""
        return float(self._chain.fact("voxel_mm") or "nan")

    def extract(self, volume: Volume) -> BrainMask:
        """As :meth:`dal_fast.screening.brain_extraction.BrainExtractor.extract`."""
        return self.extract_quiet(*quiet_background(volume))

    def extract_quiet(self, volume: Volume, notes: tuple[Note, ...]) -> BrainMask:
        """The brain of what :func:`quiet_background` gave; its notes come first."""
        mask, _ = self.run(volume, None, brain_only=True)
        return replace(mask, notes=notes + mask.notes)

    def run(
        self,
        volume: Volume,
        mask: BrainMask | None,
        contrast: str | None = None,
        threshold: float | None = None,
        brain_only: bool = False,
    ) -> tuple[BrainMask, dict[str, Any]]:
        """The brain mask, given or extracted, and what the chain found.

        Raises:
            InputError: ``brain-not-found``, ``no-signal``.
        """
        with self._lock, chain_errors():
            try:
                found = self._chain.run(
                    scan=volume.data,
                    affine=volume.affine.ravel().tolist(),
                    mask=None if mask is None else mask.data,
                    contrast=0 if contrast is None else 1 + CONTRASTS.index(contrast),
                    threshold=threshold or 0.0,
                    brain_only=brain_only,
                )
            except _C.ChainError as error:
                if error.args[1] == Code.BRAIN_NOT_FOUND:
                    raise self._not_found(volume) from None
                raise
            if mask is None:
                quality, unusual, _ = self._quality()
                notes = doubts(quality, unusual)
                mask = BrainMask(found["brain_mask"], "dal_fast", quality=quality, notes=notes)
        return mask, found

    def _quality(self) -> tuple[MaskQuality, list[str], bool]:
        """Of an extracted mask, what is unusual about its shape, and whether it is cut."""
        _, confidence, agreement, sharpness, sphericity, symmetry, odd, cut, _ = self._chain.brain()
        unusual = shape_clauses([bool(odd >> bit & 1) for bit in range(5)], symmetry)
        return MaskQuality(confidence, agreement, sharpness, sphericity), unusual, cut

    def _not_found(self, volume: Volume) -> InputError:
        looked_like_one, *_, millilitres = self._chain.brain()
        quality, unusual, cut = self._quality()
        reason = hopeless(quality, millilitres, unusual, cut) if looked_like_one else None
        return not_found(volume, reason or "no voxel looks like one")


class CompiledExtractor(CompiledChain):
    """As :class:`dal_fast.screening.brain_extraction.BrainExtractor`, by the compiled chain."""

    def __init__(self, chain: _C.Chain) -> None:
        super().__init__(chain)
        self.parameters: dict[str, Any] = {"brain_weights_sha256": weights_sha256("brain")}


class CompiledScreener:
    """As :class:`dal_fast.screening.screener.Screener`, by the compiled chain.

    Args:
        settings: to which :func:`dal_fast.screening.chain.why_not` has no objection.
        chain: opened.
    """

    def __init__(self, settings: Settings, chain: _C.Chain) -> None:
        self.settings, self.nonfinite, self.brain = settings, settings.nonfinite, settings.brain
        self.chain = CompiledChain(chain)
        given = settings.brain == "given"
        extractor = {} if given else {"brain_weights_sha256": weights_sha256("brain")}
        self.parameters = settings.parameters(
            self.chain.voxel_mm, engine_of(settings.runtime), "cpu", extractor
        )

    def screen_scan(self, scan: Scan | Head) -> Result:
        """Screen a scan, or a head, whose brain is extracted on the way."""
        known = known_contrast(scan, self.settings.contrast)
        name = None if known is None else known.name
        if isinstance(scan, Head):
            quiet, notes = quiet_background(scan.volume)
            if scan.nonzero or notes:
                scan = scan.with_brain(self.chain.extract_quiet(quiet, notes), scan.timings)
        given = scan.mask if isinstance(scan, Scan) else None
        mask, found = self.chain.run(scan.volume, given, name, self.settings.threshold)
        if isinstance(scan, Head):
            scan = scan.with_brain(mask, scan.timings)
        start = time.perf_counter()
        volume, above = scan.volume, found["anomaly_mask"]
        inside = _ModelVolumes(found)
        looks_like = CONTRASTS[found["looks_like"] - 1]
        flags = quality_flags(
            volume, mask.data, inside.tissue, inside.image, above, known, looks_like, inside.bias
        )
        flags += shape_flags(volume, mask)
        seconds = zip(_STAGES, found["seconds"], strict=False)
        timings = {**scan.timings, **{stage: spent for stage, spent in seconds if spent}}
        timings["quality"] = time.perf_counter() - start
        parameters = {
            **self.parameters,
            "contrast_from": GUESSED if known is None else known.source,
            "score": "enhanced",
            "threshold": found["threshold"],
            "median": 0,
            "contrast": CONTRASTS[found["contrast"] - 1],
            "sign": _SIGNS[found["sign"]],
            "chain": "compiled",
        }
        return Result(
            name=scan.name,
            source=scan.source,
            brain=scan.brain,
            scan=Image(volume.data, volume.affine),
            anomaly=Image(found["anomaly"], volume.affine),
            pseudo_healthy=Image(found["pseudo_healthy"], volume.affine),
            brain_mask=Image(mask.data, volume.affine),
            anomaly_mask=Image(above, volume.affine),
            tissue=Image(inside.tissue, inside.affine),
            edges=Image(inside.edges(), inside.affine),
            bias=Image(inside.bias, inside.affine),
            score=found["score"],
            regions=[Region(*row) for row in found["regions"]],
            parameters=parameters,
            requested=self.parameters,
            flags=flags,
            timings=timings,
        )


class _ModelVolumes:
    """What the chain leaves on the model's grid, ``(D, H, W)``."""

    def __init__(self, found: dict[str, Any]) -> None:
        self.affine = np.array(found["affine"]).reshape(4, 4)
        self.mask: NDArray[np.bool_] = found["mask"].view(np.bool_)
        self.image: NDArray[np.float32] = np.minimum(found["image"], np.float32(CEILING))
        self.bias: NDArray[np.float32] = found["bias"] * self.mask
        self.tissue: NDArray[np.uint8] = found["tissue"]

    def edges(self) -> NDArray[np.bool_]:
        """Of the anatomical image, as :meth:`dal_fast.models.dal.DAL.recouple` finds them."""
        config = read_config("default")
        levels = np.array([0, *config["levels"]], np.float32)
        low, high = config["canny_low"], config["canny_high"]
        return arrays.canny3d(levels[self.tissue], self.mask, config["canny_sigma"], low, high)
