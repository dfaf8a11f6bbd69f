"""Programs of data sets and loaders that a number or a length of one of two data sets breaks."""

from __future__ import annotations

from typing import Any

import torch

from duet_p2p.wire.values import Ref
from tests.security.failing_kit import C, L, M, N, P, Programs, few, last, weights, whole
from tests.security.neighbour_kit import DATA, OPT, F, T

PROGRAMS = Programs()
program = PROGRAMS.program
V = "torchvision.transforms."


def small(p: Any) -> Ref:
    """0 in one of the sets, 8 in the other."""
    return p.op("python.Int.__sub__", whole(p), 1)


def tensors(p: Any, *given: Ref) -> Ref:
    return p.op(DATA + "TensorDataset", *given)


def own(p: Any, length: int = 4) -> Ref:
    return tensors(p, p.put(torch.arange(float(length))))


def some(p: Any, source: Ref, count: int) -> list[Ref]:
    """Whatever this many calls of `next` give, and the iterator."""
    passing = p.op("python.iter", source)
    return [passing, *[p.op("python.next", passing) for _ in range(count)]]


def batches(p: Any, data: Ref, count: int = 3, **settings: Any) -> list[Ref]:
    loader = p.op(DATA + "DataLoader", data, **settings)
    given = p.op(DATA + "DataLoader.dataset", loader)
    return [loader, given, p.op(DATA + "DataLoader.batch_size", loader), *some(p, loader, count)]


def lengths(p: Any, refs: list[Ref]) -> list[Ref]:
    return [*refs, *[p.op("python.len", ref) for ref in refs], p.op("torch.rand", 1)]


# records that values chose


@program
def batches_that_may_be_missing_put_into_containers(p: Any) -> list[Ref]:
    one, other = batches(p, tensors(p, few(p)), 2, batch_size=3)[-2:]
    boxes = [p.put([1]), p.put([1]), p.put({1: 2})]
    p.do("python.List.append", boxes[0], other)
    p.do("python.List.insert", boxes[1], 0, other)
    p.do("python.Dict.__setitem__", boxes[2], 3, other)
    copies = [p.op("python.List", other), p.op("python.Tuple", other)]
    part = p.op("python.List.__getitem__", other, 0)
    return [*lengths(p, [one, other, *boxes, *copies]), part, p.op("python.collect", part)]


@program
def items_that_may_be_missing(p: Any) -> list[Ref]:
    data = tensors(p, few(p))
    joined = p.op(DATA + "ConcatDataset", [data, own(p, 1)])
    _, *items = [*some(p, data, 4), *some(p, joined, 5)[1:]]
    items += [p.op(DATA + "Dataset.__getitem__", data, n) for n in (0, 3, whole(p))]
    items.append(p.op(DATA + "Dataset.__getitem__", own(p), whole(p)))
    parts = [p.op("python.Tuple.__getitem__", item, 0) for item in items]
    return [*lengths(p, items), *parts]


@program
def parts_of_data_sets_that_may_be_missing(p: Any) -> list[Ref]:
    data, whole_set = tensors(p, few(p)), own(p)
    made = [data, p.op(DATA + "Subset", data, [0, 1, 3])]
    made += [p.op(DATA + "Subset", whole_set, [0, whole(p)]), p.op(DATA + "Subset", whole_set, C)]
    made += [p.op(DATA + "ConcatDataset", [whole_set, part]) for part in made[1:]]
    for source, sizes in ((data, [1, 2]), (own(p, 10), [whole(p), 9])):
        parts = p.op(DATA + "random_split", source, sizes)
        made += [parts, p.op("python.List.__getitem__", parts, 0)]
    box = p.put([1])
    p.do("python.List.append", box, made[-2])
    listed = [p.op("python.List", ref) for ref in made]
    return lengths(p, [*made, box, *listed])


@program
def loaders_over_what_may_be_missing(p: Any) -> list[Ref]:
    cut = p.op(DATA + "Subset", own(p), [0, whole(p)])
    joined = p.op(DATA + "ConcatDataset", [own(p), cut])
    made = batches(p, joined, batch_size=5) + batches(p, cut, shuffle=True)
    return lengths(p, made)


@program
def orders_with_a_place_that_is_not_there(p: Any) -> list[Ref]:
    made: list[Ref] = []
    for settings in (
        {"batch_size": small(p)},
        {"order": ("list", [0, whole(p)])},
        {"order": ("subset", C)},
        {"order": ("weighted", [1.0, last(p, P)], 2, True)},
        {"order": ("weighted", P, 2, True)},
        {"order": ("random", whole(p), False, None)},
        {"batches": (("sequential", None), small(p), False)},
    ):
        made += batches(p, own(p), 2, **settings)
    return lengths(p, made)


@program
def own_records_behind_those_that_may_be_missing(p: Any) -> list[Ref]:
    """How many there are decides which item is a view of an own tensor."""
    made: list[Ref] = []
    for count in (3, 4, 5):
        for is_next in (True, False):
            mine = p.put(torch.arange(1.0))
            data = p.op(DATA + "ConcatDataset", [tensors(p, few(p)), tensors(p, mine)])
            if is_next:
                items = some(p, data, count)[1:]
            else:
                items = [p.op(DATA + "Dataset.__getitem__", data, count - 1)]
            part = p.op("python.Tuple.__getitem__", items[-1], 0)
            p.do(T + "add_", mine, last(p, P))
            made += [mine, part, items[-1]]
    return made


