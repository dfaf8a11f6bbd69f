"""Programs with places that are not there, or sizes that differ, in one of two data sets."""

from __future__ import annotations

from typing import Any

import torch

from duet_p2p.wire.values import Ref
from tests.security.failing_kit import C, N, P, Programs, few, last, weights, whole
from tests.security.neighbour_kit import DATA, F, T

PROGRAMS = Programs()
program = PROGRAMS.program


# places that are not there


@program
def a_class_that_is_not_there(p: Any) -> list[Ref]:
    w = weights(p, 4, 3)
    scores = p.op(F + "log_softmax", w, 1)
    made = [
        p.op(F + "nll_loss", scores, C),
        p.op(F + "cross_entropy", w, C),
        p.op(F + "multi_margin_loss", w, C),
        p.op(F + "nll_loss", scores, C, reduction="none"),
        p.op(F + "one_hot", C, 3),
        p.op(F + "one_hot", C),
        p.op("torch.bincount", C),
        p.op("torch.bincount", C, minlength=3),
    ]
    for loss in made[:3]:
        p.do(T + "backward", loss)
    return [*made, w, p.op(T + "grad", w)]


@program
def a_row_that_is_not_there(p: Any) -> list[Ref]:
    table = weights(p, 3, 2)
    offsets = p.put(torch.tensor([0]))
    made = [
        p.op(F + "embedding", C, table),
        p.op(F + "embedding_bag", C, table, offsets),
        p.op("torch.index_select", table, 0, C),
        p.op("torch.take", table, C),
        p.op(T + "__getitem__", table, C),
        p.op("torch.gather", table, 0, p.op(T + "reshape", C, [2, 2])),
    ]
    for rows in made:
        p.do(T + "backward", p.op("torch.sum", rows))
    return [*made, table, p.op(T + "grad", table)]


@program
def written_where_there_is_no_row(p: Any) -> list[Ref]:
    made = []
    for name, *more in (
        ("index_fill_", 0, C, 1.0),
        ("scatter_", 0, C, 1.0),
        ("index_add_", 0, C, p.put(torch.ones(4))),
        ("index_copy_", 0, C, p.put(torch.ones(4))),
        ("scatter_add_", 0, C, p.put(torch.ones(4))),
        ("put_", C, p.put(torch.ones(4))),
    ):
        own = p.put(torch.zeros(4))
        made += [p.op(T + name, own, *more), own]
    own = p.put(torch.zeros(4))
    p.do(T + "__setitem__", own, C, 3.0)
    return [*made, own]


@program
def a_mask_with_more_places_than_numbers(p: Any) -> list[Ref]:
    own, mask = p.put(torch.zeros(4)), p.op(T + "__gt__", N, 0.5)
    made = [
        p.op("torch.masked_scatter", own, mask, p.put(torch.ones(3))),
        p.op("torch.masked_select", own, mask),
        p.op(T + "masked_scatter_", own, mask, p.put(torch.ones(3))),
    ]
    p.do(T + "__setitem__", own, mask, p.put(torch.ones(3)))
    return [*made, own]


@program
def a_private_axis(p: Any) -> list[Ref]:
    axis = p.op("python.Int.__sub__", whole(p), 1)  # 0 or 8
    own = weights(p, 2, 2)
    made = [
        p.op(name, own, axis)
        for name in (
            "torch.sum",
            "torch.unsqueeze",
            "torch.cumsum",
            "torch.softmax",
            "torch.squeeze",
            "torch.flip",
            "torch.argmax",
        )
    ]
    return [*made, own, p.op(T + "size", own, axis)]


# sizes that values decide


@program
def split_and_repeated_by_private_sizes(p: Any) -> list[Ref]:
    own, one = weights(p, 4), whole(p)
    made = [
        p.op("torch.split", own, one),
        p.op("torch.chunk", own, one),
        p.op("torch.tensor_split", own, one),
        p.op("torch.repeat_interleave", own, C),
        p.op("torch.repeat_interleave", own, one),
        p.op("torch.tensor_split", own, C),
        p.op(T + "narrow", own, 0, 0, one),
        p.op(T + "unfold", own, 0, one, 1),
    ]
    return [*made, own]


@program
def a_norm_over_hidden_records(p: Any) -> list[Ref]:
    """A batch norm wants more than one value, and a loader, a cat and a sum take what there is."""
    mean, variance = p.put(torch.zeros(1)), p.put(torch.ones(1))
    bad = p.op(T + "__getitem__", N, p.op(T + "__gt__", N, 2.5))  # two, or one
    column = p.op("torch.unsqueeze", bad, 1)
    made = [
        p.op(F + "batch_norm", column, mean, variance, None, None, True),
        p.op("torch.cat", [bad, p.put(torch.ones(2))]),
        p.op("torch.stack", [bad, p.put(torch.ones(2))]),
        p.op("torch.add", bad, p.put(torch.ones(2))),
        p.op("torch.std", bad),
        p.op("torch.median", bad),
    ]
    return [*made, mean, variance]


@program
def a_loader_over_hidden_records(p: Any) -> list[Ref]:
    data = p.op(DATA + "TensorDataset", few(p), few(p))
    mixed = p.op(DATA + "TensorDataset", few(p), p.put(torch.ones(4)))
    made: list[Ref] = [data, mixed]
    for source in (data, mixed):
        loader = p.op(DATA + "DataLoader", source, batch_size=3, drop_last=True)
        passing = p.op("python.iter", loader)
        made += [p.op("python.len", loader), *[p.op("python.next", passing) for _ in range(2)]]
    parts = p.op(DATA + "random_split", data, [2, 2])
    made += [parts, p.op("python.len", parts), p.op("torch.rand", 1)]
    p.do("torch.manual_seed", 5)
    return made


@program
def a_batch_size_of_no_size(p: Any) -> list[Ref]:
    data = p.op(DATA + "TensorDataset", p.put(torch.arange(4.0)))
    size = p.op("python.Int.__sub__", whole(p), 1)  # 0 or 8
    loader = p.op(DATA + "DataLoader", data, batch_size=size)
    subset = p.op(DATA + "Subset", data, [0, whole(p)])
    passing = p.op("python.iter", p.op(DATA + "DataLoader", subset, batch_size=2))
    return [
        loader,
        p.op("python.len", loader),
        subset,
        p.op("python.next", passing),
        p.op("python.next", passing),
    ]


@program
def unique_and_counted(p: Any) -> list[Ref]:
    return [
        p.op("torch.unique", C),
        p.op("torch.unique_consecutive", C),
        p.op("torch.nonzero", C),
        p.op("torch.histc", N, 3),
        *p.ops("torch.histogram", 2, N, 3),
        p.op("torch.bucketize", N, N),
        p.op("torch.searchsorted", N, N),
        p.op("torch.quantile", N, last(p, P)),
        p.op("torch.quantile", N, p.op("python.Float", last(p, P))),
        p.op("torch.combinations", few(p)),
        p.op("torch.cartesian_prod", few(p), few(p)),
    ]
