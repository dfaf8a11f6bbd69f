"""Frames to and from the engine's process."""

from __future__ import annotations

import dataclasses
import os
import socket

import msgpack
import pytest

from duet_p2p.engine import messages as m
from duet_p2p.engine import pipe
from duet_p2p.errors import ProtocolError
from duet_p2p.limits import PIPE_MEMORY_FILE_BYTES
from duet_p2p.wire.codec import encode_message
from duet_p2p.wire.messages import Del, Note, Op, Put
from duet_p2p.wire.values import Blob, Ref, Span, TensorData

LARGE = os.urandom(PIPE_MEMORY_FILE_BYTES)
TENSOR = TensorData("float32", (2,), b"12345678")
FACTS = m.Facts("model", (-1, -2), 10, True, 4, 16, "torch.Tensor", (2, 2), "float32", ("a",),
                "x + 1", 1 << 61, "", 0, "", "", False, ("", "MNIST in 'mnist'"))  # fmt: skip

ITEMS = [
    m.Configure({"objects": 5}, {"mnist": "somewhere"}, None),
    m.Run((
        (1, Op("torch.relu", (1, 2), (Ref(-1), 2.5, [TENSOR]), {"dim": slice(None)}, "g")),
        (4, Put((3,), (TensorData("uint8", (3,), Span(0, 3)),), Blob(7, 3), ("t",), "d", True)),
        (5, Del((1, 2))),
        (6, Note(3, ("x",), "text", False)),
    )),
    m.Malformed("a reason"),
    m.Arrived(7, b"abc"),
    m.Arrived(8, LARGE),
    m.Share(-1, {"w": TENSOR}, LARGE, "torch.nn.Module", ("ages",), "", True),
    m.Share(-2, 5, None, "python.Int", (), "", False),
    m.Drop((-1, 3)), m.Snapshot(9, 3), m.Release(9), m.Discard(9), m.Peek(9, 100), m.Read(9, -1),
    m.Stop(),
    m.Started(b"e" * 16, 1234, {"torch": "2"}),
    m.SettledUpTo(9),
    m.OpFailed(3, "torch.add", "ValueError", "text", True),
    m.Learnt(3, "torch.utils.data.DataLoader", None, None, 3, {"batches": 3, "element": [1]}),
    m.Shared(-1, "torch.Tensor", (6,), "int64", 6, False, None, 48, ""),
    m.Candidate(9, FACTS, TENSOR, True),
    m.Candidate(9, dataclasses.replace(FACTS, charge=1 << 70, shape=None, tags=()), 1 << 70, True),
    m.Candidate(9, None, None, False),
    m.Bytes(9, TensorData("float32", (2,), Span(0, 8)), LARGE),
    m.Bytes(9, 5, None),
    m.Text(9, "tensor(1)"), m.Refused(9, "no"), m.Died("signal 9"),
]  # fmt: skip


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    for sock in (ours, theirs):
        sock.settimeout(10)
    yield ours, theirs
    ours.close()
    theirs.close()


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def plain(item):
    """Buffers as bytes, so that memory files compare."""
    if hasattr(item, "data") and item.data is not None:
        values = [getattr(item, name) for name in type(item).__dataclass_fields__]
        return type(item)(*[bytes(v) if v is item.data else v for v in values])
    return item


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: type(item).__name__)
def test_every_command_and_event_crosses(pair, item):
    reader = pipe.FrameReader()
    pipe.send(pair[0], pipe.encode([item]))
    items = []
    while not items:
        items = pipe.receive(pair[1], reader)
    assert [plain(i) for i in items] == [plain(item)]


def test_all_in_one_frame_and_byte_by_byte():
    outgoing = pipe.encode(ITEMS)
    data = b"".join(outgoing.chunks)
    fds = [os.dup(fd) for fd in outgoing.fds]
    outgoing.close()
    reader = pipe.FrameReader()
    items = list(reader.feed(data[:1], fds))
    for byte in data[1:]:
        items += reader.feed(bytes([byte]))
    assert [plain(i) for i in items] == [plain(i) for i in ITEMS]


