"""What was released is given again for nothing until it is written to, whatever a number chose.

A private number chose which of several objects a command writes to. One of them was released
before; whether it is given again would tell the number.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Ref
from tests.security.neighbour_kit import I, T, X, choose
from tests.security.raw_peer import against
from tests.unit.engine_kit import Driver

Make = Callable[[Driver], list[Ref]]


def tensors(d: Driver) -> list[Ref]:
    return [d.ok("torch.mul", X, 2), d.ok("torch.mul", X, 3)]


def one_of_the_owners(d: Driver) -> list[Ref]:
    return [X, d.ok("torch.mul", X, 3)]


def lists(d: Driver) -> list[Ref]:
    return [d.ok("python.collect", tensor) for tensor in tensors(d)]


def a_dict_of_the_owners(d: Driver) -> list[Ref]:
    kept = d.share({"a": torch.ones(2)}, "python.Dict", keys_public=True)
    return [kept, d.ok("python.Dict", [("a", d.ok("torch.mul", X, 3))])]


WRITES: dict[Make, tuple[str, tuple[object, ...]]] = {
    tensors: (T + "add_", (1,)), one_of_the_owners: (T + "mul_", (2,)),
    lists: ("python.List.append", (1,)),
    a_dict_of_the_owners: ("python.Dict.__setitem__", ("b", 1)),
}  # fmt: skip


@pytest.mark.parametrize("make", WRITES)
@pytest.mark.parametrize("number", [1, 2], ids=["another one", "nothing"])
def test_what_counts_as_written_to_does_not_tell_what_was_chosen(make: Make, number: int) -> None:
    shown = []
    for index in (0, number):
        d = Driver()
        d.share(torch.ones(3))
        d.share(torch.tensor([index]))
        made = make(d)
        before = [d.facts(ref).version for ref in made]
        place = d.ok("python.Int", d.ok(T + "__getitem__", I, 0))
        chosen = d.run("python.List.__getitem__", d.ok("python.collect", *made), place)
        name, args = WRITES[make]
        d.run(name, chosen, *args, outs=0)
        shown.append([d.facts(ref).version == old for ref, old in zip(made, before, strict=True)])
    assert shown[0] == shown[1]


@pytest.mark.parametrize("is_written", [False, True])
def test_and_what_was_accepted_once_is_given_again_in_both_or_in_neither(is_written: bool) -> None:
    answers = []
    for index in (0, 1):
        with against({"x": torch.ones(3), "i": torch.tensor([index])}) as (duet, raw):
            made = [raw.op("torch.mul", X, 2), raw.op("torch.mul", X, 3)]
            chosen = choose(raw, *made)
            call = raw.request(made[0])
            raw.wait(lambda duet=duet: len(duet.requests) == 1)
            duet.requests[0].accept()
            assert isinstance(raw.answer(call), wire.Value)
            if is_written:
                raw.do(T + "add_", chosen, 1)
            answers.append(raw.ask(made[0]))
    assert answers == (["Expired", "Expired"] if is_written else ["Value", "Value"])
