"""The gate: a scan is read as nibabel reads it, or refused with its own code, fast and small."""

import errno
import gzip
import hashlib
import io
import os
import random
import struct
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from imaging.bad_inputs import BAD_FILES, SHAPE, ball, nifti_bytes, write

from dal_fast import DalFastError
from dal_fast.imaging.nifti import read_volume


def oracle(path):
    image = nib.load(path)
    return image.get_fdata(dtype=np.float64).reshape(image.shape[:3]), image.affine


def assert_reads_as_nibabel(path):
    volume = read_volume(path)
    data, affine = oracle(path)
    assert volume.data.dtype == np.float32
    np.testing.assert_array_equal(volume.data, data.astype(np.float32))
    np.testing.assert_array_equal(volume.affine, affine)
    assert volume.sha256 == hashlib.sha256(Path(path).read_bytes()).hexdigest()
    return volume


KINDS = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "SCAN.NII.GZ"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("dtype", KINDS)
def test_reads_every_dtype_order_and_version(tmp_path, dtype, order, kind, name):
    header = kind.header_class(endianness=order)
    header.set_data_dtype(np.dtype(order + dtype))
    affine = np.array([[0, 0, 1.5, -80], [-2, 0.1, 0, 90], [0, 3, 0, -60], [0, 0, 0, 1]])
    raw = kind(ball().astype(dtype), affine, header).to_bytes()
    path = tmp_path / name
    path.write_bytes(gzip.compress(raw) if name.lower().endswith("gz") else raw)
    assert_reads_as_nibabel(path)


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4", "f8"])
@pytest.mark.parametrize(
    ("slope", "inter"),
    [(0.37, -12.5), (0, 5), (float("nan"), float("nan")), (1, 0), (-2, 1)],
)
def test_scaling_is_nibabels(tmp_path, dtype, slope, inter):
    raw = bytearray(nifti_bytes(ball().astype(dtype)))
    struct.pack_into("<2f", raw, 112, slope, inter)
    assert_reads_as_nibabel(write(tmp_path, bytes(raw)))


def test_slope_without_intercept_is_refused(tmp_path):
    raw = bytearray(nifti_bytes())
    struct.pack_into("<2f", raw, 112, 2.0, float("nan"))
    with pytest.raises(DalFastError) as refused:
        read_volume(write(tmp_path, bytes(raw)))
    assert refused.value.code == "scaling"


