"""The compiled kernels: addresses of contiguous tensors in, results in place."""

def current_isa() -> str: ...
def set_isa(name: str) -> None: ...
def supported_isas() -> list[str]: ...
def onehot_forward(
    logits: int, levels: int, mask: int, out: int,
    batch: int, classes: int, voxels: int, dtype: int, threads: int,
) -> None: ...  # fmt: skip
def onehot_backward(
    logits: int, grad_out: int, levels: int, mask: int, grad_logits: int,
    batch: int, classes: int, voxels: int, temperature: float, dtype: int, threads: int,
) -> None: ...  # fmt: skip
