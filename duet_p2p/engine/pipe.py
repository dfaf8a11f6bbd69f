"""Frames on the socket pair between the owner's process and the engine's.

A frame is a header, a msgpack body and the bytes of small buffers. Large buffers go beside it as
sealed memory files: the sender writes the bytes once into a file without a name, seals it so that
nobody can change or shorten it any more, and passes the descriptor; the receiver maps it. Without
the seals a sender could change bytes after they were checked, or cut the file under the reader.

CLOSED SET. `_CLASSES` below is everything that can come out of a frame, with values of the wire's
closed set as fields; there is no pickle here. This matters in one direction most of all: the
engine's process runs the scientist's operations, and the owner's process must be able to read
from it without trusting it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any, Final

import msgpack

from duet_p2p.engine import messages as m
from duet_p2p.engine.departure import Departure
from duet_p2p.engine.landing import HAS_MEMORY_FILES, Landing, sealed
from duet_p2p.engine.reserve import again
from duet_p2p.errors import ProtocolError
from duet_p2p.limits import (
    PIPE_FRAME_BYTES,
    PIPE_MEMORY_FILE_BYTES,
    PIPE_SHORT_LOOK_SECONDS,
    PIPE_SHORT_SECONDS,
)
from duet_p2p.wire.codec import pack_value, unpack_message, unpack_value
from duet_p2p.wire.fields import pack_fields

__all__ = ["FrameReader", "Outgoing", "encode", "receive", "send"]

Buffer = bytes | bytearray | memoryview
Item = Any
"""A command or an event of engine/messages.py."""
_Bytes = Buffer | Landing | Departure
_PAIR: Final = b"\x92"  # the head of an array of two
_PLAIN: Final = frozenset({type(None), bool, float})  # they stand for themselves
_WHOLE: Final = _PLAIN | {str, int}  # and these in what is read: a frame is within limits

_HEADER: Final = struct.Struct("<IQB")  # bytes of the body, of the inline buffers, descriptors
_INLINE, _SEALED, _GROWING = range(3)  # where a buffer is; the last: a file that is being written
_MOST_FDS: Final = 64  # in one frame; the kernel's limit is 253 in one call
_READ_BYTES: Final = 64 * 1024  # more would be memory of its own at each call
_TOGETHER_BYTES: Final = 16 * 1024  # inline buffers up to this are copied behind the body
_BUFFER_BYTES: Final = 4096  # of what packs, at first: a megabyte is much where memory is short
_FD_BYTES: Final = array("i").itemsize
_ANCILLARY_BYTES: Final = getattr(socket, "CMSG_LEN", int)(_MOST_FDS * _FD_BYTES)
_TRUNCATED: Final = int(getattr(socket, "MSG_CTRUNC", 0))

_CLASSES: Final[tuple[type, ...]] = (
    m.Configure, m.Run, m.Malformed, m.Arrived, m.Share, m.SharePlan, m.Drop, m.Leave, m.Snapshot,
    m.Release, m.Describe, m.Discard, m.Peek, m.Read, m.Stop, m.Started, m.SettledUpTo, m.Hold,
    m.OpFailed, m.Learnt, m.Shared, m.Facts, m.Candidate, m.Described, m.Bytes, m.Text, m.Refused,
    m.Died,
)  # fmt: skip
_LEAVE: Final = frozenset({m.Bytes, m.Candidate})  # their bytes may still be written
_TAGS: Final = {kind: tag for tag, kind in enumerate(_CLASSES)}
_FIELDS: Final = {kind: tuple(f.name for f in fields(kind)) for kind in _CLASSES}

# Facts are the longest of all and go with every request. They are words and rows of words, so they
# go as msgpack has them, a row as an array; a number beyond 64 bits goes as the closed set has it.
_facts_of: Final = attrgetter(*_FIELDS[m.Facts])
_WORDS: Final = frozenset({type(None), bool, int, str})


class Outgoing:
    """A frame ready to be sent: byte chunks, and descriptors that go with the first byte.

    Whoever sends it calls `close` afterwards, sent or not; one that nobody took closes itself.
    """

    __slots__ = ("chunks", "fds")

    def __init__(self, chunks: list[memoryview], fds: list[int]) -> None:
        self.chunks = chunks
        self.fds = fds

    def close(self) -> None:
        """Close this side's descriptors."""
        while self.fds:
            os.close(self.fds.pop())

    __del__ = close


