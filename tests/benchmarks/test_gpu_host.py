"""The GPU host's script, rehearsed on a CPU: files, arguments, limits, tables; all but the GPU."""

import csv
import os
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest
import torch
from tiny import needs_default_weights

from benchmarks import gpu_pack, gpu_prepare
from dal_fast.models import load_weights
from dal_fast.synthesis.brains import Brain, is_held_out

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("conformance", "gpu", "kernels", "chain", "goals", "stages", "memcheck", "synccheck")


def _script(*arguments, limit, **environment):
    words = ["bash", str(ROOT / "benchmarks" / "on_gpu_host.sh"), *map(str, arguments)]
    own = {**os.environ, "PYTHON": sys.executable, **{k: str(v) for k, v in environment.items()}}
    own.pop("DAL_FAST_ENGINES", None)
    return subprocess.run(words, capture_output=True, text=True, timeout=limit, env=own)


def _table(folder):
    lines = (folder / "table.txt").read_text().splitlines()
    return {line.split()[0]: line[13:23].strip() for line in lines[:-1]}, lines[-1]


@needs_default_weights
@pytest.mark.long
def test_both_parts_run_from_end_to_end(tmp_path):
    pytest.importorskip("lightning_fabric")
    done = _script("rehearse", tmp_path, limit=280, BENCHMARK_COMMIT="0123abc")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    evidence, training = tmp_path / "evidence", tmp_path / "training"
    found, last = _table(evidence)
    assert last.endswith("0 steps failed")
    assert set(PARTS) <= set(found)
    assert {name for name, result in found.items() if result == "ok"} >= {
        "kernels",
        "chain",
        "profile",
    }
    assert done.stdout.rstrip().endswith("0 steps failed")  # the table is what is read last
    with (evidence / "rehearsal.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["op"] for row in rows} >= {"canny3d", "median3d", "ssim_l1"}
    assert {row["commit"] for row in rows} == {"0123abc"}
    with (evidence / "chain-rehearsal.csv").open() as file:
        parts = {row["part"] for row in csv.DictReader(file)}
    assert parts == {
        "compare", "resident", "equality", "one by one", "networks", "floors", "pool"
    }  # fmt: skip
    assert load_weights(training / "weights.safetensors").config.tissue_widths == (4, 8)
    assert {"logs/kernels.log", "logs/chain.log", "logs/gpu.log", "logs/rehearsal.csv"} <= set(
        _packed(evidence)
    )
    packed = _packed(training)
    assert {"logs/training.log", "logs/table.txt"} <= set(packed)
    assert len(packed["logs/log.csv"].splitlines()) > 2
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) <= 7  # and trained.safetensors, of a recipe with networks for training only
    for path in files:  # so much can be brought back
        assert path.parent in (evidence, training)
        assert path.stat().st_size < 16 * 2**20


def _packed(folder):
    """Name and content of the files in what is brought back first."""
    with tarfile.open(folder / "results.tar.gz") as results:
        return {one.name: results.extractfile(one).read() for one in results if one.isfile()}


@pytest.mark.long
def test_when_the_time_is_up_a_step_ends_and_the_table_is_whole(tmp_path):
    slow = tmp_path / "python"  # a step that would take a minute
    slow.write_text(
        f'#!/bin/sh\ncase "$*" in *pytest*) sleep 60;; esac\nexec {sys.executable} "$@"\n'
    )
    slow.chmod(0o755)
    start = time.monotonic()
    done = _script("evidence", tmp_path, 15, limit=60, REHEARSAL="1", PYTHON=slow)
    assert time.monotonic() - start < 40
    found, last = _table(tmp_path)
    assert "timed out" in found.values()
    assert found["chain"] == "not run"
    assert f"{done.returncode} steps failed" in last
    assert done.returncode > 0
    assert _packed(tmp_path)["logs/table.txt"] == (tmp_path / "table.txt").read_bytes()


def test_it_says_how_it_is_called():
    done = _script("evidnce", "x", limit=20)
    assert done.returncode == 2
    assert "on_gpu_host.sh evidence OUT [SECONDS [STEP...]]" in done.stderr


def test_steps_can_be_named(tmp_path):
    """As for a second call on the same host, which takes what the first left out."""
    done_at_once = tmp_path / "python"
    done_at_once.write_text("#!/bin/sh\nexit 0\n")
    done_at_once.chmod(0o755)
    steps = ("chain", "racecheck", "synccheck")
    done = _script("evidence", tmp_path, 30, *steps, limit=60, REHEARSAL="1", PYTHON=done_at_once)
    assert done.returncode == 0
    found, _ = _table(tmp_path)
    assert set(found) == {"pack", "host", "wheels", "build", *steps}
    assert found["chain"] == "ok"


def test_a_pack_gives_back_what_was_put_in(tmp_path):
    brains = [gpu_pack.synthetic(f"sub-{n}", (16, 20, 24)) for n in range(3)]
    brains.append(Brain("map", brains[0].structures))
    gpu_pack.write(tmp_path / "pack.zip", brains)
    for got, want in zip(gpu_pack.read(tmp_path / "pack.zip"), brains, strict=True):
        assert got.name == want.name
        assert got.structures.dtype == torch.int16
        assert torch.equal(got.structures, want.structures)
        assert list(got.scans) == list(want.scans)
        assert all(torch.equal(got.scans[c], want.scans[c]) for c in want.scans)


def test_a_scan_of_many_values_is_rounded_to_256_steps(tmp_path):
    scan = torch.rand(1, 1, 16, 20, 24, generator=torch.Generator().manual_seed(0)).half()
    one = Brain("sub-0", gpu_pack.synthetic("sub-0", (16, 20, 24)).structures, {"T2w": scan})
    gpu_pack.write(tmp_path / "pack.zip", [one])
    (got,) = gpu_pack.read(tmp_path / "pack.zip")
    assert got.scans["T2w"].dtype == torch.float16
    assert (got.scans["T2w"] - scan).abs().max() < 0.6 / 255


def test_what_is_missing_is_named(tmp_path):
    assert all("holds no wheel of" in line for line in gpu_prepare.wrong_wheels(tmp_path))
    (tmp_path / ".whl").mkdir()
    for name, needs in (("pydantic", "pydantic-core==2"), ("pydantic_core", "other")):
        with zipfile.ZipFile(tmp_path / ".whl" / f"{name}-1-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}-1.dist-info/METADATA", f"Requires-Dist: {needs}\n")
    wrong = list(gpu_prepare.wrong_wheels(tmp_path))
    assert "pydantic needs pydantic-core==2, and here is 1" in wrong
    assert not any(line.endswith("no wheel of pydantic") for line in wrong)
    assert any(line.endswith("peers holds no wheel of monai") for line in wrong)
    few, pack = tmp_path / "evidence" / "brains.zip", tmp_path / "brains.zip"
    assert list(gpu_prepare.wrong_packs(tmp_path)) == [f"there is no {one}" for one in (few, pack)]
    name = next(name for name in map(str, range(99)) if is_held_out(name))
    one = gpu_pack.synthetic(name, (16, 20, 24))
    gpu_pack.write(pack, [Brain("map", one.structures), one])
    assert gpu_pack.main([str(few), "--pack", str(pack)]) == 0
    assert [each.name for each in gpu_pack.read(few)] == [name]
    (line,) = gpu_prepare.wrong_packs(tmp_path)
    assert line == f"{pack} has no brain with a scan"
    assert gpu_prepare.bytes_of(tmp_path / "evidence") == gpu_prepare.bytes_of(few) > 1000
