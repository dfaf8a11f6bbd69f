"""The short ways of a command: it runs as one like it ran before, or as its state says at a glance.

Three kinds of commands have one: a plain command with a routine (routine.py), a plain command of a
plan that finds everything as in its last run (repetition.py), and what a training loop calls on an
optimizer (steps.py). Each gets and leaves exactly what it would have on the whole way. If anything
stands against it nothing has happened yet, and the executor goes the whole way. Plain commands that
stand alone have a shorter one still (familiar.py), which learns from the routines.

No short way is open while a private value decides that commands run at all, or what random numbers
are drawn.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch

from duet_p2p.engine.admission import Admission
from duet_p2p.engine.arguments import Arguments, is_private
from duet_p2p.engine.call import Call, RepeatedCall
from duet_p2p.engine.effects import Effects
from duet_p2p.engine.familiar import Familiar
from duet_p2p.engine.judge import Verdict, apply, label_fresh
from duet_p2p.engine.labels import PUBLIC
from duet_p2p.engine.lineage import Lineage, storage_of
from duet_p2p.engine.provenance import BACKWARD, OPTIMIZING, Provenance
from duet_p2p.engine.recipe import Made
from duet_p2p.engine.repetition import repetition_of
from duet_p2p.engine.routine import Question, Routine, Routines
from duet_p2p.engine.running import Running
from duet_p2p.engine.steps import STEP, Step, Steps
from duet_p2p.engine.store import Slot, Store
from duet_p2p.engine.training import Training
from duet_p2p.engine.trial import is_as_expected
from duet_p2p.engine.watch import Watch
from duet_p2p.engine.writers import mark_zeroed
from duet_p2p.surface.tags import result_tags
from duet_p2p.wire.messages import Op

__all__ = ["ShortWays", "Whole"]


class Whole(Protocol):
    """The executor, as a short way needs it."""

    admission: Admission
    provenance: Provenance
    watch: Watch

    @property
    def store(self) -> Store:
        """The objects that commands find now."""

    def called(self, run: Running) -> Any:
        """What the call gives; `Failed` or `LeftOut` if it failed."""

    def finish(self, run: Running, result: Any) -> None:
        """The whole way from a result on."""

    def check_shared(self, run: Running) -> None:
        """Whether the owner's objects are as they were."""


