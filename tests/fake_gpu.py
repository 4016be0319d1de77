"""A GPU without a GPU: CUDA tensors that have shapes and types and no data.

Code that runs on them cannot look at a value: ``.item()``, ``.tolist()``, ``if tensor:``, boolean
indexing and ``nonzero`` raise. What waits for the device unseen, inside an operator, a list must
tell: :func:`watched` lets pass what has been looked at in torch's sources, and refuses all else,
as well as every copy between host and device.
"""

import ctypes
import shutil
import subprocess
from collections import Counter
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

GPU = "cuda:0"
needs_fake_gpu = pytest.mark.skipif(
    torch.cuda.is_available() or shutil.which("c++") is None,
    reason="a fake GPU needs a C++ compiler, and a host without a real one",
)

SYNC_FREE = """
    _adaptive_avg_pool3d _foreach_add _foreach_add_ _foreach_addcdiv_ _foreach_addcmul_
    _foreach_copy_ _foreach_div _foreach_div_ _foreach_lerp_ _foreach_mul_ _foreach_neg_
    _foreach_norm _foreach_pow _foreach_reciprocal_ _foreach_sqrt _foreach_sub _foreach_sub_
    _fused_adam_ _fused_adamw_ _log_softmax _log_softmax_backward_data _softmax
    _softmax_backward_data _to_copy _unsafe_view abs add add_ addcdiv_ addcmul addcmul_ addmm
    alias amax amin any arange argmax avg_pool3d avg_pool3d_backward
    binary_cross_entropy_with_logits bitwise_and bitwise_not bitwise_or bmm cat ceil clamp
    clamp_ clamp_max clamp_min clamp_min_ clone constant_pad_nd convolution
    convolution_backward copy_ cumsum detach diag_embed div div_ empty empty_like
    empty_strided eq exp exp_ expand fill_ flip floor_divide full full_like gather ge
    grid_sampler_3d gt index le leaky_relu leaky_relu_backward lerp_ linalg_cholesky_ex
    linalg_norm linalg_solve_triangular linalg_vector_norm log logical_and logical_or_ lt
    masked_fill masked_fill_ max max_pool3d_with_indices maximum mean min minimum mm mul mul_
    nanmedian native_group_norm native_group_norm_backward ne neg new_empty new_empty_strided
    new_full
    new_zeros nll_loss2d_backward nll_loss2d_forward ones ones_like permute pow pow_ promote_types
    reciprocal relu remainder repeat roll round rsqrt_ rsub scalar_tensor scatter_add scatter_reduce
    searchsorted select select_backward sgn sigmoid sigmoid_backward sign slice slice_backward
    sort split split_with_sizes sqrt sqrt_ square squeeze stack sub sum t tanh tanh_backward
    topk transpose unbind unsqueeze upsample_trilinear3d upsample_trilinear3d_backward view
    where zero_ zeros zeros_like
"""
"""Names of ATen operators whose CUDA implementations only launch kernels. ``linalg_solve``,
``median`` and ``nanmedian`` without an axis, ``bincount``, ``unique``, ``masked_select`` and
``repeat_interleave`` by a tensor are not among them: they read a value back."""
_LAUNCHES = frozenset(SYNC_FREE.split())
_ONLY_WITH_AXIS = {"nanmedian"}


class Synchronises(AssertionError):
    """The device would have had to be waited for."""


@cache
def _guard():
    """Compile and load ``fake_gpu.cpp`` once a process."""
    import tempfile

    torch_folder = Path(torch.__file__).parent
    flags = ["-std=c++20", "-w", "-shared", "-fPIC", f"-I{torch_folder / 'include'}"]
    source = Path(__file__).with_suffix(".cpp")
    link = [f"-L{torch_folder / 'lib'}", "-lc10"]
    with tempfile.TemporaryDirectory() as folder:  # what is loaded needs no file any more
        library = Path(folder) / "fake_gpu.so"
        subprocess.run(["c++", *flags, source, "-o", library, *link], check=True, timeout=120)
        return ctypes.CDLL(str(library))


@contextmanager
def fake_gpu():
    """Tensors that are made inside have no data."""
    if torch.version.cuda is None:
        _guard()
    with FakeTensorMode() as mode:
        yield mode


def empty(shape, dtype=torch.float32, device=GPU):
    """A tensor on the fake GPU."""
    return torch.empty(tuple(shape), dtype=dtype, device=device)


def like(tensor, batch=None, device=GPU):
    """The same on the fake GPU, with another number of scans."""
    shape = tensor.shape if batch is None else (batch, *tensor.shape[1:])
    return empty(shape, tensor.dtype, device)


def onto_fake_gpu(module, device=GPU):
    """The module's parameters and buffers, on the fake GPU."""
    for part in module.modules():
        for name, tensor in part._parameters.items():
            if tensor is not None:
                fake = like(tensor, device=device)
                part._parameters[name] = torch.nn.Parameter(fake, tensor.requires_grad)
        for name, tensor in part._buffers.items():
            if tensor is not None:
                part._buffers[name] = like(tensor, device=device)
    return module


class _Watch(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.calls = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        space, _, rest = str(func).partition(".")
        name, _, overload = rest.partition(".")
        self.calls[name] += 1
        on_host = bool(tensors) and all(t.device.type == "cpu" and not t.dim() for t in tensors)
        if space == "aten" and not on_host:  # a number of the host's own
            _check(name, overload, tensors, args)
        out = func(*args, **kwargs)
        made = [t for t in tree_leaves(out) if isinstance(t, torch.Tensor)]
        devices = {t.device.type for t in [*tensors, *made] if t.dim() or t.device.type != "cpu"}
        if len(devices) > 1:
            raise Synchronises(f"{func} copies between host and device")
        return out


def _check(name, overload, tensors, args):
    if name not in _LAUNCHES or (name in _ONLY_WITH_AXIS and "dim" not in overload):
        raise Synchronises(f"aten.{name}.{overload} is not known to leave the device alone")
    if name == "index" and any(t.dtype in (torch.bool, torch.uint8) for t in tensors[1:]):
        raise Synchronises("boolean indexing")


@contextmanager
def watched():
    """Refuse whatever waits for the device; yields how often each operator was called."""
    with _Watch() as watch:
        yield watch.calls
