"""What the labels of one operation cost: ``python scripts/label_cost.py``.

Times an operation's labels on the owner's side alone, for a private operand with records and a
public number: what the executor does for them beside the call itself. Once for a command like one
that ran before (all but the first two of a loop; its slot and tags are in it), once for one whose
routine is looked up by a question, once for one that is judged anew. CPU time, and the
least of many rounds, so that other work on the machine counts less; a local add stands beside it
for the scale.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import Any

import torch

from duet_p2p.engine import judge as judging
from duet_p2p.engine.arguments import resolve
from duet_p2p.engine.engine import Engine
from duet_p2p.engine.lineage import storage_of
from duet_p2p.engine.messages import Configure, Run, Share
from duet_p2p.surface.table import TABLE
from duet_p2p.surface.values import pack
from duet_p2p.wire.messages import Op
from duet_p2p.wire.values import Ref

REPEATS, ROUNDS = 500, 60


def measure(rounds: int = ROUNDS) -> dict[str, tuple[float, float]]:
    """Least and median CPU seconds of one operation, by what it is."""
    engine = Engine()
    engine.handle(Configure({}, {}, 1))
    packed = pack(torch.rand(64, 8))
    data = b"".join(packed.buffers)
    engine.handle(Share(-1, packed.value, data, "torch.Tensor", (), "", True))
    executor, lineage = engine._executor, engine.lineage
    assert executor is not None
    op: Any = Op("torch.Tensor.__add__", (1,), (Ref(-1), 1.0), {}, "g")
    engine.handle(Run(((1, op),)))  # goes the whole way and leaves its routine
    for number in (2, 3):  # leaves what the shortest way needs, and goes it
        engine.handle(Run(((number, replace(op, outs=(number,))),)))
    familiar = executor.short_ways.familiar
    rule = TABLE[op.name]
    given = resolve(op, engine.store)
    results = [given.args[0] + 1.0 for _ in range(REPEATS)]

    def like_before(result: torch.Tensor) -> None:
        key, _, operands, records = familiar._ask(op)
        slot = familiar._kept(familiar._known[key], op, operands, records, result)
        assert slot is not None

    def by_routine(result: torch.Tensor) -> None:
        question = executor.short_ways.routines.question(rule, op.mode, given)
        assert question is not None
        routine = executor.short_ways.routines.find(question)
        assert routine is not None
        storage = storage_of(result)
        assert storage._cdata not in question.storages
        entries, is_met = question.entries, routine.is_met
        node = executor.provenance.plain(op, rule.name, given, entries, is_met=is_met)
        entry = judging.label_fresh(routine.verdict_on(question), result, storage, lineage)
        executor.provenance.keep_in(entry, node)

    def anew(result: torch.Tensor) -> None:
        given.forget()
        origin = executor.provenance.before(op, rule, given, [], private=True)
        verdict = judging.judge(rule.name, rule, given, result, lineage)
        judging.apply(rule.short, verdict, result, given, frozenset(), lineage)
        node = executor.provenance.after(op, rule, given, result, origin, [])
        list(executor.provenance.results(node, [result]))

    def local(result: torch.Tensor) -> None:
        result + 1.0

    actions = {
        "labels of an operation like one before": like_before,
        "labels by a routine, as in a plan's second run": by_routine,
        "labels judged anew": anew,
        "a local add": local,
    }
    times = _by_turns(list(actions.values()), results, rounds)
    return {
        name: (min(column), median(column))
        for name, column in zip(actions, zip(*times, strict=True), strict=True)
    }


def _by_turns(actions: list[Any], results: list[torch.Tensor], rounds: int) -> list[list[float]]:
    """CPU seconds of each action, round by round, with the garbage collector as in the engine."""
    thresholds = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)  # engine/child.py
    try:
        return [[_seconds(action, results) for action in actions] for _ in range(rounds)]
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)


def main() -> None:
    """Prints microseconds of CPU per operation."""
    for name, (least, middle) in measure().items():
        print(f"{name}: {least * 1e6:.1f} us of CPU (median {middle * 1e6:.1f})")


def _seconds(labels: Callable[[torch.Tensor], None], results: list[torch.Tensor]) -> float:
    fresh = [result.clone() for result in results]
    begin = time.thread_time()
    for result in fresh:
        labels(result)
    return (time.thread_time() - begin) / len(fresh)


if __name__ == "__main__":
    main()
