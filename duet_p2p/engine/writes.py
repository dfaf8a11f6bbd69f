"""What a command may write to, and that it never is what the owner shared."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import torch

from duet_p2p.engine.arguments import Arguments, is_private, tensors_in
from duet_p2p.engine.clips import CLIPS, clipped_by
from duet_p2p.engine.effects import Effects
from duet_p2p.engine.failures import PublicError
from duet_p2p.engine.kept import check_not_used_up
from duet_p2p.engine.lineage import OF_THE_OWNER, Lineage, Tracked, is_atomic
from duet_p2p.engine.running import Running
from duet_p2p.engine.settings import refused_run
from duet_p2p.errors import NotAllowed
from duet_p2p.surface.table import Rule, written

__all__ = ["OF_GRAPHS", "Writes"]

_SETS: Final = "torch.Tensor.grad="
OF_GRAPHS: Final = frozenset({_SETS, "torch.Tensor.backward", "torch.autograd.grad"})
"""Names whose arguments `Writes.ready` looks at."""


class Writes:
    """Finds what commands write to."""

    def __init__(self, lineage: Lineage, effects: Effects) -> None:
        self._lineage = lineage
        self._effects = effects

    def targets(self, rule: Rule, given: Arguments) -> list[torch.Tensor]:
        """Every tensor that the call may write to.

        Raises:
            PublicError: one of its objects is the owner's.
        """
        listed = written(rule, given.args, given.kwargs, given.slots)
        found = [part for value in listed for part in tensors_in(value)]
        if rule.name.startswith("python."):
            found = []  # a container is written to, and not what lies in it
        if rule.name.startswith("torch.optim.Optimizer."):
            found = []  # effects knows better than "the first argument"
        for entry in self._shared_boxes(listed):
            if self._is_named(entry, given) or not is_private(entry.structure):
                raise PublicError(NotAllowed(OF_THE_OWNER))  # else it may have been chosen
        found += self._effects.targets(rule.name, given)
        return list({id(t): t for t in found}.values()) if found else found

    def _is_named(self, entry: Tracked, given: Arguments) -> bool:
        """Whether the call names an owner's container itself, and not what was taken from one."""
        first = given.at[0] if given.at else None
        return first is not None and first.is_shared and self._lineage.find(first.value) is entry

    def _shared_boxes(self, listed: Iterable[Any]) -> list[Tracked]:
        entries = [self._lineage.find(value) for value in listed if not is_atomic(value)]
        return [entry for entry in entries if entry is not None and entry.is_shared]

    def refusal(self, run: Running) -> tuple[NotAllowed | None, bool]:
        """Why a call may not write to its targets, or run over what it is given.

        And whether a private value may have chosen which object that is.
        """
        entries = [run.given.owned(target, self._lineage) for target in run.targets]
        if run.rule.name in CLIPS:
            entries += map(self._lineage.entry, clipped_by(run.given))
        refused = [entry for entry in entries if entry is not None and entry.read_only]
        if not refused:
            given = run.given
            if self._shared_boxes(written(run.rule, given.args, given.kwargs, given.slots)):
                return NotAllowed(OF_THE_OWNER), True
            if run.is_container:
                return refused_run(run.rule, run.given, self._lineage)
            return None, False
        return NotAllowed(refused[0].read_only), all(entry.hidden for entry in refused)

    def shared(self, given: Arguments) -> list[tuple[torch.Tensor, int]]:
        """The owner's objects among the arguments, as they are."""
        return [
            (tensor, tensor._version) for tensor in given.tensors()
            if (entry := given.owned(tensor, self._lineage)) is not None
            and entry.is_shared and not tensor.is_inference()
        ]  # fmt: skip

    def ready(self, name: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments of one of `OF_GRAPHS`, as it may run on them.

        Raises:
            RuntimeError: a graph is used up, by a backward that failed.
        """
        if name == _SETS:
            return tuple([self._unshared(value) for value in args])
        if self._lineage.has_poison and args:
            check_not_used_up(tensors_in(args[0]))
        return args

    def _unshared(self, value: Any) -> Any:
        """A gradient is written to by every backward: what is read-only becomes one as a copy."""
        if not isinstance(value, torch.Tensor):
            return value
        entry = self._lineage.entry(value)
        if entry is None or not entry.read_only:
            return value
        copy = value.detach().clone()
        self._lineage.own(copy).label = entry.label
        return copy
