"""Optimizers and schedulers where torch trusts its caller.

``load_state_dict`` of a scheduler sets any attribute to any value, another optimizer included; here
it takes the keys that the scheduler has, with numbers, texts and lists of them.

SGD with momentum keeps a sparse buffer of sparse gradients. It grows by each of them, so it is
bounded after each step; and it is shown as a dense tensor.

`LambdaLR` and `MultiplicativeLR` call a Python function for each epoch. The function stays on the
scientist's side; here stands one that knows the numbers that were sent, and `feed` brings the next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import torch
from torch.optim import lr_scheduler, swa_utils

from duet_p2p import limits
from duet_p2p.errors import QuotaExceeded
from duet_p2p.surface import bare
from duet_p2p.surface.sizes import admit_items
from duet_p2p.surface.sparse import dense, settled

__all__ = ["OPTIMIZERS"]

_PLAIN: Final = (bool, int, float, str, type(None))
_DEPTH: Final = 4
_NUMBERS_KEPT: Final = 8
"""A step of nested schedulers asks for one epoch, or two where one of them is listed twice."""


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


def _check_state(scheduler: Any, state: Any) -> None:
    if not isinstance(state, dict) or not all(_is_plain(value) for value in state.values()):
        raise TypeError("the state of a scheduler holds numbers and texts")
    if set(state) != set(_state(scheduler)):
        raise ValueError("this is the state of another scheduler")
    inner = getattr(scheduler, "_schedulers", None)
    if inner is not None:
        if not isinstance(state["_schedulers"], list) or len(state["_schedulers"]) != len(inner):
            raise ValueError("this is the state of another scheduler")
        for child, of_child in zip(inner, state["_schedulers"], strict=True):
            _check_state(child, of_child)


def _load(scheduler: Any, state: Any) -> None:
    _check_state(scheduler, state)
    known = scheduler.state_dict()
    counters: dict[str, Any] = {
        k: Counter(v) for k, v in state.items() if isinstance(known[k], Counter)
    }
    scheduler.load_state_dict(known | state | counters)


def _step(optimizer: Any, *args: Any, **kwargs: Any) -> Any:
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(f"an Optimizer is needed, not {type(optimizer).__name__}")
    try:
        return optimizer.step(*args, **kwargs) if args or kwargs else bare.step(optimizer)
    finally:
        for state in optimizer.state.values():
            for key, value in state.items():
                if isinstance(value, torch.Tensor) and value.is_sparse:
                    state[key] = settled(value)


def _zero_grad(optimizer: Any, set_to_none: Any = True) -> None:
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(f"an Optimizer is needed, not {type(optimizer).__name__}")
    bare.zero_grad(optimizer, set_to_none)


def _follow(optimizer: Any, before: Any, after: Any) -> None:
    """A module moved: what stood for a parameter is another tensor now, with the same state."""
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(f"an Optimizer is needed, not {type(optimizer).__name__}")
    if not isinstance(before, (list, tuple)) or not isinstance(after, (list, tuple)):
        raise TypeError("two lists of tensors are needed")
    if len(before) != len(after) or len({*map(id, (*before, *after))}) < 2 * len(before):
        raise ValueError("the tensors of both lists are different ones, as many in each")
    for old, new in zip(before, after, strict=True):
        if not isinstance(old, torch.Tensor) or not isinstance(new, torch.Tensor):
            raise TypeError("two lists of tensors are needed")
        if old.shape != new.shape or not (new.is_leaf or new.retains_grad):
            raise ValueError("a parameter is followed by a leaf of the same shape")
    groups = optimizer.param_groups
    held = {id(parameter) for group in groups for parameter in group["params"]}
    if any(id(new) in held for new in after):
        raise ValueError("some parameters appear in more than one parameter group")
    swapped = {id(old): new for old, new in zip(before, after, strict=True)}
    for group in groups:
        group["params"][:] = [swapped.get(id(p), p) for p in group["params"]]
    for old, new in zip(before, after, strict=True):
        if old in optimizer.state:
            optimizer.state[new] = optimizer.state.pop(old)


def _optimizer_state(optimizer: Any) -> dict[str, Any]:
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(f"an Optimizer is needed, not {type(optimizer).__name__}")
    found = optimizer.state_dict()
    for number, state in found["state"].items():  # a new dict of the optimizer's own dicts
        if any(isinstance(value, torch.Tensor) and value.is_sparse for value in state.values()):
            found["state"][number] = {
                key: dense(value) if isinstance(value, torch.Tensor) else value
                for key, value in state.items()
            }
    return found


def _number(value: Any) -> float:
    if isinstance(value, torch.Tensor):
        if value.numel() != 1:
            raise ValueError("a learning rate is multiplied by one number")
        return float(value.detach())
    if not isinstance(value, (bool, int, float)):
        raise TypeError(f"a learning rate is multiplied by a number, not {type(value).__name__}")
    return float(value)


def _told(epoch: int, number: Any) -> Callable[[int], float]:
    """A function of the epoch that knows what it was told."""
    numbers = {epoch: _number(number)}

    def number_of(asked: int) -> float:
        if asked not in numbers:
            raise ValueError(f"no number was sent for epoch {asked}")
        return numbers[asked]

    number_of.__dict__["numbers"] = numbers
    return number_of


def _of_numbers(cls: Any) -> Callable[..., Any]:
    """The constructor of a scheduler that multiplies by numbers of the scientist's side."""

    def make(optimizer: Any, lr_lambda: Any, last_epoch: Any = -1) -> Any:
        if not isinstance(optimizer, torch.optim.Optimizer) or type(last_epoch) is not int:
            raise TypeError("an optimizer, numbers and the last epoch are needed")
        is_list = isinstance(lr_lambda, (list, tuple))
        numbers = list(lr_lambda) if is_list else [lr_lambda] * len(optimizer.param_groups)
        return cls(optimizer, [_told(last_epoch + 1, n) for n in numbers], last_epoch=last_epoch)

    return make