# encoding


def encode(items: Iterable[Item]) -> Outgoing:
    """One frame of commands or events.

    Raises:
        TypeError: something in them is not of the closed set.
        ValueError: a limit is passed.
        OSError: no more descriptors, or no memory; the same items can be encoded later.
    """
    buffers: list[_Bytes] = []
    packed = [
        _pack_run(item) if type(item) is m.Run else _pack_item(item, buffers) for item in items
    ]
    fds: list[int] = []
    inline: list[memoryview] = []
    table: list[list[int]] = []
    copies: list[int] = []
    try:
        # First what the system may refuse: after that the same items can be encoded once more.
        for buffer in buffers:
            if isinstance(buffer, Landing):
                buffer.complete()
            elif isinstance(buffer, Departure):
                copies.append(buffer.descriptor())
        for buffer in buffers:
            if isinstance(buffer, Landing | Departure):
                if len(fds) >= _MOST_FDS:
                    raise ValueError(f"more than {_MOST_FDS} memory files in a frame")
                if isinstance(buffer, Landing):
                    fds.append(buffer.seal())
                    table.append([buffer.nbytes, _SEALED])
                else:
                    fds.append(copies.pop(0))
                    table.append([buffer.nbytes, _SEALED if buffer.is_written else _GROWING])
                continue
            view = memoryview(buffer).cast("B")
            fd = _filed(view) if len(fds) < _MOST_FDS else None
            if fd is not None:
                fds.append(fd)
                table.append([view.nbytes, _SEALED])
            else:
                inline.append(view)
                table.append([view.nbytes, _INLINE])
        if bytes in map(type, packed):
            parts = [item if type(item) is bytes else _pack(item) for item in packed]
            body = b"".join((_PAIR, _array(len(parts)), *parts, _pack(table)))
        else:
            body = _pack([packed, table])
        if len(body) > PIPE_FRAME_BYTES:
            raise ValueError(f"a frame of {len(body)} bytes, {PIPE_FRAME_BYTES} allowed")
    except BaseException:
        Outgoing([], fds + copies).close()
        raise
    inline_bytes = sum([v.nbytes for v in inline])
    header = _HEADER.pack(len(body), inline_bytes, len(fds))
    if inline_bytes <= _TOGETHER_BYTES:  # one system call, and whoever reads is woken once
        return Outgoing([memoryview(b"".join((header, body, *inline)))], fds)
    return Outgoing([memoryview(header + body), *inline], fds)


def _filed(view: memoryview) -> int | None:
    """The descriptor of a sealed file of these bytes, if they are worth one and there is one."""
    if view.nbytes < PIPE_MEMORY_FILE_BYTES or not HAS_MEMORY_FILES:
        return None
    try:
        return sealed([view])
    except OSError:  # no more files, or not so much memory: they go as they are
        return None


def _pack(packed: Any) -> bytes:
    data: bytes = msgpack.packb(packed, buf_size=_BUFFER_BYTES)
    return data


def _array(count: int) -> bytes:
    """The head of an array of so many items."""
    return bytes([0x90 | count]) if count < 16 else b"\xdd" + count.to_bytes(4, "big")


def _pack_run(run: m.Run) -> bytes:
    """Commands as they came over the wire go on as they are: bytes that are one msgpack array."""
    pack = msgpack.Packer().pack  # to make one costs more than to pack a number
    parts = [_array(2), pack(_TAGS[m.Run]), _array(2), _array(len(run.commands))]
    for seq, command in run.commands:
        data = command.data if type(command) is m.Unread else pack(pack_fields(command))
        parts += (_PAIR, pack(seq), data)
    return b"".join((*parts, pack(run.at)))


def _pack_item(item: Item, buffers: list[_Bytes]) -> Any:
    kind = type(item)
    names = _FIELDS.get(kind)
    if names is None:
        raise TypeError(f"{kind.__qualname__} is neither a command nor an event")
    return [_TAGS[kind], [_pack_field(getattr(item, name), name, buffers) for name in names]]


