"""Plans: recorded steps that are defined once and run many times.

A run is nothing but its commands, one after the other, on the executor's ordinary way: admission,
checks, labels, poison and quotas are those of eager operations, worked out anew each time. What is
saved is the wire, the looking up and the making of arguments that never change.

Also failures are those of eager operations: what depends on a failed command is poisoned, what it
would have changed is spoiled, and an output that has nothing to do with it is as it would be. It
may look simpler to fail every output at once, but then a *public* output would tell whether a
command on private values has failed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from duet_p2p import limits
from duet_p2p.engine import learning
from duet_p2p.engine import messages as m
from duet_p2p.engine.call import RepeatedCall
from duet_p2p.engine.effects import Effects
from duet_p2p.engine.executor import Executor
from duet_p2p.engine.failures import code_of, text_of
from duet_p2p.engine.faults import give_up
from duet_p2p.engine.fingerprint import Fingerprint
from duet_p2p.engine.form import form_of, hashed, inputs_of
from duet_p2p.engine.frame import Frame
from duet_p2p.engine.labels import PUBLIC
from duet_p2p.engine.lineage import Lineage
from duet_p2p.engine.played import Halt
from duet_p2p.engine.replay import Replay
from duet_p2p.engine.score import Score
from duet_p2p.engine.store import IdError, PlanOutput, Poison, Slot, Store
from duet_p2p.engine.ties import touches
from duet_p2p.errors import DuetError, QuotaExceeded
from duet_p2p.surface.plan import check, digest_of, is_part, joined, refs_of
from duet_p2p.wire.codec import decode_message, encode_message
from duet_p2p.wire.messages import DefinePlan, Op, RunPlan
from duet_p2p.wire.values import Ref

__all__ = ["Plan", "PlanRun", "Plans"]


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan that can run."""

    digest: str
    inputs: int
    captures: tuple[int, ...]
    calls: tuple[RepeatedCall, ...]
    outputs: tuple[int, ...]
    drops: tuple[tuple[int, ...], ...]
    """Of each command, the locals that nothing after it names."""
    nbytes: int
    score: Score
    """What of it is played."""


