"""A :class:`~dal_fast.screening.result.Result` of what the chain left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dal_fast.screening.contrast import KnownContrast
from dal_fast.screening.device.runner import Screened
from dal_fast.screening.qc import quality_flags, shape_flags
from dal_fast.screening.result import Flag, Image, Result
from dal_fast.screening.scan import Scan


def result_of(
    scan: Scan,
    found: Screened,
    known: KnownContrast | None,
    parameters: dict[str, Any],
    requested: dict[str, Any],
    model_flags: list[Flag],
    lap: Callable[[str], dict[str, float]],
) -> Result:
    """Put together on the host what the CPU's chain puts together.

    Args:
        scan: that was screened.
        found: in it.
        known: its contrast, and who says so.
        parameters: that were used.
        requested: the same as they were asked for.
        model_flags: flags of the model.
        lap: takes the name of a stage that ends, returns seconds by stage.
    """
    volume, brain = scan.volume, scan.mask.data
    flags = quality_flags(
        volume,
        brain,
        found.tissue,
        found.image,
        found.above,
        known,
        found.looks_like,
        found.bias,
    )
    flags += shape_flags(volume, scan.mask)
    return Result(
        name=scan.name,
        source=scan.source,
        brain=scan.brain,
        scan=Image(volume.data, volume.affine),
        anomaly=Image(found.anomaly, volume.affine),
        pseudo_healthy=Image(found.pseudo_healthy, volume.affine),
        brain_mask=Image(brain, volume.affine),
        anomaly_mask=Image(found.above, volume.affine),
        tissue=Image(found.tissue, found.affine),
        edges=Image(found.edges, found.affine),
        bias=None if found.bias is None else Image(found.bias, found.affine),
        score=found.score,
        regions=found.regions,
        parameters=parameters,
        requested=requested,
        flags=flags + model_flags,
        timings=lap("quality"),
    )
