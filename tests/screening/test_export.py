"""Exported networks are what they say, and a TensorRT engine is built without a GPU."""

import json

import numpy as np
import pytest
import torch
from tiny import tiny_weights
from typer.testing import CliRunner

from dal_fast import DalFastError
from dal_fast.cli import app
from dal_fast.models import load_weights
from dal_fast.screening.export import FORMATS, export
from dal_fast.screening.runtimes.compiled import example_inputs

run = CliRunner().invoke


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return str(tiny_weights(tmp_path_factory.mktemp("weights")))


def test_onnx_computes_what_torch_does(weights, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    done = run(app, ["export", str(tmp_path / "o"), "--weights", weights])
    assert done.exit_code == 0, done.output
    model = load_weights(weights)
    session = onnxruntime.InferenceSession(str(tmp_path / "o" / "tissue" / "network.onnx"))
    (x,) = example_inputs(model, 2)["tissue"]
    (computed,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.inference_mode():
        assert np.abs(computed - model.part("tissue")(x).numpy()).max() < 1e-3
    about = json.loads((tmp_path / "o" / "model.json").read_text())
    assert about["Inputs"]["tissue"] == [[1, x.shape[1], "D", "H", "W"]]
    assert about["Config"]["voxel_mm"] == 2.0
    assert {p.name for p in (tmp_path / "o").iterdir()} == {"model.json", *about["Inputs"]}


def test_openvino_computes_what_torch_does(weights, tmp_path):
    openvino = pytest.importorskip("openvino")
    export(weights, tmp_path / "o", "openvino")
    model = load_weights(weights)
    network = openvino.Core().read_model(tmp_path / "o" / "tissue" / "network.xml")
    compiled = openvino.compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    (x,) = example_inputs(model, 2)["tissue"]
    with torch.inference_mode():
        assert np.abs(compiled([x.numpy()])[0] - model.part("tissue")(x).numpy()).max() < 1e-3


@pytest.mark.long
def test_tensorrt_rtx_builds_a_real_engine_without_a_gpu(weights, tmp_path):
    pytest.importorskip("tensorrt_rtx")
    pytest.importorskip("onnxscript")
    export(weights, tmp_path / "o", "tensorrt", "sm80")
    plan = (tmp_path / "o" / "tissue" / "network.engine").read_bytes()
    assert len(plan) > 10_000
    with pytest.raises(DalFastError, match="sm80") as refused:
        export(weights, tmp_path / "p", "tensorrt", "sm1")
    assert refused.value.code == "value"
    assert not list(tmp_path.glob("*p*"))


def test_refusals(weights, tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    for arguments, code in (
        ((weights, tmp_path / "o", "coreml"), "value"),
        ((weights, tmp_path / "there", "onnx"), "output-exists"),
        (("nowhere", tmp_path / "o", "onnx"), "weights-missing"),
    ):
        with pytest.raises(DalFastError) as refused:
            export(*arguments)
        assert refused.value.code == code
    monkeypatch.setattr("dal_fast.screening.runtimes._installed", lambda name: False)
    for target in FORMATS:
        with pytest.raises(DalFastError, match="pip install"):
            export(weights, tmp_path / "o", target)
    assert [p.name for p in tmp_path.iterdir()] == ["there"]
