"""What is put in the place of results that could not be computed: zeros of the same form."""

from __future__ import annotations

from typing import Any, Final

import torch

from duet_p2p.engine.arguments import Arguments
from duet_p2p.engine.joined import joined
from duet_p2p.surface.shapes import TensorSpec
from duet_p2p.surface.table import Rule
from duet_p2p.surface.types import number_type

__all__ = ["values_for"]

_NUMBERS: Final[dict[str, Any]] = {
    "python.Float": 0.0,
    "python.Int": 0,
    "python.Bool": False,
    "python.Complex": 0j,
    "python.String": "",
    "torch.dtype": torch.float32,
    "torch.Size": torch.Size(()),
    "torch.device": torch.device("cpu"),
}
_TUPLES: Final = {
    "as_integer_ratio": (0, 1),
    "partition": ("", "", ""),
    "rpartition": ("", "", ""),
}


def values_for(rule: Rule, given: Arguments, spec: Any, count: int, like: Any) -> list[Any]:
    """A value for each result; none, or another number of them, if nothing can stand in.

    Args:
        rule: of the command.
        given: its arguments.
        spec: what its results would have been, as far as that is public.
        count: how many results it names.
        like: a result that has the right graph, if there is one.
    """
    if rule.result == "self" and given.args:
        return [given.args[0]]  # it is spoilt, and the very object
    if spec is None:
        number = _number(rule, given)
        is_split = isinstance(number, tuple) and count > 1
        return [] if number is None else list(number) if is_split else [number]
    made = _made(spec, given) if like is None else like
    return [made] if count == 1 else list(made) if isinstance(made, list | tuple) else []


def _number(rule: Rule, given: Arguments) -> Any:
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
        kind = number_type(rule.short, given.args)
        kind = "python.Float" if kind == "python.Any" else kind
    return _NUMBERS.get(kind)


def _made(spec: Any, given: Arguments) -> Any:
    if isinstance(spec, TensorSpec):
        made = torch.zeros(spec.shape, dtype=spec.dtype, device=spec.device)
        if not spec.requires_grad:
            return made
        sources = [t for t in given.tensors() if t.requires_grad]
        with torch.enable_grad():
            if not sources:
                return made.requires_grad_()
            return joined(made, sources)
    if isinstance(spec, list):
        return [_made(part, given) for part in spec]
    if isinstance(spec, tuple) and not isinstance(spec, torch.Size):
        return tuple(_made(part, given) for part in spec)
    return spec


def _tuple(short: str, given: Arguments) -> tuple[Any, ...] | None:
    """A tuple whose length and types the name alone decides; None if it does not."""
    if short in ("divmod", "__divmod__", "__rdivmod__"):
        number = _NUMBERS.get(number_type(short, given.args))
        return None if number is None else (number, number)
    return _TUPLES.get(short)