class Plans:
    """The plans of one session, by id."""

    def __init__(self, store: Store, lineage: Lineage, effects: Effects) -> None:
        self._store = store
        self._lineage = lineage
        self._effects = effects
        self._plans: dict[int, Plan] = {}
        self._parts: list[DefinePlan] = []  # of one plan that is not complete
        self._nbytes = 0  # of them
        self._runs = 0
        self._standing: _Standing | None = None

    # definitions

    def define(self, seq: int, part: DefinePlan) -> list[m.Event]:
        """Takes a plan, or a part of one."""
        try:
            self._take(part)
        except (DuetError, IdError, TypeError, ValueError, MemoryError) as error:
            self._parts = []
            return [m.OpFailed(seq, "DefinePlan", code_of(error), text_of(error), True)]
        return []

    def _take(self, part: DefinePlan) -> None:
        if self._parts and self._parts[0].plan != part.plan:
            raise ValueError("a plan was not finished")
        if not is_part(part):
            raise ValueError("a part of a plan brings steps and nothing else")
        nbytes = len(encode_message(part)) + (self._nbytes if self._parts else 0)
        if nbytes > limits.PLAN_BYTES:
            raise QuotaExceeded(f"a plan of {nbytes} bytes, {limits.PLAN_BYTES} allowed")
        self._parts.append(part)
        self._nbytes = nbytes
        if not part.is_last:
            return
        parts, self._parts = self._parts, []
        if part.plan in self._plans:
            raise IdError(f"the id {part.plan} exists already")
        self._store.check_fresh((part.plan,))
        self.add(part.plan, joined(parts), nbytes)

    def add(self, id: int, definition: DefinePlan, nbytes: int) -> Plan:
        """Keeps a complete plan under an id.

        Raises:
            QuotaExceeded: too many plans, too many commands, too many bytes.
            NotAllowed, ProtocolError, ValueError: it is none that could run.
        """
        check(definition)
        steps = len(definition.steps) + sum(len(plan.calls) for plan in self._plans.values())
        if len(self._plans) >= limits.PLANS:
            raise QuotaExceeded(f"more than {limits.PLANS} plans")
        if steps > limits.PLANS_STEPS:
            raise QuotaExceeded(f"more than {limits.PLANS_STEPS} commands in all plans")
        if nbytes + sum(plan.nbytes for plan in self._plans.values()) > limits.PLANS_BYTES:
            raise QuotaExceeded(f"more than {limits.PLANS_BYTES} bytes of plans")
        calls = tuple(
            RepeatedCall(Op(step.name, step.outs, step.args, step.kwargs, step.mode))
            for step in definition.steps
        )
        drops = _drops(definition)
        plan = Plan(
            digest_of(definition),
            definition.inputs,
            definition.captures,
            calls,
            definition.outputs,
            drops,
            nbytes,
            Score(calls, drops),
        )
        self._plans[id] = plan
        return plan

    def share(self, command: m.SharePlan) -> m.Shared:
        """Keeps a plan of the owner."""
        error = ""
        try:
            parts = [decode_message(data) for data in command.parts]
            plans = [part for part in parts if isinstance(part, DefinePlan)]
            if command.id >= 0 or command.id in self._plans or plans[-1].captures:
                raise ValueError("this cannot be a plan of the owner")
            self.add(command.id, joined(plans), sum(len(data) for data in command.parts))
        except (DuetError, IndexError, TypeError, ValueError) as problem:
            error = text_of(problem)
        nbytes = sum(len(data) for data in command.parts)
        return m.Shared(command.id, "duet.Plan", None, None, None, False, None, nbytes, error)

    def __contains__(self, id: int) -> bool:
        return id in self._plans

    def delete(self, ids: Iterable[int]) -> None:
        """Forgets plans; ids of other things are none of them."""
        for id in ids:
            self._plans.pop(id, None)

    # runs

    def run(self, seq: int, message: RunPlan, executor: Executor) -> list[m.Event]:
        """Runs a plan; events of what failed, and of what was learnt about its outputs."""
        try:
            plan, given = self._begin(message)
            executor.admission.room.admit_objects(self._store, len(message.outs))
        except (IdError, QuotaExceeded, ValueError) as error:
            self.write_down()
            return self.refused(seq, "RunPlan", message.outs, error, executor)
        objects = tuple([slot.uid for slot in given.values()])
        frame, number, call, stands = None, 0, None, ""
        if self._stands_for(plan, message, given, objects, executor):
            standing = self._standing
            assert standing is not None
            halted = standing.replay.once(seq, message.outs, self._runs + 1)
            if halted is None:
                self._runs += 1
                return []
            (number, call), stands = halted, plan.score.run
            frame = Frame(self._store, given)
            standing.replay.place(frame, number)
        self.write_down()
        frame = frame or Frame(self._store, given)
        run = PlanRun(seq, plan, frame, executor, self._lineage)
        run.objects = objects
        stands = executor.provenance.run = stands or self._stands(plan, given, objects)
        held: list[list[Slot]] = [[] for _ in plan.outputs]
        free = _last_local(plan) + 1 if message.times else 0
        for _ in range(max(1, message.times)):
            run.once(self._effects, number, call)
            for position, slot in enumerate(run.outputs()):
                held[position].append(slot)
                if message.times:
                    frame.hold(free, slot)
                    free += 1
        runs = max(1, message.times)
        executor.provenance.run = ""
        first, self._runs = self._runs + 1, self._runs + runs
        results = [slots[0] for slots in held]
        if message.times:
            results = [run.collected(slots, free) for slots in held]
        events = run.events
        for position, (id, slot) in enumerate(zip(message.outs, results, strict=True)):
            self._store.put(id, slot)
            version = self._lineage.version(slot.value, slot.uid, touches(slot, self._lineage))
            slot.origin = PlanOutput(plan.digest, position, first, runs, version, stands)
            name = "python.collect" if message.times else run.maker(position)
            events += learning.of_results(Op(name, (id,), (), {}, "g"), self._store, self._lineage)
        return events

    def _stands_for(
        self, plan: Plan, message: RunPlan, given: dict[int, Slot], objects: tuple[int, ...],
        executor: Executor,
    ) -> bool:  # fmt: skip
        """Whether this run follows those that stand, or is the first that can."""
        if message.times:
            return False
        known = self._standing
        if known is not None:
            return known.plan is plan and known.objects == objects
        score, store, effects = plan.score, self._store, self._effects
        if not executor.is_open or self._lineage.ties or not _are_known(plan):
            return False
        found = score.standing(objects, self._lineage, effects)
        if found is None:
            return False
        try:
            outputs = plan.outputs
            replay = Replay(*found, given, outputs, store, executor, self._lineage, effects)
        except Halt:
            score.left(objects, found[1], self._lineage)  # nothing was done
            return False
        self._standing = _Standing(plan, objects, replay, found[1])
        return True

    @contextlib.contextmanager
    def written_down(self) -> Iterator[None]:
        """Runs within this block are written down at its end."""
        try:
            yield
        finally:
            self.write_down()

    def write_down(self) -> None:
        """What runs have left is written down: call it before anything else happens."""
        standing, self._standing = self._standing, None
        if standing is None:
            return
        replay, plan = standing.replay, standing.plan
        replay.write_down()
        replay.label(plan.digest, plan.score.run)
        if not replay.is_halted:
            plan.score.left(standing.objects, standing.found, self._lineage)

    def _stands(self, plan: Plan, given: Mapping[int, Slot], objects: tuple[int, ...]) -> str:
        """Stands for a plan and all that a run is given."""
        if plan.score.is_as_left(objects, self._lineage):
            return plan.score.run
        _, forms = inputs_of(given, self._lineage)
        known = [forms.get(n) or form_of(slot.made) for n, slot in sorted(given.items())]
        return hashed("plan", plan.digest, *known)

    def refused(
        self, seq: int, command: str, outs: Iterable[int], error: Exception, executor: Executor
    ) -> list[m.Event]:
        """A command that public facts refuse: its results are poison, and nothing ran."""
        poison = Poison(seq, command, code_of(error), text_of(error), True, PUBLIC)
        self._lineage.has_poison = True
        for id in outs:
            if id > 0 and id not in self._store and executor.has_room_for_poison():
                self._store.put(id, Slot(poison))
        return [m.OpFailed(seq, command, poison.code, poison.text, True)]

    def spoilt(
        self, seq: int, message: RunPlan, error: Exception, executor: Executor
    ) -> list[m.Event]:
        """A run that ended in the middle for a public reason: what it could write to is lost."""
        plan = self._plans.get(message.plan)
        ids = (*message.inputs, *(plan.captures if plan is not None else ()))
        given = [slot for id in ids if (slot := self._store.find(id)) is not None]
        every = executor.of_all()
        poison = Poison(seq, "RunPlan", code_of(error), text_of(error), False, every)
        give_up(poison, [slot.value for slot in given], executor.damage, self._lineage)
        self._effects.abandon()
        return self.refused(seq, "RunPlan", message.outs, error, executor)

    def find(self, id: int) -> Plan:
        """The plan of an id; `IdError` if there is none."""
        plan = self._plans.get(id)
        if plan is None:
            raise IdError(f"no plan has the id {id}")
        return plan

    def _begin(self, message: RunPlan) -> tuple[Plan, dict[int, Slot]]:
        plan = self.find(message.plan)
        if len(message.inputs) != plan.inputs or len(message.outs) != len(plan.outputs):
            raise ValueError("a plan was run with another number of inputs or outputs")
        self._store.check_fresh(message.outs)
        if any(id in self._plans for id in message.outs):
            raise IdError("the id of a plan cannot be that of a result")
        ids = (*message.inputs, *plan.captures)
        return plan, {number: self._store.get(id) for number, id in enumerate(ids, 1)}


