"""The benchmark of real scans: where a lesion lies, how high it is, a run that goes on, tables."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from phantom import T1_LIKE, T2_LIKE, phantom, save
from tiny import needs_default_weights

from benchmarks import real_scans
from benchmarks.real_scans import Row, contrast_of, paint
from benchmarks.rows import read_rows
from dal_fast import InputError
from dal_fast.screening.scan import load_scan


def scan_of(folder, axes="RAS", contrast="T2w", voxel_mm=(3.0, 3.0, 3.0)):
    like = T1_LIKE if contrast == "T1w" else T2_LIKE
    data, affine, _ = phantom(axes, voxel_mm, like, lesion=False)
    return load_scan(save(folder / f"sub-{axes}_{contrast}.nii.gz", data, affine))


@pytest.fixture(scope="module")
def masks():
    """One lesion right, anterior and above the middle, in white matter."""
    mask = torch.zeros(72, 90, 77, dtype=torch.uint8)
    mask[44:52, 55:63, 40:48] = 1
    return [mask]


def painted(scan, contrast, masks, shape="mask", seed=3):
    return paint(scan, contrast, shape, masks, torch.Generator().manual_seed(seed))


def middle(scan, lesion):
    return scan.volume.affine[:3, :3] @ np.argwhere(lesion).mean(0) + scan.volume.affine[:3, 3]


@pytest.mark.parametrize("axes", ["LPS", "PIR", "SAL"])
def test_a_mask_lies_in_the_same_place_however_a_scan_is_stored(tmp_path, masks, axes):
    here, there = (scan_of(tmp_path, kind) for kind in ("RAS", axes))
    (_, first, height), (_, second, again) = (painted(scan, "T2w", masks) for scan in (here, there))
    assert height == again
    assert int(second.sum()) == pytest.approx(int(first.sum()), rel=0.2)
    assert middle(there, second) == pytest.approx(middle(here, first), abs=3.0)
    assert abs(middle(here, first)[0]) > 5  # not in the middle, where a wrong side is not seen


@pytest.mark.parametrize(("contrast", "sign"), [("T1w", -1), ("T2w", 1), ("FLAIR", 1)])
@pytest.mark.parametrize("shape", real_scans.SHAPES)
def test_a_lesion_is_as_high_as_told_and_no_fluid(tmp_path, masks, contrast, sign, shape):
    scan = scan_of(tmp_path, contrast=contrast)
    sick, lesion, height = painted(scan, contrast, masks, shape)
    median = np.median(scan.volume.data[scan.mask.data])
    added = (sick.volume.data - scan.volume.data) / (2 * median)
    assert lesion.any()
    assert 0.05 <= height <= 0.2
    assert np.median(added[lesion]) == pytest.approx(sign * height, rel=0.2)
    assert np.abs(added[~lesion]).max() < height
    assert not added[~scan.mask.data].any()
    if contrast == "T1w":
        assert not (lesion & (scan.volume.data < 0.5 * median)).any()
    if contrast == "T2w":  # the phantom has no FLAIR's fluid
        assert not (lesion & (scan.volume.data > 1.5 * median)).any()


def test_a_file_that_does_not_tell_its_contrast_is_refused(tmp_path):
    scan = scan_of(tmp_path)
    named = replace(scan, volume=replace(scan.volume, path=tmp_path / "sub-1_PDw.nii.gz"))
    with pytest.raises(InputError, match="_T1w, _T2w or _FLAIR"):
        contrast_of(named)


@needs_default_weights
def test_a_run_goes_on_and_is_compared(tmp_path, masks, monkeypatch, capsys):
    monkeypatch.setattr(real_scans, "read_masks", lambda folder: masks)
    scan_of(tmp_path)
    words = ["--scans", str(tmp_path / "sub-RAS_T2w.nii.gz"), "--masks", str(tmp_path)]
    for draws in ("1", "2"):
        assert real_scans.main([str(tmp_path / "rows"), *words, "--draws", draws]) == 0
    rows = read_rows(tmp_path / "rows", Row)
    assert [row.case for row in rows] == [
        f"sub-RAS_T2w-{shape}-{draw}" for draw in (0, 1) for shape in real_scans.SHAPES
    ]
    assert all(
        0 <= value <= 1 for row in rows for value in (row.auto, row.told, row.intensity, row.dice)
    )
    assert sum(row.auto for row in rows) > 3 * sum(row.intensity for row in rows)
    capsys.readouterr()
    assert real_scans.main([str(tmp_path / "rows"), "--before", str(tmp_path / "rows")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("| T2w, solid | 2 | 1 |") for line in lines)
    assert any(line.startswith("| all | 4 |") and "+.000 (.000)" in line for line in lines)


def test_a_case_without_a_lesion_is_in_no_column():
    row = Row("digest", "a", "sub", "T2w", "mask", 0, 0.01, 0.1, *4 * [math.nan])
    assert list(real_scans.columns([row])) == []
