"""A call like one before gives what it would have given on the whole way."""

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
import torch

from duet_p2p.errors import ForeignPointer, NotAllowed, PointerDeleted
from duet_p2p.scientist import dispatch, habits
from duet_p2p.wire.messages import Op

from .scientist_kit import Pair, pair


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    monkeypatch.setattr(habits, "_KNOWN", {})
    with pair() as made:
        yield made


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of calls that went the whole way."""
    names: list[str] = []
    real = dispatch._infer

    def infer(rule, *args):
        names.append(rule.name)
        return real(rule, *args)

    monkeypatch.setattr(dispatch, "_infer", infer)
    return names


def commands(both: Pair) -> list[Op]:
    return [command for command in both.owner.commands if isinstance(command, Op)]


def known(pointer: Any) -> tuple[Any, ...]:
    return type(pointer), pointer._type, pointer._spec, pointer._tags, pointer._length


def test_only_the_first_goes_the_whole_way(both: Pair, whole: list[str]) -> None:
    x = torch.ones(3).tag("x").send(both.duet)
    made = [x + 1, x + 1]
    assert whole == ["torch.Tensor.__add__"]
    one, two = commands(both)
    assert (one.name, one.args, one.mode) == (two.name, two.args, two.mode)
    assert one.outs != two.outs
    assert known(made[0]) == known(made[1])


@pytest.mark.parametrize(
    "other",
    [lambda x: x + 1.0, lambda x: x + True, lambda x: x[:1] + 1, lambda x: x.double() + 1],
    ids=["float", "bool", "shape", "dtype"],
)
def test_another_number_shape_or_dtype_is_asked_anew(
    both: Pair, whole: list[str], other: Any
) -> None:
    x = torch.ones(3, dtype=torch.int64).send(both.duet)
    _ = x + 1
    whole.clear()
    made = other(x)
    assert "torch.Tensor.__add__" in whole
    assert made.dtype == other(torch.ones(3, dtype=torch.int64)).dtype


def test_what_changes_in_place_gives_the_pointer_itself_each_time(both: Pair) -> None:
    x = torch.ones(3).send(both.duet)
    for _ in range(3):
        assert x.add_(1) is x
    assert [op.outs for op in commands(both)] == [()] * 3


def test_a_grad_mode_is_another_call(both: Pair) -> None:
    x = torch.ones(3, requires_grad=True).send(both.duet)
    for _ in range(2):
        assert (x + 1).requires_grad
        with torch.no_grad():
            assert not (x + 1).requires_grad
    assert [op.mode for op in commands(both)] == ["g", "n", "g", "n"]


def test_a_pointer_is_looked_at_each_time(both: Pair) -> None:
    x, y = torch.ones(3).send(both.duet), torch.ones(3).send(both.duet)
    _ = x + y
    y.delete()
    with pytest.raises(PointerDeleted):
        _ = x + y
    with pair() as other:
        foreign = torch.ones(3).send(other.duet)
        with pytest.raises(ForeignPointer):
            _ = x + foreign
    with pytest.raises(NotAllowed), torch.autocast("cpu", dtype=torch.bfloat16):
        _ = x + x


CALLS = (
    lambda x, y, n: x + y, lambda x, y, n: x * n, lambda x, y, n: x @ y, lambda x, y, n: x > n,
    lambda x, y, n: x.sum(0), lambda x, y, n: x.max(0), lambda x, y, n: x.max(y),
    lambda x, y, n: x.t(), lambda x, y, n: x.relu_(), lambda x, y, n: x.expand(4, 4),
    lambda x, y, n: x.unbind(), lambda x, y, n: x.split(2), lambda x, y, n: x.sum().item(),
    lambda x, y, n: torch.maximum(x, y), lambda x, y, n: x.requires_grad_(), lambda x, y, n: -x,
    lambda x, y, n: x.clone(), lambda x, y, n: x.to(torch.float64),
    lambda x, y, n: x.add_(y, alpha=2),
)  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_random_programs_are_the_same_commands_with_and_without_habits(
    both: Pair, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    def run(duet: Any) -> list[Any]:
        random, found = Random(seed), list[Any]()
        shapes = ((4, 4), (4, 1), (1, 4))
        known_here = [torch.ones(shape).tag(f"x{len(shape)}").send(duet) for shape in shapes]
        known_here.append(torch.ones(4, 4, requires_grad=True).send(duet))
        for _ in range(80):
            x, y = random.choice(known_here), random.choice(known_here)
            number, call = random.choice((0, 1, 1.0, True, 0.5, 2j)), random.choice(CALLS)
            try:
                with torch.set_grad_enabled(random.random() < 0.8):
                    made = call(x, y, number)
            except (RuntimeError, IndexError, NotAllowed) as error:
                found.append((type(error), str(error)))
                continue
            parts = made if isinstance(made, tuple) else (made,)
            found += [known(part) for part in parts]
            known_here += [part for part in parts[:1] if part._type == "torch.Tensor"]
            known_here = known_here[-12:]
        return found

    first = run(both.duet)
    monkeypatch.setattr(habits, "asked", lambda *_: None)
    with pair() as other:
        assert run(other.duet) == first
        assert commands(other) == commands(both)


def test_no_more_habits_are_kept_than_are_allowed(
    both: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("duet_p2p.limits.HABITS", 3)
    x = torch.ones(3).send(both.duet)
    for number in range(5):
        _ = x + number
        assert 1 <= len(habits._KNOWN) <= 3
