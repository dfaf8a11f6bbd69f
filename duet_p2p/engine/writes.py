"""What a command may write to, and that it never is what the owner shared."""

from __future__ import annotations

from typing import Any

import torch

from duet_p2p.engine.arguments import Arguments, tensors_in
from duet_p2p.engine.effects import Effects
from duet_p2p.engine.failures import PublicError
from duet_p2p.engine.lineage import OF_THE_OWNER, Lineage, is_atomic
from duet_p2p.errors import NotAllowed
from duet_p2p.surface.table import Rule, written

__all__ = ["Writes"]


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
        for value in listed:
            entry = None if is_atomic(value) else self._lineage.find(value)
            if entry is not None and entry.is_shared:
                raise PublicError(NotAllowed(OF_THE_OWNER))
        found += self._effects.targets(rule.name, given)
        return list({id(t): t for t in found}.values()) if found else found

    def refusal(
        self, targets: list[torch.Tensor], given: Arguments
    ) -> tuple[NotAllowed | None, bool]:
        """Why these cannot be written to, and whether a private value may have chosen which."""
        for target in targets:
            entry = given.owned(target, self._lineage)
            if entry is not None and entry.read_only:
                return NotAllowed(entry.read_only), entry.hidden
        return None, False

    def shared(self, given: Arguments) -> list[tuple[torch.Tensor, int]]:
        """The owner's objects among the arguments, as they are."""
        return [
            (tensor, tensor._version) for tensor in given.tensors()
            if (entry := given.owned(tensor, self._lineage)) is not None
            and entry.is_shared and not tensor.is_inference()
        ]  # fmt: skip

    def unshared(self, value: Any) -> Any:
        """A gradient is written to by every backward: what is read-only becomes one as a copy."""
        if not isinstance(value, torch.Tensor):
            return value
        entry = self._lineage.entry(value)
        if entry is None or not entry.read_only:
            return value
        copy = value.detach().clone()
        self._lineage.own(copy).label = entry.label
        return copy
