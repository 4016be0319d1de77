"""What is written is written whole or not at all, whatever happens to the process or the disk."""

import dataclasses
import errno
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from phantom import phantom, save

from dal_fast import DalFastError
from dal_fast.batch import outputs
from dal_fast.imaging import atomic
from dal_fast.imaging.mask_origin import read_sidecar
from dal_fast.imaging.nifti import read_volume
from dal_fast.report.png import encode
from dal_fast.screening.result import Flag, Image, Region, Result

PICTURE = encode(np.zeros((4, 4), np.uint8))


def scan_and_result(folder, noise=True):
    """A scan on disk and a made-up result of it."""
    data, affine, _ = phantom("PSR", (2.0, 2.0, 2.5))
    volume = read_volume(save(folder / "sub-7_ses-b_T2w.nii.gz", data, affine))
    rng = np.random.default_rng(0)
    anomaly = (rng.random(data.shape) if noise else np.zeros(data.shape)).astype(np.float32)
    image = Image(data, affine)
    small = Image(np.zeros((16, 16, 16), np.uint8), np.eye(4))
    return volume, Result(
        name="sub-7_ses-b_T2w",
        source={"path": str(volume.path), "sha256": volume.sha256, "mask": "non-zero voxels"},
        scan=image,
        anomaly=Image(anomaly, affine),
        pseudo_healthy=Image(data * 0.5, affine),
        brain_mask=Image(data > 0, affine),
        anomaly_mask=Image(anomaly > 0.99, affine),
        tissue=small,
        edges=small,
        bias=small,
        score=0.25,
        regions=[Region(1.5, 0.9, 0.5, (1.0, 2.0, 3.0))],
        parameters={"threshold": 0.2, "score": "hybrid"},
        brain={"Source": "nonzero", "VolumeML": 1200.0},
        requested={"threshold": "auto", "score": "auto"},
        flags=[Flag("anisotropic", "long voxels")],
        timings={"read": 0.1},
    )


def test_everything_is_there_and_on_the_scans_grid(tmp_path):
    volume, result = scan_and_result(tmp_path)
    out = tmp_path / "deep" / "out"
    paths = outputs.write_result(result, volume, "<page>", PICTURE, out)
    assert {p.name for p in out.iterdir()} == {
        "sub-7_ses-b_desc-anomaly_T2w.nii.gz",
        "sub-7_ses-b_desc-pseudohealthy_T2w.nii.gz",
        "sub-7_ses-b_desc-brainT2w_mask.nii.gz",
        "sub-7_ses-b_desc-anomalyT2w_mask.nii.gz",
        "sub-7_ses-b_T2w.html",
        "sub-7_ses-b_T2w.png",
        "sub-7_ses-b_desc-anomaly_T2w.json",
    }
    for what, want in (
        ("anomaly", result.anomaly.data),
        ("pseudohealthy", result.pseudo_healthy.data),
        ("brain_mask", result.brain_mask.data),
        ("anomaly_mask", result.anomaly_mask.data),
    ):
        image = nib.load(paths[what])
        assert np.array_equal(np.asanyarray(image.dataobj), want)
        assert np.allclose(image.affine, volume.affine)
    facts = json.loads(paths["sidecar"].read_text())
    assert facts["Source"]["sha256"] == volume.sha256
    assert facts["Score"] == 0.25
    assert facts["Parameters"]["score"] == "hybrid"
    assert facts["QualityFlags"] == [{"code": "anisotropic", "message": "long voxels"}]
    assert set(facts["Outputs"].values()) == {p.name for p in out.iterdir() if p.suffix != ".json"}
    assert read_sidecar(out / outputs.output_names(volume.path)["sidecar"]) == facts
    assert read_sidecar(tmp_path / "none.json") is None


@pytest.mark.parametrize("which", range(7))
def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch, which):
    """The disk fills as each of the files is flushed: no output, no folder, nothing hidden."""
    volume, result = scan_and_result(tmp_path)
    synced = []

    def fsync(descriptor):
        synced.append(descriptor)
        if len(synced) > which:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic.os, "fsync", fsync)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DalFastError, match="No space left") as caught:
        outputs.write_result(result, volume, "<page>", PICTURE, tmp_path / "a" / "b")
    assert caught.value.code == "disk-full"
    assert sorted(tmp_path.rglob("*")) == before


