"""What the other side may not do on channel 2, and how much it may send before a declaration."""

import asyncio
import os

import pytest

from duet_p2p import limits
from duet_p2p.errors import ProtocolError
from duet_p2p.session.bulk import BulkReceiver
from duet_p2p.session.bulk_header import CHUNK_BYTES, HEADER_BYTES, Kind, charge, early_of, pack
from tests.unit.bulk_kit import DEADLINE, chunk, sides, until, view


def receiver() -> BulkReceiver:
    return BulkReceiver(lambda _transfer_id, _data: None)


@pytest.mark.parametrize(
    "messages",
    [
        [b""],
        [bytes(HEADER_BYTES - 1)],
        [pack(Kind.CHUNK, 1)[:1].replace(b"\x01", b"\x09") + bytes(HEADER_BYTES - 1)],
        [pack(Kind.GO, 1)],
        [pack(Kind.CANCEL, 1) + b"more"],
        [pack(Kind.CANCEL, 1, 1)],
        [chunk(1, 1, 10, b"gap")],
        [chunk(1, 0, 10, b"")],
        [chunk(1, 0, 2, b"abc")],
        [chunk(1, 0, 0, b"abc")],
        [chunk(1, 0, 10, b"abc"), chunk(1, 0, 10, b"abc")],
        [chunk(1, 0, 10, b"abc"), chunk(1, 3, 11, b"abc")],
        [chunk(1, 0, 10, b"abc"), pack(Kind.CANCEL, 1), chunk(1, 3, 10, b"abc")],
        [chunk(number, 0, 10, b"abc") for number in range(limits.TRANSFERS + 1)],
        [chunk(1, 50_000 * step, 10**9, bytes(50_000)) for step in range(21)],
        [
            chunk(number, 50_000 * step, 1_000_000, bytes(50_000))
            for number in range(4)
            for step in range(20)
        ]
        + [chunk(number, 0, 60_000, bytes(60_000)) for number in range(4, 8)],
        [chunk(number, 0, 1, b"x") for number in range(1025)],
        [pack(Kind.CANCEL, number) for number in range(limits.BULK_REFUSED + 1)],
    ],
    ids=[
        "empty",
        "short",
        "kind",
        "direction",
        "cancel with bytes",
        "cancel with an offset",
        "gap",
        "no bytes",
        "overrun",
        "bytes of nothing",
        "twice",
        "size changes",
        "after its end",
        "five at once",
        "much of one",
        "much of many",
        "many tiny",
        "many cancelled",
    ],
)
def test_breaking_a_rule_is_a_protocol_error(messages: list[bytes]) -> None:
    into = receiver()
    for message in messages[:-1]:
        into.feed(message)
    with pytest.raises(ProtocolError):
        into.feed(messages[-1])


def test_limits_of_what_comes_undeclared_are_exact() -> None:
    into = receiver()
    most = limits.BULK_EARLY_WIDE_BYTES
    for number in range(limits.TRANSFERS * most // limits.BULK_CHARGE_BYTES):
        into.feed(chunk(number, 0, 1, b"x"))
    with pytest.raises(ProtocolError, match="without a declaration"):
        into.feed(chunk(limits.TRANSFERS * most, 0, 1, b"x"))
    assert charge(0, most) == charge(4096, most) == 4096
    assert charge(10**9, most) == most
    whole = receiver()
    step = most // 32
    for offset in range(0, most, step):
        whole.feed(chunk(1, offset, 10**9, bytes(step)))
    with pytest.raises(ProtocolError, match="undeclared"):
        whole.feed(chunk(1, most, 10**9, b"x"))


@pytest.mark.parametrize(
    ("said", "early"),
    [
        (None, 262_144),
        (True, 262_144),
        ("1048576", 262_144),
        (2.0**20, 262_144),
        (-1, 262_144),
        (262_143, 262_144),
        (300_000, 300_000),
        (1_048_576, 1_048_576),
        (1 << 80, 1_048_576),
    ],
)
def test_what_leaves_before_go_is_what_the_partner_said_within_bounds(
    said: object, early: int
) -> None:
    assert early_of({"early": said}) == early


async def test_a_partner_that_takes_more_before_go_is_sent_more() -> None:
    owner, scientist, a, b = await sides()
    wide = limits.BULK_EARLY_WIDE_BYTES
    scientist.bulk.attach(b, early=wide)
    data = [os.urandom(2_000_000) for _ in range(5)]
    sending = [
        asyncio.create_task(scientist.bulk.sender.send(number, [view(part)]))
        for number, part in enumerate(data)
    ]
    whole = wide // CHUNK_BYTES
    await until(lambda: len(owner.messages) == limits.TRANSFERS * whole)
    await asyncio.sleep(0.05)
    assert len(owner.messages) == limits.TRANSFERS * whole and owner.problem is None
    for number, part in enumerate(data):
        owner.bulk.receiver.expect(number, len(part))
    async with asyncio.timeout(DEADLINE):
        assert all(await asyncio.gather(*sending))
    await until(lambda: len(owner.complete) == 5)
    assert [owner.complete[number] for number in range(5)] == data
    await a.close()
    await b.close()


def test_a_declaration_has_to_fit_what_came() -> None:
    into = receiver()
    into.feed(chunk(1, 0, 10, b"abc"))
    with pytest.raises(ProtocolError):
        into.expect(1, 11)
    into.expect(1, 10)
    with pytest.raises(ProtocolError):
        into.expect(1, 10)
    with pytest.raises(ValueError, match="does not fit"):
        into.expect(2, 10, view(bytearray(9)))
    into.expect(3, 10)
    with pytest.raises(ProtocolError):
        into.feed(chunk(3, 0, 12, b"abc"))


def test_all_that_a_window_declares_can_be_refused_at_once_and_not_without_end() -> None:
    """It ended sessions: as many as were on their way to an engine that died are refused."""
    into = receiver()
    window = limits.WINDOW_COMMANDS * limits.WINDOW_SLACK
    for number in range(window):
        into.expect(number, 10)
        into.refuse(number)
    for number in range(window):  # an honest sender says that it stopped
        into.feed(pack(Kind.CANCEL, number))
    for number in range(window, window + limits.BULK_UNANSWERED):
        into.refuse(number)
    with pytest.raises(ProtocolError, match="refused"):
        into.refuse(window + limits.BULK_UNANSWERED)
