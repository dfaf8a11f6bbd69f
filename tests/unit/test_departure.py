"""A download starts from a sealed memory file, which is read in parts and never mapped to send."""

import os

import pytest

from duet_p2p.engine import landing, pipe
from duet_p2p.engine import messages as m
from duet_p2p.engine.departure import Departure, in_memory
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
