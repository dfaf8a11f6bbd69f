"""Optimizers and schedulers through pointers, compared with local ones."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from duet_p2p.errors import NotAllowed

from .scientist_kit import Pair, pair

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture
def both() -> Iterator[Pair]:
    with pair() as made:
        yield made


def half(epoch: int) -> float:
    return 1 / (epoch + 1)


def less(epoch: int) -> float:
    return 0.9**epoch


def nested(t: Any, o: Any) -> Any:
    place = t.optim.lr_scheduler
    first = place.SequentialLR(o, [place.LambdaLR(o, half), place.StepLR(o, 2)], [3])
    return place.ChainedScheduler([first, place.MultiplicativeLR(o, less)])


MAKERS: dict[str, Callable[[Any, Any], Any]] = {
    "lambda": lambda t, o: t.optim.lr_scheduler.LambdaLR(o, half),
    "a lambda for each group": lambda t, o: t.optim.lr_scheduler.LambdaLR(o, [half, less]),
    "multiplicative": lambda t, o: t.optim.lr_scheduler.MultiplicativeLR(o, less),
    "sequential": lambda t, o: t.optim.lr_scheduler.SequentialLR(
        o,
        [
            t.optim.lr_scheduler.LambdaLR(o, half),
            t.optim.lr_scheduler.ExponentialLR(o, 0.5),
            t.optim.lr_scheduler.MultiplicativeLR(o, less),
        ],
        [2, 5],
    ),
    "sequential without functions": lambda t, o: t.optim.lr_scheduler.SequentialLR(
        o, [t.optim.lr_scheduler.ConstantLR(o), t.optim.lr_scheduler.ExponentialLR(o, 0.5)], [2]
    ),
    "chained": lambda t, o: t.optim.lr_scheduler.ChainedScheduler(
        [t.optim.lr_scheduler.LambdaLR(o, half), t.optim.lr_scheduler.ExponentialLR(o, 0.5)]
    ),
    "nested": nested,
    "step": lambda t, o: t.optim.lr_scheduler.StepLR(o, 2, gamma=0.1),
    "several steps": lambda t, o: t.optim.lr_scheduler.MultiStepLR(o, [2, 4]),
    "constant": lambda t, o: t.optim.lr_scheduler.ConstantLR(o, total_iters=3),
    "linear": lambda t, o: t.optim.lr_scheduler.LinearLR(o, total_iters=4),
    "exponential": lambda t, o: t.optim.lr_scheduler.ExponentialLR(o, 0.9),
    "polynomial": lambda t, o: t.optim.lr_scheduler.PolynomialLR(o, 4, power=2),
    "cosine": lambda t, o: t.optim.lr_scheduler.CosineAnnealingLR(o, 5),
    "restarts": lambda t, o: t.optim.lr_scheduler.CosineAnnealingWarmRestarts(o, 3),
    "one cycle": lambda t, o: t.optim.lr_scheduler.OneCycleLR(
        o, 2.0, total_steps=9, cycle_momentum=False
    ),
    "cyclic": lambda t, o: t.optim.lr_scheduler.CyclicLR(o, 0.1, 0.5, cycle_momentum=False),
}


def groups_of(t: Any) -> list[dict[str, Any]]:
    return [
        {"params": [t.nn.Parameter(torch.ones(2))]},
        {"params": [t.nn.Parameter(torch.ones(1))], "lr": 0.5},
    ]


@pytest.mark.parametrize("name", MAKERS)
def test_learning_rates_are_those_of_a_local_scheduler(both: Pair, name: str) -> None:
    rates = []
    for t in (torch, both.duet.torch):
        optimizer = t.optim.SGD(groups_of(t), lr=1.0)
        scheduler = MAKERS[name](t, optimizer)
        rates.append([])
        for _ in range(7):
            optimizer.step()
            scheduler.step()
            rates[-1].append([optimizer.param_groups[i]["lr"] for i in range(2)])
    local, remote = rates
    assert [[p.get() for p in pair_] for pair_ in remote] == local
    assert both.owner.failures == []


def test_every_scheduler_of_torch_is_among_them() -> None:
    place = torch.optim.lr_scheduler
    every = {
        name
        for name, cls in vars(place).items()
        if isinstance(cls, type) and issubclass(cls, place.LRScheduler) and name[0] != "_"
    }
    tried, pending = {"LRScheduler", "ReduceLROnPlateau"}, []
    for make in MAKERS.values():
        pending.append(make(torch, torch.optim.SGD(groups_of(torch), lr=1.0)))
    while pending:
        scheduler = pending.pop()
        tried.add(type(scheduler).__name__)
        pending += getattr(scheduler, "_schedulers", [])
    assert every == tried


def test_a_plateau_compares_a_pointer_on_the_owners_side(both: Pair) -> None:
    rt = both.duet.torch
    optimizer = rt.optim.SGD([rt.nn.Parameter(torch.ones(1))], lr=1.0)
    scheduler = rt.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
    secret = both.share(torch.tensor([1.0, 2.0]))
    for i in range(2):
        scheduler.step(secret[i])
    assert optimizer.param_groups[0]["lr"].get(request_block=True) == 0.5
    assert both.owner.asked[-1][1].kind != "public"


def test_functions_are_checked_here_and_never_travel(both: Pair) -> None:
    rt = both.duet.torch
    optimizer = rt.optim.SGD([rt.nn.Parameter(torch.ones(1))], lr=1.0)
    for bad in (3, [], [half, 1]):
        with pytest.raises(TypeError, match="function of the epoch"):
            rt.optim.lr_scheduler.LambdaLR(optimizer, bad)
    scheduler = rt.optim.lr_scheduler.LambdaLR(optimizer, half)
    scheduler.step()
    assert both.owner.ops[-2:] == [
        "torch.optim.lr_scheduler.LRScheduler.feed",
        "torch.optim.lr_scheduler.LRScheduler.step",
    ]


def test_a_scheduler_with_functions_goes_on_from_a_saved_state(both: Pair) -> None:
    rt = both.duet.torch
    optimizer = rt.optim.SGD([rt.nn.Parameter(torch.ones(1))], lr=1.0)
    scheduler = rt.optim.lr_scheduler.LambdaLR(optimizer, half)
    scheduler.step()
    state = scheduler.state_dict()
    for _ in range(3):
        scheduler.step()
    scheduler.load_state_dict(state)
    assert scheduler.last_epoch.get() == 1
    scheduler.step()
    assert optimizer.param_groups[0]["lr"].get() == pytest.approx(1 / 3)
    with pytest.raises(NotAllowed, match="state_dict"):
        scheduler.load_state_dict({"last_epoch": 1})


def test_param_groups_are_read_and_written(both: Pair) -> None:
    rt = both.duet.torch
    weight = rt.nn.Parameter(torch.ones(2))
    optimizer = rt.optim.SGD([weight], lr=1.0)
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] * 0.5
    optimizer.param_groups[0]["weight_decay"] = 0.0
    weight.sum().backward()
    optimizer.step()
    assert weight.detach().get().tolist() == [0.5, 0.5]
    assert optimizer.defaults["lr"].get() == 1.0
    assert len(optimizer.param_groups) == 1
    optimizer.add_param_group({"params": [rt.nn.Parameter(torch.ones(1))], "lr": 3.0})
    assert len(optimizer.param_groups) == 2
    assert optimizer.param_groups[1]["lr"].get() == 3.0


def test_a_state_goes_from_one_optimizer_into_another(both: Pair) -> None:
    rt = both.duet.torch
    weight = rt.nn.Parameter(torch.ones(2))
    first = rt.optim.Adam([weight], lr=0.25)
    weight.sum().backward()
    first.step()
    second = rt.optim.Adam([weight], lr=0.5)
    second.load_state_dict(first.state_dict())
    assert second.param_groups[0]["lr"].get() == 0.25
    assert second.state_dict()["state"][0]["exp_avg"].get().tolist() == pytest.approx([0.1, 0.1])


@pytest.mark.parametrize("value", ["huge", "list of tensors", "params"])
def test_a_group_with_what_no_constructor_takes_does_not_step(both: Pair, value: str) -> None:
    rt = both.duet.torch
    optimizer = rt.optim.SGD([rt.nn.Parameter(torch.ones(2))], lr=1.0)
    group = optimizer.param_groups[0]
    if value == "params":
        group["params"] = 3
    elif value == "huge":
        group["lr"] = rt.ones(3).expand(10**6, 3)
    else:
        group["lr"] = [rt.ones(3)]
    optimizer.step()
    both.settle()
    assert [failure.op for failure in both.owner.failures] == ["torch.optim.Optimizer.step"]


def test_an_owners_object_put_among_the_parameters_is_not_written(both: Pair) -> None:
    rt = both.duet.torch
    secret = both.share(torch.ones(2))
    optimizer = rt.optim.SGD([rt.nn.Parameter(torch.ones(2))], lr=1.0)
    optimizer.param_groups[0]["params"].append(secret)
    optimizer.step()
    both.settle()
    assert [failure.op for failure in both.owner.failures] == ["torch.optim.Optimizer.step"]
    assert torch.equal(both.value(secret), torch.ones(2))


def test_lbfgs_says_why_it_cannot_step(both: Pair) -> None:
    rt = both.duet.torch
    optimizer = rt.optim.LBFGS([rt.nn.Parameter(torch.ones(2))])
    with pytest.raises(NotAllowed, match="closure"):
        optimizer.step(lambda: None)


def test_an_optimizer_and_a_scheduler_are_true_as_in_torch(both: Pair) -> None:
    t = both.duet.torch
    optimizer = t.optim.SGD([t.ones(2, requires_grad=True)], lr=0.1)
    scheduler = t.optim.lr_scheduler.StepLR(optimizer, 1)
    assert optimizer and scheduler
