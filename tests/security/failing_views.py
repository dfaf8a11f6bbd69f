"""Programs that see what a private number chose in another way, or put it somewhere, if it is one.

In one of the two data sets it chose a tensor, in the other what is none. What is written later to
all that could have been chosen has a source of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from duet_p2p.wire.values import Dtype, Ref
from tests.security.failing_choices import secret
from tests.security.failing_gradients import either
from tests.security.failing_kit import D, Programs, weights
from tests.security.neighbour_kit import T

PROGRAMS = Programs()
program = PROGRAMS.program
NOTHING = (None, "a", 2, [1.0])
"""What is no tensor."""
DATA = "torch.utils.data."
Seen = Callable[[Any, Ref], Ref]


def looked_at(p: Any, seen: Seen, *, many: int = len(NOTHING)) -> list[Ref]:
    """What is made of a tensor or of nothing, before and after a source is put into the tensor."""
    found: list[Ref] = []
    for nothing in NOTHING[:many]:
        own = p.put(torch.ones(3))
        made = seen(p, either(p, own, nothing))
        before = p.op("python.collect", made)
        p.do(T + "add_", own, secret(p))
        found += [own, made, before, p.op("python.collect", made), p.op("torch.mul", made, 2.0)]
    return found


def of_names(names: tuple[tuple[Any, ...], ...]) -> Callable[[Any], list[Ref]]:
    """A program of calls with what was chosen as their first argument."""

    def made(p: Any) -> list[Ref]:
        found: list[Ref] = []
        for name, *args in names:
            found += looked_at(p, lambda p, chosen, n=name, a=args: p.op(n, chosen, *a), many=2)
        return found

    return made


PROGRAMS["views_of_what_may_be_nothing"] = of_names((
    (T + "detach",), (T + "conj",), (T + "positive",), (T + "data",), (T + "cpu",),
    ("torch.as_tensor",), ("torch.nn.Parameter",), ("torch.atleast_1d",), ("torch.FloatTensor",),
))  # fmt: skip
PROGRAMS["views_by_numbers_of_what_may_be_nothing"] = of_names((
    (T + "narrow", 0, 0, 2), (T + "view", [3, 1]), (T + "unsqueeze", 0), (T + "contiguous",),
    (T + "to", Dtype("float32")), (T + "to", Dtype("float64")), (T + "__getitem__", 0),
))  # fmt: skip
PROGRAMS["parts_of_what_may_be_nothing"] = of_names((
    ("python.List",), ("python.Tuple",), ("python.iter",), ("python.Any.__mul__", 2),
    ("python.List.__getitem__", 0),
))  # fmt: skip
PROGRAMS["objects_of_what_may_be_nothing"] = of_names((
    (D + "Poisson",), (DATA + "TensorDataset",), (DATA + "DataLoader",),
))  # fmt: skip


@program
def containers_of_what_may_be_nothing(p: Any) -> list[Ref]:
    def put(name: str, *places: Any) -> Seen:
        def seen(p: Any, chosen: Ref) -> Ref:
            box = p.op("python.collect", **{"a": 1} if "Dict" in name else {})
            p.do(name, box, *places, chosen)
            return box

        return seen

    found: list[Ref] = []
    for name, *places in (
        ("python.List.append",), ("python.List.insert", 0), ("python.Dict.__setitem__", "a"),
        ("python.Dict.setdefault", "b"), ("python.List.extend",),
    ):  # fmt: skip
        found += looked_at(p, put(name, *places), many=2)
    return found


@program
def containers_of_containers_of_it(p: Any) -> list[Ref]:
    def seen(p: Any, chosen: Ref) -> Ref:
        inner = p.op("python.collect", chosen)
        return p.op("python.List", p.op("python.List.copy", inner))

    return [*looked_at(p, seen), *looked_at(p, lambda p, c: p.op("python.collect", [c, [c]]))]


@program
def the_numbers_of_another_set_to_it(p: Any) -> list[Ref]:
    def seen(p: Any, chosen: Ref) -> Ref:
        other = p.put(torch.zeros(3))
        p.do(T + "data=", other, chosen)
        return other

    return looked_at(p, seen)


@program
def a_view_of_a_view_written_to(p: Any) -> list[Ref]:
    found: list[Ref] = []
    for nothing in NOTHING:
        own = p.put(torch.ones(3))
        view = p.op(T + "detach", p.op(T + "unsqueeze", either(p, own, nothing), 0))
        p.do(T + "add_", view, secret(p))
        found += [own, view, p.op("python.collect", own), p.op("python.collect", view)]
    return found


@program
def a_parameter_or_another_tensor(p: Any) -> list[Ref]:
    """Recipes begin at parameters."""
    found: list[Ref] = []
    for other in (p.put(torch.ones(2)), None):
        parameter = p.op("torch.nn.Parameter", p.put(torch.ones(2)))
        chosen = either(p, parameter, other)
        written = p.op(T + "mul_", p.op(T + "detach", chosen), 2.0)
        found += [chosen, written, p.op("torch.mul", chosen, 2.0), p.op("python.collect", chosen)]
    return found


@program
def a_parameter_that_is_written_to_in_vain(p: Any) -> list[Ref]:
    parameter = p.op("torch.nn.Parameter", p.put(torch.ones(3)), False)
    failing = p.op("torch.linalg.cholesky", Ref(-1))
    made = p.op(T + "add_", parameter, p.op("torch.sum", failing))
    whole = p.op(T + "mul_", parameter, p.op(T + "__getitem__", Ref(-4), slice(0, 3)))
    return [parameter, made, whole, weights(p, 1)]


@program
def a_gradient_that_may_be_nothing(p: Any) -> list[Ref]:
    found: list[Ref] = []
    for other in (None, p.put(torch.ones(3))):
        w, own = weights(p, 3), p.put(torch.ones(3))
        p.do(T + "grad=", w, either(p, own, other))
        p.do(T + "add_", own, secret(p))
        grad = p.op(T + "grad", w)
        found += [w, own, grad, p.op("python.collect", grad)]
    return found