def test_a_failed_write_keeps_the_earlier_result(tmp_path, monkeypatch):
    volume, result = scan_and_result(tmp_path)
    out = tmp_path / "out"
    outputs.write_result(result, volume, "<page>", PICTURE, out)
    before = {p: p.read_bytes() for p in out.iterdir()}

    def fsync(descriptor):
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(atomic.os, "fsync", fsync)
    with pytest.raises(DalFastError):
        outputs.write_result(result, volume, "<other>", PICTURE, out)
    assert {p: p.read_bytes() for p in out.iterdir()} == before


def renamed(volume, result, stem):
    """The same scan under another name."""
    volume = dataclasses.replace(volume, path=volume.path.with_name(f"{stem}.nii.gz"))
    return dataclasses.replace(result, name=stem), volume


@pytest.mark.parametrize(
    ("first", "second"),
    [("patient.followup", "patient"), ("patient", "patient.followup"), ("patient", "patient")],
)
def test_stems_that_begin_each_other(tmp_path, monkeypatch, first, second):
    """While one scan is in the middle of being written, the other one is, by another thread."""
    volume, result = scan_and_result(tmp_path)
    out = tmp_path / "out"
    honest, inside = outputs.write_json, []

    def write_json(path, content):
        if not inside:
            inside.append(True)
            thread = threading.Thread(
                target=lambda: outputs.write_result(
                    *renamed(volume, result, second), "<page>", PICTURE, out
                )
            )
            thread.start()
            thread.join()
        honest(path, content)

    monkeypatch.setattr(outputs, "write_json", write_json)
    outputs.write_result(*renamed(volume, result, first), "<page>", PICTURE, out)
    want = set()
    for stem in (first, second):
        want |= set(outputs.output_names(Path(f"{stem}.nii.gz")).values())
    assert {p.name for p in out.iterdir()} == want


def test_two_processes_that_write_the_same_scan(tmp_path):
    """Over and over, into a folder that is not there at first; neither disturbs the other."""
    text = WRITER.format(path=[str(Path(__file__).parent), *sys.path])
    text = text.replace("while True:", "for _ in range(15):")
    program = tmp_path / "writer.py"
    program.write_text(text.replace('/ "out"', '/ ".." / "out"'))
    writers = []
    for name in "ab":
        (tmp_path / name).mkdir()
        writers.append(subprocess.Popen([sys.executable, str(program), str(tmp_path / name)]))
    assert [writer.wait(timeout=200) for writer in writers] == [0, 0]
    assert check_folder_is_sound(tmp_path / "out")
    assert not [p.name for p in (tmp_path / "out").iterdir() if p.name.startswith(".")]


WRITER = """
import sys
from pathlib import Path
sys.path[:0] = {path!r}
from test_outputs import PICTURE, scan_and_result
from dal_fast.batch import outputs
volume, result = scan_and_result(Path(sys.argv[1]))
print("ready", flush=True)
while True:
    outputs.write_result(result, volume, "<page>" * 50_000, PICTURE, Path(sys.argv[1]) / "out")
"""


def test_kill_at_any_moment_leaves_no_partial_file(tmp_path):
    """Five SIGKILLs while results are written over and over, the first ones into a new folder."""
    program = tmp_path / "writer.py"
    program.write_text(WRITER.format(path=[str(Path(__file__).parent), *sys.path]))
    rng, out, complete = random.Random(5), tmp_path / "out", 0
    for attempt in range(5):
        child = subprocess.Popen(
            [sys.executable, str(program), str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout.readline() == "ready\n"
        time.sleep(0.02 if attempt == 0 else rng.uniform(0, 0.5))
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        complete += check_folder_is_sound(out)
    assert complete > 0
    volume, result = scan_and_result(tmp_path)
    outputs.write_result(result, volume, "<page>", PICTURE, out)
    assert not [p.name for p in out.iterdir() if p.name.startswith(".")]


def check_folder_is_sound(out):
    """Every file under a final name is whole; a sidecar means that all of them are there."""
    names = outputs.output_names(Path("sub-7_ses-b_T2w.nii.gz"))
    present = {p.name for p in out.iterdir() if not p.name.startswith(".")} if out.is_dir() else {}
    assert set(present) <= set(names.values())
    for name in present:
        path = out / name
        if name.endswith(".nii.gz"):
            nib.load(path).get_fdata()
            read_volume(path)  # the gate verifies length and CRC
        elif name.endswith(".html"):
            assert path.read_text() == "<page>" * 50_000
        elif name.endswith(".json"):
            json.loads(path.read_text())
            assert set(present) == set(names.values())
    return names["sidecar"] in present
