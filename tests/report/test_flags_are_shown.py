"""A doubt about a scan reaches its sidecar, its page and the terminal."""

import json

import nibabel as nib
import numpy as np
import pytest
from phantom import phantom
from tiny import tiny_weights
from typer.testing import CliRunner

from dal_fast.cli import app


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return str(tiny_weights(tmp_path_factory.mktemp("weights")))


def without_codes(data, affine):
    image = nib.Nifti1Image(data, affine)
    image.set_sform(affine, 0)
    image.set_qform(affine, 0)
    return image


def with_lower_half_zero(data, affine):
    data[:, :, : data.shape[2] // 2] = 0
    return nib.Nifti1Image(data, affine)


def with_offset(data, affine):
    return nib.Nifti1Image(np.where(data > 0, data + 5000, 0).astype(np.float32), affine)


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (without_codes, "orientation-unknown", "left and right may be swapped"),
        (with_lower_half_zero, "cut-brain", "a part of it seems to be missing"),
        (with_offset, "intensity-offset", "a constant seems to have been added"),
    ],
)
def test_flag_in_sidecar_page_and_terminal(tmp_path, weights, change, code, words):
    data, affine, _ = phantom("RAS", intensities=(0.2, 0.55, 0.85))
    nib.save(change(data, affine), tmp_path / "sub-01_T1w.nii.gz")
    arguments = ["screen", str(tmp_path / "sub-01_T1w.nii.gz"), str(tmp_path / "out")]
    arguments += ["--weights", weights, "--runtime", "torch", "--threshold", "0.001"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert f"[{code}]" in result.output
    assert words in result.output.replace("\n", " ")
    page = (tmp_path / "out/sub-01_T1w.html").read_text()
    assert f"<code>{code}</code>" in page
    assert words in page
    sidecar = json.loads((tmp_path / "out/sub-01_desc-anomaly_T1w.json").read_text())
    flags = {flag["code"]: flag["message"] for flag in sidecar["QualityFlags"]}
    assert words in flags[code]
    side = "mm left or right" if code == "orientation-unknown" else "mm "
    assert side in result.output
    assert side in page
    assert "(right, anterior, superior)" not in result.output
