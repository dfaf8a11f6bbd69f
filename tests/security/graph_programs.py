"""Random programs of graphs that private numbers decide: choices, failures, and ways back.

A choice is between tensors of which some have a graph, some have none, and some are gradients that
there may not be. What is missing has failed on one of the data sets. Then it is multiplied, gone
back through, set as a gradient, and chosen from again.
"""

from __future__ import annotations

from random import Random
from typing import Any, Final

from duet_p2p.wire.values import Ref
from tests.security.missing_kit import Side, T

__all__ = ["CHOICES", "FAILURES", "run"]

CHOICES: Final = [
    "pick", "pick", "mul", "source", "inner", "back", "back_with", "back_with", "keep", "keep",
    "gradient", "hold", "choose", "retain", "detach", "drop",
]  # fmt: skip
"""What programs of choices are made of; a name comes as often as it stands here."""
FAILURES: Final = [
    "miss", "miss", "mul", "source", "back", "back_with", "back_with", "keep", "gradient", "hold",
    "hold", "hold", "choose", "retain", "detach", "detach", "drop", "write", "write", "multiply",
]  # fmt: skip
"""Those of programs of what is missing."""


class _Program:
    """One program on one data set.

    Args:
        side: the engine.
        draw: decides everything.
    """

    def __init__(self, side: Side, draw: Random) -> None:
        self._side, self._draw = side, draw
        self.leaves = [side.leaf, side.other, side.ones(has_gradient=True)]
        self.made = [*self.leaves, side.ones()]
        self._sources = [side.third(), side.third()]

    def one(self) -> Ref:
        return self._draw.choice(self.made[-6:] + self.leaves)

    def _source(self) -> Ref:
        return self._draw.choice(self._sources)

    def step(self, name: str) -> None:
        """One thing that a program does."""
        s, one, other = self._side, self.one(), self.one()
        if name in ("back", "back_with", "keep"):
            self._go_back(name, one, other)
        elif name == "retain":
            s.do(T + "retain_grad", one)
        elif name in ("hold", "drop"):
            s.put(one, other if name == "hold" else None)
        elif name == "choose":
            s.choose(one)
        elif name == "write":
            s.do(T + "mul_", one, self._source())
        else:
            self.made.append(self._maker(name, one, other))

    def _maker(self, name: str, one: Ref, other: Ref) -> Ref:
        s = self._side
        if name == "pick":
            box = s.op("python.collect", *self._draw.sample([one, other, s.ones()], 3))
            return s.op("python.List.__getitem__", box, s.place)
        if name == "miss":
            return s.missing(one)
        if name == "inner":
            return s.inner(one)
        if name == "gradient":
            return s.gradient(one)
        if name == "detach":
            return s.op(T + "detach", one)
        if name == "source":
            return s.op("torch.mul", one, self._source())
        return s.op(T + "mul_" if name == "multiply" else "torch.mul", one, other)

    def _go_back(self, name: str, one: Ref, named: Ref) -> None:
        s, settings = self._side, dict[str, Any]()
        if name == "keep":
            settings["create_graph"] = True
        elif self._draw.random() < 0.5:
            settings["retain_graph"] = True
        if self._draw.random() < 0.2:
            settings["inputs"] = [named]
        factor = self._source() if name == "back_with" else self.one()
        s.do(T + "backward", s.op("torch.sum", s.op("torch.mul", one, factor)), **settings)


def run(side: Side, seed: int, steps: list[str]) -> list[Any]:
    """Runs a program; what is public of it and of its failures, and the sources of the rest."""
    draw = Random(seed)
    program = _Program(side, draw)
    for _ in range(draw.randint(4, 12)):
        program.step(draw.choice(steps))
    side.choose(program.one())
    refs = [*dict.fromkeys(program.made), *map(side.gradient, program.leaves)]
    found: list[Any] = [(failed.seq, failed.op, failed.code) for failed in side.failures()]
    for ref in refs:
        facts = side.engine.facts(ref)
        what = "public failure" if facts.failed_is_public else facts.kind == "public"
        found.append((ref.id, what, facts.sources))
    return found