@pytest.mark.parametrize(("sform", "qform"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_affine_is_nibabels(tmp_path, sform, qform):
    image = nib.Nifti1Image(ball(), None)
    image.set_sform(np.diag([2.0, 3, 1, 1]), sform)
    image.set_qform(np.array([[0, 2.0, 0, 5], [-2, 0, 0, 6], [0, 0, 2, 7], [0, 0, 0, 1]]), qform)
    assert_reads_as_nibabel(write(tmp_path, image.to_bytes()))


@pytest.mark.parametrize("tail", [(1,), (1, 1), (1, 1, 1)])
def test_trailing_axes_of_one_are_dropped(tmp_path, tail):
    path = write(tmp_path, nifti_bytes(ball().reshape(*SHAPE, *tail)))
    assert assert_reads_as_nibabel(path).data.shape == SHAPE


def test_extensions_and_gzip_members_are_read(tmp_path):
    image = nib.Nifti1Image(ball(), np.eye(4))
    image.header.extensions.append(nib.nifti1.Nifti1Extension(6, b"x" * 100_000))
    raw = image.to_bytes()
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(gzip.compress(raw[:5000]) + gzip.compress(raw[5000:]))
    assert_reads_as_nibabel(path)


def test_nonfinite_voxels_are_counted_and_replaced(tmp_path):
    data = ball().astype(np.float32)
    data[9, 10, 7:10] = np.nan, np.inf, -np.inf
    volume = read_volume(write(tmp_path, nifti_bytes(data)), nonfinite="replace")
    assert volume.nonfinite == 3
    data[9, 10, 7:10] = 0
    np.testing.assert_array_equal(volume.data, data)


def test_one_nonfinite_voxel_is_one_voxel(tmp_path):
    data = ball().astype(np.float32)
    data[9, 10, 7] = np.nan
    with pytest.raises(DalFastError, match="has 1 NaN or infinite voxel; to read 0 there"):
        read_volume(write(tmp_path, nifti_bytes(data)))


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_input_has_its_code(tmp_path, name):
    build, code = BAD_FILES[name]
    path = build(tmp_path)
    begin = time.process_time()
    with pytest.raises(DalFastError) as refused:
        read_volume(path)
    assert refused.value.code == code
    assert path.name in refused.value.message
    assert time.process_time() - begin < 1


@pytest.mark.parametrize("name", ["a" * 300 + ".nii", "a\0b.nii"])
def test_a_name_that_no_file_can_have(tmp_path, name):
    with pytest.raises(DalFastError) as refused:
        read_volume(tmp_path / name)
    assert refused.value.code == "file-unreadable"


def test_a_disk_that_fails_in_the_middle(tmp_path, monkeypatch):
    path = write(tmp_path, nifti_bytes(), "scan.nii")

    class Failing(io.FileIO):
        def read(self, size=-1):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Path, "open", lambda self, mode: Failing(self))
    with pytest.raises(DalFastError, match="Input/output error") as refused:
        read_volume(path)
    assert refused.value.code == "file-unreadable"


def test_an_option_that_does_not_exist(tmp_path):
    with pytest.raises(DalFastError, match="'refuse' or 'replace'") as refused:
        read_volume(write(tmp_path, nifti_bytes()), nonfinite="ignore")
    assert refused.value.code == "value"


def test_every_code_is_documented():
    import dal_fast.imaging.nifti as module

    for name, (_, code) in BAD_FILES.items():
        assert f"``{code}``" in module.__doc__, name


def test_refusals_need_no_memory(tmp_path):
    """Peak resident memory of a process that is offered every bad file: a few MiB more."""
    paths = []
    for index, (build, _) in enumerate(BAD_FILES.values()):
        folder = tmp_path / str(index)
        folder.mkdir()
        paths.append(str(build(folder)))
    good = str(write(tmp_path, nifti_bytes()))
    script = """
import resource, sys
from dal_fast import DalFastError
from dal_fast.imaging.nifti import read_volume
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
read_volume(sys.argv[1])
before = peak()
for path in sys.argv[2:]:
    try:
        read_volume(path)
    except DalFastError:
        continue
    raise SystemExit(path + " was read")
print((peak() - before) / 1024)
"""
    command = [sys.executable, "-c", script, good, *paths]
    grown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert float(grown) < 16, f"{grown} MiB"


def outcome(path, want):
    """How a damaged file is taken: the refusal's code, ``"identical"`` or ``"misread"``."""
    try:
        volume = read_volume(path)
    except DalFastError as refused:
        return refused.code
    same = np.array_equal(volume.data, want.data) and np.array_equal(volume.affine, want.affine)
    return "identical" if same and volume.header == want.header else "misread"


def flip_bits(path, stream, bits):
    """How many single flips of a stream are refused with each code, or read identically."""
    path.write_bytes(stream)
    want = read_volume(path)
    taken = Counter()
    for bit in bits:
        damaged = bytearray(stream)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        result = outcome(path, want)
        if result == "identical":  # another decoder is the witness
            assert gzip.decompress(damaged) == gzip.decompress(stream), bit
        taken[result] += 1
    return taken


@pytest.mark.parametrize("level", [1, 9])
def test_a_thousand_flipped_bits_none_misread(tmp_path, level):
    """No flip changes what is read. The one or two in a hundred that are not refused leave every
    byte of the content as it was: deflate can say the same in several ways, such as a match in
    the zeros of the background that starts at another zero."""
    stream = gzip.compress(nifti_bytes(), level, mtime=0)
    bits = random.Random(level).sample(range(10 * 8, 8 * len(stream)), 1000)
    taken = flip_bits(tmp_path / "scan.nii.gz", stream, bits)
    assert taken["misread"] == 0
    assert taken["identical"] <= 30, taken


def test_flips_of_the_gzip_header_change_nothing_or_are_refused(tmp_path):
    """Its time, extra flags and system are outside any checksum, and say nothing of the scan."""
    stream = gzip.compress(nifti_bytes(), 6, mtime=0)
    taken = flip_bits(tmp_path / "scan.nii.gz", stream, range(10 * 8))
    assert taken["misread"] == 0
    assert taken["identical"] == 6 * 8 + 1  # mtime, extra flags, system; "is text" of the flags


@pytest.mark.shared
def test_flipped_bits_of_a_real_scan(shared_data, tmp_path):
    source = shared_data / "ixi-hh-2mm/sub-IXI012/anat/sub-IXI012_desc-brain_T1w.nii.gz"
    stream = source.read_bytes()
    bits = random.Random(0).sample(range(10 * 8, 8 * len(stream)), 200)
    taken = flip_bits(tmp_path / "scan.nii.gz", stream, bits)
    assert taken["misread"] == 0
    assert taken["identical"] <= 10, taken


@pytest.mark.shared
def test_real_scans_read_as_nibabel_reads_them(shared_data):
    for path in sorted(shared_data.glob("mslub/*/anat/*.nii.gz"))[:2]:
        assert_reads_as_nibabel(path)
    for path in sorted(shared_data.glob("ixi-hh-2mm/sub-IXI012/anat/*.nii.gz")):
        assert_reads_as_nibabel(path)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("series.zip", "dal-fast dicom"), ("scan.dcm", "dcm2niix"), ("a.hdr", "pair")],
)
def test_another_format_is_told_how_to_be_converted(tmp_path, name, remedy):
    path = tmp_path / name
    path.write_bytes(b"anything")
    with pytest.raises(DalFastError, match=remedy) as refused:
        read_volume(path)
    assert refused.value.code == "unsupported-format"
    assert ("Analyze" in refused.value.message) == (name == "a.hdr")
