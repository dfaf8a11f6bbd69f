"""Programs whose backward fails half-way on one of two data sets, with some gradients written."""

from __future__ import annotations

from typing import Any

import torch

from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Ref
from tests.security.failing_kit import C, L, M, N, P, Programs, few, weights, whole
from tests.security.failing_kit import broken as broken_number
from tests.security.neighbour_kit import OPT, F, T

PROGRAMS = Programs()
program = PROGRAMS.program


def chosen(p: Any, *parts: Ref) -> Ref:
    """The second of these in one of the sets, in the other a place that is not there."""
    return p.op("python.List.__getitem__", p.op("python.collect", *parts), whole(p))


def either(p: Any, *parts: Ref) -> Ref:
    """The first of these in one of the sets, the second in the other."""
    is_large = p.op("python.Int.__floordiv__", whole(p), 9)
    return p.op("python.List.__getitem__", p.op("python.collect", *parts), is_large)


def summed(p: Any, *parts: Ref) -> Ref:
    """The sum of products of two each."""
    products = [p.op("torch.mul", a, b) for a, b in zip(parts[::2], parts[1::2], strict=True)]
    total = p.op("torch.sum", products[0])
    for product in products[1:]:
        total = p.op("torch.add", total, p.op("torch.sum", product))
    return total


def behind(p: Any, *leaves: Ref) -> list[Ref]:
    """Gradients, what an optimizer makes of them, and whether they are there at all."""
    made = [p.op(T + "grad", leaf) for leaf in leaves]
    optimizer = p.op("torch.optim.SGD", list(leaves), lr=0.1, momentum=0.9)
    norm = p.ops("torch.nn.utils.clip_grad_norm_", 1, list(leaves), 1.0)
    p.do(OPT + "step", optimizer)
    state = p.op(OPT + "state_dict", optimizer)
    made += [*norm, state, p.op("python.len", p.op("python.Dict.__getitem__", state, "state"))]
    p.do(OPT + "zero_grad", optimizer, False)
    made += [p.op("torch.sum", p.op(T + "grad", leaf)) for leaf in leaves]
    p.do(OPT + "zero_grad", optimizer)
    return [*made, *[p.op(T + "grad", leaf) for leaf in leaves], *leaves]


def broken_behind(p: Any, broken: Ref, leaf: Ref, other: Ref, **settings: Any) -> list[Ref]:
    """Backward of a sum of which one part breaks, which lies before the other one or behind it."""
    made: list[Ref] = []
    ones = p.put(torch.ones(1))
    for parts in ((broken, ones, other, ones), (other, ones, broken, ones)):
        loss = summed(p, *parts)
        p.do(T + "backward", loss, **settings)
        made += [loss, p.op(T + "grad", leaf), p.op(T + "grad", other)]
        p.do(T + "backward", loss)
    return [*made, *behind(p, leaf, other)]


# what was saved is written over


@program
def a_saved_tensor_that_values_chose_is_written_to(p: Any) -> list[Ref]:
    made: list[Ref] = []
    for choose in (chosen, either):
        w, v, a, b = weights(p, 3), weights(p, 3), p.put(torch.ones(3)), p.put(torch.ones(3))
        loss = summed(p, w, a, v, b)
        more = summed(p, v, b, w, p.put(torch.ones(3)))
        p.do(T + "add_", choose(p, a, b), 1.0)
        for root in (loss, more):
            p.do(T + "backward", root)
            made += [root, p.op(T + "grad", w), p.op(T + "grad", v)]
        made += [*behind(p, w, v), a, b]
    return made


@program
def a_graph_keeps_what_shares_its_writes_with_a_choice_that_is_gone(p: Any) -> list[Ref]:
    w, v, a, b = weights(p, 3), weights(p, 3), p.put(torch.ones(3)), p.put(torch.ones(3))
    loss = summed(p, w, p.op(T + "detach", a), v, p.op(T + "detach", b))
    p.do(T + "add_", chosen(p, a, b), 1.0)
    p.delete(a, b)
    p.do(T + "backward", loss)
    return [loss, *behind(p, w, v)]


