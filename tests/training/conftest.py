"""A data set that every training of this folder reads, and a calibration that costs nothing."""

import pytest
from brains import subjects, write_dataset

from dal_fast.screening.calibration import Calibration
from dal_fast.training import train


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Two brains to train on and two held out; small ones, so that a step takes milliseconds."""
    folder = tmp_path_factory.mktemp("data") / "bids"
    return write_dataset(folder, subjects(2, 2), space=(20, 24, 20))


@pytest.fixture
def no_calibration(monkeypatch):
    """Trainings whose weights alone matter do not calibrate them."""
    monkeypatch.setattr(train, "calibrate", lambda *_: Calibration(thresholds={}))
