"""Uploads on their way to an engine that is busy, or that ends: by a partner's own frames."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from duet_p2p.owner.duet import OwnerDuet
from duet_p2p.protocol.description import Channel
from duet_p2p.session.bulk_header import CHUNK_BYTES, Kind, pack, unpack
from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Blob, Ref
from tests.security.bomb_kit import MIB, pid
from tests.security.raw_peer import RawPeer, of_process
from tests.security.test_neighbour_deaths import kill, restarted
from tests.security.test_uploads import NBYTES, T, announce, chunk, send, tensor

pytestmark = pytest.mark.slow

LIMITS = {"upload_bytes": MIB, "uploads_bytes": 4 * MIB}
Session = tuple[OwnerDuet, RawPeer]


@pytest.fixture
def session() -> Iterator[Session]:
    with of_process({"x": torch.arange(20.0)}, LIMITS) as made:
        yield made


def refused(raw: RawPeer) -> list[int]:
    """Transfers that the owner wants none of."""
    headers = [unpack(data) for channel, data in raw.received if channel == Channel.BULK]
    return [transfer for kind, transfer, *_ in headers if kind is Kind.REFUSE]


def test_uploads_that_a_busy_engine_has_not_taken_count(session: Session) -> None:
    """They lay in memory of the owner's by the hundred, none of them under way any more."""
    duet, raw = session
    os.kill(pid(duet), signal.SIGSTOP)  # as it is in the middle of a long operation
    try:
        refs = [announce(raw, n, tensor("uint8", MIB), nbytes=MIB)[0] for n in range(1, 21)]
        for number in range(1, 21):
            send(raw, number, bytes(MIB))
        raw.wait(lambda: len(refused(raw)) == 16)
        assert duet._service._uploads.under_way == 4 * MIB
    finally:
        os.kill(pid(duet), signal.SIGCONT)
    raw.wait_for_end()
    assert duet._service._uploads.under_way == 0
    assert [fail.code for fail in raw.told(wire.Fail)] == ["QuotaExceeded"] * 16
    assert raw.value(raw.get(raw.op(T + "sum", refs[3]))) == 0
    (one_more,) = announce(raw, 99, tensor("uint8", MIB), nbytes=MIB)
    send(raw, 99, b"\1" * MIB)
    assert raw.value(raw.get(raw.op(T + "sum", one_more))) == MIB


def test_bytes_of_an_engine_that_died_are_no_upload_of_the_next(session: Session) -> None:
    """They were kept in the next one, counted by nobody, and stood for whatever came under them."""
    duet, raw = session
    announce(raw, 7, tensor("uint8"))
    chunk(raw, 7, 0, b"\1" * 1000)
    raw.wait(lambda: [m.done for m in duet._session.transfers.moving()] == [1000])
    restarted(duet, raw)
    assert refused(raw) == [7] and duet._service._uploads.under_way == 0
    for at in range(1000, NBYTES, CHUNK_BYTES):  # who does not stop
        chunk(raw, 7, at, b"\1" * min(CHUNK_BYTES, NBYTES - at))
    (ref,) = announce(raw, 7, tensor("uint8"))
    send(raw, 7, b"\2" * NBYTES)
    assert raw.value(raw.get(raw.op(T + "min", ref))) == 2


def test_an_upload_of_a_suspended_session_is_refused_and_goes_on_with_it(
    session: Session,
) -> None:
    duet, raw = session
    number = raw.op(T + "long", raw.op(T + "sum", Ref(-1)))
    raw.op("torch.linalg.matrix_power", raw.op("torch.ones", 400, 400), number)
    raw.op(T + "nonzero", Ref(-1))
    raw.wait_for_end()
    announce(raw, 7, tensor("uint8"))
    kill(duet)
    raw.wait(lambda: raw.told(wire.Suspended))
    announce(raw, 8, tensor("uint8"))
    raw.wait(lambda: set(refused(raw)) == {7, 8})
    for number in (7, 8):
        raw.raw(Channel.BULK, pack(Kind.CANCEL, number))
    raw.wait(lambda: duet.status()["engine"]["pid"])
    duet.resume()
    raw.wait(lambda: raw.told(wire.EngineRestarted))
    (ref,) = announce(raw, 8, tensor("uint8"))
    send(raw, 8, b"\3" * NBYTES)
    assert raw.value(raw.get(raw.op(T + "max", ref))) == 3


def test_very_many_uploads_on_their_way_are_refused_and_the_session_goes_on(
    session: Session,
) -> None:
    """An honest loop over a table makes as many, and lost its session with the engine."""
    duet, raw = session
    for number in range(1, 1_501):
        announce(raw, number, tensor("uint8", 100), nbytes=100)
    raw.wait(lambda: duet.status()["received"] == raw.seq)
    restarted(duet, raw)
    assert len(refused(raw)) == 1_500
    for number in range(1, 1_501):
        raw.raw(Channel.BULK, pack(Kind.CANCEL, number))
    assert raw.value(raw.get(raw.put(5))) == 5


def test_more_uploads_than_may_be_under_way_are_refused_and_the_session_goes_on(
    session: Session,
) -> None:
    duet, raw = session
    blob = wire.Put((1,), (tensor("uint8", MIB),), Blob(1, MIB))
    many = [replace(blob, outs=(n,), blob=Blob(n, MIB)) for n in range(1, 1_501)]
    raw.send(*many)
    raw.wait(lambda: len(refused(raw)) == 1_496)
    assert duet.status()["state"] == "open"
