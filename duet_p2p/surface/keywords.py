"""torch's second names of arguments, ``axis`` for ``dim`` and NumPy's like it, made plain.

torch's functions of C take NumPy's names too. Checks and record rules read arguments by one name,
so both sides put the plain one in its place before anything looks at a call.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import BuiltinFunctionType, MappingProxyType
from typing import Any, Final

import torch

__all__ = ["plain_keywords"]

_PLAIN: Final[Mapping[str, str]] = MappingProxyType(
    {
        "axis": "dim",
        "keepdims": "keepdim",
        "x": "input",
        "a": "input",
        "x1": "input",
        "self": "input",
        "x2": "other",
    }
)
_PREFIXES: Final = ("torch.", "torch.Tensor.", "torch.linalg.", "torch.fft.", "torch.special.")
_FUNCTIONAL: Final = "torch.nn.functional"


@cache
def _is_of_c(short: str) -> bool:
    """Whether a function of torch.nn.functional is one of C: those of Python take one name."""
    return isinstance(getattr(torch.nn.functional, short, None), BuiltinFunctionType)


@cache
def _own_names(short: str) -> frozenset[str]:
    """The argument names that the function itself declares."""
    found = set[str]()
    for prefix in ("", "linalg_", "fft_", "special_"):
        for schema in torch._C._jit_get_schemas_for_operator(f"aten::{prefix}{short}"):
            found |= {argument.name for argument in schema.arguments}
    return frozenset(found - {"self"})


def plain_keywords(name: str, kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    """The keyword arguments of a call with one name for each.

    Args:
        name: canonical name in the surface table.
        kwargs: as they were given.

    Raises:
        TypeError: an argument is given under both of its names.
    """
    if not kwargs or _PLAIN.keys().isdisjoint(kwargs):
        return kwargs
    prefix, _, short = name.rpartition(".")
    if f"{prefix}." not in _PREFIXES and not (prefix == _FUNCTIONAL and _is_of_c(short)):
        return kwargs
    own = _own_names(short)
    made: dict[str, Any] = {}
    for key, value in kwargs.items():
        plain = _PLAIN.get(key) if key not in own else None
        if plain is not None and plain in kwargs:
            raise TypeError(f"{name} got {plain!r} twice, once as {key!r}")
        made[plain or key] = value
    return made
