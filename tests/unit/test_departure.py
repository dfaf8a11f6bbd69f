"""A download starts from a sealed memory file, which is read in parts and never mapped to send."""

import asyncio
import gc
import os
from collections.abc import Iterator
from typing import Any

import pytest

from duet_p2p.engine import landing, pipe
from duet_p2p.engine import messages as m
from duet_p2p.engine.departure import Departure, in_memory, written
from duet_p2p.engine.landing import seal
from duet_p2p.errors import ProtocolError
from duet_p2p.session.bulk_sender import Source

pytestmark = pytest.mark.skipif(not landing.HAS_MEMORY_FILES, reason="needs memory files")

DATA = bytes(range(250)) * 400


def departure() -> Departure:
    return Departure.holding([memoryview(DATA)[:70_000], memoryview(DATA)[70_000:]], len(DATA))


def test_it_is_read_from_anywhere() -> None:
    source: Source = departure()
    assert source.read(250, 3) == b"\0\1\2"
    assert source.read(len(DATA) - 5, 100) == DATA[-5:]
    assert b"".join(departure().parts()) == bytes(departure()) == DATA


def test_nobody_writes_it() -> None:
    fd = departure().descriptor()
    with pytest.raises(PermissionError):
        os.pwrite(fd, b"x", 0)
    with pytest.raises(PermissionError):
        os.ftruncate(fd, 3)
    os.close(fd)


def test_a_file_that_is_not_sealed_or_has_another_size_is_not_taken() -> None:
    open_before = len(os.listdir("/proc/self/fd"))
    fd = os.memfd_create("x", os.MFD_ALLOW_SEALING)
    os.write(fd, DATA)
    with pytest.raises(ValueError, match="not sealed"):
        Departure(fd, len(DATA))
    with pytest.raises(ValueError, match="another size"):
        Departure(departure().descriptor(), len(DATA) + 1)
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_it_crosses_the_pipe_as_the_file_that_it_is_and_leaves_nothing_open() -> None:
    open_before = len(os.listdir("/proc/self/fd"))
    outgoing = pipe.encode([m.Bytes(9, 5, departure())])
    (event,) = pipe.FrameReader().feed(
        b"".join(outgoing.chunks), [os.dup(fd) for fd in outgoing.fds]
    )
    outgoing.close()
    assert isinstance(event.data, Departure) and bytes(event.data) == DATA
    assert bytes(in_memory(event.data)) == DATA and in_memory(b"as it is") == b"as it is"
    del event
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_it_leaves_while_it_is_written() -> None:
    made = Departure.empty(len(DATA))
    theirs = Departure(made.descriptor(), len(DATA), is_written=False)
    assert theirs.ready() == 0 and not theirs.is_written
    seen = []

    def parts() -> Iterator[memoryview]:
        yield memoryview(DATA)[:70_000]
        seen.append((theirs.ready(), theirs.read(69_999, 10), theirs.is_written))
        yield memoryview(DATA)[70_000:]

    made.write(parts())
    assert seen == [(70_000, DATA[69_999:70_000], False)]
    assert theirs.is_written and theirs.ready() == len(DATA) and bytes(theirs) == DATA


def test_who_looks_at_it_waits_until_it_cannot_change_any_more() -> None:
    made = Departure.empty(len(DATA))
    theirs = Departure(made.descriptor(), len(DATA), is_written=False)
    os.write(theirs._fd, DATA)
    with pytest.raises(ValueError, match="not sealed"):
        theirs.map()

    async def look() -> bytes:
        waiting = asyncio.ensure_future(written(theirs))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        seal(made._fd)
        await waiting
        return bytes(in_memory(theirs))

    assert asyncio.run(look()) == DATA


def test_one_that_was_not_written_to_its_end_is_none() -> None:
    def broken() -> Iterator[memoryview]:
        yield memoryview(DATA)[:5]
        raise OSError("no memory")

    made = Departure.empty(len(DATA))
    theirs = Departure(made.descriptor(), len(DATA), is_written=False)
    with pytest.raises(OSError, match="no memory"):
        made.write(broken())
    for read in (theirs.ready, lambda: bytes(theirs), lambda: asyncio.run(written(theirs))):
        with pytest.raises(EOFError, match="not written"):
            read()


def test_what_is_no_memory_file_or_is_shut_already_is_not_taken_as_one_that_grows() -> None:
    open_before = len(os.listdir("/proc/self/fd"))
    read_end, write_end = os.pipe()
    os.close(write_end)
    with pytest.raises(OSError):
        Departure(read_end, 100, is_written=False)
    with pytest.raises(ValueError, match="no size"):
        Departure(Departure.empty(100).descriptor(), 0, is_written=False)
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_one_that_grows_crosses_the_pipe_with_the_facts_and_with_nothing_else() -> None:
    gc.collect()
    open_before = len(os.listdir("/proc/self/fd"))

    def across(event: m.Event) -> Any:
        outgoing = pipe.encode([event])
        fds = [os.dup(fd) for fd in outgoing.fds]
        try:
            (arrived,) = pipe.FrameReader().feed(b"".join(outgoing.chunks), fds)
        finally:
            outgoing.close()
        return arrived

    made = Departure.empty(len(DATA))
    theirs = across(m.Candidate(9, None, 5, False, made)).data
    assert theirs.ready() == 0
    made.write([memoryview(DATA)])
    assert bytes(theirs) == DATA
    with pytest.raises(ProtocolError, match="not sealed"):
        across(m.Share(-1, 5, Departure.empty(7), "", (), "", True))
    del made, theirs
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == open_before
