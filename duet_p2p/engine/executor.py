"""Runs one command: resolve, admit, check, run, label, store.

The order is the point. Everything that public facts can refuse is refused before anything runs;
labels go into stateful objects before the call that might fail half way; what a failing call would
have changed is poisoned.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any, Final

import torch

from duet_p2p.engine import containers
from duet_p2p.engine.admission import Admission, Limits, SizeRefused
from duet_p2p.engine.arguments import Arguments, is_private, resolve, tensors_in
from duet_p2p.engine.call import Call
from duet_p2p.engine.charges import charge
from duet_p2p.engine.damage import Damage, is_as_expected
from duet_p2p.engine.effects import Effects, is_random, label_apart
from duet_p2p.engine.failures import Broken, PublicError, code_of, is_structural, text_of
from duet_p2p.engine.judge import apply, typed
from duet_p2p.engine.labels import PUBLIC, Kind, Label, join, to_per_record
from duet_p2p.engine.lineage import ATOMIC, OF_THE_OWNER, Lineage, is_atomic, reach
from duet_p2p.engine.messages import OpFailed
from duet_p2p.engine.precedents import Precedents
from duet_p2p.engine.provenance import Provenance
from duet_p2p.engine.recipe import Made
from duet_p2p.engine.settings import check_settings
from duet_p2p.engine.store import IdError, Poison, Slot, Store
from duet_p2p.engine.watch import Watch
from duet_p2p.errors import NotAllowed, ProtocolError, QuotaExceeded
from duet_p2p.surface.callables import NEEDS_CONTEXT
from duet_p2p.surface.context import Context
from duet_p2p.surface.table import Rule, written
from duet_p2p.surface.tags import result_tags
from duet_p2p.wire.messages import Op

__all__ = ["Executor", "Limits"]

_log = logging.getLogger("duet_p2p.engine")

_MODES: Final[dict[str, Callable[[], Any]]] = {
    "g": torch.enable_grad,
    "n": torch.no_grad,
    "i": torch.inference_mode,
}

# Constructors look at shapes and public settings of what they are given, never at values.
_BY_SHAPE: Final = ("torch.optim.", "torch.utils.data.", "torch.nn.Parameter")

# Setters of a fact about a tensor, not of its content.
_FLAGS: Final = frozenset({"torch.Tensor.grad=", "torch.Tensor.requires_grad="})


class Executor:
    """Runs commands on a store."""

    def __init__(
        self, store: Store, lineage: Lineage, effects: Effects, context: Context, limits: Limits
    ) -> None:
        self._store = store
        self._lineage = lineage
        self._effects = effects
        self._precedents = Precedents(lineage)
        self._context = context
        self.admission = Admission(lineage, limits)
        self._now = (0, "")  # the command that runs: its number and name
        self.damage = Damage(lineage)
        self._named: tuple[Rule, Arguments] | None = None
        self._because = PUBLIC  # why commands run at all
        self.watch = Watch()
        self.provenance = Provenance(lineage)

    def configure(self, context: Context, limits: Limits) -> None:
        """Other settings from the next command on; what was counted stays counted."""
        self._context = context
        self.admission.configure(limits)

    @contextlib.contextmanager
    def within(self, store: Store) -> Iterator[None]:
        """Commands find their objects in this store, and leave their results there."""
        outer, self._store = self._store, store
        try:
            yield
        finally:
            self._store = outer

    @contextlib.contextmanager
    def because(self, label: Label) -> Iterator[None]:
        """Commands run because of values: that one of them failed is no public fact then."""
        outer, now = self._because, self._now
        self._because = join((outer, label))
        try:
            yield
        finally:
            self._because, self._now = outer, now

    def run(self, seq: int, op: Op, call: Call | None = None) -> OpFailed | None:
        """Run one operation (`call`: looked up before); the failure, if it has a new cause."""
        outer = self.admission.spec, self._named
        self._now, self.admission.spec, self._named = (seq, op.name), None, None
        self.watch.begin(seq, op.name)
        try:
            self._run(op, call)
        except PublicError as refused:
            error, label = refused.error, self._because
            label = to_per_record(label) if is_private(label) else PUBLIC
            poison = Poison(seq, op.name, code_of(error), text_of(error), label is PUBLIC, label)
            return self._fail(poison, op)
        except _Failed as failed:
            told = self._fail(failed.poison, op)
            return None if failed.is_known else told
        finally:  # a closure's commands run within a step
            self.admission.spec, self._named = outer
        return None

    def run_safely(self, seq: int, op: Op, call: Call | None = None) -> OpFailed | None:
        """`run`, and after a mistake of ours everything is given up that the command named."""
        try:
            return self.run(seq, op, call)
        except Exception as error:  # nothing is known about what it left behind
            _log.exception("the engine failed in %s", op.name)
            return self._lost(seq, op, error)

    def _lost(self, seq: int, op: Op, error: Exception) -> OpFailed:
        sources = frozenset[int]().union(*(self._lineage.whole(s.value).sources
                                           for s in self._store))  # fmt: skip
        label = Label(Kind.PER_RECORD, sources, frozenset(), 1, False) if sources else PUBLIC
        poison = Poison(seq, op.name, code_of(error), text_of(error), False, label)
        with contextlib.suppress(Exception):
            for part in resolve(op, self._store).values():
                self._spoil_own(part, poison)
        self._effects.abandon()
        return self._fail(poison, op)

    def _spoil_own(self, value: Any, poison: Poison) -> None:
        for part in reach(value):
            entry = self._lineage.entry(part) if isinstance(part, torch.Tensor) else None
            if entry is None or not entry.is_shared:
                self._lineage.spoil(part, poison)

    # the way of one command

    def _run(self, op: Op, call: Call | None) -> None:
        rule, function, given = self._admit_name(op, call)
        self._named = rule, given
        is_container = containers.is_container_call(rule.name, given)
        targets = self._targets(rule, given)
        self._refuse_shared(rule, targets, given)
        poison = self.damage.found(rule.name, given, deep=not is_container)
        if poison is not None and not self.damage.can_run(rule.name, given, deep=not is_container):
            if not containers.can_hold(rule.name, given):
                self.admission.is_inferred = True
                if not poison.is_public:
                    self._admit_time(rule, given)
                self._spread(poison, rule, given, op)
                return
            poison = None
        lineage, effects = self._lineage, self._effects
        before = given.all(lineage)
        extra = lineage.generator if is_random(rule.name) else PUBLIC
        is_met = any(map(is_private, (before, extra, self._because)))
        if not is_met:
            self.watch.is_public()
        try:
            self._admit(rule, given, op.mode, is_met=is_met)
        except _Failed as refused:  # as if it had run and failed
            self._damaged(refused.poison, rule, given, ValueError(), targets)
            raise
        if is_container:
            containers.prepare(rule.name, given, lineage)
        origin = self.provenance.before(op, rule, given, targets, is_met)
        effects.writers = origin.writers
        effects.before(rule.name, given)
        is_plain = given.is_plain()
        if not is_plain:
            given.refresh()
        versions = self._shared_versions(given)
        state = None
        if extra.is_public and not lineage.generator.is_public:
            state = torch.get_rng_state()
        try:
            result = self._call(rule, function, given, op)
            if rule.result == "number" and is_private(before):
                result = typed(rule, given, result)
        except Broken as broken:
            self._spread(broken.poison, rule, given, op)
            effects.abandon()
            return
        except Exception as error:
            behind = self._effects.behind(rule.name, given)
            label = join((before, extra, *behind))
            is_public = not behind and self._is_public(rule, given, error, label)
            failed = self._failed(error, given, label, is_public=is_public)
            if poison is not None and not failed.poison.is_public:
                failed = _Failed(self.damage.reaching(poison, given), is_known=True)
            if is_random(rule.name) and is_private(label) and not failed.poison.is_public:
                lineage.generator = join((lineage.generator, to_per_record(label)))
            self._damaged(failed.poison, rule, given, error, targets)
            effects.abandon()
            raise failed from None
        if state is not None and not torch.equal(state, torch.get_rng_state()):
            extra = lineage.generator
        self._check_shared(versions, given)
        if self.admission.spec is not None and not is_as_expected(result, self.admission.spec):
            self.admission.is_inferred = False  # a value took part that inference did not see

        if not is_plain:
            given.forget()
        for target in targets:
            lineage.written(target)
        effects.after(rule.name, given, result, targets)
        if is_container:
            containers.draw(given, result, extra, lineage)
            label = containers.label_results(rule.name, given, result, lineage)
            if rule.name not in containers.STEPWISE:
                containers.label_fresh(given, result, lineage)
        else:
            label = self._label(rule, given, result, targets, extra)
            self._charge(result)
        node = self.provenance.after(op, rule, given, result, origin, targets)
        slots = self._keep(op, rule, given, result, label, node)
        if poison is not None:
            self.damage.mark(poison, rule, given, slots, targets, is_container=is_container)

    def _admit_name(self, op: Op, call: Call | None) -> tuple[Rule, Callable[..., Any], Arguments]:
        try:
            call = call or Call(op)
            self._store.check_fresh(op.outs)
            self.admit_objects(len(op.outs))
            given = call.arguments(self._store)
            check_settings(call, given, self._lineage)
        except ProtocolError as error:
            raise PublicError(TypeError(str(error))) from None
        except (IdError, NotAllowed, QuotaExceeded, TypeError, ValueError) as error:
            raise PublicError(error) from None
        return call.rule, call.function, given

    def _admit(self, rule: Rule, given: Arguments, mode: str, *, is_met: bool) -> None:
        try:
            self.admission.admit_size(rule, given, mode, self._store, is_met=is_met)
            if is_met:
                self._admit_time(rule, given)
        except QuotaExceeded as error:
            raise PublicError(error) from None
        except SizeRefused as refused:
            if refused.is_public:
                raise PublicError(refused.error) from None
            if is_met:
                self._admit_time(rule, given)
            every = given.all(self._lineage)
            raise self._failed(refused.error, given, every, is_public=False) from None

    def _admit_time(self, rule: Rule, given: Arguments) -> None:
        """Counts a call that is left out like one that runs: the count is public."""
        if is_private(self._because):  # how often closures run is private
            return
        is_container = containers.is_container_call(rule.name, given)
        try:
            self.admission.admit_time(rule, given, is_container=is_container)
        except QuotaExceeded as error:
            raise PublicError(error) from None

    def _damaged(
        self, poison: Poison, rule: Rule, given: Arguments, error: Exception,
        targets: list[torch.Tensor],
    ) -> None:  # fmt: skip
        """Spoils what a call that failed may have changed."""
        is_inferred = self.admission.is_inferred
        is_public = is_inferred and given.has_public_facts(self._lineage)
        hidden = not is_public and self.damage.hides(rule, given, is_inferred=is_inferred)
        self.damage.fail(poison, rule, given, error, targets, hidden=hidden)

    def _charge(self, result: Any) -> None:
        """Results of hidden size count for their bound."""
        if self.admission.bound and not is_atomic(result):
            tensors = [part for part in reach(result) if isinstance(part, torch.Tensor)]
            charge(tensors, self.admission.bound, self._lineage)

    def admit_objects(self, count: int) -> None:
        """Raises `QuotaExceeded` where so many more objects are too many."""
        self.admission.room.admit_objects(self._store, count)

    def admit_bytes(self, nbytes: int) -> None:
        """Raises `QuotaExceeded` where so many more bytes are too many."""
        self.admission.room.admit_bytes(self._store, nbytes)

    # writing

    def _targets(self, rule: Rule, given: Arguments) -> list[torch.Tensor]:
        """Every tensor that the call may write to."""
        listed = written(rule, given.args, given.kwargs)
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

    def _refuse_shared(self, rule: Rule, targets: list[torch.Tensor], given: Arguments) -> None:
        for target in targets:
            entry = self._lineage.entry(target)
            if entry is not None and entry.read_only:
                refused = NotAllowed(entry.read_only)
                if entry.hidden:  # a private value may have chosen which tensor this is
                    self._admit_time(rule, given)
                    raise self._failed(refused, given, given.all(self._lineage), is_public=False)
                raise PublicError(refused)

    def _shared_versions(self, given: Arguments) -> list[tuple[torch.Tensor, int]]:
        return [
            (tensor, tensor._version) for tensor in given.sources or given.tensors()
            if (entry := self._lineage.entry(tensor)) is not None
            and entry.is_shared and not tensor.is_inference()
        ]  # fmt: skip

    def _check_shared(self, versions: list[tuple[torch.Tensor, int]], given: Arguments) -> None:
        """The net below: no name should get here, and if one does the object is lost, loudly."""
        for tensor, version in versions:
            if tensor._version != version:
                error = RuntimeError(
                    f"{self._now[1]} wrote to an owner's object, which is not used any more"
                )
                failed = self._failed(error, given, given.all(self._lineage), is_public=False)
                self._lineage.spoil(tensor, failed.poison)
                raise failed

    # running

    def _call(self, rule: Rule, function: Callable[..., Any], given: Arguments, op: Op) -> Any:
        args = given.args
        if rule.name in NEEDS_CONTEXT:
            args = (self._context, *args)
        if rule.name == "torch.Tensor.grad=":
            args = tuple(self._unshared(value) for value in args)
        with _MODES[op.mode]():
            return function(*args, **given.kwargs)

    def _unshared(self, value: Any) -> Any:
        """A gradient is written to by every backward: what is read-only becomes one as a copy."""
        if not isinstance(value, torch.Tensor):
            return value
        entry = self._lineage.entry(value)
        if entry is None or not entry.read_only:
            return value
        copy = value.detach().clone()
        self._lineage.own(copy).label = entry.label
        return copy

    def _label(
        self, rule: Rule, given: Arguments, result: Any, targets: list[torch.Tensor], extra: Label
    ) -> Label:
        lineage = self._lineage
        if rule.form == "constructor" and not isinstance(result, (torch.Tensor, *ATOMIC)):
            # what it holds keeps its own labels; the rest of its arguments are its content
            chosen = PUBLIC if rule.short == "TensorDataset" else given.settings(lineage)
            every = join((given.beside(lineage), chosen, extra))
            if is_private(every):
                tracked = lineage.track(result)
                tracked.content = join((tracked.content, every))
                if is_private(chosen):
                    tracked.structure = join((tracked.structure, to_per_record(chosen)))
            return PUBLIC
        if rule.name in _FLAGS or rule.name in _STATEFUL:
            return PUBLIC
        if label_apart(rule.name, given, result, lineage, self._effects.writers):
            return PUBLIC
        is_inferred = self.admission.is_inferred
        verdict = self._precedents.judge(rule, given, result, extra, is_inferred=is_inferred)
        parts = {id(part) for part in reach(result)} if targets else set()
        is_known = rule.name == "torch.nn.functional.batch_norm"  # by effects, and better
        for target in targets if is_private(verdict.label) and not is_known else ():
            if id(target) not in parts:
                entry = lineage.own(target)
                entry.label = join((entry.label, verdict.label))
        inplace = frozenset(id(target) for target in targets)
        return apply(verdict, result, given, inplace, lineage)

    # storing

    def _keep(
        self, op: Op, rule: Rule, given: Arguments, result: Any, label: Label, node: Made
    ) -> list[Slot]:
        if not op.outs:
            return []
        tags = result_tags(rule.name, [slot.tags for slot in given.slots.values()])
        if len(op.outs) == 1:
            values = [result]
        else:
            values = list(result) if isinstance(result, list | tuple) else []
            if len(values) != len(op.outs):
                error = ValueError(f"{op.name} gave another number of results than {len(op.outs)}")
                every = given.all(self._lineage)
                facts = self.admission.is_inferred and given.has_public_facts(self._lineage)
                is_public = facts or not is_private(every)
                raise self._failed(error, given, every, is_public=is_public)
        loose = containers.is_loose(rule.name, given, label, self._lineage)
        slots = [
            Slot(value, label, tags=tags, made=own, is_loose=loose)
            for value, own in zip(values, self.provenance.results(node, values), strict=True)
        ]
        for id, slot in zip(op.outs, slots, strict=True):
            self._store.put(id, slot)
        return slots

    # failing

    def _fail(self, poison: Poison, op: Op) -> OpFailed:
        self._poison_outs(op, poison)
        return OpFailed(poison.seq, poison.op, poison.code, poison.text, poison.is_public)

    def _failed(
        self, error: Exception, given: Arguments, label: Label, *, is_public: bool
    ) -> _Failed:
        """The poison of a new cause, with what a backward through it would have reached."""
        if is_private(self._because):
            is_public, label = False, join((label, to_per_record(self._because)))
        poison = Poison(*self._now, code_of(error), text_of(error), is_public, label)
        return _Failed(self.damage.reaching(poison, given))

    def _poison_outs(self, op: Op, poison: Poison) -> None:
        self._lineage.has_poison = True  # it may be put into a container
        slots: list[Slot] = []
        nodes: list[Made] = []
        if not poison.is_public and self._named is not None:
            rule, given = self._named
            nodes = self.provenance.failed(op, rule, given)
            writes, spec = bool(self._targets(rule, given)), self.admission.spec
            is_pure = not (writes or is_random(rule.name))
            like = self.damage.neutral(rule.name, given, spec, _MODES[op.mode], is_pure)
            slots = self.damage.stand_ins(rule, given, spec, len(op.outs), poison, like)
            if not writes:
                self.damage.mark_viewed(poison, rule, given)
            if rule.name in _STATEFUL and rule.result != "tensor":  # that is a closure's loss
                slots = [Slot(None) for _ in op.outs]
        for number, id in enumerate(op.outs):
            # an id that exists keeps its object: a bad command cannot destroy another's result
            if id > 0 and id not in self._store and self.has_room_for_poison():
                slot = slots[number] if slots else self.damage.hard(poison, self._named)
                slot.made = nodes[number] if nodes else slot.made
                self._store.put(id, slot)

    def has_room_for_poison(self) -> bool:
        """Failures may go past the store's quota, not without end."""
        return len(self._store) < 2 * self.admission.limits.objects

    def _spread(self, poison: Poison, rule: Rule, given: Arguments, op: Op) -> None:
        """Everything computed from poison, or changed by it, is the same poison."""
        poison = self.damage.reaching(poison, given)
        hidden = not poison.is_public and self.damage.hides(rule, given, is_inferred=True)
        self.damage.spread(poison, rule, given, hidden=hidden)
        if is_random(rule.name):
            self._lineage.generator = join((self._lineage.generator, to_per_record(poison.label)))
        self._poison_outs(op, poison)

    def _is_public(self, rule: Rule, given: Arguments, error: Exception, label: Label) -> bool:
        """Whether a failure while running follows from public facts."""
        if not is_private(label):
            return True
        if not given.has_public_facts(self._lineage):
            return False
        if isinstance(error, NotAllowed):
            return True
        if rule.name.startswith(_BY_SHAPE) and rule.form == "constructor":
            if rule.short != "TensorDataset" and is_private(given.settings(self._lineage)):
                return False
            return isinstance(error, TypeError | ValueError | QuotaExceeded)
        # a tensor that was taken as a flag or a size has decided by its value
        if rule.name == "torch.Tensor.backward":
            return is_structural(error, of_graph=False)  # stand-ins have graphs of their own
        return is_structural(error) and not given.has_private_numbers(self._lineage)


_STATEFUL: Final = frozenset({
    "torch.Tensor.backward", "torch.Tensor.retain_grad", "torch.manual_seed",
    "torch.optim.Optimizer.step", "torch.optim.Optimizer.zero_grad",
    "torch.optim.Optimizer.load_state_dict", "torch.optim.Optimizer.add_param_group",
    "torch.optim.lr_scheduler.LRScheduler.step",
    "torch.optim.lr_scheduler.LRScheduler.load_state_dict",
    "torch.optim.lr_scheduler.LRScheduler.feed",
})  # fmt: skip
"""Effects has labelled what they change; they give nothing."""


class _Failed(Exception):
    """An operation failed for a new cause."""

    def __init__(self, poison: Poison, *, is_known: bool = False) -> None:
        super().__init__(poison.text)
        self.poison = poison
        self.is_known = is_known  # it failed on what stands in for another failure
