"""Detectors on the same cases: one that cannot be evaluated costs nobody else."""

import shutil
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch
from study import save, write_study

from dal_fast import DalFastError, OutputError
from dal_fast.evaluation.cases import bids_cases
from dal_fast.evaluation.compare import Hooks, check_cases, compare
from dal_fast.evaluation.detectors import InstalledDetector, parse_detector
from dal_fast.evaluation.map_folder import MapFolder
from dal_fast.evaluation.protocols import PROTOCOLS, protocol

GOOD = ("sub-h1_T2w", "sub-p1_T2w", "sub-p2_T2w")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("study"), patients=3, healthy=2)


@pytest.fixture
def study(original, tmp_path):
    """A copy whose ``sub-p0`` and ``sub-h0`` a test may spoil; maps of "good" and "poor"."""
    shutil.copytree(original.data, tmp_path / "data")
    for name, folder in original.maps.items():
        shutil.copytree(folder, tmp_path / name)
    return tmp_path


def cases_of(study):
    cases, failures = bids_cases(study / "data", "group=control")
    assert failures == []
    return cases


def folders(study):
    return [MapFolder(name, study / name) for name in ("good", "poor")]


def run(study, detectors=None, checked=True):
    """Names of the evaluated cases, and failures, every case evaluated at a fixed threshold."""
    cases, found = cases_of(study), []
    detectors = detectors or folders(study)
    if checked:
        cases, found = check_cases(cases, detectors)
    comparison = compare(cases, detectors, protocol("default"), threshold=0.7)
    names = [[case.case for case in results.cases] for results in comparison.detectors]
    assert all(same == names[0] for same in names)  # every detector on the same cases
    return names[0], [(name, str(code)) for name, code, _ in (*found, *comparison.failures)]


def anat(study, subject="sub-p0"):
    return study / "data" / subject / "anat"


def lesion_of(study):
    return anat(study) / "sub-p0_label-lesion_mask.nii.gz"


def map_of(study, detector="poor"):
    return study / detector / "sub-p0/anat/sub-p0_desc-anomaly_T2w.nii.gz"


def changed(path, change):
    image = nib.load(path)
    save(path, change(np.asarray(image.dataobj)))


def truncate(path):
    path.write_bytes(path.read_bytes()[:-60])


def link_to_nothing(path):
    path.unlink()
    path.symlink_to(path.with_name("gone"))


def shift(path, by_mm):
    image = nib.load(path)
    affine = image.affine.copy()
    affine[0, 3] += by_mm
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), path)


def with_nan(data):
    data = data.copy()
    data[10, 10, 10] = np.nan
    return data


EARLY = {
    "no map": (lambda s: map_of(s).unlink(), "map-missing"),
    "two maps": (lambda s: shutil.copy(map_of(s), s / "poor" / "sub-p0_desc-anomaly_T2w.nii"),
                 "map-ambiguous"),
    "a map that is a link to nothing": (lambda s: link_to_nothing(map_of(s)), "file-missing"),
    "a map that is no image": (lambda s: map_of(s).write_bytes(b"no image"), "not-gzip"),
    "a map on another grid": (lambda s: changed(map_of(s), lambda d: d[1:]), "map-grid"),
    "a shifted map": (lambda s: shift(map_of(s), 3), "map-grid"),
    "an empty lesion mask": (lambda s: changed(lesion_of(s), np.zeros_like), "lesion-empty"),
    "a lesion mask that is cut off": (lambda s: truncate(lesion_of(s)), "gzip-truncated"),
    "a lesion mask that is a link to nothing": (lambda s: link_to_nothing(lesion_of(s)),
        "file-missing"),
    "a shifted lesion mask": (lambda s: shift(lesion_of(s), 5), "lesion-grid"),
    "a shifted brain mask":
        (lambda s: shift(anat(s) / "sub-p0_desc-brain_mask.nii.gz", 5), "mask-grid"),
    "a scan that is no image":
        (lambda s: (anat(s) / "sub-p0_T2w.nii.gz").write_bytes(b"no image"), "not-gzip"),
    "a scan that is a link to nothing":
        (lambda s: link_to_nothing(anat(s) / "sub-p0_T2w.nii.gz"), "file-missing"),
}  # fmt: skip
LATE = {
    "a map that is cut off": (lambda s: truncate(map_of(s)), "gzip-truncated"),
    "a map with NaN": (lambda s: changed(map_of(s), with_nan), "map-nonfinite"),
    "a scan that is cut off": (lambda s: truncate(anat(s) / "sub-p0_T2w.nii.gz"), "gzip-truncated"),
    "an empty brain mask":
        (lambda s: changed(anat(s) / "sub-p0_desc-brain_mask.nii.gz", np.zeros_like), "mask-empty"),
}  # fmt: skip


