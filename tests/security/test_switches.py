"""Whether something was written to does not tell what a private switch is: that does not run."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.unit.scientist_kit import Pair, deny, pair


def relu(both: Pair, flag: Any) -> Any:
    own = torch.tensor([[-1.0, 2.0], [3.0, 4.0]]).send(both.duet)  # type: ignore[attr-defined]
    both.duet._client.call("torch.nn.functional.relu", own, inplace=flag)
    return own


def relu_by_place(both: Pair, flag: Any) -> Any:
    own = torch.tensor([[-1.0, 2.0], [3.0, 4.0]]).send(both.duet)  # type: ignore[attr-defined]
    both.duet._client.call("torch.nn.functional.relu", own, flag)
    return own


def running_mean(both: Pair, flag: Any) -> Any:
    x, mean, variance = (
        t.send(both.duet)  # type: ignore[attr-defined]
        for t in (torch.randn(4, 2), torch.zeros(2), torch.ones(2))
    )
    name = "torch.nn.functional.batch_norm"
    both.duet._client.call(name, x, mean, variance, None, None, flag)
    return mean


def embedding(both: Pair, flag: Any) -> Any:
    own = torch.ones(3, 4).send(both.duet)  # type: ignore[attr-defined]
    norm = both.duet.python.List([None, 0.5])[flag]
    index = torch.tensor([0, 1]).send(both.duet)  # type: ignore[attr-defined]
    both.duet._client.call("torch.nn.functional.embedding", index, own, max_norm=norm)
    return own


@pytest.mark.parametrize("write", [relu, relu_by_place, running_mean, embedding])
@pytest.mark.parametrize("as_number", [True, False])
@pytest.mark.parametrize("secret", [1.0, -1.0])
def test_nothing_is_written_whatever_the_switch_was(
    write: Any, as_number: bool, secret: float
) -> None:
    with pair(deny) as both:
        flag = both.share(torch.tensor([secret])).sum() > 0
        own = write(both, flag.item() if as_number else flag)
        assert own.get().tolist() == write(both, False).get().tolist()
        (told,) = both.owner.failures
        assert "private" in told.text and told.is_public


def test_a_switch_in_the_command_itself_is_what_it_says() -> None:
    with pair(deny) as both:
        assert relu(both, False).get().tolist() == [[-1.0, 2.0], [3.0, 4.0]]
        assert relu(both, True).get().tolist() == [[0.0, 2.0], [3.0, 4.0]]
