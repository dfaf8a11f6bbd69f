"""Whether random numbers were drawn is told by the next one: no private number may decide it.

Each call gets a private number that decides whether it draws or fails before it does, in every
place and by every keyword, in any order. What comes after it shows the same of two data sets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from duet_p2p.wire.values import Ref
from tests.security.neighbour_kit import ONE, OTHER, F, I, T, X
from tests.security.test_soundness import Seen, told


def number(d: Seen) -> Any:
    """0 in one of the data sets, 1 in the other."""
    return d.run("python.Int", d.run(T + "__getitem__", I, 0))


def flag(d: Seen) -> Any:
    return d.run("python.Bool", number(d))


def choose(d: Seen, *parts: Ref) -> Any:
    return d.run("python.List.__getitem__", d.run("python.collect", *parts), number(d))


def wrong(d: Seen) -> Any:
    """0.0 in one of the data sets, 3.0 in the other, which is no chance."""
    return d.run("python.Float.__mul__", d.run("python.Float", number(d)), 3.0)


def negative(d: Seen) -> Any:
    return d.run("python.Float.__sub__", d.run("python.Float", number(d)), 0.5)


def own(d: Seen) -> Any:
    return d.put(-torch.ones(2, 3))


def calls() -> Iterator[Callable[[Seen], Any]]:
    yield lambda d: d.run("torch.rrelu", own(d), 0.1, 0.3, training=flag(d))
    yield lambda d: d.run("torch.rrelu", own(d), 0.1, 0.3, flag(d))
    yield lambda d: d.run(F + "rrelu_", own(d), 0.1, 0.3, flag(d))
    yield lambda d: d.run(F + "rrelu_", own(d), training=flag(d))
    for name in ("dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout"):
        yield lambda d, n=name: d.run(f"torch.{n}", own(d), 0.5, train=flag(d))
        yield lambda d, n=name: d.run(f"torch.{n}", own(d), train=True, p=wrong(d))
        yield lambda d, n=name: d.run(f"torch.{n}_", own(d), train=flag(d), p=0.5)
    for name in ("dropout", "dropout1d", "alpha_dropout", "feature_alpha_dropout"):
        yield lambda d, n=name: d.run(
            F + n, p=d.run("torch.mul", d.run(T + "__getitem__", X, 0), 3.0), training=True,
            input=own(d),
        )  # fmt: skip
        yield lambda d, n=name: d.run(F + n, own(d), wrong(d), True)
    yield lambda d: d.run("torch.normal", 0.0, negative(d), [3])
    yield lambda d: d.run("torch.normal", std=d.run("torch.sub", X, 0.5), mean=d.put(torch.ones(4)))
    yield lambda d: d.run("torch.randint", 0, number(d), [3])
    yield lambda d: d.run("torch.bernoulli", own(d), p=wrong(d))
    yield lambda d: d.run(T + "bernoulli_", own(d), wrong(d))
    yield lambda d: d.run(T + "normal_", own(d), 0.0, negative(d))
    yield lambda d: d.run(T + "exponential_", own(d), negative(d))
    yield lambda d: d.run(T + "geometric_", own(d), negative(d))
    yield lambda d: d.run(T + "random_", own(d), 0, number(d))
    yield lambda d: d.run(T + "normal_", choose(d, X, own(d)))


def drawn(data: tuple[torch.Tensor, torch.Tensor]) -> list[object]:
    d, found = Seen({"x": data[0], "i": data[1]}), []
    for call in calls():
        d.run("torch.manual_seed", 5, outs=0)
        call(d)
        after = d.run("torch.rand", 2)
        found.append((d.verdict(after.id), told(d)))
    return found


def test_no_private_number_decides_whether_numbers_are_drawn() -> None:
    assert drawn(ONE) == drawn(OTHER)
