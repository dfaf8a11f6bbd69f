"""What is wrong with a rule as it was written, and what is easily taken for its opposite.

The arguments of a rule are conditions: it takes the values that they hold of. For a rule that
accepts `min_records=10` reads as it works. One that denies takes what comes from at least 10
records, and leaves single records; who wrote it most likely meant the other side.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from duet_p2p.limits import QUOTA_MAX_SECONDS
from duet_p2p.owner.handlers import ACTIONS, KINDS, UNSET, Handler, Unset

__all__ = ["check", "kinds_of", "listed", "misread"]

_NO_QUOTA: Final = (
    "element_quota= bounds what a rule releases. This one releases nothing: it denies all that its "
    "conditions hold of. Say element_quota= in a rule that accepts."
)


def check(handler: Handler) -> None:
    """Raises `ValueError` for an action, kind, number, switch or limit that does not exist."""
    said = handler.conditions
    if not isinstance(handler.action, str) or handler.action not in ACTIONS:
        raise ValueError(f"action is 'accept' or 'deny', not {handler.action!r}")
    if said.kinds is not UNSET and not said.kinds <= KINDS:
        wrong = sorted(said.kinds - KINDS, key=str)
        raise ValueError(f"no such kind: {wrong}; there are {sorted(KINDS)}")
    numbers = {
        "max_elements": said.max_elements,
        "min_records": said.min_records,
        "max_uses": said.max_uses,
        "element_quota": handler.element_quota,
    }
    for name, value in numbers.items():
        if value is UNSET or (value is None and name != "min_records"):
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError(f"{name} is a number of at least 0, not {value!r}")
    if not isinstance(said.recipe, str | Unset):
        raise ValueError(f"recipe is a request or its recipe as a text, not {said.recipe!r}")
    if isinstance(said.recipe, str) and not said.recipe.strip():
        raise ValueError("recipe is empty, so it names no computation: give a request, or leave it")
    switches = {
        "allow_injected": said.allow_injected,
        "allow_dropout": said.allow_dropout,
        "seen_only": said.seen_only,
        "print_local": handler.print_local,
        "log_local": handler.log_local,
    }
    for name, flag in switches.items():
        if not isinstance(flag, bool | Unset):
            raise ValueError(f"{name} is True or False, not {flag!r}")
    life = handler.timeout_secs
    is_number = isinstance(life, int | float) and not isinstance(life, bool)
    if not is_number or not (life == -1 or 0 <= life <= QUOTA_MAX_SECONDS):
        shown = repr(life)[:40]
        raise ValueError(
            f"timeout_secs is a number of seconds, ten years at most, or -1 for ever, not {shown}"
        )


def listed(name: str, given: Any, what: str) -> list[Any]:
    """What an argument names, as a list.

    Raises:
        TypeError: it is no list.
        ValueError: it is empty, so that the rule would hold of nothing.
    """
    if not isinstance(given, Iterable):
        raise TypeError(f"{name} is {what}, not {given!r}")
    found = list(given)
    if not found:
        raise ValueError(
            f"{name} names none, so the rule would take nothing: name some, or leave it out"
        )
    return found


def kinds_of(kinds: Any) -> frozenset[str] | Unset:
    """The kinds that a rule is about, as a set.

    Raises:
        TypeError, ValueError: no list of kinds, or an empty one.
    """
    if isinstance(kinds, Unset):
        return UNSET
    what = "a kind or a list of kinds, kinds={'aggregate'}"
    found = listed("kinds", [kinds] if isinstance(kinds, str) else kinds, what)
    if any(isinstance(kind, list | set | dict) for kind in found):
        raise TypeError(f"kinds is {what}, not {kinds!r}")
    return frozenset(found)


def misread(handler: Handler) -> str:
    """Of a rule that denies by a size or has a quota, what it does not do; else empty."""
    said = handler.conditions
    if handler.action != "deny":
        return ""
    left, instead = [], []
    if isinstance(said.min_records, int) and said.min_records > 1:
        left.append(f"what may come from fewer than {said.min_records:,} records")
        instead.append(f"min_records={said.min_records}")
    if isinstance(said.max_elements, int):
        left.append(f"what has more than {said.max_elements:,} numbers")
        instead.append(f"max_elements={said.max_elements}")
    if said.allow_injected is False:
        left.append("what something public met along its records (injected)")
        instead.append("allow_injected=False")
    if said.allow_dropout is False:
        left.append("what a dropout fell on")
        instead.append("allow_dropout=False")
    if not left:
        return _NO_QUOTA if handler.element_quota is not None else ""
    return (
        f"This rule denies only what its conditions hold of: it does not deny {' or '.join(left)}. "
        f"If that is what must not leave, say {', '.join(instead)} in the rules that accept, in "
        f"place of this one: what no rule takes waits for you."
    )
