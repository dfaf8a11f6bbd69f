"""Runs one command: resolve, admit, check, run, label, store.

The order is the point. Everything that public facts can refuse is refused before anything runs;
labels go into stateful objects before the call that might fail half way; what a failing call would
have changed is poisoned.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch

from duet_p2p.engine import axes, batches, containers
from duet_p2p.engine.admission import Admission, Limits, SizeRefused
from duet_p2p.engine.aliases import hand_on, joins_graph
from duet_p2p.engine.arguments import Arguments, is_private
from duet_p2p.engine.batches import label_filled
from duet_p2p.engine.call import Call
from duet_p2p.engine.chosen_types import is_loose
from duet_p2p.engine.damage import Damage
from duet_p2p.engine.effects import READERS, Effects
from duet_p2p.engine.failures import Broken, PublicError, code_of, is_exhaustion, text_of
from duet_p2p.engine.faults import for_failure, lost
from duet_p2p.engine.judge import look_before, typed
from duet_p2p.engine.labelling import STATEFUL, Labelling, is_element
from duet_p2p.engine.labels import PUBLIC, Kind, Label, join, to_per_record
from duet_p2p.engine.lineage import Lineage
from duet_p2p.engine.loose import tie_made
from duet_p2p.engine.messages import OpFailed
from duet_p2p.engine.missing_views import mark_viewed
from duet_p2p.engine.provenance import OPTIMIZING, Provenance
from duet_p2p.engine.publicity import is_public_failure
from duet_p2p.engine.recipe import Made
from duet_p2p.engine.running import MODES, Failed, LeftOut, Running, admitted
from duet_p2p.engine.short_ways import ShortWays
from duet_p2p.engine.store import Poison, Slot, Store
from duet_p2p.engine.ties import settle
from duet_p2p.engine.trial import is_as_expected, neutral, refusal
from duet_p2p.engine.unwritten import count_uncertain
from duet_p2p.engine.watch import Watch
from duet_p2p.engine.writes import OF_GRAPHS, Writes
from duet_p2p.errors import QuotaExceeded
from duet_p2p.surface.callables import NEEDS_CONTEXT
from duet_p2p.surface.context import Context
from duet_p2p.surface.table import Rule
from duet_p2p.wire.messages import Op

__all__ = ["Executor", "Limits"]


class Executor:
    """Runs commands on a store."""

    def __init__(
        self, store: Store, lineage: Lineage, effects: Effects, context: Context, limits: Limits
    ) -> None:
        self._store = store
        self._lineage = lineage
        self._effects = effects
        self._labelling = Labelling(lineage, effects)
        self.short_ways = ShortWays(self, lineage, effects)
        self._writes = Writes(lineage, effects)
        self._context = context
        self.admission = Admission(lineage, limits)
        self._now = (0, "")  # the command that runs: its number and name
        self.damage = Damage(lineage, effects, self._labelling)
        self._named: Running | None = None
        self._mode: Callable[[], Any] = torch.enable_grad  # of gradients, of the command that runs
        self._because = PUBLIC  # why commands run at all
        self.watch = Watch()
        self.provenance = Provenance(lineage)

    @property
    def store(self) -> Store:
        """The objects that commands find: the session's, or those of a plan's run."""
        return self._store

    @property
    def is_open(self) -> bool:
        """No private value decides that commands run at all, or what random numbers are drawn."""
        return self._because is PUBLIC and self._lineage.generator.is_public

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
        outer, now, self._because = self._because, self._now, join((self._because, label))
        try:
            yield
        finally:
            self._because, self._now = outer, now

    def run(self, seq: int, op: Op, call: Call | None = None) -> OpFailed | None:
        """Run one operation (`call`: looked up before); the failure, if it has a new cause."""
        outer = self.admission.spec, self._named, self._mode
        self._now, self._mode = (seq, op.name), MODES[op.mode]
        self.admission.spec = self._named = None
        self.watch.begin(seq, op.name)
        self._lineage.epoch += 1
        try:
            self._run(op, call)
        except LeftOut:
            return None
        except PublicError as refused:
            error, is_met = refused.error, is_private(self._because)
            label = to_per_record(self._because) if is_met else PUBLIC
            poison = Poison(seq, op.name, code_of(error), text_of(error), label is PUBLIC, label)
            return self._fail(poison, op)
        except Failed as failed:
            self._stopped(failed.poison)
            return None if (told := self._fail(failed.poison, op)) and failed.is_known else told
        finally:  # a closure's commands run within a step
            if self._lineage.ties:
                tie_made(self._named, self._store, self._lineage)
                settle(self._lineage)
            self.admission.spec, self._named, self._mode = outer
        return None

    def run_alone(self, seq: int, op: Op) -> OpFailed | None:
        """`run_safely` of a command that belongs to no plan and no closure."""
        try:
            if self.is_open and self.short_ways.familiar.run(seq, op):
                return None
        except Exception as error:
            return self._lost(seq, op, error)
        self._lineage.count += 1
        failed = self.run_safely(seq, op)
        self.short_ways.familiar.forget()
        return failed

    def run_safely(self, seq: int, op: Op, call: Call | None = None) -> OpFailed | None:
        """`run`, and after a mistake of ours everything is given up that the command named."""
        try:
            return self.run(seq, op, call)
        except Exception as error:  # nothing is known about what it left behind
            return self._lost(seq, op, error)

    def of_all(self) -> Label:
        """Of what may depend on everything that there is."""
        whole = self._lineage.whole
        sources = frozenset[int]().union(*(whole(slot.value).sources for slot in self._store))
        return Label(Kind.PER_RECORD, sources, frozenset(), 1, False) if sources else PUBLIC

    def of_memory(self) -> Label:
        """Of how much memory is left: private where private values decided sizes."""
        return self.of_all() if self.admission.has_hidden else PUBLIC

    def _lost(self, seq: int, op: Op, error: Exception) -> OpFailed:
        with for_failure(error):
            poison = lost(
                seq, op, error, self._store, self._lineage, self.damage,
                self.of_all(), join((self.of_memory(), self._because)),
            )  # fmt: skip
            self._effects.abandon()
            return self._fail(poison, op)

    # the way of one command

    def _run(self, op: Op, call: Call | None) -> None:
        is_open = self.is_open
        if is_open and call is not None and self.short_ways.repeat(op, call):
            return
        run = self._named = admitted(op, call, self._store, self.admission.room, self._lineage)
        if is_open and self.short_ways.take(run, call):
            return
        if not self._is_left_out(run):
            self._prepare(run)
            self.finish(run, self.called(run))

    def _is_left_out(self, run: Running) -> bool:
        """Whether the command cannot run because of what failed before it; then that is spread."""
        rule, given = run.rule, run.given
        run.is_container = containers.is_container_call(rule.name, given)
        run.targets = self._writes.targets(rule, given)
        self._refuse_shared(run)
        is_deep = not (run.is_container or rule.name in READERS)
        poison = self.damage.found(rule.name, given, deep=is_deep)
        if poison is None or self.damage.can_run(rule.name, given, deep=is_deep):
            run.poison = poison
            return False
        if containers.can_hold(rule.name, given):
            return False
        self.admission.is_inferred = self.damage.is_inferred(rule, given)
        if not poison.is_public:
            self._admit_time(rule, given)
            containers.prepare(rule.name, given, self._lineage)  # as if it had run
        self._spread(poison, run)
        return True

    def _prepare(self, run: Running) -> None:
        """Admission, and labels into what the call may change whether it fails or not."""
        lineage, effects, rule, given = self._lineage, self._effects, run.rule, run.given
        run.before = given.all(lineage)
        run.extra = effects.extra(rule.name, given)
        run.is_met = any(map(is_private, (run.before, run.extra, self._because)))
        if not run.is_met:
            self.watch.is_public()
        try:
            self._admit(rule, given, run.op.mode, is_met=run.is_met)
        except Failed as refused:  # as if it had run and failed
            containers.prepare(rule.name, given, lineage)
            run.given_before(self.provenance)
            effects.left_out(rule.name, given, refused.poison.label)
            self._damaged(refused.poison, run, ValueError())
            raise
        if self.admission.has_hidden:
            self.watch.has_hidden()
        containers.prepare(rule.name, given, lineage)
        run.origin = self.provenance.before(run.op, rule, given, run.targets, run.is_met)
        effects.writers = run.origin.writers
        effects.before(rule.name, given)
        run.shared = self._writes.shared(given)
        if rule.name in OPTIMIZING:
            run.owned = [given.owned(t, lineage) or lineage.own(t) for t in run.targets]
        if not given.is_plain():
            given.refresh()
        if run.targets and run.is_met and axes.base_name(rule.name):
            look_before(run.targets, given, lineage)
        if run.targets:
            count_uncertain(run, lineage)
        if run.extra.is_public and not lineage.generator.is_public:
            run.state = torch.get_rng_state()

    def called(self, run: Running) -> Any:
        """What the call gives.

        Raises:
            Failed: it failed; what it may have changed is spoilt.
        """
        self._named, rule, given = run, run.rule, run.given
        try:
            result = self._call(rule, run.function, given, run.op)
            if type(result).__module__ == "torch.return_types":
                result = tuple(result)  # as what would stand in for it
            if rule.result == "number" and run.before is not None and is_private(run.before):
                result = typed(rule, given, result)
            return result
        except Broken as broken:
            self._spread(broken.poison, run)
            self._effects.left_half(rule.name, given)
            raise LeftOut from None
        except Exception as error:
            with for_failure(error):
                failed = self._raised(error, run)
            self._effects.left_half(rule.name, given)
            raise failed from None

    def _raised(self, error: Exception, run: Running) -> Failed:
        """The poison of a call that raised, put where it belongs."""
        rule, given, lineage = run.rule, run.given, self._lineage
        behind = self._effects.behind(rule.name, given)
        before = given.all(lineage) if run.before is None else run.before
        label = join((before, run.extra, *behind))
        is_public = not behind and is_public_failure(rule, given, error, label, lineage)
        if not is_public and not behind:  # perhaps something public would have failed behind it
            formal = refusal(run, self._mode, lineage, self.admission.spec)
            if formal and is_public_failure(rule, given, formal, label, lineage):
                error, is_public = formal, True
        if is_public and is_exhaustion(error) and is_private(self.of_memory()):
            is_public, label = False, self.of_memory()
        failed = self._failed(error, given, label, is_public=is_public)
        if run.poison is not None and not failed.poison.is_public:
            failed = Failed(
                self.damage.reaching(run.poison, rule, given, self._mode), is_known=True
            )
        self._damaged(failed.poison, run, error)
        return failed

    def finish(self, run: Running, result: Any) -> None:
        """The command ran: labels, nodes, and the store."""
        lineage, admission, rule, given = self._lineage, self.admission, run.rule, run.given
        if run.state is not None and not torch.equal(run.state, torch.get_rng_state()):
            run.extra = lineage.generator
        self.check_shared(run)
        if admission.spec is not None and not is_as_expected(result, admission.spec):
            admission.is_inferred = False  # a value took part that inference did not see
        if not given.is_plain():
            given.forget()
        for entry in run.owned:
            entry.version += 1
        is_uniform = axes.base_name(rule.name.removesuffix("=")) in axes.IN_PLACE
        for target in run.targets if not run.owned else ():
            if is_uniform and (rows := lineage.rows(target)) is not None:
                given.lay(target, rows)
            lineage.written(target)
        self._effects.after(rule.name, given, result, run.targets)
        verdict, given_by_torch = None, result
        if run.is_container:
            result = containers.taken(rule.name, given, result, lineage)
            batches.draw(given, result, run.extra, lineage)
            label = containers.label_results(rule.name, given, result, lineage)
            if rule.name not in containers.STEPWISE:
                label_filled(given, result, lineage)
        else:
            is_inferred, labelling = admission.is_inferred, self._labelling
            result = labelling.apart(run, result, self._mode, self._raised, is_inferred=is_inferred)
            label, verdict = labelling.label(run, result, is_inferred=is_inferred)
            try:
                admission.charge(result, is_met=run.is_met)
            except QuotaExceeded as error:
                raise PublicError(error) from None
        node = self.provenance.after(run.op, rule, given, result, run.origin, run.targets)
        slots = self._keep(run, result, label, node)
        hand_on(rule, given, result, lineage)
        if run.poison is not None:
            self.damage.mark(
                run.poison, rule, given, slots, run.targets, is_container=run.is_container
            )
        elif run.question is not None and verdict is not None and label is PUBLIC:
            is_plain = not (run.targets or run.is_container) and run.extra is PUBLIC
            is_plain = is_plain and result is given_by_torch
            if is_plain and admission.is_plain and type(result) is torch.Tensor:
                self.short_ways.routines.learn(run.question, admission.spec, run.is_met, verdict)

    def _admit(self, rule: Rule, given: Arguments, mode: str, *, is_met: bool) -> None:
        try:
            self.admission.admit_size(rule, given, mode, self._store, is_met=is_met)
            if is_met:
                self._admit_time(rule, given)
        except QuotaExceeded as error:
            raise PublicError(error) from None
        except SizeRefused as refused:
            is_full = is_exhaustion(refused.error) and is_private(self.of_memory())
            if refused.is_public and not is_full:
                raise PublicError(refused.error) from None
            if is_met:
                self._admit_time(rule, given)
            every = self.of_memory() if is_full else given.all(self._lineage)
            raise self._failed(refused.error, given, every, is_public=False) from None

    def _admit_time(self, rule: Rule, given: Arguments) -> None:  # also of one that is left out
        if is_private(self._because):  # how often closures run is private
            return
        is_container = containers.is_container_call(rule.name, given)
        try:
            self.admission.admit_time(rule, given, is_container=is_container)
        except QuotaExceeded as error:
            raise PublicError(error) from None

    def _damaged(self, poison: Poison, run: Running, error: Exception) -> None:
        rule, given, is_inferred = run.rule, run.given, self.admission.is_inferred
        is_public = is_inferred and given.has_public_facts(self._lineage)
        hides = self.damage.hides
        hidden = not is_public and hides(rule, given, run.op.mode, is_inferred=is_inferred)
        if run.op.mode == "g" and not poison.is_public and joins_graph(rule):
            self.damage.join(run.targets, given, self._lineage)
        if poison.is_public:  # what failed on private values is known by what it would have done
            self.provenance.break_off(run.origin)
        self.damage.fail(poison, rule, given, error, run.targets, hidden=hidden)

    # writing

    def _refuse_shared(self, run: Running) -> None:
        refused, is_hidden = self._writes.refusal(run)
        if refused is None:
            return
        if is_hidden:  # a private value may have chosen which object this is
            self._admit_time(run.rule, run.given)
            every = run.given.all(self._lineage)
            failed = self._failed(refused, run.given, every, is_public=False)
            self.damage.reached(run.targets, failed.poison)
            containers.prepare(run.rule.name, run.given, self._lineage)
            run.given_before(self.provenance)
            self._left_out(failed.poison, run)
            raise failed
        raise PublicError(refused)

    def check_shared(self, run: Running) -> None:
        """The net below: no name should get here, and if one does the object is lost, loudly."""
        for tensor, version in run.shared:
            if tensor._version != version:
                error = RuntimeError(
                    f"{self._now[1]} wrote to an owner's object, which is not used any more"
                )
                every = run.given.all(self._lineage)
                failed = self._failed(error, run.given, every, is_public=False)
                self._lineage.spoil(tensor, failed.poison)
                raise failed

    def _call(self, rule: Rule, function: Callable[..., Any], given: Arguments, op: Op) -> Any:
        args = given.args
        if rule.name in NEEDS_CONTEXT:
            args = (self._context, *args)
        if rule.name in OF_GRAPHS:
            args = self._writes.ready(rule.name, args)
        if op.mode == "g" and torch.is_grad_enabled():
            return function(*args, **given.kwargs)
        with self._mode():
            return function(*args, **given.kwargs)

    # storing

    def _keep(self, run: Running, result: Any, label: Label, node: Made) -> list[Slot]:
        op, rule, given = run.op, run.rule, run.given
        if not op.outs:
            return []
        tags = given.tags(rule.name)
        if len(op.outs) == 1:
            values = [result]
        else:
            values = list(result) if isinstance(result, list | tuple) else []
            if len(values) != len(op.outs):
                error = ValueError(f"{op.name} gave another number of results than {len(op.outs)}")
                every = given.all(self._lineage)
                facts = self.admission.is_inferred and given.has_public_facts(self._lineage)
                raise self._failed(error, given, every, is_public=facts or not is_private(every))
        loose = is_loose(rule.name, given, label, self._lineage)
        held = is_element(rule, given) or (loose and rule.name == "torch.Tensor.grad")
        slots = [
            Slot(value, label, tags=tags, made=own, is_loose=loose, is_element=held)
            for value, own in zip(values, self.provenance.results(node, values), strict=True)
        ]
        self._labelling.tie(run, slots)
        for id, slot in zip(op.outs, slots, strict=True):
            self._store.put(id, slot)
        return slots

    # failing

    def _fail(self, poison: Poison, op: Op) -> OpFailed:
        self._poison_outs(op, poison)
        return OpFailed(poison.seq, poison.op, poison.code, poison.text, poison.is_public)

    def _failed(
        self, error: Exception, given: Arguments, label: Label, *, is_public: bool
    ) -> Failed:
        """The poison of a new cause, with what a backward through it would have reached."""
        if is_private(self._because):
            is_public, label = False, join((label, to_per_record(self._because)))
        poison = Poison(*self._now, code_of(error), text_of(error), is_public, label)
        assert self._named is not None, "what has no name is refused for all to see"
        return Failed(self.damage.reaching(poison, self._named.rule, given, self._mode))

    def _poison_outs(self, op: Op, poison: Poison) -> None:
        self._lineage.has_poison = True  # it may be put into a container
        slots: list[Slot] = []
        nodes: list[Made] = []
        tags: tuple[str, ...] = ()
        if not poison.is_public and self._named is not None:
            run, rule, given = self._named, self._named.rule, self._named.given
            tags = given.tags(rule.name)
            writes, spec = self._writes.targets(rule, given), self.admission.spec
            origin = run.given_before(self.provenance)
            nodes = self.provenance.failed(op, rule, given, origin, writes)
            like = neutral(rule.name, given, spec, self._mode, self._lineage, writes)
            slots = self.damage.stand_ins(op, rule, given, spec, poison, like)
            if not writes:
                mark_viewed(poison, rule, given, self._lineage)
            if rule.name in STATEFUL and rule.result != "tensor":  # that is a closure's loss
                slots = [Slot(None) for _ in op.outs]
        for number, id in enumerate(op.outs):
            # an id that exists keeps its object: a bad command cannot destroy another's result
            if id > 0 and id not in self._store and self.has_room_for_poison():
                slot = (
                    slots[number] if slots else self.damage.hard(poison, self._named, op.outs, id)
                )
                slot.made, slot.tags = nodes[number] if nodes else slot.made, tags
                if self._named is not None and not poison.is_public:
                    hand_on(self._named.rule, self._named.given, slot.value, self._lineage)
                    self._labelling.tie(self._named, [slot])
                self._store.put(id, slot)

    def has_room_for_poison(self) -> bool:
        """Failures may go past the store's quota, not without end."""
        return len(self._store) < 2 * self.admission.limits.objects

    def _spread(self, poison: Poison, run: Running) -> None:
        if not poison.is_public:
            run.given_before(self.provenance)
        poison = self.damage.reaching(poison, run.rule, run.given, self._mode)
        self._left_out(poison, run)
        self._poison_outs(run.op, poison)

    def _left_out(self, poison: Poison, run: Running) -> None:
        op, rule, given = run.op, run.rule, run.given
        hidden = not poison.is_public and self.damage.hides(rule, given, op.mode, is_inferred=True)
        self.damage.spread(poison, rule, given, op.mode, hidden=hidden)
        self._effects.left_out(rule.name, given, poison.label)

    def _stopped(self, poison: Poison) -> None:  # it might have drawn, wherever that was
        if self._named is not None and not poison.is_public:
            given = self._named.given
            every = join((poison.label, given.all(self._lineage)))
            self._effects.left_out(self._named.rule.name, given, every)
