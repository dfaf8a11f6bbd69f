"""Masks that one call lays on each other: those between the layers of a recurrent network.

A network of seven layers with ``dropout=0.5`` draws six masks, of which a record that has one
hidden number passes all with a chance of 1/64: what it gives for the others does not depend on
them. The seed is the scientist's, and can be tried out at home until one record is left.
"""

from __future__ import annotations

import pytest
import torch

from duet_p2p.wire.values import Ref
from tests.security.raw_peer import RawPeer, waits
from tests.security.rules_kit import Session, X, session  # noqa: F401

GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}
SIZE = 64


@pytest.fixture
def guarded(session: Session) -> Session:  # noqa: F811
    session[0].requests.add_handler(name="loss", action="accept")
    return session


def network(p: RawPeer, kind: str, layers: int, chance: float) -> Ref:
    """The sum of what a recurrent network in training gives for all records."""
    shape, many = torch.ones(GATES[kind], 1), GATES[kind]
    weights = [
        p.put(part) for _ in range(layers)
        for part in (shape, shape, torch.zeros(many), torch.zeros(many))
    ]  # fmt: skip
    start = p.op("torch.zeros", [layers, SIZE, 1])
    data = p.op("torch.reshape", X, [SIZE, 1, 1])
    state = [start, start] if kind == "lstm" else start
    given = (data, state, weights, True, layers, chance, True, False, True)
    found = p.ops("torch." + kind, 3 if kind == "lstm" else 2, *given)
    return p.op("torch.sum", found[0])


@pytest.mark.parametrize(("layers", "chance"), [(7, 0.5), (3, 0.5), (30, 0.2)])
@pytest.mark.parametrize("kind", GATES)
def test_masks_that_leave_few_records_together_wait(
    guarded: Session, kind: str, layers: int, chance: float
) -> None:
    duet, raw = guarded
    assert "something public met the data along its records" in waits(
        duet, raw, network(raw, kind, layers, chance), "loss"
    )


@pytest.mark.parametrize(("layers", "chance"), [(2, 0.5), (3, 0.25), (7, 0.0)])
def test_one_mask_and_two_that_leave_enough_pass(
    guarded: Session, layers: int, chance: float
) -> None:
    _, raw = guarded
    assert raw.ask(network(raw, "lstm", layers, chance), "loss") == "Value"


@pytest.mark.xfail(strict=True, reason="open: docs/threat-model.md, masks of several numbers")
def test_a_product_of_masked_features_is_no_sum_over_all_records(guarded: Session) -> None:
    """One mask has as many chances for a record as it has numbers: here all eight must be kept."""
    duet, raw = guarded
    wide = raw.op("torch.Tensor.expand", raw.op("torch.reshape", X, [SIZE, 1]), SIZE, 8)
    masked = raw.op("torch.nn.functional.dropout", wide, 0.5, True)
    waits(duet, raw, raw.op("torch.sum", raw.op("torch.prod", masked, 1)), "loss")
