"""Optimizers and schedulers where torch trusts its caller.

``load_state_dict`` of a scheduler sets any attribute to any value, another optimizer included; here
it takes the keys that the scheduler has, with numbers, texts and lists of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Final

__all__ = ["OPTIMIZERS"]

_PLAIN: Final = (bool, int, float, str, type(None))
_DEPTH: Final = 4


def _is_plain(value: Any, depth: int = 0) -> bool:
    if isinstance(value, _PLAIN):
        return True
    if depth >= _DEPTH:
        return False
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item, depth + 1) for item in value)
    if isinstance(value, dict):
        return all(_is_plain(k) and _is_plain(v, depth + 1) for k, v in value.items())
    return False


def _state(scheduler: Any) -> dict[str, Any]:
    # some schedulers keep functions or other schedulers' states beside their numbers
    return {key: value for key, value in scheduler.state_dict().items() if _is_plain(value)}


def _load(scheduler: Any, state: Any) -> None:
    if not isinstance(state, dict) or not all(_is_plain(value) for value in state.values()):
        raise TypeError("the state of a scheduler holds numbers and texts")
    if set(state) != set(_state(scheduler)):
        raise ValueError("this is the state of another scheduler")
    known = scheduler.state_dict()
    counters: dict[str, Any] = {
        k: Counter(v) for k, v in state.items() if isinstance(known[k], Counter)
    }
    scheduler.load_state_dict(known | state | counters)


OPTIMIZERS: Final[dict[str, Callable[..., Any]]] = {
    "torch.optim.lr_scheduler.LRScheduler.state_dict": _state,
    "torch.optim.lr_scheduler.LRScheduler.load_state_dict": _load,
}
