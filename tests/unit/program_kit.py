"""Random plans that train, and all that an owner could be told after each run of one."""

from __future__ import annotations

import re
from dataclasses import asdict
from random import Random
from typing import Any

import torch

from duet_p2p.wire.messages import DefinePlan, Note, PlanStep
from duet_p2p.wire.values import Ref
from tests.unit.plan_kit import Planner, step
from tests.unit.test_short_ways import KINDS, STEP, ZERO_GRAD

__all__ = ["labels", "program_story"]

ROWS = 16


def labels(engine: Planner) -> list[Any]:
    """Labels with their row sets, rows and tags of all that the store holds."""
    return [_renumbered(repr(found)) for found in _labels(engine)]


def _renumbered(text: str) -> str:
    """Passes and dropouts by the order of their mention: their numbers are of no meaning."""
    numbers: dict[str, int] = {}
    text = re.sub(
        r"\((\d+), (\d\.\d+)\)",
        lambda found: f"({numbers.setdefault('mask ' + found[1], len(numbers))}, {found[2]})",
        text,
    )
    return re.sub(
        r"\('(batch|pass)', (\d+)",
        lambda found: f"('{found[1]}', {numbers.setdefault(found[2], len(numbers))}",
        text,
    )


def _labels(engine: Planner) -> list[Any]:
    found: list[Any] = []
    lineage = engine.engine.lineage
    for id in sorted(engine.engine.store.ids()):
        slot = engine.engine.store.get(id)
        value = slot.value
        if isinstance(value, torch.Tensor):
            entry = lineage.entry(value)
            rows = None if entry is None else lineage.rows(value)
            found.append((id, repr(lineage.label(value)), repr(rows), slot.tags, slot.label))
            found.append(None if entry is None else (entry.hidden, entry.in_graph, entry.root))
        else:
            found.append((id, repr(lineage.whole(value)), slot.tags, repr(slot.label)))
    found.append((repr(lineage.generator), lineage.has_poison))
    return found


