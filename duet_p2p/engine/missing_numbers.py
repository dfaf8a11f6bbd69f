"""The number, text or tuple that stands for one that could not be computed.

It has the type that public facts say the result would have had, so that nothing behind it shows
that it is missing.
"""

from __future__ import annotations

from typing import Any, Final

import torch

from duet_p2p.engine.arguments import Arguments
from duet_p2p.engine.judge import is_power_of_private
from duet_p2p.engine.store import Poison
from duet_p2p.surface.table import Rule
from duet_p2p.surface.types import number_type

__all__ = ["NUMBERS", "number_for"]

_FOR: Final[dict[str, Any]] = {
    "python.Float": 0.0,
    "python.Int": 0,
    "python.Bool": False,
    "python.Complex": 0j,
    "python.String": "",
    "python.Range": range(0),
    "torch.dtype": torch.float32,
    "torch.Size": torch.Size(()),
    "torch.device": torch.device("cpu"),
}
NUMBERS: Final = frozenset(_FOR)
"""Types of what has no parts."""
_TUPLES: Final = {
    "as_integer_ratio": (0, 1),
    "partition": ("", "", ""),
    "rpartition": ("", "", ""),
    "indices": (0, 0, 1),
}


def number_for(rule: Rule, given: Arguments) -> Any:
    """What stands for the result of a call; None if nothing does."""
    kind = rule.result
    if rule.name == "python.Range.__getitem__" and isinstance(given.args[-1], int):
        return 0
    if rule.short == "size" and given.setting("dim", 1, None) is not None:
        return 0
    if kind == "python.Tuple":
        return _tuple(rule.short, given)
    if kind == "item":
        first = given.args[0] if given.args else None
        if not isinstance(first, torch.Tensor):
            return None
        return torch.zeros((), dtype=first.dtype).item()
    if kind in ("number", "truth"):
        if any(isinstance(value, Poison) and value.is_tensor for value in given.args):
            return None  # with a tensor it is one
        text = next((value for value in given.args if isinstance(value, str | bytes)), None)
        if text is not None and kind == "number":
            return type(text)()  # so many times
        kind = number_type(rule.short, given.args)
        if kind == "python.Any" or (kind == "python.Int" and is_power_of_private(rule, given)):
            kind = "python.Float"
    return _FOR.get(kind)


def _tuple(short: str, given: Arguments) -> tuple[Any, ...] | None:
    """A tuple whose length and types the name alone decides; None if it does not."""
    if short in ("divmod", "__divmod__", "__rdivmod__"):
        number = _FOR.get(number_type(short, given.args))
        return None if number is None else (number, number)
    return _TUPLES.get(short)