@pytest.mark.parametrize("fault", EARLY)
def test_what_files_and_lesion_masks_tell_is_found_before_and_costs_its_own_case(study, fault):
    spoil, code = EARLY[fault]
    spoil(study)
    cases, failures = bids_cases(study / "data", "group=control")
    detectors = folders(study)
    usable, more = check_cases(cases, detectors)
    assert [case.name for case in usable] == ["sub-h0_T2w", *GOOD]
    assert [(name, str(c)) for name, c, _ in (*failures, *more)] == [("sub-p0_T2w", code)]
    comparison = compare(usable, detectors, protocol("default"), threshold=0.7)
    assert comparison.failures == []


@pytest.mark.parametrize("fault", LATE)
def test_what_only_reading_tells_costs_its_own_case(study, fault):
    spoil, code = LATE[fault]
    spoil(study)
    assert run(study) == (["sub-h0_T2w", *GOOD], [("sub-p0_T2w", code)])


@pytest.mark.parametrize("fault", EARLY)
def test_without_the_check_nothing_else_is_lost_either(study, fault):
    spoil, code = EARLY[fault]
    spoil(study)
    names, failures = run(study, checked=False)
    assert names == ["sub-h0_T2w", *GOOD]
    assert failures == [("sub-p0_T2w", code)]


def test_every_reason_of_every_case_is_in_one_list(study):
    map_of(study).unlink()
    map_of(study, "good").unlink()
    changed(lesion_of(study), np.zeros_like)
    shift(anat(study, "sub-h0") / "sub-h0_desc-brain_mask.nii.gz", 5)
    told, done = [], []
    hooks = Hooks(case_done=lambda: done.append(1), case_failed=told.append)
    usable, failures = check_cases(cases_of(study), folders(study), hooks)
    assert [case.name for case in usable] == list(GOOD)
    assert told == failures
    assert len(done) == 5
    assert [(name, str(code)) for name, code, _ in failures] == [
        ("sub-h0_T2w", "mask-grid"),
        ("sub-p0_T2w", "lesion-empty"),
        ("sub-p0_T2w", "map-missing"),
        ("sub-p0_T2w", "map-missing"),
    ]


def test_the_other_cases_have_the_same_numbers(study, original):
    truncate(map_of(study))
    cases = cases_of(study)
    spoilt = compare(cases, folders(study), protocol("default"), threshold=0.7)
    others = [case for case in cases if case.name != "sub-p0_T2w"]
    detectors = [MapFolder(name, folder) for name, folder in original.maps.items()]
    without = compare(others, detectors, protocol("default"), threshold=0.7)
    for a, b in zip(spoilt.detectors, without.detectors, strict=True):
        assert [str(case) for case in a.cases] == [str(case) for case in b.cases]
        assert a.totals() == pytest.approx(b.totals(), nan_ok=True)


@pytest.mark.parametrize("value", [0, 0.3])
def test_an_empty_mask_of_a_healthy_scan_is_no_mask(study, value):
    """As controls of some datasets have; the same numbers, thresholds included."""
    results = []
    for subject in (None, "sub-h0", "sub-h1"):
        if subject is not None:
            mask = np.zeros((26, 32, 22), np.float32)
            mask[4, 4, 4] = value
            save(anat(study, subject) / f"{subject}_label-lesion_mask.nii.gz", mask)
        cases = cases_of(study)
        usable, failures = check_cases(cases, folders(study))
        assert failures == []
        healthy = [case for case in usable if case.participant.startswith("h")]
        results.append(compare(usable, folders(study), protocol("uad-imag"), healthy[:1]))
    for other in results[1:]:
        for a, b in zip(results[0].detectors, other.detectors, strict=True):
            assert a.thresholds == b.thresholds
            assert [str(case) for case in a.cases] == [str(case) for case in b.cases]


