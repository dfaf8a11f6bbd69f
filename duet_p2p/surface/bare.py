"""What a training loop calls, without what torch wraps around it for profilers and compilers.

Of a small step a good part goes into that: `step` and `zero_grad` open a record for the profiler
and look for hooks, `backward` looks at gradients that nobody gave. Nobody profiles or compiles in
an engine, and the surface sets no hooks. So here is the same arithmetic by the shorter way. Where
an object is not as torch makes it (a scheduler counts its steps, a class has a step of its own) or
torch has changed, the call is torch's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch.optim import Optimizer
from torch.optim import optimizer as of_torch

__all__ = ["backward", "step", "zero_grad"]

_HOOKS: Final = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")
_EVERYWHERE: Final = [
    getattr(of_torch, f"_global_optimizer_{when}_hooks", {"unknown": None})
    for when in ("pre", "post")
]
_bare: Final[dict[type, tuple[Any, Callable[..., Any] | None, bool]]] = {}
"""Of each class its `step`, what torch wrapped, and whether that still sets the grad mode."""


def step(optimizer: Optimizer) -> Any:
    """`optimizer.step()`."""
    cls, own = type(optimizer), vars(optimizer)
    known = _bare.get(cls)
    if known is None or known[0] is not cls.step:
        known = _bare[cls] = _unwrapped(cls)
    _, inner, sets_mode = known
    if inner is None or "step" in own or any(_EVERYWHERE):
        return optimizer.step()
    if own[_HOOKS[0]] or own[_HOOKS[1]]:
        return optimizer.step()
    if sets_mode or optimizer.defaults.get("differentiable") is not False:
        return cls.step.__wrapped__(optimizer)  # type: ignore[attr-defined]
    with torch.no_grad():
        return inner(optimizer)


def _unwrapped(cls: type[Optimizer]) -> tuple[Any, Callable[..., Any] | None, bool]:
    outer: Any = cls.step
    wrapped = getattr(outer, "__wrapped__", None)
    if not getattr(outer, "hooked", False) or wrapped is None:
        return outer, None, True
    inner = getattr(wrapped, "__wrapped__", None)
    if inner is None or wrapped.__code__.co_name != "_use_grad":
        return outer, wrapped, True
    return outer, inner, False


def zero_grad(optimizer: Optimizer, set_to_none: Any = True) -> None:
    """`optimizer.zero_grad(set_to_none)`."""
    if set_to_none is not True or type(optimizer).zero_grad is not Optimizer.zero_grad:
        optimizer.zero_grad(set_to_none)
        return
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


def backward(loss: torch.Tensor) -> None:
    """`loss.backward()`."""
    if _run is None or type(loss) is not torch.Tensor or loss.numel() != 1 or not _is_usual(loss):
        loss.backward()  # type: ignore[no-untyped-call]
        return
    _run((loss,), (torch.ones_like(loss),), False, False, (), True, True)


def _is_usual(loss: torch.Tensor) -> bool:
    return loss.requires_grad and loss.dtype.is_floating_point and loss.layout is torch.strided


_engine: Final = getattr(torch.autograd.Variable, "_execution_engine", None)
_run: Final[Callable[..., Any] | None] = getattr(_engine, "run_backward", None)
