"""Which results a derivative's pages and tables count, and what no run may overwrite."""

import csv
import shutil

import pytest
from phantom import phantom, save
from tiny import tiny_weights
from typer.testing import CliRunner
from without_workers import without_workers

from dal_fast.cli import app
from dal_fast.imaging.temporary import temporary_name

run = CliRunner().invoke
SCANS = ("sub-01/anat/sub-01_T2w.nii.gz", "sub-02_T2w.nii.gz")  # the second one lies beside


@pytest.fixture(scope="module")
def screened(tmp_path_factory):
    """A dataset, its derivative, and the weights."""
    root = tmp_path_factory.mktemp("study")
    for number, name in enumerate(SCANS):
        path = root / "ds" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data, affine, _ = phantom("LAS", seed=number)
        save(path, data, affine)
    (root / "ds" / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    weights = str(tiny_weights(root))
    assert level(root, "participant", weights).exit_code == 0
    return root, weights


@pytest.fixture
def study(screened, tmp_path):
    """A copy, and the weights."""
    root, weights = screened
    shutil.copytree(root, tmp_path / "study")
    return tmp_path / "study", weights


def level(root, name, weights, *more):
    words = ["bids", str(root / "ds"), str(root / "out"), name]
    words += [] if name == "group" else ["--weights", weights, "--runtime", "torch"]
    with without_workers():
        return run(app, [*words, *more])


def scans_of(root):
    with (root / "out" / "scores.tsv").open(newline="") as file:
        return sorted(row["scan"] for row in csv.DictReader(file, delimiter="\t"))


def links_of(root, label):
    page = (root / "out" / f"sub-{label}.html").read_text()
    return page.count('.html"><img')


def test_scans_outside_of_their_subjects_folders_count(study):
    root, weights = study
    assert links_of(root, "02") == 1
    assert level(root, "group", weights).exit_code == 0
    assert scans_of(root) == ["sub-01/anat/sub-01_T2w", "sub-02_T2w"]


def test_what_is_being_written_is_no_result(study):
    root, weights = study
    anat = root / "out" / "sub-01" / "anat"
    shutil.copytree(anat, temporary_name(anat))  # as it is between writing and renaming
    done = level(root, "group", weights)
    assert "2 scans with a result, 0 without" in done.stdout
    assert "not counted" not in done.stdout
    assert level(root, "participant", weights).exit_code == 0
    assert links_of(root, "01") == 1


def test_the_result_of_a_scan_that_was_replaced_by_a_bad_one_counts_no_more(study):
    root, weights = study
    scan = root / "ds" / SCANS[0]
    whole = scan.read_bytes()
    scan.write_bytes(b"poison")
    assert level(root, "participant", weights).exit_code == 1
    assert links_of(root, "01") == 0
    assert "1 scan with a result, 1 without" in level(root, "group", weights).stdout
    assert scans_of(root) == ["sub-02_T2w"]
    assert "not-gzip" in (root / "out" / "index.html").read_text()
    scan.write_bytes(whole)  # the result is of this scan again, whatever a table says
    assert "2 scans with a result, 0 without" in level(root, "group", weights).stdout


def test_brains_that_lie_among_the_results_are_no_scans(study):
    """Of ``dal-fast strip`` into the same folder, which lies in the dataset."""
    root, _ = study
    out = (root / "out").rename(root / "ds" / "results")
    shutil.copy(root / "ds" / SCANS[0], out / "sub-01" / "anat" / "sub-01_desc-brain_T2w.nii.gz")
    done = run(app, ["bids", str(root / "ds"), str(out), "group"])
    assert "2 scans with a result, 0 without" in done.stdout


def test_maps_of_an_earlier_comparison_go(study):
    root, weights = study
    map_of = root / "out" / "sub-01" / "anat" / "sub-01_desc-anomalyZ_T2w.nii.gz"
    for more in ([], ["--healthy", "all"]):  # two participants are too few
        map_of.write_bytes(b"of other healthy participants")
        assert level(root, "group", weights, *more).exit_code == 0
        assert not map_of.exists()


@pytest.mark.parametrize(
    ("command", "name"),
    [("strip", "sub-01_desc-brain_T2w.nii.gz"), ("screen", "sub-01_desc-pseudohealthy_T2w.nii.gz")],
)
def test_no_scan_is_overwritten_by_its_own_results(tmp_path, command, name):
    data, affine, _ = phantom("LAS")
    scan = tmp_path / name
    save(scan, data, affine)
    before = scan.read_bytes()
    (tmp_path / "link").symlink_to(tmp_path)
    for out in (tmp_path, tmp_path / "link"):
        done = run(app, [command, str(scan), str(out)])
        assert done.exit_code == 2
        assert "[value]" in done.stderr
    assert scan.read_bytes() == before


def test_the_dataset_itself_is_no_folder_for_results(study):
    root, _ = study
    table = "participant_id\tage\nsub-01\t30\nsub-09\t40\n"
    (root / "ds" / "participants.tsv").write_text(table)
    shutil.copytree(root / "out" / "sub-01", root / "ds" / "sub-01", dirs_exist_ok=True)
    refused = run(app, ["bids", str(root / "ds"), str(root / "ds"), "group"])
    assert refused.exit_code == 2
    assert "[value]" in refused.stderr
    assert (root / "ds" / "participants.tsv").read_text() == table
