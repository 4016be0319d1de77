"""Writing: whole or not at all, on the scan's grid byte for byte, the same bytes every time."""

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from imaging.bad_inputs import ball, nifti_bytes, write
from isal import igzip
from phantom import phantom, save

from dal_fast import DalFastError, OutputError
from dal_fast.imaging.atomic import (
    open_atomic,
    staged_files,
    staged_folder,
    write_bytes,
    write_json,
    write_text,
)
from dal_fast.imaging.folders import check_folder
from dal_fast.imaging.nifti import read_volume
from dal_fast.imaging.nifti_output import write_volume

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


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 kB, whose space really ends."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(small_disk):
    (small_disk / "old").write_bytes(b"old")

    def into_a_file():
        write_bytes(small_disk / "old", bytes(100_000))

    def into_files():
        with staged_files(small_disk / "a" / "b", ["x", "y"]) as stage:
            write_bytes(stage / "x", b"x")
            write_bytes(stage / "y", bytes(100_000))

    def another_library_into_files():
        with staged_files(small_disk / "a", ["x"]) as stage:
            (stage / "x").write_bytes(bytes(100_000))

    def into_a_folder():
        with staged_folder(small_disk / "a") as stage:
            write_volume(stage / "map.nii", *noise(small_disk.parent))

    for fill in (into_a_file, into_files, another_library_into_files, into_a_folder):
        with pytest.raises(OutputError, match="No space left") as refused:
            fill()
        assert refused.value.code == "disk-full"
        assert "dal-fast-tmp" not in refused.value.message
        assert os.listdir(small_disk) == ["old"]
        assert (small_disk / "old").read_bytes() == b"old"
    (small_disk / "rest").write_bytes(bytes(shutil.disk_usage(small_disk).free))
    with pytest.raises(OutputError) as refused:
        check_folder(small_disk / "new")
    assert refused.value.code == "disk-full"


def noise(folder):
    """More data than 64 kB, and the scan that they belong to."""
    data, affine, _ = phantom(voxel_mm=(5.0, 5.0, 5.0))
    like = read_volume(save(folder / "scan.nii", data, affine))
    return np.random.default_rng(0).normal(size=like.data.shape), like


@pytest.mark.parametrize("way", ["file", "files", "folder"])
def test_an_error_of_the_callers_own_block_is_not_taken_for_a_failed_write(tmp_path, way):
    """A source that is missing is no fault of the target."""
    managers = {
        "file": lambda: open_atomic(tmp_path / "out" / "x"),
        "files": lambda: staged_files(tmp_path / "out", ["x"]),
        "folder": lambda: staged_folder(tmp_path / "out" / "new"),
    }
    (tmp_path / "out").mkdir()
    with pytest.raises(FileNotFoundError, match="source"), managers[way]():
        (tmp_path / "source").read_bytes()
    assert os.listdir(tmp_path / "out") == []


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


def test_other_names_of_the_old_file_keep_it(tmp_path):
    """A hard link, or the object that an annexed file links to, is not written through."""
    (tmp_path / "object").write_bytes(b"old")
    (tmp_path / "annexed").symlink_to("object")
    os.link(tmp_path / "object", tmp_path / "linked")
    for name in ("annexed", "linked"):
        write_bytes(tmp_path / name, b"new")
        assert (tmp_path / name).read_bytes() == b"new"
        assert not (tmp_path / name).is_symlink()
    assert (tmp_path / "object").read_bytes() == b"old"


class Steps:
    """What reaches the disk, in order: ``("sync", path)`` and ``("rename", path)``."""

    def __init__(self, monkeypatch):
        self.all = []
        fsync, replace, rename = os.fsync, os.replace, os.rename

        def watched_sync(descriptor):
            self.all.append(("sync", os.readlink(f"/proc/self/fd/{descriptor}")))
            fsync(descriptor)

        def watched(move):
            def call(source, target):
                self.all.append(("rename", str(target)))
                move(source, target)

            return call

        monkeypatch.setattr(os, "fsync", watched_sync)
        monkeypatch.setattr(os, "replace", watched(replace))
        monkeypatch.setattr(os, "rename", watched(rename))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="looks up descriptors in /proc")
