"""Labels of what a command gave, whichever way its name has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch.optim import Optimizer

from duet_p2p.engine import axes, choice, containers
from duet_p2p.engine.arguments import Arguments, is_private, tensors_in
from duet_p2p.engine.effects import Effects, label_apart
from duet_p2p.engine.failures import is_structural
from duet_p2p.engine.groups import after_optimizer
from duet_p2p.engine.judge import Verdict, apply, hides, hides_graph, label_written
from duet_p2p.engine.kept import note_kept
from duet_p2p.engine.labels import PUBLIC, Label, join, to_per_record
from duet_p2p.engine.lineage import ATOMIC, Lineage, reach, storage_of
from duet_p2p.engine.nodes import is_joined
from duet_p2p.engine.overlaps import of_write
from duet_p2p.engine.precedents import Precedents
from duet_p2p.engine.running import Failed, Running
from duet_p2p.engine.selection import HOLDING, candidates, of_loose
from duet_p2p.engine.settings import gives_views
from duet_p2p.engine.store import Slot
from duet_p2p.engine.ties import by_slots, entries_of, holders, taken, takes, tie, tied
from duet_p2p.engine.trial import Mode
from duet_p2p.surface.table import Rule

__all__ = ["STATEFUL", "Labelling", "chosen_by", "is_element"]

_GRADIENT: Final = "torch.Tensor.grad"
Raised = Callable[[Exception, Running], Failed]

# Setters of a fact about a tensor, not of its content.
_FLAGS: Final = frozenset({"torch.Tensor.grad=", "torch.Tensor.requires_grad="})

STATEFUL: Final = frozenset({
    "torch.Tensor.backward", "torch.Tensor.retain_grad", "torch.manual_seed",
    "torch.optim.Optimizer.step", "torch.optim.Optimizer.zero_grad",
    "torch.optim.Optimizer.load_state_dict", "torch.optim.Optimizer.add_param_group",
    "torch.optim.Optimizer.follow", "torch.optim.lr_scheduler.LRScheduler.step",
    "torch.optim.lr_scheduler.LRScheduler.load_state_dict",
    "torch.optim.lr_scheduler.LRScheduler.feed",
})  # fmt: skip
"""Effects has labelled what they change; they give nothing."""


def chosen_by(rule: Rule, given: Arguments, lineage: Lineage) -> Label:
    """What decides what an object does with its data: its settings, and all that a transform is."""
    if rule.short == "TensorDataset":
        return of_loose(given)  # it is made or not
    is_transform = rule.name.startswith("torchvision.transforms.")
    return given.all(lineage) if is_transform else given.settings(lineage)


def is_element(rule: Rule, given: Arguments) -> bool:
    """Whether what a call gives need not be a tensor where it is one: it lay in something.

    There may be no gradient where a private number chose the tensor that it is of. What is written
    to in place is what it was, and some names give one tensor or several, as a setting says.
    """
    if given.item is not None:
        return False
    if ";" in rule.result:
        return any([slot.is_loose for slot in given.slots.values()])
    if rule.result == "self" and given.at:
        first = given.at[0]
        return first is not None and first.is_element
    return rule.result == "element" or rule.name == _GRADIENT


def _views_of(parts: Sequence[Any], given: Arguments) -> set[int]:
    """Which of these are views of an argument, by identity."""
    storages = {storage_of(tensor)._cdata for tensor in given.tensors()}
    tensors = [part for part in parts if isinstance(part, torch.Tensor)]
    return {id(tensor) for tensor in tensors if storage_of(tensor)._cdata in storages}


class Labelling:
    """Labels results, and what was written beside them."""

    def __init__(self, lineage: Lineage, effects: Effects) -> None:
        self._lineage = lineage
        self._effects = effects
        self.precedents = Precedents(lineage)

    def apart(
        self, run: Running, result: Any, mode: Mode, raised: Raised, *, is_inferred: bool
    ) -> Any:  # fmt: skip
        """The result, with no argument itself in it that is hidden by being given back.

        ``flatten`` and a dropout give back the very tensor for some numbers. Where those are
        private the result is hidden, and the tensor is not, since for others they give another one
        or fail. So there is a view of it in its place, or a copy where a view is never given.

        Args:
            run: the command, which is over.
            result: what it gave.
            mode: of gradients.
            raised: makes a failure of the command of what torch says.
            is_inferred: the result's shape follows from those of the arguments.
        """
        rule, given, lineage = run.rule, run.given, self._lineage
        parts = result if isinstance(result, tuple | list) else (result,)
        own = {
            id(t) for t in given.tensors()
            if not lineage.hidden(t) or (e := lineage.own(t)).is_chosen or e.may_alias
        }  # fmt: skip  # the last of them were hidden by this call, or may be given back
        is_view = axes.base_name(rule.name) not in axes.BY_VALUES
        if not is_view:  # of one without a batch it is a view of that
            own |= _views_of(parts, given)
        is_itself = not run.targets and any(id(part) in own for part in parts)
        if is_itself and hides(rule, given, lineage, is_inferred=is_inferred):
            for part in parts:
                is_shared = (entry := lineage.entry(part)) is not None and entry.is_shared
                if (
                    is_view and id(part) in own and not is_shared
                ):  # as `Damage.mark_viewed` where it failed
                    every = choice.viewed_by(rule.short, given, part, lineage)
                    lineage.add(part, to_per_record(every) if is_private(every) else PUBLIC)
            parts = [
                _another(part, run, mode, raised, is_view=is_view) if id(part) in own else part
                for part in parts
            ]
            result = type(result)(parts) if isinstance(result, tuple | list) else parts[0]
        if isinstance(result, torch.Tensor) and self._may_be_none(run):
            result = _another(result, run, mode, raised)  # the gradient itself is not hidden
            lineage.hide(result)
        return choice.apart_views(rule.short, given, result, lineage)

    def _may_be_none(self, run: Running) -> bool:
        """Whether this reads a gradient that a backward through what was chosen reached or not."""
        is_gradient = run.rule.name == _GRADIENT
        return is_gradient and any(map(self._lineage.is_chosen, run.given.tensors()[:1]))

    def tie(self, run: Running, slots: list[Slot]) -> None:
        """Ties results to what they may be, or be a part or a view of, as private values chose."""
        rule, given, lineage = run.rule, run.given, self._lineage
        if rule.name == _GRADIENT and any([slot.is_loose for slot in slots]):
            # there need not be one: what tells a tensor from nothing goes to what it is read as
            tie([e for slot in slots for e in entries_of(slot.value, lineage)], lineage, slots)
        is_container = run.is_container or (
            bool(lineage.ties) and containers.is_perhaps_container(rule.name, given)
        )
        chooses = is_container and containers.chooses(rule.short, given, lineage)
        if not (lineage.ties or chooses or (is_container and takes(rule.short))):
            return
        if is_container:
            entries, others = taken(rule.short, given, lineage)
            if entries or others:
                tie([*entries, *holders(slots, lineage)], lineage, slots, others)
            if not chooses:
                return
            held = [lineage.find(part) for part in candidates(given) if isinstance(part, HOLDING)]
            for slot in slots:
                slot.perhaps = tuple([entry for entry in held if entry is not None])
        elif not gives_views(rule.name):
            return
        found = [
            lineage.entry(part) if isinstance(part, torch.Tensor) else lineage.find(part)
            for part in given.reached()
        ]
        known = tied(found)
        others = by_slots(given.at[:1], lineage) if is_container else []
        if known or others or is_container:  # of what was chosen nobody knows what it is
            given_now = [entry for slot in slots for entry in entries_of(slot.value, lineage)]
            tie([*known, *given_now], lineage, slots, others)

    def label(
        self, run: Running, result: Any, *, is_inferred: bool
    ) -> tuple[Label, Verdict | None]:
        """The label of the result's slot, and the verdict on a result that has one.

        Args:
            run: the command, which is over.
            result: what it gave.
            is_inferred: the result's shape follows from those of the arguments.
        """
        rule, given, lineage = run.rule, run.given, self._lineage
        if given.item is not None:  # which one it is a copy of tells about any of them
            lineage.add(result, to_per_record(given.all(lineage)))
            lineage.own(result).stays = True  # what is missing stays so when it is written over
            return PUBLIC, None
        if rule.form == "constructor" and not isinstance(result, (torch.Tensor, *ATOMIC)):
            self._label_object(run, result)
            return PUBLIC, None
        if rule.name in _FLAGS or rule.name in STATEFUL:
            for target in run.targets if rule.name in _FLAGS else ():
                if (rows := given.written.get(id(target))) is not None:
                    lineage.set_rows(target, rows)  # its numbers are what they were
            return PUBLIC, None
        if label_apart(rule.name, given, result, lineage, self._effects.writers):
            return PUBLIC, None
        if rule.name.startswith("python.") and isinstance(result, torch.Tensor):
            is_inferred = False  # of a number nobody worked out a shape
        verdict = self.precedents.judge(rule, given, result, run.extra, is_inferred=is_inferred)
        verdict = of_write(verdict, rule.name, run.targets, given, lineage)
        parts = {id(part) for part in reach(result)} if run.targets else set()
        for target in run.targets:
            if id(target) not in parts and is_private(verdict.label):
                entry = lineage.own(target)
                if rule.name == "torch.nn.functional.batch_norm":
                    continue  # effects gave the buffers a better label
                if rule.short == "__setitem__" and verdict.rows is not None:
                    label_written(target, verdict, lineage)
                else:
                    entry.label = join((entry.label, verdict.label))
                entry.in_graph = entry.in_graph or is_joined(target)
                if hides_graph(rule, given, run.op.mode, lineage):
                    entry.in_graph = True
                    lineage.hide(target)
        inplace = frozenset(id(target) for target in run.targets)
        label = apply(rule.short, verdict, result, given, inplace, lineage)
        made = tensors_in(result) if not isinstance(result, torch.Tensor) else [result]
        note_kept(rule.name, given, [*made, *run.targets], lineage)
        if self._may_be_none(run):
            label = join((label, verdict.label))
        return label, verdict

    def foreseen(self, run: Running, result: Any, *, is_inferred: bool) -> Label:
        """Labels what stands for a result that is not there; the label of its slot.

        Args:
            run: the command, which failed on private values.
            result: what stands for its result, or a tuple of them.
            is_inferred: the result's shape follows from those of the arguments.
        """
        rule, given = run.rule, run.given
        if containers.is_container_call(rule.name, given):
            return containers.label_results(rule.name, given, result, self._lineage)
        return self.label(run, result, is_inferred=is_inferred)[0]

    def _label_object(self, run: Running, made: Any) -> None:
        """What an object holds keeps its own labels; the rest of its arguments are its content."""
        given, lineage = run.given, self._lineage
        if isinstance(made, Optimizer):
            after_optimizer(given, made, lineage)
        chosen = chosen_by(run.rule, given, lineage)
        every = join((given.beside(lineage), chosen, run.extra))
        if is_private(every):
            tracked = lineage.track(made)
            tracked.content = join((tracked.content, every))
            if is_private(chosen):
                tracked.structure = join((tracked.structure, to_per_record(chosen)))


def _another(
    tensor: torch.Tensor, run: Running, mode: Mode, raised: Raised, *, is_view: bool = True
) -> torch.Tensor:  # fmt: skip
    """A view or a copy of what a command gave back; its failure if torch refuses that tensor."""
    try:
        with mode():
            return tensor.view_as(tensor) if is_view else tensor.clone()
    except RuntimeError as error:
        if is_structural(error):
            raise raised(error, run) from None
        raise
