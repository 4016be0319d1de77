"""Volumes for the stages of the chain, and one call in torch and in C++."""

from contextlib import contextmanager
from functools import cache
from itertools import product

import torch
from brains import probabilities, structures
from torch.nn.functional import avg_pool3d, pad

from dal_fast import context

SHAPES = [(64, 80, 48), (17, 33, 21), (9, 5, 40), (1, 1, 1), (3, 1, 2)]
MEANS = {"T2w": (0.9, 0.55, 0.4), "FLAIR": (0.15, 0.6, 0.5), "T1w": (0.2, 0.5, 0.8)}


def reference(call, *inputs, double=False):
    """What torch makes of the inputs, in float32 or in float64."""
    if double:
        inputs = [t.double() if isinstance(t, torch.Tensor) and t.is_floating_point() else t
                  for t in inputs]  # fmt: skip
    with context.use(backend="reference"):
        return call(*inputs)


def reference_parts(call, *inputs, double=False):
    """The tensors of :func:`reference`."""
    return parts(reference(call, *inputs, double=double))


def everywhere(call, *inputs):
    """The tensors of the compiled stage: the same bits everywhere, every element written."""
    found = []
    for name, threads in product(context.supported_instruction_sets(), (1, 3)):
        with context.use(backend="cpu", instruction_set=name, threads=threads), poisoned():
            found.append(parts(call(*inputs)))
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert torch.equal(a, b)
    assert all(t.isfinite().all() for t in found[0])
    return found[0]


@contextmanager
def poisoned():
    """Uninitialised tensors start as NaN, or as True."""
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def far(a, b):
    """Greatest difference."""
    return float((a.double() - b.double()).abs().max()) if a.numel() else 0.0


def parts(result):
    """The tensors of a result, in a fixed order."""
    if isinstance(result, torch.Tensor):
        return [result]
    values = result if isinstance(result, tuple | list) else vars(result).values()
    return [t for t in values if isinstance(t, torch.Tensor)]


def noise(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@cache
def random_case(shape, seed=0):
    """x, phi, p and mask without any anatomy: blobs of three tissues in a random mask."""
    smooth = noise((1, 4, *shape), seed)
    for _ in range(3):
        smooth = avg_pool3d(pad(smooth, [1] * 6), 3, 1)
    mask = smooth[:, 3:] > -0.05
    p = (40 * smooth[:, :3]).softmax(1) * mask
    phi = (p * torch.tensor(MEANS["T2w"]).view(1, 3, 1, 1, 1)).sum(1, keepdim=True)
    x = (phi + 0.05 * noise(phi.shape, seed + 1)).clamp(0, 1) * mask
    return x, phi, p, mask


@cache
def phantom(contrast, seed=0, space=(64, 80, 64)):
    """Scan, tissue probabilities and mask of a brain with a bias field and a lesion."""
    maps = structures(space)
    p, mask = probabilities(maps), maps > 0
    axes = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in space), indexing="ij")
    field = (0.2 * axes[0] * axes[1] + 0.15 * axes[2] - 0.1 * axes[1] ** 2).exp()
    healthy = torch.einsum("k,nkdhw->ndhw", torch.tensor(MEANS[contrast]), p)[:, None]
    x = healthy * field + 0.03 * noise(healthy.shape, seed)
    x[..., 20:29, 30:41, 25:36] += 0.3
    return x.clamp(0.01, 1) * mask, p, mask