@pytest.mark.parametrize("again", [False, True])
def test_the_last_file_is_last_even_after_a_power_loss(tmp_path, monkeypatch, again):
    out = tmp_path / "out"
    if again:
        out.mkdir()
        (out / "c").write_bytes(b"old")
    steps = Steps(monkeypatch)
    with staged_files(out, ["a", "b", "c"]) as stage:
        for name in "abc":
            write_bytes(stage / name, name.encode())
        assert steps.all == []  # plain writes
    synced = [Path(path).name for what, path in steps.all[:3]]
    assert synced == ["a", "b", "c"]
    folder = ("sync", str(out))
    renames = [("rename", str(out / name)) for name in "abc"]
    removal = [folder] if again else []  # of the old last one
    assert steps.all[3:] == [*removal, *renames[:2], folder, renames[2], folder]
    assert {p.name: p.read_bytes() for p in out.iterdir()} == {"a": b"a", "b": b"b", "c": b"c"}


def test_a_target_that_is_a_folder_costs_no_other_file(tmp_path):
    for name in "ac":
        (tmp_path / name).write_bytes(b"old")
    (tmp_path / "b").mkdir()

    def write():
        with staged_files(tmp_path, ["a", "b", "c"]) as stage:
            for name in "abc":
                write_bytes(stage / name, b"new")

    with pytest.raises(OutputError, match="b is a folder"):
        write()
    assert {p.name for p in tmp_path.iterdir()} == {"a", "b", "c"}
    assert [(tmp_path / name).read_bytes() for name in "ac"] == [b"old", b"old"]


def test_a_whole_folder_appears_at_once(tmp_path):
    before = os.umask(0o027)
    try:
        with staged_folder(tmp_path / "deep" / "new") as stage:
            (stage / "part").mkdir()
            write_json(stage / "part" / "a.json", {"a": 1})
            assert os.listdir(tmp_path / "deep") == [stage.name]
    finally:
        os.umask(before)
    assert json.loads((tmp_path / "deep" / "new" / "part" / "a.json").read_text()) == {"a": 1}
    assert (tmp_path / "deep" / "new").stat().st_mode & 0o777 == 0o750
    assert os.listdir(tmp_path / "deep") == ["new"]
    with pytest.raises(OutputError) as refused, staged_folder(tmp_path / "deep" / "new") as stage:
        write_bytes(stage / "b", b"")
    assert refused.value.code == "output-exists"
    assert os.listdir(tmp_path / "deep" / "new") == ["part"]
    with pytest.raises(ZeroDivisionError), staged_folder(tmp_path / "other" / "new"):
        1 / 0  # noqa: B018
    assert os.listdir(tmp_path) == ["deep"]


def test_names_that_are_not_utf8_are_written_as_escapes(tmp_path):
    name = os.fsdecode(b"caf\xe9_T1w.nii.gz")
    write_json(tmp_path / "a.json", {"path": name, "city": "Zürich"})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["path"] == name
    assert "Zürich" in (tmp_path / "a.json").read_text(encoding="utf-8")
    write_text(tmp_path / "a.tsv", f"{name} Zürich")
    assert (tmp_path / "a.tsv").read_text(encoding="utf-8") == "caf\\xe9_T1w.nii.gz Zürich"


@pytest.mark.parametrize("folder", ["x" * 300, "file", "file/below", "link", "link/below"])
def test_folders_that_cannot_be_written_are_refused_early(tmp_path, folder):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputError) as refused:
        check_folder(tmp_path / folder)
    assert refused.value.code == "output-unwritable"
    assert {p.name for p in tmp_path.iterdir()} == {"file", "link"}


def test_folders_that_another_user_locked_are_refused():
    """In a child, as nothing is locked for root."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                if os.geteuid() == 0:
                    os.setuid(65534)
                for target in (Path(folder), Path(folder, "below"), Path(folder, "below", "this")):
                    with pytest.raises(OutputError) as refused:
                        check_folder(target)
                    assert refused.value.code == "output-unwritable"
                status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        Path(folder).chmod(0o700)
