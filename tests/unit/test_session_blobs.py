"""Bytes beside the messages of a session."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import pytest

from duet_p2p.engine.departure import Departure
from duet_p2p.errors import SessionClosed
from duet_p2p.session.transfers import Moving
from duet_p2p.wire.messages import Message, Put, Value
from duet_p2p.wire.values import Blob, Span, TensorData
from tests.unit.session_kit import (  # noqa: F401 (one is a fixture)
    End,
    Pair,
    opened,
    opened_pair,
    until,
)


async def test_blobs_go_both_ways(pair: Pair) -> None:
    data = os.urandom(3_000_000)
    arrived: dict[str, Any] = {}

    def expect(end: End) -> Callable[[int, Message], None]:
        def on_message(seq: int, message: Message) -> None:
            assert isinstance(message, Put | Value) and message.blob is not None
            arrived[end.session.role] = end.session.expect_blob(
                message.blob.transfer, message.blob.nbytes
            )

        return on_message

    pair.owner.session.on_message = expect(pair.owner)
    pair.scientist.session.on_message = expect(pair.scientist)
    tensor = TensorData("uint8", (len(data),), Span(0, len(data)))
    done: list[tuple[int, int]] = []

    def upload() -> None:
        outbox = pair.scientist.session.outbox
        parts = [memoryview(data)[:1000], memoryview(data)[1000:]]
        transfer = outbox.send_blob(parts, len(data), lambda *at: done.append(at))
        outbox.put(Put((1,), (tensor,), Blob(transfer, len(data))))

    await asyncio.to_thread(upload)
    transfer = pair.owner.session.send_blob([data], len(data))
    pair.owner.session.post(Value(5, tensor, Blob(transfer, len(data))))
    await until(lambda: len(arrived) == 2)
    for future in arrived.values():
        assert bytes(await asyncio.wait_for(future, 10)) == data
    assert done[-1] == (len(data), len(data))
    # and nobody keeps the bytes
    for end in (pair.owner, pair.scientist):
        await until(lambda end=end: end.session.status()["transfers_out"] == 0)  # type: ignore[misc]
        assert end.session.outbox.declared == {}


async def test_what_is_under_way_can_be_watched(pair: Pair) -> None:
    data = os.urandom(300_000)
    seen: dict[str, list[Moving]] = {"owner": [], "scientist": []}
    for end in (pair.owner, pair.scientist):
        transfers = end.session.transfers
        seen_here = seen[end.session.role]
        transfers.on_change = lambda t=transfers, s=seen_here: s.extend(t.moving())  # type: ignore[misc]
    futures: list[asyncio.Future[memoryview]] = []
    pair.owner.session.on_message = lambda seq, message: futures.append(
        pair.owner.session.expect_blob(1, len(data))
    )
    transfer = pair.scientist.session.send_blob([data], len(data))
    tensor = TensorData("uint8", (len(data),), Span(0, len(data)))
    pair.scientist.session.outbox.put(Put((1,), (tensor,), Blob(transfer, len(data))))
    await until(lambda: futures and futures[0].done())
    await until(lambda: not pair.scientist.session.transfers.moving())
    assert pair.owner.session.transfers.moving() == []
    for role, moved in seen.items():
        assert {(m.is_outgoing, m.nbytes) for m in moved} == {(role == "scientist", len(data))}
        assert [m.done for m in moved] == sorted(m.done for m in moved)
        assert any(0 < m.done < len(data) for m in moved)


async def test_a_blob_must_have_the_size_that_is_announced(pair: Pair) -> None:
    with pytest.raises(ValueError, match="announced"):
        pair.owner.session.send_blob([b"abc"], 4)
    with pytest.raises(ValueError, match="announced"):
        await asyncio.to_thread(pair.scientist.session.outbox.send_blob, [b"abc"], 4)


async def test_an_empty_blob_arrives(pair: Pair) -> None:
    futures: list[asyncio.Future[memoryview]] = []
    pair.owner.session.on_message = lambda seq, message: futures.append(
        pair.owner.session.expect_blob(1, 0)
    )
    transfer = pair.scientist.session.send_blob([], 0)
    pair.scientist.session.post(Put((1,), (1,), Blob(transfer, 0)))
    await until(lambda: bool(futures))
    assert bytes(await asyncio.wait_for(futures[0], 5)) == b""


@pytest.mark.parametrize("kind", ["memory", "file"])
@pytest.mark.parametrize("when", ["before", "during", "after", "unconfirmed"])
async def test_a_blob_survives_losses(pair: Pair, when: str, kind: str) -> None:
    data = os.urandom(6_000_000)
    source = data if kind == "memory" else Departure.holding([memoryview(data)], len(data))
    futures: list[asyncio.Future[memoryview]] = []
    received: list[int] = []
    lost_at: list[int] = []

    def lose() -> None:
        if not lost_at:
            lost_at.append(received[-1])
            pair.lose()

    def progress(done: int, _: int) -> None:
        received.append(done)
        if when == "during" and not lost_at and done > 500_000:
            asyncio.get_running_loop().call_soon(lose)

    pair.owner.session.on_message = lambda seq, message: futures.append(
        pair.owner.session.expect_blob(1, len(data), progress)
    )
    if when == "before":
        pair.lose()
        await until(lambda: not pair.scientist.session.is_open)
    transfer = pair.scientist.session.send_blob([source], len(data))
    pair.scientist.session.post(Put((1,), (1,), Blob(transfer, len(data))))
    if when == "during":
        await until(lambda: bool(lost_at))
        assert lost_at[0] < len(data)
    elif when != "before":
        if when == "unconfirmed":  # the Complete is lost with the association
            assert pair.owner.session._connection is not None
            pair.owner.session._connection.complete = lambda transfer: None  # type: ignore[method-assign]
        await until(lambda: bool(futures) and futures[0].done())
    if when in ("after", "unconfirmed"):
        pair.lose()
    if when != "before":
        await until(lambda: not pair.scientist.session.is_open)
    await pair.connect()
    await until(lambda: bool(futures))
    assert bytes(await asyncio.wait_for(futures[0], 10)) == data
    assert len(futures) == 1
    assert received == sorted(set(received)), "no byte was taken twice"
    await until(lambda: pair.scientist.session.status()["transfers_out"] == 0)


async def test_a_refused_blob_ends_on_both_sides(pair: Pair) -> None:
    data = bytes(5_000_000)
    refused: list[int] = []

    def refuse(seq: int, message: Message) -> None:
        pair.owner.session.refuse_blob(1)
        refused.append(seq)

    pair.owner.session.on_message = refuse
    transfer = pair.scientist.session.send_blob([data], len(data))
    pair.scientist.session.post(Put((1,), (1,), Blob(transfer, len(data))))
    await until(lambda: pair.scientist.session.status()["transfers_out"] == 0)
    assert refused == [1]
    assert pair.owner.session.is_open


async def test_control_does_not_wait_behind_bulk(pair: Pair) -> None:
    data = bytes(30_000_000)
    pair.owner.session.on_message = lambda seq, message: (
        (pair.owner.session.expect_blob(1, len(data)) if isinstance(message, Put) else None)
        and None
    )
    transfer = pair.scientist.session.send_blob([data], len(data))
    pair.scientist.session.post(Put((1,), (1,), Blob(transfer, len(data))))
    await until(lambda: pair.owner.session.status()["bytes_in"] > 1_000_000)
    before = pair.owner.session.status()["bytes_in"]
    pair.owner.post(7)
    await until(lambda: pair.scientist.calls == [(1, 7)])
    assert pair.owner.session.status()["bytes_in"] - before < 10_000_000


async def test_who_waits_for_a_blob_hears_of_the_end(pair: Pair) -> None:
    future = pair.owner.session.expect_blob(1, 1000)
    await pair.owner.session.close()
    with pytest.raises(SessionClosed):
        await future
    with pytest.raises(SessionClosed):
        await pair.owner.session.expect_blob(2, 1000)
