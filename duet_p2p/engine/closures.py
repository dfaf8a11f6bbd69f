"""Steps of optimizers that call a plan as their closure, as often as values want it.

`LBFGS` looks at losses and gradients and decides whether to evaluate once more. So it is not enough
to label what the closure computes: that it ran a third time is an answer too. Two rules follow.

What the *optimizer* writes is a function of what it can see: its parameters, gradients and state,
and the losses that it is given. Those labels are joined at every evaluation, and parameters and
state get the join as an ordinary step gives it: a model where all of that was aggregates.

What a *closure* leaves behind depends on how often it ran, also where it ran only once. Therefore a
closure computes, calls `zero_grad` and `backward`, and does nothing else that lasts: containers,
iterators, flags and shapes of tensors are refused. Gradients that it makes get the join. If it
writes to tensors or draws random numbers, the way is not followed any further: everything that it
captured, the weights and the generator are `per_record` over all of it. A failure after the first
evaluation is no public fact.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Final

import torch
from torch.optim import LBFGS, Optimizer

from duet_p2p import limits
from duet_p2p.engine import messages as m
from duet_p2p.engine.arguments import is_private, spec_of
from duet_p2p.engine.call import Call
from duet_p2p.engine.drawing import is_random
from duet_p2p.engine.effects import Effects
from duet_p2p.engine.executor import Executor
from duet_p2p.engine.failures import Broken, code_of, text_of
from duet_p2p.engine.frame import Frame
from duet_p2p.engine.gradients import leaves_of
from duet_p2p.engine.held_gradient import held_gradient
from duet_p2p.engine.holding import groups_of
from duet_p2p.engine.labels import (
    PUBLIC,
    UNBOUND_WRITERS,
    Label,
    join,
    to_model,
    to_per_record,
    written_by,
)
from duet_p2p.engine.lineage import Lineage, reach
from duet_p2p.engine.plans import Plan, PlanRun, Plans
from duet_p2p.engine.store import IdError, Poison, Slot, Store
from duet_p2p.errors import NotAllowed, QuotaExceeded
from duet_p2p.surface.table import written
from duet_p2p.wire.messages import Op, RunClosure
from duet_p2p.wire.values import Ref

__all__ = ["Closures"]

_STEP: Final = "torch.optim.Optimizer.step"
_LASTING: Final = frozenset({
    "detach_", "squeeze_", "unsqueeze_", "t_", "transpose_", "swapaxes_", "swapdims_",
    "next", "iter", "__next__", "__iter__",
})  # fmt: skip
"""Change more than numbers: the shape or the graph of a tensor, the place of an iterator."""
_ALLOWED: Final = frozenset({
    "torch.Tensor.backward", "torch.optim.Optimizer.zero_grad", "torch.Tensor.__setitem__",
})  # fmt: skip
_FORMS: Final = frozenset({"function", "method", "property", "factory", "inplace"})


class Closures:
    """Runs `RunClosure` commands of one session."""

    def __init__(self, store: Store, lineage: Lineage, effects: Effects, plans: Plans) -> None:
        self._store = store
        self._lineage = lineage
        self._effects = effects
        self._plans = plans

    def run(self, seq: int, message: RunClosure, executor: Executor) -> list[m.Event]:
        """One step of an optimizer; events of what failed."""
        try:
            closure = self._begin(seq, message, executor)
        except (IdError, NotAllowed, QuotaExceeded, TypeError, ValueError) as error:
            return self._plans.refused(seq, "RunClosure", (message.out,), error, executor)
        op = Op(_STEP, (message.out,), (Ref(message.optimizer),), {}, "g")
        failed = executor.run_safely(seq, op, _StepCall(op, closure))
        return [*closure.events, failed] if failed else closure.events

    def _begin(self, seq: int, message: RunClosure, executor: Executor) -> _Closure:
        plan = self._plans.find(message.plan)
        if plan.inputs or len(plan.outputs) != 1:
            raise ValueError("a closure takes nothing and returns its loss, nothing else")
        if message.out in self._plans:
            raise IdError("the id of a plan cannot be that of a result")
        self._store.check_fresh((message.out,))
        optimizer = self._store.get(message.optimizer).value
        if not isinstance(optimizer, (Optimizer, Poison)):
            raise TypeError("only an optimizer's step takes a closure")
        _check(plan)
        captured = [self._store.get(id) for id in plan.captures]
        if any(is_private(_whole(slot, self._lineage)) for slot in captured):
            executor.admission.pacing.take()
        closure = _Closure(seq, plan, captured, self._store, self._lineage, self._effects, executor)
        if isinstance(optimizer, LBFGS) and not is_private(closure.beside(optimizer)):
            closure.admit(optimizer)
        return closure


class _StepCall(Call):
    """`Optimizer.step` with its closure."""

    __slots__ = ()

    def __init__(self, op: Op, closure: _Closure) -> None:
        super().__init__(op)
        self.function = closure.step
        self.rule = replace(self.rule, result="tensor")  # the loss; without a closure it is None


class _Closure:
    """A plan, while one step of an optimizer runs it."""

    def __init__(
        self,
        seq: int,
        plan: Plan,
        captured: list[Slot],
        store: Store,
        lineage: Lineage,
        effects: Effects,
        executor: Executor,
    ) -> None:
        self._seq = seq
        self._captured = captured
        self._store = store
        self._lineage = lineage
        self._effects = effects
        self._executor = executor
        self._run = PlanRun(
            seq, plan, Frame(store, dict(enumerate(captured, 1))), executor, lineage
        )
        self._is_random = any(is_random(call.op.name) for call in plan.calls)
        self._is_followed = not self._is_random and not any(map(_writes, plan.calls))
        self._runs = 0
        self._seen = PUBLIC  # joined labels of all that the optimizer saw
        self._given = PUBLIC  # of everything that the closure captured
        self._leaves: list[torch.Tensor] = []  # that a backward in it may reach
        self._optimizer: Any = None
        self._is_admitted = False

    @property
    def events(self) -> list[m.Event]:
        """Failures inside."""
        return self._run.events

    def step(self, optimizer: Any) -> Any:
        """One step; its loss.

        Raises:
            Broken: the closure or the optimizer failed.
        """
        self._optimizer = optimizer
        random_state = torch.get_rng_state()
        self._given = join([_whole(slot, self._lineage) for slot in self._captured])
        self._leaves = leaves_of(self._own_tensors())
        self._see(PUBLIC)
        if isinstance(optimizer, LBFGS) and not self._is_admitted:
            self.admit(optimizer)
        try:
            loss = optimizer.step(self._evaluate)
        except Broken as broken:
            self._lineage.spoil(optimizer, broken.poison)
            raise
        except Exception as error:
            raise self._broken(error, is_public=False) from None
        finally:
            self._mark()
            self._mark_left_behind(not torch.equal(random_state, torch.get_rng_state()))
        label = self._depends()
        if label.is_data and not _is_shared(loss, self._lineage):
            self._lineage.add(loss, label)
        return loss

    def _evaluate(self) -> torch.Tensor:
        """The plan, once; its loss."""
        self._runs += 1
        because = PUBLIC  # a step that calls its closure has looked at nothing before
        if self._runs > 1:
            self._mark()
            because = self._depends()
            if is_private(because):  # what is kept, and how deep a graph is, follows from values
                self._executor.admission.has_hidden = True
                self._executor.watch.has_hidden()
        if self._runs > limits.CLOSURE_RUNS + 1:  # a line search looks once past max_eval
            error = QuotaExceeded(f"a step ran its closure {limits.CLOSURE_RUNS} times")
            raise self._broken(error, is_public=False)
        told = len(self.events)
        with self._executor.because(because):
            self._run.once()
        self._executor.watch.begin(self._seq, _STEP)
        (slot,) = self._run.outputs()
        self._see(slot.label if isinstance(slot.value, Poison) else _whole(slot, self._lineage))
        if not is_private(self._depends()):
            self._executor.watch.is_public()
        self._check_failures(slot, self.events[told:])
        return self._loss(slot.value)

    # failures

    def _check_failures(self, slot: Slot, events: Iterable[m.Event]) -> None:
        if isinstance(slot.value, torch.Tensor) and not self._lineage.hidden(slot.value):
            self._executor.admission.spec = spec_of(slot.value)  # of what would stand in for it
        if isinstance(slot.value, Poison):
            raise Broken(slot.value)
        poison = self._lineage.poison((slot.value, self._optimizer, self._grads()))
        if poison is not None:
            raise Broken(poison)
        for event in events:
            if isinstance(event, m.OpFailed) and event.is_public:
                # it has nothing to do with the loss, and may fail differently the next time
                raise Broken(Poison(event.seq, event.op, event.code, event.text, True, PUBLIC))

    def _grads(self) -> list[torch.Tensor]:
        parts = reach(self._optimizer, grads=True)
        return list(_grads(part for part in parts if isinstance(part, torch.Tensor)))

    def _loss(self, value: Any) -> torch.Tensor:
        error: Exception
        if not isinstance(value, torch.Tensor):
            error = TypeError("a closure returns its loss as a tensor, not as another type")
            raise self._broken(error, is_public=self._runs == 1)
        if value.numel() != 1:
            error = ValueError("a closure returns its loss, a tensor of one number")
            is_public = self._runs == 1 and not self._lineage.hidden(value)
            raise self._broken(error, is_public=is_public)
        return value

    def _broken(self, error: Exception, *, is_public: bool) -> Broken:
        """The failure of the step itself, told to whom it may concern."""
        label = self._depends()
        is_public = is_public or not is_private(label)
        poison = Poison(
            self._seq, _STEP, code_of(error), text_of(error), is_public,
            PUBLIC if is_public else to_per_record(label),
        )  # fmt: skip
        self.events.append(
            m.OpFailed(poison.seq, poison.op, poison.code, poison.text, poison.is_public)
        )
        self._lineage.has_poison = True
        self._lineage.spoil(self._optimizer, poison)
        return Broken(poison)

    # limits

    def beside(self, optimizer: Optimizer) -> Label:
        """Label of the optimizer's settings."""
        found = [
            label
            for part in reach(optimizer)
            if not isinstance(part, torch.Tensor) and (entry := self._lineage.find(part))
            for label in (entry.content, entry.structure)
        ]
        return join(found)

    def admit(self, optimizer: LBFGS) -> None:
        """Whether the settings of an `LBFGS` are such that a step ends, and fits.

        Raises:
            QuotaExceeded: too many evaluations, iterations, kept directions, or bytes of those.
            TypeError: a setting is no int.
        """
        nbytes = sum(p.numel() * p.element_size() for p in optimizer._params)
        for group in groups_of(optimizer):
            for name, most in _MOST.items():
                value = group.get(name)
                if type(value) is not int:
                    raise TypeError(f"{name} of LBFGS is an int")
                if value > most:
                    raise QuotaExceeded(f"{name} of {value} for LBFGS, {most} allowed")
            kept = max(0, min(group["history_size"], group["max_iter"]))
            room = self._executor.admission.room
            room.admit_bytes(self._store, (2 * kept + _COPIES) * nbytes)
        self._is_admitted = True

    # labels

    def _see(self, loss: Label) -> None:
        """Joins what the optimizer can look at now."""
        labels = [self._seen, loss]
        if self._is_random:
            labels.append(self._lineage.generator)
        for part in reach(self._optimizer, grads=True):
            if isinstance(part, torch.Tensor):
                labels.append(self._lineage.label(part))
            elif (entry := self._lineage.find(part)) is not None:
                labels += (entry.content, entry.structure)
        self._seen = join(labels)

    def _depends(self) -> Label:
        """Label of what the optimizer decided so far, from all that it saw."""
        every = to_model(self._seen)
        # how often a closure runs is for values to decide: no approval of a recipe covers that
        every = written_by(every, UNBOUND_WRITERS)
        if not self._is_followed or every.is_data or not is_private(every):
            every = written_by(join((every, self._given)), UNBOUND_WRITERS)
            return to_per_record(every) if is_private(every) else every
        given = self._given
        return replace(
            every, sources=every.sources | given.sources, injected=every.injected or given.injected,
            dropout=every.dropout or given.dropout,
        )  # fmt: skip

    def _mark(self) -> None:
        """Labels the optimizer's parameters, gradients and state."""
        every = self._depends()
        if every.is_public:
            return
        for part in reach(self._optimizer, grads=True):
            if isinstance(part, torch.Tensor):
                entry = self._lineage.written(part)
                entry.label = join((entry.label, every)) if is_private(every) else entry.label
            elif not isinstance(part, tuple | Poison):
                tracked = self._lineage.track(part)
                tracked.content = join((tracked.content, every))
                tracked.version += 1
        if is_private(every):
            self._mark_lengths(every)

    def _mark_lengths(self, label: Label) -> None:
        """`LBFGS` keeps lists as long as it went on, and keys from its second iteration on.

        Others keep nothing where the closure failed.
        """
        for part in reach(self._optimizer.state):
            if isinstance(part, list | dict):
                tracked = self._lineage.track(part)
                tracked.structure = join((tracked.structure, label))

    def _mark_left_behind(self, has_drawn: bool) -> None:
        """Labels everything else that shows how often the closure ran."""
        every = self._depends()
        if not is_private(every):
            return
        lineage = self._lineage
        tensors = self._own_tensors()
        leaves = [*self._leaves, *leaves_of(tensors)]
        changed = list(_grads((*tensors, *leaves)))  # a clipping scales that of any tensor
        changed += [t.grad for t in self._effects.retained() if t.grad is not None]
        if not self._is_followed:
            changed += [*tensors, *leaves]
        for tensor in changed:
            if not _is_shared(tensor, lineage):
                entry = lineage.written(tensor)
                entry.label = join((entry.label, every))
        if self._is_random or has_drawn:
            lineage.generator = join((lineage.generator, to_per_record(every)))

    def _own_tensors(self) -> list[torch.Tensor]:
        """What it captured and could write to."""
        return [
            part
            for slot in self._captured
            for part in reach(slot.value)
            if isinstance(part, torch.Tensor) and not _is_shared(part, self._lineage)
        ]


