"""Optimizers on the owner's side.

Which parameters an optimizer holds is noted here, because a module that moves to another dtype or
device becomes new tensors over there, where torch changes the old ones in place: its optimizers are
told (`follow`), and go on with the new ones.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import torch

from duet_p2p.errors import NotAllowed
from duet_p2p.scientist.knowledge import Known
from duet_p2p.scientist.pointer import Pointer
from duet_p2p.scientist.recorder import Step
from duet_p2p.surface.table import TABLE

if TYPE_CHECKING:
    from duet_p2p.scientist.client import Client

__all__ = ["MAKERS", "OptimizerPointer", "follow"]


class OptimizerPointer(Pointer):
    """An optimizer; its groups are a remote list of dicts that can be read and written."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return True  # as every optimizer is: `if optimizer:` asks whether there is one

    @property
    def param_groups(self) -> Any:
        """A pointer to the list of groups: `param_groups[0]["lr"] = 0.1` changes the optimizer."""
        groups = self._client.call("torch.optim.Optimizer.param_groups", self)
        groups._items = Known("python.Dict")  # every element is one
        return groups

    def step(self, closure: Any = None) -> Any:
        """One step on the owner's side.

        Args:
            closure: a step that was recorded with `duet.step`, which computes gradients and
                returns the loss.

        Returns:
            A pointer to the loss that the closure gave first; None without one.

        Raises:
            NotAllowed: the closure is another function, or `LBFGS` has none.
            StepError: the recorded step is no closure.
        """
        if isinstance(closure, Step):
            return closure.of_optimizer(self)
        if closure is not None:
            raise NotAllowed(
                "a closure runs on the owner's side, as often as the optimizer wants: put "
                "@duet.step above its definition, so that it is recorded once"
            )
        if self._type == "torch.optim.LBFGS":
            raise NotAllowed(
                "LBFGS.step needs a closure: a function with @duet.step that calls zero_grad and "
                "backward and returns the loss"
            )
        self._client.call("torch.optim.Optimizer.step", self)
        return None

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Another group of parameters, with settings of its own."""
        (group,) = _settled([dict(param_group)])
        self._client.call("torch.optim.Optimizer.add_param_group", self, group)
        _note(self, [group])


def _settled(params: Any) -> Any:
    """Parameters that can be gone through twice: `filter(…)` and generators can not."""
    if isinstance(params, Pointer | torch.Tensor):
        return params
    found = list(params)
    return [
        {**group, "params": list(group["params"])}
        if isinstance(group, dict)
        and not isinstance(group.get("params"), Pointer | torch.Tensor | None)
        else group
        for group in found
    ]


def _note(optimizer: OptimizerPointer, params: Any) -> None:
    held = optimizer._items
    if held is None:
        optimizer._items = held = weakref.WeakValueDictionary()
    pending = [params]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            pending.append(value.get("params"))
        elif isinstance(value, list | tuple):
            pending += value
        elif isinstance(value, Pointer) and isinstance(value._items, list):
            pending += value._items
        elif isinstance(value, Pointer):
            held[id(value)] = value  # pointers compare element by element


def _maker(name: str) -> Callable[..., Any]:
    def make(client: Client, params: Any, *args: Any, **kwargs: Any) -> Any:
        params = _settled(params)
        made = client.call(name, params, *args, **kwargs)
        _note(made, params)
        client.optimizers.add(made)
        return made

    return make


def follow(client: Client, before: Sequence[Any], after: Sequence[Any]) -> None:
    """Every optimizer that holds some of these tensors goes on with the new ones.

    Args:
        client: of the session.
        before: pointers to the tensors that a module had.
        after: pointers to those that it has now, in the same order.
    """
    for optimizer in list(client.optimizers):
        held = optimizer._items or {}
        moved = [pair for pair in zip(before, after, strict=True) if id(pair[0]) in held]
        if moved:
            olds, news = zip(*moved, strict=True)
            client.call("torch.optim.Optimizer.follow", optimizer, list(olds), list(news))


MAKERS: Final[Mapping[str, Callable[..., Any]]] = {
    name: _maker(name)
    for name, rule in TABLE.items()
    if rule.form == "constructor"
    and name.startswith("torch.optim.")
    and not name.startswith("torch.optim.lr_scheduler.")
}
"""Constructors that note what they get; the session's client comes first."""
