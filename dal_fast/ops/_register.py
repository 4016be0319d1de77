"""Torch ops from functions.

``torch.library.custom_op`` would do, but imports ``torch._dynamo`` (about two seconds) when an op
is first called. Here a function is an op's implementation on every device as it stands; what
compiling needs (a fake, an autograd formula) is registered beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

_LIBRARY: Any = torch.library.Library("dal_fast", "DEF")  # type: ignore[no-untyped-call]


class Op:
    """The op ``dal_fast::<name>``; call it like the function. It may not change its inputs.

    Args:
        name: of the op.
        function: its implementation; annotations give the schema.
        differentiable: a formula follows by :meth:`register_autograd`; without one, a backward
            pass through the op is refused.
    """

    def __init__(self, name: str, function: Callable[..., Any], differentiable: bool) -> None:
        self.name = f"dal_fast::{name}"
        schema = torch.library.infer_schema(function, mutates_args=())
        _LIBRARY.define(name + schema, tags=(torch.Tag.pt2_compliant_tag,))
        _LIBRARY.impl(name, function, "CompositeExplicitAutograd")
        self.overload = getattr(torch.ops.dal_fast, name).default
        if not differentiable:
            self.register_autograd(self._refuse, setup_context=None)

    def __call__(self, *args: Any) -> Any:
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

    def _refuse(self, *_: Any) -> None:
        raise RuntimeError(f"{self.name} cannot be differentiated")


def op(name: str, *, differentiable: bool = False) -> Callable[[Callable[..., Any]], Op]:
    """Decorator that makes a function the op ``dal_fast::<name>``, see :class:`Op`."""
    return lambda function: Op(name, function, differentiable)
