"""Commands that fail around what they do: those that are no operations, and all without memory.

That there is no memory is a public fact as long as no private value decided how much of it is in
use. Then one command fails. Afterwards the end of the process has to say it: that suspends the
session, so it can be said once (docs/threat-model.md).
"""

from __future__ import annotations

from typing import Final

from duet_p2p.engine import messages as m
from duet_p2p.engine.arguments import is_private
from duet_p2p.engine.executor import Executor
from duet_p2p.engine.failures import code_of, is_exhaustion, text_of
from duet_p2p.engine.labels import PUBLIC
from duet_p2p.engine.lineage import Lineage
from duet_p2p.engine.plans import Plans
from duet_p2p.engine.reserve import FULL, RESERVE
from duet_p2p.engine.store import Poison, Slot, Store
from duet_p2p.wire.messages import DefinePlan, Op, Put, RunClosure, RunPlan

__all__ = ["Refusals"]

_TAKING: Final = frozenset({Op, RunPlan, RunClosure, DefinePlan})
"""Commands that cannot begin without memory; an upload finds its own or does not."""


class Refusals:
    """Says that commands failed, and leaves poison under the ids of their results."""

    def __init__(self, store: Store, lineage: Lineage, plans: Plans) -> None:
        self._store = store
        self._lineage = lineage
        self._plans = plans

    def refused(
        self, seq: int, command: m.Ordered, error: Exception, executor: Executor
    ) -> list[m.Event]:
        """A command failed that is no operation, or did not begin."""
        name = command.name if isinstance(command, Op) else type(command).__name__
        label = executor.of_memory() if is_exhaustion(error) else PUBLIC
        is_public = not is_private(label)
        poison = Poison(seq, name, code_of(error), text_of(error), is_public, label)
        self._lineage.has_poison = True
        for id in _outs(command):
            if id > 0 and id not in self._store and executor.has_room_for_poison():
                self._store.put(id, Slot(poison))
        return [m.OpFailed(seq, name, poison.code, poison.text, is_public)]

    @staticmethod
    def is_full(command: m.Ordered) -> bool:
        """Whether a command could take memory that there is not."""
        return type(command) in _TAKING and RESERVE.is_short()

    def no_memory(
        self, executor: Executor, seq: int, command: m.Ordered, error: MemoryError | None = None
    ) -> list[m.Event]:
        """There is none for a command, or there was none in the middle of it (`error`).

        Raises:
            MemoryError: the process has to end of it: that it fails is private, it may have written
                half of what it writes, or there is nothing that could be deleted.
        """
        with RESERVE:
            is_half_done = error is not None and isinstance(command, Op | RunClosure)
            is_all = error is None and not any(id > 0 for id in self._store.ids())
            if is_half_done or is_all or is_private(executor.of_memory()):
                raise error or MemoryError(FULL)
            if error is not None and isinstance(command, RunPlan):
                return self._plans.spoilt(seq, command, error, executor)
            return self.refused(seq, command, error or MemoryError(FULL), executor)


def _outs(command: m.Ordered) -> tuple[int, ...]:
    if isinstance(command, RunClosure):
        return (command.out,)
    return command.outs if isinstance(command, Op | Put | RunPlan) else ()
