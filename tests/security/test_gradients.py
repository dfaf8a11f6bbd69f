"""What a backward leaves behind is as private as what it had and what came, wherever torch puts it.

Among them sparse gradients: nobody but the optimizer gets to see one as such.
"""

from __future__ import annotations

import pytest
import torch

from duet_p2p.engine.labels import PUBLIC
from duet_p2p.engine.store import Poison
from tests.unit.engine_kit import Driver

F = "torch.nn.functional."
T = "torch.Tensor."


@pytest.fixture
def d():
    return Driver()


@pytest.fixture
def secret(d):
    return d.share(torch.arange(1.0, 5.0), tags=["secret"])


def kind(d, ref):
    return d.facts(ref).kind


def grad(d, ref):
    return d.ok(T + "grad", ref)


def backward(d, root, *args, **kwargs):
    d.ok(T + "backward", root, *args, outs=0, **kwargs)


def loss_of(d, own, secret):
    return d.ok(T + "sum", d.ok(T + "mul", own, secret))


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_private_loss_marks_the_gradient_that_it_adds_to(d, secret, create_graph):
    own = d.put(torch.zeros(4, requires_grad=True))
    backward(d, d.ok(T + "sum", own))
    before = grad(d, own)
    assert kind(d, before) == "public"
    backward(d, loss_of(d, own, secret), create_graph=create_graph)
    assert kind(d, grad(d, own)) == "per_record"
    assert d.facts(grad(d, own)).sources == (-1,)


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_public_loss_does_not_wash_the_gradient_that_it_adds_to(d, secret, create_graph):
    own = d.put(torch.zeros(4, requires_grad=True))
    backward(d, loss_of(d, own, secret), create_graph=create_graph)
    backward(d, d.ok(T + "sum", own), create_graph=create_graph)
    assert kind(d, grad(d, own)) == "per_record"


def inner_of(d):
    own = d.put(torch.zeros(4, requires_grad=True))
    backward(d, d.ok(T + "sum", own))  # every leaf has a gradient already
    return d.ok(T + "mul", own, 1.0)


def test_a_retained_gradient_is_marked_where_all_leaves_have_one(d, secret):
    inner = inner_of(d)
    d.ok(T + "retain_grad", inner, outs=0)
    backward(d, loss_of(d, inner, secret))
    assert kind(d, grad(d, inner)) == "per_record"


def test_a_public_loss_does_not_wash_a_retained_gradient(d, secret):
    inner = inner_of(d)
    d.ok(T + "retain_grad", inner, outs=0)
    backward(d, loss_of(d, inner, secret), retain_graph=True)
    backward(d, d.ok(T + "sum", inner))
    assert kind(d, grad(d, inner)) == "per_record"


@pytest.mark.parametrize("is_keyword", [False, True])
def test_the_gradient_of_an_inner_tensor_named_as_input_is_marked(d, secret, is_keyword):
    inner = inner_of(d)
    loss = loss_of(d, inner, secret)
    if is_keyword:
        backward(d, loss, inputs=[inner], retain_graph=True)
    else:
        backward(d, loss, None, True, False, [inner])
    assert kind(d, grad(d, inner)) == "per_record"
    backward(d, d.ok(T + "sum", inner))
    assert kind(d, grad(d, inner)) == "per_record"


def test_a_spoilt_gradient_stays_spoilt_when_another_takes_its_place(d):
    own = d.put(torch.zeros(4, requires_grad=True))
    backward(d, d.ok(T + "sum", own))
    held = grad(d, own)
    d.failed(T + "index_copy_", held, 0, d.put(torch.tensor([9])), d.put(torch.ones(1)), outs=0)
    assert d.facts(held).failed
    backward(d, d.ok(T + "sum", own), create_graph=True)
    assert d.facts(grad(d, own)).failed


# sparse ones


def looked_up(d, places, weight, **kwargs):
    return d.ok(F + "embedding", places, weight, sparse=True, **kwargs)


@pytest.fixture
def weight(d):
    return d.put(torch.ones(5, 2, requires_grad=True))


@pytest.mark.parametrize("loss", ["sum", "max"])
def test_a_sparse_gradient_reads_as_a_dense_copy_as_private_as_a_dense_one(d, weight, loss):
    places = d.share(torch.tensor([1, 3, 3]))
    other = d.put(torch.ones(5, 2, requires_grad=True))
    backward(d, d.ok(T + loss, looked_up(d, places, weight)))
    backward(d, d.ok(T + loss, d.ok(F + "embedding", places, other)))
    copy = grad(d, weight)
    facts, dense = d.facts(copy), d.facts(grad(d, other))
    assert (facts.kind, facts.sources, facts.min_records) == (
        dense.kind, (-1,), dense.min_records,
    )  # fmt: skip
    assert facts.kind == {"sum": "aggregate", "max": "per_record"}[loss]
    assert facts.shape == (5, 2)
    if loss == "max":
        return
    assert torch.equal(d.release(copy)[:, 0], torch.tensor([0.0, 1, 0, 2, 0]))


def test_public_sparse_gradients_are_public_until_a_private_one_joins_them(d, weight):
    public, private = d.put(torch.tensor([0, 1])), d.share(torch.tensor([1]))
    backward(d, d.ok(T + "sum", looked_up(d, public, weight)))
    assert kind(d, grad(d, weight)) == "public"
    backward(d, d.ok(T + "sum", looked_up(d, private, weight)))
    assert d.facts(grad(d, weight)).sources == (-1,)
    backward(d, d.ok(T + "sum", looked_up(d, public, weight)), create_graph=True)
    assert d.facts(grad(d, weight)).sources == (-1,)
    backward(d, d.ok(T + "sum", weight))  # a dense one joins them
    assert d.facts(grad(d, weight)).sources == (-1,)
    assert torch.equal(d.release(grad(d, weight))[:, 0], torch.tensor([3.0, 4, 1, 1, 1]))


