"""TensorRT on the GPU that was asked for, without a GPU: a stand-in notes the current device."""

import contextlib
from types import SimpleNamespace

import pytest
import torch

from dal_fast import DalFastError
from dal_fast.models import DAL, DALConfig
from dal_fast.screening.runtimes import tensorrt_runtime
from dal_fast.screening.runtimes.compiled import example_inputs


class FakeTensorRT:
    """As much of the module as we use; ``calls`` holds each call with its current device."""

    __name__, __version__ = "fake", "1"

    class ILogger:
        ERROR = 1

    TensorIOMode = SimpleNamespace(INPUT="input")
    BuilderFlag = SimpleNamespace(TF32="tf32")

    def __init__(self, gpu):
        self.gpu, self.calls, self.cleared = gpu, [], []
        self.plan, self.readable, self.loadable = b"plan", True, (b"plan",)

    def note(self, call):
        self.calls.append((call, self.gpu.current))

    def Builder(self, log):
        self.note("builder")
        return SimpleNamespace(
            create_network=lambda flags: SimpleNamespace(
                get_input=lambda index: SimpleNamespace(name=str(index), shape=(1, 1, -1, -1, -1))
            ),
            create_builder_config=lambda: SimpleNamespace(
                clear_flag=self.cleared.append, add_optimization_profile=lambda profile: None
            ),
            create_optimization_profile=lambda: SimpleNamespace(set_shape=lambda *shapes: None),
            build_serialized_network=lambda network, config: self.note("build") or self.plan,
        )

    def OnnxParser(self, network, log):
        return SimpleNamespace(parse=lambda onnx: self.readable, get_error=lambda n: "bad node")

    def Runtime(self, log):
        return SimpleNamespace(deserialize_cuda_engine=self.deserialise)

    def deserialise(self, plan):
        self.note("load")
        if plan not in self.loadable:
            return None
        return SimpleNamespace(
            create_execution_context=lambda: self.note("context") or self.context(),
            num_io_tensors=2,
            get_tensor_name=lambda n: ("x", "y")[n],
            get_tensor_mode=lambda name: "input" if name == "x" else "output",
            get_tensor_dtype=lambda name: SimpleNamespace(name="FLOAT"),
        )

    def context(self):
        return SimpleNamespace(
            set_input_shape=lambda name, shape: None,
            set_tensor_address=lambda name, address: None,
            get_tensor_shape=lambda name: (1, 2),
            execute_async_v3=lambda stream: self.note("run") or True,
        )


@pytest.fixture
def gpu(monkeypatch):
    """Two GPUs of different kinds; ``current`` is what CUDA would call the current device."""
    gpu = SimpleNamespace(current=0)

    @contextlib.contextmanager
    def device(name):
        before, gpu.current = gpu.current, torch.device(name).index or 0
        yield
        gpu.current = before

    def properties(name):
        index = torch.device(name).index or 0
        return SimpleNamespace(name=f"GPU {index}", major=9, minor=index)

    empty = torch.empty
    monkeypatch.setattr(torch.cuda, "device", device)
    monkeypatch.setattr(torch.cuda, "get_device_properties", properties)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: SimpleNamespace(cuda_stream=0))
    monkeypatch.setattr(torch, "empty", lambda *size, device=None, **more: empty(*size, **more))
    return gpu


@pytest.fixture
def trt(gpu, monkeypatch):
    fake = FakeTensorRT(gpu)
    monkeypatch.setattr(tensorrt_runtime, "library", lambda: fake)
    monkeypatch.setattr(tensorrt_runtime, "convert", lambda *_: b"onnx")
    monkeypatch.setattr(tensorrt_runtime, "CompiledRuntime", lambda *args: SimpleNamespace(
        name=args[0], version=args[1], build=args[3], device=args[4]))  # fmt: skip
    return fake


@pytest.fixture
def model():
    return DAL(DALConfig(tissue_widths=(4, 8)))


def test_everything_happens_on_the_gpu_that_was_asked_for(trt, model, tmp_path):
    runtime = tensorrt_runtime.tensorrt_runtime(model, "cuda:1")
    examples = example_inputs(model)["tissue"]
    engine = runtime.build(model.part("tissue"), examples, True, tmp_path / "tissue")
    assert engine(examples).shape == (1, 2)
    assert trt.calls == [(c, 1) for c in ("builder", "build", "load", "context", "run")]
    trt.calls.clear()
    runtime.build(model.part("tissue"), examples, True, tmp_path / "tissue")  # kept
    assert trt.calls == [("load", 1), ("context", 1)]


def test_engines_of_different_gpus_are_kept_apart(trt, model):
    versions = {tensorrt_runtime.tensorrt_runtime(model, f"cuda:{n}").version for n in (0, 1)}
    assert versions == {"fake 1 GPU 0 sm_90", "fake 1 GPU 1 sm_91"}


def test_tf32_is_off(trt, model):
    tensorrt_runtime.build_plan(b"onnx", example_inputs(model)["tissue"])
    assert trt.cleared == ["tf32"]


def test_a_kept_engine_that_does_not_load_is_built_anew(trt, model, tmp_path):
    tensorrt_runtime.save(b"damaged", tmp_path / "tissue")
    runtime = tensorrt_runtime.tensorrt_runtime(model, "cuda:1")
    runtime.build(model.part("tissue"), example_inputs(model)["tissue"], True, tmp_path / "tissue")
    assert [call for call, _ in trt.calls] == ["load", "builder", "build", "load", "context"]


@pytest.mark.parametrize(
    ("broken", "message"),
    [({"readable": False}, "bad node"), ({"plan": None}, "build"), ({"loadable": ()}, "load")],
)
def test_an_engine_that_cannot_be_built_is_refused(trt, model, broken, message):
    for name, value in broken.items():
        setattr(trt, name, value)
    runtime = tensorrt_runtime.tensorrt_runtime(model, "cuda:0")
    with pytest.raises(DalFastError, match=message) as refused:
        runtime.build(model.part("tissue"), example_inputs(model)["tissue"], True, None)
    assert refused.value.code == "engine-build"
