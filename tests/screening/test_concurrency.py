"""One screener for several threads, and for the children of a fork."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from phantom import phantom, save

from dal_fast import DalFastError, Screener
from dal_fast.screening.runtimes import compiled

ENGINES = {"torch": "torch", "openvino": "openvino", "onnx": "onnxruntime"}
RUNTIMES = ["torch", "openvino", pytest.param("onnx", marks=pytest.mark.long)]
FORKED = """
import faulthandler, os, sys
import numpy as np, torch
from dal_fast import Screener

torch.set_num_threads(2)
weights, scan, runtime, out = sys.argv[1:]
screener = Screener(weights, runtime)
screener.screen(scan)
child = os.fork()
if child == 0:
    faulthandler.dump_traceback_later(120, exit=True)
    np.save(out, screener.screen(scan).anomaly.data)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
torch.set_num_threads(1)  # as many as the child has; with another number the last digits differ
assert np.array_equal(np.load(out), screener.screen(scan).anomaly.data)
"""


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    return [
        save(folder / f"sub-{n}_T2w.nii.gz", *phantom(axes, (4.0, 4.0, 4.0), seed=n)[:2])
        for n, axes in enumerate(("RAS", "LPS", "PSR"))
    ]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_threads_get_what_one_after_the_other_get(weights, scans, runtime):
    pytest.importorskip(ENGINES[runtime])
    screener = Screener(weights, runtime)
    alone = [screener.screen(scan) for scan in scans]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(screener.screen, scans * 3))
    for result, want in zip(together, alone * 3, strict=True):
        assert result.name == want.name
        assert result.score == want.score
        assert np.array_equal(result.anomaly.data, want.anomaly.data)
        assert np.array_equal(result.pseudo_healthy.data, want.pseudo_healthy.data)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_child_gets_what_its_parent_gets(weights, scans, runtime, tmp_path):
    pytest.importorskip(ENGINES[runtime])
    done = subprocess.run(
        [sys.executable, "-c", FORKED, weights, scans[0], runtime, tmp_path / "map.npy"],
        timeout=280, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("runtime", ["openvino", "onnx"])
def test_a_child_cannot_build_an_engine_and_says_so(weights, runtime, monkeypatch):
    pytest.importorskip(ENGINES[runtime])
    monkeypatch.setitem(compiled._LOADED_BY, runtime, os.getpid() + 1)
    with pytest.raises(DalFastError, match="forked") as refused:
        Screener(weights, runtime)
    assert refused.value.code == "runtime-unavailable"
