"""The owner's dicts whose keys are private, and what a look-up in one of them gives.

Whether a dict has a key tells whether somebody is in it. So its structure is private (shared.py),
and a look-up chooses among its items like one by a private number: what it gives has a hidden type
and shape (chosen_types.py), and a key that is missing fails in private.

Where all items are tensors of one form, that form tells nothing of the key. Then a look-up by a key
that stands in the command gives a copy of the item, an operation of a known result: where the key
is missing zeros stand for it, as for any other that failed (damage.py). A copy and not the item
itself, since zeros are nobody's object: they could be told from it by being written to.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, Final, NamedTuple

import torch

from duet_p2p.engine.arguments import Arguments, spec_of
from duet_p2p.engine.lineage import Lineage
from duet_p2p.surface.shapes import TensorSpec
from duet_p2p.surface.table import Rule
from duet_p2p.wire.values import Ref

__all__ = ["Keyed", "is_by_name", "keyed_of", "looked_up"]

_LOOK_UPS: Final = frozenset({"python.Dict.__getitem__", "python.OrderedDict.__getitem__"})
_WRITTEN: Final = frozenset({str, int, float, bool, bytes, type(None)})
"""Types of keys that stand in a command as they are."""
_FORM: Final = attrgetter("shape", "dtype", "device", "layout", "requires_grad")


class Keyed(NamedTuple):
    """Of a dict of the owner's whose keys are private, and whose length is not."""

    item: TensorSpec | None
    """The form of each item; None if they differ, or are not plain tensors."""


def keyed_of(value: dict[Any, Any]) -> Keyed:
    """What may be known of a dict whose keys are private."""
    items = list(value.values())
    if not items or any(type(item) is not torch.Tensor for item in items):
        return Keyed(None)
    first = items[0]
    is_plain = first.layout is torch.strided and not first.requires_grad
    is_alike = is_plain and all([_FORM(item) == _FORM(first) for item in items])
    return Keyed(spec_of(first) if is_alike else None)


def is_by_name(given: Arguments) -> bool:
    """Whether a command works on an object of the owner's that it names, not on a part of one."""
    first = given.wire[0] if given.wire else None
    return type(first) is Ref and first.id < 0


def looked_up(
    rule: Rule, given: Arguments, lineage: Lineage
) -> tuple[TensorSpec, Callable[..., Any]] | None:  # fmt: skip
    """The form of what a look-up gives, and what makes it; None where that is not known.

    Args:
        rule: of the command.
        given: its arguments.
        lineage: where it is kept what is known of a dict.
    """
    if rule.name not in _LOOK_UPS or len(given.args) != 2 or not is_by_name(given):
        return None
    if type(given.wire[1]) not in _WRITTEN:
        return None
    entry = lineage.find(given.args[0])
    keyed = None if entry is None else entry.origin
    if not isinstance(keyed, Keyed) or keyed.item is None:
        return None
    return keyed.item, _copied


def _copied(value: dict[Any, Any], key: Any) -> torch.Tensor:
    item: torch.Tensor = value[key]
    return item.clone(memory_format=torch.contiguous_format)
