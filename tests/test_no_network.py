"""No program of ours talks to the network, or writes outside its output and our cache.

Every command, engine and extra runs in processes that load ``offline/watch.cpp`` before the C
library. It notes each name that is looked up, each address beyond this machine, and each path
outside the permitted folders, also of native code that Python's audit hooks never see.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from brains import subjects, write_dataset
from phantom import phantom, save
from study import write_study
from tiny import tiny_weights

HERE = Path(__file__).parent
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the watcher is for Linux"),
    pytest.mark.skipif(shutil.which("c++") is None, reason="the watcher needs a C++ compiler"),
]
TRAINING = """
checkpoint_every = 2
validate_every = 2
validate_on = 1
[model]
tissue_widths = [4, 8]
[samples]
brains = 2
[[stages]]
name = "only"
trains = ["tissue"]
steps = 2
losses = { tissue = 1.0 }
"""


@pytest.fixture(scope="module")
def watcher(tmp_path_factory):
    library = tmp_path_factory.mktemp("watcher") / "watch.so"
    source = HERE / "offline" / "watch.cpp"
    flags = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run(
        ["c++", *flags, "-U_FORTIFY_SOURCE", source, "-o", library, "-ldl"], check=True, timeout=120
    )
    return library


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A scan, weights, brains to train on, a study to evaluate, and settings of a training."""
    root = tmp_path_factory.mktemp("inputs")
    data, affine, _ = phantom(voxel_mm=(4.0, 4.0, 4.0))
    scans = root / "scans" / "sub-01" / "anat"
    scans.mkdir(parents=True)
    save(scans / "sub-01_T1w.nii.gz", data, affine)
    about = {"Name": "phantom", "BIDSVersion": "1.10.0"}
    (root / "scans" / "dataset_description.json").write_text(json.dumps(about))
    tiny_weights(root)
    write_dataset(root / "brains", subjects(2, 1))
    write_study(root / "study", patients=2, healthy=3)
    (root / "training.toml").write_text(TRAINING)
    if find_spec("pydicom") is not None:
        write_dicom_study(root / "dicom")
    return root


def write_dicom_study(folder):
    """A skull-stripped series, one slice of which is compressed."""
    from dicom_lab import scanner
    from pydicom.uid import JPEG2000Lossless

    brain, voxel = scanner.stripped_brain()
    images = scanner.classic(brain, scanner.turned((0, 0, 0), voxel, brain.shape))
    images[0].compress(JPEG2000Lossless, generate_instance_uid=False)
    scanner.write(images, folder)


@pytest.fixture
def short_folder():
    """For temporary files; the paths of sockets below it have to be short."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def watched(watcher, inputs, tmp_path, short_folder):
    """Runs Python code as a program, and returns what the watcher noted and what was left."""

    def run(code, status=0, **environment):
        folders = {name: tmp_path / name for name in ("home", "cwd", "out")}
        for folder in folders.values():
            folder.mkdir()
        folders["tmp"] = short_folder
        cache = folders["home"] / ".cache"
        log = tmp_path / "log"
        kept = ("PATH", "LD_LIBRARY_PATH", "LANG", "OMP_WAIT_POLICY")
        done = subprocess.run(
            [sys.executable, "-c", code, str(inputs), str(folders["out"])],
            cwd=folders["cwd"], capture_output=True, text=True, timeout=280, check=False,
            env={
                **{name: os.environ[name] for name in kept if name in os.environ},
                "HOME": str(folders["home"]), "TMPDIR": str(folders["tmp"]),
                "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE)]),
                "PYTHONDONTWRITEBYTECODE": "1",
                "LD_PRELOAD": str(watcher), "WATCH_LOG": str(log),
                "WATCH_ALLOWED": f"{folders['out']}:{folders['tmp']}:{cache}/dal_fast",
                **environment,
            },
        )  # fmt: skip
        assert done.returncode == status, done.stdout + done.stderr
        notes = log.read_text().splitlines() if log.exists() else []
        notes = [note for note in notes if note.split("\t")[2] != str(cache)]  # the cache's parent
        left = [
            f"{name}/{path.relative_to(folders[name])}"
            for name in ("home", "cwd", "tmp")
            for path in folders[name].rglob("*")
            if not path.is_relative_to(cache / "dal_fast") and path != cache
        ]
        return notes, left

    return run


def commands(*lines):
    """Code that runs ``dal-fast`` once a line; INPUT and OUT are filled in when it runs."""
    return f"""
