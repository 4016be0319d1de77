"""Networks for other programs: ONNX, OpenVINO's form, or TensorRT engines, and what they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

from dal_fast._version import generated_by
from dal_fast.errors import Code, InputError, OutputError
from dal_fast.imaging.atomic import staged_folder, write_json
from dal_fast.imaging.folders import check_folder, file_refusals
from dal_fast.models.weights import load_screening_model, read_card
from dal_fast.screening.runtimes import check_installed
from dal_fast.screening.runtimes.compiled import example_inputs, free_sides
from dal_fast.weights import weights_sha256

FORMATS = ("onnx", "openvino", "tensorrt")
Write = Callable[[nn.Module, tuple[Tensor, ...], bool, Path], None]


def export(weights: str | Path, out: Path, target: str, gpu: str | None = None) -> list[str]:
    """Write every network of a weight file, and ``model.json`` that says what goes in and out.

    Args:
        weights: ``"default"``, ``"published"`` or a path.
        out: a new folder; each network gets one of its own in it.
        target: of ``FORMATS``.
        gpu: for ``"tensorrt"``, such as ``"sm80"``; default the GPU of this machine.

    Returns:
        Names of the networks.

    Raises:
        InputError: ``value``, ``weights-missing``, ``weights-corrupt``, ``weights-mismatch``.
        RuntimeUnavailable: ``runtime-unavailable``, ``engine-build``.
        OutputError: ``output-exists``, ``output-unwritable``, ``disk-full``.
    """
    if target not in FORMATS:
        raise InputError(
            Code.VALUE, f"the format must be one of {', '.join(FORMATS)}, not {target!r}"
        )
    check_installed(target)
    if out.exists():
        raise OutputError(Code.OUTPUT_EXISTS, f"{out} is there already; name a new folder")
    check_folder(out)
    model = load_screening_model(weights)
    examples = example_inputs(model)
    parts, free = [part for part in model.parts if part in examples], free_sides(model)
    with staged_folder(out) as stage:
        for part in parts:
            with file_refusals(out):
                _writer(target, gpu)(model.part(part), examples[part], free, stage / part)
        shapes = {p: [_shape(x, free) for x in examples[p]] for p in parts}
        write_json(stage / "model.json", _about(weights, model.config.model_dump(), shapes))
    return parts


def _writer(target: str, gpu: str | None) -> Write:
    if target == "onnx":
        from dal_fast.screening.runtimes import onnx_runtime as onnx

        return lambda net, inputs, free, folder: onnx.save(onnx.convert(net, inputs, free), folder)
    if target == "openvino":
        from dal_fast.screening.runtimes import openvino_runtime as openvino

        def write_openvino(
            net: nn.Module, inputs: tuple[Tensor, ...], free: bool, folder: Path
        ) -> None:
            openvino.save(openvino.convert(net, inputs, free), folder)

        return write_openvino
    from dal_fast.screening.runtimes import onnx_runtime, tensorrt_runtime

    def write(net: nn.Module, inputs: tuple[Tensor, ...], free: bool, folder: Path) -> None:
        onnx = onnx_runtime.convert(net, inputs, free)
        tensorrt_runtime.save(tensorrt_runtime.build_plan(onnx, inputs, gpu), folder)

    return write


def _shape(x: Tensor, free: bool) -> list[int | str]:
    """Sides of volumes, where they are free, may be any multiple of the stride."""
    return [*x.shape[:2], "D", "H", "W"] if free and x.dim() == 5 else list(x.shape)


def _about(
    weights: str | Path, config: dict[str, object], shapes: dict[str, list[list[int | str]]]
) -> dict[str, object]:
    return {
        "GeneratedBy": generated_by(),
        "Notice": "Research use. Not a medical device.",
        "WeightsSHA256": weights_sha256(weights),
        "Config": config,
        "Inputs": shapes,
        "Card": read_card(weights),
    }
