"""An autoencoder screens as DAL does: same command, same runtimes, a report without tissue."""

import json

import autoencoders
import numpy as np
import pytest
import torch
from phantom import phantom, save
from support import one_in
from typer.testing import CliRunner

from dal_fast import DalFastError, Screener
from dal_fast.cli import app
from dal_fast.models import Autoencoder, load_model
from dal_fast.report.page import scan_pictures
from dal_fast.screening.export import export
from dal_fast.screening.model_output import ModelOutput
from dal_fast.screening.runtimes import make_runtime

BOX = {"shape": (80, 96, 80), "widths": (2, 4)}
CARD = {"healthy": {"thresholds": {"T1w": {"absolute": 0.07, "hybrid": 0.02}}}}
CODES = ["dense", "spatial", "variational", "adversarial"]
ENGINES = ["openvino", "onnx"]
# every code first with one engine, then with the other: half of the rows hold all of both
EVERY_ENGINE = [(ENGINES[(i + k) % 2], code) for i, code in enumerate(CODES) for k in range(2)]
run = CliRunner().invoke


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return autoencoders.weights(tmp_path_factory.mktemp("weights"), card=CARD, **BOX)


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    data, affine, _ = phantom("LPS", (1.3, 2.2, 3.1))
    return save(tmp_path_factory.mktemp("scan") / "sub-01_T1w.nii.gz", data, affine)


def test_the_map_is_the_smoothed_residual_inside_the_rim(weights, scan):
    result = Screener(weights, "torch").screen(scan)
    p = result.parameters
    assert (p["score"], p["median"], p["contrast"]) == ("absolute", 5, "T1w")
    assert p["contrast_from"] == "weights"
    assert result.threshold == 0.07
    assert result.tissue is None
    assert result.edges is None
    assert not {"tissue-share", "low-contrast", "uncalibrated"} & {f.code for f in result.flags}
    brain = result.brain_mask.data
    assert result.anomaly.data[~brain].max() == 0
    assert result.pseudo_healthy.data[brain].std() > 0


@pytest.mark.parametrize(("voxel_mm", "rim"), [(2.0, 1), (1.0, 2), (4.0, 0)])
def test_the_edge_of_a_brain_is_not_evaluated(voxel_mm, rim):
    model = autoencoders.model(voxel_mm=voxel_mm)
    mask = torch.zeros(1, 1, 30, 38, 30, dtype=torch.bool)
    mask[..., 5:25, 4:30, 3:27] = True
    x = torch.rand(mask.shape) * mask
    output = model(x, mask)
    output_of_brain = ModelOutput.of(x, mask, output, model)
    want = torch.zeros_like(mask)
    want[..., 5 + rim : 25 - rim, 4 + rim : 30 - rim, 3 + rim : 27 - rim] = True
    assert torch.equal(output_of_brain.field_of_view, want)
    assert torch.equal(
        output_of_brain.score_map("absolute"), (x - output.pseudo_healthy).abs() * want
    )


def test_the_whole_way_on_the_command_line(weights, scan, tmp_path):
    done = run(app, ["screen", str(scan), str(tmp_path), "--weights", str(weights)])
    assert done.exit_code == 0, done.output
    page = (tmp_path / "sub-01_T1w.html").read_text()
    assert "Pseudo-healthy" in page
    assert ">Edges<" not in page
    assert "Tissue:" not in page
    sidecar = json.loads((tmp_path / "sub-01_desc-anomaly_T1w.json").read_text())
    assert sidecar["Parameters"]["score"] == "absolute"


def test_scores_that_need_tissue_are_refused_at_once(weights, scan):
    for score in ("enhanced", "gated_positive", "standard_negative", "blended_positive"):
        with pytest.raises(DalFastError, match="tissue maps") as refused:
            Screener(weights, score=score)
        assert refused.value.code == "value"
    assert Screener(weights, "torch", score="hybrid").screen(scan).threshold == 0.02


def test_a_brain_larger_than_its_volume_is_flagged(tmp_path, scan):
    small = autoencoders.weights(tmp_path, **{**BOX, "shape": (48, 80, 80)})
    result = Screener(small, "torch").screen(scan)
    codes = {flag.code for flag in result.flags}
    assert {"outside-model", "uncalibrated"} <= codes
    assert "Anomaly" in scan_pictures(result)[0]


@pytest.mark.parametrize(("engine", "code"), one_in(2, EVERY_ENGINE))
def test_engines_compute_what_torch_does(engine, code, tmp_path, monkeypatch):
    pytest.importorskip({"onnx": "onnxruntime"}.get(engine, engine))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    torch.manual_seed(1)
    mask = torch.zeros(1, 1, 44, 48, 40, dtype=torch.bool)
    mask[..., 6:34, 5:40, 7:35] = True
    x = torch.rand(mask.shape) * mask
    outputs = [make_runtime(n, autoencoders.model(code), "cpu").run(x, mask)
               for n in (engine, engine, "torch")]  # fmt: skip
    for output in outputs[:2]:  # built, and taken from what was kept
        assert torch.equal(output.field_of_view, outputs[2].field_of_view)
        worst = (output.pseudo_healthy - outputs[2].pseudo_healthy).abs().max()
        assert worst < 1e-3 * outputs[2].pseudo_healthy.abs().max()


def test_exported_networks_have_one_shape(weights, tmp_path):
    openvino = pytest.importorskip("openvino")
    assert export(weights, tmp_path / "o", "openvino") == ["encoder", "decoder"]
    about = json.loads((tmp_path / "o" / "model.json").read_text())
    assert about["Inputs"] == {"encoder": [[1, 1, 80, 96, 80]], "decoder": [[1, 6]]}
    model = load_model(weights)
    assert isinstance(model, Autoencoder)
    network = openvino.Core().read_model(tmp_path / "o" / "encoder" / "network.xml")
    compiled = openvino.compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    x = torch.rand(1, 1, 80, 96, 80)
    with torch.inference_mode():
        want = model.part("encoder")(x).numpy()
    assert np.abs(compiled([x.numpy()])[0] - want).max() < 1e-3 * np.abs(want).max()


def test_tensorrt_rtx_builds_an_engine_of_it(weights, tmp_path):
    pytest.importorskip("tensorrt_rtx")
    pytest.importorskip("onnxscript")
    export(weights, tmp_path / "o", "tensorrt", "sm80")
    assert (tmp_path / "o" / "decoder" / "network.engine").stat().st_size > 10_000
