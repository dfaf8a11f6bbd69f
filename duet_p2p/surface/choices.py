"""The two small texts in the table that depend on the arguments of a call.

See the docstring of table.py for what they mean. Pure functions of texts and arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch

__all__ = ["Choice", "Condition", "Written", "choose", "parse", "pick", "written_positions"]


@dataclass(frozen=True, slots=True)
class Condition:
    """An argument that must be given, or must not."""

    keyword: str
    position: int
    is_absent: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """A result and what must hold for it; no conditions in the last one."""

    conditions: tuple[Condition, ...]
    result: str


@dataclass(frozen=True, slots=True)
class Written:
    """Which arguments a call writes to."""

    always: tuple[tuple[str, int], ...]
    """Keyword ("" if it has none) and position."""
    switch: int | None
    """Position of an ``inplace`` argument that makes the call write its first argument."""
    only_if: tuple[str, int] | None = None
    """The argument that must be true for `always`, keyword and position (``training``)."""


def parse(text: str) -> tuple[Choice, ...]:
    """The choices of a result column."""
    found = []
    for part in text.split(";"):
        conditions, equals, result = part.rpartition("=")
        items = []
        for condition in conditions.split("&") if equals else ():
            keyword, _, position = condition.removeprefix("~").partition("@")
            items.append(Condition(keyword, int(position), condition.startswith("~")))
        found.append(Choice(tuple(items), result))
    if found[-1].conditions:
        raise ValueError(f"the last choice must have no condition: {text}")
    return tuple(found)


def choose(
    parsed: Sequence[Choice],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    is_tensor: Callable[[Any], bool],
) -> str:
    """The first result whose conditions hold."""
    for choice in parsed:
        for condition in choice.conditions:
            if len(args) > condition.position:
                value = args[condition.position]
            else:
                value = kwargs.get(condition.keyword)
            if condition.is_absent:
                holds = value is None
            else:
                holds = value is not None and value is not False and not is_tensor(value)
            if not holds:
                break
        else:
            return choice.result
    raise AssertionError("the last choice has no condition")


def written_positions(form: str, result: str, note: str) -> Written | None:
    """What a rule's columns say about arguments that are written to; None for nothing."""
    always: list[tuple[str, int]] = []
    switch = None
    only_if = None
    if form in ("inplace", "mutator", "setter") or result == "self":
        always.append(("", 0))
    for word in note.replace(";", " ").split():
        if word.startswith("writes="):
            for item in word.removeprefix("writes=").split(","):
                keyword, _, position = item.partition("@")
                if keyword.startswith("if:"):
                    only_if = (keyword.removeprefix("if:"), int(position))
                else:
                    always.append((keyword, int(position)))
        elif word.startswith("inplace@"):
            switch = int(word.removeprefix("inplace@"))
    return Written(tuple(always), switch, only_if) if always or switch is not None else None


def pick(
    positions: Written,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    slots: Mapping[int, Any] = MappingProxyType({}),
) -> list[Any]:
    """The arguments that are written to in this call, or may be."""
    found: list[Any] = []
    always = positions.always
    if positions.only_if is not None:
        keyword, position = positions.only_if
        if not _is_on(args[position] if position < len(args) else kwargs.get(keyword), slots):
            always = ()
    for keyword, position in always:
        if position < len(args):
            value = args[position]
        elif keyword or not kwargs:
            value = kwargs.get(keyword)
        else:  # the object itself by keyword, as torch.nn.init dispatches
            value = kwargs.get("tensor", kwargs.get("input"))
        if value is not None:
            found.append(value)
    if positions.switch is not None:
        on = args[positions.switch] if positions.switch < len(args) else kwargs.get("inplace")
        value = args[0] if args else kwargs.get("input")
        if _is_on(on, slots) and value is not None and not any(value is other for other in found):
            found.append(value)
    return found


def _is_on(flag: Any, slots: Mapping[int, Any]) -> bool:
    """Whether a switch may be on.

    Only one that stands in the command itself can be off. One that was given as an object may be
    private, and whether something was written to must not tell what it is.
    """
    if isinstance(flag, torch.Tensor) or any(flag is slot.value for slot in slots.values()):
        return True
    return bool(flag)
