"""Weights of the published path screen as others do, by the paper's score."""

import json

import pytest
import torch
from phantom import phantom, save
from typer.testing import CliRunner

from dal_fast import DalFastError, Screener
from dal_fast.cli import app
from dal_fast.evaluation.model_scores import ModelScores
from dal_fast.models import DAL, DALConfig, save_weights
from dal_fast.screening.bundle import bundle
from dal_fast.screening.chain import why_not
from dal_fast.screening.export import export
from dal_fast.screening.settings import Settings

PARTS = ("evidence", "tissue", "modality", "restorer", "decoder")
CARD = {"healthy": {"thresholds": {"T1w": {"hybrid": 0.03, "absolute": 0.2}}}}
run = CliRunner().invoke


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    config = DALConfig(
        recoupler="film", tissue_widths=(4, 8), anatomy_widths=(4, 8), anatomy_channels=4,
        decoder_width=4,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("weights") / "film.safetensors"
    save_weights(path, DAL(config), CARD, parts=PARTS)
    return path


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    data, affine, _ = phantom("LPS", (2.3, 2.2, 3.1))
    return save(tmp_path_factory.mktemp("scan") / "sub-01_T1w.nii.gz", data, affine)


def test_the_default_score_is_the_papers(weights, scan):
    result = Screener(weights, "torch").screen(scan)
    p = result.parameters
    assert (p["score"], p["sign"], p["contrast"]) == ("hybrid", "both", "T1w")
    assert result.threshold == 0.03
    assert result.tissue is not None
    assert result.bias is None
    other = Screener(weights, "torch", score="enhanced").screen(scan)
    assert (other.parameters["score"], other.threshold) == ("enhanced", 1.0)


def test_both_default_scores_are_evaluated(weights):
    names = ModelScores(Screener(weights, "torch"), atlas=False).names
    assert names[:3] == ("auto", "enhanced", "enhanced_positive")
    assert "hybrid" in names


def test_the_whole_way_on_the_command_line(weights, scan, tmp_path):
    done = run(app, ["screen", str(scan), str(tmp_path), "--weights", str(weights)])
    assert done.exit_code == 0, done.output
    assert "Pseudo-healthy" in (tmp_path / "sub-01_T1w.html").read_text()
    sidecar = json.loads((tmp_path / "sub-01_desc-anomaly_T1w.json").read_text())
    assert sidecar["Parameters"]["score"] == "hybrid"


def test_every_network_is_exported(weights, tmp_path):
    pytest.importorskip("openvino")
    parts = export(weights, tmp_path / "o", "openvino")
    assert set(parts) == {*PARTS} - {"evidence"}
    about = json.loads((tmp_path / "o" / "model.json").read_text())
    assert about["Inputs"]["decoder"][1] == [1, 8]


def test_the_compiled_chain_says_that_it_is_not_for_it(weights):
    assert why_not(Settings(weights="published")) == "the weights are not the default ones"
    pytest.importorskip("openvino")
    with pytest.raises(DalFastError, match="closed form") as refused:
        bundle(weights)
    assert refused.value.code == "weights-kind"
