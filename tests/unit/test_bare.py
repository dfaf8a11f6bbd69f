"""The shorter way of a training loop's calls does what torch's own does, bit by bit."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch.optim import Optimizer

from duet_p2p.surface import bare

NEEDS_CLOSURE = {"LBFGS"}
NEEDS_SPARSE = {"SparseAdam"}
NEEDS_MATRICES = {"Muon"}
OPTIMIZERS = sorted(
    name for name, cls in vars(torch.optim).items()
    if isinstance(cls, type) and issubclass(cls, Optimizer) and cls is not Optimizer
    and name not in NEEDS_CLOSURE | NEEDS_SPARSE
)  # fmt: skip


def trained(name: str, settings: dict[str, Any], *, is_bare: bool) -> list[Any]:
    """Everything that six steps leave."""
    torch.manual_seed(0)
    net = torch.nn.Linear(4, 3, bias=name not in NEEDS_MATRICES)
    x = torch.rand(8, 4)
    optimizer = getattr(torch.optim, name)(net.parameters(), **settings)
    found: list[Any] = []
    for _ in range(6):
        loss = net(x).square().mean()
        if is_bare:
            bare.zero_grad(optimizer)
            found.append([p.grad for p in net.parameters()])
            bare.backward(loss)
            bare.step(optimizer)
        else:
            optimizer.zero_grad()
            found.append([p.grad for p in net.parameters()])
            loss.backward()
            optimizer.step()
        found.append([loss.detach(), *[p.grad.clone() for p in net.parameters()]])
        assert torch.is_grad_enabled()
    state = [value for held in optimizer.state.values() for value in held.values()]
    return [found, list(net.parameters()), state, optimizer.state_dict()["param_groups"]]


def is_same(one: Any, other: Any) -> bool:
    """Whether two nested lists hold the same bits."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other) and one.dtype is other.dtype
    if isinstance(one, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    return bool(one == other)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_leave_what_torch_leaves(name: str) -> None:
    assert is_same(trained(name, {}, is_bare=True), trained(name, {}, is_bare=False))


def test_settings_of_an_optimizer_count() -> None:
    for settings in ({"momentum": 0.9}, {"foreach": True}, {"maximize": True}):
        results = [trained("SGD", settings, is_bare=is_bare) for is_bare in (True, False)]
        assert is_same(*results)


def test_hooks_and_counted_steps_go_torchs_own_way() -> None:
    parameter = torch.ones(2, requires_grad=True)
    parameter.grad = torch.ones(2)
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    seen: list[str] = []
    optimizer.register_step_post_hook(lambda *_: seen.append("hook"))
    bare.step(optimizer)
    assert seen == ["hook"]

    counted = torch.optim.SGD([parameter], lr=0.1)
    torch.optim.lr_scheduler.StepLR(counted, 1)
    assert not getattr(counted, "_opt_called", False)
    bare.step(counted)
    assert counted._opt_called  # type: ignore[attr-defined]


def test_a_step_that_a_class_replaced_is_called() -> None:
    class Odd(torch.optim.SGD):
        """Counts its steps by itself."""

        steps = 0

        def step(self, closure: Any = None) -> Any:
            """One more."""
            self.steps += 1
            return super().step(closure)

        def zero_grad(self, set_to_none: bool = True) -> None:
            """Zeros, always."""
            super().zero_grad(set_to_none=False)

    parameter = torch.ones(2, requires_grad=True)
    parameter.grad = torch.ones(2)
    optimizer = Odd([parameter], lr=0.1)
    bare.step(optimizer)
    bare.zero_grad(optimizer)
    assert optimizer.steps == 1
    assert parameter.grad is not None and not parameter.grad.any()


def test_zero_grad_keeps_gradients_where_that_is_asked() -> None:
    parameter = torch.ones(2, requires_grad=True)
    parameter.grad = torch.ones(2)
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    bare.zero_grad(optimizer, False)
    assert parameter.grad is not None and not parameter.grad.any()


@pytest.mark.parametrize(
    "make", [
        lambda x: x * 2,
        lambda x: x.detach().sum(),
        lambda x: (x * (1 + 1j)).sum(),
        lambda x: torch.tensor(2, dtype=torch.int64),
    ],
)  # fmt: skip
def test_a_backward_that_torch_refuses_is_refused_with_its_words(make: Any) -> None:
    x = torch.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError) as own:
        make(x).backward()
    with pytest.raises(RuntimeError) as ours:
        bare.backward(make(x))
    assert str(ours.value) == str(own.value)


def test_a_graph_is_freed_and_gradients_add_up() -> None:
    x = torch.ones(2, requires_grad=True)
    loss = x.square().sum().reshape(1)
    bare.backward(loss)
    with pytest.raises(RuntimeError, match="second time"):
        bare.backward(loss)
    bare.backward(x.sum())
    assert x.grad is not None and x.grad.tolist() == [3.0, 3.0]


def test_the_shorter_way_is_taken() -> None:
    optimizer = torch.optim.Adam([copy.deepcopy(torch.nn.Parameter(torch.ones(2)))])
    bare.step(optimizer)
    _, inner, sets_mode = bare._bare[torch.optim.Adam]
    assert inner is not None and not sets_mode
    assert bare._run is not None
