"""Runs of one plan in a row that all find the same: torch's calls, and one entry in the books.

A training loop sends the same run again and again, many in one message. Where each finds what its
predecessor left (score.py), each leaves the same labels, and what its predecessor left is gone:
gradients that the next `zero_grad` drops, results that nothing names. So between two of them there
is nothing to look up. What all of them leave together is written down when anything else happens,
at the latest at the end of the message: versions, steps, the entries of the last gradients, and the
results that are still there. Until then a result's slot itself carries its label, so whoever found
it too early would find it private.

Looked at each time are ids, quotas, the checks of the names, what each call gives and what a step
moved. If something is not as ever, all that came before is written down, and the ordinary way goes
on from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from duet_p2p.engine.call import RepeatedCall
from duet_p2p.engine.effects import Effects
from duet_p2p.engine.fingerprint import Fingerprint
from duet_p2p.engine.frame import Frame
from duet_p2p.engine.lineage import Lineage
from duet_p2p.engine.played import Halt, Optimizing, Scene, ended
from duet_p2p.engine.store import PlanOutput, Slot, Store
from duet_p2p.engine.stretch import Stage, Stretch
from duet_p2p.engine.ties import touches

__all__ = ["Replay"]


class _Result(NamedTuple):
    """One output of one run."""

    id: int
    slot: Slot
    output: int
    run: int


class Replay:
    """Runs of a plan, from a first one that finds what was left for it.

    Args:
        stretch: all commands of the plan.
        found: what each run finds.
        given: inputs and captures by local number, the session's very slots.
        outputs: the plan's, by local number.
        store: the session's.

    Raises:
        Halt: the plan cannot be run like this.
    """

    def __init__(
        self, stretch: Stretch, found: Fingerprint, given: Mapping[int, Slot],
        outputs: tuple[int, ...], store: Store, stage: Stage, lineage: Lineage, effects: Effects,
    ) -> None:  # fmt: skip
        self._stretch, self._store, self._stage, self._lineage = stretch, store, stage, lineage
        self._scene = Scene(found, given, stage.short_ways, lineage, effects)
        self._values = dict(self._scene.values)
        self._locals = outputs
        self._places = [stretch.result(local) for local in outputs]
        self._results: list[_Result] = []
        self._runs = 0
        self.is_halted = False
        """A run did not come to its end, or the next one finds something else."""
        stretch.renew(found)
        for command, _ in stretch.rows:
            if isinstance(command, Optimizing):
                if command.optimizer in self._scene.steps:
                    continue
                step = self._scene.steps[command.optimizer] = command.step(self._scene)
                if found.held[command.optimizer].training is None or not step.of_grads:
                    raise Halt(None)
        for step in self._scene.steps.values():
            for entry in step.of_grads:
                entry.version += 1  # the first run drops these, whoever else holds them
            step.grads, step.of_grads = [], []

    def once(
        self, seq: int, outs: tuple[int, ...], run: int
    ) -> tuple[int, RepeatedCall | None] | None:
        """One run; None: it is over.

        Otherwise everything is written down, and the ordinary way goes on with the command at this
        place, or with that command where it was called; `place` has the results until there.

        Args:
            seq: of the run.
            outs: ids of its outputs, which are fresh.
            run: its number among all runs.
        """
        stretch, scene = self._stretch, self._scene
        admission, begin = self._stage.admission, self._stage.watch.begin
        if not stretch.admit(admission, self._store):
            self.is_halted = True
            self.write_down()
            return 0, None
        scene.values = values = dict(self._values)
        scene.storages = dict(scene.found.storages)
        played = 0
        halted: RepeatedCall | None = None
        for command, dropped in stretch.rows:
            begin(seq, command.call.op.name)
            try:
                command.run(scene)
            except Exception as error:
                halted = ended(command, error)
                break
            played += 1
            for local in dropped:
                del values[local]
            if type(command) is Optimizing and command.writer and not command.moves_nothing(scene):
                scene.is_still = False
                break
        stretch.leave_off(played, admission)
        if played < len(stretch.rows) or not scene.is_still:
            self.is_halted = True
            self._write_down(played)
            return played, halted
        self._runs += 1
        for output, (id, place) in enumerate(zip(outs, self._places, strict=True)):
            slot = stretch.slot(place, values[self._locals[output]])
            self._store.put(id, slot)
            self._results.append(_Result(id, slot, output, run))
        return None

    def write_down(self) -> None:
        """What the runs have left, before anything else happens."""
        if self._runs:
            self._runs -= 1  # the last one leaves it by its commands
            self._write_down(len(self._stretch.rows))

    def _write_down(self, played: int) -> None:
        """What runs have left, and the first commands of another one."""
        scene, runs, self._runs = self._scene, self._runs, 0
        for command, _ in self._stretch.rows if runs else ():
            if isinstance(command, Optimizing):
                command.leave_many(scene, runs)
        for command, _ in self._stretch.rows[:played]:
            self.is_halted = not command.leave(scene) or self.is_halted

    def label(self, digest: str, stands: str) -> None:
        """Labels of the results that are still there.

        Args:
            digest: of the plan.
            stands: for the plan and all that it was given.
        """
        results, self._results = self._results, []
        for id, slot, output, run in results:
            if self._store.find(id) is not slot:
                continue
            self._stretch.label(self._places[output], slot, self._scene)
            version = self._lineage.version(slot.value, slot.uid, touches(slot, self._lineage))
            slot.origin = PlanOutput(digest, output, run, 1, version, stands)

    def place(self, frame: Frame, played: int) -> None:
        """Results of the first commands of a run that was halted."""
        self._stretch.place(range(played), self._scene, frame)
