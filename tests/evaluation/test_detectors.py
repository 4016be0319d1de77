"""Detectors of other packages, called for every scan."""

import json
from importlib.metadata import EntryPoint

import numpy as np
import pytest
from study import write_study
from typer.testing import CliRunner

from dal_fast import DalFastError
from dal_fast.cli import app
from dal_fast.evaluation import detectors
from dal_fast.evaluation.cases import bids_cases
from dal_fast.evaluation.ground_truth import read_ground_truth
from dal_fast.evaluation.map_folder import MapFolder
from dal_fast.evaluation.protocols import min_to_max, protocol


def inverted(scan, brain, affine):
    return brain * (scan.max() - scan)


def of_wrong_shape(scan, brain, affine):
    return scan[1:]


def not_finite(scan, brain, affine):
    return np.full_like(scan, np.nan)


def failing(scan, brain, affine):
    raise RuntimeError("no weights")


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """A good detector of another package, and some of a broken one."""
    names = ("inverted", "of_wrong_shape", "not_finite", "failing")
    offered = {name: f"{__name__}:{name}" for name in names} | {"lost": "no_such_package:detect"}
    points = [EntryPoint(n, v, detectors.GROUP) for n, v in offered.items()]
    monkeypatch.setattr(detectors, "entry_points", lambda group: points)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("study"), patients=2, healthy=2)


def test_built_in_detectors_beside_a_folder(study, tmp_path):
    command = [
        "evaluate",
        str(study.maps["poor"]),
        "detector:intensity",
        "dark=detector:darkness",
        "detector:inverted",
    ]
    command += ["--data", str(study.data), "--healthy", "group=control", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, [*command, "--validation", "sub=h0", "--protocol", "uad-imag"])
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "summary.json").read_text())["detectors"]
    assert list(found) == ["poor", "intensity", "dark", "inverted"]
    ap = {name: one["totals"]["average_precision"] for name, one in found.items()}
    assert ap["intensity"] > ap["poor"] > ap["dark"]  # the lesions are bright
    assert ap["inverted"] < ap["poor"]


@pytest.mark.parametrize("name", ["default", "pddpm"])
def test_a_detector_sees_the_scan_as_it_lies(study, name):
    case = bids_cases(study.data, "group=control").cases[-1]
    truth = read_ground_truth(case, protocol(name))
    found = detectors.InstalledDetector("x", "intensity").maps(truth)["x"]
    scan, brain = study.scans[case.name], study.brains[case.name]
    want = np.where(brain, scan / np.median(scan[brain]), 0)
    np.testing.assert_allclose(found[0, 0].numpy().T, want, rtol=1e-5)


def test_uad_imag_scales_a_scan_by_its_smallest_and_largest_value(study, monkeypatch):
    given = []
    monkeypatch.setitem(detectors.BUILT_IN, "look", lambda scan, *rest: given.append(scan) or scan)
    case = bids_cases(study.data, "group=control").cases[-1]
    for name in ("uad-imag", "default"):
        detectors.InstalledDetector("x", "look").maps(read_ground_truth(case, protocol(name)))
    scan = study.scans[case.name].astype(np.float64)
    scaled = (scan - scan.min()) / (scan.max() - scan.min())
    np.testing.assert_allclose(given[0], scaled, rtol=1e-5)
    np.testing.assert_allclose(given[1], scan, rtol=1e-5)
    assert not min_to_max(np.full((2, 2, 2), 7, np.float32)).any()


def test_names(study):
    folder = study.maps["good"]
    assert isinstance(detectors.parse_detector(str(folder)), MapFolder)
    assert detectors.parse_detector(f"mine={folder}").names == ("mine",)
    assert detectors.parse_detector("detector:intensity").names == ("intensity",)
    assert detectors.parse_detector("b=detector:intensity").names == ("b",)


@pytest.mark.parametrize(
    ("text", "code"),
    [("detector:none", "detector-unknown"), ("detector:lost", "detector-broken"),
     ("=detector:intensity", "detector-name"), ("no-such-folder", "not-a-folder")],
)  # fmt: skip
def test_refused_names(text, code):
    with pytest.raises(DalFastError) as refused:
        detectors.parse_detector(text)
    assert refused.value.code == code


@pytest.mark.parametrize("entry", ["of_wrong_shape", "not_finite", "failing"])
def test_what_a_broken_one_does_is_told(study, entry):
    case = bids_cases(study.data, "group=control").cases[-1]
    truth = read_ground_truth(case, protocol("default"))
    with pytest.raises(DalFastError, match=f"detector {entry}") as refused:
        detectors.InstalledDetector("x", entry).maps(truth)
    assert refused.value.code == "detector-broken"
