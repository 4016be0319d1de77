"""What ``make compare`` does, small: an autoencoder is trained and compared with DAL."""

import json

import pytest
from brains import subjects, write_dataset
from tiny import tiny_weights
from typer.testing import CliRunner

from dal_fast.cli import app

pytest.importorskip("lightning_fabric")
pytest.importorskip("matplotlib")
TOML = """
ema = 0.0
validate_on = 1
[model]
kind = "autoencoder"
code = "spatial"
voxel_mm = 2.0
shape = [40, 48, 40]
widths = [4, 8]
length = 4
[samples]
contrasts = 1
lesions = 0.0
[[stages]]
name = "autoencoder"
trains = ["encoder", "decoder"]
steps = 20
losses = { l2 = 1.0 }
rate = 1e-2
"""


def _done(*words):
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.long
def test_an_autoencoder_is_trained_and_compared_with_dal(tmp_path):
    data = write_dataset(tmp_path / "data", subjects(2, 2))
    config = tmp_path / "small.toml"
    config.write_text(TOML)
    dal = tiny_weights(tmp_path)
    cases, training = tmp_path / "set", tmp_path / "training"
    _done("make-validation", cases, "--data", data, "--generator", "ellipsoids")
    _done("train", config, "--data", data, "--out", training, "--device", "cpu")
    for name, weights in (("dal", dal), ("luo2023", training / "weights.safetensors")):
        _done("bids", cases, tmp_path / name, "participant", "--weights", weights,
              "--suffix", "T2w", "--runtime", "torch")  # fmt: skip
    report = tmp_path / "report"
    _done("evaluate", f"dal={tmp_path / 'dal'}", f"luo2023={tmp_path / 'luo2023'}",
          "detector:intensity", "--data", cases, "--suffix", "T2w", "--healthy", "acq=healthy",
          "--validation", "split=val", "--out", report)  # fmt: skip
    summary = json.loads((report / "summary.json").read_text())
    assert list(summary["detectors"]) == ["dal", "luo2023", "intensity"]
    assert "luo2023" in (report / "index.html").read_text()