@program
def loaders_with_batches_of_their_own_over_what_may_be_missing(p: Any) -> list[Ref]:
    """They have no size of batches, whether they are there or not."""
    made: list[Ref] = []
    order = ("sequential", None)
    for data in (tensors(p, few(p)), tensors(p, p.op(L + "inv", M)), own(p)):
        made += batches(p, data, 2, batches=(order, 2, False))
        made += batches(p, data, 2, batches=(order, small(p), True))
        made += batches(p, data, 2, batch_size=2)
        made += batches(p, data, 2, batches=None, batch_size=2)
    return lengths(p, made)


@program
def loaders_that_may_have_batches_of_their_own(p: Any) -> list[Ref]:
    """A private number chooses whether they are given any."""
    made: list[Ref] = []
    is_large = p.op("python.Int.__floordiv__", whole(p), 9)
    for parts in ([None, (("sequential", None), 2, False)], [(("sequential", None), 2, True), 1]):
        chosen = p.op("python.List.__getitem__", p.put(parts), is_large)
        made += batches(p, own(p), 2, batches=chosen)
    return lengths(p, made)


@program
def data_sets_of_results_that_failed(p: Any) -> list[Ref]:
    made: list[Ref] = []
    for source in (
        p.op(L + "inv", M),
        p.op("torch.linspace", 0.0, 1.0, whole(p)),
        p.op(T + "__getitem__", N, whole(p)),
    ):
        data = tensors(p, source)
        part = p.op(DATA + "Subset", data, [0, 1])
        split = p.op(DATA + "random_split", data, [1, 2])
        made += batches(p, data, batch_size=2)
        made += [data, part, split, p.op("python.List.__getitem__", split, 0)]
        made += some(p, p.op(DATA + "ConcatDataset", [data, part]), 3)
    return lengths(p, made)


@program
def trained_on_batches_that_may_be_missing(p: Any) -> list[Ref]:
    w, made = weights(p, 1), list[Ref]()
    optimizer = p.op("torch.optim.Adam", [w], lr=0.1)
    for batch in batches(p, tensors(p, few(p), few(p)), batch_size=2, shuffle=True)[-3:]:
        x, y = [p.op("python.List.__getitem__", batch, place) for place in (0, 1)]
        p.do(OPT + "zero_grad", optimizer)
        loss = p.op(F + "mse_loss", p.op("torch.mul", x, w), y)
        p.do(T + "backward", loss)
        p.do(OPT + "step", optimizer)
        made += [batch, x, loss, p.op(T + "grad", w)]
    return [*made, w, p.op(OPT + "state_dict", optimizer), p.op("torch.rand", 1)]


# transforms


@program
def transforms_of_numbers_that_do_not_fit(p: Any) -> list[Ref]:
    spread = p.op("torch.diagonal", p.op(T + "__getitem__", M, (slice(2, 3), slice(2, 3))))
    made: list[Ref] = []
    for name, *given in (
        ("Normalize", [0.5], p.op("python.Float", spread)),
        ("Normalize", [0.5], spread),
        ("Normalize", spread, [0.5]),
        ("CenterCrop", small(p)),
        ("CenterCrop", p.op("torch.mul", p.op(T + "__getitem__", C, slice(2, 4)), 5)),
        ("GaussianBlur", small(p)),
        ("RandomCrop", p.op("python.Int.__mul__", whole(p), 5)),
        ("RandomApply", [p.op(V + "CenterCrop", 14)], p.op("python.Float", last(p, P))),
    ):
        step = p.op(V + name, *given)
        steps = p.op(V + "Compose", [p.op(V + "ToTensor"), step])
        data = p.op("torchvision.datasets.MNIST", "digits", transform=steps)
        made += [step, steps, data, *batches(p, data, batch_size=6), *some(p, data, 1)]
        made.append(p.op(DATA + "Dataset.__getitem__", data, 0))
    return lengths(p, made)


@program
def transforms_of_what_is_written_into_later(p: Any) -> list[Ref]:
    spread = p.op("torch.diagonal", p.op(T + "__getitem__", M, (slice(2, 3), slice(2, 3))))
    made: list[Ref] = []
    for own_spread in (p.put(torch.ones(1)), p.put([1.0])):
        steps = [p.op(V + "ToTensor"), p.op(V + "Normalize", [0.5], own_spread)]
        steps = p.op(V + "Compose", steps)
        data = p.op("torchvision.datasets.MNIST", "digits", transform=steps)
        p.do(T + "mul_", own_spread, spread)
        p.do("python.List.__setitem__", own_spread, 0, p.op("python.Float", spread))
        made += batches(p, data, batch_size=6, shuffle=True)
    return lengths(p, made)


@program
def batches_of_a_loader_that_may_be_missing_over_what_is_trained(p: Any) -> list[Ref]:
    """They are copies: neither what they are made of nor a number beside it is one of them."""
    w = weights(p, 4, 2)
    size = p.op("torch.sum", p.op("torch.mul", last(p, N), 0.5))
    loader = p.op(DATA + "DataLoader", p.op(DATA + "TensorDataset", w), batch_size=size)
    batches = p.op("python.iter", loader)
    made = [w, size, *[p.op("python.next", batches) for _ in range(2)]]
    return [*made, p.op("python.Complex", size, 0)]
