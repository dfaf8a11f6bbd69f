"""torch without its compiler, which shape inference and optimizers would load for nothing.

The meta kernels of almost every operation, and every optimizer, are marked "the compiler shall not
look in here". The mark is made at the first call of each of them by asking `torch._dynamo`, whose
import takes about 1.4 s of CPU. Nothing is ever compiled here, so:

* `leave_out` tells the functions that inference runs through that they are marked already;
* `stand_in` puts a module in the compiler's place that answers what optimizers ask and becomes the
  real one at any other question. Only for the engine's own process: a notebook is its user's.

If torch changes how this works nothing breaks, the compiler is just loaded again; a test says so.
"""

from __future__ import annotations

import functools
import gc
import importlib
import inspect
import sys
import threading
from collections.abc import Callable
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final

from torch import _compile

__all__ = ["leave_out", "preload", "stand_in"]

_COMPILER: Final = "torch._dynamo"
_MARK: Final = "__dynamo_disable"
# Optimizers are marked too; a scientist may compile one of their own, so those stay as they are.
_OF_INFERENCE: Final = ("torch._refs", "torch._prims", "torch._decomp", "torch._meta")
# What the first check of a size imports, 0.6 s: the meta kernels cannot do without.
_OF_SIZES: Final = "torch.fx.experimental.symbolic_shapes"


@functools.cache
def leave_out() -> int:
    """Lets shape inference run without the compiler.

    Returns:
        How many functions were told so; 0 if the compiler is loaded already.
    """
    if _COMPILER in sys.modules:
        return 0
    marked = _code_of_marked()
    told = 0
    for function in gc.get_referrers(marked) if marked else ():
        if type(function) is not FunctionType:
            continue
        inner = inspect.getclosurevars(function).nonlocals.get("fn")
        if type(inner) is FunctionType and inner.__module__.startswith(_OF_INFERENCE):
            setattr(inner, _MARK, inner)
            told += 1
    return told


def stand_in() -> None:
    """Lets everything run without the compiler, for a process in which nobody compiles."""
    sys.modules.setdefault(_COMPILER, _StandIn(_COMPILER))


def preload() -> None:
    """Loads what the first shape inference needs, in a thread of its own; returns at once."""
    threading.Thread(target=_load, name="duet-preload", daemon=True).start()


def _load() -> None:
    leave_out()
    importlib.import_module(_OF_SIZES)


class _StandIn(ModuleType):
    """Answers what is asked of the compiler when there is nothing to compile."""

    @staticmethod
    def disable(function: Callable[..., Any], *_: Any, **__: Any) -> Callable[..., Any]:
        """The function as it is."""
        return function

    @staticmethod
    def graph_break(*_: Any, **__: Any) -> None:
        """There is no graph."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(_COMPILER) is self:
            del sys.modules[_COMPILER]
        return getattr(importlib.import_module(_COMPILER), name)


def _code_of_marked() -> CodeType | None:
    """The code that all marked functions share."""
    constants = _compile._disable_dynamo.__code__.co_consts
    found = [c for c in constants if isinstance(c, CodeType) and _MARK in c.co_consts]
    return found[0] if len(found) == 1 else None