class PlanRun:
    """The runs of one message, in one frame."""

    def __init__(
        self, seq: int, plan: Plan, frame: Frame, executor: Executor, lineage: Lineage
    ) -> None:
        self._seq = seq
        self._plan = plan
        self._frame = frame
        self._executor = executor
        self._lineage = lineage
        self.events: list[m.Event] = []
        self.objects: tuple[int, ...] = ()
        """What it was given, each by the `uid` of its slot."""
        self._told: set[tuple[int, bool]] = set()  # a failure of one command is told once

    def once(
        self, effects: Effects | None = None, number: int = 0, call: RepeatedCall | None = None
    ) -> None:
        """Every command, in order.

        Args:
            effects: of the session, where commands can be played; None: none can be.
            number: of the first command; those before it have run.
            call: that command, if it was called.
        """
        executor, calls = self._executor, self._plan.calls
        # what is tied is settled command by command
        is_whole = effects is None or not executor.is_open or self._lineage.ties
        score = None if is_whole else self._plan.score
        with executor.within(self._frame):
            while number < len(calls):
                is_begin = score is not None and number == score.begin and call is None
                if score is not None and effects is not None and is_begin:
                    number, call = score.play(
                        self._seq, self.objects, executor.provenance.run, self._frame, executor,
                        self._lineage, effects,
                    )  # fmt: skip
                    if number == len(calls):
                        break
                self._command(number, call or calls[number], score)
                number, call = number + 1, None

    def _command(self, number: int, call: RepeatedCall, score: Score | None) -> None:
        if score is not None:
            score.before(number)
        failed = self._executor.run_safely(self._seq, call.op, call)
        if score is not None:
            score.after(number, has_failed=failed is not None)
        if failed is not None and (number, failed.is_public) not in self._told:
            self._told.add((number, failed.is_public))
            self.events.append(failed)
        for local in self._plan.drops[number]:
            self._let_go(self._frame.take(local))

    def outputs(self) -> list[Slot]:
        """Takes the outputs of the run that is over out of the frame."""
        return [self._frame.take(local) or self._no_room() for local in self._plan.outputs]

    def _no_room(self) -> Slot:
        """Every output is the result of a command, unless there was no room even for its poison."""
        error = QuotaExceeded("no more objects")
        text = text_of(error)
        return Slot(Poison(self._seq, "RunPlan", code_of(error), text, True, PUBLIC))

    def collected(self, slots: list[Slot], free: int) -> Slot:
        """One list of an output of all runs."""
        for number, slot in enumerate(slots, free):
            self._frame.hold(number, slot)
        out = free + len(slots)
        refs = tuple([Ref(number) for number in range(free, out)])
        op = Op("python.collect", (out,), refs, {}, "g")
        with self._executor.within(self._frame):
            failed = self._executor.run_safely(self._seq, op, None)
        if failed is not None:
            self.events.append(failed)
        for number in range(free, out):
            self._frame.take(number)
        return self._frame.take(out) or self._no_room()

    def maker(self, position: int) -> str:
        """The name of the command that made an output."""
        local = self._plan.outputs[position]
        return next(call.op.name for call in self._plan.calls if local in call.op.outs)

    def _let_go(self, slot: Slot | None) -> None:
        if slot is None:
            return
        value: Any
        value, slot.value = slot.value, None
        del slot
        self._lineage.forget(value)


@dataclass(frozen=True, slots=True)
class _Standing:
    """Runs of a plan that follow one another."""

    plan: Plan
    objects: tuple[int, ...]
    """What each was given, by the `uid` of its slot."""
    replay: Replay
    found: Fingerprint


def _are_known(plan: Plan) -> bool:
    """Whether the scientist's side works out the shapes of all outputs by itself."""
    made = {out: call.op.name for call in plan.calls for out in call.op.outs}
    return all([made[local] in learning.KNOWN for local in plan.outputs])


def _last_local(plan: Plan) -> int:
    made = [out for call in plan.calls for out in call.op.outs]
    return max(made, default=plan.inputs + len(plan.captures))


def _drops(definition: DefinePlan) -> tuple[tuple[int, ...], ...]:
    """When each result is named for the last time."""
    last: dict[int, int] = {}
    first = definition.inputs + len(definition.captures) + 1
    for number, step in enumerate(definition.steps):
        for local in (*step.outs, *refs_of((step.args, step.kwargs))):
            if local >= first:
                last[local] = number
    drops: list[list[int]] = [[] for _ in definition.steps]
    for local, number in last.items():
        if local not in definition.outputs:
            drops[number].append(local)
    return tuple(tuple(locals_) for locals_ in drops)
