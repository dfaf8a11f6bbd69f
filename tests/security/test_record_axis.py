"""Records on an axis that the owner named: a raw peer gets no record, whatever it takes for one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from duet_p2p.owner.duet import OwnerDuet
from duet_p2p.wire.values import Ref
from tests.security.raw_peer import RawPeer, against, waits

T, F, DATA = "torch.Tensor.", "torch.nn.functional.", "torch.utils.data."
GENES, SQUARE, SCANS, AGES = (Ref(-n) for n in range(1, 5))
SHARED = {"genes": 1, "square": -1, "scans": 2, "ages": 0}


@pytest.fixture(scope="module")
def session() -> Iterator[tuple[OwnerDuet, RawPeer]]:
    """Sixty-four records in each, along axis 1, 1, 2 and 0."""
    made = torch.Generator().manual_seed(1)
    shapes = ((20, 64), (64, 64), (3, 8, 64), (64,))
    with against() as (duet, raw):
        for (tag, axis), shape in zip(SHARED.items(), shapes, strict=True):
            duet.send(torch.rand(shape, generator=made), tags=[tag], record_axis=axis)
        duet.requests.add_handler(name="loss", action="accept")
        yield duet, raw


def total(p: RawPeer, value: Ref) -> Ref:
    return p.op("torch.sum", value)


def at(p: RawPeer, value: Ref, *index: object) -> Ref:
    return p.op(T + "__getitem__", value, index)


def batch(p: RawPeer, *parts: Ref) -> Ref:
    loader = p.op(DATA + "DataLoader", p.op(DATA + "TensorDataset", *parts), batch_size=16)
    return p.op("python.List.__getitem__", p.op("python.next", p.op("python.iter", loader)), 0)


def fifth(p: RawPeer) -> Ref:
    made = torch.zeros(64)
    made[5] = 1
    return p.put(made)


def trained(p: RawPeer) -> Ref:
    """Records are the features of a layer, so each has a weight, whose gradient it is."""
    weight = p.op("torch.nn.Parameter", p.put(torch.zeros(1, 64)))
    loss = total(p, p.op(F + "linear", GENES, weight))
    p.do(T + "backward", loss)
    return p.op("torch.select", p.op("torch.sum", p.op(T + "grad", weight), 0), 0, 5)


ONE: dict[str, Callable[[RawPeer], Ref]] = {
    "a column": lambda p: total(p, at(p, GENES, slice(None), 5)),
    "a column of a square": lambda p: total(p, at(p, SQUARE, slice(None), 5)),
    "few columns": lambda p: total(p, p.op("torch.narrow", SQUARE, 1, 5, 3)),
    "the first axis of a square reduced": lambda p: at(p, p.op("torch.sum", SQUARE, 0), 5),
    "behind an ellipsis": lambda p: total(p, at(p, SCANS, ..., 5)),
    "an index along the axis": lambda p: total(
        p, p.op("torch.index_select", SCANS, 2, p.put(torch.tensor([5])))
    ),
    "a batch of the first axis": lambda p: total(p, batch(p, SQUARE)),
    "a batch beside honest records": lambda p: total(p, batch(p, SQUARE, AGES)),
    "an iterator": lambda p: total(p, p.op("python.next", p.op("python.iter", SQUARE))),
    "the columns as features": lambda p: total(p, p.op("torch.matmul", SQUARE, fifth(p))),
    "a mask": lambda p: total(p, p.op("torch.mul", GENES, fifth(p))),
    "a mask of a square, turned": lambda p: total(
        p, p.op("torch.mul", SQUARE, p.op("torch.unsqueeze", fifth(p), 0))
    ),
    "records crossed with those of the first axis": lambda p: total(
        p, at(p, p.op("torch.mul", SQUARE, AGES), slice(None), slice(0, 1))
    ),
    "a gradient of the records as features": trained,
    "a convolution along the axis": lambda p: total(
        p, p.op(F + "conv1d", SCANS, p.put(torch.ones(1, 8, 64)))
    ),
    "a norm over the axis": lambda p: total(p, p.op(F + "layer_norm", SCANS, [64])),
    "a pool over the axis": lambda p: total(p, p.op(F + "max_pool1d", SCANS, 64)),
    "the running mean of channels": lambda p: _statistics(p),
    "the transposed column": lambda p: total(p, at(p, p.op(T + "t", GENES), 5)),
    "a reshape that cuts columns": lambda p: at(
        p, p.op("torch.sum", p.op(T + "reshape", SQUARE, [32, 128]), 0), 5
    ),
}


MASKS = ("a mask", "a mask of a square, turned")


def _statistics(p: RawPeer) -> Ref:
    """Each record is a channel of the norm, so its own mean is in the buffer."""
    mean, var = p.put(torch.zeros(64)), p.put(torch.ones(64))
    p.op(F + "batch_norm", SQUARE, mean, var, None, None, True, 1.0)
    return at(p, mean, 5)


@pytest.mark.parametrize("attack", ONE)
def test_one_record_waits_for_the_owner(session: tuple[OwnerDuet, RawPeer], attack: str) -> None:
    duet, raw = session
    why = waits(duet, raw, ONE[attack](raw), "loss")
    assert ("injected" if attack in MASKS else "guard") in why


HONEST: dict[str, Callable[[RawPeer], Ref]] = {
    "a mean over them": lambda p: at(p, p.op("torch.mean", GENES, 1), 5),
    "a row of a square": lambda p: total(p, at(p, SQUARE, 5)),
    "a batch of what was turned": lambda p: p.op("torch.mean", batch(p, p.op(T + "t", SQUARE))),
    "a product with ages": lambda p: p.op("torch.mean", p.op("torch.mul", SCANS, AGES)),
    "a loss of a layer": lambda p: p.op(
        F + "mse_loss",
        p.op(T + "squeeze", p.op(F + "linear", p.op(T + "t", GENES), p.put(torch.ones(1, 20))), 1),
        AGES,
    ),
}


@pytest.mark.parametrize("what", HONEST)
def test_honest_sums_over_them_pass(session: tuple[OwnerDuet, RawPeer], what: str) -> None:
    _, raw = session
    assert raw.ask(HONEST[what](raw), "loss") == "Value"
