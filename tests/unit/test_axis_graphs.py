"""Gradients by the records: each is of its own record and of sums, whatever the graph joined."""

from __future__ import annotations

import pytest
import torch

from tests.unit.axes_kit import CLASSES, X2, N, W, judged

F = torch.nn.functional

ALONE = {
    "a network": lambda x: (x @ W).tanh().sum(1),
    "a loss of each": lambda x: F.cross_entropy(x, CLASSES, reduction="none"),
    "a feature of each": lambda x: x[:, 1] * x.max(1).values,
}
TOGETHER = {
    "a loss": lambda x: F.cross_entropy(x @ W, CLASSES),
    "a norm": lambda x: x.norm(),
    "numbers less their mean": lambda x: ((x - x.mean(0)) / x.std(0)) @ W,
    "singular values": lambda x: torch.linalg.svdvals(x).log().sum(),
    "sums by class": lambda x: torch.zeros(3, 3).index_add(0, CLASSES[: len(x)], x).exp(),
    "a gradient of a gradient": lambda x: torch.autograd.grad(
        (x @ W).tanh().sum(), x, create_graph=True
    )[0].norm(),
}


@pytest.mark.parametrize("name", [*ALONE, *TOGETHER])
def test_the_gradient_of_each_record_is_of_it_and_of_sums(name, monkeypatch):
    function, order = {**ALONE, **TOGETHER}[name], torch.tensor([3, 1, 5, 0, 4, 2])

    def slope(x):
        own = x.clone().requires_grad_(True)
        made = function(own)
        (found,) = torch.autograd.grad(made, own, torch.ones_like(made))
        is_of_each = made.ndim > 0 and made.shape[0] == N
        places = [(own, 0), *([(made, 0)] if is_of_each else [])]
        called = judged("autograd_grad", (made, own, torch.ones_like(made)), {}, places, found)
        assert (called.axes, called.injected) == ((0,), False)
        return found

    before = slope(X2)
    changed = X2.clone()
    changed[3] = 1.2 - changed[3]
    if name in ALONE:
        differs = (slope(changed) != before).any(1)
        assert differs.tolist() == [False, False, False, True, False, False]
    monkeypatch.setitem(globals(), "CLASSES", CLASSES[order])
    assert torch.allclose(slope(X2[order]), before[order], atol=1e-5)
