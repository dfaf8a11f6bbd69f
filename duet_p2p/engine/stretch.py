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

import logging
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch

from duet_p2p.engine.admission import Admission
from duet_p2p.engine.call import RepeatedCall
from duet_p2p.engine.effects import Effects
from duet_p2p.engine.fingerprint import Fingerprint, Held
from duet_p2p.engine.frame import Frame
from duet_p2p.engine.holding import last_holding
from duet_p2p.engine.judge import Verdict, label_fresh
from duet_p2p.engine.labels import Label
from duet_p2p.engine.lineage import Lineage, Owned
from duet_p2p.engine.provenance import Provenance
from duet_p2p.engine.recipe import Made
from duet_p2p.engine.routine import Routine
from duet_p2p.engine.short_ways import ShortWays
from duet_p2p.engine.steps import Step
from duet_p2p.engine.store import Slot
from duet_p2p.engine.watch import Watch
from duet_p2p.surface import bare

__all__ = ["Backward", "Halt", "Optimizing", "Plain", "Scene", "Stage", "Stretch"]


_log = logging.getLogger("duet_p2p.engine")


class Stage(Protocol):
    """The executor, as a stretch needs it."""

    admission: Admission
    short_ways: ShortWays
    watch: Watch


class Halt(Exception):
    """A command cannot be played to its end, and nothing of it was written down.

    Args:
        outcome: does again what the call did; None: it was not called.
    """

    def __init__(self, outcome: Callable[..., Any] | None) -> None:
        super().__init__()
        self.outcome = outcome


class Scene:
    """One run of a stretch."""

    __slots__ = (
        "effects", "found", "frame", "grads", "lineage", "of_grads", "storages", "values", "ways",
    )  # fmt: skip

    def __init__(
        self, found: Fingerprint, frame: Frame, ways: ShortWays, lineage: Lineage, effects: Effects
    ) -> None:
        self.found = found
        self.frame = frame
        self.ways = ways
        self.lineage = lineage
        self.effects = effects
        self.values: dict[int, Any] = {local: frame.get(local).value for local in found.nodes}
        self.storages = dict(found.storages)
        self.grads: list[torch.Tensor | None] = []  # of the last backward, so that they last
        self.of_grads: dict[int, Owned] = {}  # their entries, by identity

    def grads_of(self, tensors: list[torch.Tensor], held: Held) -> tuple[list[Any], list[Owned]]:
        """Gradients of what an optimizer holds, and their entries.

        The gradients are left out where the entries are known from its last step.
        """
        if held.of_grads is not None:
            return [], held.of_grads
        grads = [grad for tensor in tensors if (grad := tensor.grad) is not None]
        entries, at = self.of_grads, self.lineage.at
        found = [entries.get(id(g)) or at(g.untyped_storage()._cdata) for g in grads]
        of_grads = [entry for entry in found if entry is not None]
        if len(of_grads) < len(grads):
            raise Halt(None)
        return grads, of_grads

    def forget_grads(self) -> None:
        """Some tensors have other gradients now, or none."""
        self.grads, self.of_grads = [], {}
        for held in self.found.held.values():
            held.of_grads = None


@dataclass(frozen=True, slots=True)
class Plain:
    """A command that gives a new tensor and does nothing else."""

    call: RepeatedCall
    function: Callable[..., Any]
    """In the command's grad mode."""
    args: tuple[Any, ...]
    """With None in the place of tensors."""
    places: tuple[tuple[int, int], ...]
    """Position and local number of those."""
    kwargs: dict[str, Any]
    routine: Routine
    verdict: Verdict
    tags: tuple[str, ...]
    node: Made
    shared: tuple[int, ...]
    """Owner's objects among its arguments, by local number."""

    def play(self, scene: Scene) -> bool:
        """Calls it; whether what follows can be played.

        Raises:
            Halt: the ordinary way has to see to what the call gave.
        """
        values, storages, args = scene.values, scene.storages, list(self.args)
        for position, local in self.places:
            args[position] = values[local]
        before = [(values[local], values[local]._version) for local in self.shared]
        try:
            result = self.function(*args, **self.kwargs)
        except Exception as error:
            raise Halt(_raising(error)) from None
        for tensor, version in before:
            if tensor._version != version:
                raise Halt(_writing(result, [tensor for tensor, _ in before]))
        spec = self.routine.spec
        if (
            type(result) is not torch.Tensor or result.shape != spec.shape
            or result.dtype is not spec.dtype or result.requires_grad is not spec.requires_grad
        ):  # fmt: skip
            raise Halt(_giving(result))
        storage = result.untyped_storage()._cdata
        for _, local in self.places:
            if storages[local] == storage:
                raise Halt(_giving(result))
        (out,) = self.call.op.outs
        values[out], storages[out] = result, storage
        return True


@dataclass(frozen=True, slots=True)
class Backward:
    """A backward from a private loss to leaves without gradients."""

    call: RepeatedCall
    function: Callable[..., Any]
    root: int
    leaves: tuple[int, ...]
    """By local number."""
    loss: Label
    writers: frozenset[str]

    def play(self, scene: Scene) -> bool:
        """See `Plain.play`."""
        leaves = [scene.values[local] for local in self.leaves]
        for leaf in leaves:
            if leaf.grad is not None:
                raise Halt(None)
        try:
            self.function(scene.values[self.root])
        except Exception as error:
            raise Halt(_raising(error, leaves)) from None
        scene.forget_grads()
        scene.of_grads = scene.effects.leave_backward(leaves, self.loss, self.writers)
        scene.grads = [leaf.grad for leaf in leaves]
        return True