def _pack_field(value: Any, name: str, buffers: list[_Bytes]) -> Any:
    kind = type(value)
    if kind in _PLAIN or (kind is int and 0 <= value < 1 << 64):
        return value
    if name == "data" and value is not None:
        buffers.append(value)
        return {"#": len(buffers) - 1}
    if isinstance(value, m.Facts):
        return {"@": [v if type(v) is not int or 0 <= v < 1 << 64 else pack_value(v)
                      for v in _facts_of(value)]}  # fmt: skip
    return pack_value(value, buffers)  # type: ignore[arg-type]  # it only adds to them


# decoding


class FrameReader:
    """Bytes and descriptors in, frames out; no socket here.

    Descriptors arrive in the order of the frames that they belong to, wherever the kernel cuts the
    bytes, so two queues are enough.
    """

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._fds: deque[int] = deque()

    def feed(self, data: Buffer, fds: Sequence[int] = ()) -> Iterator[Item]:
        """The commands or events of all frames that are complete now.

        A frame is decoded when it is its turn: what is in the first need not wait for the others.

        Raises:
            ProtocolError: the bytes are not of this protocol; the reader is of no use any more.
        """
        again(lambda: self._bytes.extend(data))
        self._fds.extend(fds)
        return self._items()

    def _items(self) -> Iterator[Item]:
        while (frame := self._next()) is not None:
            yield from frame

    def close(self) -> None:
        """Close descriptors that no frame claimed."""
        while self._fds:
            os.close(self._fds.popleft())

    def _next(self) -> list[Item] | None:
        if len(self._bytes) < _HEADER.size:
            return None
        body_bytes, inline_bytes, fd_count = _HEADER.unpack_from(self._bytes)
        if body_bytes > PIPE_FRAME_BYTES or fd_count > _MOST_FDS:
            raise ProtocolError("a frame larger than allowed")
        end = _HEADER.size + body_bytes + inline_bytes
        if len(self._bytes) < end:
            return None
        if len(self._fds) < fd_count:
            raise ProtocolError("a frame without its memory files")
        files: list[Departure] = []

        def decoded() -> list[Item]:
            with memoryview(self._bytes) as view:
                body = bytes(view[_HEADER.size : _HEADER.size + body_bytes])
                inline = bytes(view[_HEADER.size + body_bytes : end])
            return self._decode(body, memoryview(inline), fd_count, files)

        try:
            items = again(decoded)
        except (ValueError, TypeError, OSError, EOFError) as error:
            raise ProtocolError(f"a malformed frame: {error}") from error
        left = len(self._bytes) - end

        def taken() -> None:
            if len(self._bytes) > left:
                del self._bytes[:end]

        again(taken)  # to become smaller takes memory, too
        return items

    def _decode(
        self, body: bytes, inline: memoryview, fd_count: int, files: list[Departure]
    ) -> list[Item]:
        """What is in a frame.

        Args:
            body: of it.
            inline: small buffers.
            fd_count: descriptors that belong to it.
            files: what was made of the first of them when there was no memory for the rest.
        """
        packed, table = msgpack.unpackb(body, strict_map_key=False)
        buffers = _Buffers()
        at, known = 0, iter(tuple(files))
        for nbytes, place in table:
            if place in (_SEALED, _GROWING):
                fd_count -= 1
                if fd_count < 0:
                    raise ValueError("more memory files than descriptors")
                file = next(known, None)
                if file is None:
                    file = Departure(self._fds.popleft(), nbytes, is_written=place == _SEALED)
                    files.append(file)
                buffers.append(file)
            else:
                if not 0 <= nbytes <= inline.nbytes - at:
                    raise ValueError("buffers past the end")
                buffers.append(inline[at : at + nbytes])
                at += nbytes
        if fd_count:
            raise ValueError("descriptors that no buffer uses")
        return [_unpack_item(item, buffers) for item in packed]


def _unpack_item(packed: Any, buffers: _Buffers) -> Item:
    tag, content = packed
    if type(tag) is not int or not 0 <= tag < len(_CLASSES):
        raise ValueError("unknown tag")
    kind = _CLASSES[tag]
    if kind is m.Run:
        commands, at = content
        try:
            # msgpack makes lists of all arrays, which is what the message decoder wants
            ran = tuple([(int(seq), unpack_message(message)) for seq, message in commands])
        except ProtocolError as error:
            return m.Malformed(str(error))
        return m.Run(ran, None if at is None else float(at))  # type: ignore[arg-type]
    names = _FIELDS[kind]
    if len(content) != len(names):
        raise ValueError(f"{kind.__name__} has {len(names)} fields")
    return kind(*[
        value if type(value) in _WHOLE else _unpack_field(value, buffers, kind)
        for value in content
    ])  # fmt: skip


