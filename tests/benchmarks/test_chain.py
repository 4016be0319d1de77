"""The chain from stock parts is the same chain: scipy and eager torch give our map."""

import nibabel as nib
import numpy as np
import pytest
from phantom import T1_LIKE, T2_LIKE, phantom, save
from tiny import needs_default_weights

from dal_fast.models.weights import load_weights, read_card
from dal_fast.screening.calibration import Calibration
from dal_fast.screening.screener import Screener


@needs_default_weights
@pytest.mark.parametrize("intensities", [T1_LIKE, pytest.param(T2_LIKE, marks=pytest.mark.long)])
def test_stock_parts_give_the_same_images(tmp_path, intensities):
    pytest.importorskip("scipy")
    from benchmarks.stock_chain import screen

    data, affine, _ = phantom("RAS", (1.0, 1.0, 1.0), intensities)
    scan = save(tmp_path / "scan.nii.gz", data, affine)
    healthy = Calibration.model_validate(read_card()["healthy"])
    stock = screen(scan, tmp_path / "stock", load_weights(), healthy)
    ours = Screener(runtime="torch").screen(scan)
    assert ours.anomaly.data.max() > 0.5  # the lesion shows
    worst = float(np.abs(ours.anomaly.data - stock).max() / ours.anomaly.data.max())
    assert worst < 0.06  # a sum over a hundred thresholds: coarse where a large cluster is faint
    written = {p.name.split("_")[1]: nib.load(p) for p in (tmp_path / "stock").iterdir()}
    phi = written["pseudohealthy.nii.gz"].get_fdata()
    # a cluster that stands out in one of the two alone bends the bias field by a per cent
    difference = np.abs(phi - ours.pseudo_healthy.data)[ours.brain_mask.data] / data.max()
    assert float(difference.max()) < 0.03
    assert float(difference.mean()) < 0.01
    assert np.array_equal(written["brain.nii.gz"].get_fdata() > 0, ours.brain_mask.data)
    above = written["above.nii.gz"].get_fdata() > 0
    assert (above != ours.anomaly_mask.data).mean() < 2e-3
