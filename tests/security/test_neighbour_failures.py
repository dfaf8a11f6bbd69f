"""Two data sets that differ in one record's value, on which operations fail or not, and what shows.

Each program is one thing that torch or Python refuses, or does in another way, for the value in one
of the sets. What it gives is then asked for, looked at and written over in every way that needs no
decision. All that leaves the engine's side for the partner is compared, and which answers had to
wait for a tick.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Dtype, Ref
from tests.security.neighbour_kit import DATA, OPT, F, T, planned
from tests.security.test_soundness import Seen, shown

M, P, C, N = map(Ref, (-1, -2, -3, -4))
L, D, SCHED = "torch.linalg.", "torch.distributions.", "torch.optim.lr_scheduler."
ONE = (
    torch.diag(torch.tensor([2.0, 3.0, 4.0])),
    torch.tensor([0.2, 0.3, 0.1, 0.4]),
    torch.tensor([0, 1, 2, 1]),
    torch.tensor([1.0, 2.0, 3.0, 4.0]),
)
OTHER = (
    torch.diag(torch.tensor([2.0, 3.0, 0.0])),
    torch.tensor([0.2, 0.3, 0.1, -0.4]),
    torch.tensor([0, 1, 2, 9]),
    torch.tensor([1.0, 2.0, 3.0, float("nan")]),
)
"""A matrix that is singular, a chance that is none, a class too large, a number that is none."""
Program = Callable[[Any], list[Ref]]
PROGRAMS: dict[str, Program] = {}


def program(function: Program) -> Program:
    PROGRAMS[function.__name__] = function
    return function


def last(p: Any, of: Ref) -> Ref:
    """The one number that differs."""
    return p.op(T + "__getitem__", of, -1)


def whole(p: Any) -> Ref:
    """1 in one of the sets, 9 in the other."""
    return p.op("python.Int", last(p, C))


def broken(p: Any) -> Ref:
    """4.0 in one of the sets, no number in the other."""
    return p.op("python.Float", last(p, N))


def weights(p: Any, *shape: int) -> Ref:
    return p.put(torch.ones(*shape, requires_grad=True))


def few(p: Any) -> Ref:
    """Four numbers of one of the sets, three of the other."""
    return p.op(T + "__getitem__", N, p.op(T + "__gt__", N, 0.5))


# linear algebra


def _of_matrix(name: str, *more: Any, outs: int = 1) -> None:
    def of_matrix(p: Any) -> list[Ref]:
        given = [m(p) if callable(m) else m for m in more]
        return p.ops(L + name, outs, M, *given)

    PROGRAMS[f"of_a_singular_matrix_{name}_{len(more)}_{outs}"] = of_matrix


def _column(p: Any) -> Ref:
    return p.put(torch.ones(3, 1, requires_grad=True))


_of_matrix("inv")
_of_matrix("cholesky")
_of_matrix("solve", _column)
_of_matrix("tensorsolve", lambda p: p.put(torch.ones(3)))
_of_matrix("matrix_power", -2)
_of_matrix("lu_factor", outs=2)
_of_matrix("lu_factor")
_of_matrix("ldl_factor", outs=2)
_of_matrix("inv_ex", outs=2)
_of_matrix("slogdet", outs=2)
_of_matrix("eigh", outs=2)
_of_matrix("svd", outs=3)
_of_matrix("lstsq", _column, outs=4)
_of_matrix("matrix_rank")
_of_matrix("pinv")


@program
def an_inverse_written_over_through_its_views(p: Any) -> list[Ref]:
    """It lies by columns, and what stood in for it did not: only that one was all written over."""
    made = []
    for name, *more in (("reshape", [-1]), ("t",), ("contiguous",), ("flatten",), ("detach",)):
        inverse = p.op(L + "inv", M)
        view = p.op(T + name, inverse, *more)
        p.do(T + "zero_", view)
        made += [inverse, view]
    return made


@program
def an_inverse_into_an_own_tensor(p: Any) -> list[Ref]:
    right, wrong = p.put(torch.zeros(3, 3)), p.put(torch.zeros(0))
    return [p.op(L + "inv", M, out=right), right, p.op(L + "inv", M, out=wrong), wrong]


@program
def a_solution_with_a_graph(p: Any) -> list[Ref]:
    right, left = weights(p, 3, 1), weights(p, 3, 3)
    solved = p.op(L + "solve", M, right)
    p.do(T + "backward", p.op("torch.sum", solved))
    p.do(T + "backward", p.op("torch.sum", p.op(L + "inv", p.op("torch.mul", left, M))))
    return [solved, p.op(T + "grad", right), p.op(T + "grad", left)]


@program
def a_gradient_behind_a_failure_zeroed(p: Any) -> list[Ref]:
    made = []
    for shape in ((3, 1), (3, 3)):
        right = weights(p, *shape)
        p.do(T + "backward", p.op("torch.sum", p.op(L + "solve", M, right)))
        grad = p.op(T + "grad", right)
        p.do(T + "zero_", grad)
        made += [grad, p.op("torch.sum", grad)]
    return made


@program
def no_numbers_decomposed(p: Any) -> list[Ref]:
    square = p.op(T + "reshape", N, [2, 2])
    return [
        *p.ops(L + "eigh", 2, square),
        *p.ops(L + "svd", 3, square),
        p.op(L + "svdvals", square),
        *p.ops(L + "eig", 2, square),
        p.op(L + "cond", square),
    ]


@program
def a_cholesky_in_steps(p: Any) -> list[Ref]:
    factor = p.op(L + "cholesky", M)
    return [
        factor,
        p.op("torch.cholesky_inverse", factor),
        p.op("torch.cholesky_solve", p.put(torch.ones(3, 1)), factor),
    ]


# chances and random numbers


@program
def drawn_by_a_chance(p: Any) -> list[Ref]:
    made = [
        p.op("torch.multinomial", P, 2),
        p.op("torch.bernoulli", P),
        p.op("torch.normal", 0.0, P),
        p.op("torch.poisson", P),
        p.op("torch.rand", 1),
    ]
    p.do("torch.manual_seed", 5)
    return made


@program
def drawn_in_place_by_a_chance(p: Any) -> list[Ref]:
    own = p.put(torch.zeros(4))
    p.do(T + "bernoulli_", own, P)
    chance = p.op("python.Float", last(p, P))
    other = p.put(torch.zeros(4))
    p.do(T + "bernoulli_", other, chance)
    third = p.put(torch.zeros(4))
    p.do(T + "exponential_", third, chance)
    made = [own, other, third, p.op("torch.rand", 1)]
    p.do("torch.manual_seed", 5)
    return made


@program
def a_range_of_random_numbers(p: Any) -> list[Ref]:
    high = p.op("python.Int.__sub__", whole(p), 1)  # 0 or 8
    made = [
        p.op("torch.randint", high, [3]),
        p.op("torch.randperm", high),
        p.op("torch.rand", high),
        p.op("torch.randint", 5, [2]),
    ]
    p.do("torch.manual_seed", 5)
    return made


@program
def a_dropout_by_a_chance(p: Any) -> list[Ref]:
    own = weights(p, 4)
    made = [p.op(F + "dropout", own, p.op("python.Float", last(p, P))), own, p.op("torch.rand", 1)]
    p.do("torch.manual_seed", 5)
    return made


# distributions look at their arguments


def _distribution(name: str, *given: Any, size: int = 4) -> None:
    def of_distribution(p: Any) -> list[Ref]:
        made = p.op(D + name, *[g(p) if callable(g) else g for g in given])
        facts = [p.op(D + f"Distribution.{f}", made) for f in ("sample", "mean", "entropy")]
        facts.append(p.op(D + "Distribution.log_prob", made, p.put(torch.ones(size))))
        facts.append(p.op(D + "kl_divergence", made, made))
        facts.append(p.op("torch.rand", 1))
        p.do("torch.manual_seed", 5)
        return [made, *facts]

    PROGRAMS[f"a_distribution_{name}"] = of_distribution


_distribution("Normal", 0.0, P)
_distribution("Categorical", P)
_distribution("Bernoulli", P)
_distribution("Gamma", P, P)
_distribution("Dirichlet", P)
_distribution("Poisson", P)
_distribution("Uniform", 0.0, P)
_distribution("MultivariateNormal", lambda p: p.put(torch.zeros(3)), M, size=3)


@program
def a_value_out_of_the_support(p: Any) -> list[Ref]:
    bernoulli = p.op(D + "Bernoulli", p.put(torch.full((4,), 0.5)))
    made = [p.op(D + "Distribution.log_prob", bernoulli, p.op(T + "float", C))]
    categorical = p.op(D + "Categorical", p.put(torch.ones(3)))
    return [*made, p.op(D + "Distribution.log_prob", categorical, C), bernoulli, categorical]


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


# Python


@program
def no_number_as_an_int(p: Any) -> list[Ref]:
    number = p.op("python.Int", last(p, N))
    again = p.op("python.Int", broken(p))
    added = p.op("python.Int.__add__", again, 1)
    own = p.op("torch.mul", p.put(torch.ones(2, dtype=torch.int64)), added)
    return [
        number,
        again,
        added,
        own,
        p.op("python.Range", again),
        p.op("python.Bool", again),
        p.op("python.Int.bit_length", again),
        p.op("python.Float.as_integer_ratio", broken(p)),
        p.op("python.Float.is_integer", broken(p)),
    ]


@program
def divided_by_nothing(p: Any) -> list[Ref]:
    zero = p.op("python.Int", p.op(T + "__getitem__", M, (2, 2)))  # 4 or 0
    made = [
        p.op(f"python.Int.{name}", 7, zero) for name in ("__floordiv__", "__truediv__", "__mod__")
    ]
    both = p.op("python.Int.__divmod__", 7, zero)
    first = p.op("python.Tuple.__getitem__", both, 0)
    pair = p.ops("python.Int.__divmod__", 2, 7, zero)
    shifted = p.op("python.Int.__lshift__", 1, p.op("python.Int.__sub__", zero, 1))
    power = p.op("python.Int.__pow__", zero, -1)
    return [
        *made,
        both,
        first,
        *pair,
        p.op("python.len", both),
        p.op("python.collect", both),
        p.op("torch.mul", p.put(torch.ones(2)), first),
        shifted,
        power,
    ]


@program
def a_text_of_private_numbers(p: Any) -> list[Ref]:
    text = p.op("python.String", broken(p))  # "4.0" or "nan"
    place = p.op("python.String.index", text, ".")
    return [
        text,
        place,
        p.op("python.String.find", text, "."),
        p.op("python.String.split", text, "."),
        p.op("python.len", text),
        p.op("python.Int", p.op("python.String.__getitem__", text, 0)),
        p.op("python.Float", text),
        p.op("python.String.partition", "a4.0b", text),
        p.op("python.String.join", text, ["a", "b"]),
        p.op("python.String.encode", text),
        p.op("python.String.__getitem__", "abcd", place),
        p.op("python.Set", text),
        p.op("python.String.zfill", text, place),
        p.op("python.String.isdigit", text),
    ]


@program
def an_empty_separator(p: Any) -> list[Ref]:
    text = p.op("python.String", whole(p))
    empty = p.op("python.String.strip", text, "9")  # "1" or ""
    made = [
        p.op(f"python.String.{name}", "a1b", empty) for name in ("partition", "rpartition", "split")
    ]
    parts = p.ops("python.String.partition", 3, "a1b", empty)
    return [empty, *made, *parts, *[p.op("python.len", ref) for ref in made]]


@program
def a_key_that_is_not_there(p: Any) -> list[Ref]:
    box, listed = p.put({0: 1, 1: 2}), p.put([5, 6])
    key = whole(p)
    made = [
        p.op("python.Dict.__getitem__", box, key),
        p.op("python.Dict.pop", box, key),
        p.op("python.List.__getitem__", listed, key),
        p.op("python.List.pop", listed, key),
        p.op("python.List.index", listed, key),
        p.op("python.Dict.__contains__", box, key),
    ]
    known = p.put({3, 4})
    p.do("python.Set.remove", known, key)
    p.do("python.List.__delitem__", listed, key)
    p.do("python.List.__setitem__", listed, key, 7)
    p.do("python.Dict.__delitem__", box, key)
    return [*made, box, listed, known, *[p.op("python.len", ref) for ref in (box, listed, known)]]


@program
def a_pop_from_what_values_emptied(p: Any) -> list[Ref]:
    numbers = p.op("python.List", p.op("python.Range", p.op("python.Int.__sub__", whole(p), 1)))
    made = [p.op("python.List.pop", numbers), numbers, p.op("python.len", numbers)]
    going = p.op("python.iter", numbers)
    made += [p.op("python.next", going), p.op("python.next", going)]
    kept = p.op("python.Set", numbers)
    return [*made, p.op("python.Set.pop", kept), kept]


@program
def a_list_of_failures_and_numbers(p: Any) -> list[Ref]:
    listed = p.op("python.collect", p.op("python.Int", broken(p)), 3, p.op(L + "inv", M))
    p.do("python.List.append", listed, 7)
    p.do("python.List.insert", listed, 0, p.op("python.Int", broken(p)))
    stacked = p.op("torch.stack", [p.op(L + "inv", M), p.put(torch.ones(3, 3))])
    made = [p.op("python.List.__getitem__", listed, n) for n in range(4)]
    return [
        listed,
        *made,
        p.op("python.len", listed),
        stacked,
        p.op("torch.tensor", [broken(p), 1.0]),
        p.op("torch.tensor", [p.op("python.Int", broken(p)), 1]),
        p.op("python.List.count", listed, 3),
        p.op("python.List.__contains__", listed, 3),
    ]


@program
def sorted_and_compared_with_no_number(p: Any) -> list[Ref]:
    listed = p.op("python.collect", broken(p), 2.0, 3.0)
    p.do("python.List.sort", listed)
    same = p.op("python.List.__eq__", listed, [2.0, 3.0, 4.0])
    return [
        listed,
        p.op("python.List.__getitem__", listed, 0),
        same,
        p.op("torch.equal", N, p.put(torch.tensor([1.0, 2.0, 3.0, 4.0]))),
        p.op("torch.allclose", N, N),
        p.op("torch.is_nonzero", last(p, P)),
        p.op("torch.sort", N),
        p.op("torch.argsort", N),
    ]


@program
def a_complex_root(p: Any) -> list[Ref]:
    chance = p.op("python.Float", last(p, P))
    root = p.op("python.Float.__pow__", chance, 0.5)
    return [
        root,
        p.op("python.Complex", chance, chance),
        p.op("torch.mul", p.put(torch.ones(2)), root),
        p.op("torch.sqrt", P),
        p.op("torch.complex", P, N),
        p.op("torch.polar", P, N),
        p.op(
            "python.Complex.__truediv__",
            p.op("python.Complex", 1.0, 0.0),
            p.op("python.Complex", p.op(T + "__getitem__", M, (2, 2))),
        ),
    ]


# numbers that settings do not take


@program
def a_learning_rate_that_is_none(p: Any) -> list[Ref]:
    made: list[Ref] = []
    rate = p.op("python.Float", last(p, P))
    for name, settings in (
        ("SGD", {"lr": rate}),
        ("Adam", {"lr": rate}),
        ("Adam", {"lr": 0.1, "betas": [0.9, rate]}),
        ("RMSprop", {"lr": 0.1, "eps": rate}),
        ("LBFGS", {"lr": rate}),
    ):
        w = weights(p, 2)
        optimizer = p.op(f"torch.optim.{name}", [w], **settings)
        p.do(T + "backward", p.op("torch.sum", p.op("torch.square", w)))
        p.do(OPT + "step", optimizer)
        p.do(OPT + "zero_grad", optimizer)
        state = p.op(OPT + "state_dict", optimizer)
        scheduler = p.op(SCHED + "StepLR", optimizer, 1)
        p.do(SCHED + "LRScheduler.step", scheduler)
        made += [
            w,
            p.op(T + "grad", w),
            optimizer,
            state,
            p.op("python.len", state),
            p.op(OPT + "param_groups", optimizer),
            scheduler,
            p.op(SCHED + "LRScheduler.last_epoch", scheduler),
        ]
    return made


@program
def a_loss_that_is_no_number_trained_on(p: Any) -> list[Ref]:
    made: list[Ref] = []
    for name in ("SGD", "Adam", "Adagrad"):
        w = weights(p, 4)
        optimizer = p.op(f"torch.optim.{name}", [w], lr=0.1)
        plateau = p.op(SCHED + "ReduceLROnPlateau", optimizer, patience=0)
        for _ in range(2):
            loss = p.op("torch.dot", w, N)
            p.do(OPT + "zero_grad", optimizer)
            p.do(T + "backward", loss)
            p.ops("torch.nn.utils.clip_grad_norm_", 1, [w], 1.0, 2.0, True)
            p.do(OPT + "step", optimizer)
            p.do(SCHED + "LRScheduler.step", plateau, loss)
        state = p.op(OPT + "state_dict", optimizer)
        made += [
            w,
            p.op(T + "grad", w),
            state,
            p.op("python.Dict.__getitem__", state, "state"),
            p.op(SCHED + "LRScheduler.state_dict", plateau),
            p.op(SCHED + "LRScheduler.last_epoch", plateau),
            p.op(SCHED + "LRScheduler.get_last_lr", plateau),
        ]
    return made


@program
def a_closure_that_fails(p: Any) -> list[Ref]:
    w = weights(p, 3, 1)
    optimizer = p.op("torch.optim.LBFGS", [w], lr=0.5, max_iter=3)
    steps = (
        wire.PlanStep(OPT + "zero_grad", (), (Ref(3),), {}, "g"),
        wire.PlanStep(L + "solve", (4,), (Ref(2), Ref(1)), {}, "g"),
        wire.PlanStep("torch.sum", (5,), (Ref(4),), {}, "g"),
        wire.PlanStep(T + "backward", (), (Ref(5),), {}, "g"),
    )
    plan, out = p.new_id(), p.new_id()
    p.send(wire.DefinePlan(plan, "p", 0, (w.id, M.id, optimizer.id), steps, (5,), True))
    p.send(wire.RunClosure(plan, optimizer.id, out))
    state = p.op(OPT + "state_dict", optimizer)
    inner = p.op("python.Dict.__getitem__", state, "state")
    return [Ref(out), w, p.op(T + "grad", w), optimizer, state, inner, p.op("python.len", inner)]


@program
def settings_out_of_range(p: Any) -> list[Ref]:
    chance, one = p.op("python.Float", last(p, P)), whole(p)
    image = p.put(torch.ones(1, 1, 4, 4, requires_grad=True))
    kernel = p.put(torch.ones(1, 1, 2, 2, requires_grad=True))
    return [
        p.op(F + "conv2d", image, kernel, None, one),
        p.op(F + "max_pool2d", image, one),
        p.op(F + "avg_pool2d", image, one),
        p.op(F + "interpolate", image, scale_factor=chance),
        p.op(F + "group_norm", image, one),
        p.op(F + "pixel_shuffle", image, one),
        p.op("torch.linspace", 0.0, 1.0, one),
        p.op("torch.full", [2], chance, dtype=Dtype("uint8")),
        p.op("torch.arange", 0, 3, chance),
        p.op("torch.eye", p.op("python.Int.__sub__", one, 2)),
        p.op(F + "normalize", image, chance),
        p.op("torch.renorm", M, chance, 0, 1.0),
        p.op("torch.clamp", image, chance, 0.1),
        p.op(F + "hardshrink", image, chance),
        p.op(F + "pairwise_distance", M, M, chance),
        image,
        kernel,
    ]


@program
def a_fake_quantization(p: Any) -> list[Ref]:
    scale, zero = p.op("python.Float", last(p, P)), p.op("python.Int.__mul__", whole(p), 100)
    own = weights(p, 4)
    return [
        p.op("torch.fake_quantize_per_tensor_affine", own, scale, zero, 0, 255),
        p.op("torch.fake_quantize_per_channel_affine", own, P, p.op(T + "int", C), 0, 0, 255),
        own,
    ]


@program
def converted_types(p: Any) -> list[Ref]:
    return [p.op(T + name, N) for name in ("int", "long", "bool", "byte", "to_sparse", "char")] + [
        p.op("torch.result_type", last(p, N), 1),
        p.op(T + "item", last(p, N)),
        p.op("torch.scalar_tensor", broken(p)),
        p.op(T + "new_full", N, [2], p.op("python.Int", broken(p))),
    ]


# graphs


@program
def graphs_behind_failures(p: Any) -> list[Ref]:
    w = weights(p, 3, 3)
    inner = p.op(L + "inv", p.op("torch.mul", w, M))
    p.do(T + "retain_grad", inner)
    loss = p.op("torch.sum", inner)
    grads = p.ops("torch.autograd.grad", 1, loss, [w], retain_graph=True)
    p.do(T + "backward", loss)
    p.do(T + "backward", loss)
    second = p.op("torch.mean", inner)
    p.do(T + "backward", second)
    mixed = p.op("torch.where", p.op(T + "__gt__", M, 1.0), w, inner)
    return [
        inner,
        loss,
        *grads,
        p.op(T + "grad", w),
        p.op(T + "grad", inner),
        second,
        mixed,
        p.op(T + "is_leaf", inner),
        p.op(T + "requires_grad", mixed),
        w,
    ]


@program
def an_own_tensor_in_a_graph_after_a_failed_write(p: Any) -> list[Ref]:
    w, own = weights(p, 3, 3), p.put(torch.zeros(3, 3))
    squared = p.op("torch.square", own)
    p.do(T + "add_", own, p.op(L + "inv", p.op("torch.mul", w, M)))
    p.do(T + "mul_", own, w)
    p.do(T + "backward", p.op("torch.sum", own))
    return [own, squared, p.op(T + "grad", w), p.op(T + "requires_grad", own)]


@program
def written_after_it_was_saved(p: Any) -> list[Ref]:
    """Whether a later write breaks a graph depends on what failed only if something shows it."""
    w, own = weights(p, 3, 3), p.put(torch.ones(3, 3))
    loss = p.op("torch.sum", p.op("torch.mul", w, own))
    p.do(L + "inv", M, out=own)
    p.do(T + "add_", own, p.op(L + "cholesky", M))
    p.do(T + "backward", loss)
    return [loss, own, p.op(T + "grad", w)]


# plans


def _solving(*more: wire.PlanStep) -> tuple[wire.PlanStep, ...]:
    return (
        wire.PlanStep(L + "solve", (4,), (Ref(1), Ref(2)), {}, "g"),
        wire.PlanStep("torch.sum", (5,), (Ref(4),), {}, "g"),
        *more,
    )


@program
def a_plan_that_fails_run_after_run(p: Any) -> list[Ref]:
    """From some run on it would be played."""
    w = weights(p, 3, 1)
    optimizer = p.op("torch.optim.SGD", [w], lr=0.1)
    steps = _solving(
        wire.PlanStep(T + "backward", (), (Ref(5),), {}, "g"),
        wire.PlanStep(OPT + "step", (), (Ref(3),), {}, "g"),
        wire.PlanStep(OPT + "zero_grad", (), (Ref(3),), {}, "g"),
        wire.PlanStep("torch.ones", (6,), ([2],), {}, "g"),
    )
    plan = p.new_id()
    p.send(wire.DefinePlan(plan, "p", 1, (w.id, optimizer.id), steps, (5, 6), True))
    made: list[Ref] = []
    for _ in range(6):
        outs = (p.new_id(), p.new_id())
        p.send(wire.RunPlan(plan, (M.id,), outs, 0))
        made += map(Ref, outs)
    return [*made, w, p.op(T + "grad", w)]


@program
def a_plan_played_until_it_fails(p: Any) -> list[Ref]:
    """The same steps over public matrices first, then over the private one, then public again."""
    w = weights(p, 3, 1)
    plan, eye = p.new_id(), p.op("torch.add", M, p.put(torch.eye(3) * 5))
    steps = (
        wire.PlanStep(L + "solve", (3,), (Ref(1), Ref(2)), {}, "g"),
        wire.PlanStep("torch.sum", (4,), (Ref(3),), {}, "g"),
        wire.PlanStep("torch.rand", (5,), (1,), {}, "g"),
    )
    p.send(wire.DefinePlan(plan, "p", 1, (w.id,), steps, (4, 5), True))
    made: list[Ref] = []
    for matrix in (eye, eye, eye, eye, M, eye, M, M, eye):
        outs = (p.new_id(), p.new_id())
        p.send(wire.RunPlan(plan, (matrix.id,), outs, 0))
        made += map(Ref, outs)
    return made


@program
def a_plan_over_a_list_of_runs_that_fail(p: Any) -> list[Ref]:
    steps = (
        wire.PlanStep("python.Int", (2,), (Ref(1),), {}, "g"),
        wire.PlanStep("python.Int.__divmod__", (3,), (7, Ref(2)), {}, "g"),
        wire.PlanStep("torch.ones", (4,), (2,), {}, "g"),
    )
    made = planned(p, steps, (2, 3, 4), (p.op(T + "__getitem__", M, (2, 2)),), times=3)
    return [*made, *[p.op("python.len", ref) for ref in made]]


# what was said about an object before


@program
def asked_for_again_after_a_write_that_failed(p: Any) -> list[Ref]:
    """What was released is another question once a command could have written to it."""
    made = []
    for name, *more in (("add_", p.op(L + "inv", M)), ("index_fill_", 0, C, 1.0), ("zero_",)):
        own = p.op("torch.mean", p.op("torch.mul", P, p.put(torch.ones(4, 4))))
        p.ask(own)
        p.do(T + name, own, *more)
        made.append(own)
    return made


@program
def noted_listed_and_deleted(p: Any) -> list[Ref]:
    inverse, number = p.op(L + "inv", M), p.op("python.Int", broken(p))
    for ref in (inverse, number):
        p.send(wire.Note(ref.id, ("a",), "mine", True))
    p.send(wire.Note(inverse.id, (), "", False))
    p.send(wire.Del((inverse.id,)))
    return [inverse, number, p.op("torch.mul", inverse, 2.0)]


@program
def results_of_a_failure_by_number(p: Any) -> list[Ref]:
    """Another number of results than there are is a public mistake, whatever failed."""
    return [
        *p.ops(L + "inv", 2, M),
        *p.ops(L + "eigh", 3, M),
        *p.ops("torch.split", 2, N, whole(p)),
        *p.ops("torch.unbind", 3, few(p)),
        *p.ops("torch.std_mean", 2, few(p)),
    ]


# what shows


class Side(Seen):
    """An engine with one of the data sets, spoken to as a partner does, and what it tells."""

    def __init__(self, data: tuple[torch.Tensor, ...]) -> None:
        super().__init__(dict(zip("mpcn", data, strict=True)))
        self.told: list[Any] = []

    def new_id(self) -> int:
        self.next_id += 1
        return self.next_id

    def op(self, name: str, *args: Any, **kwargs: Any) -> Ref:
        return self.ops(name, 1, *args, **kwargs)[0]

    def ops(self, name: str, outs: int, *args: Any, **kwargs: Any) -> list[Ref]:
        ids = tuple(self.new_id() for _ in range(outs))
        self.send(wire.Op(name, ids, args, kwargs, "g"))
        return [Ref(id) for id in ids]

    def do(self, name: str, *args: Any, **kwargs: Any) -> None:
        self.send(wire.Op(name, (), args, kwargs, "g"))

    def get(self, ref: Ref) -> None:
        self.told.append((len(shown(self.events)), ref.id, self.verdict(ref.id)))

    def ask(self, ref: Ref) -> None:
        """What anybody may know of it, and which change of it is the last."""
        self.get(ref)

    def shown(self, made: Program) -> list[Any]:
        refs = made(self)
        for ref in refs:
            for name in ("dtype", "size", "requires_grad", "is_leaf"):
                self.get(self.op(T + name, ref))
            self.get(self.op("torch.mul", ref, 2.0))
            self.get(self.op("python.len", self.op("python.collect", ref)))
            self.get(ref)
        for ref in refs:
            self.do(T + "zero_", self.op(T + "detach", ref))
        for ref in (*refs, self.op("torch.rand", 1)):
            self.get(ref)
        return [shown(self.events), *self.told]


def difference(one: list[Any], other: list[Any]) -> str:
    """The first thing that shows another way; empty if nothing does."""
    (events, *told), (others, *more) = one, other
    pairs = [*zip(events, others, strict=False), *zip(told, more, strict=False)]
    found = next((f"{a} | {b}" for a, b in pairs if a != b), "")
    return found or ("" if len(pairs) == len(events) + len(told) else "another number of them")


OPEN = {"a_loader_over_hidden_records", "a_batch_size_of_no_size"}
"""An item that cannot be read still shows; docs/threat-model.md says so."""


def _case(name: str) -> Any:
    marks = [pytest.mark.xfail(reason="still shows", strict=True)] if name in OPEN else []
    if name in ("a_learning_rate_that_is_none", "a_loss_that_is_no_number_trained_on"):
        marks.append(pytest.mark.slow)
    return pytest.param(name, marks=marks)


@pytest.mark.parametrize("name", [_case(name) for name in PROGRAMS])
def test_what_fails_on_one_of_them_shows_on_neither(name: str) -> None:
    state = torch.get_rng_state()
    try:
        assert not difference(Side(ONE).shown(PROGRAMS[name]), Side(OTHER).shown(PROGRAMS[name]))
    finally:
        torch.set_rng_state(state)