@pytest.mark.parametrize(
    ("name", "settings"),
    [("SGD", {"momentum": 0.5}), ("SGD", {}), ("Adagrad", {}), ("SparseAdam", {})],
)
def test_a_step_with_a_sparse_gradient_marks_weight_and_state(d, weight, name, settings):
    optimizer = d.ok("torch.optim." + name, d.ok("python.collect", weight), lr=0.5, **settings)
    assert kind(d, weight) == "public"
    places = d.share(torch.tensor([1, 3, 3]))
    for _ in range(3):
        backward(d, d.ok(T + "sum", looked_up(d, places, weight)))
        d.ok("torch.optim.Optimizer.step", optimizer, outs=0)
    assert (kind(d, weight), d.facts(weight).sources) == ("model", (-1,))
    state = d.ok("torch.optim.Optimizer.state_dict", optimizer)
    assert d.facts(state).sources == (-1,)
    for value in d.release(state)["state"].get(0, {}).values():
        assert not isinstance(value, torch.Tensor) or value.layout == torch.strided
    d.ok("torch.optim.Optimizer.zero_grad", optimizer, False, outs=0)
    assert not d.release(grad(d, weight)).any()
    d.ok("torch.optim.Optimizer.load_state_dict", optimizer, state, outs=0)


def test_a_dense_copy_cannot_be_written_to_unnoticed(d, weight):
    backward(d, d.ok(T + "sum", looked_up(d, d.put(torch.tensor([1])), weight)))
    copy = grad(d, weight)
    failure = d.failed(T + "mul_", copy, 0.5, outs=0)
    assert failure.is_public
    assert "dense copy of a sparse gradient" in failure.text
    d.ok(T + "grad=", weight, d.ok(T + "mul", copy, 0.5), outs=0)
    assert d.release(grad(d, weight))[1, 0] == 0.5
    d.ok(T + "grad=", weight, copy, outs=0)
    backward(d, d.ok(T + "sum", weight))  # it became the gradient as a copy
    assert d.release(grad(d, weight))[1, 0] == 2


@pytest.mark.parametrize("name", ["embedding", "embedding_bag"])
def test_indices_that_are_changed_after_their_lookup_change_no_gradient(d, weight, name):
    places = d.put(torch.tensor([[1, 3]]))
    loss = d.ok(T + "sum", d.ok(F + name, places, weight, sparse=True))
    d.ok(T + "fill_", places, 10**12)
    backward(d, loss, retain_graph=True)
    d.ok(T + "fill_", places, -(10**12))
    found = d.release(grad(d, weight))
    assert (found[:, 0] != 0).tolist() == [False, True, False, True, False]
    optimizer = d.ok("torch.optim.SparseAdam", d.ok("python.collect", weight), lr=0.5)
    d.ok("torch.optim.Optimizer.step", optimizer, outs=0)
    assert torch.equal((d.release(weight) != 1)[:, 0], found[:, 0] != 0)


def test_the_gradient_that_was_given_is_not_the_one_that_stays(d, weight):
    places, given = d.put(torch.tensor([1])), d.put(torch.ones(1, 2))
    backward(d, looked_up(d, places, weight), given)
    d.ok(T + "fill_", given, 7.0)
    assert d.release(grad(d, weight))[1, 0] == 1


def test_a_graph_walked_again_and_again_does_not_fill_the_memory(d, weight):
    loss = d.ok(T + "sum", looked_up(d, d.put(torch.tensor([1, 3, 3])), weight))
    optimizer = d.ok("torch.optim.SGD", d.ok("python.collect", weight), lr=0.0, momentum=1.0)
    for _ in range(40):
        backward(d, loss, retain_graph=True)
        d.ok("torch.optim.Optimizer.step", optimizer, outs=0)
    held = d.engine.store.get(weight.id).value
    buffer = d.engine.store.get(optimizer.id).value.state[held]["momentum_buffer"]
    for tensor in (held.grad, buffer):
        assert tensor.is_sparse
        assert tensor._nnz() <= 5
    assert d.release(grad(d, weight))[3, 0] == 80


def test_a_sparse_gradient_goes_to_a_leaf_and_nowhere_else(d, weight):
    places = d.put(torch.tensor([1]))
    inner = d.ok(T + "mul", weight, 2.0)
    assert "leaf" in d.failed(F + "embedding", places, inner, sparse=True).text
    out = looked_up(d, places, weight)
    (found,) = d.release(d.ok("torch.autograd.grad", d.ok(T + "sum", out), [weight]))
    assert found.layout == torch.strided
    assert found.sum() == 2
    for name in ("torch.embedding",):
        assert d.failed(name, weight, places, sparse=True).is_public
    assert d.failed("torch.gather", weight, 0, places, sparse_grad=True).is_public


@pytest.mark.parametrize("index", [-1, 5])
def test_sparse_lookups_are_range_checked(d, weight, index):
    places = d.put(torch.tensor([[index]]))
    assert "range" in d.failed(F + "embedding", places, weight, sparse=True).text
    assert "range" in d.failed(F + "embedding_bag", places, weight, sparse=True).text


def test_a_spoilt_sparse_gradient_stays_spoilt(d, weight):
    out = looked_up(d, d.put(torch.tensor([1, 2])), weight)
    backward(d, d.ok(T + "sum", out), retain_graph=True)
    held = d.engine.store.get(weight.id).value
    poison = Poison(1, "a call", "RuntimeError", "it broke", True, PUBLIC)
    d.engine.lineage.spoil(held.grad, poison)
    backward(d, d.ok(T + "sum", out))
    assert d.facts(grad(d, weight)).failed
