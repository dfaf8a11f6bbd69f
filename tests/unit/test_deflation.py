"""Released values are compressed where it pays, and nothing that arrives makes a receiver swell."""

import asyncio
import os
import random
import tracemalloc
import zlib
from typing import Any

import pytest

from duet_p2p import limits
from duet_p2p.errors import ProtocolError
from duet_p2p.session import deflation
from duet_p2p.session.bulk_header import CHUNK_BYTES, SIZE, Kind, pack
from duet_p2p.session.deflation import Pace, Sample, deflate, inflate, is_agreed
from duet_p2p.transport.memory import memory_pair
from tests.unit.bulk_kit import DEADLINE, Growing, Side, chunk, until, view
from tests.unit.session_kit import OWNER_ID, SCIENTIST_ID, End, linked
from tests.unit.session_kit import until as until_open

BOTH = {"deflate": ["zlib"]}
SLOW, FAST = 1e6, 1e12  # bytes a second
MOST = limits.DEFLATE_BLOCK_BYTES


def sparse(nbytes: int) -> bytes:
    """A tenth of the bytes is not zero, as behind a ReLU."""
    draw = random.Random(1)
    data = bytearray(nbytes)
    for at in range(0, nbytes, 10):
        data[at] = draw.randrange(256)
    return bytes(data)


def deflated(transfer: int, offset: int, total: int, size: int, packed: bytes) -> bytes:
    return pack(Kind.DEFLATED, transfer, offset, total) + SIZE.pack(size) + packed


async def sides(rate: float = SLOW) -> tuple[Side, Side, Any, Any]:
    """An owner who may compress, and a scientist who takes it, on a path of a known rate."""
    a, b = await memory_pair()
    owner, scientist = Side(), Side()
    owner.attach(a, deflates=True)
    scientist.attach(b, inflates=True)
    owner.bulk.sender._pace = Settled(rate)
    return owner, scientist, a, b


