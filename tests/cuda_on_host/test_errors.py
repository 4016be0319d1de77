"""CUDA errors: none is ignored, none is held against a call that did not cause it."""

import ctypes

import pytest
from cuda_on_host import build

pytestmark = pytest.mark.skipif(bool(build.why_not()), reason=build.why_not())

HERE = build.HERE
KERNELS = ("onehot", "median3d", "ssim_l1", "tfce3d", "voxel_metrics")
OPS = ("onehot_forward", "onehot_backward", "median3d", "ssim_map", "ssim_map, any radius")


@pytest.fixture(scope="module")
def errors():
    for name in KERNELS:
        source = build.ROOT / "kernels" / name / f"{name}_cuda.cu"
        ctypes.CDLL(str(build.library("fast", source)), ctypes.RTLD_GLOBAL)
    library = ctypes.CDLL(str(build.library("fast", HERE / "kernels" / "errors.cu")))
    for name in ("many_volumes", "after_an_earlier_error", "once_more", "on_device"):
        getattr(library, name).restype = ctypes.c_char_p
    library.error_left()
    return library


@pytest.mark.parametrize("op", [*OPS, "tfce3d", "score_histogram"])
def test_more_blocks_than_a_grid_has_are_refused(errors, op):
    """2^32 + 1 volumes were one block of a grid whose size had lost its upper half."""
    said = errors.many_volumes(op.encode()).decode()
    assert "more than 2147483647 blocks" in said
    assert not errors.error_left()


def test_an_earlier_error_is_told_as_such_and_once(errors):
    said = errors.after_an_earlier_error().decode()
    assert said.startswith("an earlier CUDA call failed: ")
    assert errors.once_more() == b""
    assert not errors.error_left()


def test_a_device_that_is_not_there_is_refused(errors):
    assert errors.on_device(0) == b""
    assert errors.on_device(3).decode().startswith("cudaSetDevice(3): ")
    assert not errors.error_left()
