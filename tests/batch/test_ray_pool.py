"""A Ray cluster of two machines, here two nodes on one: same outputs, failures listed, refusals."""

import json
import os
import subprocess
import sys

import pytest
from phantom import phantom, save
from tiny import tiny_weights

from dal_fast import DalFastError
from dal_fast.batch import ray_pool
from dal_fast.batch.job import Job

SCANS = 12


@pytest.fixture(scope="module")
def cluster():
    pytest.importorskip("ray.data")
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(2):
        made.add_node(num_cpus=1)
    made.wait_for_nodes()
    yield made.address
    made.shutdown()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("ray") / "ds"
    for n in range(SCANS):
        folder = root / f"sub-{n:02d}" / "anat"
        folder.mkdir(parents=True)
        data, affine, _ = phantom("RAS", seed=n)
        save(folder / f"sub-{n:02d}_FLAIR.nii.gz", data, affine)
    (root / "sub-07/anat/sub-07_FLAIR.nii.gz").write_bytes(b"no scan")
    about = {"Name": "phantoms", "BIDSVersion": "1.10.0"}
    (root / "dataset_description.json").write_text(json.dumps(about))
    return root


def bids(dataset, out, *words, address=None):
    command = [sys.executable, "-m", "dal_fast.cli", "bids", str(dataset), str(out), "participant"]
    env = os.environ | ({"RAY_ADDRESS": address} if address else {"OMP_NUM_THREADS": "1"})
    return subprocess.run(
        [*command, "--runtime", "torch", *map(str, words)],
        env=env, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip


@pytest.mark.long
def test_two_machines_give_what_one_process_gives(cluster, dataset, tmp_path):
    weights = tiny_weights(tmp_path)
    ray, local = tmp_path / "ray", tmp_path / "local"
    done = bids(
        dataset, ray, "--weights", weights, "--engine", "ray", "--workers", 2, address=cluster
    )
    assert done.returncode == 1, done.stderr
    assert f"{SCANS - 1} screened, 0 already there, 1 failed" in done.stdout
    assert "2 machines" in done.stdout
    assert "sub-07_FLAIR.nii.gz: failed [" in done.stderr
    assert bids(dataset, local, "--weights", weights).returncode == 1
    names = sorted(p.relative_to(local) for p in local.rglob("*") if p.is_file())
    assert names == sorted(p.relative_to(ray) for p in ray.rglob("*") if p.is_file())
    for name in names:
        if name.suffix in (".gz", ".html", ".tsv", ".png"):
            assert (ray / name).read_bytes() == (local / name).read_bytes(), name


@pytest.mark.long
def test_what_a_screener_refuses_is_refused(cluster, dataset, tmp_path):
    done = bids(
        dataset, tmp_path / "out", "--weights", tmp_path / "none", "--engine", "ray",
        address=cluster,
    )  # fmt: skip
    assert done.returncode == 2
    assert "weights-missing" in done.stderr


def test_without_ray_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(ray_pool, "find_spec", lambda name: None)
    with pytest.raises(DalFastError) as refused:
        ray_pool.RayPool({})
    assert refused.value.code == "ray-unavailable"
    assert "dal_fast[ray]" in refused.value.message


def test_any_file_name_reaches_a_machine(tmp_path):
    """Ray's tables take UTF-8 only."""
    job = Job(tmp_path / os.fsdecode(b"caf\xe9\n.nii"), tmp_path / "Zürich")
    encoded = ray_pool._encoded(job)
    assert encoded.isascii()
    assert ray_pool._decoded(encoded) == job
