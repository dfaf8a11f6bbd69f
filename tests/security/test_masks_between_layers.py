"""Masks that one call lays on each other: those between the layers of a recurrent network.

A network of seven layers with ``dropout=0.5`` draws six masks, of which a record that has one
hidden number passes all with a chance of 1/64: what it gives for the others does not depend on
them. The seed is the scientist's, and can be tried out at home until one record is left.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from duet_p2p.owner.duet import OwnerDuet
from duet_p2p.owner.handlers import UNSET
from duet_p2p.wire.values import Ref
from tests.security.raw_peer import RawPeer, waits
from tests.security.rules_kit import CLASSES, TABLE, Session, X, session  # noqa: F401

GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}
SIZE = 64
F = "torch.nn.functional."


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


def kept(p: RawPeer) -> Ref:
    """Whether a mask within the bounds left a record's number: of this seed it drops one only."""
    p.do("torch.manual_seed", 6603)
    ones = p.op("torch.add", p.op("torch.mul", X, 0.0), 1.0)
    masked = p.op("torch.nn.functional.dropout", ones, 0.17, True)
    return p.op("torch.Tensor.float", p.op("torch.gt", masked, 0.5))


def test_numbers_that_are_no_classes_wait_beside_a_mask(guarded: Session) -> None:
    """The loss is zero of each record that the mask left, and of the others what they are."""
    duet, raw = guarded
    large = raw.op("torch.mul", kept(raw), 1e4)
    none = raw.op("torch.mul", large, 0.0)
    scores, first = raw.op("torch.stack", [large, none, none], 1), raw.put(torch.eye(3)[0])
    loss = raw.op("torch.nn.functional.cross_entropy", scores, TABLE, first, reduction="sum")
    assert "something public met the data along its records" in waits(duet, raw, loss, "loss")


@pytest.mark.xfail(strict=True, reason="open: docs/threat-model.md, classes beside a mask")
def test_the_class_of_the_one_record_that_a_mask_dropped_waits(guarded: Session) -> None:
    duet, raw = guarded
    gone = raw.op("torch.rsub", kept(raw), 1.0)
    scores = raw.op("torch.stack", [raw.op("torch.mul", gone, -n) for n in (1.0, 2.0, 3.0)], 1)
    waits(
        duet, raw, raw.op("torch.nn.functional.nll_loss", scores, CLASSES, reduction="sum"), "loss"
    )


@pytest.mark.parametrize("given", [CLASSES, "alike"])
def test_a_loss_of_a_masked_network_with_classes_passes(guarded: Session, given: Ref | str) -> None:
    _, raw = guarded
    masked = raw.op("torch.nn.functional.dropout", TABLE, 0.5, True)
    target = raw.op("torch.mul", masked, 2.0) if isinstance(given, str) else given
    loss = raw.op("torch.nn.functional.cross_entropy", masked, target)
    assert raw.ask(loss, "loss") == "Value"


# a rule that leaves what a dropout fell on


def _masked(p: RawPeer) -> Ref:
    return p.op(F + "dropout", X, 0.25, True)


def _summed(p: RawPeer) -> Ref:
    return p.op("torch.sum", _masked(p))


def _copied(p: RawPeer) -> Ref:
    own = p.op("torch.zeros", [])
    p.do("torch.Tensor.copy_", own, _summed(p))
    return own


def _parameter(p: RawPeer) -> Ref:
    return p.op("torch.mul", p.op("torch.nn.Parameter", _summed(p)), 2)


def _trained(p: RawPeer, masked: bool = True) -> Ref:
    """What SGD made of a weight, whose gradient came from records under a mask."""
    weight = p.op("torch.nn.Parameter", p.put(torch.ones(1)))
    optimizer = p.op("torch.optim.SGD", [weight], lr=0.1)
    seen = _masked(p) if masked else X
    p.do("torch.Tensor.backward", p.op("torch.mean", p.op("torch.mul", seen, weight)))
    p.do("torch.optim.Optimizer.step", optimizer)
    return weight


def _evaluated(p: RawPeer) -> Ref:
    return p.op("torch.mean", p.op("torch.mul", X, _trained(p)))


def _gradient(p: RawPeer) -> Ref:
    weight = p.op("torch.nn.Parameter", p.put(torch.ones(())))
    p.do("torch.Tensor.backward", p.op("torch.mean", p.op("torch.mul", _masked(p), weight)))
    return p.op("torch.Tensor.grad", weight)


def _statistics(p: RawPeer) -> Ref:
    """The running mean of a norm in training, over masked records."""
    mean, var = p.op("torch.zeros", [1]), p.op("torch.ones", [1])
    rows = p.op("torch.reshape", _masked(p), [SIZE, 1])
    p.op(F + "batch_norm", rows, mean, var, None, None, True, 0.5)
    return p.op("torch.sum", mean)


def _add_rule(duet: OwnerDuet, **said: Any) -> None:
    kinds = {"aggregate", "model"}
    duet.requests.add_handler("accept", name="loss", kinds=kinds, max_uses=None, **said)


UNDER_A_MASK = [_summed, _copied, _parameter, _evaluated, _gradient, _statistics]


@pytest.mark.parametrize("program", UNDER_A_MASK, ids=lambda made: made.__name__.strip("_"))
def test_a_rule_without_dropout_leaves_what_a_mask_fell_on(
    session: Session,  # noqa: F811
    program: Callable[[RawPeer], Ref],
) -> None:
    duet, raw = session
    _add_rule(duet, allow_dropout=False)
    assert "a dropout by the scientist's seed" in waits(duet, raw, program(raw), "loss")


@pytest.mark.parametrize("allowed", [True, UNSET], ids=["said", "not said"])
def test_a_rule_that_does_not_say_so_takes_it(
    session: Session,  # noqa: F811
    allowed: bool,
) -> None:
    duet, raw = session
    _add_rule(duet, allow_dropout=allowed)
    assert raw.ask(_summed(raw), "loss") == raw.ask(_evaluated(raw), "loss") == "Value"


@pytest.mark.parametrize("chance", [0.0, 0.25])
def test_a_rule_without_dropout_takes_what_none_fell_on(
    session: Session,  # noqa: F811
    chance: float,
) -> None:
    """A network at rest, and one whose dropout drops nothing."""
    duet, raw = session
    _add_rule(duet, allow_dropout=False)
    at_rest = raw.op(F + "dropout", X, chance, not chance)
    assert raw.ask(raw.op("torch.mean", at_rest), "loss") == "Value"
    assert raw.ask(_trained(raw, masked=False), "loss") == "Value"