class Settled(Pace):
    """A path that was measured and stays as it is."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate, self.is_measured = rate, True

    def note(self, now: float, left: int, waiting: int) -> None:
        pass


def kinds(side: Side) -> set[Kind]:
    return {kind for kind, _ in side.kinds()} & {Kind.CHUNK, Kind.DEFLATED}


@pytest.mark.parametrize("is_late", [False, True], ids=["declared before", "declared after"])
async def test_what_compresses_arrives_whole_in_fewer_bytes(is_late: bool) -> None:
    owner, scientist, a, b = await sides()
    data = sparse(2_000_000) + os.urandom(100_000) + bytes(500_003)
    if not is_late:
        scientist.bulk.receiver.expect(1, len(data))
    sending = asyncio.create_task(owner.bulk.sender.send(1, [view(data)]))
    if is_late:
        await until(lambda: scientist.messages)
        await asyncio.sleep(0.02)
        scientist.bulk.receiver.expect(1, len(data))
    async with asyncio.timeout(DEADLINE):
        assert await sending
    await until(lambda: 1 in scientist.complete)
    assert scientist.problem is None and scientist.complete[1] == data
    assert Kind.DEFLATED in kinds(scientist)
    assert owner.bulk.sent_bytes < len(data) * 0.6
    assert scientist.steps[-1] == (1, len(data), len(data))
    await a.close()
    await b.close()


@pytest.mark.parametrize(
    ("data", "rate"),
    [(os.urandom(1_000_000), SLOW), (sparse(1_000_000), FAST), (bytes(60_000), SLOW)],
    ids=["dense", "fast path", "small"],
)
async def test_it_is_left_alone_where_it_does_not_pay(data: bytes, rate: float) -> None:
    owner, scientist, a, b = await sides(rate)
    scientist.bulk.receiver.expect(1, len(data))
    assert await owner.bulk.sender.send(1, [view(data)])
    await until(lambda: 1 in scientist.complete)
    assert scientist.complete[1] == data and kinds(scientist) == {Kind.CHUNK}
    await a.close()
    await b.close()


async def test_it_begins_in_the_middle_of_a_value_that_takes_its_time_to_leave() -> None:
    a, b = await memory_pair()
    owner, scientist = Side(), Side()
    owner.attach(a, deflates=True)
    scientist.attach(b, inflates=True)
    owner.bulk.sender._pace = pace = Settled(SLOW)
    pace.is_measured = False  # when it begins
    source = Growing(bytes(20_000_000))
    scientist.bulk.receiver.expect(1, source.nbytes)
    sending = asyncio.create_task(owner.bulk.sender.send(1, [source]))
    async with asyncio.timeout(DEADLINE):
        while Kind.DEFLATED not in kinds(scientist) and source.there < source.nbytes:
            source.there = min(source.there + CHUNK_BYTES, source.nbytes)
            await asyncio.sleep(0.002)
        assert {kind for kind, _ in scientist.kinds()} == {Kind.CHUNK, Kind.DEFLATED}
        source.there = source.nbytes
        assert await sending
    await until(lambda: 1 in scientist.complete)
    assert scientist.complete[1] == source.data
    await a.close()
    await b.close()


async def test_after_a_loss_it_goes_on_in_the_middle_of_a_block() -> None:
    owner, scientist, a, b = await sides()
    data = sparse(1_000_000)
    scientist.bulk.receiver.expect(1, len(data))
    packed = deflate(data[:12_345])
    scientist.bulk.feed(deflated(1, 0, len(data), 12_345, packed))
    assert dict(scientist.bulk.receiver.pending()) == {1: 12_345}
    a.lose()
    a, b = await memory_pair()
    owner.attach(a, deflates=True)
    scientist.attach(b, inflates=True)
    owner.bulk.sender._pace = Settled(SLOW)
    assert await owner.bulk.sender.send(1, [view(data)], start=12_345)
    await until(lambda: 1 in scientist.complete)
    assert scientist.complete[1] == data
    await a.close()
    await b.close()


BLOCK = bytes(1000)
HOSTILE = {
    "a bomb": (1000, zlib.compress(bytes(10_000_000))),
    "a bomb that says so": (10_000_000, zlib.compress(bytes(10_000_000))),
    "one byte too many": (MOST + 1, zlib.compress(bytes(MOST + 1))),
    "more than it says": (999, zlib.compress(BLOCK)),
    "less than it says": (1001, zlib.compress(BLOCK)),
    "nothing": (0, zlib.compress(b"")),
    "cut off": (1000, zlib.compress(BLOCK)[:-1]),
    "cut off in the middle": (1000, zlib.compress(os.urandom(1000))[:500]),
    "of no bytes": (1000, b""),
    "damaged": (1000, zlib.compress(BLOCK)[:-1] + b"x"),
    "something behind it": (1000, zlib.compress(BLOCK) + b"x"),
    "no zlib": (1000, BLOCK),
    "raw deflate": (1000, zlib.compress(BLOCK)[2:-4]),
    "with a dictionary": (1000, b"\x78\xbb\0\0\0\1" + zlib.compress(BLOCK)[2:]),
    "past the end of the value": (2001, zlib.compress(bytes(2001))),
}


@pytest.mark.parametrize(("size", "packed"), HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_hostile_chunk_is_one_error_and_loses_nothing(size: int, packed: bytes) -> None:
    _, scientist, a, b = await sides()
    first, rest = os.urandom(1000), os.urandom(1000)
    scientist.bulk.receiver.expect(1, 2000)
    scientist.bulk.feed(chunk(1, 0, 2000, first))
    with pytest.raises(ProtocolError):
        scientist.bulk.feed(deflated(1, 1000, 2000, size, packed))
    assert dict(scientist.bulk.receiver.pending()) == {1: 1000} and scientist.complete == {}
    scientist.bulk.feed(deflated(1, 1000, 2000, 1000, deflate(rest)))
    assert scientist.complete == {1: first + rest}
    await a.close()
    await b.close()


def test_a_bomb_never_takes_more_than_a_block() -> None:
    bomb = memoryview(zlib.compress(bytes(64 << 20), 9))
    assert inflate(memoryview(deflate(bytes(MOST))), MOST) == bytes(MOST)
    tracemalloc.start()
    try:
        for size in (1, 1000, MOST, MOST + 1, 64 << 20, 2**32 - 1):
            with pytest.raises(ProtocolError):
                inflate(bomb, size)
        assert tracemalloc.get_traced_memory()[1] < 3 * MOST
    finally:
        tracemalloc.stop()


async def test_what_nobody_declared_counts_as_it_is_inflated() -> None:
    _, scientist, a, b = await sides()
    total = 10 * MOST
    whole = limits.BULK_EARLY_WIDE_BYTES
    for offset in range(0, whole, MOST):
        scientist.bulk.feed(deflated(1, offset, total, MOST, deflate(bytes(MOST))))
    with pytest.raises(ProtocolError, match="undeclared"):
        scientist.bulk.feed(deflated(1, whole, total, 1, deflate(b"x")))
    await a.close()
    await b.close()


async def test_without_an_agreement_there_are_none_and_one_breaks_a_rule() -> None:
    a, b = await memory_pair()
    owner, scientist = Side(), Side()
    owner.attach(a)
    scientist.attach(b)
    owner.bulk.sender._pace = Settled(SLOW)
    data = bytes(1_000_000)
    scientist.bulk.receiver.expect(1, len(data))
    assert await owner.bulk.sender.send(1, [view(data)])
    await until(lambda: 1 in scientist.complete)
    assert kinds(scientist) == {Kind.CHUNK}
    with pytest.raises(ProtocolError):
        scientist.bulk.feed(deflated(2, 0, 1000, 1000, deflate(bytes(1000))))
    await a.close()
    await b.close()


@pytest.mark.parametrize("theirs", [BOTH, {}], ids=["both can", "one cannot"])
async def test_only_the_owner_compresses_and_only_where_both_can(theirs: dict[str, Any]) -> None:
    ends = {role: End(role) for role in ("owner", "scientist")}
    a, b = await memory_pair()
    ends["owner"].session.attach(linked(a, SCIENTIST_ID, theirs))
    ends["scientist"].session.attach(linked(b, OWNER_ID, BOTH))
    await until_open(lambda: all(end.session.is_open for end in ends.values()))
    data = bytes(2_000_000)
    for end in ends.values():
        sender = end.session.transfers._bulk.sender
        sender._pace = Settled(SLOW)
    for role, other in (("owner", "scientist"), ("scientist", "owner")):
        transfer = ends[role].session.send_blob([data], len(data))
        async with asyncio.timeout(DEADLINE):
            arrived = await ends[other].session.expect_blob(transfer, len(data))
        assert bytes(arrived) == data
        sent = ends[role].session.transfers.sent_bytes
        assert (sent < len(data) / 2) == (role == "owner" and theirs == BOTH)
    # an owner takes none, whatever was agreed
    stray = deflated(9, 0, 1000, 1000, deflate(bytes(1000)))
    b.send(2, stray)
    await until_open(lambda: ends["owner"].session.end is not None)
    assert isinstance(ends["owner"].session.end, ProtocolError)
    await asyncio.gather(*(end.session.close() for end in ends.values()))


@pytest.mark.parametrize(
    "theirs", [None, "zlib", 5, {}, [], ["zstd"], [["zlib"]], {"zlib": 1}, True, [None, 3]]
)
def test_whatever_else_a_partner_says_is_no_agreement(theirs: Any) -> None:
    assert not is_agreed({"deflate": theirs}) and not is_agreed({})
    assert is_agreed({"deflate": ["zstd", "zlib"]})


def test_it_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert deflation.capability() == ["zlib"]
    monkeypatch.setenv("DUET_DEFLATE", "off")
    assert deflation.capability() == [] and not is_agreed(BOTH)


def test_it_pays_by_what_is_left_how_fast_that_goes_and_what_the_path_takes() -> None:
    activations, dense = Sample(0.16, 1 / 138e6), Sample(0.93, 1 / 22e6)  # bytes a second
    assert activations.pays(35e6) and not activations.pays(136e6)
    assert not dense.pays(1e3)
    assert Sample.of([bytes(8192)]).share < 0.01 < 0.9 < Sample.of([os.urandom(8192)]).share
    worse = activations.with_next(dense)
    assert activations.share < worse.share < dense.share
    assert activations.seconds < worse.seconds < dense.seconds


def test_the_path_is_measured_while_something_waits_for_it() -> None:
    pace = Pace()
    assert pace.rate == limits.DEFLATE_PATH_RATE and not pace.is_measured
    pace.note(0.0, 0, 100)
    pace.note(0.01, 9_000_000, 100)  # too soon to tell
    pace.note(1.0, 2_000_000, 0)  # idle for some time
    assert not pace.is_measured
    pace.note(2.0, 3_000_000, 100)
    pace.note(3.0, 4_000_000, 100)
    assert pace.is_measured and pace.rate == pytest.approx(1e6)
    pace.note(4.0, 4_500_000, 100)
    assert 0.5e6 < pace.rate < 1e6


def test_a_chunk_of_them_fits_a_message() -> None:
    assert CHUNK_BYTES + 25 == limits.BULK_MESSAGE_BYTES <= limits.MESSAGE_MAX_BYTES
    assert limits.DEFLATE_BLOCK_BYTES <= limits.BULK_EARLY_BYTES
