"""`zero_grad` and `step` of an optimizer whose every part carries one and the same label.

That is how each optimizer looks from its second private step on: a step leaves one label on all
that it holds. Then what the executor works out for the command by looking at each part by itself
follows from two labels, that one and the one of the gradients. So all parts are looked at once, in
a few plain loops, for whether they are like this. If they are, the command runs, and gets and
leaves exactly what it would have on the whole way. Nothing is remembered from one command to the
next but where parts stand (holding.py), and that is compared each time.

Whatever is out of the ordinary has no short way: poison, hidden shapes, an owner's object or a copy
among the parts, something that is public or was labelled by itself, sparse gradients, gradients
that no backward made, tensors as settings, arguments other than the optimizer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch.optim import Optimizer

from duet_p2p.engine.address import address_of
from duet_p2p.engine.arguments import Arguments, is_private
from duet_p2p.engine.form import form_of, hashed
from duet_p2p.engine.holding import Holding, holding_of, parameters_of
from duet_p2p.engine.labels import PUBLIC, UNBOUND, Label, join, to_model, written_by
from duet_p2p.engine.lineage import HIDDEN_MARK, Lineage, Owned, Tracked
from duet_p2p.engine.nodes import is_leaf
from duet_p2p.engine.rates import are_public, is_only_rate
from duet_p2p.engine.writers import Added, added_to, is_written, kept_state, of_sums
from duet_p2p.surface.table import Rule

__all__ = ["STEP", "ZERO_GRAD", "Step", "Steps"]

STEP: Final = "torch.optim.Optimizer.step"
ZERO_GRAD: Final = "torch.optim.Optimizer.zero_grad"


@dataclass(slots=True)
class Step:
    """A command that has a short way, and all that it may write to."""

    optimizer: Optimizer
    holding: Holding
    owned: list[Owned]
    """Entries of the tensors that it holds, in order."""
    tracked: list[Tracked]
    """Entries of everything else that it holds, itself first."""
    grads: list[torch.Tensor]
    of_grads: list[Owned]
    """Entries of the gradients, in order."""
    label: Label
    """Of everything that it holds."""
    added: Added = ()
    """Of its gradients, outside of plans."""

    def targets(self) -> list[torch.Tensor]:
        """What it may write to."""
        return [*self.holding.tensors, *self.grads]


class Steps:
    """Finds short ways in one engine."""

    def __init__(self, lineage: Lineage) -> None:
        self._lineage = lineage
        self._left: dict[tuple[Label, Label, str], Label] = {}

    def find(self, rule: Rule, given: Arguments, outs: tuple[int, ...]) -> Step | None:
        """How this command can run the short way; None if it cannot."""
        if outs or len(given.args) != 1 or len(given.slots) != 1 or rule.result != "none":
            return None
        optimizer, (slot,) = given.args[0], given.slots.values()
        is_held = isinstance(optimizer, Optimizer) and slot.value is optimizer
        if not is_held or slot.label is not PUBLIC or slot.poison is not None or slot.is_loose:
            return None
        if given.kwargs and rule.name != ZERO_GRAD:
            return None
        if not all([value is None or type(value) is bool for value in given.kwargs.values()]):
            return None
        holding = holding_of(optimizer)
        return None if holding is None else self._found(optimizer, holding)

    def _found(self, optimizer: Optimizer, holding: Holding) -> Step | None:
        lineage, tensors = self._lineage, holding.tensors
        first = lineage.find(optimizer)
        if first is None or not is_private(first.content):
            return None
        label = first.content
        tracked = [first]
        for part in holding.objects:
            entry = lineage.find(part)
            if entry is None:
                return None
            tracked.append(entry)
        for entry in tracked:
            if entry.content is not label or entry.structure is not PUBLIC or entry.is_shared:
                return None
            if entry.poison is not None:
                return None
        if not all(map(is_leaf, tensors)):
            return None
        grads = [grad for tensor in tensors if (grad := tensor.grad) is not None]
        if not all([is_leaf(grad) and grad.grad is None for grad in grads]):
            return None
        owned, of_grads = self._entries(tensors), self._entries(grads)
        if owned is None or of_grads is None or not all([e.label is label for e in owned]):
            return None
        if not all([is_private(entry.label) for entry in of_grads]):
            return None
        return Step(optimizer, holding, owned, tracked, grads, of_grads, label)

    def _entries(self, tensors: list[torch.Tensor]) -> list[Owned] | None:
        """Their entries, if each has one and nothing is out of the ordinary about it."""
        at, found = self._lineage.at, []
        for tensor in tensors:
            if tensor.layout is not torch.strided or HIDDEN_MARK in tensor.__dict__:
                return None
            entry = at(address_of(tensor))
            if entry is None or entry.hidden or entry.poison is not None:
                return None
            if entry.is_shared or entry.is_copy:
                return None
            found.append(entry)
        return found

    def writer(self, step: Step, run: str) -> str | None:
        """What a step leaves in labels of its kind and settings; None: that takes a closer look.

        Args:
            step: to be made.
            run: stands for the plan that runs; empty outside of plans.
        """
        if not step.holding.has_plain_settings:
            return None
        if not are_public(step.optimizer, self._lineage):
            return UNBOUND if is_only_rate(step.optimizer, self._lineage) else None
        for entry in step.of_grads:
            if entry.label is not step.of_grads[0].label:
                return None
            # the form of a gradient that no backward made would be part of it
            if entry.made is not None or entry.written is not None or entry.root:
                return None
            if not entry.label.writers:
                return None
        if is_written(step.optimizer, step.holding, step.owned, step.tracked):
            return None
        written = step.tracked[0].written
        changed = "" if written is None else form_of(written)
        if run and changed != UNBOUND:
            return run
        holding = step.holding
        roots = [entry.root for entry in step.owned]
        if holding.settings is None or holding.roots != roots:
            holding.settings, holding.roots = kept_state(step.optimizer, self._lineage), roots
            holding.writer = None
        if any([entry.added for entry in step.of_grads]):
            step.added = added_to(parameters_of(step.optimizer), self._lineage)
            sums = [*of_sums(step.added), *([] if written is None else [changed])]
            return hashed("step", *holding.settings, *sums)
        if holding.writer is None or holding.writer[0] != changed:
            changes = [] if written is None else [changed]
            holding.writer = changed, hashed("step", *holding.settings, *changes)
        return holding.writer[1]

    def enter(self, step: Step, writer: str) -> None:
        """A step is about to be made: what it writes depends on all that it reads."""
        question = (step.label, step.of_grads[0].label if step.of_grads else step.label, writer)
        every = self._left.get(question)
        if every is None:
            every = written_by(to_model(join(question[:2])), frozenset({writer}))
            if len(self._left) >= _KEPT:
                self._left.clear()
            self._left[question] = every
        for entry in (*step.owned, *step.of_grads):
            entry.label = every
            entry.version += 2
        step.tracked[0].added = step.added
        for tracked in step.tracked:
            tracked.content = every
            tracked.version += 1

    @staticmethod
    def enter_zero_grad(step: Step) -> None:
        """Gradients are about to go, or to become zero."""
        for entry in (*step.owned, *step.of_grads):
            entry.version += 1

    def is_as_foreseen(self, step: Step) -> bool:
        """Whether the step made nothing new and moved nothing: all that it holds is labelled."""
        if not step.holding.is_as_found(step.optimizer):
            return False
        at = self._lineage.at
        return all(
            [
                at(address_of(tensor)) is entry
                for tensor, entry in zip(step.holding.tensors, step.owned, strict=True)
            ]
        )


_KEPT: Final = 64
"""Answers that are kept, since an optimizer asks the same each time."""
