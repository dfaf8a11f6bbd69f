"""What a failed command would have been a view of, or gone back to, tells not that it failed."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.security.neighbour_kit import OPT, T
from tests.security.test_soundness import Seen, told
from tests.unit.engine_kit import Driver

DIST = "torch.distributions."


def test_a_tensor_that_the_graph_of_a_learning_rate_goes_back_to_is_trained_by_no_step() -> None:
    for rate in (0.4, -0.4):  # of which RMSprop takes one
        d = Driver()
        secret, w = d.share(torch.tensor(rate)), d.put(torch.ones(2, requires_grad=True))
        other = d.put(torch.ones(4, requires_grad=True))
        product = d.ok("torch.mul", secret, d.ok("torch.mean", other))
        optimizer = d.run("torch.optim.RMSprop", [w], lr=product)
        d.ok(T + "backward", d.ok("torch.sum", w), outs=0)
        d.run(OPT + "step", optimizer, outs=0)
        assert d.label(other)[0] == "public"
        assert d.facts(d.run(T + "grad", other)).kind == "public"
        assert d.label(w)[0] == "per_record"


@pytest.mark.parametrize("name", ["loc", "mean", "mode"])
def test_own_numbers_of_a_distribution_stay_public_whether_it_could_be_made_or_not(
    name: str,
) -> None:
    for scale in (1.0, -1.0):
        d = Driver()
        own = d.put(torch.zeros(1))
        made = d.run(DIST + "Normal", own, d.share(torch.tensor([scale])))
        value = d.run(f"{DIST}Distribution.{name}", made)
        assert d.label(own)[0] == "public"
        assert d.label(value)[0] == "per_record"


def test_a_view_at_a_place_that_its_own_numbers_say_is_no_place_to_write() -> None:
    def shown(first: int) -> list[Any]:
        d = Seen({"i": torch.tensor([first, 1, 2])})
        place = d.run(T + "__getitem__", d.refs[0], 0)
        for view in (
            d.run(T + "unfold", d.refs[0], 0, 1, place),
            d.run(T + "__getitem__", d.refs[0], place),
        ):
            d.run("torch.Tensor.add_", view, 1)
        return [e for e in told(d) if type(e).__name__ != "Hold"]

    assert shown(1) == shown(0) == shown(9)
