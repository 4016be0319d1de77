"""The chain as one function of tensors: nothing in it waits for a value.

It takes what :mod:`dal_fast.screening.device.plan` prepared, runs on the device of its inputs, and
leaves everything there. No size, branch or loop depends on the data; a test holds it to that with
tensors that have no data.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dal_fast.imaging.normalise import CEILING
from dal_fast.models import DAL, DALOutput
from dal_fast.models.fixed import take, top_mean
from dal_fast.models.recouple import without_field
from dal_fast.ops import median3d, remove_small
from dal_fast.screening.device.normalise import Normalised, normalise
from dal_fast.screening.device.plan import Bucket, Inputs
from dal_fast.screening.device.regions import Regions, find_regions
from dal_fast.screening.device.resample import resample
from dal_fast.screening.device.score import Evidence, Scored, Tables, score
from dal_fast.screening.postprocess import TOP_FRACTION


class Options(NamedTuple):
    """What a screener was told.

    Attributes:
        score: of ``ENHANCED``.
        median: 0, 3 or 5 voxels.
        threshold: from which a voxel belongs to the anomaly mask.
    """

    score: str
    median: int
    threshold: float


class Outputs(NamedTuple):
    """What the chain leaves on the device, of N scans.

    Attributes:
        anomaly, pseudo_healthy: float32 ``(N, K, J, I)``, in the scan's own unit.
        above: the anomaly mask, bool, the same shape.
        tissue: labels, uint8 ``(N, D, H, W)``: 0 outside, 1 CSF, 2 grey, 3 white matter.
        edges: bool, the same shape.
        bias: float32, the same shape; empty for a model that estimates none.
        image: the normalised scan, float32, the same shape.
        regions: of ``above``.
        score: the scans' one number, float64 ``(N,)``.
        median: of the brain, in the scan's unit, float64 ``(N,)``.
        problem: see :mod:`dal_fast.screening.device.normalise`; int64 ``(N,)``.
        contrast, looks_like, sign: see :class:`~dal_fast.screening.device.score.Scored`.
    """

    anomaly: Tensor
    pseudo_healthy: Tensor
    above: Tensor
    tissue: Tensor
    edges: Tensor
    bias: Tensor
    image: Tensor
    regions: Regions
    score: Tensor
    median: Tensor
    problem: Tensor
    contrast: Tensor
    looks_like: Tensor
    sign: Tensor


def run(model: DAL, tables: Tables, options: Options, bucket: Bucket, inputs: Inputs) -> Outputs:
    """Screen the scans of a batch.

    Args:
        model: on the device of the inputs, in evaluation mode.
        tables: on that device.
        options: of the screener.
        bucket: of the scans.
        inputs: of N scans, on the device.
    """
    mask = inputs.mask
    normalised = to_model(bucket, inputs)
    output = predict(model, normalised.image, inputs)
    scored = evaluate(output, normalised, tables, options, inputs)
    smooth = scored.anomaly * normalised.field_of_view
    if options.median:
        smooth = median3d(scored.anomaly.contiguous(), options.median, normalised.field_of_view)
    anomaly, phi = to_scan(smooth, output, normalised, bucket, inputs)
    above = remove_small((anomaly >= options.threshold)[:, None], bucket.least)[:, 0]
    bias = mask.new_empty(len(mask), 0, dtype=torch.float32)
    if output.bias is not None:
        bias = (output.bias * mask)[:, 0]
    return Outputs(
        anomaly,
        phi,
        above,
        tissue_labels(output.probabilities, mask),
        output.edges[:, 0],
        bias,
        normalised.image[:, 0].clamp_max(CEILING),
        find_regions(anomaly, above),
        top_mean(smooth.flatten(1), mask.flatten(1), TOP_FRACTION),
        normalised.median,
        normalised.problem,
        scored.contrast,
        scored.looks_like,
        scored.sign,
    )


def to_model(bucket: Bucket, inputs: Inputs) -> Normalised:
    """The scans on the model's grid, normalised."""
    image = resample(inputs.scan, bucket.to_model, inputs.to_model, bucket.model)[:, None]
    return normalise(image, inputs.mask)


def predict(model: DAL, image: Tensor, inputs: Inputs) -> DALOutput:
    """What the model makes of normalised scans, on the model's grid."""
    x, mask = take(image * inputs.mask, inputs.crop), take(inputs.mask, inputs.crop)
    output = model.recouple(x, mask, model.tissue_logits(x, mask))
    volumes = [volume for volume in output if volume is not None]
    channels = [volume.shape[1] for volume in volumes]
    both = take(torch.cat([volume.to(x.dtype) for volume in volumes], dim=1), inputs.back)
    back = iter(torch.split(both, channels, dim=1))
    output = output.map(lambda _: next(back).contiguous())
    return output._replace(edges=output.edges > 0)


def evaluate(
    output: DALOutput, normalised: Normalised, tables: Tables, options: Options, inputs: Inputs
) -> Scored:
    """The anomaly maps, not smoothed."""
    even = without_field(normalised.image, output.pseudo_healthy, output.bias)
    view = normalised.field_of_view
    evidence = Evidence(*even, output.probabilities, view, output.fluid, output.evidence)
    return score(evidence, tables, inputs.contrast, options.score)


def to_scan(
    smooth: Tensor, output: DALOutput, normalised: Normalised, bucket: Bucket, inputs: Inputs
) -> tuple[Tensor, Tensor]:
    """Map and pseudo-healthy image on the scans' own grids, ``(N, K, J, I)``."""
    phi = normalised.to_scan(output.pseudo_healthy) * inputs.mask
    anomaly, phi = (
        resample(volume[:, 0], bucket.to_scan, inputs.to_scan, bucket.scan) * inputs.brain
        for volume in (smooth, phi)
    )
    return anomaly.contiguous(), phi.contiguous()


def tissue_labels(probabilities: Tensor, mask: Tensor) -> Tensor:
    """``(N, 3, D, H, W)`` to ``(N, D, H, W)``: 0 outside, 1 CSF, 2 grey, 3 white matter."""
    fluid, grey, white = probabilities.unbind(1)
    labels = 1 + (grey > fluid).to(torch.uint8)
    return labels.masked_fill(white > torch.maximum(fluid, grey), 3) * mask[:, 0]
