"""Every name that the original Duet offered has exactly one state here, and the state is true.

The two lists and the states are data files. `offered` names are called once through a pointer and
compared with the same call on local values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

from duet_p2p.errors import DuetError, NotAllowed, PrivateValueError
from duet_p2p.objects.shell import Shell
from duet_p2p.scientist.kinds import class_of
from duet_p2p.scientist.pointer import Pointer
from duet_p2p.surface import types
from duet_p2p.surface.table import TABLE, find
from tests.surface.original_calls import (
    arguments_of,
    assert_same,
    local_call,
    remote_call,
    sent_to,
    value_of,
)
from tests.surface.original_modules import case_of
from tests.surface.original_python import python_case
from tests.unit.scientist_kit import Pair, pair

DATA = Path(__file__).resolve().parents[1] / "data"
STATES = {"offered", "local", "denied", "gone"}

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(not find("torch.relu"), reason="needs the surface"),
]


class Line(NamedTuple):
    name: str
    state: str
    reason: str


@cache
def lines() -> tuple[Line, ...]:
    text = (DATA / "original_surface.tsv").read_text()
    return tuple(Line(*line.split("\t")) for line in text.splitlines() if not line.startswith("#"))


def names(state: str) -> list[str]:
    return [line.name for line in lines() if line.state == state]


def listed() -> list[str]:
    found = (DATA / "duet_torch_names.txt").read_text().split()
    return found + [f"python.{n}" for n in (DATA / "duet_python_names.txt").read_text().split()]


def module_class(name: str) -> str:
    """``Linear`` for ``torch.nn.Linear`` and its members, "" for anything else."""
    parts = name.split(".")
    is_class = parts[:2] == ["torch", "nn"] and len(parts) > 2 and parts[2][0].isupper()
    return parts[2] if is_class and parts[2] not in ("Parameter",) else ""


def is_on_surface(name: str) -> bool:
    place, _, short = name.rpartition(".")
    return find(name) is not None or types.resolve(place, short) is not None


def exists(name: str) -> bool:
    import torchvision
    import torchvision.datasets
    import torchvision.transforms.functional

    target: Any = torch if name.startswith("torch.") else torchvision
    for part in name.split(".")[1:]:
        if not hasattr(target, part):
            return False
        target = getattr(target, part)
    return True


@pytest.fixture(scope="module")
def both() -> Iterator[Pair]:
    with pair(data_dirs={"mnist": str(DATA.parents[1] / "duet_p2p" / "demo" / "mnist")}) as made:
        yield made


@pytest.fixture(autouse=True)
def no_failures_of_before(request: pytest.FixtureRequest) -> None:
    if "both" in request.fixturenames:
        request.getfixturevalue("both").owner.failures.clear()


def test_every_name_of_the_lists_has_one_state() -> None:
    assert Counter(line.name for line in lines()) == Counter(listed())
    assert {line.state for line in lines()} == STATES
    assert all(line.reason for line in lines() if line.state in ("local", "denied", "gone"))


def test_offered_names_are_on_the_surface() -> None:
    missing = [n for n in names("offered") if not module_class(n) and not is_on_surface(n)]
    assert missing == []


def test_denied_names_are_not() -> None:
    there = [n for n in names("denied") if not module_class(n) and find(n) is not None]
    assert there == []


@pytest.mark.parametrize("name", names("gone"))
def test_a_name_that_is_gone_is_gone_or_only_raises(name: str) -> None:
    assert find(name) is None
    if not exists(name):
        return
    target: Any = torch
    for part in name.split(".")[1:]:
        target = getattr(target, part)
    if name == "torch.fft":
        assert not callable(target)
        return
    x = torch.eye(2)
    with pytest.raises(RuntimeError, match="deprecated"):
        target(x, x) if name.rpartition(".")[2] in ("lstsq", "solve") else target(x)


OPERATIONS = [
    n
    for n in names("offered")
    if n.startswith("torch.Tensor.")
    or (n.startswith("torch.") and n.count(".") == 1)
    or n.startswith("torch.nn.functional.")
]
BY_HAND = {
    "torch.Tensor.backward", "torch.Tensor.cuda", "torch.Tensor.retain_grad", "torch.device",
    "torch.manual_seed", "torch.Tensor.detach_",
}  # fmt: skip


@pytest.mark.parametrize("name", [n for n in OPERATIONS if n not in BY_HAND])
def test_an_operation_through_pointers_gives_what_torch_gives(both: Pair, name: str) -> None:
    form = arguments_of(name)
    torch.manual_seed(3)
    expected = local_call(name, form())
    both.duet.torch.manual_seed(3)
    got = value_of(both, remote_call(both.duet, name, form()))
    assert both.owner.failures == []
    assert_same(got, expected)


def test_operations_that_need_more_than_arguments(both: Pair) -> None:
    rt = both.duet.torch
    x = rt.ones(3, requires_grad=True)
    y = x * 2
    y.retain_grad()
    y.sum().backward()
    assert both.value(x.grad).tolist() == [2.0] * 3
    assert both.value(y.grad).tolist() == [1.0] * 3
    assert (y * 2).detach_().requires_grad is False
    assert both.value(rt.manual_seed(4)) is None
    assert both.value(rt.device("cpu")) == torch.device("cpu")
    assert both.value(rt.device("cuda:1").index) == 1
    assert both.value(rt.device("cuda:1").type) == "cuda"
    assert both.value(rt.cuda.is_available()) is torch.cuda.is_available()
    if not torch.cuda.is_available():
        x.cuda()
        assert [failure.op for failure in both.owner.failures] == ["torch.Tensor.cuda"]


@pytest.mark.parametrize("name", [n for n in names("local") if n.startswith("torch.Tensor.")])
def test_a_local_fact_of_a_tensor_is_answered_or_refused_here(both: Pair, name: str) -> None:
    short = name.rpartition(".")[2]
    local = torch.ones(2, 3)
    pointer = both.duet.send(local)
    before = len(both.owner.commands)
    if short in ("tolist", "__complex__", "__float__", "__index__", "__int__"):
        with pytest.raises(PrivateValueError):
            getattr(pointer, short)()
    elif short in ("__long__", "__nonzero__"):
        assert not hasattr(pointer, short)
    elif short == "__hash__":
        assert hash(pointer) == hash(pointer)
    elif short == "__reversed__":
        assert both.value(reversed(pointer)).tolist() == local.flip(0).tolist()
        return
    else:
        answer, expected = getattr(pointer, short), getattr(local, short)
        assert (answer() if callable(expected) else answer) == (
            expected() if callable(expected) else expected
        )
    assert len(both.owner.commands) == before


MODULES = sorted({c for n in names("offered") if (c := module_class(n))})


@pytest.mark.parametrize("name", MODULES)
def test_a_module_class_is_made_remotely_and_called(both: Pair, name: str) -> None:
    make, inputs = case_of(name)
    torch.manual_seed(5)
    local = make(torch)
    both.duet.torch.manual_seed(5)
    remote = make(both.duet.torch)
    state = remote.state_dict()
    assert list(state) == list(local.state_dict())
    for key, value in local.state_dict().items():
        assert_same(both.value(state[key]), value)
    members(both, name, remote, local)
    given = inputs()
    if not given:
        return
    torch.manual_seed(6)
    expected = local(*given)
    both.duet.torch.manual_seed(6)
    assert_same(value_of(both, remote(*sent_to(both.duet, given))), expected)
    assert both.owner.failures == []


def members(both: Pair, name: str, remote: Any, local: nn.Module) -> None:
    """The members that the original had, each used once."""
    for line in lines():
        if module_class(line.name) != name or line.name.count(".") != 3:
            continue
        short = line.name.rpartition(".")[2]
        assert hasattr(remote, short), line.name
        if short == "extra_repr":
            assert remote.extra_repr() == local.extra_repr()
        elif short == "parameters":
            assert len(remote.parameters()) == len(list(local.parameters()))
        elif short in ("train", "cpu"):
            assert getattr(remote, short)() is remote
        elif short == "load_state_dict":
            remote.load_state_dict(local.state_dict())
        elif short == "__len__":
            assert len(remote) == len(local)  # type: ignore[arg-type]
        elif short == "__getitem__" and isinstance(local, nn.ModuleList):
            assert isinstance(remote[0], Shell)
        elif short in ("weight", "bias"):
            assert isinstance(getattr(remote, short), Pointer)


@pytest.mark.parametrize("name", ["AdaptiveLogSoftmaxWithLoss", "CrossMapLRN2d"])
def test_a_module_that_is_denied_says_so_when_it_is_called(both: Pair, name: str) -> None:
    make, inputs = case_of(name)
    with pytest.raises(DuetError):
        make(both.duet.torch)(*sent_to(both.duet, inputs()))


OPTIMIZERS = [n for n in names("offered") if n.startswith("torch.optim.") and n.count(".") == 2]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_is_made_steps_and_keeps_a_state(both: Pair, name: str) -> None:
    short = name.rpartition(".")[2]

    def train(t: Any) -> Any:
        weight = t.nn.Parameter(torch.ones(2, 2))
        if short == "Optimizer":
            return t.optim.Optimizer([weight], {"lr": 0.5}).state_dict()["param_groups"][0]["lr"]
        optimizer = getattr(t.optim, short)([weight], lr=0.25)
        state = optimizer.state_dict()
        if short not in ("LBFGS", "SparseAdam"):
            (weight * weight).sum().backward()
            optimizer.step()
        optimizer.zero_grad()
        optimizer.load_state_dict(state)
        return weight.detach()

    assert_same(value_of(both, train(both.duet.torch)), train(torch))
    assert both.owner.failures == []
    if short == "SparseAdam":  # sparse gradients are not offered, so it can only do nothing
        both.duet.torch.optim.SparseAdam([both.duet.torch.nn.Parameter(torch.ones(1))]).step()
    if short == "LBFGS":
        optimizer = both.duet.torch.optim.LBFGS([both.duet.torch.nn.Parameter(torch.ones(1))])
        with pytest.raises(NotAllowed):
            optimizer.step(lambda: None)


def test_a_scheduler_and_a_distribution_of_the_list(both: Pair) -> None:
    rt = both.duet.torch
    optimizer = rt.optim.SGD([rt.nn.Parameter(torch.ones(1))], lr=1.0)
    scheduler = rt.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    optimizer.step()
    scheduler.step()
    assert both.value(scheduler.state_dict())["last_epoch"] == 1
    probs = torch.tensor([0.25, 0.75])
    rt.manual_seed(2)
    remote = rt.distributions.Categorical(both.duet.send(probs))
    action = remote.sample()
    torch.manual_seed(2)
    local = torch.distributions.Categorical(probs)
    expected = local.sample()
    assert_same(both.value(action), expected)
    assert_same(both.value(remote.log_prob(action)), local.log_prob(expected))


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST", "KMNIST"])
def test_a_data_set_is_made_or_refused_for_what_it_lacks(both: Pair, name: str) -> None:
    pytest.importorskip("torchvision")
    rv, rt = both.duet.torchvision, both.duet.torch
    dataset = getattr(rv.datasets, name)(
        "mnist", train=False, download=True, transform=rv.transforms.ToTensor()
    )
    assert len(dataset) == len(both.value(dataset))
    loader = rt.utils.data.DataLoader(dataset, batch_size=50)
    assert len(loader) == len(both.value(loader))
    x, y = next(iter(loader))
    assert tuple(x.shape) == (50, 1, 28, 28)
    assert both.value(y).shape == (50,)


def test_grad_modes_sizes_and_named_results_are_local(both: Pair) -> None:
    rt = both.duet.torch
    assert rt.no_grad is torch.no_grad
    assert rt.autograd.grad_mode.no_grad is torch.no_grad
    assert rt.set_grad_enabled is torch.set_grad_enabled
    assert rt.Size is torch.Size
    x = both.duet.send(torch.eye(3))
    assert x.max(0)._fields == ("values", "indices")
    assert list(x.shape) == [3, 3]
    assert len(rt.Size([1, 2])) == 2


PYTHON = [n for n in names("offered") if n.startswith("python.") and n.count(".") == 2]
PYTHON.remove("python.Any.__next__")


@pytest.mark.parametrize("name", PYTHON)
def test_a_method_of_a_python_type_gives_what_python_gives(both: Pair, name: str) -> None:
    _, type_name, short = name.split(".")
    case = python_case(type_name, short)
    local, remote = case.make(), case.remote(both)
    expected = case.call(local, short)
    result = value_of(both, case.call(remote, short))
    assert both.owner.failures == []
    assert_same(result, expected)
    if type_name not in ("Any", "Iterator") and short[:3] != "__i":
        assert_same(both.value(remote), local)


def test_a_next_element_of_an_iterator_of_any_kind(both: Pair) -> None:
    iterator = both.duet._client.call("python.iter", both.duet.python.List([4, 5]))
    assert both.value(both.duet._client.call("python.Any.__next__", iterator)) == 4


@pytest.mark.parametrize("name", [n for n in names("denied") if n.startswith("python.")])
def test_formatting_is_denied(both: Pair, name: str) -> None:
    text = both.duet.python.String("{}")
    short = name.rpartition(".")[2]
    with pytest.raises((AttributeError, TypeError)):
        getattr(text, short)(SimpleNamespace())


@pytest.mark.parametrize("name", [n for n in names("local") if n.startswith("python.")])
def test_a_local_part_of_a_python_type_is_answered_or_refused_here(name: str) -> None:
    _, type_name, *short = name.split(".")
    if not short:
        assert type_name in ("Any", "Iterator", "PyPrimitive", "_SyNone")
        return
    cls = class_of(f"python.{type_name}")
    if short[0] in ("__lt__", "__le__", "__gt__", "__ge__"):
        assert getattr(cls, short[0]) is getattr(object, short[0])
    else:
        assert hasattr(cls, short[0])


def test_the_surface_lists_nothing_that_the_file_calls_denied_or_gone_by_another_name() -> None:
    refused = {line.name for line in lines() if line.state in ("denied", "gone")}
    aliases = {alias for rule in TABLE.values() for alias in rule.aliases}
    assert refused & aliases == set()
