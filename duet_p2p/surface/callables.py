"""Everything that the owner's engine may ever call, by name: one closed mapping, made at import.

A name of the table is either torch's own function, found once here by its path, or one of our own
that stands in for it. Each has a guard in front (guard.py). Nothing is looked up later, so nothing
that comes over the wire can reach an attribute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import torch
import torch.distributions
import torch.utils.data

from duet_p2p.surface import transforms
from duet_p2p.surface.datasets import DATASETS
from duet_p2p.surface.distributions import DISTRIBUTIONS, keeping_nothing
from duet_p2p.surface.guard import guarded
from duet_p2p.surface.loader import LOADERS
from duet_p2p.surface.norms import NORMS
from duet_p2p.surface.optimizers import OPTIMIZERS
from duet_p2p.surface.python import PYTHON
from duet_p2p.surface.sparse import SPARSE
from duet_p2p.surface.table import TABLE, Rule
from duet_p2p.surface.tensors import TENSORS

__all__ = ["CALLABLES", "NEEDS_CONTEXT", "original"]

NEEDS_CONTEXT: Final = frozenset(DATASETS)
"""Names that are called with the session's `Context` in front of their arguments."""

_OWN: Final = {
    **PYTHON, **TENSORS, **DATASETS, **LOADERS, **OPTIMIZERS, **transforms.FUNCTIONS,
    **DISTRIBUTIONS, **NORMS, **SPARSE,
}  # fmt: skip

# Methods that subclasses replace: called on the object, after a look at its class.
_DISPATCHED: Final[dict[str, type]] = {
    "torch.optim.Optimizer": torch.optim.Optimizer,
    "torch.optim.lr_scheduler.LRScheduler": torch.optim.lr_scheduler.LRScheduler,
    "torch.distributions.Distribution": torch.distributions.Distribution,
    "torch.utils.data.DataLoader": torch.utils.data.DataLoader,
}


def _dispatched(cls: type, attr: str) -> Callable[..., Any]:
    def run(target: Any, /, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(target, cls):
            raise TypeError(f"a {cls.__name__} is needed, not {type(target).__name__}")
        return getattr(target, attr)(*args, **kwargs)

    return run


def _property(cls: type, attr: str) -> Callable[[Any], Any]:
    def run(target: Any, /) -> Any:
        if not isinstance(target, cls):
            raise TypeError(f"a {cls.__name__} is needed, not {type(target).__name__}")
        return getattr(target, attr)

    return run


def original(name: str) -> Any:
    """The object that torch itself has under a canonical name, None if there is none."""
    target: Any = torch
    parts = name.split(".")
    if parts[0] != "torch":
        return None
    for part in parts[1:]:
        target = getattr(target, part, None)
    return target


def _function(rule: Rule) -> Callable[..., Any]:
    function = _plain(rule)
    return keeping_nothing(function) if rule.name.startswith(_LAZY) else function


def _plain(rule: Rule) -> Callable[..., Any]:
    own = _OWN.get(rule.name)
    if own is not None:
        return own
    prefix, _, short = rule.name.rpartition(".")
    if prefix == "torchvision.transforms":
        return transforms.constructor(short)
    if prefix.startswith("torchvision.transforms.") and short == "__call__":
        return transforms.apply
    if rule.form == "property":
        cls = _DISPATCHED.get(prefix) or original(prefix)
        return _property(cls, short)
    if prefix in _DISPATCHED:
        return _dispatched(_DISPATCHED[prefix], short)
    function = original(rule.name)
    if not callable(function):
        raise ValueError(f"nothing to call for {rule.name}")
    return function  # type: ignore[no-any-return]


_LAZY: Final = "torch.distributions."
CALLABLES: Final[Mapping[str, Callable[..., Any]]] = MappingProxyType(
    {rule.name: guarded(rule, _function(rule)) for rule in TABLE.values()}
)
"""What runs on the owner's side, by canonical name. Closed: this is all there is."""
