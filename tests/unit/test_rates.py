"""Which settings of an optimizer are in the form of its steps: what no private value decided."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from duet_p2p.engine.labels import UNBOUND
from duet_p2p.wire.values import Ref
from tests.security.always_kit import OPTIM, Loop, group

SCHEDULER = OPTIM + "lr_scheduler.LRScheduler."
Change = Callable[[Loop], Any]


def put(loop: Loop, key: str, value: Any) -> None:
    loop.do("python.Dict.__setitem__", group(loop), key, value, outs=0)


def secret(loop: Loop) -> Ref:
    """A private number, which is 1."""
    number = loop.do("torch.eq", loop.do("torch.sum", Ref(-2)), loop.do("torch.sum", Ref(-2)))
    return loop.do("python.Int", number)


def plateau(loop: Loop, *metrics: Any) -> None:
    made = loop.scheduled("ReduceLROnPlateau", patience=0)
    for metric in metrics:
        loop.move(made, metric)


def own_state(loop: Loop) -> None:
    state = loop.do(OPTIM + "Optimizer.state_dict", loop.optimizer)
    loop.do(OPTIM + "Optimizer.load_state_dict", loop.optimizer, state, outs=0)


def fed(loop: Loop, number: Any) -> None:
    made = loop.scheduled("LambdaLR", lr_lambda=[1.0])
    loop.do(SCHEDULER + "feed", made, 1, number, outs=0)
    loop.move(made)


PUBLIC: dict[str, Change] = {
    "a rate": lambda loop: put(loop, "lr", 0.25),
    "numbers of a plateau": lambda loop: plateau(loop, 1.0, 2.0, 3.0),
    "numbers that are fed": lambda loop: fed(loop, 0.5),
    "its own state": lambda loop: (loop.train(), own_state(loop)),
    "moves of a schedule": lambda loop: loop.move(loop.scheduled("StepLR", step_size=1)),
}
PRIVATE: dict[str, Change] = {
    "a rate": lambda loop: put(loop, "lr", secret(loop)),
    "another setting": lambda loop: put(loop, "momentum", secret(loop)),
    "a loss of a plateau": lambda loop: plateau(loop, loop.loss()),
    "numbers that are fed": lambda loop: fed(loop, secret(loop)),
    "an epoch": lambda loop: loop.move(loop.scheduled("StepLR", step_size=1), secret(loop)),
}


def writers_behind(change: Change, trained: int) -> tuple[set[str], set[str]]:
    """Forms of training steps in a parameter, before a change and behind a step after it."""
    loop = Loop(lr=1)
    for _ in range(trained):
        loop.train()
    before = set(loop.facts(loop.weights).writers)
    change(loop)
    loop.train()
    return before, set(loop.facts(loop.weights).writers)


@pytest.mark.parametrize("trained", [0, 3])
@pytest.mark.parametrize("what", PUBLIC)
def test_public_settings_are_in_the_form(what: str, trained: int) -> None:
    before, behind = writers_behind(PUBLIC[what], trained)
    assert UNBOUND not in behind
    assert behind > before


@pytest.mark.parametrize("trained", [0, 3])
@pytest.mark.parametrize("what", PRIVATE)
def test_private_ones_are_in_none(what: str, trained: int) -> None:
    """Also where the very number stands there that stood there before."""
    before, behind = writers_behind(PRIVATE[what], trained)
    assert UNBOUND not in before
    assert UNBOUND in behind