import sys
from dal_fast.cli import app
for line in {lines!r}:
    words = [w.replace("INPUT", sys.argv[1]).replace("OUT", sys.argv[2]) for w in line.split()]
    status = app(words, standalone_mode=False)
    assert not status, (line, status)
"""


SCREEN = "screen INPUT/scans/sub-01/anat/sub-01_T1w.nii.gz OUT/{0} --weights {1} --runtime {0}"
WEIGHTS = "INPUT/tiny.safetensors"
FOLDERS = (
    f"screen INPUT/scans OUT/folder --weights {WEIGHTS} --runtime openvino --workers 2",
    f"bids INPUT/scans OUT/derivative participant --weights {WEIGHTS} --runtime torch",
    "bids INPUT/scans OUT/derivative group",
)
PROGRAMS = {
    "doctor, folders": (("openvino",), commands("doctor", *FOLDERS)),
    "dicom": (
        ("highdicom", "openjpeg"),
        commands(
            "dicom list INPUT/dicom",
            f"dicom INPUT/dicom OUT/dicom --weights {WEIGHTS} --runtime torch --brain given "
            "--objects seg,map,mr,sc,sr",
        ),
    ),
}
LONG_PROGRAMS = {
    "torch": (("torch",), commands(SCREEN.format("torch", WEIGHTS))),
    "openvino": (
        ("openvino",),
        commands(
            SCREEN.format("openvino", WEIGHTS),
            f"bundle OUT/default.dalb --weights {WEIGHTS}",
            "embed --engine",
        ),
    ),
    "demo, strip": (
        ("nilearn",),
        commands(
            f"demo OUT/demo --weights {WEIGHTS} --runtime torch",
            "strip OUT/demo/sub-demo_T1w.nii.gz OUT/strip --runtime torch",
        ),
    ),
    "onnx": (("onnxruntime", "onnxscript"), commands(SCREEN.format("onnx", WEIGHTS))),
    "tensorrt": (
        ("tensorrt_rtx", "onnxscript"),
        commands(f"export OUT/networks --weights {WEIGHTS} --to tensorrt --gpu sm80"),
    ),
    "train": (
        ("lightning_fabric", "tensorboard"),
        commands("train INPUT/training.toml --data INPUT/brains --out OUT/training --device cpu"),
    ),
    "calibrate": (
        ("torch",),
        commands(f"calibrate {WEIGHTS} OUT/calibrated.safetensors --data INPUT/brains"),
    ),
    "torch.compile": (
        ("torch",),
        """
import torch
from dal_fast.extras import isolate
isolate("torch_compiler")
x = torch.rand(8)
assert torch.allclose(torch.compile(lambda x: x.sin() + x.cos())(x), x.sin() + x.cos())
""",
    ),
    "evaluate": (
        ("matplotlib", "scipy"),
        commands(
            "evaluate good=INPUT/study/good poor=INPUT/study/poor --data INPUT/study/data "
            "--healthy group=control --validation group=control --out OUT/evaluation"
        ),
    ),
    "make-validation, compare, checks": (
        ("matplotlib", "SimpleITK", "nilearn"),
        commands(
            "make-validation OUT/set --data INPUT/brains",
            f"compare OUT/set --weights {WEIGHTS} --out OUT/comparison",
            f"checks --data INPUT/brains --weights {WEIGHTS} --out OUT/checks",
        ),
    ),
    "lmdb": (
        ("lmdb",),
        """
