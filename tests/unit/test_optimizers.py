"""Optimizers go on with a module's tensors when it moves, and clip what pointers stand for."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from duet_p2p.surface.callables import CALLABLES
from tests.unit.scientist_kit import accept, pair

FOLLOW = CALLABLES["torch.optim.Optimizer.follow"]


def trained(weight: torch.Tensor) -> torch.optim.Optimizer:
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    weight.sum().backward()
    optimizer.step()
    return optimizer


def test_a_followed_parameter_takes_over_place_and_state() -> None:
    old = torch.ones(3, requires_grad=True)
    optimizer = trained(old)
    momentum = optimizer.state[old]["momentum_buffer"]
    group = optimizer.param_groups[0]["params"]
    new = nn.Parameter(old.detach().double())
    FOLLOW(optimizer, [old], [new])
    assert optimizer.param_groups[0]["params"] is group and group[0] is new
    assert optimizer.state[new]["momentum_buffer"] is momentum and old not in optimizer.state


@pytest.mark.parametrize(
    "after",
    [
        lambda old: [old],
        lambda old: [nn.Parameter(torch.ones(4))],
        lambda old: [old * 2],
        lambda old: [],
        lambda old: [3],
        lambda old: None,
    ],
)
def test_what_cannot_follow_changes_nothing(after: Callable[[Any], Any]) -> None:
    old = torch.ones(3, requires_grad=True)
    optimizer = trained(old)
    with pytest.raises((TypeError, ValueError)):
        FOLLOW(optimizer, [old], after(old))
    assert optimizer.param_groups[0]["params"][0] is old and old in optimizer.state


def test_only_optimizers_that_hold_a_moved_parameter_are_told() -> None:
    with pair(accept) as both:
        rt = both.duet.torch
        one, two = (nn.Linear(2, 2).send(both.duet) for _ in range(2))  # type: ignore[operator]
        first = rt.optim.SGD(one.parameters(), lr=0.1)
        second = rt.optim.SGD(two.parameters(), lr=0.1)
        one.double()
        told = [c for c in both.owner.commands if getattr(c, "name", "").endswith(".follow")]
        assert [command.args[0].id for command in told] == [first._id]
        two.to("cpu")
        assert len(both.owner.commands) > 0 and second._id
        assert sum(getattr(c, "name", "").endswith(".follow") for c in both.owner.commands) == 1


def test_a_followed_tensor_of_the_owners_is_not_written() -> None:
    with pair(accept) as both:
        rt = both.duet.torch
        mine = torch.ones(2, requires_grad=True).send(both.duet)  # type: ignore[attr-defined]
        theirs = both.share(torch.zeros(2))
        optimizer = rt.optim.SGD([mine], lr=1.0)
        mine.sum().backward()
        optimizer.step()
        both.duet._client.call("torch.optim.Optimizer.follow", optimizer, [mine], [theirs])
        (mine * theirs).sum().backward()
        optimizer.step()
        assert both.value(theirs).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("clip", "more"), [(nn.utils.clip_grad_norm_, 0.5), (nn.utils.clip_grad_value_, 0.1)]
)
def test_ordinary_clipping_is_the_owners_operation(clip: Callable[..., Any], more: float) -> None:
    local = nn.Linear(3, 2)
    x = torch.randn(4, 3)
    with pair(accept) as both:
        remote = copy.deepcopy(local).send(both.duet)  # type: ignore[operator]
        remote(both.share(x)).pow(2).sum().backward()
        clip(remote.parameters(), more)
        clip((p for p in remote.parameters()), more)
        assert both.owner.ops.count(f"torch.nn.utils.{clip.__name__}") == 2
        found = [p.grad.get(request_block=True) for p in remote.parameters()]
    local(x).pow(2).sum().backward()
    clip(local.parameters(), more)
    clip(local.parameters(), more)
    for parameter, gradient in zip(local.parameters(), found, strict=True):
        torch.testing.assert_close(gradient, parameter.grad)
