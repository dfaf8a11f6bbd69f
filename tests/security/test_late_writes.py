"""What was made of an own list or tensor before data was written into it, and shows it later.

An object that keeps what it was given, and does not copy it, has to be as private as that has
become since. Each program makes one, writes the secret, and gives what can be read then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from duet_p2p.surface.values import unpack
from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Ref, atoms_of
from tests.security.raw_peer import RawPeer, against

SECRET = 7.5
X = Ref(-1)
T, L, S, D = "torch.Tensor.", "python.List.", "python.Dict.", "torch.utils.data."
OPT, DIST = "torch.optim.", "torch.distributions."
ENDS = {"a_graph_that_has_kept_its_operand": {T + "backward"}}
"""What fails in public by itself: the end of an iterator in private."""
PROGRAMS: dict[str, Callable[[RawPeer], list[Ref]]] = {}


def program(function: Callable[[RawPeer], list[Ref]]) -> Callable[[RawPeer], list[Ref]]:
    PROGRAMS[function.__name__] = function
    return function


def zeros(p: RawPeer, *shape: int) -> Ref:
    return p.op("torch.zeros", list(shape or (1,)))


def secret(p: RawPeer) -> Ref:
    return p.op("python.Float", X)


def whole(p: RawPeer) -> Ref:
    """7, as a whole number."""
    return p.op("python.Int", X)


def written(p: RawPeer, tensor: Ref) -> None:
    p.do(T + "fill_", tensor, X)


def nexts(p: RawPeer, iterator: Ref, count: int = 3) -> list[Ref]:
    return [p.op("python.next", iterator) for _ in range(count)]


@program
def an_iterator_over_a_list(p: RawPeer) -> list[Ref]:
    items = p.put([0.0, 0.0])
    iterator = p.op("python.iter", items)
    p.do(L + "__setitem__", items, 1, secret(p))
    p.do(L + "append", items, secret(p))
    return [*nexts(p, iterator), p.op("python.len", iterator)]


@program
def an_iterator_that_has_begun(p: RawPeer) -> list[Ref]:
    items = p.put([0.0, 0.0, 0.0])
    iterator = p.op("python.iter", items)
    first = nexts(p, iterator, 1)
    p.do(L + "__setitem__", items, 1, secret(p))
    second = nexts(p, iterator, 1)
    p.do(L + "__setitem__", items, 1, 0.0)
    return first + second + nexts(p, iterator)


@program
def an_iterator_backwards(p: RawPeer) -> list[Ref]:
    items = p.put([0.0, 0.0])
    backwards = p.op(L + "__reversed__", items)
    iterator = p.op("python.iter", backwards)
    p.do(L + "__setitem__", items, 0, secret(p))
    return [backwards, *nexts(p, iterator, 2)]


@program
def an_iterator_of_an_iterator(p: RawPeer) -> list[Ref]:
    items = p.put([0.0, 0.0])
    iterator = p.op("python.iter", p.op("python.iter", items))
    p.do(L + "__setitem__", items, 0, secret(p))
    return [*nexts(p, iterator), p.op("python.List", iterator)]


@program
def an_iterator_over_a_dict(p: RawPeer) -> list[Ref]:
    items = p.put({"a": 0.0})
    made = [p.op("python.iter", items), p.op(S + "values", items), p.op(S + "items", items)]
    p.do(S + "__setitem__", items, "a", secret(p))
    return [*made[1:], *nexts(p, made[0]), p.op(S + "__getitem__", items, "a")]


@program
def an_iterator_over_a_tensor(p: RawPeer) -> list[Ref]:
    rows = zeros(p, 2, 2)
    iterator = p.op("python.iter", rows)
    first = nexts(p, iterator, 1)
    written(p, rows)
    return first + nexts(p, iterator)


@program
def a_list_in_a_list(p: RawPeer) -> list[Ref]:
    inner = p.put([0.0])
    outer = p.op("python.List", [inner])
    kept = p.op(L + "__getitem__", outer, 0)
    both = p.op(L + "__mul__", outer, 2)
    p.do(L + "append", inner, secret(p))
    return [outer, kept, both, p.op("python.len", kept), p.op("python.len", both)]


@program
def a_part_of_a_data_set(p: RawPeer) -> list[Ref]:
    data = p.op(D + "TensorDataset", p.op("torch.arange", 10.0))
    chosen = p.put([0, 0])
    part = p.op(D + "Subset", data, chosen)
    loader = p.op(D + "DataLoader", part, batch_size=2)
    p.do(L + "__setitem__", chosen, 1, whole(p))
    return [
        p.op(D + "Dataset.__getitem__", part, 1),
        *nexts(p, p.op("python.iter", loader), 1),
        *nexts(p, p.op("python.iter", part), 2),
    ]


@program
def a_data_set_of_a_tensor(p: RawPeer) -> list[Ref]:
    own = zeros(p, 4)
    data = p.op(D + "TensorDataset", own)
    joined = p.op(D + "ConcatDataset", [data, data])
    iterator = p.op("python.iter", p.op(D + "DataLoader", joined, batch_size=2))
    first = nexts(p, iterator, 1)
    written(p, own)
    return [*first, *nexts(p, iterator), p.op(D + "Dataset.__getitem__", joined, 5)]


@program
def several_data_sets_in_a_list(p: RawPeer) -> list[Ref]:
    sets = p.op("python.List", [p.op(D + "TensorDataset", zeros(p, 2))])
    joined = p.op(D + "ConcatDataset", sets)
    p.do(L + "__setitem__", sets, 0, p.op(D + "TensorDataset", p.op(T + "expand", X, 2)))
    return [p.op(D + "Dataset.__getitem__", joined, 0), *nexts(p, p.op("python.iter", joined), 2)]


@program
def distributions(p: RawPeer) -> list[Ref]:
    own, made = p.op("torch.ones", 2), []
    for name, count in (("Normal", 2), ("Laplace", 2), ("Exponential", 1), ("Bernoulli", 1)):
        made.append(p.op(DIST + name, *[own] * count))
    made.append(p.op(DIST + "Independent", made[0], 1))
    written(p, own)
    reads = ("mean", "variance", "stddev", "entropy", "mode")
    return [p.op(f"{DIST}Distribution.{name}", law) for law in made for name in reads]


@program
def an_optimizers_groups(p: RawPeer) -> list[Ref]:
    weight = p.put(torch.zeros(1, requires_grad=True))
    group = p.put({"lr": 0.5})
    p.do(S + "__setitem__", group, "params", p.op("python.List", [weight]))
    optimizer = p.op(OPT + "SGD", p.op("python.List", [group]), lr=0.1)
    state = p.op(OPT + "Optimizer.state_dict", optimizer)
    p.do(S + "__setitem__", group, "lr", secret(p))
    p.do(T + "grad=", weight, p.put(torch.ones(1)))
    p.do(OPT + "Optimizer.step", optimizer)
    groups = p.op(OPT + "Optimizer.param_groups", optimizer)
    return [weight, state, groups, p.op(OPT + "Optimizer.state_dict", optimizer)]


@program
def a_state_that_was_loaded(p: RawPeer) -> list[Ref]:
    weight = p.put(torch.zeros(1, requires_grad=True))
    optimizer = p.op(OPT + "SGD", [weight], lr=0.1, momentum=0.9)
    p.do(T + "grad=", weight, p.put(torch.ones(1)))
    p.do(OPT + "Optimizer.step", optimizer)
    state = p.op(OPT + "Optimizer.state_dict", optimizer)
    other = p.op(OPT + "SGD", [weight], lr=0.1, momentum=0.9)
    p.do(OPT + "Optimizer.load_state_dict", other, state)
    inner = p.op(S + "__getitem__", p.op(S + "__getitem__", state, "state"), 0)
    written(p, p.op(S + "__getitem__", inner, "momentum_buffer"))
    p.do(OPT + "Optimizer.step", other)
    p.do(OPT + "Optimizer.step", optimizer)
    return [weight, *(p.op(OPT + "Optimizer.state_dict", each) for each in (other, optimizer))]


@program
def milestones_of_a_scheduler(p: RawPeer) -> list[Ref]:
    weight = p.put(torch.zeros(1, requires_grad=True))
    optimizer = p.op(OPT + "SGD", [weight], lr=1.0)
    stones = p.put([9])
    scheduler = p.op(OPT + "lr_scheduler.MultiStepLR", optimizer, stones)
    p.do(L + "__setitem__", stones, 0, whole(p))
    for _ in range(8):
        p.do(OPT + "lr_scheduler.LRScheduler.step", scheduler)
    return [p.op(OPT + "lr_scheduler.LRScheduler.get_last_lr", scheduler)]


@program
def a_gradient(p: RawPeer) -> list[Ref]:
    weight, given = p.put(torch.zeros(1, requires_grad=True)), zeros(p)
    p.do(T + "grad=", weight, given)
    written(p, given)
    return [p.op(T + "grad", weight)]


@program
def a_graph_that_has_kept_its_operand(p: RawPeer) -> list[Ref]:
    weight, factor = p.put(torch.ones(1, requires_grad=True)), zeros(p)
    product = p.op("torch.mul", weight, factor)
    written(p, p.op(T + "data", factor))
    written(p, p.op(T + "detach", factor))
    p.do(T + "backward", product)
    return [product, p.op(T + "grad", weight)]


@program
def parts_and_joints(p: RawPeer) -> list[Ref]:
    own = zeros(p, 2, 2)
    made = [
        *p.ops("torch.unbind", 2, own), p.op("torch.chunk", own, 2), p.op("torch.split", own, 1),
        p.op(T + "unsafe_split", own, 1), p.op("torch.atleast_3d", own), p.op("torch.real", own),
        p.op(T + "view", own, 4), p.op("torch.broadcast_tensors", own, own),
        p.op("torch.meshgrid", p.op(T + "view", own, 4), indexing="ij"),
        p.op(T + "contiguous", own), p.op(T + "float", own), p.op(T + "to", own, "cpu"),
        p.op("torch.nn.functional.dropout", own, 0.0), p.op("torch.nn.Parameter", own),
        p.op("torch.nn.functional.dropout", own, 0.5, False), p.op("torch.as_tensor", own),
        p.op("torch.positive", own), p.op("torch.Tensor", own),
    ]  # fmt: skip
    written(p, own)
    return made


def leaked(answer: Any) -> list[Any]:
    """Numbers of a free value that are the secret."""
    value = unpack(answer.value, None)
    numbers = [
        float(n)
        for atom in atoms_of(value)
        for n in (atom.detach().flatten().tolist() if isinstance(atom, torch.Tensor) else [atom])
        if isinstance(n, int | float)
    ]
    return [n for n in numbers if abs(n) in (SECRET, 7.0, SECRET + 1, 0.1 * SECRET)]


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_is_written_later_shows_nowhere(name: str) -> None:
    with against({"x": torch.tensor(SECRET)}) as (_, raw):
        answers = [raw.get(ref) for ref in PROGRAMS[name](raw)]
        found = [a for a in answers if isinstance(a, wire.Value) and leaked(a)]
        assert not found, found
        assert {fail.op for fail in raw.told(wire.Fail)} <= ENDS.get(name, set())


@pytest.mark.parametrize("value", [SECRET, [0.0, [SECRET]], {"a": torch.full((2, 2), SECRET)}, 7])
def test_the_secret_is_known_when_it_is_seen(value: Any) -> None:
    with against() as (_, raw):
        assert leaked(raw.get(raw.put(value)))
