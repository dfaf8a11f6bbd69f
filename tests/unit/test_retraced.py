"""The way back, node by node: as torch goes it, and past what breaks it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F

from duet_p2p.engine.joined import joined
from duet_p2p.engine.kept import check_not_used_up, kept_by, nodes_of, use_up
from duet_p2p.engine.retraced import retraced

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
LOSSES: dict[str, Loss] = {
    "linear": lambda w, v: w.sum() * 2 + v.mean(),
    "of one only": lambda w, v: w.exp().sum() + v.sum(),
    "product": lambda w, v: (w @ v).sum(),
    "broadcast": lambda w, v: (w + v[0]).square().mean() + (w * v[:, :1]).sum(),
    "several results": lambda w, v: sum(p.prod() for p in (w * v).unbind(0)),  # type: ignore[misc]
    "one of several": lambda w, v: torch.linalg.eigh(w + w.T).eigenvalues.sum() * v.sum(),
    "views": lambda w, v: w.T.reshape(-1)[2:5].square().sum() + v.diagonal().sum(),
    "a leaf twice": lambda w, v: (w * w).sum() + w.sum() * v.sum(),
    "norms": lambda w, v: F.layer_norm(w, (3,)).square().sum() + F.softmax(v, 1)[0, 0],
    "cast": lambda w, v: (w.double() * v.double().sin()).sum(),
    "stand-in": lambda w, v: (joined(torch.ones(3, 3), [w]) * v).sum(),
}


@pytest.mark.parametrize("has_graph", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_it_is_the_way_that_torch_goes(name: str, has_graph: bool) -> None:
    torch.manual_seed(1)
    leaves = [torch.rand(3, 3, requires_grad=True) for _ in range(2)]
    loss = LOSSES[name](*leaves)
    found = retraced([(loss, None)], [], has_graph=has_graph)
    expected = torch.autograd.grad(loss, leaves, create_graph=has_graph, retain_graph=True)
    for leaf, grad in zip(leaves, expected, strict=True):
        assert torch.allclose(found[id(leaf)], grad)
        assert found[id(leaf)].requires_grad == grad.requires_grad
        assert found[id(leaf)].dtype is grad.dtype


def test_what_is_no_leaf_gets_its_gradient_too() -> None:
    w = torch.ones(3, requires_grad=True)
    inner = w * 2
    loss = inner.square().sum()
    found = retraced([(loss, None)], [], [inner], has_graph=False)
    assert found[id(inner)].tolist() == [4, 4, 4]
    assert found[id(w)].tolist() == [8, 8, 8]


def test_a_node_that_fails_gives_zeros_in_the_graph_that_it_would_have() -> None:
    w, v = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    kept = torch.ones(3)
    loss = (w * kept).sum().square() + v.sum()
    kept.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace"):
        torch.autograd.grad(loss, [w], retain_graph=True)
    found = retraced([(loss, None)], [], has_graph=True)
    assert found[id(w)].requires_grad
    assert not found[id(w)].any()
    assert found[id(v)].tolist() == [1, 1, 1]
    assert not found[id(v)].requires_grad


def test_of_what_values_chose_the_writes_are_not_counted() -> None:
    w, kept = torch.ones(3, requires_grad=True), torch.ones(3)
    loss = (w * kept).sum()
    kept.add_(1)
    assert not kept_by(loss.grad_fn.next_functions[0][0], [])  # type: ignore[union-attr]
    assert retraced([(loss, None)], [kept], has_graph=False)[id(w)].tolist() == [2, 2, 2]
    assert kept._version == 1


def test_what_is_used_up_is_refused_in_the_words_of_torch() -> None:
    w = torch.ones(3, requires_grad=True)
    loss, linear = w.square().sum(), w.sum()
    use_up(nodes_of([loss, linear]))
    check_not_used_up([linear])  # keeps nothing, so it can be gone through as often as one likes
    with pytest.raises(RuntimeError) as ours:
        check_not_used_up([loss + w.sum()])
    loss.backward()  # type: ignore[no-untyped-call]
    with pytest.raises(RuntimeError) as of_torch:
        loss.backward()  # type: ignore[no-untyped-call]
    assert str(ours.value) == str(of_torch.value)
