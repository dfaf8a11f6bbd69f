"""Every touch of aiortc and aioice that their documentation does not promise.

WebRTC is composed here from aiortc's ORTC-level objects, whose public face leaves out a few
things that two signed peers cannot do without: who controls ICE, who is the DTLS server, whose
certificate the other side really used, a machine's loopback addresses. All such access is in this
file, and each is guarded: an aiortc that was changed fails to connect, with the name of what is
missing. It never skips a check. tests/unit/test_ortc.py fails first.

Candidates are gathered in two steps, because aioice's own way cannot be interrupted without
leaking sockets, and waits five seconds for any server that does not answer. Host addresses come
from aioice, with no server configured, in milliseconds. STUN and TURN are then asked by tasks of
ours, which can be cancelled and which may ask more than one relay.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import aioice
import aioice.candidate
import aioice.ice
from aiortc import (
    RTCDataChannel,
    RTCDataChannelParameters,
    RTCDtlsTransport,
    RTCIceGatherer,
    RTCIceTransport,
    RTCSctpTransport,
)
from aiortc.rtcconfiguration import RTCIceTransportPolicy
from aiortc.rtcicetransport import parse_stun_turn_uri
from aiortc.rtcsctptransport import Chunk, DataChunk
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from duet_p2p import limits
from duet_p2p.errors import ConnectFailed
from duet_p2p.transport.sctp.transport import FastSctpTransport

__all__ = [
    "BoundedSctpTransport",
    "Relay",
    "Servers",
    "be_patient",
    "counters",
    "gather",
    "make_gatherer",
    "nominated_pair",
    "peer_fingerprint",
    "pick_servers",
    "set_dtls_role",
    "set_ice_role",
    "start_monitor",
    "stop_ice",
    "watch_pump",
]

logger = logging.getLogger(__name__)

LOOPBACK = ("127.0.0.1", "::1")
_RECORDS = frozenset(bytes((kind,)) for kind in range(20, 64))  # RFC 7983
_TRANSPORTS = ("udp", "tcp", "tls")  # of relays; at most one of each is asked, in this order


@contextlib.contextmanager
def _guard(what: str, stage: str) -> Iterator[None]:
    """Turns what a changed aiortc raises into an error that names it."""
    try:
        yield
    except (AttributeError, TypeError, LookupError, AssertionError) as error:
        raise ConnectFailed(
            stage=stage,
            remedy=(
                f"aiortc {version('aiortc')} with aioice {version('aioice')} is not known to"
                f" duet_p2p: it has no {what}. Install the versions that duet_p2p names."
            ),
        ) from error


def _require(condition: bool) -> None:
    """An assert that stays under ``python -O``."""
    if not condition:
        raise AssertionError


# servers


@dataclass(frozen=True, slots=True)
class Relay:
    """A TURN server and how to reach it."""

    host: str
    port: int
    transport: str
    """``udp``, ``tcp`` or ``tls``."""
    username: str
    credential: str


@dataclass(frozen=True, slots=True)
class Servers:
    """What is asked for addresses, besides this machine: nothing by default."""

    stun: tuple[str, int] | None = None
    relays: tuple[Relay, ...] = ()


def pick_servers(entries: Sequence[dict[str, Any]]) -> Servers:
    """Chooses from a list of RTCIceServer objects: one STUN server, one relay per transport.

    aiortc takes the first of each and no more, so a network without UDP would never try a TURN
    server over TLS that is listed second.

    Args:
        entries: dicts with ``urls`` (a string or a list), ``username`` and ``credential``. What
            cannot be used (``stuns``, a relay without credentials, a malformed URL) is left out
            with a warning.
    """
    stun: tuple[str, int] | None = None
    relays: dict[str, Relay] = {}
    for entry in entries:
        urls = entry.get("urls", [])
        for url in [urls] if isinstance(urls, str) else urls:
            try:
                parsed = parse_stun_turn_uri(url)
            except (ValueError, AttributeError, TypeError):
                logger.warning("An ICE server with a malformed URL is left out.")
                continue
            scheme, host, port = parsed["scheme"], parsed["host"], parsed["port"]
            if scheme == "stun":
                stun = stun or (host, port)
                continue
            username, credential = entry.get("username"), entry.get("credential")
            transport = "tls" if scheme == "turns" else parsed.get("transport", "")
            if transport not in _TRANSPORTS or scheme == "stuns" or not username or not credential:
                logger.warning("An ICE server (%s) that cannot be used is left out.", scheme)
                continue
            relays.setdefault(transport, Relay(host, port, transport, username, credential))
    return Servers(stun, tuple(relays[name] for name in _TRANSPORTS if name in relays))


# ICE


def make_gatherer(*, relay_only: bool) -> RTCIceGatherer:
    """A gatherer that asks nobody by itself, and holds few unread packets.

    An empty list of servers is not the same as none: aiortc then takes a public STUN server.
    """
    policy = RTCIceTransportPolicy.RELAY if relay_only else RTCIceTransportPolicy.ALL
    gatherer = RTCIceGatherer([], policy)
    with _guard("ICE connection with a queue of packets", "gathering"):
        connection = gatherer._connection
        unread, receive = connection._queue, connection.data_received
        unread.qsize()
        _require(callable(connection.request_received) and not connection._remote_candidates)
        _require(connection._early_checks.maxlen is not None)

    def data_received(data: bytes, component: int) -> None:
        # Anybody may send to the port, and until DTLS runs nobody takes packets out. What is no
        # record of DTLS is dropped: aiortc ends of a datagram without a byte.
        if data[:1] in _RECORDS and unread.qsize() < limits.UNREAD_PACKETS:
            receive(data, component)

    def request_received(message: Any, address: Any, protocol: Any) -> None:
        # Who has our password could ask from each of its ports: each is an address to be checked.
        known = connection._remote_candidates
        is_full = len(known) >= limits.REMOTE_ADDRESSES
        if not is_full or any((c.host, c.port) == address for c in known):
            aioice.ice.Connection.request_received(connection, message, address, protocol)

    connection.data_received = data_received  # type: ignore[method-assign]
    connection.request_received = request_received  # type: ignore[method-assign, assignment]
    return gatherer


async def gather(gatherer: RTCIceGatherer, servers: Servers, *, loopback: bool) -> None:
    """Gathers candidates; returns what there is when a server does not answer.

    May be cancelled; sockets are then closed with the ICE transport.

    Raises:
        ConnectFailed: aioice was changed.
    """
    with _guard("candidates as of aioice 0.13", "gathering"):
        connection = gatherer._connection
        hosts = asyncio.ensure_future(_gather_hosts(gatherer, loopback=loopback))
        try:
            await asyncio.shield(hosts)
            _refuse_noise(connection)
        except asyncio.CancelledError:
            # aioice remembers its sockets at the end of this step, a few milliseconds ahead.
            await hosts
            raise
        questions: list[asyncio.Future[_Answer]] = []
        if servers.stun is not None:
            questions = [
                asyncio.ensure_future(aioice.ice.server_reflexive_candidate(protocol, servers.stun))
                for protocol in connection._protocols
                if _can_ask_stun(protocol.local_candidate.host)
            ]
        relays = [asyncio.ensure_future(_ask_relay(connection, relay)) for relay in servers.relays]
        try:
            if questions or relays:
                await asyncio.wait([*questions, *relays], timeout=limits.STUN_SECONDS)
            pending = [task for task in relays if not task.done()]
            if pending:
                await asyncio.wait(pending, timeout=limits.GATHER_SECONDS - limits.STUN_SECONDS)
        finally:
            for task in [*questions, *relays]:
                task.cancel()
            await asyncio.gather(*questions, *relays, return_exceptions=True)
            for task in [*questions, *relays]:
                if task.cancelled() or task.exception() is not None:
                    continue
                candidate, protocol = task.result()
                connection._local_candidates.append(candidate)
                if protocol is not None:
                    connection._protocols.append(protocol)


_Answer = tuple[aioice.Candidate, aioice.ice.StunProtocol | None]


async def _gather_hosts(gatherer: RTCIceGatherer, *, loopback: bool) -> None:
    connection = gatherer._connection
    if loopback and connection._transport_policy == aioice.TransportPolicy.ALL:
        # aioice leaves 127.0.0.1 and ::1 out; a machine without a network has no others.
        connection._local_candidates += await connection.get_component_candidates(
            component=1, addresses=list(LOOPBACK)
        )
    await gatherer.gather()
    for protocol in connection._protocols:
        udp = protocol.transport.get_extra_info("socket")
        if udp is not None:  # the kernel gives what it allows
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, limits.UDP_BUFFER_BYTES)


def _can_ask_stun(address: str) -> bool:
    ip = ipaddress.ip_address(address)
    return ip.version == 4 and not ip.is_loopback


async def _ask_relay(connection: aioice.Connection, relay: Relay) -> _Answer:
    candidate, protocol = await aioice.ice.relayed_candidate(
        component=1,
        hide_related_address=connection._transport_policy == aioice.TransportPolicy.RELAY,
        protocol_factory=lambda: aioice.ice.StunProtocol(connection),
        turn_server=(relay.host, relay.port),
        turn_username=relay.username,
        turn_password=relay.credential,
        turn_ssl=relay.transport == "tls",
        turn_transport="udp" if relay.transport == "udp" else "tcp",
    )
    # A relay that is reached over TCP suffers from its retransmissions: the last choice.
    preference = 65_535 - _TRANSPORTS.index(relay.transport)
    candidate.priority = aioice.candidate.candidate_priority(1, "relay", preference)
    return candidate, protocol


def set_ice_role(ice: RTCIceTransport, *, controlling: bool) -> None:
    """Says who nominates: the owner; before gathering, since checks are answered from then on.

    aiortc's default is that both are controlled. An owner that still believed so met a first check
    with "role conflict", the scientist then nominated, and the owner, which had taken its role
    meanwhile, did not hear it: ICE ended on one side only.
    """
    with _guard("ICE role that can be set", "gathering"):
        _ = ice._connection.ice_controlling
        ice._connection.ice_controlling = controlling
        _require(ice.role == ("controlling" if controlling else "controlled"))


def _refuse_noise(connection: aioice.ice.Connection) -> None:
    """Drops what no STUN message is: aioice raises `struct.error` of an attribute that is cut off.

    Anybody may send that, and a partner one without PRIORITY: each would be an error in the log.
    """

    def careful(receive: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
        def datagram_received(data: Any, address: Any) -> None:
            with contextlib.suppress(struct.error, KeyError):
                receive(data, address)

        return datagram_received

    for protocol in connection._protocols:
        receive = careful(protocol.datagram_received)
        protocol.datagram_received = receive  # type: ignore[method-assign, assignment]


def be_patient(ice: RTCIceTransport) -> None:
    """Lets a check of consent wait some seconds for its answer; after gathering, before ICE starts.

    aioice gives such a check half a second, and closes after six that failed. An answer that has to
    pass full buffers, as in an upload over a slow line, takes longer, while data flow all the time.
    """

    def with_time(request: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        def ask(*arguments: Any, retransmissions: int | None = None, **others: Any) -> Any:
            if retransmissions == 0:  # only a check of consent says so
                retransmissions = limits.CONSENT_RETRANSMISSIONS
            return request(*arguments, retransmissions=retransmissions, **others)

        return ask

    with _guard("request of a STUN protocol", "ice"):
        for protocol in ice._connection._protocols:
            protocol.request = with_time(protocol.request)  # type: ignore[method-assign, assignment]


def nominated_pair(ice: RTCIceTransport) -> tuple[aioice.Candidate, aioice.Candidate] | None:
    """The pair of candidates (local, remote) that carries packets, or None."""
    with _guard("nominated pair", "ice"):
        pair = ice._connection._nominated.get(1)
        return None if pair is None else (pair.local_candidate, pair.remote_candidate)


async def start_monitor() -> None:
    """Lets a new ICE transport's monitor task begin to wait.

    aiortc's monitor spins for ever, and with it the loop, when its connection was closed before
    the task ran for the first time.
    """
    await asyncio.sleep(0)


async def stop_ice(ice: RTCIceTransport) -> None:
    """Closes the sockets of an ICE transport.

    aioice asks a TURN server to free its relay, and asks again for a minute when it does not
    answer; here that ends after `limits.RELAY_RELEASE_SECONDS`.
    """
    await start_monitor()
    protocols = list(getattr(ice._connection, "_protocols", ()))
    stopping = asyncio.ensure_future(ice.stop())
    while True:
        await asyncio.wait({stopping}, timeout=limits.RELAY_RELEASE_SECONDS)
        if stopping.done():
            break
        for protocol in protocols:
            # Only relays have such a task. Cancelled, it closes its socket all the same.
            release = getattr(protocol.transport, "_TurnTransport__close_task", None)
            if release is not None:
                release.cancel()
    stopping.result()


# DTLS


def set_dtls_role(dtls: RTCDtlsTransport, role: str) -> None:
    """Makes this side the DTLS ``client`` or ``server``; aiortc by itself follows the ICE role."""
    with _guard("DTLS role that can be set", "dtls"):
        _require(dtls._role == "auto")
        dtls._set_role(role)
        _require(dtls._role == role)


def peer_fingerprint(dtls: RTCDtlsTransport) -> bytes:
    """SHA-256 of the certificate that the other side used, 32 bytes.

    Raises:
        ConnectFailed: there is none, or aiortc does not show it.
    """
    with _guard("access to the peer's certificate", "dtls"):
        connection = dtls._ssl
        if connection is None:
            raise LookupError("no handshake yet")
        certificate = connection.get_peer_certificate(as_cryptography=True)
        if not isinstance(certificate, x509.Certificate):
            raise TypeError("not a certificate")
        digest: bytes = certificate.fingerprint(hashes.SHA256())
        _require(len(digest) == 32)
        return digest


def watch_pump(
    dtls: RTCDtlsTransport, on_end: Callable[[asyncio.Future[None]], None]
) -> asyncio.Future[None]:
    """Calls back when aiortc stops reading packets.

    The task's exception says why: none after a close by the other side or a lost path, one when a
    packet could not be understood. Nobody else retrieves it.
    """
    with _guard("task that reads packets", "dtls"):
        pump = dtls._task
        if pump is None:
            raise LookupError("not connected")
        pump.add_done_callback(on_end)
        return pump


def counters(
    dtls: RTCDtlsTransport, sctp: BoundedSctpTransport | FastSctpTransport
) -> dict[str, Any]:
    """Packets, bytes, retransmissions and the round-trip time in seconds, for people."""
    facts: dict[str, Any] = {}
    for report in dtls._get_stats().values():
        facts["packets_sent"] = report.packetsSent
        facts["packets_received"] = report.packetsReceived
        facts["bytes_sent"] = report.bytesSent
        facts["bytes_received"] = report.bytesReceived
    for name, value in sctp.facts().items():
        # The fast association sends past aiortc, which counts only the handshake.
        facts[name] = value + facts.get(name, 0)
    return facts


# SCTP


class BoundedSctpTransport(RTCSctpTransport):
    """Stock SCTP, with four things that a session with an untrusted partner needs.

    * Fragments that never become a message are bounded; stock keeps them without end.
    * A packet for a path that is gone is a lost packet, not an exception in a task that nobody
      awaits. DTLS reports the loss.
    * Slow start ends before it overruns the other side's UDP buffer. Stock doubles its window up to
      a mebibyte, loses half of one (Linux holds some 200 packets), and then stands still for a
      second: measured 3.1 against 6.0 MB/s for 8 MB, and a ping of 1,100 against 46 ms.
    * It can say whether everything has arrived, so that a close need not cut off the last word.

    Attributes:
        retransmissions: chunks that were sent again.
        on_flood: called once when the other side sent too many fragments.
    """

    def __init__(self, transport: RTCDtlsTransport, on_flood: Callable[[], None]) -> None:
        super().__init__(transport)
        with _guard("SCTP receive window and queues", "channel"):
            self._window = self._advertised_rwnd
            _require(self.is_idle and isinstance(self._window, int))
            _require(callable(super()._send_chunk) and callable(super()._receive_data_chunk))
        self.retransmissions = 0
        self.on_flood: Callable[[], None] | None = on_flood

    def add_channel(self, parameters: RTCDataChannelParameters) -> RTCDataChannel:
        """A channel of ours."""
        return RTCDataChannel(self, parameters)

    def facts(self) -> dict[str, Any]:
        """Counters for people."""
        facts: dict[str, Any] = {"retransmissions": self.retransmissions}
        if self._srtt is not None:
            facts["rtt"] = self._srtt
        return facts

    @property
    def is_idle(self) -> bool:
        """Whether all that was sent has been acknowledged."""
        return not (self._data_channel_queue or self._outbound_queue or self._sent_queue)

    def limit_slow_start(self) -> None:
        """To be called once the association is open."""
        with _guard("slow start threshold", "channel"):
            self._ssthresh = min(self._ssthresh, limits.SLOW_START_BYTES)

    async def _send_chunk(self, chunk: Chunk) -> None:
        if isinstance(chunk, DataChunk) and chunk._sent_count > 1:
            self.retransmissions += 1
        with contextlib.suppress(ConnectionError):
            await super()._send_chunk(chunk)

    async def _receive_data_chunk(self, chunk: DataChunk) -> None:
        await super()._receive_data_chunk(chunk)
        held = self._window - self._advertised_rwnd
        if held > limits.SCTP_HELD_BYTES and self.on_flood is not None:
            report, self.on_flood = self.on_flood, None
            report()