class Program:
    """A random plan over a random small network, its objects, and what it is run on."""

    def __init__(self, seed: int) -> None:
        self.random = random = Random(seed)
        torch.manual_seed(seed)
        self.engine = engine = Planner()
        engine.run("torch.manual_seed", seed, outs=0)
        self.data = [engine.share(torch.rand(ROWS, 4), tags=[f"d{n}"]) for n in range(2)]
        self.weights = [
            engine.put(torch.rand(shape).sub_(0.5).requires_grad_())
            for shape in ((4, 4), (4,), (4, 4), (4,))
        ]
        held = engine.ok("python.List", [])
        for weight in self.weights[: random.choice([2, 4, 4, 4])]:
            engine.run("python.List.append", held, weight, outs=0)
        kind = random.choice([*KINDS])
        self.optimizer = engine.ok(f"torch.optim.{kind}", held, **KINDS[kind])
        self.plans = [self._plan(is_training=True), self._plan(is_training=random.random() < 0.5)]
        self.results: list[Ref] = []
        self.grads: list[Ref] = []
        self.batches: Ref | None = None

    def _plan(self, *, is_training: bool) -> DefinePlan:
        """Locals: data 1, optimizer 2, weights 3 to 6, results from 7."""
        random, steps, last = self.random, list[PlanStep](), 6
        way_of_grads = random.choice("gn")

        def run(name: str, *args: Any, **kwargs: Any) -> int:
            nonlocal last
            last += 1
            mode = "g" if is_training else way_of_grads
            steps.append(step(name, last, *args, mode=mode, **kwargs))
            return last

        if is_training and random.random() < 0.95:
            steps.append(step(ZERO_GRAD, 0, Ref(2)))
        now = 1
        for layer in range(random.choice([1, 2])):
            now = run("torch.Tensor.matmul", Ref(now), Ref(3 + 2 * layer))
            now = run("torch.Tensor.add", Ref(now), Ref(4 + 2 * layer))
            now = run(random.choice(["torch.relu", "torch.Tensor.tanh", "torch.sigmoid"]), Ref(now))
            if random.random() < 0.25:
                extra = random.choice([
                    ("torch.Tensor.cumsum", (0,)), ("torch.Tensor.softmax", (1,)),
                    ("torch.Tensor.clone", ()), ("torch.Tensor.view", (ROWS, 4)),
                    ("torch.Tensor.t", ()), ("torch.Tensor.mul", (0.5,)),
                    ("torch.nn.functional.dropout", (0.2,)), ("torch.Tensor.mul", (Ref(1),)),
                ])  # fmt: skip
                now = run(extra[0], Ref(now), *extra[1])
                if extra[0].endswith(".t"):
                    now = run("torch.Tensor.t", Ref(now))
        way = random.choice(["mean", "sum", "mean", "max"])
        loss = run(f"torch.Tensor.{way}", Ref(now))
        if is_training:
            steps.append(step("torch.Tensor.backward", 0, Ref(loss)))
            steps.append(step(STEP, 0, Ref(2)))
        if random.random() < 0.5:
            run("torch.Tensor.square", Ref(loss))
        if random.random() < 0.3:
            run("torch.Tensor.item", Ref(loss))
        outputs = sorted({loss, last, *random.sample(range(7, last + 1), 1)})
        captures = (self.optimizer, *self.weights)
        return self.engine.define(*steps, captures=captures, outputs=tuple(outputs))

    def run(self) -> None:
        plan = self.plans[self.number % 2]
        self.number += self.is_alternating
        self.results = self.engine.go(plan, self._input())

    def _input(self) -> Ref:
        engine, way = self.engine, self.way
        if way != "batches":
            return self.data[way == "other"]
        if self.batches is None:
            dataset = engine.ok("torch.utils.data.TensorDataset", self.data[0])
            loader = engine.ok("torch.utils.data.DataLoader", dataset, batch_size=ROWS // 4)
            self.batches = engine.ok("python.iter", loader)
        batch = engine.run("python.next", self.batches)
        return engine.run("python.List.__getitem__", batch, 0)

    way = "data"
    number = 0
    is_alternating = False

    def change(self) -> None:
        """Something between two runs, or nothing."""
        engine, random = self.engine, self.random
        weight = random.choice(self.weights)
        kind = random.choice(["grad", "write", "delete", "facts", "sum", "private", "note", "zero"])
        if kind == "grad":
            self.grads.append(engine.run("torch.Tensor.grad", weight))
        elif kind == "write":
            engine.run("torch.Tensor.mul_", weight, 0.5, mode="n")
        elif kind == "delete":
            engine.delete(*self.results)
        elif kind == "facts":
            engine.facts(weight)
        elif kind == "sum":
            engine.run("torch.Tensor.sum", self.results[0])
        elif kind == "private":
            row = engine.run("torch.Tensor.__getitem__", self.data[0], 0)
            engine.run("torch.Tensor.copy_", weight, row, mode="n")
        elif kind == "note":
            engine.send(Note(weight.id, ("mine",), "", False))
        else:
            engine.run(ZERO_GRAD, self.optimizer, outs=0, set_to_none=random.random() < 0.5)


def program_story(seed: int) -> list[Any]:
    """A random program, run again and again, and all that an owner could be told after each run."""
    program, found, versions = Program(seed), list[Any](), dict[int, int]()
    engine, random = program.engine, program.random
    for _ in range(3):
        program.way = random.choice(["data", "data", "other", "batches"])
        program.is_alternating = random.random() < 0.3
        program.number += random.random() < 0.3
        for _ in range(random.choice([7, 9])):
            before = len(engine.events)
            program.run()
            found += [re.sub(r"version=\d+", "", repr(e)) for e in engine.events[before:]]
            found.append(labels(engine))
        program.change()
        program.run()
        for id in sorted(engine.engine.store.ids()):
            candidate = engine.candidate(Ref(id))
            facts = None if candidate.facts is None else asdict(candidate.facts)
            if facts is not None:
                version = facts.pop("version")
                found.append((id, facts, versions.get(id) == version, repr(candidate.value)))
                versions[id] = version
        found.append(engine.engine._effects._records)
    return found
