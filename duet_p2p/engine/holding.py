"""What an optimizer holds, found once: parameters, state, groups and settings.

Everything that an optimizer reaches is asked for several times with each of its commands, and
walking through it costs more than a small step itself. So the walk's answer is kept with a note of
which object stood in which place of every list and dict on the way. As long as the very same
objects stand there, another walk would find the same. That is looked at each time: no counter that
somebody would have to keep up is trusted. What labels these objects have is not in it.

An optimizer that holds anything else than lists, dicts, tuples, tensors and numbers is walked
through each time.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import chain, count
from operator import is_
from typing import Any, Final

import torch
from torch.optim import Optimizer

from duet_p2p.engine.lineage import is_atomic, reach

__all__ = ["Holding", "groups_of", "holding_of", "last_holding", "parameters_of", "parts_of"]


def groups_of(optimizer: Optimizer) -> list[dict[str, Any]]:
    """The groups of an optimizer, less what somebody put among them that is none."""
    return [
        group for group in optimizer.param_groups
        if isinstance(group, dict) and isinstance(group.get("params"), list)
    ]  # fmt: skip


def parameters_of(optimizer: Optimizer) -> list[torch.Tensor]:
    """What an optimizer moves, of all groups, in order."""
    return [
        parameter
        for group in groups_of(optimizer) for parameter in group["params"]
        if isinstance(parameter, torch.Tensor)
    ]  # fmt: skip


class Holding:
    """What one optimizer holds, and where that stood. It does not hold the optimizer itself.

    Attributes:
        tensors: all of them, in the order of `reach`.
        objects: what else can have an entry.
        has_plain_settings: the groups hold numbers and texts beside their parameters.
        settings: what writers.py says of them and of its parameters, once it was asked,
        roots: when its tensors had these.
        writer: what a step leaves in labels, and the form of the optimizer's last change behind it.
        form: what form.py said of all of it, when its parts had these facts.
        number: no other walk has it.
    """

    __slots__ = ("_found", "_lengths", "_places", "_rest", "facts", "form", "has_plain_settings",
                 "number", "objects", "roots", "settings", "tensors", "writer")  # fmt: skip

    def __init__(self, optimizer: Optimizer) -> None:
        """Walks through an optimizer.

        Raises:
            TypeError: it holds something that cannot be looked at like this.
        """
        if len(groups_of(optimizer)) < len(optimizer.param_groups):
            raise TypeError("a group that is none")
        self.number = next(_NUMBERS)
        self._rest = reach(optimizer)[1:]
        self.tensors = [part for part in self._rest if isinstance(part, torch.Tensor)]
        self.objects: list[Any] = []
        self.settings: list[str] | None = None
        self.roots: list[str] = []
        self.writer: tuple[str, str] | None = None
        self.form = ""
        self.facts: list[Any] = []
        self._places: list[Collection[Any]] = []  # live, so they show what is there now
        for part in self._rest:
            if isinstance(part, torch.Tensor) or type(part) is tuple:
                continue  # what is in a tuple stays in it
            if isinstance(part, dict):
                self._places += (part, part.values())
            elif type(part) is list:
                self._places.append(part)
            else:
                raise TypeError(type(part).__name__)
            self.objects.append(part)
        held = _attributes(optimizer)
        self._lengths = [len(held), *map(len, self._places)]
        self._found = [*held.values(), *chain.from_iterable(self._places)]
        self.has_plain_settings = all(
            is_atomic(value) or (type(value) is tuple and all(map(is_atomic, value)))
            for group in optimizer.param_groups
            for key, value in group.items() if key != "params"
        )  # fmt: skip

    def is_as_found(self, optimizer: Optimizer) -> bool:
        """Whether the same objects stand in all the same places."""
        held, places = _attributes(optimizer), self._places
        if [len(held), *map(len, places)] != self._lengths:
            return False
        return all(map(is_, chain(held.values(), chain.from_iterable(places)), self._found))

    def has_facts(self, facts: list[Any]) -> bool:
        """Whether its form was worked out from these very objects."""
        return len(facts) == len(self.facts) and all(map(is_, facts, self.facts))

    def parts(self, optimizer: Optimizer) -> list[Any]:
        """What `reach` would find."""
        return [optimizer, *self._rest]


_NUMBERS: Final = count()
_MARK: Final = "_optimizer_holding"
"""Attribute of an optimizer; `reach` leaves out what begins like this."""


def _attributes(optimizer: Optimizer) -> dict[str, Any]:
    found = dict(vars(optimizer))
    found.pop(_MARK, None)
    return found


def holding_of(optimizer: Optimizer) -> Holding | None:
    """What an optimizer holds now; None if it has to be walked through each time."""
    found: Holding | None = vars(optimizer).get(_MARK)
    if found is not None and found.is_as_found(optimizer):
        return found
    try:
        found = Holding(optimizer)
    except TypeError:
        found = None
    vars(optimizer)[_MARK] = found
    return found


def last_holding(optimizer: Optimizer) -> Holding | None:
    """What `holding_of` gave last, for those who know that nothing has changed since."""
    found: Holding | None = vars(optimizer).get(_MARK)
    return found


def parts_of(value: Any) -> list[Any]:
    """`reach`, without the walk where its answer is known."""
    found = holding_of(value) if isinstance(value, Optimizer) else None
    return reach(value) if found is None else found.parts(value)
