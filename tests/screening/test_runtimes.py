"""Compiled engines: the same map as eager torch, and refusals where they are not."""

import copy
import importlib
import os
from types import SimpleNamespace

import pytest
import torch

from dal_fast import _C, DalFastError
from dal_fast.models import DAL, BrainNet, BrainNetConfig, DALConfig
from dal_fast.screening.runtimes import compiled, make_runtime

ENGINES = ["openvino", "onnx"]
ONNX_FOR_LONG = ["openvino", pytest.param("onnx", marks=pytest.mark.long)]


def _need(engine):
    pytest.importorskip({"onnx": "onnxruntime"}.get(engine, engine))
    if engine == "onnx":
        pytest.importorskip("onnxscript")


@pytest.fixture(scope="module", params=["closed_form", "film"])
def model(request):
    torch.manual_seed(0)
    widths = dict.fromkeys(("tissue_widths", "anatomy_widths", "residual_head_widths"), (4, 8))
    return DAL(DALConfig(recoupler=request.param, **widths)).eval()


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.getbasetemp() / "engines"  # shared: building is slow
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


def _scan(space=(24, 32, 18)):
    g = torch.Generator().manual_seed(1)
    x = torch.rand((1, 1, *space), generator=g)
    mask = torch.zeros((1, 1, *space), dtype=torch.bool)
    mask[..., 3:-4, 2:-5, 4:-3] = True
    return x * mask, mask


@pytest.mark.parametrize(
    ("model", "engine"),
    [
        ("closed_form", "openvino"),
        ("film", "openvino"),
        pytest.param("film", "onnx", marks=pytest.mark.long),
        pytest.param("closed_form", "onnx", marks=pytest.mark.long),
    ],
    indirect=["model"],
)
def test_same_result_as_eager_torch_for_any_size(model, engine):
    _need(engine)
    served = make_runtime(engine, copy.deepcopy(model), "cpu")
    assert served.name == engine
    for space in ((24, 32, 18), (40, 26, 50)):
        x, mask = _scan(space)
        eager = make_runtime("torch", copy.deepcopy(model), "cpu").run(x, mask)
        other = served.run(x, mask)
        worst = (eager.pseudo_healthy - other.pseudo_healthy).abs().max()
        assert worst < 1e-3
        assert (eager.probabilities - other.probabilities).abs().max() < 1e-3
        assert (eager.evidence - other.evidence).abs().max() < 1e-3


@pytest.mark.parametrize("engine", ENGINES)
def test_a_brain_extraction_network_has_one_shape(engine):
    _need(engine)
    torch.manual_seed(0)
    net = BrainNet(BrainNetConfig(shape=(16, 32, 24), widths=(4, 8)))
    served = make_runtime(engine, copy.deepcopy(net), "cpu")
    heads = torch.rand((2, 1, 1, 16, 32, 24), generator=torch.Generator().manual_seed(1))
    for head in heads:
        eager = make_runtime("torch", copy.deepcopy(net), "cpu").distance(head)
        assert eager.shape == head.shape
        assert (served.distance(head) - eager).abs().max() < 1e-3 * eager.abs().max()


@pytest.mark.parametrize("engine", ONNX_FOR_LONG)
def test_second_start_uses_what_the_first_kept(engine, monkeypatch, tmp_path):
    _need(engine)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    torch.manual_seed(0)
    model = DAL(DALConfig(tissue_widths=(4, 8)))
    make_runtime(engine, copy.deepcopy(model), "cpu")
    kept = sorted(p for p in tmp_path.rglob("network.*"))
    assert kept
    assert {p.parent.parent for p in kept} == {tmp_path / "dal_fast" / engine}
    for path in kept:
        os.utime(path.parent, (0, 0))
    module = importlib.import_module(f"dal_fast.screening.runtimes.{engine}_runtime")

    def never(*_):
        raise AssertionError("built again")

    monkeypatch.setattr(module, "convert", never)
    x, mask = _scan()
    first = make_runtime(engine, copy.deepcopy(model), "cpu").run(x, mask)
    assert first.pseudo_healthy.isfinite().all()
    assert all(path.parent.stat().st_mtime > 0 for path in kept)  # they count as used
    with pytest.raises(AssertionError, match="built again"):  # other weights, another engine
        make_runtime(engine, DAL(DALConfig(tissue_widths=(4, 8))), "cpu")
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for path in kept:
        path.write_bytes(b"damaged")
    again = make_runtime(engine, copy.deepcopy(model), "cpu").run(x, mask)
    assert torch.equal(first.pseudo_healthy, again.pseudo_healthy)


