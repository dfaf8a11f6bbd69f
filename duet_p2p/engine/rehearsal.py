"""An ordinary run of a stretch of a plan's commands that is watched, so that it can be played.

Of each command it is noted that it took its short way, and what it gave and left. Whatever is not
sure to be the same for a run that finds the same ends the rehearsal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from duet_p2p.engine.arguments import Arguments, is_private
from duet_p2p.engine.call import RepeatedCall
from duet_p2p.engine.effects import Effects
from duet_p2p.engine.fingerprint import Fingerprint
from duet_p2p.engine.frame import Frame
from duet_p2p.engine.judge import Verdict
from duet_p2p.engine.labels import PUBLIC, Label
from duet_p2p.engine.lineage import Lineage
from duet_p2p.engine.played import Backward, Command, Optimizing, Plain
from duet_p2p.engine.provenance import BACKWARD, OPTIMIZING
from duet_p2p.engine.routine import Question, Routine, can_be_plain
from duet_p2p.engine.short_ways import ShortWays
from duet_p2p.engine.steps import STEP, Step
from duet_p2p.engine.store import IdError
from duet_p2p.surface.guard import apart
from duet_p2p.wire.values import Ref

__all__ = ["Rehearsal", "can_be_played"]


def can_be_played(call: RepeatedCall) -> bool:
    """Whether a command has a short way, as far as its name and its form tell."""
    name, op = call.rule.name, call.op
    if op.mode not in ("g", "n") or not op.args:
        return False
    if name in OPTIMIZING or name == BACKWARD:
        return op.mode == "g" and not op.outs and type(op.args[0]) is Ref and len(op.args) == 1
    return can_be_plain(name) and len(op.outs) == 1


class Rehearsal:
    """One run that is watched, from the first command of a stretch on.

    Args:
        found: what the stretch finds.
        frame: the run's objects.
        run: stands for the plan and all that it was given.
    """

    def __init__(
        self, found: Fingerprint, frame: Frame, run: str, ways: ShortWays, lineage: Lineage,
        effects: Effects,
    ) -> None:  # fmt: skip
        self.found = found
        self.commands: list[Command] = []
        self._frame = frame
        self._run = run
        self._ways = ways
        self._lineage = lineage
        self._effects = effects
        self._made: set[int] = set()

    def before(self, call: RepeatedCall) -> Callable[[], Command | None] | None:
        """A command is about to run.

        Returns:
            What to ask when it has run: the command as it can be played, or None. None itself if
            it cannot be.
        """
        try:
            given = call.arguments(self._frame)
        except IdError:
            return None
        if call.rule.name in OPTIMIZING:
            return self._optimizing(call, given)
        if call.rule.name == BACKWARD:
            return self._backward(call, given)
        return self._plain(call, given)

    def _plain(self, call: RepeatedCall, given: Arguments) -> Callable[[], Command | None] | None:
        routines = self._ways.routines
        question = routines.question(call.rule, call.op.mode, given)
        routine = None if question is None else routines.find(question)
        if question is None or routine is None:
            return None
        verdict, known = routine.verdict_on(question), {*self._made, *self.found.storages}
        if not routine.is_met or verdict.is_hidden or not is_private(verdict.label):
            return None
        if verdict.rows is not None and verdict.rows.key not in self.found.keys:
            return None
        if any([isinstance(value, torch.Tensor) for value in given.kwargs.values()]):
            return None
        places = []
        for position, (value, wire) in enumerate(zip(given.args, call.op.args, strict=True)):
            if isinstance(value, torch.Tensor):
                if type(wire) is not Ref or wire.id not in known:
                    return None
                places.append((position, wire.id))
        if {local for _, local in places} != given.slots.keys():
            return None
        return lambda: self._was_plain(call, given, question, routine, verdict, tuple(places))

    def _was_plain(
        self, call: RepeatedCall, given: Arguments, question: Question, routine: Routine,
        verdict: Verdict, places: tuple[tuple[int, int], ...],
    ) -> Plain | None:  # fmt: skip
        (out,) = call.op.outs
        slot = self._frame.find(out)
        if slot is None or type(slot.value) is not torch.Tensor or slot.made is None:
            return None
        storage, node = slot.value.untyped_storage()._cdata, slot.made
        entry = self._lineage.at(storage)
        if entry is None or storage in question.storages or slot.label is not PUBLIC:
            return None
        if entry.label != verdict.label or entry.hidden or entry.made is not node or node.is_cut:
            return None
        nodes = {local: other.made for local, other in given.slots.items()}
        if node.inputs.keys() != nodes.keys():
            return None
        if any([nodes[local] is not inner for local, inner in node.inputs.items()]):
            return None
        self._made.add(out)
        args = tuple([None if isinstance(v, torch.Tensor) else v for v in given.args])
        shared = tuple({local: None for _, local in places if local in self.found.shared})
        return Plain(
            call, in_mode(call), args, places, given.kwargs, routine, verdict, slot.tags, node,
            shared,
        )  # fmt: skip

    def _backward(
        self, call: RepeatedCall, given: Arguments
    ) -> Callable[[], Command | None] | None:
        local, root = call.op.args[0].id, given.args[0]
        if given.kwargs or local not in self._made or self._effects.retained():
            return None
        entry, leaves = self._lineage.entry(root), self._effects.fresh_leaves(root)
        if entry is None or leaves is None or not is_private(entry.label):
            return None
        # Some are dropped by now, as nothing after this names them: a batch, for one.
        slots = {n: self._frame.find(n) for n in self.found.storages}
        named = {id(slot.value): n for n, slot in slots.items() if slot is not None}
        if not all([id(leaf) in named for leaf in leaves]):
            return None
        numbers, loss = tuple([named[id(leaf)] for leaf in leaves]), entry.label
        return lambda: self._was_backward(call, local, leaves, numbers, loss)

    def _was_backward(
        self, call: RepeatedCall, root: int, leaves: list[torch.Tensor], numbers: tuple[int, ...],
        loss: Label,
    ) -> Backward | None:  # fmt: skip
        if any([leaf.grad is None or leaf.grad.layout is not torch.strided for leaf in leaves]):
            return None
        function, writers = apart(call.function), self._effects.writers
        return Backward(call, function, root, numbers, loss, writers)

    def _optimizing(
        self, call: RepeatedCall, given: Arguments
    ) -> Callable[[], Command | None] | None:
        local = call.op.args[0].id
        step = self._ways.steps.find(call.rule, given, call.op.outs)
        if step is None or local not in self.found.held:
            return None
        writer = None
        if call.rule.name == STEP:
            writer = self._ways.steps.writer(step, self._run)
            if writer is None:
                return None
        return lambda: self._was_optimizing(call, local, step, writer)

    def _was_optimizing(
        self, call: RepeatedCall, local: int, step: Step, writer: str | None
    ) -> Optimizing | None:
        if not self._ways.steps.is_as_foreseen(step):
            return None
        return Optimizing(call, call.op.kwargs, local, writer)


def in_mode(call: RepeatedCall) -> Callable[..., Any]:
    """The function of a command, in its grad mode where that is not the usual one."""
    function = apart(call.function)
    if call.op.mode == "g":
        return function

    def run(*args: Any, **kwargs: Any) -> Any:
        with torch.no_grad():
            return function(*args, **kwargs)

    return run
