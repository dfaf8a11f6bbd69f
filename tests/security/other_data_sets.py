"""Pairs of an owner's objects that differ in more than the numbers in tensors.

How many records there are, how wide they are and of which type, where the owner keeps shapes
private; and what lies in lists, dicts, sets and texts of the owner's.
"""

from __future__ import annotations

from random import Random
from typing import Any, NamedTuple

import torch

from tests.security.test_soundness import Seen
from tests.unit.engine_kit import Driver

__all__ = ["Holder", "Kept", "Pair", "container_sets", "hidden_sets"]


class Kept(NamedTuple):
    """One object of the owner's."""

    value: Any
    type: str
    is_public: bool
    """Its shape, or its length."""


Pair = tuple[dict[str, Kept], dict[str, Kept]]


class Holder(Seen):
    """An engine with objects of any type, and what it tells."""

    def __init__(self, data: dict[str, Kept]) -> None:
        Driver.__init__(self)
        self.refs = [
            self.share(kept.value, kept.type, tags=[name], public=kept.is_public)
            for name, kept in data.items()
        ]
        self.run("torch.manual_seed", 5, outs=0)


def hidden_sets(draw: Random) -> Pair:
    """Tensors of private shapes: of other lengths, widths and types, with numbers out of range."""
    made = torch.Generator().manual_seed(draw.randrange(1 << 30))
    rows, width = draw.choice([7, 5, 1, 0, 6]), draw.choice([4, 4, 5])
    wild = draw.choice([1.0, -1.0, 0.0, 50.0, float("nan"), float("inf"), 1e-42])
    of = draw.choice([torch.float32, torch.float32, torch.float64, torch.float16])

    def kept(value: torch.Tensor) -> Kept:
        return Kept(value, "torch.Tensor", False)

    first = {
        "x": kept(torch.rand(6, 4, generator=made)),
        "v": kept(torch.rand(6, generator=made)),
        "i": kept(torch.randint(0, 3, (6,), generator=made)),
        "b": kept(torch.rand(6, generator=made) > 0.5),
    }
    large = draw.choice([9, 1 << 62])
    second = {
        "x": kept((torch.rand(rows, width, generator=made) * wild).to(of)),
        "v": kept(torch.rand(rows, generator=made) * wild - 0.2),
        "i": kept(torch.randint(-large, large, (rows,), generator=made)),
        "b": kept(torch.rand(rows, generator=made) > 0.5),
    }
    return first, second


def container_sets(draw: Random) -> Pair:
    """Python's values, of public lengths or of private ones."""
    made = torch.Generator().manual_seed(draw.randrange(1 << 30))
    is_public = draw.random() < 0.5
    return _containers(draw, made, is_public), _containers(draw, made, is_public)


def _containers(draw: Random, made: torch.Generator, is_public: bool) -> dict[str, Kept]:
    count = 3 if is_public else draw.randint(0, 3)
    rows = torch.rand(2 if is_public else draw.randint(1, 4), generator=made)
    mixed = [rows, draw.randint(-3, 5), draw.choice(["a", "b c", ""]), draw.random()]
    pairs: dict[Any, Any] = {draw.choice("az"): rows, draw.choice([1, 2, 3]): draw.choice([0, 7])}
    few = {draw.randint(0, 9), draw.randint(10, 19)}
    if not is_public and draw.random() < 0.5:
        pairs["q"], few = 1, {1}
    values: dict[str, tuple[Any, str]] = {
        "x": (torch.rand(6, 4, generator=made), "torch.Tensor"),
        "l": (mixed[: count + 1], "python.List"),
        "i": (torch.randint(-2, 3, (6,), generator=made), "torch.Tensor"),
        "s": (draw.choice(["", "abc", "12", "x" * 40]), "python.String"),
        "d": (pairs, "python.Dict"),
        "e": (few, "python.Set"),
        "t": ((draw.randint(0, 3), draw.choice("ab")), "python.Tuple"),
        "n": (draw.choice([0, 1, -5, 2**70, 3]), "python.Int"),
        "f": (draw.choice([0.0, float("nan"), 1.5, float("inf"), 1e-310]), "python.Float"),
        "o": (draw.random() < 0.5, "python.Bool"),
    }
    return {
        name: Kept(value, type, is_public or name in "xi") for name, (value, type) in values.items()
    }
