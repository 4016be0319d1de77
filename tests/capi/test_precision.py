"""Networks in bfloat16: by name, where the processor has it, and never otherwise."""

from pathlib import Path

import pytest
from capi import native


def has_bf16():
    cpu = Path("/proc/cpuinfo")
    return cpu.is_file() and "avx512_bf16" in cpu.read_text("utf-8")


def test_bf16_is_asked_for_by_name(lib, bundle, engine_path, engine, brain):
    scan, mask, affine = brain
    if not has_bf16():
        with pytest.raises(native.Refused, match="no arithmetic of bfloat16") as refused:
            native.Engine(lib, bundle, engine_path, engine=b"openvino-bf16")
        assert refused.value.status == native.UNSUPPORTED
        return
    scores = {}
    half = native.Engine(lib, bundle, engine_path, engine=b"openvino-bf16")
    for name, opened in (("f32", engine), ("bf16", half)):
        session = native.Session(opened, max_shape=scan.shape)
        scores[name] = session.run(scan, affine, mask)[0].score
        session.close()
    assert lib.dal_engine_fact(half.handle, b"engine").endswith(b", bf16")
    assert not lib.dal_engine_fact(engine.handle, b"engine").endswith(b", bf16")
    half.close()
    assert scores["bf16"] != scores["f32"]
    assert scores["bf16"] == pytest.approx(scores["f32"], rel=0.2)


def test_no_other_engine_takes_the_place_of_one_that_is_not_there(lib, bundle, engine_path):
    with pytest.raises(native.Refused, match="there are openvino and openvino-bf16"):
        native.Engine(lib, bundle, engine_path, engine=b"openvino-int3")