def _unpack_row(packed: Any) -> Any:
    """What facts hold beside words and empty rows: a row of words, or a large number."""
    found = tuple(packed) if type(packed) is list else unpack_value(packed)
    if type(found) is int or (type(found) is tuple and _WORDS.issuperset(map(type, found))):
        return found
    raise ValueError("facts hold words")


class _Buffers(Sequence[Buffer]):
    """The buffers of a frame. A file stays one for who can refuse it, else it is mapped."""

    def __init__(self) -> None:
        self._found: list[Buffer | Departure] = []

    def __len__(self) -> int:
        return len(self._found)

    def __getitem__(self, index: Any) -> Any:
        found = self._found[index]
        return found.map() if isinstance(found, Departure) else found

    def unmapped(self, index: int, *, may_grow: bool) -> Buffer | Departure:
        """One that stays the file that it is.

        Raises:
            ValueError: it may not grow, and is not sealed.
        """
        found = self._found[index]
        if not may_grow and isinstance(found, Departure) and not found.is_written:
            raise ValueError("a memory file that is not sealed")
        return found

    def append(self, buffer: Buffer | Departure) -> None:
        """The next one."""
        self._found.append(buffer)


def _unpack_field(packed: Any, buffers: _Buffers, kind: type) -> Any:
    if isinstance(packed, dict) and len(packed) == 1:
        ((tag, payload),) = packed.items()
        if tag == "#":
            if type(payload) is not int or not 0 <= payload < len(buffers):
                raise ValueError("a field without its buffer")
            return buffers.unmapped(payload, may_grow=kind in _LEAVE)
        if tag == "@":
            if type(payload) is not list or len(payload) != len(_FIELDS[m.Facts]):
                raise ValueError("not facts")
            values: list[Any] = [
                v if type(v) in _WORDS else () if v == [] else _unpack_row(v) for v in payload
            ]
            return m.Facts(*values)
    return unpack_value(packed, buffers)


# a blocking socket, as the engine's process uses it


def send(sock: socket.socket, outgoing: Outgoing) -> None:
    """Send one frame on a blocking socket.

    Raises:
        ConnectionError: the other side is gone.
        OSError: the kernel is short of something, and that lasts.
    """
    try:
        for chunk in outgoing.chunks:
            while chunk:
                chunk = chunk[_send_some(sock, chunk, outgoing) :]
    finally:
        outgoing.close()


def _send_some(sock: socket.socket, chunk: memoryview, outgoing: Outgoing) -> int:
    """How many bytes of it went, with the descriptors if they have not gone yet."""
    end = 0.0
    while True:
        try:
            if not outgoing.fds:
                return sock.send(chunk)
            sent = socket.send_fds(sock, [chunk], outgoing.fds)
            outgoing.close()  # they went with the first byte
            return sent
        except ConnectionError:
            raise
        except OSError:  # nothing went: descriptors on their way are limited, too
            end = end or time.monotonic() + PIPE_SHORT_SECONDS
            if time.monotonic() > end:
                raise
            time.sleep(PIPE_SHORT_LOOK_SECONDS)


def receive(sock: socket.socket, reader: FrameReader) -> Iterator[Item] | None:
    """Commands or events of the next read of a socket; None when the other side is gone.

    Raises:
        BlockingIOError: a non-blocking socket has nothing to read.
        ProtocolError: see `FrameReader.feed`; also from the iterator.
    """
    try:
        data, ancillary, flags, _ = again(lambda: sock.recvmsg(_READ_BYTES, _ANCILLARY_BYTES))
    except ConnectionError:
        return None
    fds = [fd for item in ancillary for fd in _descriptors(*item)]
    if flags & _TRUNCATED:
        with contextlib.suppress(OSError):
            for fd in fds:
                os.close(fd)
        raise ProtocolError("descriptors were lost: too many open files")
    if not data:
        return None
    return reader.feed(data, fds)


def _descriptors(level: int, kind: int, data: bytes) -> array[int]:
    found = array("i")
    if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
        found.frombytes(data[: len(data) // _FD_BYTES * _FD_BYTES])
    return found
