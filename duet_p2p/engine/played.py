"""The commands of a stretch (stretch.py), each as it is played: a torch call and what it leaves.

`play` calls it and writes down what it leaves. Where runs follow one another (replay.py) each is
called with `run`, and `leave` writes down what the last one left.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import torch

from duet_p2p.engine.address import address_of
from duet_p2p.engine.call import RepeatedCall
from duet_p2p.engine.effects import Effects
from duet_p2p.engine.fingerprint import Fingerprint, Held
from duet_p2p.engine.holding import last_holding
from duet_p2p.engine.judge import Verdict
from duet_p2p.engine.labels import Label
from duet_p2p.engine.lineage import Lineage, Owned
from duet_p2p.engine.recipe import Made
from duet_p2p.engine.routine import Routine
from duet_p2p.engine.short_ways import ShortWays
from duet_p2p.engine.steps import Step
from duet_p2p.engine.store import Slot
from duet_p2p.surface import bare

__all__ = ["Backward", "Command", "Halt", "Optimizing", "Plain", "Scene", "ended"]

_log = logging.getLogger("duet_p2p.engine")


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
        "effects", "found", "grads", "is_still", "lineage", "of_grads", "steps", "storages",
        "values", "ways",
    )  # fmt: skip

    def __init__(
        self, found: Fingerprint, given: Mapping[int, Slot], ways: ShortWays, lineage: Lineage,
        effects: Effects,
    ) -> None:  # fmt: skip
        self.found = found
        self.ways = ways
        self.lineage = lineage
        self.effects = effects
        self.values: dict[int, Any] = {local: given[local].value for local in found.nodes}
        self.storages = dict(found.storages)
        self.grads: list[torch.Tensor | None] = []  # of the last backward, so that they last
        self.of_grads: dict[int, Owned] = {}  # their entries, by identity
        self.is_still = True  # where runs stand: the last step moved nothing
        self.steps: dict[int, Step] = {}  # what optimizers were found to write to, where runs stand

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
        """Calls it and writes down what it leaves; whether what follows can be played.

        Raises:
            Halt: the ordinary way has to see to what the call gave.
        """
        self.run(scene)
        return True

    def leave(self, scene: Scene) -> bool:
        """Writes down what it leaves beside its result; whether nothing is otherwise than found."""
        return True

    def run(self, scene: Scene) -> None:
        """Calls it; see `play`."""
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
        storage = address_of(result)
        for _, local in self.places:
            if storages[local] == storage:
                raise Halt(_giving(result))
        (out,) = self.call.op.outs
        values[out], storages[out] = result, storage


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
        self.run(scene)
        return self.leave(scene)

    def run(self, scene: Scene) -> None:
        """See `Plain.run`."""
        leaves = [scene.values[local] for local in self.leaves]
        for leaf in leaves:
            if leaf.grad is not None:
                raise Halt(None)
        try:
            self.function(scene.values[self.root])
        except Exception as error:
            raise Halt(_raising(error, leaves)) from None

    def leave(self, scene: Scene) -> bool:
        """See `Plain.leave`."""
        leaves = [scene.values[local] for local in self.leaves]
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
        step = self.step(scene)
        self.run(scene)
        return self._leave(scene, step)

    def step(self, scene: Scene) -> Step:
        """What it may write to.

        Raises:
            Halt: that is not what was found.
        """
        optimizer, held = scene.values[self.optimizer], scene.found.held[self.optimizer]
        holding = last_holding(optimizer)  # each step looks at it when it is over
        if holding is None or len(holding.tensors) != len(held.owned):
            raise Halt(None)
        grads, of_grads = scene.grads_of(holding.tensors, held)
        find = scene.lineage.find
        tracked = [entry for part in (optimizer, *holding.objects) if (entry := find(part))]
        label = tracked[0].content
        return Step(optimizer, holding, held.owned, tracked, grads, of_grads, label)

    def run(self, scene: Scene) -> None:
        """See `Plain.run`."""
        optimizer = scene.values[self.optimizer]
        # Its settings, and that nothing sparse is in its state, are facts that were found.
        try:
            if self.writer is None:
                bare.zero_grad(optimizer, **self.kwargs)
            else:
                bare.step(optimizer)
        except Exception as error:
            raise Halt(_raising(error)) from None

    def leave(self, scene: Scene) -> bool:
        """See `Plain.leave`; the gradients that a `zero_grad` dropped are not seen to."""
        held, grads, of_grads = (
            scene.found.held[self.optimizer],
            list[torch.Tensor](),
            list[Owned](),
        )
        known = scene.steps[self.optimizer]
        if self.writer is None:
            scene.forget_grads()
        else:
            grads, of_grads = scene.grads_of(known.holding.tensors, held)
        step = replace(known, grads=grads, of_grads=of_grads)
        if self.writer is None or not scene.is_still:
            return self._leave(scene, step)
        scene.ways.enter_step(step, self.writer)
        held.of_grads = of_grads
        assert held.training is not None
        scene.effects.note_again(held.training, step.optimizer)
        return True

    def leave_many(self, scene: Scene, runs: int) -> None:
        """What so many runs of it leave, each with gradients of its own that are gone by now."""
        step, held = scene.steps[self.optimizer], scene.found.held[self.optimizer]
        for entry in step.owned:
            entry.version += runs if self.writer is None else 2 * runs
        if self.writer is not None:
            for tracked in step.tracked:
                tracked.version += runs
            assert held.training is not None
            held.training.steps += runs

    def moves_nothing(self, scene: Scene) -> bool:
        """Whether all that the optimizer holds is where it was found."""
        optimizer, held = scene.values[self.optimizer], scene.found.held[self.optimizer]
        holding = last_holding(optimizer)
        if holding is None or not holding.is_as_found(optimizer):
            return False
        return [address_of(tensor) for tensor in holding.tensors] == held.addresses

    def _leave(self, scene: Scene, step: Step) -> bool:
        held = scene.found.held[self.optimizer]
        scene.ways.enter_step(step, self.writer)
        if self.writer is None:
            scene.forget_grads()
            return True
        held.of_grads = step.of_grads
        return scene.ways.leave_step(step, held.training if step.grads else None)


Command = Plain | Backward | Optimizing


def ended(command: Command, error: Exception) -> RepeatedCall | None:
    """A command that ended in an error, with what its call did in its place; None: not called."""
    if isinstance(error, Halt):
        outcome = error.outcome
    else:  # a mistake of ours: as if the call had raised it
        _log.error("the engine failed in %s", command.call.op.name, exc_info=error)
        outcome = _raising(error)
    if outcome is None:
        return None
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
