"""The chain on a GPU whose tensors have no data: nothing between upload and download waits for it.

This shows that the chain can be launched ahead, and recorded as a CUDA graph, as far as Python and
torch are concerned. It runs no kernel.
"""

import pytest
import torch
from fake_gpu import (
    GPU,
    Synchronises,
    empty,
    fake_gpu,
    like,
    needs_fake_gpu,
    onto_fake_gpu,
    watched,
)
from phantom import phantom, save
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException

from dal_fast.models import DAL, DALConfig
from dal_fast.screening.calibration import Calibration
from dal_fast.screening.device import chain
from dal_fast.screening.device.plan import plan
from dal_fast.screening.device.precision import in_precision
from dal_fast.screening.device.runner import tree
from dal_fast.screening.device.score import Tables
from dal_fast.screening.scan import load_scan

pytestmark = needs_fake_gpu
FULL = DALConfig(tissue_widths=(4, 8), tissue_input="evidence", residual_head_widths=(4, 8))
DEFAULT = chain.Options("enhanced", 0, 1.0)
REFUSED = (Synchronises, DataDependentOutputException, DynamicOutputShapeException)


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    data, affine, _ = phantom("LPS", (3.0, 3.0, 4.0))
    return load_scan(save(tmp_path_factory.mktemp("scan") / "scan.nii.gz", data, affine))


def launch(scan, model, options=DEFAULT):
    """The chain of three scans; what it called, and what it left."""
    planned = plan(scan, model, None)
    tables = Tables.of(Calibration(), "cpu")
    with fake_gpu():
        model = onto_fake_gpu(model).eval()
        tables = tree(like, tables)
        inputs = tree(lambda t: like(t, batch=3), planned.inputs)
        with watched() as calls, torch.no_grad():
            outputs = chain.run(model, tables, options, planned.bucket, inputs)
    return calls, outputs, planned.bucket


@pytest.mark.parametrize(
    "config",
    [
        FULL,
        DALConfig(tissue_widths=(4, 8)),
        DALConfig(tissue_widths=(4, 8), tissue_mode="nearest_level"),
        DALConfig(tissue_widths=(4, 8), anatomy_widths=(4, 8), recoupler="film", modality="means"),
        DALConfig(tissue_widths=(4, 8), anatomy_widths=(4, 8), recoupler="edges_closed_form"),
    ],
    ids=["full", "scan", "levels", "film", "edges"],
)
def test_nothing_waits_for_the_gpu(scan, config):
    calls, outputs, bucket = launch(scan, DAL(config))
    assert outputs.anomaly.device == torch.device(GPU)
    assert outputs.anomaly.shape == outputs.above.shape == (3, *bucket.scan)
    assert outputs.tissue.shape == (3, *bucket.model)
    assert calls["tfce3d"] == 2
    assert calls["remove_small"] >= 1
    assert calls["signed_residual"] == calls["cluster_heights"] == 2
    assert calls["box_mean"] == 9  # twice: of structure, either sign, surroundings, and once more
    assert calls["highest_nearby"] == (4 if config is FULL else 2)
    assert calls["instance_norm"] >= 6
    assert sum(calls.values()) > 1000


@pytest.mark.parametrize("options", [("enhanced_positive", 3, 0.5), ("enhanced_negative", 5, 2.0)])
def test_nor_with_other_options(scan, options):
    calls, _, _ = launch(scan, DAL(FULL), chain.Options(*options))
    assert calls["tfce3d"] == calls["median3d"] == 1


def test_nor_of_an_oblique_scan(tmp_path):
    data, affine, _ = phantom("RAS", (3.0, 3.0, 4.0))
    affine[:2, :2] = affine[:2, :2] @ torch.tensor([[0.98, -0.2], [0.2, 0.98]]).numpy()
    scan = load_scan(save(tmp_path / "scan.nii.gz", data, affine))
    calls, _, bucket = launch(scan, DAL(FULL))
    assert bucket.to_model is None
    assert calls["grid_sampler_3d"] == 3


@pytest.mark.parametrize("precision", ["bfloat16", "tf32"])
def test_nor_in_fewer_bits(scan, precision):
    model = in_precision(DAL(FULL), precision)
    calls, outputs, _ = launch(scan, model)
    assert outputs.anomaly.dtype == torch.float32
    assert calls["convolution"] > 10


PLANTED = {
    "item": lambda x: x[0].item(),
    "float": lambda x: float(x[0]),
    "if": lambda x: bool((x > 0).any()),
    "tolist": lambda x: x.tolist(),
    "cpu": lambda x: x.cpu(),
    "numpy": lambda x: x.numpy(),
    "nonzero": lambda x: x.nonzero(),
    "boolean index": lambda x: x[x > 0],
    "boolean assignment": lambda x: x.__setitem__(x > 0, 0),
    "constant": lambda x: torch.tensor([1.0, 2.0], device=GPU),
    "upload": lambda x: x + torch.ones(x.shape).to(GPU),
    "median": lambda x: x.nanmedian(),
    "solve": lambda x: torch.linalg.solve(empty((3, 3)), empty((3,))),
    "unique": lambda x: x.unique(),
    "bincount": lambda x: x.long().bincount(),
    "repeat": lambda x: x.repeat_interleave(x.long()),
}


@pytest.mark.parametrize("name", PLANTED)
def test_what_waits_is_refused(name):
    with fake_gpu():
        x = empty((5,))
        with watched() as calls, torch.no_grad():
            assert (x * 2).sum().shape == ()
            with pytest.raises((*REFUSED, RuntimeError, TypeError)):
                PLANTED[name](x)
        assert calls["mul"] == 1


def test_a_value_read_within_the_chain_is_noticed(scan, monkeypatch):
    def mean_of_the_top(values, mask, fraction):
        return values.new_full((len(values),), float(values.max())).double()

    launch(scan, DAL(DALConfig(tissue_widths=(4, 8))))
    monkeypatch.setattr(chain, "top_mean", mean_of_the_top)
    with pytest.raises(REFUSED):
        launch(scan, DAL(DALConfig(tissue_widths=(4, 8))))
