"""What a failed command leaves behind, and why the rest of the program cannot tell.

That a command failed on private values is private. So the commands behind it must show the same as
if it had worked: the same shapes, the same public failures, the same labels on everything that they
touch. Leaving them out would show it, in what is not told, not refused, not drawn or not labelled.

Therefore the results of such a failure are *stand-ins* wherever the result's shape was public:
zeros of that shape, joined to the same graph, marked with the poison and labelled with what it
depends on. Commands run on them like on any value, and what they give is poison again as far as
it is private. Where there is no stand-in (the shape is hidden, or the result is an object) results
and everything behind them are hidden in the good case too; there a `Poison` stands in the store
and commands are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Final
from weakref import ref

import torch
from torch.optim import Optimizer

from duet_p2p.engine import (
    missing_elements,
    missing_gradients,
    missing_graphs,
    missing_steps,
    rates,
)
from duet_p2p.engine.aliases import joins_graph
from duet_p2p.engine.arguments import Arguments, is_private, tensors_in
from duet_p2p.engine.axes import base_name
from duet_p2p.engine.chosen_types import is_loose
from duet_p2p.engine.clips import CLIPS, clipped_by, label_clipped
from duet_p2p.engine.containers import GETTERS, LENGTHS
from duet_p2p.engine.effects import Effects
from duet_p2p.engine.failures import is_structural
from duet_p2p.engine.gradients import leaves_met
from duet_p2p.engine.groups import mark_settings
from duet_p2p.engine.judge import hides, hides_graph
from duet_p2p.engine.kept import perhaps_kept
from duet_p2p.engine.labelling import Labelling, chosen_by, is_element
from duet_p2p.engine.labels import PUBLIC, Label, join, to_per_record
from duet_p2p.engine.lineage import Lineage, is_atomic, reach
from duet_p2p.engine.missing_containers import container_for, fill, slot_of
from duet_p2p.engine.missing_distributions import put_into
from duet_p2p.engine.missing_views import name_of
from duet_p2p.engine.nodes import is_joined
from duet_p2p.engine.running import Running
from duet_p2p.engine.selection import HOLDING
from duet_p2p.engine.stand_ins import has_numbers, standing_for, values_for
from duet_p2p.engine.store import Memory, MissingGradient, Poison, Slot
from duet_p2p.engine.ties import add, tied
from duet_p2p.engine.trial import Mode, has_graph, is_as_expected
from duet_p2p.engine.unmade import (
    BACKWARD,
    GRAD,
    WAYS_BACK,
    asked_for,
    drop_gradients,
    gone_back,
    spoil_gradients,
)
from duet_p2p.engine.untold import untold
from duet_p2p.engine.unwritten import count_left_out
from duet_p2p.surface.callables import CALLABLES
from duet_p2p.surface.table import Rule, written
from duet_p2p.wire.messages import Op

__all__ = ["Damage"]

_LISTED: Final = frozenset({
    "python.List", "python.Set", "python.Dict", "python.OrderedDict", "python.Iterator",
})  # fmt: skip
"""Results of which it is private how long they are, where it is private that there are any."""
_PASSES: Final = ("iter", "__iter__")
_SLICE: Final = "python.Slice"
_WITH_GRADS: Final = frozenset({
    "torch.optim.Optimizer.step", "torch.nn.utils.clip_grad_norm_",
    "torch.nn.utils.clip_grad_value_",
})  # fmt: skip
"""Names that read the gradients of what they are given."""
_FLAGS: Final = frozenset({"requires_grad_"})


class Damage:
    """Puts poison where it belongs."""

    def __init__(self, lineage: Lineage, effects: Effects, labelling: Labelling) -> None:
        self._lineage = lineage
        self._effects = effects
        self._labelling = labelling

    # what is there already

    def found(self, name: str, given: Arguments, *, deep: bool) -> Poison | None:
        """The poison among the arguments.

        A public failure is named first: it is told, whatever else failed. Then one that nothing can
        run on.
        """
        if not self._lineage.has_poison:
            return None
        hard = soft = None
        for poison, can_run in self._every(name, given, deep):
            if poison.is_public:
                return poison
            if can_run:
                soft = soft or poison
            else:
                hard = hard or poison
        return hard or soft

    def can_run(self, name: str, given: Arguments, *, deep: bool) -> bool:
        """Whether everything that failed has a stand-in, so that the command can run on it."""
        return all(
            can_run and not poison.is_public for poison, can_run in self._every(name, given, deep)
        )

    def _every(self, name: str, given: Arguments, deep: bool) -> Iterator[tuple[Poison, bool]]:
        lineage = self._lineage
        for slot in given.slots.values():
            value = slot.value
            if isinstance(value, Poison):
                yield value, False
                continue
            if slot.poison is not None:
                yield slot.poison, True
            if is_atomic(value):
                continue
            parts: Iterable[Any] = (value,)
            if deep:
                parts = reach(value, grads=name in _WITH_GRADS)
            for part in parts:
                if isinstance(part, Poison):
                    yield untold(part, value, lineage, slot.label), False
                elif isinstance(part, torch.Tensor):
                    entry = lineage.entry(part)
                    if entry is not None and entry.poison is not None:
                        yield untold(entry.poison, value, lineage, slot.label), True
                elif (tracked := lineage.find(part)) is not None and tracked.poison is not None:
                    yield untold(tracked.poison, value, lineage, slot.label), True

    def reaching(self, poison: Poison, rule: Rule, given: Arguments, mode: Mode) -> Poison:
        """The poison as it is behind this command.

        With the leaves that a backward through its results reaches, and all that they depend on.
        """
        only = rule.name.startswith("torch.optim.")  # not what the graph of a setting goes back to
        if poison.is_public:
            leaves = missing_graphs.known_behind(given, self._lineage, only_given=only)
            return replace(poison, leaves=leaves, made_of=(), kept=())
        found = {id(leaf): leaf for leaf in leaves_met(given, only_given=only)}
        missing = missing_graphs.missing_in(given, is_deep=not only)
        for part in missing:
            found |= missing_graphs.moved_with(part) if only else part.leaves
        is_result = "tensor" in rule.result
        if found and is_result and not has_graph(rule, given, mode, self._lineage):
            found = {}
        found = missing_gradients.behind_result(rule.name, found, given)
        made_of = missing_gradients.graph_behind(rule.name, given, missing) if found else ()
        extra = self._effects.extra(rule.name, given)
        kept = perhaps_kept(rule.name, given, self._lineage) if found else ()
        label = join((poison.label, given.all(self._lineage), extra))  # as of what is missing
        label = missing_gradients.met_on(rule.name, given, label, self._lineage)
        return replace(poison, leaves=found, made_of=made_of, kept=kept, label=label)

    @staticmethod
    def is_inferred(rule: Rule, given: Arguments) -> bool:
        """As admission would have found of a command that is left out."""
        if rule.shape == "none" or rule.form in ("constructor", "setter"):
            return True
        is_of_object = any(isinstance(v, Poison) and v.is_object for v in given.values())
        return rule.shape == "static" and not is_of_object

    # results of a command that failed

    def stand_ins(
        self, op: Op, rule: Rule, given: Arguments, spec: Any, poison: Poison, like: Any
    ) -> list[Slot]:
        """Slots for the results of a command that failed on private values; none if they cannot be.

        Args:
            op: the command.
            rule: of its name.
            given: its arguments.
            spec: what its results would have been, as far as that is public.
            poison: the failure.
            like: a result that has the right graph, if there is one.
        """
        count, label = len(op.outs), to_per_record(poison.label)
        if count == 1 and (box := container_for(rule, given)) is not None:
            run, known = Running(op, rule, CALLABLES[rule.name], given), spec is not None
            slot = slot_of(box, run, poison, self._labelling, self._lineage, is_inferred=known)
            slot.is_loose = isinstance(box, tuple) and self._is_loose(rule, given, slot.label)
            return [slot]
        if count == 1 and missing_gradients.has_none(rule.name, given):
            loose = self._is_loose(rule, given, label)
            return [Slot(None, label, poison=poison, is_loose=loose, is_element=True)]
        if rule.name == GRAD:
            like = asked_for(given, self._lineage)
            spec = spec if is_as_expected(like, spec) else None
        values = values_for(rule, given, spec, count, like)
        if len(values) != count or any(isinstance(value, Poison) for value in values):
            return []
        if rule.result == "self":
            self.spoil(values, poison)
        elif not any(isinstance(value, Poison) for value in given.values()):
            label = self._labelled(op, rule, given, values, poison, is_inferred=spec is not None)
        is_itself = rule.result == "self"  # what lies in a container is as it was
        for part in values if is_itself else [part for v in values for part in reach(v)]:
            if isinstance(part, torch.Tensor):
                self._mark(part, poison)
            elif isinstance(part, list | dict) and not is_itself:
                self._lineage.track(part).content = label
        is_box = is_itself and isinstance(values[0], list | dict | set)  # its label is inside
        loose = not is_box and self._is_loose(rule, given, label)
        held = is_element(rule, given)
        return [
            Slot(value, label, poison=poison, is_loose=loose, is_element=held)
            if is_atomic(value) or has_numbers(value) or self._is_hidden(value)
            or (rule.result == "self" and isinstance(value, tuple))
            else Slot(value, is_loose=loose, is_element=held)
            for value in values
        ]  # fmt: skip

    def _labelled(
        self, op: Op, rule: Rule, given: Arguments, values: list[Any], poison: Poison,
        *, is_inferred: bool,
    ) -> Label:  # fmt: skip
        """Labels stand-ins as what they stand for would have been; gives the label of a slot."""
        run = Running(op, rule, CALLABLES[rule.name], given)
        run.extra = self._effects.extra(rule.name, given)
        result = values[0] if len(values) == 1 else tuple(values)
        label = self._labelling.foreseen(run, result, is_inferred=is_inferred)
        return _joined(label, poison)

    def _mark(self, made: torch.Tensor, poison: Poison) -> None:
        entry = self._lineage.own(made)
        if not entry.is_shared:
            self._lineage.has_poison, entry.poison = True, poison
            label = _joined(entry.label, poison)
            entry.label, entry.stays = label, entry.stays or label is not entry.label

    def _is_hidden(self, value: Any) -> bool:
        return isinstance(value, torch.Tensor) and self._lineage.hidden(value)

    def hard(
        self, poison: Poison, named: Running | None, outs: tuple[int, ...], id: int
    ) -> Slot:  # fmt: skip
        """The slot of one of so many results that nothing can stand in for."""
        if poison.is_public:
            # of its own: it may be chosen, and then what else it spoilt is not
            poison = replace(poison, memory=Memory(), gradient=MissingGradient())
            name_of(poison, self._lineage)
            return Slot(poison)
        poison = standing_for(poison, named, outs, id)
        tracked, label = name_of(poison, self._lineage), to_per_record(poison.label)
        tracked.content = join((tracked.content, label))
        if named is None:
            return Slot(poison, label)
        rule, given = named.rule, named.given
        if missing_gradients.wants_one(rule, given):
            missing_gradients.new_leaf(poison)
        elif poison.gradient.is_kept:  # another name of a missing leaf
            poison.gradient.names.append(ref(poison))
        if poison.records == "many":
            poison.parts = missing_elements.held_by_missing(given.values()[:1])
        elif poison.is_loader and not poison.is_object:
            poison.parts = (given.args[0],)  # a pass, which is gone through as its loader is
        if not poison.is_object:
            first = given.args[0] if given.args else None
            if poison.records == "one" and getattr(first, "records", "") == "many":
                tracked.structure = label  # as of a part of a list whose length is private
            missing_elements.hold_gradients(poison, rule, given)
            if rule.name == _SLICE:
                missing_elements.fill_slice(poison, given, label, self._lineage)
            if rule.result in _LISTED or rule.short in _PASSES:
                tracked.structure, poison.is_list = label, True
            loose = self._is_loose(rule, given, label)
            if poison.records == "one" and rule.short in _PASSES:
                label = PUBLIC  # a pass carries its label inside, as its loader does
            return Slot(poison, label, is_loose=loose, is_element=is_element(rule, given))
        put_into(poison, named, label, self._lineage)
        poison.has_batches = rule.short == "DataLoader" and given.kwargs.get("batches") is not None
        if is_private(chosen := chosen_by(rule, given, self._lineage)):
            tracked.structure = to_per_record(chosen)
        return Slot(poison)  # an object carries its label inside

    def _is_loose(self, rule: Rule, given: Arguments, label: Label) -> bool:
        """As `is_loose` would find if nothing had failed: what nothing stands in for was hidden."""
        if rule.result in _LISTED:
            return False  # a container carries its label inside
        first = given.args[0] if given.args else None
        if rule.short in LENGTHS and not isinstance(first, Poison | torch.Tensor):
            return is_loose(rule.name, given, label, self._lineage)
        missing = [s for s in given.slots.values() if isinstance(s.value, Poison)]
        hidden = [s for s in missing if not (s.value.is_object or s.value.is_list)]
        if rule.short in GETTERS and isinstance(first, Poison) and first.is_tuple:
            hidden = [s for s in hidden if s.value is not first]  # each of its parts is a tensor
        if is_private(label) and hidden:
            return True
        return is_loose(rule.name, given, label, self._lineage)

    # what a command would have changed

    def hides(self, rule: Rule, given: Arguments, mode: str, *, is_inferred: bool) -> bool:
        """Whether what a call was to write to would have got a private shape from it."""
        if rule.short == "__setitem__" and isinstance(given.args[0], torch.Tensor):
            return hides_graph(rule, given, mode, self._lineage)
        if missing_steps.is_step(rule) or rule.short in ("backward", "zero_grad"):
            return False  # no step changes a shape, and a gradient has that of its leaf
        is_self = rule.result == "self" or _writes_first(rule, given)
        if "out" in given.kwargs or (is_self and base_name(rule.name)):
            # what is missing here would have had a hidden shape
            is_missing = any(isinstance(v, Poison) and not v.is_object for v in given.reached())
            return is_missing or hides(rule, given, self._lineage, is_inferred=is_inferred)
        return rule.form != "function"  # those write to statistics, rows and gradients

    def spread(
        self, poison: Poison, rule: Rule, given: Arguments, mode: str, *, hidden: bool
    ) -> None:  # fmt: skip
        """Spoils what a command would have changed that was left out because of this poison."""
        short = rule.short
        listed: list[Any] = list(written(rule, given.args, given.kwargs, given.slots))
        if short == "backward" and poison.is_public:
            # the gradients that it would have made: without them a step would quietly do less
            spoil_gradients(poison, self._lineage)
        retained = self._effects.retained()
        missing_gradients.left_out(rule.name, given, poison, self._lineage, retained)
        if rule.name == "torch.manual_seed" and not poison.is_public:
            self._effects.seed(given)
        if short == "zero_grad" and not poison.is_public:
            drop_gradients(given)
        if not poison.is_public:
            missing_elements.mark_missing(rule, given, self._lineage)
            count_left_out(rule, given, self._lineage)
            fill(rule, given, self._lineage)
        if rule.form == "constructor" and rule.name.startswith("torch.optim."):
            listed += [part for part in given.reached() if isinstance(part, dict)]  # groups
            owners = [part for part in given.reached() if isinstance(part, Optimizer)]
            listed = [part for part in listed if not isinstance(part, Optimizer)]
            self.spoil(owners, poison)
            if not poison.is_public and "lr_scheduler" in rule.name:
                mark_settings(given, to_per_record(poison.label), self._lineage)
        if rule.short == "step" and given.args and isinstance(given.args[0], Optimizer):
            rates.hide_state(given.args[0], self._lineage)
        if rule.name in rates.SETTING and not poison.is_public and given.args:
            rates.left_out(given.args[0], given, to_per_record(poison.label), self._lineage)
        targets = [target for target in listed if not isinstance(target, Poison)]
        if not rule.name.startswith("python."):  # several that are given as one
            lists = [target for target in targets if isinstance(target, list | tuple)]
            targets += [part for target in lists for part in tensors_in(target)]
            listed += [part for one in lists for part in reach(one) if isinstance(part, Poison)]
        for missing in listed:
            if isinstance(missing, Poison) and not missing.is_public:
                add(self._lineage.track(missing), to_per_record(poison.label))
                if mode == "g" and joins_graph(rule) and not poison.is_public:
                    missing_graphs.take_graph(missing, poison)  # as if it had been written
        if mode == "g" and joins_graph(rule) and not poison.is_public:
            self.join(
                tensors_in(targets), given, self._lineage, tensors_in([*poison.leaves.values()])
            )
        targets += missing_steps.left_out(rule, given, targets, poison, self._lineage)
        if missing_steps.is_step(rule):
            hidden = False  # no step changes a shape
        if hidden and (rule.form == "setter" or rule.short in _FLAGS):
            self._hide_memory(targets)
        self.spoil(targets, poison, hidden=hidden)

    def fail(
        self, poison: Poison, rule: Rule, given: Arguments, error: Exception,
        targets: list[torch.Tensor], *, hidden: bool,
    ) -> None:  # fmt: skip
        """Spoils what a command may have changed half way before it failed."""
        if poison.is_public and (is_structural(error) or isinstance(error, TypeError)):
            return  # torch looks at types and at the graph before it writes
        if rule.form == "constructor":
            return  # an optimizer writes to its parameters later
        listed = [
            v for v in written(rule, given.args, given.kwargs, given.slots) if not is_atomic(v)
        ]
        if poison.is_public:
            listed = []  # a container that refused an element is as it was
        elif rule.name in WAYS_BACK:
            gone_back(rule.name, poison, given, self._lineage, self._effects.retained())
            return
        else:
            count_left_out(rule, given, self._lineage)
        if rule.name in CLIPS and not poison.is_public:
            label_clipped(given, None, self._lineage, self._effects.writers)
            for grad in clipped_by(given):
                self._mark(grad, poison)
        if rule.name == missing_gradients.SET and not poison.is_public:
            missing_gradients.put(given, poison, self._lineage)
        if not poison.is_public:
            fill(rule, given, self._lineage)
            missing_steps.mark_perhaps_moved(rule, given, tensors_in(listed), poison, self._lineage)
        self.spoil([*listed, *targets], poison, hidden=hidden)
        if rule.name == BACKWARD:
            spoil_gradients(poison, self._lineage)

    def spoil(self, targets: Iterable[Any], poison: Poison, *, hidden: bool = False) -> None:
        """Marks values that are worthless now; an owner's object is as it was."""
        for target in targets:
            entry = self._lineage.entry(target) if isinstance(target, torch.Tensor) else None
            if entry is None or not entry.is_shared:
                self._lineage.spoil(target, poison, hidden=hidden)
                if isinstance(target, torch.Tensor) and (hidden or is_joined(target)):
                    self._lineage.own(target).in_graph = True

    def _hide_memory(self, targets: Iterable[Any]) -> None:
        """Hides all that lies where these do, as it is before such a command runs (effects.py)."""
        for target in targets:
            if (
                isinstance(target, torch.Tensor)
                and not (entry := self._lineage.own(target)).is_shared
            ):
                entry.hidden = True

    def reached(self, targets: Iterable[torch.Tensor], poison: Poison) -> None:
        """Labels one of several that is read-only as if it had been written to like another."""
        for entry in tied(map(self._lineage.entry, targets)):
            add(entry, to_per_record(poison.label))

    join = staticmethod(missing_graphs.give_graph)

    # results of a command that ran on stand-ins

    def mark(
        self, poison: Poison, rule: Rule, given: Arguments, slots: Iterable[Slot],
        targets: Iterable[torch.Tensor], *, is_container: bool,
    ) -> None:  # fmt: skip
        """What a command on stand-ins gave or wrote is poison, as far as it is private.

        Not what it was given itself and handed on: a parameter of an optimizer, or an element.
        """
        # what gets another gradient keeps its numbers
        is_written = rule.form != "constructor" and rule.name != missing_gradients.SET
        touched: list[Any] = list(targets) if is_written else []
        given_itself = set(map(id, given.reached()))
        first = given.args[0] if given.args else None  # an element may lie there no more
        is_from_box = rule.short in GETTERS and isinstance(first, HOLDING)
        if rule.name in _WITH_GRADS:
            touched += [p for p in given.with_grads() if isinstance(p, torch.Tensor)]
        is_length = is_container and rule.short in LENGTHS
        loose = any(slot.poison is not None for slot in given.slots.values())
        found = [self._lineage.find(slot.value) for slot in given.slots.values()]
        is_spoilt = any(entry is not None and entry.poison is not None for entry in found)
        if is_container and loose:  # a number has no place for a mark of its own
            touched += written(rule, given.args, given.kwargs, given.slots)
        for slot in slots:
            value = slot.value
            if is_private(slot.label):
                slot.poison = self._in_length(rule, given, slot) if is_length else poison
            if is_atomic(value) or isinstance(value, Poison):
                continue
            parts = [p for p in reach(value) if isinstance(p, torch.Tensor)]
            touched += [p for p in parts if not (is_from_box or id(p) in given_itself)]
            is_new = is_spoilt and not (is_from_box or id(value) in given_itself)
            if not isinstance(value, torch.Tensor) and (loose or is_new or not is_container):
                touched.append(value)
        for value in touched:
            if isinstance(value, torch.Tensor):
                entry = self._lineage.own(value)
                if entry.is_shared:
                    continue
                if not is_private(entry.label):
                    entry.poison = None  # it was written over
                elif entry.poison is None:
                    entry.poison = poison
            elif not is_atomic(value) and not isinstance(value, tuple | Poison):
                tracked = self._lineage.find(value)
                if tracked is not None and is_private(join((tracked.content, tracked.structure))):
                    tracked.poison = poison

    def _in_length(self, rule: Rule, given: Arguments, slot: Slot) -> Poison | None:
        """The failure that decides how long a container is; not one of what only lies in it."""
        for poison, _ in self._every(rule.name, given, False):
            if poison.label.sources <= slot.label.sources:
                return poison
        return None


def _joined(label: Label, poison: Poison) -> Label:
    """The label of what failed; that it failed may tell of more than what it is made of."""
    if is_private(label) and poison.label.sources <= label.sources:
        return label
    return join((label, to_per_record(poison.label)))


def _writes_first(rule: Rule, given: Arguments) -> bool:
    """Whether a function was told to write over its first argument, which it gives then."""
    first = given.values()[0] if given.slots else None
    listed = written(rule, given.args, given.kwargs, given.slots)
    return rule.form == "function" and any(part is first for part in listed)
