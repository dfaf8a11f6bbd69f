"""What a partner can do with uploads, by frames made by hand: memory, pieces, ids, deaths.

An upload is announced by a command (`Put`) and arrives in pieces on another channel. So there are
two stories of one thing, and each attack tells them differently, or tells one of them twice.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from duet_p2p import limits
from duet_p2p.engine.host import ThreadHost
from duet_p2p.engine.landing import HAS_MEMORY_FILES
from duet_p2p.owner.duet import OwnerDuet
from duet_p2p.protocol.description import Channel
from duet_p2p.session.bulk_header import CHUNK_BYTES, Kind, pack
from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Blob, Ref, Span, TensorData
from tests.security.raw_peer import RawPeer, against, attacked
from tests.security.test_resume_attacks import epoch_of, resume

X, T = Ref(-1), "torch.Tensor."
NUMBERS = 32_768
NBYTES = 4 * NUMBERS
DATA = torch.arange(float(NUMBERS)) + 0.5
Session = tuple[OwnerDuet, RawPeer]


@pytest.fixture
def session() -> Iterator[Session]:
    with against({"x": DATA}) as pair:
        yield pair


def tensor(dtype: str = "float32", nbytes: int = NBYTES, at: int = 0) -> TensorData:
    """One that lies in an upload."""
    return TensorData(dtype, (nbytes // getattr(torch, dtype).itemsize,), Span(at, nbytes))


def announce(raw: RawPeer, transfer: int, *values: Any, nbytes: int = NBYTES) -> list[Ref]:
    outs = [raw.new_id() for _ in values]
    raw.send(wire.Put(tuple(outs), values, Blob(transfer, nbytes)))
    return [Ref(out) for out in outs]


def chunk(raw: RawPeer, transfer: int, at: int, data: bytes, total: int = NBYTES) -> None:
    raw.raw(Channel.BULK, pack(Kind.CHUNK, transfer, at, total) + data)


def send(raw: RawPeer, transfer: int, data: bytes = bytes(NBYTES)) -> None:
    """All of it, as it should be."""
    for at in range(0, len(data), CHUNK_BYTES):
        chunk(raw, transfer, at, data[at : at + CHUNK_BYTES], len(data))


# memory: labels hang on storages, so no two storages may lie over the same bytes


TWICE: dict[str, tuple[Any, ...]] = {
    "the same bytes as two types": (tensor("float32"), tensor("int32")),
    "as three": (tensor("int64"), tensor("float32"), tensor("uint8")),
    "the same type, which is one storage": (tensor("float32"), tensor("float32")),
    "one of them in a list": (tensor("float32"), [tensor("int32")]),
    "both in a dict": ({"one": tensor("float32"), "other": tensor("int32")},),
    "one that can have a gradient": (tensor("int32"), TensorData("float32", (NUMBERS,),
                                     Span(0, NBYTES), True)),
    "behind an empty one": (tensor("int32", 0), tensor("float32"), tensor("int32")),
    "all and a part": (tensor("float32"), tensor("int32", NBYTES // 2)),
}  # fmt: skip


def parts(raw: RawPeer, ref: Ref, value: Any) -> list[Ref]:
    """The tensors in what was uploaded."""
    if isinstance(value, list):
        return [raw.op("python.List.__getitem__", ref, n) for n in range(len(value))]
    if isinstance(value, dict):
        return [raw.op("python.Dict.__getitem__", ref, key) for key in value]
    return [ref]


@pytest.mark.parametrize("way", TWICE)
def test_what_is_written_to_one_tensor_of_an_upload_is_in_no_other(
    session: Session, way: str
) -> None:
    """The data went into one of them, and left by the other, which nobody knew it was in."""
    _, raw = session
    values = TWICE[way]
    refs = announce(raw, 7, *values)
    send(raw, 7)
    tensors = [t for ref, value in zip(refs, values, strict=True) for t in parts(raw, ref, value)]
    floats = [t for t in tensors if raw.value(raw.get(raw.op(T + "is_floating_point", t)))]
    raw.do(T + "copy_", raw.op(T + "detach", floats[0]), X)
    answers = [raw.get(raw.op(T + "count_nonzero", one)) for one in tensors]
    kept = [answer for answer in answers if isinstance(answer, wire.NotYours)]
    assert kept and all(raw.value(answer) == 0 for answer in answers if answer not in kept)


# the two stories do not fit


MISFITS: dict[str, tuple[Any, ...]] = {
    "it ends behind the upload": (tensor(nbytes=NBYTES, at=4),),
    "it begins behind it": (tensor(nbytes=4, at=NBYTES),),
    "a place that no machine has": (TensorData("uint8", (4,), Span(2**62, 4)),),
    "more numbers than bytes": (TensorData("float64", (NUMBERS,), Span(0, NBYTES)),),
    "fewer numbers than bytes": (TensorData("uint8", (NUMBERS,), Span(0, NBYTES)),),
    "a shape that is no shape": (TensorData("float32", (2**61, 8), Span(0, NBYTES)),),
    "an unknown type": (TensorData("float128", (NUMBERS,), Span(0, NBYTES)),),
    "a sound one beside it": (tensor(), tensor(at=1)),
    "something of the owner's": ([tensor(), X],),
}


@pytest.mark.parametrize("way", MISFITS)
def test_an_upload_that_is_not_what_was_announced_makes_nothing(session: Session, way: str) -> None:
    duet, raw = session
    refs = announce(raw, 7, *MISFITS[way])
    send(raw, 7)
    assert [type(raw.get(ref)) for ref in refs] == [wire.Failed] * len(refs)
    assert raw.value(raw.get(raw.put(1))) == 1
    assert duet._service._uploads.under_way == 0


PIECES: dict[str, list[tuple[int, int, int]]] = {
    "the same piece twice": [(0, 100, NBYTES), (0, 100, NBYTES)],
    "one that overlaps": [(0, 100, NBYTES), (50, 100, NBYTES)],
    "one with a gap": [(0, 100, NBYTES), (101, 100, NBYTES)],
    "the last one first": [(NBYTES - 100, 100, NBYTES)],
    "one past the end": [
        (0, CHUNK_BYTES, NBYTES),
        (CHUNK_BYTES, CHUNK_BYTES, NBYTES),
        (2 * CHUNK_BYTES, 10_000, NBYTES),
    ],
    "more in all than announced": [(0, 100, NBYTES + 100)],
    "less in all": [(0, 100, 100)],
    "more in all, later": [(0, 100, NBYTES), (100, 100, NBYTES + 100)],
}


@pytest.mark.parametrize("way", PIECES)
def test_pieces_that_break_a_rule_end_the_session_and_nothing_else(way: str) -> None:
    with against({"x": DATA}) as (duet, raw):
        announce(raw, 7, tensor())
        raw.wait(lambda: duet._service._uploads.under_way == NBYTES)
        for at, nbytes, total in PIECES[way]:
            chunk(raw, 7, at, bytes(nbytes), total)
        raw.wait(lambda: not duet.is_open)
        assert not raw.told(wire.Value) and duet.store[0].get().equal(DATA)


def test_the_first_bytes_of_a_piece_are_not_changed_by_who_sends_it_anew() -> None:
    """After a loss it goes on where it was: not from the beginning, with other bytes."""
    duet, raw, bridge = attacked({}, ThreadHost())
    try:
        announce(raw, 7, tensor("uint8"))
        chunk(raw, 7, 0, bytes(1000))
        raw.wait(lambda: [m.done for m in duet._session.transfers.moving()] == [1000])
        resume((duet, raw, bridge), raw.heard, epoch_of(raw))
        chunk(raw, 7, 0, b"\1" * 1000)
        raw.wait(lambda: not duet.is_open)
    finally:
        duet.close()
        bridge.close()


# one of the two is told twice, in another order, or not at all


def test_bytes_that_come_before_their_command_are_those_of_the_command(session: Session) -> None:
    _, raw = session
    send(raw, 7, b"\1" * NBYTES)
    (ref,) = announce(raw, 7, tensor("uint8"))
    assert raw.value(raw.get(raw.op("torch.all", raw.op(T + "eq", ref, 1)))).item()


def test_an_object_is_the_first_upload_under_its_id(session: Session) -> None:
    duet, raw = session
    out = raw.new_id()
    for transfer in (7, 8):
        raw.send(wire.Put((out,), (tensor("uint8"),), Blob(transfer, NBYTES)))
    for transfer in (8, 7):
        send(raw, transfer, bytes([transfer]) * NBYTES)
    raw.wait_for_end()
    assert [fail.op for fail in raw.told(wire.Fail)] == ["Put"]
    assert raw.value(raw.get(raw.op(T + "max", Ref(out)))) == 7
    assert duet._service._uploads.under_way == 0


def test_one_transfer_that_is_announced_twice_is_one_object_at_most(session: Session) -> None:
    duet, raw = session
    refs = [announce(raw, 7, tensor("uint8"))[0] for _ in range(2)]
    send(raw, 7, b"\1" * NBYTES)
    assert [type(raw.get(ref)) for ref in refs].count(wire.Failed) >= 1
    raw.wait_for_end()
    assert duet._service._uploads.under_way == 0


def test_a_transfer_that_was_given_up_in_the_middle_is_no_part_of_the_next(
    session: Session,
) -> None:
    _, raw = session
    (first,) = announce(raw, 7, tensor("uint8"))
    chunk(raw, 7, 0, b"\1" * 1000)
    raw.raw(Channel.BULK, pack(Kind.CANCEL, 7))
    assert isinstance(raw.get(first), wire.Failed)
    (second,) = announce(raw, 7, tensor("uint8"))
    send(raw, 7, b"\2" * NBYTES)
    assert raw.value(raw.get(raw.op(T + "min", second))) == 2


def test_what_is_deleted_while_it_arrives_is_gone_and_holds_nothing_up(session: Session) -> None:
    duet, raw = session
    (ref,) = announce(raw, 7, tensor())
    chunk(raw, 7, 0, bytes(1000))
    raw.delete(ref)
    after = raw.put(1)
    for at in range(1000, NBYTES, 20_000):
        chunk(raw, 7, at, bytes(min(20_000, NBYTES - at)))
    assert raw.value(raw.get(after)) == 1
    assert raw.get(ref).state == "unknown"
    raw.wait_for_end()
    assert duet._service._uploads.under_way == 0


def test_commands_behind_an_upload_see_it_as_it_is_at_their_place(session: Session) -> None:
    """What was asked for before the data came into it is free, however late its bytes come."""
    _, raw = session
    (ref,) = announce(raw, 7, tensor())
    before = raw.ask_for(raw.op(T + "sum", ref))
    raw.do(T + "copy_", ref, X)
    calls = [raw.ask_for(ref), raw.ask_for(raw.op(T + "sum", ref)), raw.request(ref, "", 0.0)]
    send(raw, 7)
    assert raw.value(raw.answer(before)) == 0
    answers = [type(raw.answer(call)) for call in calls]
    assert answers == [wire.NotYours, wire.NotYours, wire.Expired]


# floods


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not HAS_MEMORY_FILES, reason="uploads land in ordinary memory here")
def test_uploads_that_never_come_take_few_descriptors_of_the_owner(session: Session) -> None:
    """A process has a thousand, often: the owner's could not open a file any more."""
    duet, raw = session
    before, many = descriptors(), 10 * limits.UPLOAD_FILES
    for number in range(many):
        announce(raw, number + 1, tensor("uint8", 65_536), nbytes=65_536)
    raw.wait(lambda: duet._service._uploads.under_way == many * 65_536)
    assert descriptors() - before <= limits.UPLOAD_FILES + 16
    for number in range(many):  # those that nobody asked for yet can be given up, too
        raw.raw(Channel.BULK, pack(Kind.CANCEL, number + 1))
    raw.wait_for_end()
    assert duet._service._uploads.under_way == 0
