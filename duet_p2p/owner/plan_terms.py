"""What an owner allows of one plan: which outputs, of how many runs, over which data.

The commands are bound by the digest, which the owner's engine worked out of the commands that it
runs. What a run is *given* is not in it, so that is bound as `accept(always=True)` binds it: form
(contents of all public inputs, settings of loaders), sources, kind, smallest group, type and shape
of each output are those that the owner has seen, or of the first one that leaves; all outputs, of
one run or of several as a list, are of runs that were given the same; nothing may have been
injected. State may have been trained by runs of this plan that were given the same, and by
nothing else that the owner has not seen.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from duet_p2p.engine.messages import Facts
from duet_p2p.engine.provenance import RANDOM
from duet_p2p.owner.binding import Binding, why_unbound

__all__ = ["PlanTerms", "Run"]

Run = tuple[int, int, int]
"""Engine, first run, number of runs."""

_KINDS: Final = frozenset({"public", "metadata", "aggregate", "model"})
_WITHOUT_RECORDS: Final = frozenset({"public", "metadata"})


@dataclass(slots=True, eq=False)
class PlanTerms:
    """The terms of one approval, and what was used of it."""

    digest: str
    outputs: frozenset[int]
    """Positions of the outputs that may leave."""
    max_runs: int
    """Of so many runs in all."""
    sources: frozenset[int]
    """They may depend on these objects and on no other."""
    bindings: dict[tuple[int, bool], Binding] = field(default_factory=dict)
    """By output and whether it is a list over several runs; the first one that leaves binds."""
    source_names: frozenset[str] | None = None
    """What the owner calls `sources`, where that is known; for texts only."""
    _used: Counter[Run] = field(default_factory=Counter)
    """Releases by run."""
    _failed: set[Run] = field(default_factory=set)
    """Of which an allowed output failed, which the silence about it tells."""
    _engine: int = 0
    """Which engine it is; each counts its runs from 1."""
    runs: int = 0
    """Runs of which something left, is reserved, or failed. Each request asks for it."""

    def against(self, facts: Facts, min_records: int) -> str:
        """Why a value is not covered; empty if it is."""
        if facts.plan != self.digest:
            return "it is no output of that plan, or something wrote it since"
        if facts.plan_output not in self.outputs:
            return f"output {facts.plan_output} of the plan is not among those allowed"
        if facts.kind not in _KINDS:
            return f"the kind is {facts.kind}: single records can be behind it"
        if facts.injected:
            return "something public met the data along its records (injected)"
        if facts.kind not in _WITHOUT_RECORDS and facts.min_records < min_records:
            return f"a number may come from {facts.min_records} records, {min_records} are needed"
        if not self.sources.issuperset(facts.sources):
            return "it depends on other sources than those that the plan was allowed for"
        known = self.bindings.get(_place(facts))
        if difference := self._of_others(facts) if known is None else known.difference(facts):
            return difference
        if unbound := why_unbound(facts, is_listed=True):
            return unbound
        if not self._has_room(self._run(facts)):
            return f"{self.runs} of {self.max_runs} runs were used (max_runs)"
        return ""

    def _of_others(self, facts: Facts) -> str:
        """Why an output of which nothing is bound comes from no run like those of the others."""
        if not self.bindings:
            return ""
        given = {known.run for known in self.bindings.values()}
        if facts.plan_given not in given:
            return "the run was given other public inputs than those of the outputs that were seen"
        seen = {f"{RANDOM}{run}" for run in given}.union(
            given, *(known.writers for known in self.bindings.values())
        )
        if not seen.issuperset(facts.writers):
            return "its state was trained by steps that are behind no output that was seen"
        return ""

    def _run(self, facts: Facts) -> Run:
        return self._engine, facts.plan_run, facts.plan_runs

    def _has_room(self, run: Run) -> bool:
        if self._is_counted(run):
            return True
        return self.runs + run[2] <= self.max_runs

    def is_about(self, facts: Facts) -> bool:
        """Whether it is an allowed output of the plan, failed or not."""
        return facts.plan == self.digest and facts.plan_output in self.outputs

    def bind(self, facts: Facts) -> None:
        """Later values of this output must be like this one."""
        self.bindings.setdefault(_place(facts), Binding.of(facts))

    def take(self, facts: Facts) -> Run:
        """Reserves a release; what `give_back` needs."""
        self.bind(facts)
        run = self._run(facts)
        self._uses(run, 1)
        return run

    def count_failure(self, facts: Facts) -> None:
        """An allowed output failed, and its run counts; past the last one nothing is told."""
        run = self._run(facts)
        if self._has_room(run):
            self.runs += 0 if self._is_counted(run) else run[2]
            self._failed.add(run)

    def engine_died(self) -> None:
        """Its runs stay counted, and those of the next one are others."""
        self._engine += 1

    def give_back(self, run: Run) -> None:
        """It did not leave."""
        self._uses(run, -1)

    def _is_counted(self, run: Run) -> bool:
        return self._used.get(run, 0) > 0 or run in self._failed

    def _uses(self, run: Run, more: int) -> None:
        was = self._is_counted(run)
        self._used[run] += more
        self.runs += run[2] * (self._is_counted(run) - was)

    def described(self) -> str:
        """As one would type it."""
        said = f"outputs={sorted(self.outputs)}, max_runs={self.max_runs}"
        sources = sorted(self.source_names or self.sources)
        return f"plan={self.digest[:12]}…, {said}, sources={sources}"


def _place(facts: Facts) -> tuple[int, bool]:
    return facts.plan_output, facts.type == "python.List"
