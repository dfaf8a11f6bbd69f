"""Programs that ask for the graph of a way back which fails half-way on one of two data sets."""

from __future__ import annotations

from typing import Any

import torch

from duet_p2p.wire.values import Ref
from tests.security.failing_gradients import behind, chosen, either, summed
from tests.security.failing_kit import L, M, Programs, weights
from tests.security.neighbour_kit import T

PROGRAMS = Programs()
program = PROGRAMS.program


def written(p: Any, one: Ref) -> None:
    """Writes to this tensor in one of the sets, and to another one in the other."""
    p.do(T + "add_", either(p, one, p.put(torch.ones(3))), 1.0)


def parts(p: Any) -> list[Ref]:
    """Two leaves and what each is multiplied by, in this order."""
    return [weights(p, 3), p.put(torch.ones(3)), weights(p, 3), p.put(torch.ones(3))]


def turned(p: Any, w: Ref) -> Ref:
    """Eigenvectors of which one of the sets has complex ones: a phase would change a loss."""
    other = p.put(torch.tensor([[0.0, -1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))
    matrix = p.op("torch.mul", w, p.op("torch.sub", M, other))
    return p.op("torch.sum", p.op("torch.real", p.ops(L + "eig", 2, matrix)[1]))


def gradients(p: Any, *leaves: Ref) -> list[Ref]:
    return [p.op(T + "grad", leaf) for leaf in leaves]


@program
def a_graph_of_a_way_back_that_fails(p: Any) -> list[Ref]:
    w, a, v, b = parts(p)
    loss = p.op("torch.square", summed(p, w, a, v, b))
    written(p, a)
    p.do(T + "backward", loss, create_graph=True)
    return gradients(p, w, v)


@program
def a_way_back_without_a_graph_that_fails(p: Any) -> list[Ref]:
    """A gradient of what is linear has none, whatever was asked for."""
    w, a, v, b = parts(p)
    loss = summed(p, w, a, v, b)
    written(p, a)
    p.do(T + "backward", loss, create_graph=True)
    return [*gradients(p, w, v), *behind(p, w, v)]


@program
def a_way_back_that_one_of_two_gradients_has_a_graph_of(p: Any) -> list[Ref]:
    made: list[Ref] = []
    for is_first in (True, False):
        w, a, v, b = parts(p)
        inner = p.op("torch.square", w) if is_first else w
        loss = summed(p, inner, a, v, b)
        written(p, b if is_first else a)
        p.do(T + "backward", loss, create_graph=True)
        made += gradients(p, w, v)
    return made


@program
def a_way_back_that_adds_to_gradients_fails(p: Any) -> list[Ref]:
    made: list[Ref] = []
    for settings in ({}, {"create_graph": True}):
        w, a, v, b = parts(p)
        p.do(T + "backward", summed(p, w, v, p.op("torch.square", w), v), **settings)
        before = gradients(p, w, v)
        for is_square in (False, True):
            loss = summed(p, w, a, v, b)
            loss = p.op("torch.square", loss) if is_square else loss
            written(p, a)
            p.do(T + "backward", loss, create_graph=True)
            made += [*gradients(p, w, v), *before]
    return made


@program
def what_is_gone_back_through_again_after_it_failed(p: Any) -> list[Ref]:
    w, a, v, b = parts(p)
    loss = p.op("torch.square", summed(p, w, a, v, b))
    written(p, a)
    p.do(T + "backward", loss, create_graph=True)
    first = gradients(p, w, v)
    norm = summed(p, first[0], first[0], first[1], first[1])
    p.do(T + "backward", norm)
    p.do(T + "backward", norm)
    p.do(T + "backward", p.op("torch.sum", first[0]))
    return [*first, norm, *behind(p, w, v)]


@program
def a_decomposition_that_a_graph_is_asked_of(p: Any) -> list[Ref]:
    made: list[Ref] = []
    for is_first in (True, False):
        w, v, ones = weights(p, 3, 3), weights(p, 1), p.put(torch.ones(1))
        one, other = turned(p, w), p.op("torch.square", v)
        loss = summed(p, *((one, ones, other, ones) if is_first else (other, ones, one, ones)))
        p.do(T + "backward", loss, create_graph=True)
        made += gradients(p, w, v)
        p.do(T + "backward", p.op("torch.sum", made[-2]))
        made += gradients(p, w, v)
    return made


@program
def gradients_that_are_asked_for_of_a_way_that_fails(p: Any) -> list[Ref]:
    made: list[Ref] = []
    for is_square in (False, True):
        w, a, v, b = parts(p)
        loss = summed(p, w, a, v, b)
        loss = p.op("torch.square", loss) if is_square else loss
        written(p, a)
        made += p.ops("torch.autograd.grad", 2, loss, [w, v], create_graph=True)
    w = weights(p, 3, 3)
    made += p.ops("torch.autograd.grad", 1, turned(p, w), [w], create_graph=True)
    return made


@program
def a_way_back_to_some_that_fails(p: Any) -> list[Ref]:
    made: list[Ref] = []
    for settings in ({}, {"create_graph": True}):
        for of in ("leaf", "inner"):
            w, a, v, b = parts(p)
            inner = p.op("torch.square", w)
            loss = summed(p, inner, a, v, b)
            written(p, a)
            p.do(T + "backward", loss, inputs=[v if of == "leaf" else inner], **settings)
            made += gradients(p, inner, w, v)
    return made


@program
def a_result_that_keeps_its_gradient_on_a_way_that_fails(p: Any) -> list[Ref]:
    made: list[Ref] = []
    for settings in ({}, {"create_graph": True}):
        for is_first in (True, False):
            w, a, v, b = parts(p)
            inner = p.op("torch.square", w)
            p.do(T + "retain_grad", inner)
            loss = summed(p, *((inner, a, v, b) if is_first else (v, b, inner, a)))
            written(p, a)
            p.do(T + "backward", loss, **settings)
            made += gradients(p, inner, w, v)
    return made


@program
def a_graph_that_a_way_that_fails_uses_up(p: Any) -> list[Ref]:
    """The second one fails for all to see, wherever the first one broke."""
    made: list[Ref] = []
    for settings in ({}, {"retain_graph": True}, {"create_graph": True}):
        w, a, v, b = parts(p)
        loss = p.op("torch.square", summed(p, w, a, p.op("torch.square", v), b))
        beside = p.op("torch.sum", p.op("torch.square", loss))
        written(p, a)
        for root in (loss, loss, beside):
            p.do(T + "backward", root, **settings)
        made += p.ops("torch.autograd.grad", 1, beside, [v])
        m = weights(p, 3, 3)
        loss = turned(p, m)
        for _ in range(2):
            p.do(T + "backward", loss, **settings)
        made += [*gradients(p, w, v, m), w, v, m]
    return made


@program
def a_graph_that_gradients_asked_for_use_up(p: Any) -> list[Ref]:
    made: list[Ref] = []
    for settings in ({}, {"retain_graph": True}):
        w, a, v, b = parts(p)
        loss = p.op("torch.square", summed(p, w, a, v, b))
        written(p, a)
        for _ in range(2):
            made += p.ops("torch.autograd.grad", 2, loss, [w, v], **settings)
        m = weights(p, 3, 3)
        loss = turned(p, m)
        for _ in range(2):
            made += p.ops("torch.autograd.grad", 1, loss, [m], **settings)
        p.do(T + "backward", loss)
        made += gradients(p, m)
    return made


@program
def a_graph_that_what_failed_is_made_of(p: Any) -> list[Ref]:
    made: list[Ref] = []
    for few in (False, True):
        w = weights(p, 3, 3)
        inner = p.op("torch.square", w)
        bad = p.op(L + "inv", M)
        bad = p.op("torch.masked_select", bad, p.op(T + "__gt__", bad, -1.0)) if few else bad
        root = p.op("torch.mul", p.op("torch.sum", inner), p.op("torch.sum", bad))
        p.do(T + "backward", root)
        p.do(T + "backward", p.op("torch.mean", inner))
        made += [root, *gradients(p, w)]
    return made


@program
def a_gradient_of_what_may_be_another(p: Any) -> list[Ref]:
    w, v = weights(p, 3), weights(p, 3)
    p.do(T + "backward", p.op("torch.sum", p.op("torch.square", v)))
    return gradients(p, chosen(p, w, v), either(p, w, v))


@program
def a_gradient_that_is_set_of_what_may_be_another(p: Any) -> list[Ref]:
    made: list[Ref] = []
    for choose in (chosen, either):
        for is_there in (False, True):
            w, v, ones = weights(p, 3), weights(p, 3), p.put(torch.ones(3))
            before: list[Ref] = []
            if is_there:
                p.do(T + "backward", p.op("torch.sum", p.op("torch.square", v)))
                before = gradients(p, v)
            one = choose(p, w, v)
            p.do(T + "grad=", one, ones)
            made += [*gradients(p, w, v, one), w, v, ones, *before]
            p.do(T + "grad=", one, None)
            made += gradients(p, w, v, one)
    return made


@program
def a_gradient_that_may_be_missing_in_a_container(p: Any) -> list[Ref]:
    made: list[Ref] = []
    for choose in (chosen, either):
        w, v = weights(p, 3), weights(p, 3)
        p.do(T + "backward", p.op("torch.sum", p.op("torch.square", v)))
        grad = p.op(T + "grad", choose(p, w, v))
        made += [
            p.op("python.collect", grad, grad), p.op("python.List", [grad]),
            p.op("python.Tuple", [grad]), p.op("python.Dict", [("a", grad)]),
            p.op("python.Set", [1, grad]), p.op("python.iter", grad), p.op("python.List", grad),
            p.op("torch.stack", [grad, grad]), p.op(T + "grad", grad),
        ]  # fmt: skip
        box = p.op("python.collect", w)
        p.do("python.List.append", box, grad)
        p.do("python.List.extend", box, grad)
        own = p.put(torch.zeros(3))
        p.do(T + "add_", own, grad)
        p.do(T + "grad=", w, grad)
        made += [box, own, *gradients(p, w, v)]
    return made
