"""Every optimizer of torch's own database with its settings, five steps here and over there."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.testing._internal.common_optimizers import optim_db

from tests.surface.joined import Joined, joined
from tests.surface.replay import assert_same, fetched

STEPS = 5
INFOS = {info.optim_cls.__name__: info for info in optim_db}


@pytest.fixture(scope="module")
def both() -> Iterator[Joined]:
    with joined() as made:
        made.owner.requests.add_handler(action="accept")
        yield made


def net(name: str) -> nn.Module:
    torch.manual_seed(0)
    if name == "SparseAdam":
        return nn.Embedding(6, 3, sparse=True)
    has_biases = name != "Muon"  # which takes matrices only
    layers = [nn.Linear(4, 5, bias=has_biases), nn.Tanh(), nn.Linear(5, 3, bias=has_biases)]
    return nn.Sequential(*layers)


def inputs(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.tensor([0, 2, 2, 5, 1, 0, 2, 5]) if name == "SparseAdam" else torch.randn(8, 4)
    return x, torch.randn(8, 3)


def train(model: Any, optimizer: Any, x: Any, y: Any, closed: bool, record: Any = None) -> None:
    def closure() -> Any:
        optimizer.zero_grad()
        loss = ((model(x) - y) ** 2).mean()
        loss.backward()
        return loss

    stepped = record(closure) if record is not None else closure
    for _ in range(STEPS):
        if closed:
            optimizer.step(stepped)
        else:
            closure()
            optimizer.step()


@pytest.mark.parametrize("name", INFOS)
def test_five_steps_leave_equal_weights_and_state(both: Joined, name: str) -> None:
    info = INFOS[name]
    duet = both.scientist
    torch.manual_seed(1)
    x, y = inputs(name)
    for settings in info.optim_inputs_func("cpu"):
        model = net(name)
        remote = copy.deepcopy(model).send(duet)  # type: ignore[operator]
        here = info.optim_cls(model.parameters(), **settings.kwargs)
        there = getattr(duet.torch.optim, name)(remote.parameters(), **settings.kwargs)
        given = (duet.send(x), duet.send(y), info.step_requires_closure)
        record = duet.step if info.step_requires_closure else None
        train(model, here, x, y, info.step_requires_closure)
        train(remote, there, *given, record)
        assert_same(list(model.state_dict().values()), fetched(list(remote.state_dict().values())))
        mine, theirs = here.state_dict(), there.state_dict().get(request_block=True)
        assert mine["state"].keys() == theirs["state"].keys()
        for number, values in mine["state"].items():
            assert_same(list(values.values()), list(theirs["state"][number].values()))
        for ours, others in zip(mine["param_groups"], theirs["param_groups"], strict=True):
            assert_same(list(ours.values()), list(others.values()))


def test_all_optimizers_of_torch_are_among_them() -> None:
    assert len(INFOS) >= 15
