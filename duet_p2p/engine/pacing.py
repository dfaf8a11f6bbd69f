"""How many operations of value-dependent time may run in a minute, and that one has run.

Counted by the time at which commands *arrived* in the owner's process: the time at which they run
depends on how long others took, so that a refusal would tell it.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Final

import torch

from duet_p2p.engine import axes
from duet_p2p.engine.arguments import Arguments, is_private
from duet_p2p.engine.lineage import Lineage
from duet_p2p.engine.store import Poison, Slot
from duet_p2p.errors import QuotaExceeded
from duet_p2p.limits import TIMED_SECONDS
from duet_p2p.surface.table import Rule
from duet_p2p.surface.timing import is_value_timed

__all__ = ["Pacing", "is_timed_by_values"]


_PLAIN: Final = (bool, int, float, complex, str, bytes, type(None))
_GROWING: Final = frozenset({
    "__mul__", "__rmul__", "__imul__", "__pow__", "__rpow__", "__ipow__", "__lshift__",
    "__rlshift__",
})  # fmt: skip
"""Operators whose work, and room, grow with a whole number."""
_GROWN: Final = (int, str, bytes, list, tuple)
_CONTAINERS: Final = (list, tuple, dict, set, slice, range)
_OF_OBJECTS: Final = (
    "python.", "torch.distributions.", "torch.utils.data.", "torch.optim.", "torchvision.",
)  # fmt: skip
"""How names begin that take anything else than tensors, numbers and containers of them."""


def is_timed_by_values(rule: Rule, given: Arguments, lineage: Lineage, is_container: bool) -> bool:
    """Whether private values decide how long this call takes, by its name or by hidden sizes.

    Args:
        rule: of the name.
        given: the arguments, of which some are private.
        lineage: knows what is hidden.
        is_container: the call looks at a container and not into its elements.
    """
    if is_value_timed(rule) or given.has_hidden(lineage) or _grows(rule, given):
        return True
    if is_private(given.structure(lineage)):
        return True
    # what has a hidden shape, or is missing where it would have one
    slots = given.slots.values()
    if not rule.name.startswith(_OF_OBJECTS) and any(_is_private_object(s, lineage) for s in slots):
        return True  # nonsense, and one that is missing would have hidden parts or none
    if any(slot.is_loose for slot in slots):  # it may be missing as well
        return True
    if any(is_private(slot.label) and not isinstance(slot.value, _PLAIN) for slot in slots):
        return True
    if lineage.has_poison and any(_is_missing(part) for part in given.reached()):
        return True
    # a private number among the arguments decides a size, unless it is only computed with
    is_number = is_container or axes.base_name(rule.name) in axes.ELEMENTWISE
    is_python = rule.name.startswith("python.")
    return not is_number and not is_python and _chooses(given)


def _grows(rule: Rule, given: Arguments) -> bool:
    """Whether an operator makes a whole number, a text or a list that is as large as one says.

    Under the name of any type: ``python.Any.__mul__`` of a text, ``python.Bool.__lshift__``.
    """
    if rule.short not in _GROWING or not rule.name.startswith("python."):
        return False
    return all(isinstance(value, _GROWN) for value in given.values())


def _is_private_object(slot: Slot, lineage: Lineage) -> bool:
    """Whether it is a distribution, a loader or the like, over private values or missing."""
    value = slot.value
    if isinstance(value, Poison):
        return value.is_object and not value.is_public
    if isinstance(value, (torch.Tensor, *_PLAIN, *_CONTAINERS)):
        return False
    return is_private(lineage.whole(value))


def _is_missing(part: Any) -> bool:
    return isinstance(part, Poison) and not (part.is_object or part.is_public)


def _chooses(given: Arguments) -> bool:
    return any(  # None may be an int as well, in another data set
        is_private(slot.label) and isinstance(slot.value, int | None)
        for slot in given.slots.values()
    )


class Pacing:
    """The session's quota of such operations.

    Attributes:
        most: how many, in `TIMED_SECONDS`; 0: none.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._now = 0.0
        self._taken: deque[float] = deque()
        self._has_run = False

    def arrived(self, at: float | None) -> None:
        """Commands that arrived at this time (seconds, any clock; None: now) run next."""
        self._now = time.monotonic() if at is None else at

    def take(self) -> None:
        """One such operation is about to run.

        Raises:
            QuotaExceeded: it would be one too many.
        """
        while self._taken and self._taken[0] <= self._now - TIMED_SECONDS:
            self._taken.popleft()
        if len(self._taken) >= self.most:
            raise QuotaExceeded(
                f"more than {self.most} operations a minute whose time depends on private values "
                "(timed_per_minute): go on a minute later, or ask the owner for a larger limit"
            )
        self._taken.append(self._now)
        self._has_run = True

    def has_run(self) -> bool:
        """Whether one has run since this was asked last."""
        has_run, self._has_run = self._has_run, False
        return has_run
