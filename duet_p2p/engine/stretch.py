"""A stretch of a plan's commands that is played: torch calls and nothing between them.

The executor works out what a command gives and leaves from what the command finds. A stretch that
finds, as a whole, what it found in an earlier run (fingerprint.py) leaves what it left then. So one
comparison at its beginning stands for all that the executor would look at command by command, and
the results of plain commands that nobody can name afterwards get no slot, no label and no entry.
What an optimizer's steps and a backward leave is written down by the very functions that the short
ways use.

Not foreseen, and so looked at each time: guards of the names, the shape, type and storage of each
result, writes to the owner's objects, leaves that have a gradient already, what a step moved, and
the session's quotas, at the beginning for the whole stretch. The watch hears of each command.

If a call raises, or gives something else, what came before it is written down, and the command goes
the ordinary way with what the call gave in the place of the call: nothing is called twice. So
failures look the same, to the last byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final, Protocol

import torch

from duet_p2p.engine.admission import Admission
from duet_p2p.engine.call import RepeatedCall
from duet_p2p.engine.effects import Effects
from duet_p2p.engine.fingerprint import Fingerprint
from duet_p2p.engine.frame import Frame
from duet_p2p.engine.judge import Verdict, label_fresh
from duet_p2p.engine.labels import PUBLIC
from duet_p2p.engine.lineage import Lineage
from duet_p2p.engine.played import Backward, Command, Halt, Optimizing, Plain, Scene, ended
from duet_p2p.engine.provenance import Provenance
from duet_p2p.engine.recipe import Made, made
from duet_p2p.engine.short_ways import ShortWays
from duet_p2p.engine.store import Slot, Store
from duet_p2p.engine.watch import Watch

__all__ = ["Stage", "Stretch"]


class Stage(Protocol):
    """The executor, as a stretch needs it."""

    admission: Admission
    short_ways: ShortWays
    watch: Watch


class Stretch:
    """Commands of a plan, from one place to another, that can be played.

    Args:
        begin: the place of the first one.
        commands: all of them.
        found: what they found.
        drops: of each one, the locals that nothing after it names.

    Attributes:
        end: the place behind the last one.
    """

    def __init__(
        self, begin: int, commands: Sequence[Command], found: Fingerprint,
        drops: Sequence[tuple[int, ...]],
    ) -> None:  # fmt: skip
        self.begin, self.end = begin, begin + len(commands)
        self._commands = tuple(commands)
        self._found = found
        self.rows: Final = tuple(zip(commands, drops, strict=True))
        """Each command, with the locals that nothing after it names."""
        self._sizes = [c.routine.nbytes if isinstance(c, Plain) else 0 for c in commands]
        self._has_backward = any([isinstance(c, Backward) for c in commands])
        self._largest, self._nbytes = max(self._sizes), sum(self._sizes)
        self._nodes = [c.node if isinstance(c, Plain) else None for c in commands]
        gone = {local for dropped in drops for local in dropped}
        self._lasting = [
            place for place, command in enumerate(commands)
            if isinstance(command, Plain) and not gone.intersection(command.call.op.outs)
        ]  # fmt: skip
        self._most = held = 0  # results at once
        for command, dropped in zip(commands, drops, strict=True):
            held += isinstance(command, Plain)
            self._most = max(self._most, held)
            held -= len(dropped)

    def can_follow_itself(self, effects: Effects) -> bool:
        """Whether runs in a row leave together what the last one does, beside counts.

        So it is where each optimizer's gradients are dropped, made and used once in a run.
        """
        if self._has_backward and effects.retained():
            return False
        places: dict[tuple[int, bool], int] = {}
        backwards = [n for n, c in enumerate(self._commands) if isinstance(c, Backward)]
        for place, command in enumerate(self._commands):
            if not isinstance(command, Optimizing):
                continue
            is_step, settings = command.writer is not None, command.kwargs.values()
            if (command.optimizer, is_step) in places or not all(settings):
                return False
            places[command.optimizer, is_step] = place
        if not places:
            return not backwards
        return len(backwards) == 1 and all(
            [
                (place > backwards[0]) is is_step and (optimizer, False) in places
                for (optimizer, is_step), place in places.items()
            ]
        )

    def admit(self, admission: Admission, held: Store) -> bool:
        """Whether there is room for one run beside these objects."""
        return admission.admit_stretch(self._largest, self._nbytes, self._most, held)

    def result(self, local: int) -> int:
        """The place of the command that makes an output.

        Raises:
            Halt: it is not made here.
        """
        for place in self._lasting:
            if local in self._commands[place].call.op.outs:
                return place
        raise Halt(None)

    def slot(self, place: int, value: torch.Tensor) -> Slot:
        """Of the result of a command, which has the label that the value is still to get."""
        command = self._commands[place]
        assert isinstance(command, Plain)
        label = command.verdict.label
        return Slot(value, label, tags=command.tags, made=self._nodes[place])

    def finds(self, found: Fingerprint) -> bool:
        """Whether a run that finds this can be played."""
        return found.facts == self._found.facts

    def play(
        self, seq: int, found: Fingerprint, frame: Frame, stage: Stage, lineage: Lineage,
        effects: Effects,
    ) -> tuple[int, RepeatedCall | None]:  # fmt: skip
        """Runs the commands, as far as they can be played.

        Returns:
            The place of the command that the ordinary way goes on with, and that command where it
            is not the plan's own, since it was called.
        """
        admission, watch = stage.admission, stage.watch
        if self._has_backward and effects.retained():
            return self.begin, None  # it would leave more gradients
        if not self.admit(admission, frame):
            return self.begin, None
        given = {local: frame.get(local) for local in found.nodes}
        scene = Scene(found, given, stage.short_ways, lineage, effects)
        values, played = scene.values, 0
        halted: RepeatedCall | None = None
        for command, dropped in self.rows:
            watch.begin(seq, command.call.op.name)
            try:
                can_go_on = command.play(scene)
            except Exception as error:
                halted = ended(command, error)
                break
            played += 1
            for local in dropped:
                del values[local]
                if local in found.nodes:  # it came from outside
                    frame.take(local)
            if not can_go_on:
                lineage.epoch += 1  # what the run found is not what it leaves
                break
        self.leave_off(played, admission)
        self.renew(found)
        is_whole = played == len(self._commands)
        self.place(self._lasting if is_whole else range(played), scene, frame)
        return self.begin + played, halted

    def leave_off(self, played: int, admission: Admission) -> None:
        """So many commands were played."""
        if played < len(self._commands):
            admission.room.give_back(sum(self._sizes[played:]))
        admission.pass_nothing()

    def place(self, places: Iterable[int], scene: Scene, frame: Frame) -> None:
        """Slots, labels, rows and nodes of all that can still be named."""
        for place in places:
            command = self._commands[place]
            if isinstance(command, Plain) and (out := command.call.op.outs[0]) in scene.values:
                slot = self.slot(place, scene.values[out])
                self.label(place, slot, scene)
                frame.place(out, slot)

    def label(self, place: int, slot: Slot, scene: Scene) -> None:
        """Puts the label of a result where it belongs."""
        command, node = self._commands[place], self._nodes[place]
        assert isinstance(command, Plain) and node is not None
        verdict, value = self._with_rows(command.verdict, scene.found), slot.value
        entry = label_fresh(verdict, value, value.untyped_storage(), scene.lineage)
        Provenance.keep_in(entry, node)
        slot.label = PUBLIC

    def renew(self, found: Fingerprint) -> None:
        """Nodes of results: those of the last run, unless what was given has other ones."""
        given, before = found.nodes, self._found.nodes
        if all([given[local] is node for local, node in before.items()]):
            return
        now: dict[int, Made] = dict(given)
        for place, command in enumerate(self._commands):
            old = self._nodes[place]
            if old is None:
                continue
            inputs = {local: now[local] for local in old.inputs}
            if any([inputs[local] is not node for local, node in old.inputs.items()]):
                mode = old.mode
                old = made(old.op, old.args, old.kwargs, inputs, old.forms, mode)
                self._nodes[place] = old
            now[command.call.op.outs[0]] = old
        before.update(given)

    def _with_rows(self, verdict: Verdict, found: Fingerprint) -> Verdict:
        """The verdict, of the records that came this time."""
        rows = verdict.rows
        if rows is None:
            return verdict
        key = found.keys[self._found.keys.index(rows.key)]
        return verdict if key is rows.key else replace(verdict, rows=replace(rows, key=key))