@program
def a_tensor_or_its_copy_is_written_to(p: Any) -> list[Ref]:
    """``x.to(type)`` is itself or a copy, which a private type decides."""
    w, own = weights(p, 3), p.put(torch.ones(3))
    loss = summed(p, w, own)
    kind = either(p, p.put([torch.float32]), p.put([torch.float64]))
    p.do(T + "add_", p.op(T + "to", own, p.op("python.List.__getitem__", kind, 0)), 1.0)
    p.do(T + "backward", loss)
    return [loss, own, *behind(p, w)]


@program
def a_result_is_written_to_by_what_may_have_failed(p: Any) -> list[Ref]:
    w, v = weights(p, 3, 3), weights(p, 3, 3)
    root = p.op("torch.exp", w)  # keeps its result
    loss = p.op("torch.add", p.op("torch.sum", v), p.op("torch.sum", root))
    p.do(T + "retain_grad", root)
    p.do(T + "add_", root, p.op(L + "inv", M))
    p.do(T + "backward", loss)
    return [loss, root, p.op(T + "grad", root), *behind(p, w, v)]


# the graph is used up


@program
def a_graph_that_values_chose_is_used_up(p: Any) -> list[Ref]:
    made: list[Ref] = []
    for choose in (chosen, either):
        w, v, a = weights(p, 3), weights(p, 3), p.put(torch.ones(3))
        inner = [p.op("torch.square", leaf) for leaf in (w, v)]
        losses = [summed(p, part, a) for part in inner]
        p.do(T + "backward", choose(p, *losses))
        for loss in (summed(p, inner[0], a, inner[1], a), *losses):
            p.do(T + "backward", loss)
            made += [loss, p.op(T + "grad", w), p.op(T + "grad", v)]
        made += behind(p, w, v)
    return made


# a kernel refuses