@dataclass(frozen=True, slots=True)
class Optimizing:
    """A `step` or a `zero_grad` of an optimizer."""

    call: RepeatedCall
    kwargs: dict[str, Any]
    optimizer: int
    writer: str | None
    """What a step leaves in labels; None: a `zero_grad`."""

    def play(self, scene: Scene) -> bool:
        """See `Plain.play`."""
        optimizer, held = scene.values[self.optimizer], scene.found.held[self.optimizer]
        holding = last_holding(optimizer)  # each step looks at it when it is over
        if holding is None or len(holding.tensors) != len(held.owned):
            raise Halt(None)
        grads, of_grads = scene.grads_of(holding.tensors, held)
        find = scene.lineage.find
        tracked = [entry for part in (optimizer, *holding.objects) if (entry := find(part))]
        label = tracked[0].content
        step = Step(optimizer, holding, held.owned, tracked, grads, of_grads, label)
        # Its settings, and that nothing sparse is in its state, are facts that were found.
        try:
            if self.writer is None:
                bare.zero_grad(optimizer, **self.kwargs)
            else:
                bare.step(optimizer)
        except Exception as error:
            raise Halt(_raising(error)) from None
        scene.ways.enter_step(step, self.writer)
        if self.writer is None:
            scene.forget_grads()
            return True
        held.of_grads = of_grads
        return scene.ways.leave_step(step, held.training if grads else None)


Command = Plain | Backward | Optimizing


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
        self._drops = tuple(drops)
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
        if not admission.admit_stretch(self._largest, self._nbytes, self._most, frame):
            return self.begin, None
        scene = Scene(found, frame, stage.short_ways, lineage, effects)
        values, played = scene.values, 0
        halted: RepeatedCall | None = None
        for command, dropped in zip(self._commands, self._drops, strict=True):
            watch.begin(seq, command.call.op.name)
            try:
                can_go_on = command.play(scene)
            except Halt as halt:
                halted = None if halt.outcome is None else _again(command, halt.outcome)
                break
            except Exception as error:  # a mistake of ours: as if the call had raised it
                _log.exception("the engine failed in %s", command.call.op.name)
                halted = _again(command, _raising(error))
                break
            played += 1
            for local in dropped:
                del values[local]
                if local in found.nodes:  # it came from outside
                    frame.take(local)
            if not can_go_on:
                lineage.epoch += 1  # what the run found is not what it leaves
                break
        if played < len(self._commands):
            admission.room.give_back(sum(self._sizes[played:]))
        admission.pass_nothing()
        self._write_down(played, scene)
        return self.begin + played, halted

    def _write_down(self, played: int, scene: Scene) -> None:
        """Slots, labels, rows and nodes of all that can still be named."""
        self._renew(scene.found)
        lineage = scene.lineage
        for place in range(played) if played < len(self._commands) else self._lasting:
            command, node = self._commands[place], self._nodes[place]
            if not isinstance(command, Plain) or node is None:
                continue
            (out,) = command.call.op.outs
            if out not in scene.values:
                continue
            result = scene.values[out]
            verdict = self._with_rows(command.verdict, scene.found)
            entry = label_fresh(verdict, result, result.untyped_storage(), lineage)
            Provenance.keep_in(entry, node)
            scene.frame.place(out, Slot(result, tags=command.tags, made=node))

    def _renew(self, found: Fingerprint) -> None:
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
                self._nodes[place] = old = Made(old.op, old.args, old.kwargs, inputs, old.forms)
            now[command.call.op.outs[0]] = old
        before.update(given)

    def _with_rows(self, verdict: Verdict, found: Fingerprint) -> Verdict:
        """The verdict, of the records that came this time."""
        rows = verdict.rows
        if rows is None:
            return verdict
        key = found.keys[self._found.keys.index(rows.key)]
        return verdict if key is rows.key else replace(verdict, rows=replace(rows, key=key))


def _again(command: Command, outcome: Callable[..., Any]) -> RepeatedCall:
    """A command with what its call did in the place of the call."""
    call = copy(command.call)
    call.function = outcome
    return call


def _giving(result: Any) -> Callable[..., Any]:
    return lambda *_, **__: result


def _raising(error: Exception, leaves: Sequence[torch.Tensor] = ()) -> Callable[..., Any]:
    """Raises an error, after it has put gradients in their places again."""
    grads = [leaf.grad for leaf in leaves]
    for leaf in leaves:
        leaf.grad = None

    def raise_again(*_: Any, **__: Any) -> Any:
        for leaf, grad in zip(leaves, grads, strict=True):
            leaf.grad = grad
        raise error

    return raise_again


def _writing(result: Any, tensors: Sequence[torch.Tensor]) -> Callable[..., Any]:
    """Gives a result, after it has written to tensors: to no number, but torch counts it."""

    def write_again(*_: Any, **__: Any) -> Any:
        for tensor in tensors:
            tensor.detach().unsqueeze(0)[:0].zero_()
        return result

    return write_again
