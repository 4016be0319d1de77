"""The doctor tries what it says."""

import pytest
from tiny import needs_default_weights

from dal_fast import context, doctor, weights
from dal_fast.screening import runtimes
from dal_fast.screening.runtimes import onnx_runtime, torch_runtime


def lines_of(section):
    return {name: (value, good) for name, value, good in section}


@needs_default_weights
def test_all_is_well(monkeypatch):
    monkeypatch.setattr(runtimes, "_installed", lambda name: False)  # torch is the quickest
    lines, healthy = doctor.report()
    text = "\n".join(lines)
    assert healthy
    assert lines[-1] == "ready to screen"
    assert "torch on cpu" in text
    assert f"of which {context.available_cores()} may be used" in text
    assert "problem" not in text


@needs_default_weights
def test_a_model_that_does_not_run_is_no_readiness(monkeypatch):
    def broken(self, x, mask):
        raise RuntimeError("could not create a primitive")

    monkeypatch.setattr(runtimes, "_installed", lambda name: False)
    monkeypatch.setattr(torch_runtime.TorchRuntime, "run", broken)
    lines, healthy = doctor.report()
    assert not healthy
    assert "problem: RuntimeError: could not create a primitive" in "\n".join(lines)
    assert lines[-1].startswith("NOT ready")


def test_missing_weights(monkeypatch, tmp_path):
    monkeypatch.setitem(weights.PACKAGED, "default", tmp_path / "none.safetensors")
    problems = [v for v in lines_of(doctor._screening()).values() if "problem" in v[0]]
    assert [(v.count("problem [weights-missing]"), good) for v, good in problems] == [(1, False)]


def test_a_cache_that_cannot_be_written_is_said(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    value, good = lines_of(doctor._files())["cache"]
    assert "cannot be written" in value
    assert "engines are compiled anew" in value
    assert good  # slower, but nothing is missing
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert lines_of(doctor._files())["cache"] == (str(tmp_path / "dal_fast"), True)


def test_engines_are_loaded(monkeypatch):
    def broken():
        raise OSError("libcudart.so: cannot open shared object file")

    monkeypatch.setattr(onnx_runtime, "library", broken)
    monkeypatch.setattr(runtimes, "_installed", lambda name: name == "onnx")
    engines = lines_of(doctor._engines())
    assert engines["openvino"][0].startswith("no: runtime 'openvino' is not installed")
    assert engines["onnx"][0].startswith("no: it is installed, but does not load: OSError: lib")


@pytest.mark.parametrize("name", ["openvino", "onnx"])
def test_an_engine_that_loads(name):
    pytest.importorskip({"onnx": "onnxruntime"}.get(name, name))
    if name == "onnx":
        pytest.importorskip("onnxscript")
    assert doctor._engine(name).startswith("yes, ")
