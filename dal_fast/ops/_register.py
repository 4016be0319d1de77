"""Torch ops from functions.

``torch.library.custom_op`` would do, but imports ``torch._dynamo`` (about two seconds) when an op
is first called. Here a function is an op's implementation on every device as it stands; what
compiling needs (a fake, an autograd formula) is registered beside it.

torch's transforms (``torch.func`` and forward-mode AD) do not see a formula that was registered
with an op: they would take the derivative for 0 or refuse. While one of them is active, the same
formula is applied through a ``torch.autograd.Function``, which they do see: reverse mode is the
formula, ``vmap`` a loop over the batch, and forward mode is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.autograd import forward_ad

from dal_fast.errors import InputError

FORWARD_MODE = "use reverse mode (backward, torch.func.grad), or backend='reference'"
SECOND_ORDER = "use backend='reference' for second derivatives and forward mode"
_LIBRARY: Any = torch.library.Library("dal_fast", "DEF")  # type: ignore[no-untyped-call]


class Op:
    """The op ``dal_fast::<name>``; call it like the function. It may not change its inputs.

    Args:
        name: of the op.
        function: its implementation; annotations give the schema.
        remedy: what a user can do who needs a derivative that the op does not have.
        differentiable: whether a formula follows by :meth:`register_autograd`; without one, every
            derivative of the op is refused.
    """

    def __init__(
        self, name: str, function: Callable[..., Any], remedy: str, differentiable: bool
    ) -> None:
        self.name, self._remedy = f"dal_fast::{name}", remedy
        schema = torch.library.infer_schema(function, mutates_args=())
        _LIBRARY.define(name + schema, tags=(torch.Tag.pt2_compliant_tag,))
        _LIBRARY.impl(name, function, "CompositeExplicitAutograd")
        self.overload = getattr(torch.ops.dal_fast, name).default
        if not differentiable:
            self.register_autograd(self._no_derivative, setup_context=None)

    def __call__(self, *args: Any) -> Any:
        if torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0:
            return _apply(self._function, *args)
        return self.overload(*args)

    def register_fake(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Shapes and types of the outputs, for tracing; a decorator."""
        torch.library.register_fake(self.name, function, lib=_LIBRARY)
        return function

    def register_autograd(self, backward: Any, *, setup_context: Any) -> None:
        """The derivative, as ``torch.library.register_autograd`` takes it."""
        torch.library.register_autograd(
            self.name, backward, setup_context=setup_context, lib=_LIBRARY
        )
        self._function = _function_of(self, backward, setup_context)

    def no_forward_mode(self, *_: Any) -> NoReturn:
        """Refuses a forward-mode derivative."""
        self._refuse("forward-mode derivative")

    def _no_derivative(self, *_: Any) -> NoReturn:
        self._refuse("derivative")

    def _refuse(self, what: str) -> NoReturn:
        raise InputError("no-gradient", f"{self.name} has no {what}: {self._remedy}")


def _apply(function: Any, *args: Any) -> Any:
    return function.apply(*args)


# What torch.compiler.disable sets, without importing the compiler: it would trace into the
# implementation, with addresses of tensors that do not exist.
_apply._torchdynamo_disable = True  # type: ignore[attr-defined]


def _function_of(op: Op, backward: Any, setup_context: Any) -> Any:
    """The op as a ``torch.autograd.Function`` that torch's transforms know how to handle."""

    def vmap(info: Any, in_dims: Any, *args: Any) -> tuple[Any, Any]:
        """The op for each element of the batch; nested transforms are handled by the call."""
        if info.batch_size == 0:
            raise InputError("shape", f"{op.name}: vmap over an axis of length 0")
        results = [
            op(*(_element(a, axis, i) for a, axis in zip(args, in_dims, strict=True)))
            for i in range(info.batch_size)
        ]
        if isinstance(results[0], Tensor):
            return torch.stack(results), 0
        outputs = tuple(torch.stack(output) for output in zip(*results, strict=True))
        return outputs, (0,) * len(outputs)

    members = {
        "forward": staticmethod(lambda *args: op.overload(*args)),
        "setup_context": staticmethod(setup_context or (lambda ctx, inputs, output: None)),
        "backward": staticmethod(backward),
        "jvp": staticmethod(op.no_forward_mode),
        "vmap": staticmethod(vmap),
    }
    return type(op.name.rpartition(":")[2], (torch.autograd.Function,), members)


def _element(argument: Any, axis: Any, i: int) -> Any:
    """Element i of an argument along the batch's axis; anything that has none is for all."""
    batched = isinstance(argument, Tensor) and axis is not None
    return argument.select(axis, i) if batched else argument


def op(
    name: str, *, remedy: str, differentiable: bool = False
) -> Callable[[Callable[..., Any]], Op]:
    """Decorator that makes a function the op ``dal_fast::<name>``, see :class:`Op`."""
    return lambda function: Op(name, function, remedy, differentiable)