def one_bad_validation_case(study):
    truncate(study / "good" / "sub-h0/anat/sub-h0_desc-anomaly_T2w.nii.gz")
    cases = cases_of(study)
    validation = [case for case in cases if case.participant.startswith("h")]
    return compare(cases, folders(study), protocol("default"), validation)


def test_a_bad_validation_case_leaves_the_others_to_take_thresholds_from(study):
    comparison = one_bad_validation_case(study)
    assert [str(code) for _, code, _ in comparison.failures] == ["gzip-truncated"]
    assert comparison.detectors[0].thresholds["healthy"] > 0
    assert len(comparison.detectors[0].cases) == 3


def raising(error):
    def function(scan, brain, affine):
        if abs(scan).sum() == raising.spoilt:
            raise error
        return scan

    return function


@pytest.mark.parametrize("error", [RuntimeError("no weights"), SystemExit(3), MemoryError()])
def test_a_detector_that_fails_on_one_scan(study, monkeypatch, error):
    data = np.asarray(nib.load(anat(study) / "sub-p0_T2w.nii.gz").dataobj)
    raising.spoilt = abs(data).sum()
    monkeypatch.setitem(InstalledDetector.__init__.__globals__["BUILT_IN"], "x", raising(error))
    names, failures = run(study, [*folders(study), parse_detector("detector:x")])
    assert names == ["sub-h0_T2w", *GOOD]
    assert failures == [("sub-p0_T2w", "detector-broken")]


def test_a_detector_that_writes_to_what_it_is_given_changes_nothing(study, monkeypatch):
    def careless(scan, brain, affine):
        scan -= scan.mean()
        brain[:] = False
        affine[:] = 0
        return scan

    monkeypatch.setitem(InstalledDetector.__init__.__globals__["BUILT_IN"], "x", careless)
    for name in PROTOCOLS:
        cases = cases_of(study)
        both = [parse_detector("detector:x"), parse_detector("detector:intensity")]
        _, after = compare(cases, both, protocol(name), threshold=0.7).detectors
        (alone,) = compare(cases, both[1:], protocol(name), threshold=0.7).detectors
        assert [str(case) for case in after.cases] == [str(case) for case in alone.cases]


class Unexpected:
    names = ("x",)

    def check(self, case, grid):
        pass

    def maps(self, truth):
        if truth.case.name == "sub-p0_T2w":
            raise KeyError("a fault of the program")
        return {"x": torch.rand_like(truth.scan)}


def test_what_nobody_expected_costs_its_own_case(study):
    assert run(study, [Unexpected()]) == (["sub-h0_T2w", *GOOD], [("sub-p0_T2w", "unexpected")])


def test_what_cannot_be_written_ends_everything(study):
    def full(truth, maps, thresholds):
        raise OutputError("disk-full", "no space left")

    hooks = Hooks(case_compared=full)
    with pytest.raises(OutputError):
        compare(cases_of(study), folders(study), protocol("default"), threshold=1, hooks=hooks)


def test_refusals_of_the_whole(study):
    cases, default = cases_of(study), protocol("default")
    for arguments, code in (
        ((cases, folders(study), default, (), float("nan")), "value"),
        ((cases, [*folders(study), folders(study)[0]], default), "detector-twice"),
        (([], folders(study), default), "no-cases"),
        ((cases, folders(study), default, cases), "no-cases"),
        ((cases, folders(study), default, [c for c in cases if c.participant == "p0"]),
         "validation-missing"),
        ((cases, folders(study), protocol("pddpm"), [replace(c) for c in cases[:1]]),
         "validation-missing"),
    ):  # fmt: skip
        with pytest.raises(DalFastError) as refused:
            compare(*arguments)
        assert refused.value.code == code
