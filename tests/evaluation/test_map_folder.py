"""Where the maps of a detector are found, and those that cannot be used."""

import os

import numpy as np
import pytest
from study import save, write_study

from dal_fast import DalFastError
from dal_fast.evaluation.cases import bids_cases
from dal_fast.evaluation.ground_truth import read_ground_truth
from dal_fast.evaluation.images import Grid
from dal_fast.evaluation.map_folder import MapFolder
from dal_fast.evaluation.protocols import protocol

NAME = "sub-p0_T2w"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("study"), patients=1, healthy=1)


@pytest.fixture(scope="module")
def truth(study):
    return read_ground_truth(bids_cases(study.data, "group=control").cases[1], protocol("default"))


@pytest.fixture
def score(study):
    return study.scores["good", NAME]


def read(folder, truth):
    """The map (I, J, K) of a case, checked before it is read."""
    detector = MapFolder("x", folder)
    detector.check(truth.case, Grid.of(truth.volume))
    return detector.maps(truth)["x"][0, 0].numpy().T


@pytest.mark.parametrize(
    "name",
    ["deep/er/sub-p0_desc-anomaly_T2w.nii.gz", "sub-p0_T2w.nii", "sub-p0_T2w_anomaly.nii.gz",
     "sub-p0_T2w_residual.nii.gz"],
)  # fmt: skip
def test_maps_by_any_usual_name(truth, score, tmp_path, name):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    save(tmp_path / name, score)
    np.testing.assert_array_equal(read(tmp_path, truth), score)


def test_arrays_and_centre_crops(truth, score, tmp_path):
    path = tmp_path / f"{NAME}.npy"
    np.save(path, score[None, None])
    np.testing.assert_array_equal(read(tmp_path, truth), score)
    np.save(path, score[3:-3, 2:-2])
    cropped = read(tmp_path, truth)
    np.testing.assert_array_equal(cropped[3:-3, 2:-2], score[3:-3, 2:-2])
    assert not cropped[:3].any()
    assert not cropped[:, -2:].any()
    np.save(path, np.pad(score, ((1, 1), (0, 0), (2, 2))))
    np.testing.assert_array_equal(read(tmp_path, truth), score)


def test_a_map_may_be_empty(truth, score, tmp_path):
    save(tmp_path / f"{NAME}.nii.gz", np.zeros_like(score))
    assert not read(tmp_path, truth).any()


def test_links_are_followed_but_not_in_circles(truth, score, tmp_path):
    (tmp_path / "store").mkdir()
    save(tmp_path / "store" / f"{NAME}.nii.gz", score)
    maps = tmp_path / "maps"
    maps.mkdir()
    (maps / "linked").symlink_to(tmp_path / "store")
    (tmp_path / "store" / "back").symlink_to(maps)
    np.testing.assert_array_equal(read(maps, truth), score)


@pytest.mark.parametrize(("scan", "found"), [("run-01", "run-1"), ("run-1", "run-001")])
@pytest.mark.parametrize("form", ["sub-a_{}_desc-anomaly_T2w", "sub-a_{}_T2w", "sub-a_{}_T2w_map"])
def test_indices_are_numbers(tmp_path, scan, found, form):
    (tmp_path / f"{form.format(found)}.nii.gz").touch()
    (tmp_path / f"{form.format('run-10')}.nii.gz").touch()
    path = MapFolder("x", tmp_path).find(tmp_path / f"sub-a_{scan}_T2w.nii.gz")
    assert path.name == f"{form.format(found)}.nii.gz"


def dangling(folder, score):
    (folder / f"{NAME}.nii.gz").symlink_to(folder / "gone.nii.gz")


def truncated(folder, score):
    path = save(folder / f"{NAME}.nii.gz", score)
    path.write_bytes(path.read_bytes()[:-2000])


def put(change, name=f"{NAME}.nii.gz", voxel_mm=2.0):
    return lambda folder, score: save(folder / name, change(score), voxel_mm)


def put_array(change):
    return lambda folder, score: np.save(folder / f"{NAME}.npy", change(score))


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda folder, score: None, "map-missing"),
        (lambda folder, score: (put(abs)(folder, score), put(abs, f"{NAME}.nii")(folder, score)),
         "map-ambiguous"),
        (put(lambda s: s[1:]), "map-grid"),
        (put(lambda s: s, voxel_mm=1.0), "map-grid"),
        (put(lambda s: np.zeros_like(s[1:])), "map-grid"),  # an empty map must fit, too
        (put(lambda s: np.where(s > 0.5, np.nan, s)), "map-nonfinite"),
        (dangling, "file-missing"),
        (truncated, "gzip-truncated"),
        (lambda folder, score: (folder / f"{NAME}.nii.gz").write_bytes(b"no image"), "not-gzip"),
        (lambda folder, score: (folder / f"{NAME}.nii.gz").touch(), "empty-file"),
        (lambda folder, score: os.mkfifo(folder / f"{NAME}.nii.gz"), "not-a-file"),
        (put_array(lambda s: s[1:]), "map-grid"),
        (put_array(lambda s: s[0]), "map-grid"),
        (put_array(lambda s: s.astype(complex)), "map-grid"),
        (put_array(lambda s: np.where(s > 0.5, np.inf, s)), "map-nonfinite"),
        (put_array(lambda s: 1e300 * s.astype(float)), "map-nonfinite"),  # not in float32
        (put_array(lambda s: np.array([{}], object)), "map-unreadable"),
        (lambda folder, score: (folder / f"{NAME}.npy").write_bytes(b"no array"), "map-unreadable"),
    ],
)  # fmt: skip
def test_maps_that_are_refused(truth, score, tmp_path, make, code):
    make(tmp_path, score)
    with pytest.raises(DalFastError) as refused:
        read(tmp_path, truth)
    assert refused.value.code == code


def test_a_map_on_another_grid_says_by_how_many_millimetres(truth, score, tmp_path):
    save(tmp_path / f"{NAME}.nii.gz", score, 1.0)
    far = np.linalg.norm(np.array(score.shape) - 1)  # of 1 mm: the last corner moved by as many
    with pytest.raises(DalFastError, match=rf"{far:.1f} mm"):
        read(tmp_path, truth)


def test_a_folder_must_be_one(tmp_path):
    with pytest.raises(DalFastError) as refused:
        MapFolder("x", tmp_path / "nothing")
    assert refused.value.code == "not-a-folder"