def test_large_buffers_are_sealed_memory_files_and_leave_nothing_open(pair):
    before = open_files()
    reader = pipe.FrameReader()
    for _ in range(3):
        outgoing = pipe.encode([m.Arrived(1, LARGE), m.Arrived(2, b"small")])
        assert len(outgoing.fds) == 1
        with pytest.raises(PermissionError):
            os.write(outgoing.fds[0], b"x")
        with pytest.raises(PermissionError):
            os.ftruncate(outgoing.fds[0], 10)
        pipe.send(pair[0], outgoing)
    items = list(pipe.receive(pair[1], reader))
    while len(items) < 6:
        items += pipe.receive(pair[1], reader)
    data = items[0].data.map()
    assert bytes(data) == LARGE
    data[:4] = b"mine"  # in the receiver's own pages: nobody else sees it
    assert bytes(items[2].data) == LARGE
    del data, items
    assert open_files() == before


def test_an_unsealed_file_is_refused(pair):
    outgoing = pipe.encode([m.Arrived(1, LARGE)])
    outgoing.close()
    fd = os.memfd_create("unsealed")
    os.write(fd, LARGE)
    reader = pipe.FrameReader()
    with pytest.raises(ProtocolError, match="not sealed"):
        list(reader.feed(b"".join(outgoing.chunks), [fd]))


def test_a_file_of_another_size_is_refused():
    outgoing = pipe.encode([m.Arrived(1, LARGE)])
    other = pipe.encode([m.Arrived(1, LARGE + b"x")])
    reader = pipe.FrameReader()
    fd = os.dup(other.fds[0])
    outgoing.close()
    other.close()
    with pytest.raises(ProtocolError, match="another size"):
        list(reader.feed(b"".join(outgoing.chunks), [fd]))


@pytest.mark.parametrize("data", [
    b"\xff" * 40,
    (4).to_bytes(4, "little") + bytes(9) + b"\x92\x90\x90\x00",
    (3).to_bytes(4, "little") + bytes(9) + b"abc",
    (6).to_bytes(4, "little") + bytes(9) + b"\x92\x91\x92\x63\x90\x90",
], ids=["too large", "trailing", "not msgpack", "unknown tag"])  # fmt: skip
def test_anything_else_is_a_protocol_error(data):
    with pytest.raises(ProtocolError):
        list(pipe.FrameReader().feed(data))


@pytest.mark.parametrize("shape", [[[1]], [1.5], {"@": []}, {"#": 0}, 1.5, b"x"])
def test_facts_hold_words_and_rows_of_words_only(shape):
    (data,) = pipe.encode([m.Candidate(9, FACTS, None, False)]).chunks
    (candidate,), _ = msgpack.unpackb(data[13:])
    candidate[1][1]["@"][7] = shape
    body = msgpack.packb([[candidate], []])
    with pytest.raises(ProtocolError):
        list(pipe.FrameReader().feed(len(body).to_bytes(4, "little") + bytes(9) + body))


def test_what_is_not_of_the_closed_set_cannot_be_written():
    with pytest.raises(TypeError):
        pipe.encode([object()])
    with pytest.raises(TypeError):
        pipe.encode([m.Configure({}, {}, lambda: None)])


def test_the_other_side_gone_reads_as_none(pair):
    pair[0].close()
    assert pipe.receive(pair[1], pipe.FrameReader()) is None


def test_an_operation_goes_on_as_it_came_and_is_read_here():
    op = Op("torch.relu", (1, 2), (Ref(-1), 2.5, [TENSOR]), {"dim": slice(None)}, "g")
    run = m.Run(((1, m.Unread(encode_message(op))), (2, Del((1,)))), 1.5)
    assert crossed(run) == m.Run(((1, op), (2, Del((1,)))), 1.5)


@pytest.mark.parametrize("field", [{"r": 0}, {"no": 1}, {"l": [1, 2]}, 2**64 - 1])
def test_a_run_with_an_operation_that_cannot_be_read_is_malformed_as_a_whole(field):
    bad = m.Unread(msgpack.packb([1, "torch.relu", [2], [field], [], "g"]))
    assert isinstance(crossed(m.Run(((1, Del((1,))), (2, bad)))), m.Malformed)


def crossed(item):
    outgoing = pipe.encode([item])
    (found,) = pipe.FrameReader().feed(b"".join(outgoing.chunks))
    return found
