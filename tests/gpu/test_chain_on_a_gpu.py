"""The chain's streams, graphs and pinned memory on a GPU: every result is its own scan's."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from phantom import phantom, save

from dal_fast.models import load_screening_model
from dal_fast.screening.calibration import Calibration
from dal_fast.screening.device import DeviceChain, graph, runner
from dal_fast.screening.device.chain import Options
from dal_fast.screening.scan import load_scan

DEVICE = "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]
SCANS = 7
MOST = 0.02  # of a volume's largest value


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Of two shapes, each of a brightness of its own."""
    folder = tmp_path_factory.mktemp("scans")
    made = []
    for n in range(SCANS):
        data, affine, _ = phantom("LPS" if n % 3 else "RAS", (3.0, 3.0, 4.0), seed=n)
        made.append(load_scan(save(folder / f"sub-{n}_T2w.nii.gz", data * (n + 1), affine)))
    return made


@pytest.fixture(scope="module")
def want(scans, weights):
    chain = made(weights, "cpu")
    return chain.run(plans_of(chain, scans))


@pytest.fixture(autouse=True)
def pairs(monkeypatch):
    monkeypatch.setattr(runner, "BATCH", 2)


def made(weights, device=DEVICE, precision="float32"):
    model = load_screening_model(weights)
    return DeviceChain(model, Calibration(), device, Options("enhanced", 0, 1.0), precision)


def plans_of(chain, scans):
    return [chain.plan(scan, "T2w") for scan in scans]


def compare(got, want):
    for ours, theirs in zip(got, want, strict=True):
        top = theirs.pseudo_healthy.max()
        np.testing.assert_allclose(ours.pseudo_healthy, theirs.pseudo_healthy, atol=MOST * top)
        difference = np.abs(ours.anomaly - theirs.anomaly)
        assert difference.max() <= MOST * max(1.0, theirs.anomaly.max())
        assert ours.image.max() <= 1.0


def test_launched_recorded_and_replayed_results_are_the_cpus(scans, weights, want):
    ours = made(weights)
    plans = plans_of(ours, scans)
    for _ in range(4):  # the last of them replays everything
        compare(ours.run(plans), want)
    assert len(ours._graphs._recorded) == len({(one.bucket, n) for one, n in batches(plans)})


def batches(plans):
    """A plan of each batch, and how many scans it has."""
    return [(plans[places[0]], len(places)) for _, places in runner._batches(plans)]


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
def test_in_fewer_bits_the_results_are_near(scans, weights, want, precision):
    ours = made(weights, precision=precision)
    for half, full in zip(ours.run(plans_of(ours, scans)), want, strict=True):
        difference = np.abs(half.anomaly - full.anomaly).mean()
        assert difference < 0.1 * full.anomaly[full.anomaly > 0].mean()
        difference = np.abs(half.pseudo_healthy - full.pseudo_healthy).mean()
        assert difference < 0.02 * full.pseudo_healthy.max()


def test_several_threads_share_a_chain(scans, weights, want):
    ours = made(weights)
    plans = plans_of(ours, scans)
    orders = [np.random.default_rng(n).permutation(SCANS) for n in range(8)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda order: ours.run([plans[n] for n in order]), orders))
    for order, one in zip(orders, found, strict=True):
        compare(one, [want[n] for n in order])


def test_graphs_that_are_not_kept_are_recorded_again(scans, weights, want, monkeypatch):
    monkeypatch.setattr(graph, "MOST", 1)
    ours = made(weights)
    plans = plans_of(ours, scans)
    for _ in range(3):
        compare(ours.run(plans), want)
    assert len(ours._graphs._recorded) == 1