_MOST: Final = {
    "max_iter": limits.CLOSURE_ITERATIONS,
    "history_size": limits.CLOSURE_ITERATIONS,
    "max_eval": limits.CLOSURE_RUNS,
}
_COPIES: Final = 12
"""Of all parameters, that a line search makes besides the history."""


def _check(plan: Plan) -> None:
    """Whether nothing that a plan does lasts, apart from numbers in tensors.

    Raises:
        NotAllowed: something does.
    """
    for call in plan.calls:
        rule = call.rule
        is_lasting = rule.short in _LASTING or rule.form not in _FORMS or rule.record == "state"
        if rule.form == "constructor" and rule.name.startswith("python."):
            is_lasting = False
        if is_lasting and rule.name not in _ALLOWED:
            raise NotAllowed(
                f"{rule.name} cannot be part of a closure, which runs as often as values want it: "
                f"compute the loss, zero_grad and backward there, and do the rest outside"
            )


def _writes(call: Call) -> bool:
    """Whether a command may write to a tensor, as far as its constants tell."""
    rule, op = call.rule, call.op
    if rule.name in ("torch.Tensor.backward", "torch.optim.Optimizer.zero_grad"):
        return False
    if rule.short in ("embedding", "embedding_bag"):  # which scales rows in place, if told to
        return op.kwargs.get("max_norm") is not None or len(op.args) > 3
    return bool(written(rule, op.args, op.kwargs))


def _whole(slot: Slot, lineage: Lineage) -> Label:
    return join((slot.label, lineage.whole(slot.value)))


def _grads(leaves: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
    return (grad for leaf in leaves if (grad := held_gradient(leaf)) is not None)


def _is_shared(tensor: torch.Tensor, lineage: Lineage) -> bool:
    entry = lineage.entry(tensor)
    return entry is not None and entry.is_shared
