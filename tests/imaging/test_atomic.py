"""Writing: whole or not at all, on the scan's grid byte for byte, the same bytes every time."""

import errno
import os
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
from imaging.bad_inputs import ball, nifti_bytes, write
from isal import igzip
from phantom import phantom, save

from dal_fast import DalFastError
from dal_fast.imaging.atomic import open_atomic, write_bytes, write_volume
from dal_fast.imaging.nifti import read_volume

GEOMETRY = (
    "pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d",
    "qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z",
)  # fmt: skip


def scan(folder, kind=nib.Nifti1Image, order="<", codes=(1, 4), name="scan.nii.gz"):
    """Scaled int16, permuted, sheared sform beside a different qform, a patient's name inside."""
    image = kind(ball(), None, kind.header_class(endianness=order))
    image.set_sform(
        [[0.1, 0, 1.5, -80], [-2, 0.1, 0, 90], [0, 3, 0.2, -60], [0, 0, 0, 1]], codes[0]
    )
    image.set_qform([[0, 2.0, 0, 5], [-2, 0, 0, 6], [0, 0, 2, 7], [0, 0, 0, 1]], codes[1])
    image.header["descrip"] = b"Jane Doe"
    image.header.set_xyzt_units("mm", "sec")
    image.header.extensions.append(nib.nifti1.Nifti1Extension(6, b"Jane Doe"))
    return read_volume(write(folder, image.to_bytes(), name))


@pytest.mark.parametrize("name", ["map.nii", "map.nii.gz"])
@pytest.mark.parametrize("codes", [(1, 4), (0, 1), (2, 0), (0, 0)])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_geometry_is_the_scans(tmp_path, kind, order, codes, name):
    like = scan(tmp_path, kind, order, codes)
    data = np.random.default_rng(1).normal(size=like.data.shape).astype(np.float32)
    write_volume(tmp_path / name, data, like)
    back = nib.load(tmp_path / name)
    assert type(back) is kind
    np.testing.assert_array_equal(back.get_fdata(dtype=np.float32), data)
    np.testing.assert_array_equal(back.affine, like.affine)
    for field in GEOMETRY:
        np.testing.assert_array_equal(back.header[field], like.header[field], err_msg=field)
    assert back.header["cal_min"] == data.min()
    assert back.header["cal_max"] == data.max()
    np.testing.assert_array_equal(read_volume(tmp_path / name).data, data)


def test_masks_are_uint8_and_names_are_left_out(tmp_path):
    like = scan(tmp_path)
    write_volume(tmp_path / "mask.nii", like.data > 100, like, "uint8")
    back = nib.load(tmp_path / "mask.nii")
    assert back.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asarray(back.dataobj), like.data > 100)
    assert b"Jane" not in (tmp_path / "mask.nii").read_bytes()


def test_same_input_same_bytes_any_memory_order(tmp_path):
    like = scan(tmp_path)
    for name, data in (("a", like.data), ("b", np.ascontiguousarray(like.data))):
        write_volume(tmp_path / f"{name}.nii.gz", data, like)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_the_target_is_replaced_and_nothing_is_left_behind(tmp_path):
    (tmp_path / "x").write_bytes(b"old")

    def fail_halfway():
        with open_atomic(tmp_path / "x") as file:
            file.write(b"new")
            file.flush()
            (temporary,) = {p.name for p in tmp_path.iterdir()} - {"x"}
            assert temporary.startswith(".")
            assert temporary.endswith(".dal-fast-tmp")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert (tmp_path / "x").read_bytes() == b"old"
    write_bytes(tmp_path / "x", b"new")
    assert (tmp_path / "x").read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_permissions_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_bytes(tmp_path / "x", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.ENOSPC, "disk-full"), (errno.EDQUOT, "disk-full"), (errno.EACCES, "output-unwritable")],
)
def test_a_failing_write_is_refused_and_cleaned_up(tmp_path, monkeypatch, number, code):
    def fail(_descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DalFastError) as refused:
        write_bytes(tmp_path / "x", b"new")
    assert refused.value.code == code
    assert os.listdir(tmp_path) == []


def test_a_file_size_limit_is_a_full_disk(tmp_path):
    """A real failing write(2): the process may not write files above 10 kB."""
    script = """
import sys, signal, resource
from dal_fast import DalFastError
from dal_fast.imaging.atomic import write_bytes
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    write_bytes(sys.argv[1], bytes(100_000))
except DalFastError as refused:
    print(refused.code)
"""
    target = str(tmp_path / "x")
    command = [sys.executable, "-c", script, target]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == (
        "disk-full"
    )
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("target", ["missing/x", ".", "file/x", "x" * 300])
def test_unwritable_targets(tmp_path, target):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DalFastError) as refused:
        write_bytes(tmp_path / target, b"new")
    assert refused.value.code == "output-unwritable"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("name", "shape", "code"),
    [("map.nii.gz", (3, 4, 5), "grid-mismatch"), ("map.mgz", None, "output-name")],
)
def test_volumes_that_are_not_written(tmp_path, name, shape, code):
    like = read_volume(write(tmp_path, nifti_bytes()))
    with pytest.raises(DalFastError) as refused:
        write_volume(tmp_path / name, np.zeros(shape or like.data.shape, np.float32), like)
    assert refused.value.code == code
    assert os.listdir(tmp_path) == ["scan.nii.gz"]


def test_compressed_bytes_do_not_depend_on_addresses(tmp_path, monkeypatch):
    """Kept alive, every compressor has an address of its own."""
    kept = []

    class Kept(igzip.GzipFile):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            kept.append(self)

    monkeypatch.setattr(igzip, "GzipFile", Kept)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    path = tmp_path / "map.nii.gz"
    for seed in range(4):
        data, affine, _ = phantom(voxel_mm=(5.0, 5.0, 5.0), seed=seed)
        like = read_volume(save(tmp_path / "scan.nii", data, affine))
        found = set()
        for _ in range(500):
            write_volume(path, data, like)
            found.add(path.read_bytes())
        assert len(found) == 1
        kept.clear()
