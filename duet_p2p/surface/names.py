"""From a function that torch hands to ``__torch_function__`` to its canonical name.

By identity first: functions, builtins and descriptors compare equal to themselves even where torch
makes them afresh on each access. Then by qualified name, for builtins that live in a private place
(``torch._C._nn``, ``torch._VF``) under their own name. Properties arrive as the ``__get__`` and
``__set__`` of their descriptor.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import torch
import torch.distributions
import torch.utils.data

from duet_p2p.surface.table import TABLE, find

__all__ = ["NAMES", "name_of"]

_PLACES: Final = {
    "torch._C._nn": "torch.nn.functional",
    "torch._C._VariableFunctions": "torch",
    "torch._C._linalg": "torch.linalg",
    "torch._C._special": "torch.special",
    "torch._C._fft": "torch.fft",
    "torch._C.TensorBase": "torch.Tensor",
    "_VariableFunctionsClass": "torch",
    "_TensorBase": "torch.Tensor",
    "TensorBase": "torch.Tensor",
    "Tensor": "torch.Tensor",
}


def _object(name: str) -> Any:
    target: Any = torch
    for part in name.split(".")[1:]:
        target = getattr(target, part, None)
    return target


def _names() -> dict[Any, str]:
    names: dict[Any, str] = {}
    for rule in TABLE.values():
        if not rule.name.startswith("torch."):
            continue
        if rule.form == "property":
            descriptor = _object(rule.name)
            getter = getattr(descriptor, "__get__", None)
            if getter is not None:
                names[getter] = rule.name
            continue
        if rule.form == "setter":
            names[_object(rule.name.removesuffix("=")).__set__] = rule.name
            continue
        target = _object(rule.name)
        if callable(target):
            names.setdefault(target, rule.name)
    return names


NAMES: Final[Mapping[Any, str]] = MappingProxyType(_names())


def name_of(func: Any) -> str | None:
    """The canonical name of a torch function, method or property, None if it is not offered."""
    try:
        name = NAMES.get(func)
    except TypeError:  # not hashable
        return None
    if name is not None:
        return name
    short = getattr(func, "__name__", "")
    if not short or (short.startswith("__") and not short.endswith("__")):
        return None
    qualified = getattr(func, "__qualname__", "").rpartition(".")[0]
    for place in (getattr(func, "__module__", None), qualified):
        if place:
            rule = find(f"{_PLACES.get(place, place)}.{short}")
            if rule is not None:
                return rule.name
    return None