@program
def a_decomposition_that_is_no_function(p: Any) -> list[Ref]:
    """Eigenvectors that a phase changes: which of them are complex is decided by values."""
    made: list[Ref] = []
    for size in (3, 2):
        w, v = weights(p, size, size), weights(p, 1)
        turned = p.put(torch.tensor([[0.0, -1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))
        matrix = p.op("torch.mul", w, p.op("torch.sub", M, turned))
        values, vectors = p.ops(L + "eig", 2, p.op(T + "__getitem__", matrix, (
            slice(0, size), slice(0, size))))  # fmt: skip
        loss = p.op("torch.sum", p.op("torch.real", vectors))
        made += [values, loss, *broken_behind(p, loss, w, v)]
    return made


@program
def a_matrix_without_a_number_in_a_backward(p: Any) -> list[Ref]:
    made: list[Ref] = []
    square = p.op("torch.mul", p.op("torch.reshape", N, [2, 2]), 1.0)
    for name in ("svdvals", "pinv", "eigvalsh", "qr", "det", "inv", "cholesky", "lu"):
        w, v = weights(p, 2, 2), weights(p, 1)
        result = p.op(L + name, p.op("torch.mul", w, square))
        if name in ("qr", "lu"):
            result = p.op("python.Tuple.__getitem__", result, 0)
        made += broken_behind(p, p.op("torch.sum", result), w, v)
    for name in ("lstsq", "solve"):
        w, v = weights(p, 2, 2), weights(p, 1)
        result = p.op(L + name, p.op("torch.mul", w, square), p.put(torch.ones(2, 1)))
        if name == "lstsq":
            result = p.op("python.Tuple.__getitem__", result, 0)
        made += broken_behind(p, p.op("torch.sum", result), w, v)
    return made


# a gradient does not fit


@program
def a_leaf_of_another_size_than_its_graph(p: Any) -> list[Ref]:
    made: list[Ref] = []
    for order in (0, 1):
        w, v, a = weights(p, 4), weights(p, 4), p.put(torch.ones(4))
        loss = summed(p, *((w, a, v, a) if order else (v, a, w, a)))
        p.do(T + "data=", w, few(p))
        p.do(T + "backward", loss)
        made += [loss, *behind(p, w, v)]
    return made


@program
def a_gradient_of_another_size_beside_a_leaf(p: Any) -> list[Ref]:
    w, v, a = weights(p, 4), weights(p, 4), p.put(torch.ones(4))
    p.do(T + "grad=", w, few(p))
    loss = summed(p, v, a, w, a)
    p.do(T + "backward", loss)
    return [loss, *behind(p, w, v)]


@program
def a_start_of_another_size(p: Any) -> list[Ref]:
    w, v = weights(p, 4), weights(p, 4)
    root = p.op("torch.mul", w, v)
    p.do(T + "backward", root, few(p))
    p.do(T + "backward", p.op("torch.mul", few(p), p.op("torch.sum", root)))
    grads = p.ops("torch.autograd.grad", 2, root, [w, v], few(p), allow_unused=True)
    return [root, *grads, *behind(p, w, v)]


# other ways back


def kept(p: Any, **settings: Any) -> list[Ref]:
    w, v = weights(p, 3, 3), weights(p, 1)
    bad = p.op("torch.sum", p.op(L + "cholesky", p.op("torch.mul", w, M)))
    return broken_behind(p, bad, w, v, **settings)


@program
def a_graph_that_is_kept(p: Any) -> list[Ref]:
    return kept(p, retain_graph=True)


@program
def a_graph_of_the_way_back(p: Any) -> list[Ref]:
    return kept(p, create_graph=True)


def broken(p: Any, w: Ref) -> dict[str, Ref]:
    """What fails on one of the sets; some of it is linear, so that a gradient is constant."""
    rows = p.op("torch.mul", w, 1.0)
    square = p.op("torch.mul", w, M)
    return {
        "inv": p.op(L + "inv", square),
        "solve": p.op(L + "solve", M, rows),
        "cholesky_solve": p.op(L + "cholesky", p.op("torch.add", square, M)),
        "index_select": p.op("torch.index_select", rows, 0, C),
        "gather": p.op("torch.gather", rows, 1, p.op(T + "reshape", C, [1, 4])),
        "embedding": p.op(F + "embedding", C, w),
        "nll_loss": p.op(F + "nll_loss", rows, p.op(T + "__getitem__", C, slice(1, 4))),
        "cross_entropy": p.op(F + "cross_entropy", rows, p.op(T + "__getitem__", C, slice(1, 4))),
        "bce": p.op(F + "binary_cross_entropy",
                    p.op("torch.sigmoid", p.op(T + "__getitem__", w, (0, slice(0, 2)))),
                    p.op(T + "__getitem__", P, slice(2, 4))),
        "eigvalsh": p.op(L + "eigvalsh", p.op("torch.mul", rows, broken_number(p))),
    }  # fmt: skip


@program
def graphs_of_the_way_back(p: Any) -> list[Ref]:
    """Each alone, and beside what makes its gradient depend on another leaf."""
    made: list[Ref] = []
    for name in broken(p, weights(p, 3, 3)):
        for other in (p.put(torch.ones(1)), weights(p, 1)):
            w, v = weights(p, 3, 3), weights(p, 1)
            part = p.op("torch.sum", broken(p, w)[name])
            loss = summed(p, part, other, v, v)
            grads = p.ops("torch.autograd.grad", 2, loss, [w, v], create_graph=True)
            p.do(T + "backward", loss, create_graph=True)
            made += [*grads, p.op(T + "grad", w), p.op(T + "grad", v)]
            p.do(T + "backward", p.op("torch.sum", made[-2]))
            made += [p.op(T + "grad", w), p.op(T + "grad", v)]
    return made


@program
def graphs_of_the_way_back_of_a_private_size(p: Any) -> list[Ref]:
    made: list[Ref] = []
    for square in (False, True):
        w, v = weights(p, 4), weights(p, 1)
        part = p.op("torch.mul", w, few(p))
        part = p.op("torch.square", part) if square else part
        loss = summed(p, p.op("torch.sum", part), p.put(torch.ones(1)), v, p.put(torch.ones(1)))
        p.do(T + "backward", loss, create_graph=True)
        made += [p.op(T + "grad", w), p.op(T + "grad", v)]
    return made


@program
def back_to_some_leaves_only(p: Any) -> list[Ref]:
    made: list[Ref] = []
    w, v, inner = weights(p, 3), weights(p, 3), p.put(torch.ones(3))
    a, b = p.put(torch.ones(3)), p.put(torch.ones(3))
    middle = p.op("torch.mul", w, inner)
    loss = summed(p, middle, a, v, b)
    p.do(T + "add_", either(p, a, b), 1.0)
    p.do(T + "backward", loss, inputs=[v, middle])
    made += [p.op(T + "grad", middle), loss, *behind(p, w, v)]
    grads = p.ops("torch.autograd.grad", 2, summed(p, w, a, v, b), [w, v])
    return [*made, *grads]


@program
def a_plan_whose_backward_fails(p: Any) -> list[Ref]:
    w, v, a, b = weights(p, 3), weights(p, 3), p.put(torch.ones(3)), p.put(torch.ones(3))
    optimizer = p.op("torch.optim.SGD", [w, v], lr=0.1)
    steps = (
        wire.PlanStep("torch.mul", (7,), (Ref(2), Ref(4)), {}, "g"),
        wire.PlanStep("torch.mul", (8,), (Ref(3), Ref(5)), {}, "g"),
        wire.PlanStep("torch.add", (9,), (Ref(7), Ref(8)), {}, "g"),
        wire.PlanStep("torch.sum", (10,), (Ref(9),), {}, "g"),
        wire.PlanStep(T + "add_", (11,), (Ref(1), 1.0), {}, "g"),
        wire.PlanStep(T + "backward", (), (Ref(10),), {}, "g"),
        wire.PlanStep(OPT + "step", (), (Ref(6),), {}, "g"),
        wire.PlanStep(OPT + "zero_grad", (), (Ref(6),), {}, "g"),
    )
    plan, outs = p.new_id(), (p.new_id(), p.new_id())
    held = (w.id, v.id, a.id, b.id, optimizer.id)
    p.send(wire.DefinePlan(plan, "p", 1, held, steps, (10, 11), True))
    for times in (0, 2):
        p.send(wire.RunPlan(plan, (either(p, a, b).id,), outs, times))
        outs = (p.new_id(), p.new_id())
    return [Ref(outs[0] - 2), Ref(outs[1] - 2), *behind(p, w, v), a, b]


@program
def a_private_power_in_a_backward(p: Any) -> list[Ref]:
    """Numbers that are none in a gradient, which nothing refuses before it is clipped."""
    w, v = weights(p, 4), weights(p, 4)
    loss = summed(p, p.op("torch.pow", w, P), P, p.op("torch.sqrt", v), N)
    p.do(T + "backward", loss)
    p.ops("torch.nn.utils.clip_grad_norm_", 1, [w, v], 1.0, 2.0, True)
    return [loss, *behind(p, w, v)]


@program
def gradients_of_what_may_be_missing_are_clipped(p: Any) -> list[Ref]:
    """The norm has a private type at least, and may not be there."""
    made: list[Ref] = []
    name = "torch.nn.utils.clip_grad_norm_"
    for has_grad in (False, True):
        w, v = weights(p, 3), weights(p, 3)
        if has_grad:
            p.do(T + "backward", p.op("torch.sum", p.op("torch.square", w)))
        one = chosen(p, w, v)
        for given in (one, [one], [v, one], p.op("python.collect", one, w)):
            made += p.ops(name, 1, given, 1.0)
        p.do("torch.nn.utils.clip_grad_value_", [w, one], 0.5)
        made += [p.op(T + "grad", w), w, v]
    return made


@program
def a_gradient_that_is_asked_of_a_missing_loss_is_written_to(p: Any) -> list[Ref]:
    """Out of a list of what is hidden; that nothing with a graph is written there is public."""
    made: list[Ref] = []
    for has_graph in (False, True):
        leaf = p.op(T + "requires_grad_", p.op("torch.mul", few(p), 1.0))
        matrix = p.op("torch.diag", p.op(T + "__getitem__", P, p.op(T + "__gt__", P, -1)))
        broken = p.op("torch.sum", p.op(L + "cholesky", matrix))
        loss = p.op("torch.mul", p.op("torch.sum", leaf), broken)
        grads = p.op("torch.autograd.grad", loss, [leaf], create_graph=has_graph)
        taken = p.op("python.Tuple.__getitem__", grads, 0)
        p.do(T + "add_", taken, p.op("torch.sum", weights(p, 3)))
        made += [leaf, grads, taken]
    return made