class ShortWays:
    """The short ways of one engine."""

    def __init__(self, whole: Whole, lineage: Lineage, effects: Effects) -> None:
        self._whole = whole
        self._lineage = lineage
        self._effects = effects
        self.steps = Steps(lineage)
        self.routines = Routines(lineage)
        self.familiar = Familiar(whole, lineage)

    def repeat(self, op: Op, call: Call) -> bool:
        """Whether a plan's command could run as it did last time."""
        if not isinstance(call, RepeatedCall) or call.repetition is None:
            return False
        known = call.repetition
        if known.node is not None and known.node.is_cut:  # that of a new result is not
            return False
        whole, store, admission = self._whole, self._whole.store, self._whole.admission
        out = op.outs[0]
        if not (store.is_fresh(out) and len(store) < admission.room.objects):
            return False
        found = known.found(store, self._lineage)
        if found is None:
            call.misses += 1
            return False
        call.misses = 0
        routine = known.routine
        if not admission.admit_again(routine.spec, routine.nbytes, store):
            return False
        if not routine.is_met:
            whole.watch.is_public()
        run = Running(op, call.rule, call.function, known.given(found), is_met=routine.is_met)
        run.shared = found.shared
        result = self._foreseen(run, routine)
        if result is None:
            return True
        storage = storage_of(result)
        if known.node is None or storage._cdata in found.storages:
            given = run.given = call.arguments(store)
            node = known.node or whole.provenance.plain(
                op, call.rule.name, given, found.entries, is_met=routine.is_met
            )
            self._label(run, known.verdict, result, found.storages, node)
        else:
            node = known.node
            if not known.verdict.label.is_public:
                entry = label_fresh(known.verdict, result, storage, self._lineage)
                whole.provenance.keep_in(entry, node)
        store.place(out, Slot(result, tags=known.tags, made=node))
        return True

    def take(self, run: Running, call: Call | None) -> bool:
        """Whether a command, whose name and arguments are in order, had a short way."""
        if run.rule.name in OPTIMIZING:
            return self._step(run)
        if run.rule.name == BACKWARD:
            return self._backward(run)
        question = run.question = self.routines.question(run.rule, run.op.mode, run.given)
        routine = None if question is None else self.routines.find(question)
        if question is None or routine is None or len(run.op.outs) > 1:
            return False
        return self._routine(run, question, routine, call)

    def _routine(
        self, run: Running, question: Question, routine: Routine, call: Call | None
    ) -> bool:
        whole, op, given = self._whole, run.op, run.given
        if not whole.admission.admit_again(routine.spec, routine.nbytes, whole.store):
            return False
        run.is_met = routine.is_met
        if not run.is_met:
            whole.watch.is_public()
        if question.shared:
            run.shared = [(t, t._version) for t in question.shared if not t.is_inference()]
        result = self._foreseen(run, routine)
        if result is None:
            return True
        verdict = routine.verdict_on(question)
        # nothing was written, so the arguments are still what the command was given
        node = whole.provenance.plain(op, run.rule.name, given, question.entries, is_met=run.is_met)
        self._label(run, verdict, result, question.storages, node)
        if op.outs:
            tags = result_tags(run.rule.name, tuple([s.tags for s in given.slots.values()]))
            if isinstance(call, RepeatedCall) and (call.misses < 4 or call.misses % 16 == 0):
                call.repetition = repetition_of(given, routine, verdict, tags, node, self._lineage)
            slot = Slot(result, tags=tags, made=node)
            whole.store.place(op.outs[0], slot)
            self.familiar.learn(run, question, routine, slot)
        return True

    def _label(
        self, run: Running, verdict: Verdict, result: torch.Tensor, storages: Any, node: Made
    ) -> None:
        """Label and node of a result, as long as it is no public one."""
        if verdict.label.is_public:
            return
        provenance, storage = self._whole.provenance, storage_of(result)
        if storage._cdata in storages:
            apply(run.rule.short, verdict, result, run.given, frozenset(), self._lineage)
            provenance.keep(node, result)
        else:
            provenance.keep_in(label_fresh(verdict, result, storage, self._lineage), node)

    def _foreseen(self, run: Running, routine: Routine) -> torch.Tensor | None:
        """What the call gives; None if that was not foreseen, and went the whole way from there."""
        whole = self._whole
        result = whole.called(run)
        if type(result) is torch.Tensor and is_as_expected(result, routine.spec):
            if run.shared:
                whole.check_shared(run)
            return result
        run.origin = whole.provenance.before(run.op, run.rule, run.given, [], run.is_met)
        whole.finish(run, result)
        return None

    def _backward(self, run: Running) -> bool:
        """From a private loss alone, to leaves that have no gradients yet."""
        given, lineage = run.given, self._lineage
        if run.op.outs or given.kwargs or len(given.args) != 1 or len(given.slots) != 1:
            return False
        root, (slot,) = given.args[0], given.slots.values()
        if type(root) is not torch.Tensor or slot.label is not PUBLIC or slot.poison is not None:
            return False
        entry = lineage.entry(root)
        if entry is None or not is_private(entry.label) or entry.is_shared or entry.is_copy:
            return False
        if entry.hidden or entry.poison is not None or lineage.is_hidden_view(root):
            return False
        leaves = self._effects.fresh_leaves(root)
        if leaves is None:
            return False
        whole = self._whole
        whole.admission.pass_nothing()
        run.before, run.is_met = entry.label, True
        run.origin = whole.provenance.before(run.op, run.rule, given, [], True)
        self._effects.enter_backward(leaves, entry.label, run.origin.writers)
        whole.called(run)
        self._effects.after(BACKWARD, given, None, [])
        return True

    def _step(self, run: Running) -> bool:
        steps = self.steps
        step = steps.find(run.rule, run.given, run.op.outs)
        if step is None:
            return False
        is_step, writer = run.rule.name == STEP, None
        if is_step:
            writer = steps.writer(step, self._whole.provenance.run)
            if writer is None:
                return False
        self._whole.admission.pass_nothing()
        run.targets, run.before, run.is_met = step.targets(), step.label, True
        self.enter_step(step, writer)
        self._whole.called(run)
        if is_step:
            self.leave_step(step)
        else:
            mark_zeroed(step.optimizer, self._lineage)
        return True

    def enter_step(self, step: Step, writer: str | None) -> None:
        """Labels and versions of a step; `writer`: what it leaves in labels; None: `zero_grad`."""
        self._effects.writers = frozenset() if writer is None else frozenset({writer})
        if writer is None:
            self.steps.enter_zero_grad(step)
        else:
            self.steps.enter(step, writer)

    def leave_step(self, step: Step, training: Training | None = None) -> bool:
        """A step was made; whether it made nothing new and moved nothing.

        Args:
            step: that was made.
            training: of everything that it wrote; None: look for it.
        """
        if self.steps.is_as_foreseen(step):
            if training is None:
                self._effects.note(step.optimizer)
            else:
                self._effects.note_again(training, step.optimizer)
            return True
        given = Arguments((step.optimizer,), {})
        self._effects.after(STEP, given, None, step.targets())
        return False
