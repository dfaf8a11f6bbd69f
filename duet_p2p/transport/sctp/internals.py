"""What the fast datagram path touches inside aiortc, aioice, pyOpenSSL and asyncio.

Nothing of it is promised by their documentation, so the versions that were tried are named here,
and only here. With any other `missing` says so, and the stock association is used instead.
tests/unit/test_internals.py fails when an installed one has changed.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import sys
from collections.abc import Callable, Collection
from importlib.metadata import version
from ipaddress import ip_address
from typing import Any, Final

import aioice.ice
from aiortc import RTCDtlsTransport
from OpenSSL import SSL

from duet_p2p import limits

__all__ = ["KNOWN", "Records", "Wire", "missing", "wire_of"]

KNOWN: Final = {"aiortc": ("1.16",), "aioice": ("0.13",), "pyOpenSSL": ("26.4",)}
"""Series that were tried: major and minor number."""

_RECORD_BYTES: Final = 18_432  # the largest DTLS record, and more
_SEALED_BYTES: Final = 1 << 17

_lib: Any = getattr(SSL, "_lib", None)
_ffi: Any = getattr(SSL, "_ffi", None)


@functools.cache
def missing() -> str | None:
    """Why the fast association cannot be used here, for people; None if it can."""
    if sys.platform != "linux":
        return f"it was not tried on {sys.platform}"
    for name, series in KNOWN.items():
        found = version(name)
        if ".".join(found.split(".")[:2]) not in series:
            return f"{name} {found} is not one of {', '.join(series)}"
    names = ("SSL_write", "SSL_read", "BIO_read", "BIO_write", "SSL_get_error", "ERR_clear_error")
    if _ffi is None or not all(hasattr(_lib, name) for name in names):
        return "pyOpenSSL does not show OpenSSL's functions"
    return None


class Records:
    """Seals and opens DTLS records, past the methods of pyOpenSSL that check for every case.

    Args:
        dtls: connected.

    Attributes:
        inbox: where a datagram, or several, may be put for `open_at`.
    """

    def __init__(self, dtls: RTCDtlsTransport) -> None:
        connection: Any = dtls._ssl
        self._ssl = connection._ssl
        self._into = connection._into_ssl
        self._from = connection._from_ssl
        self._plain = _ffi.new("char[]", _RECORD_BYTES)
        self._cipher = _ffi.new("char[]", _SEALED_BYTES)
        self.inbox = bytearray(1 << 16)
        self._inbox = _ffi.from_buffer(self.inbox)
        self._view = memoryview(_ffi.buffer(self._cipher, _SEALED_BYTES))

    def open(self, datagram: bytes) -> bytes | None:
        """See `open_at`."""
        _lib.BIO_write(self._into, datagram, len(datagram))
        size = _lib.SSL_read(self._ssl, self._plain, _RECORD_BYTES)
        return _ffi.buffer(self._plain, size)[:] if size > 0 else self._nothing(size)

    def open_at(self, start: int, size: int) -> bytes | None:
        """What a record in `inbox` holds.

        Returns:
            Nothing (b"") for a record that is forged, damaged, repeated or no data; None when the
            other side has closed the connection.
        """
        _lib.BIO_write(self._into, self._inbox + start, size)
        size = _lib.SSL_read(self._ssl, self._plain, _RECORD_BYTES)
        return _ffi.buffer(self._plain, size)[:] if size > 0 else self._nothing(size)

    def _nothing(self, size: int) -> bytes | None:
        is_end = _lib.SSL_get_error(self._ssl, size) == _lib.SSL_ERROR_ZERO_RETURN
        _lib.ERR_clear_error()
        return None if is_end else b""

    def pending(self) -> bytes:
        """What OpenSSL wants to send by itself: an alert, an acknowledgement."""
        size = _lib.BIO_read(self._from, self._cipher, _SEALED_BYTES)
        return bytes(self._view[: max(size, 0)])

    def seal(self, packets: list[bytes], start: int, end: int) -> tuple[memoryview, int]:
        """Seals packets of one length, the last one perhaps shorter.

        Returns:
            All records one after the other, valid until the next call, and the length of the
            first. Empty when the connection is closed.
        """
        first = 0
        for at in range(start, end):
            packet = packets[at]
            if _lib.SSL_write(self._ssl, packet, len(packet)) <= 0:
                _lib.ERR_clear_error()
                return self._view[:0], 0
            if at == start:
                first = _lib.BIO_read(self._from, self._cipher, _SEALED_BYTES)
        total = first
        if end - start > 1:
            total += _lib.BIO_read(self._from, self._cipher + first, _SEALED_BYTES - first)
        return self._view[:total], first


class Wire:
    """The pair of candidates that ICE has chosen, as something to send on.

    Args:
        pair: aioice's object.
        hosts: addresses of this machine that its candidates have.

    Attributes:
        pair: another one means another wire.
        address: of the other side.
        socket: the UDP socket, or None behind a relay or another kind of event loop.
        is_local: whether packets stay on this machine.
    """

    def __init__(self, pair: Any, hosts: Collection[str] = ()) -> None:
        self.pair = pair
        self.protocol = pair.protocol
        self.address: tuple[str, int] = pair.remote_addr
        # What is sent to an address of this machine never leaves it, whichever of its addresses
        # it is sent from: ICE may well pair the loopback address with another one.
        host = self.address[0]
        self.is_local = pair.local_candidate.type == "host" and (
            ip_address(host).is_loopback or host in hosts
        )
        self._transport = self.protocol.transport
        has_socket = hasattr(self._transport, "_sock_fd")  # of asyncio's own selector loop
        self.socket: socket.socket | None = self._transport._sock if has_socket else None

    def send(self, datagram: bytes) -> None:
        """Sends one datagram the ordinary way; the event loop keeps it when the kernel is full.

        It keeps so many: answers can be more than the line takes, and what is more is lost.
        """
        transport = self._transport
        if self.socket is not None and (
            transport.is_closing()
            or transport.get_write_buffer_size() > limits.UNSENT_DATAGRAM_BYTES
        ):
            return
        transport.sendto(datagram, self.address)

    @property
    def can_probe(self) -> bool:
        """Whether packets may be sent that nobody cuts on their way."""
        return not self.is_closed

    @property
    def is_closed(self) -> bool:
        """Whether the socket is gone."""
        return self.socket is None or self._transport.is_closing()

    def take_over(self, loop: asyncio.AbstractEventLoop, on_readable: Callable[[], None]) -> None:
        """Reads the socket ourselves. asyncio forgets the reader when it closes the socket."""
        loop._add_reader(self._transport._sock_fd, on_readable)  # type: ignore[attr-defined]

    def pass_on(self, datagram: bytes, address: Any) -> None:
        """Gives a datagram to aioice, as asyncio would."""
        self.protocol.datagram_received(datagram, address)

    def report(self, problem: OSError) -> None:
        """Tells aioice what the kernel said."""
        self.protocol.error_received(problem)


class Diversion:
    """Takes the datagrams of an ICE connection before aiortc's queue and task see them."""

    def __init__(self, dtls: RTCDtlsTransport, take: Callable[[bytes], bool]) -> None:
        connection: aioice.ice.Connection = dtls.transport._connection
        self._connection = connection
        self._before = connection.data_received
        self._take = take
        connection.data_received = self._received  # type: ignore[method-assign]

    def _received(self, data: bytes, component: int) -> None:
        if not self._take(data):
            self._before(data, component)

    def pass_on(self, data: bytes) -> None:
        """Gives a datagram to aiortc after all."""
        self._before(data, 1)

    def end(self) -> None:
        """Nothing is taken any more."""
        self._connection.data_received = self._before  # type: ignore[method-assign]

    def close_pump(self) -> None:
        """Makes aiortc see that the other side closed the connection."""
        self._connection._queue.put_nowait(None)


def wire_of(dtls: RTCDtlsTransport, known: Wire | None) -> Wire | None:
    """The wire that ICE uses now: the known one as long as it is that."""
    connection = dtls.transport._connection
    pair = connection._nominated.get(1)
    if known is not None and known.pair is pair:
        return known
    if pair is None:
        return None
    hosts = {found.host for found in connection.local_candidates if found.type == "host"}
    return Wire(pair, hosts)