import pickle, sys, lmdb, numpy
from dal_fast.evaluation.lmdb_slices import read_slices
with lmdb.open(sys.argv[2] + "/slices") as database, database.begin(write=True) as t:
    t.put(b"00000000", pickle.dumps(numpy.zeros((4, 5), numpy.float32)))
assert len(list(read_slices(__import__("pathlib").Path(sys.argv[2] + "/slices")))) == 1
""",
    ),
    "triton": (
        ("triton",),
        """
import torch
from dal_fast import ops
x, y = torch.rand(2, 1, 1, 12, 14, 16)
ops.hybrid_score(x, y, backend="triton")
""",
    ),
    "ray": (
        ("ray", "pyarrow"),
        commands(
            f"bids INPUT/scans OUT/derivative participant --weights {WEIGHTS} --runtime torch "
            "--engine ray"
        )
        + "assert list(__import__('pathlib').Path(sys.argv[2]).rglob('*desc-anomaly*.nii.gz'))",
    ),
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_keeps_to_itself(watched, program):
    run_program(watched, *PROGRAMS[program])


@pytest.mark.long
@pytest.mark.parametrize("program", LONG_PROGRAMS)
def test_keeps_to_itself_for_longer(watched, program):
    run_program(watched, *LONG_PROGRAMS[program])


def run_program(watched, needs, code):
    for module in needs:
        if find_spec(module) is None:
            pytest.skip(f"needs {module}")
    notes, left = watched(code, TRITON_INTERPRET="1")
    assert notes == []
    assert left == []


def test_every_command_is_tried():
    from dal_fast.cli import app

    names = {c.name or c.callback.__name__ for c in app.registered_commands}
    code = "".join(code for _, code in (PROGRAMS | LONG_PROGRAMS).values())
    assert {name for name in names if f"'{name} " not in code and f"'{name}'" not in code} == set()


def test_the_watcher_notices(watched):
    """What it must note, by Python and by native code, in this process and in a child."""
    code = """
import ctypes, pathlib, socket, subprocess, sys
loopback = socket.create_server(("127.0.0.1", 0))
socket.create_connection(loopback.getsockname())
for call in (
    lambda: socket.getaddrinfo("an.example.invalid", 443),
    lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"", ("192.0.2.1", 9)),
    lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(("127.0.0.1", 53)),
    lambda: ctypes.CDLL(None).gethostbyname(b"native.example.invalid"),
    lambda: subprocess.run(
        [sys.executable, "-c", "import socket; socket.gethostbyname('child.example.invalid')"],
        stderr=subprocess.DEVNULL,
    ),
    lambda: (pathlib.Path.home() / "intel").mkdir(),
    lambda: pathlib.Path("here").write_text("x"),
    lambda: (pathlib.Path(sys.argv[2]) / "fine").write_text("x"),
):
    try:
        call()
    except OSError:
        pass
"""
    notes, left = watched(code)
    what = [tuple(note.split("\t")[:3]) for note in notes]
    assert [(kind, Path(value).name) for kind, _, value in what] == [
        ("network", "an.example.invalid"),
        ("network", "192.0.2.1:9"),
        ("network", "127.0.0.1:53"),
        ("network", "native.example.invalid"),
        ("network", "child.example.invalid"),
        ("write", "intel"),
        ("write", "here"),
    ]
    assert left == ["home/intel", "cwd/here"]


@pytest.mark.long
def test_openvino_that_somebody_else_has_imported_is_silent(watched, tmp_path):
    """Its import alone reports; what we do afterwards adds nothing."""
    pytest.importorskip("openvino_telemetry")
    code = """
import os, pathlib, sys, time
import openvino.tools.ovc.telemetry_utils
time.sleep(2)
log = pathlib.Path(os.environ["WATCH_LOG"])
pathlib.Path(sys.argv[2], "before").write_text(log.read_text())
""" + commands(SCREEN.format("openvino", WEIGHTS))
    notes, _ = watched(code)
    before = (tmp_path / "out" / "before").read_text().splitlines()
    assert before
    assert notes == before