def _feed(scheduler: Any, epoch: Any, given: Any) -> None:
    """What the scientist's functions give for an epoch: one number for all groups, or one each."""
    if not isinstance(scheduler, (lr_scheduler.LambdaLR, lr_scheduler.MultiplicativeLR)):
        raise TypeError("only LambdaLR and MultiplicativeLR take numbers")
    functions = scheduler.lr_lambdas
    numbers = list(given) if isinstance(given, (list, tuple)) else [given] * len(functions)
    if type(epoch) is not int or len(numbers) != len(functions):
        raise ValueError(f"{len(functions)} numbers for an epoch are needed")
    for function, number in zip(functions, map(_number, numbers), strict=True):
        known: dict[int, float] = function.__dict__["numbers"]
        known.pop(epoch, None)
        known[epoch] = number
        while len(known) > _NUMBERS_KEPT:
            del known[next(iter(known))]


def _inner(schedulers: Any) -> list[Any]:
    # a copy: the scientist's own list must not be the scheduler's
    if not isinstance(schedulers, (list, tuple)):
        raise TypeError("a list of schedulers is needed")
    admit_items(len(schedulers))
    if not all(isinstance(s, lr_scheduler.LRScheduler) for s in schedulers):
        raise TypeError("a list of schedulers is needed")
    _admit_inner(schedulers)
    return list(schedulers)


def _admit_inner(schedulers: Any) -> None:
    """A step walks through all of them, and through one of two of two … once for each place."""
    waiting, count = list(schedulers), 0
    while waiting:
        count += 1
        if count > limits.CHAINED_SCHEDULERS:
            raise QuotaExceeded(f"more than {limits.CHAINED_SCHEDULERS} schedulers in one another")
        waiting += getattr(waiting.pop(), "_schedulers", ())


def _sequential(optimizer: Any, schedulers: Any, milestones: Any, last_epoch: Any = -1) -> Any:
    places = list(milestones)
    if not all(type(place) is int for place in (*places, last_epoch)):
        raise TypeError("milestones are ints")
    return lr_scheduler.SequentialLR(optimizer, _inner(schedulers), places, last_epoch)


def _averaging(
    optimizer: Any, swa_lr: Any, anneal_epochs: Any = 10, anneal_strategy: Any = "cos",
    last_epoch: Any = -1,
) -> Any:  # fmt: skip
    return swa_utils.SWALR(optimizer, swa_lr, anneal_epochs, anneal_strategy, last_epoch)


def _chained(schedulers: Any, optimizer: Any = None) -> Any:
    return lr_scheduler.ChainedScheduler(_inner(schedulers), optimizer)


def _last_rates(scheduler: Any) -> list[Any]:
    if not isinstance(scheduler, lr_scheduler.LRScheduler):
        raise TypeError(f"an LRScheduler is needed, not {type(scheduler).__name__}")
    return list(scheduler.get_last_lr())  # its own list is not for anybody to write to


_PLACE: Final = "torch.optim.lr_scheduler."

OPTIMIZERS: Final[dict[str, Callable[..., Any]]] = {
    "torch.optim.Optimizer.step": _step,
    "torch.optim.Optimizer.zero_grad": _zero_grad,
    "torch.optim.Optimizer.follow": _follow,
    "torch.optim.Optimizer.state_dict": _optimizer_state,
    f"{_PLACE}LRScheduler.state_dict": _state,
    f"{_PLACE}LRScheduler.load_state_dict": _load,
    f"{_PLACE}LRScheduler.get_last_lr": _last_rates,
    f"{_PLACE}LRScheduler.feed": _feed,
    f"{_PLACE}LambdaLR": _of_numbers(lr_scheduler.LambdaLR),
    f"{_PLACE}MultiplicativeLR": _of_numbers(lr_scheduler.MultiplicativeLR),
    f"{_PLACE}SequentialLR": _sequential,
    f"{_PLACE}ChainedScheduler": _chained,
    f"{_PLACE}SWALR": _averaging,
}
