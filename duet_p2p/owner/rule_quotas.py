"""What the owner reads of a rule's quota that is used up: which one it is, and what to do.

Only the owner. That a quota is used up is said to the scientist as any denial is, or not at all.
"""

from __future__ import annotations

from typing import Final

from duet_p2p.owner.handlers import UNSET, Handler

__all__ = ["element_quota_against", "source_quota_against", "uses_against"]

_AGAIN: Final = "Add the rule again, which counts anew, or decide by hand"
_INSTEAD: Final = "remove the rule to decide by hand"


def element_quota_against(handler: Handler, numbers: int) -> str:
    """Why a rule has no quota left for so many numbers; empty if it has."""
    left = handler.quota_left
    if left is None or numbers <= left:
        return ""
    return (
        f"its element_quota of {handler.element_quota:,} numbers has {left:,} numbers left, this "
        f"has {numbers:,}. Add the rule again with as many as it may still have, or {_INSTEAD}"
    )


def uses_against(handler: Handler, *, is_model: bool) -> str:
    """Why a rule decides no more; empty if it may."""
    most = handler.conditions.max_uses
    if most is UNSET:
        is_once = is_model and handler.action == "accept"
        if is_once and not handler.conditions.is_bare and handler.model_uses:
            return "it decided about one model; max_uses= says about how many it may"
        return ""
    if most is None or handler.uses < most:
        return ""
    return f"its max_uses of {most:,} is used up. {_AGAIN}"


def source_quota_against(counted: int, most: int, numbers: int, which: str) -> str:
    """Why guarded rules let no more of a source out; empty if they may.

    Args:
        counted: numbers of it that they let out.
        most: the limit of them.
        numbers: of the value.
        which: of its sources this is.
    """
    if counted + numbers <= most:
        return ""
    return (
        f"guard: {counted:,} numbers of {which} went out by handlers on labels, this has "
        f"{numbers:,}, and the limit is {most:,} in a session for all such handlers together. "
        "Widen the rule with max_elements=None, or decide by hand"
    )
