"""Names that once told whether they had failed, with each of their arguments an owner's in turn."""

from __future__ import annotations

import pytest
import torch

from duet_p2p.wire.messages import Op
from duet_p2p.wire.values import Ref
from tests.security.neighbour_sweep import differences
from tests.surface.hostile import Kept

SQUARE, ROWS, PLACES = torch.eye(3) * 2, torch.rand(4, 5), torch.tensor([0, 1, 2, 1])
COMMANDS = {
    "torch.linalg.inv": ((Ref(1),), {1: SQUARE}),
    "torch.histogram": ((Ref(1), 3), {1: ROWS}),
    "torch.polygamma": ((1, Ref(1)), {1: ROWS}),
    "torch.Tensor.reshape": ((Ref(1), [5, 4]), {1: ROWS}),
    "torch.Tensor.expand": ((Ref(1), 2, 4, 5), {1: ROWS}),
    "torch.Tensor.new_ones": ((Ref(1), 2, 3), {1: ROWS}),
    "torch.Tensor.exponential_": ((Ref(1), 0.5), {1: ROWS}),
    "torch.Tensor.index_add_": ((Ref(1), 0, Ref(2), Ref(3)), {1: ROWS, 2: PLACES, 3: ROWS}),
    "python.Int.__divmod__": ((7, 2), {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_neighbour_of_any_argument_shows_nothing(name: str) -> None:
    args, values = COMMANDS[name]
    state = torch.get_rng_state()
    try:
        assert not list(differences(Kept(Op(name, (9,), args, {}, "g"), values)))
    finally:
        torch.set_rng_state(state)