@pytest.mark.parametrize("engine", ONNX_FOR_LONG)
def test_an_unwritable_cache_is_no_obstacle(engine, monkeypatch, tmp_path):
    _need(engine)
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    runtime = make_runtime(engine, DAL(DALConfig(tissue_widths=(4, 8))), "cpu")
    assert runtime.run(*_scan()).pseudo_healthy.isfinite().all()


def test_an_engine_that_computes_something_else_is_refused():
    def wrong(net, examples, free, folder):
        return lambda inputs: net(inputs[0]).detach() * 1.01

    with pytest.raises(DalFastError) as refused:
        compiled.CompiledRuntime("wrong", "1", DAL(DALConfig(tissue_widths=(4, 8))), wrong)
    assert refused.value.code == "engine-parity"


def test_bfloat16_is_another_runtime(model):
    pytest.importorskip("openvino")
    if not _C.has_bf16():
        with pytest.raises(DalFastError, match="no arithmetic of bfloat16") as refused:
            make_runtime("openvino-bf16", copy.deepcopy(model), "cpu")
        assert refused.value.code == "runtime-unavailable"
        return
    served = make_runtime("openvino-bf16", copy.deepcopy(model), "cpu")
    assert served.name == "openvino-bf16"
    x, mask = _scan()
    eager = make_runtime("torch", copy.deepcopy(model), "cpu").run(x, mask)
    gap = (eager.probabilities - served.run(x, mask).probabilities).abs().max()
    assert 1e-5 < gap < 0.1


def test_a_processor_without_bfloat16_is_refused(monkeypatch):
    openvino_runtime = importlib.import_module("dal_fast.screening.runtimes.openvino_runtime")
    pytest.importorskip("openvino")
    monkeypatch.setattr(openvino_runtime, "_C", SimpleNamespace(has_bf16=lambda: False))
    with pytest.raises(DalFastError, match="no arithmetic of bfloat16") as refused:
        make_runtime("openvino-bf16", DAL(DALConfig(tissue_widths=(4, 8))), "cpu")
    assert refused.value.code == "runtime-unavailable"


def test_bfloat16_has_a_bound_of_its_own():
    def wrong(net, examples, free, folder):
        return lambda inputs: net(inputs[0]).detach() * 1.05

    with pytest.raises(DalFastError, match=r"0\.04 is allowed") as refused:
        compiled.CompiledRuntime(
            "wrong", "1", DAL(DALConfig(tissue_widths=(4, 8))), wrong, tolerance=0.04
        )
    assert refused.value.code == "engine-parity"


def test_no_other_precision_is_there():
    with pytest.raises(DalFastError, match="there is no runtime 'openvino-int8'"):
        make_runtime("openvino-int8", DAL(DALConfig(tissue_widths=(4, 8))), "cpu")


def test_tensorrt_needs_a_gpu(monkeypatch):
    from dal_fast.screening import runtimes

    monkeypatch.setattr(runtimes, "_installed", lambda name: True)
    with pytest.raises(DalFastError, match="GPU") as refused:
        make_runtime("tensorrt", DAL(DALConfig(tissue_widths=(4, 8))), "cpu")
    assert refused.value.code == "device-unavailable"


def test_what_is_not_installed_is_said(monkeypatch):
    from dal_fast.screening import runtimes

    monkeypatch.setattr(runtimes, "_installed", lambda name: False)
    model = DAL(DALConfig(tissue_widths=(4, 8)))
    assert make_runtime("auto", model, "cpu").name == "torch"
    for engine in (*ENGINES, "openvino-bf16", "tensorrt"):
        extra = engine.removesuffix("-bf16")
        with pytest.raises(DalFastError, match=rf"pip install 'dal_fast\[{extra}\]'") as refused:
            make_runtime(engine, model, "cpu")
        assert refused.value.code == "runtime-unavailable"
