"""Brains from a folder, the fixed split, and the cache that is mapped into memory."""

import os

import nibabel
import numpy as np
import pytest
import torch
from brains import labels, write_dataset

from dal_fast import DalFastError
from dal_fast.cache import cache_home
from dal_fast.synthesis import brains as dataset
from dal_fast.synthesis.brains import (
    Brain,
    bids_sources,
    fit,
    is_held_out,
    load_brains,
    map_sources,
    with_visible_fluid,
)


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    names = [name for name in (f"sub-{i:03d}" for i in range(40)) if not is_held_out(name)][:3]
    return write_dataset(tmp_path / "data", names)


def test_a_brain_has_its_map_and_its_scan(folder):
    brains = load_brains(bids_sources(folder, held_out=False))
    assert len(brains) == 3
    for brain in brains:
        (scan,) = brain.scans.values()
        assert brain.structures.dtype == torch.int16
        assert scan.shape == brain.structures.shape
        inside = brain.structures > 0
        assert scan[inside].float().median() == pytest.approx(0.5, abs=2e-3)
        assert (scan[~inside] == 0).all()
        assert set((brain.structures // 256).unique().tolist()) == {0, 1, 2, 3}


def test_the_second_time_comes_from_the_cache(folder, monkeypatch):
    sources = bids_sources(folder, held_out=False)
    first = load_brains(sources)
    monkeypatch.setattr(dataset, "_read", lambda *_: pytest.fail("read again"))
    (entry,) = cache_home().glob("brains/*")
    os.utime(entry, (0, 0))
    again = load_brains(sources)
    assert entry.stat().st_mtime > 0  # it counts as used
    for a, b in zip(first, again, strict=True):
        assert a.name == b.name
        assert torch.equal(a.structures, b.structures)
        assert torch.equal(a.scans["T1w"], b.scans["T1w"])


def test_another_file_is_another_entry(folder):
    sources = bids_sources(folder, held_out=False)
    before = load_brains(sources)[0].scans["T1w"].clone()
    path = sources[0].scans["T1w"]
    image = nibabel.load(path)
    data = 255 - np.asarray(image.dataobj)
    nibabel.save(nibabel.Nifti1Image(data, image.affine), path)
    assert not torch.equal(load_brains(sources)[0].scans["T1w"], before)


def test_a_broken_entry_is_made_again(folder, tmp_path):
    sources = bids_sources(folder, held_out=False)
    first = load_brains(sources)[0].structures.clone()
    (index,) = (tmp_path / "cache").rglob("index.json")
    index.write_text("{")
    assert torch.equal(load_brains(sources)[0].structures, first)
    assert index.read_text() != "{"


def test_a_cache_that_cannot_be_written_is_no_reason_to_stop(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(load_brains(bids_sources(folder, held_out=False))) == 3


def test_any_orientation_and_voxel_size(folder):
    """A brain stored left to right, at 1 mm, is the same brain."""
    sources = bids_sources(folder, held_out=False)[:1]
    want = load_brains(sources)[0]
    for path in (sources[0].labels, sources[0].scans["T1w"]):
        image = nibabel.load(path)
        fine = np.asarray(image.dataobj).repeat(2, 0).repeat(2, 1).repeat(2, 2)
        affine = np.diag([1.0, 1.0, 1.0, 1.0])
        affine[:3, 3] = -0.5
        turned = nibabel.Nifti1Image(fine, affine).as_reoriented([[0, -1], [2, 1], [1, 1]])
        nibabel.save(turned, path)
    got = load_brains(sources)[0]
    shapes = zip(got.structures.shape, want.structures.shape, strict=True)
    assert all(abs(a - b) <= 1 for a, b in shapes)
    share = [(b.structures // 256 == 3).float().mean() for b in (want, got)]
    assert share[1] == pytest.approx(float(share[0]), rel=0.1)


def test_maps_alone_have_no_scan(tmp_path):
    name = next(n for n in (f"sub-{i:03d}" for i in range(40)) if not is_held_out(n))
    tissue = np.array([0, 4, 3, 2], np.int16)[labels()]
    path = tmp_path / f"{name}_dseg.nii.gz"
    nibabel.save(nibabel.Nifti1Image(tissue, np.diag([2.0, 2.0, 2.0, 1.0])), path)
    (brain,) = load_brains(map_sources(tmp_path, held_out=False))
    assert not brain.scans
    assert set((brain.structures // 256).unique().tolist()) == {0, 1, 2, 3}


def _structures_of(folder, name, table, values):
    """Structure codes of a map whose three tissues have these labels."""
    (folder / "dseg.tsv").write_text(table)
    path = folder / name / "anat" / f"{name}_dseg.nii.gz"
    nibabel.save(nibabel.Nifti1Image(values, np.diag([2.0, 2.0, 2.0, 1.0])), path)
    brain = load_brains(bids_sources(folder, held_out=False))[0]
    return set(brain.structures.unique().tolist())


def _two_sided():
    """Fluid 1; grey matter 20 to the right and 21 to the left; white matter 7 and 6."""
    right = np.array([0, 1, 20, 7], np.int16)[labels()]
    left = np.array([0, 1, 21, 6], np.int16)[labels()]
    return np.where(np.arange(right.shape[0])[:, None, None] < right.shape[0] // 2, left, right)


def test_two_sides_of_a_structure_are_one(folder):
    table = "index\tname\ttissue\n1\tF\tCSF\n20\tG_R\tGM\n21\tG_L\tGM\n6\tW_L\tWM\n7\tW_R\tWM\n"
    name = bids_sources(folder, held_out=False)[0].name
    codes = _structures_of(folder, name, table, _two_sided())
    assert codes == {0, 256 + 1, 2 * 256 + 20, 3 * 256 + 6}


def test_a_table_without_names_keeps_its_sides_apart(folder):
    table = "index\ttissue\n1\tCSF\n20\tGM\n21\tGM\n6\tWM\n7\tWM\n"
    name = bids_sources(folder, held_out=False)[0].name
    codes = _structures_of(folder, name, table, _two_sided())
    assert codes == {0, 256 + 1, 2 * 256 + 20, 2 * 256 + 21, 3 * 256 + 6, 3 * 256 + 7}


def test_freesurfers_sides_are_one(tmp_path):
    name = next(n for n in (f"sub-{i:03d}" for i in range(40)) if not is_held_out(n))
    halves = [
        np.array([0, 4, 3, 2], np.int16)[labels()],
        np.array([0, 43, 42, 41], np.int16)[labels()],
    ]
    side = np.arange(halves[0].shape[0])[:, None, None] < halves[0].shape[0] // 2
    path = tmp_path / f"{name}_dseg.nii.gz"
    image = nibabel.Nifti1Image(np.where(side, *halves), np.diag([2.0, 2.0, 2.0, 1.0]))
    nibabel.save(image, path)
    (brain,) = load_brains(map_sources(tmp_path, held_out=False))
    assert set(brain.structures.unique().tolist()) == {0, 256 + 4, 2 * 256 + 3, 3 * 256 + 2}


def test_split_is_fixed_and_about_a_sixth():
    assert not is_held_out("sub-IXI012")
    share = sum(is_held_out(f"sub-{i}") for i in range(3000)) / 3000
    assert share == pytest.approx(1 / 6, abs=0.02)


@pytest.mark.parametrize("held_out", [False, True])
def test_a_subject_with_a_visible_lesion_is_on_neither_side(tmp_path, held_out):
    names = [name for name in (f"sub-{i:03d}" for i in range(40)) if is_held_out(name) == held_out]
    folder = write_dataset(tmp_path / "data", [names[0], *dataset.NOT_HEALTHY])
    assert [source.name for source in bids_sources(folder, held_out)] == names[:1]


def test_no_data_is_said(tmp_path):
    for folder in (tmp_path / "nothing", write_dataset(tmp_path / "empty", [])):
        with pytest.raises(DalFastError) as refused:
            bids_sources(folder, held_out=False)
        assert refused.value.code == "no-data"
    with pytest.raises(DalFastError, match="label map"):
        map_sources(tmp_path / "mistyped", held_out=False)


def test_a_split_that_is_empty_is_said(folder):
    with pytest.raises(DalFastError, match=r"of the 3 subjects .* none is held out") as refused:
        bids_sources(folder, held_out=True)
    assert refused.value.code == "no-data"


def test_a_table_without_tissues_is_said(folder):
    (folder / "dseg.tsv").write_text("index\tname\n1\tfluid\n")
    with pytest.raises(DalFastError, match="tissue"):
        bids_sources(folder, held_out=False)


def test_a_damaged_file_is_named(folder):
    sources = bids_sources(folder, held_out=False)
    sources[1].labels.write_bytes(b"nothing")
    with pytest.raises(DalFastError, match=sources[1].labels.name):
        load_brains(sources)


def test_a_scan_without_signal_is_named(folder):
    sources = bids_sources(folder, held_out=False)
    path = sources[0].scans["T1w"]
    image = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine), path)
    with pytest.raises(DalFastError, match="no signal") as refused:
        load_brains(sources)
    assert refused.value.code == "no-data"


def test_fit_cuts_and_fills():
    x = torch.arange(4.0).view(1, 1, 4, 1, 1)
    assert fit(x, (6, 1, 1)).flatten().tolist() == [0, 0, 1, 2, 3, 0]
    assert fit(x, (2, 1, 1)).flatten().tolist() == [1, 2]


def test_fluid_is_where_the_t1w_shows_fluid():
    """Label maps that widen the cortex: dark voxels of it are a sulcus, bright fluid is cortex."""
    fluid, grey, white = 256 + 1, 2 * 256 + 5, 3 * 256 + 9
    structures = torch.tensor([0] + [fluid] * 4 + [grey] * 4 + [white] * 4, dtype=torch.int16)
    scan = torch.tensor([0, *[0.1] * 3, 0.4, *[0.5] * 3, 0.2, *[0.8] * 3, 0.1]).half()
    column = (structures[:, None, None], {"T1w": scan[:, None, None]})
    found = with_visible_fluid(Brain("a", *column)).structures
    assert found.dtype == torch.int16
    expected = structures.clone()
    expected[4], expected[8] = fluid + 256, fluid
    assert found.flatten().tolist() == expected.tolist()  # white matter stays, dark or not


@pytest.mark.parametrize("missing", ["scan", "fluid", "grey"])
def test_fluid_stays_where_no_t1w_can_tell(missing):
    structures = torch.tensor([0, 256 + 1, 2 * 256 + 5], dtype=torch.int16)
    structures[structures // 256 == {"scan": 9, "fluid": 1, "grey": 2}[missing]] = 3 * 256 + 9
    scans = {} if missing == "scan" else {"T1w": torch.tensor([0, 0.9, 0.1]).half()[:, None, None]}
    brain = Brain("a", structures[:, None, None], scans)
    assert with_visible_fluid(brain) is brain
