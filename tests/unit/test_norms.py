"""Batch norms that write their statistics where torch looks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from duet_p2p.surface.norms import NORMS

batch_norm: Any = NORMS["torch.nn.functional.batch_norm"]
native: Any = NORMS["torch.native_batch_norm"]


def statistics() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros(3), torch.ones(3)


def test_they_give_and_keep_what_torch_does() -> None:
    data, weight = torch.rand(8, 3), torch.rand(3)
    for training in (True, False):
        mine, theirs = statistics(), statistics()
        given = (data, *mine, weight, None, training, 0.3)
        assert torch.equal(
            batch_norm(*given), functional.batch_norm(data, *theirs, weight, None, training, 0.3)
        )
        assert all(map(torch.equal, mine, theirs))
        found = native(data, weight, None, *mine, training, 0.3, 1e-5)
        other = torch.native_batch_norm(data, weight, None, *theirs, training, 0.3, 1e-5)
        assert all(map(torch.equal, (*found, *mine), (*other, *theirs)))
    assert torch.equal(batch_norm(data, None, None, training=True),
                       functional.batch_norm(data, None, None, training=True))  # fmt: skip


@pytest.mark.parametrize("is_native", [False, True])
def test_a_graph_that_needs_the_old_numbers_fails(is_native: bool) -> None:
    mean, variance = statistics()
    weight = torch.ones(3, requires_grad=True)
    made = (weight * mean).sum()
    if is_native:
        native(torch.rand(8, 3), None, None, mean, variance, True, 0.1, 1e-5)
    else:
        batch_norm(torch.rand(8, 3), mean, variance, training=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        made.backward()


def test_a_layer_may_run_more_than_once_before_its_backward() -> None:
    """As the critic of two networks does, in evaluation, too."""
    (mean, variance), weight = statistics(), torch.ones(3, requires_grad=True)
    data = torch.rand(8, 3)
    made = [
        batch_norm(data, mean, variance, weight, None, training) for training in (True, False, True)
    ]
    sum(part.square().sum() for part in made).backward()
    assert weight.grad is not None
