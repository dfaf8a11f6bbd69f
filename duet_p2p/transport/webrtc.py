"""A peer over WebRTC: ICE, DTLS and SCTP of aiortc, composed without its RTCPeerConnection.

So the certificate, the channels and what is announced are ours, and exactly one data association
exists. Who is at the other end is not decided here: `WebRtcPeer.connect` says which certificate
was really used, its caller compares.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from aiortc import (
    RTCCertificate,
    RTCDataChannel,
    RTCDataChannelParameters,
    RTCDtlsFingerprint,
    RTCDtlsParameters,
    RTCDtlsTransport,
    RTCIceCandidate,
    RTCIceParameters,
    RTCIceTransport,
    RTCSctpCapabilities,
)

from duet_p2p import limits
from duet_p2p.errors import ConnectFailed, ConnectionLost, ProtocolError
from duet_p2p.transport import ortc
from duet_p2p.transport.base import Candidate, Channel, Description, Path
from duet_p2p.transport.inbox import Inbox
from duet_p2p.transport.outbox import Outbox
from duet_p2p.transport.remedies import connect_failed
from duet_p2p.transport.sctp.channels import DataChannel
from duet_p2p.transport.sctp.choice import SctpClass, choose
from duet_p2p.transport.sctp.transport import FastSctpTransport

__all__ = ["WebRtcPeer", "webrtc_factory"]

_T = TypeVar("_T")

_LABELS = {Channel.CTL: "duet-ctl", Channel.OPS: "duet-ops", Channel.BULK: "duet-bulk"}
_KEPT_KINDS = ("relay", "srflx", "host")  # when there are too many candidates, best kept first
# DTLS roles by (our setup, their setup): who is active begins.
_DTLS_ROLES = {
    ("actpass", "active"): "server",
    ("actpass", "passive"): "client",
    ("active", "actpass"): "client",
    ("active", "passive"): "client",
    ("passive", "actpass"): "server",
    ("passive", "active"): "server",
}


class WebRtcPeer:
    """One attempt at an association; see `duet_p2p.transport.base.Peer`.

    Belongs to the event loop that it is made in. A `gather` or `connect` that fails or is cancelled
    closes the peer by itself; `close` waits for that.

    Args:
        controlling: Whether this side nominates the path and makes the offer: the owner.
        ice_servers: RTCIceServer objects; an empty list asks nobody.
        loopback: Whether 127.0.0.1 and ::1 are gathered too.
        relay_only: Whether only relayed candidates are gathered, announced and used.
        sctp: Which association runs: ``auto`` (the fast one where it is known to work),
            ``fast`` or ``stock``.
        answer_setup: ``active`` or ``passive``, for the side that does not control.
    """

    def __init__(
        self,
        *,
        controlling: bool,
        ice_servers: Sequence[dict[str, Any]] = (),
        loopback: bool = False,
        relay_only: bool = False,
        sctp: SctpClass = "auto",
        answer_setup: str = "active",
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._loopback = loopback
        self._relay_only = relay_only
        self._servers = ortc.pick_servers(ice_servers)
        self._setup = "actpass" if controlling else answer_setup
        self._stage = "gathering"
        self._work: asyncio.Future[Any] | None = None
        self._closing: asyncio.Future[None] | None = None

        certificate = RTCCertificate.generateCertificate()
        self._fingerprint = _sha256(certificate)
        self._gatherer = ortc.make_gatherer(relay_only=relay_only)
        self._ice = RTCIceTransport(self._gatherer)
        # Not later: the other side's first check may be here before this side connects.
        ortc.set_ice_role(self._ice, controlling=controlling)
        self._dtls = RTCDtlsTransport(self._ice, [certificate])
        self._pump: asyncio.Future[None] | None = None
        self._sctp = self._make_sctp(choose(sctp))
        self._channels = {int(channel): self._add_channel(channel) for channel in Channel}
        self._opened: asyncio.Future[None] = self._loop.create_future()

        self._outbox = Outbox(self._channels)
        self._max_message = limits.MESSAGE_MAX_BYTES
        self._inbox = Inbox(fail=self._end)
        self._is_open = False
        # The end.
        self._has_ended = False
        self._error: Exception | None = None
        self._to_report = False
        self._on_closed: Callable[[Exception | None], None] | None = None
        self._last_path = Path("unknown")

    # connecting

    async def gather(self) -> Description:
        """Gathers candidates and describes this half; see `Peer.gather`."""
        return await self._run(self._gather())

    async def connect(self, remote: Description) -> bytes:
        """Connects; see `Peer.connect`.

        When the other side used another certificate than `remote` names, that one's fingerprint is
        returned all the same; the association is closed by then, and nothing was read from it.
        """
        digest = await self._run(self._connect(remote))
        # Not before: what the other side says waits for the caller's verdict on this digest.
        self._inbox.open()
        return digest

    @property
    def stage(self) -> str:
        """The stage that was reached: ``gathering``, ``ice``, ``dtls``, ``channel``, ``open``."""
        return self._stage

    def failure(self) -> ConnectFailed:
        """The error for the stage that was reached, with its remedy."""
        kinds = {candidate.type for candidate in self._gatherer.getLocalCandidates()}
        return connect_failed(
            self._stage,
            asks_relay=bool(self._servers.relays),
            has_relay="relay" in kinds,
            relay_only=self._relay_only,
        )

    async def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Runs a step in a task of its own, so that `close` can end it."""
        if self._is_closing() or (self._work is not None and not self._work.done()):
            work.close()
            raise ConnectionLost("This attempt at a connection is closed or busy.")
        task: asyncio.Task[_T] = asyncio.ensure_future(work)
        self._work = task
        try:
            # Shielded, because aiortc can swallow a cancellation (see `_finish`): the caller's
            # deadline holds all the same.
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if self._is_closing() and caller is not None and not caller.cancelling():
                raise ConnectionLost("The connection was closed while it was made.") from None
            self._begin_close()
            raise
        except BaseException:
            self._begin_close()
            raise

    async def _gather(self) -> Description:
        await ortc.gather(self._gatherer, self._servers, loopback=self._loopback)
        candidates = [
            Candidate(found.foundation, found.priority, found.ip, found.port, found.type)
            for found in self._gatherer.getLocalCandidates()
            if found.type == "relay" or not self._relay_only
        ]
        if not candidates:
            raise self.failure()
        candidates.sort(key=lambda candidate: _KEPT_KINDS.index(candidate.kind))
        parameters = self._gatherer.getLocalParameters()
        return Description(
            ufrag=str(parameters.usernameFragment),
            pwd=str(parameters.password),
            fingerprint=self._fingerprint,
            setup=self._setup,
            candidates=tuple(candidates[: limits.CANDIDATES]),
            sctp_port=self._sctp.port,
            max_message_size=limits.MESSAGE_MAX_BYTES,
        )

    async def _connect(self, remote: Description) -> bytes:
        if self._stage != "gathering":
            raise ConnectionLost("A peer connects once. Make a new one for a new attempt.")
        self._stage = "ice"
        role = _DTLS_ROLES.get((self._setup, remote.setup))
        if role is None:
            raise ConnectFailed(stage="dtls", remedy="Both sides want the same part in DTLS.")
        ortc.be_patient(self._ice)
        ortc.set_dtls_role(self._dtls, role)
        await self._check_paths(remote)

        self._stage = "dtls"
        digest = await self._shake_hands(remote)
        if digest != remote.fingerprint:
            self._begin_close()
            return digest

        self._stage = "channel"
        self._pump = ortc.watch_pump(self._dtls, self._on_pump_end)
        self._max_message = min(
            remote.max_message_size or limits.MESSAGE_MAX_BYTES, limits.MESSAGE_MAX_BYTES
        )
        await self._sctp.start(RTCSctpCapabilities(self._max_message), remote.sctp_port)
        await self._opened
        if isinstance(self._sctp, ortc.BoundedSctpTransport):
            self._sctp.limit_slow_start()
        self._stage = "open"
        self._is_open = True
        return digest

    async def _check_paths(self, remote: Description) -> None:
        usable = [candidate for candidate in remote.candidates if _is_literal(candidate.address)]
        for candidate in usable:
            await self._ice.addRemoteCandidate(
                RTCIceCandidate(
                    component=1,
                    foundation=candidate.foundation,
                    ip=candidate.address,
                    port=candidate.port,
                    priority=candidate.priority,
                    protocol="udp",
                    type=candidate.kind,
                )
            )
        if usable:
            # Without any candidate, end-of-candidates would make aioice fail at once, instead of
            # waiting for the checks of a browser that hides its addresses behind mDNS names.
            await self._ice.addRemoteCandidate(None)
        await self._ice.start(RTCIceParameters(usernameFragment=remote.ufrag, password=remote.pwd))
        if self._ice.state != "completed":
            raise self.failure()

    async def _shake_hands(self, remote: Description) -> bytes:
        """Returns the digest of the certificate that was really used."""
        claimed = RTCDtlsFingerprint("sha-256", remote.fingerprint.hex(":").upper())
        await self._dtls.start(RTCDtlsParameters(fingerprints=[claimed]))
        if not self._dtls.encrypted:
            raise self.failure()
        digest = ortc.peer_fingerprint(self._dtls)
        # aiortc compares too, and then reads nothing; a difference is our caller's to judge.
        if self._dtls.state != "connected" and digest == remote.fingerprint:
            raise self.failure()
        return digest

    # channels

    def _make_sctp(self, chosen: str) -> ortc.BoundedSctpTransport | FastSctpTransport:
        if chosen == "fast":
            return FastSctpTransport(
                self._dtls, on_end=self._end, on_channel=self._on_extra_channel
            )
        stock = ortc.BoundedSctpTransport(self._dtls, on_flood=lambda: self._end(ProtocolError()))
        stock.on("datachannel", self._on_extra_channel)
        return stock

    def _add_channel(self, channel: Channel) -> RTCDataChannel | DataChannel:
        parameters = RTCDataChannelParameters(
            label=_LABELS[channel], ordered=True, negotiated=True, id=int(channel)
        )
        made = self._sctp.add_channel(parameters)
        made.on("open", self._on_channel_open)
        made.on("close", self._on_channel_close)
        made.on("message", functools.partial(self._on_message, int(channel)))
        made.on("bufferedamountlow", self._on_buffer_low)
        return made

    def _on_channel_open(self) -> None:
        if not self._opened.done() and all(
            channel.readyState == "open" for channel in self._channels.values()
        ):
            self._opened.set_result(None)

    def _on_channel_close(self) -> None:
        self._end(None)

    def _on_message(self, channel: int, data: object) -> None:
        self._inbox.put(channel, data)

    def _on_buffer_low(self) -> None:
        if self._is_open and not self._has_ended:
            self._outbox.feed()

    def _on_extra_channel(self, _channel: RTCDataChannel | DataChannel) -> None:
        self._end(ProtocolError("The partner opened a channel of its own."))

    def _on_pump_end(self, pump: asyncio.Future[None]) -> None:
        error = None if pump.cancelled() else pump.exception()
        if error is not None:
            problem = ProtocolError("The partner sent a packet that cannot be understood.")
            problem.__cause__ = error
            self._end(problem)
        else:
            self._end(None)

    # frames

    @property
    def on_frame(self) -> Callable[[int, bytes], None]:
        """Called with (channel, whole message), once `connect` has returned and this is set."""
        return self._inbox.listener

    @on_frame.setter
    def on_frame(self, listener: Callable[[int, bytes], None]) -> None:
        self._inbox.listener = listener

    def send(self, channel: int, data: bytes) -> None:
        """Queues one message; see `Peer.send`.

        Raises:
            ConnectionLost: The association is not open.
            ValueError: The message is larger than the other side takes.
        """
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("A peer belongs to one event loop.")
        if not self._can_send():
            raise ConnectionLost()
        if len(data) > self._max_message:
            raise ValueError(f"a message of {len(data)} bytes; at most {self._max_message} fit")
        self._outbox.put(channel, data)

    def send_now(self, messages: Iterable[tuple[int, bytes]]) -> None:
        """Saves turns of the loop; see `Peer.send_now`. The stock association waits for its own."""
        fast = self._sctp if isinstance(self._sctp, FastSctpTransport) else None
        if fast is None:
            for channel, data in messages:
                self.send(channel, data)
            return
        fast.hold()
        try:
            for channel, data in messages:
                self.send(channel, data)
        finally:
            fast.let_go()

    def buffered(self, channel: int) -> int:
        """Bytes queued on a channel that SCTP has not cut into packets yet.

        What SCTP has taken counts as gone: at most one message and a congestion window.
        """
        return self._outbox.buffered(channel)

    async def drain(self, channel: int, below: int) -> None:
        """Waits until fewer than `below` bytes are queued; see `Peer.drain`."""
        if not self._can_send():
            raise ConnectionLost()
        await self._outbox.drain(channel, below)

    def _can_send(self) -> bool:
        return self._is_open and not self._has_ended and self._closing is None

    def path(self) -> Path:
        """The path in use, or the last one."""
        pair = ortc.nominated_pair(self._ice)
        if pair is not None:
            local, remote = pair
            self._last_path = Path(
                "relayed" if "relay" in (local.type, remote.type) else "direct",
                f"{local.type} {local.host}:{local.port}",
                f"{remote.type} {remote.host}:{remote.port}",
                ortc.counters(self._dtls, self._sctp),
            )
        return self._last_path

    # the end

    @property
    def on_closed(self) -> Callable[[Exception | None], None]:
        """Called once when an open association ends by itself; see `Peer.on_closed`."""
        return self._on_closed or _ignore_end

    @on_closed.setter
    def on_closed(self, listener: Callable[[Exception | None], None]) -> None:
        self._on_closed = listener
        if self._to_report:
            self._loop.call_soon(self._report)

    def _end(self, error: Exception | None) -> None:
        """The association ended, or has to, without our `close`."""
        if self._has_ended or self._is_closing():
            return
        self._has_ended = True
        self._error = error
        if self._is_open:
            self._to_report = True
            self.path()
        elif not self._opened.done():
            self._opened.set_exception(error or self.failure())
            self._opened.exception()  # retrieved: nobody may be waiting yet
        self._outbox.fail()
        self._begin_close()

    def _report(self) -> None:
        if self._to_report and self._on_closed is not None:
            self._to_report = False
            self._on_closed(self._error)

    async def close(self) -> None:
        """Ends the association and frees sockets and tasks; may be called twice, and any time.

        What was sent on channel 0 gets `limits.LINGER_SECONDS` to arrive; the rest is dropped.
        """
        self._to_report = False
        self._begin_close()
        closing = self._closing
        if closing is not None:
            await asyncio.shield(closing)

    def _is_closing(self) -> bool:
        return self._closing is not None

    def _begin_close(self) -> None:
        if self._closing is None:
            # A last word that nobody has heard yet outlives an orderly end by the other side.
            self._inbox.close(keep=self._has_ended and self._error is None)
            self._closing = asyncio.ensure_future(self._close())

    async def _close(self) -> None:
        if self._has_ended:
            # ICE says why a turn later than DTLS says that.
            await ortc.start_monitor()
            await ortc.start_monitor()
            if self._error is None and self._ice.state == "failed":
                self._error = ConnectionLost()
            self._report()
        elif self._is_open:
            self.path()
            self._outbox.fail()
            await self._linger()
        await _finish(self._work)
        await self._sctp.stop()
        await self._dtls.stop()
        await _finish(self._pump)
        await ortc.stop_ice(self._ice)
        await ortc.start_monitor()  # aiortc's own short tasks end in this turn
        self._outbox.drop(Channel)

    async def _linger(self) -> None:
        """Lets the last words on channel 0 arrive: an SCTP abort follows and cuts off the rest."""
        self._outbox.drop((Channel.OPS, Channel.BULK))
        deadline = self._loop.time() + limits.LINGER_SECONDS
        while self._loop.time() < deadline and not self._has_ended:
            if self._sctp.is_idle and not self._outbox.buffered(Channel.CTL):
                break
            await asyncio.sleep(0.002)


def webrtc_factory(
    *,
    controlling: bool,
    ice_servers: Sequence[dict[str, Any]],
    loopback: bool,
    relay_only: bool = False,
) -> WebRtcPeer:
    """Makes a `WebRtcPeer`; a `duet_p2p.transport.base.PeerFactory`."""
    return WebRtcPeer(
        controlling=controlling,
        ice_servers=ice_servers,
        loopback=loopback,
        relay_only=relay_only,
    )


async def _finish(task: asyncio.Future[Any] | None) -> None:
    """Cancels a task until it ends.

    Once is not enough: before Python 3.12, `asyncio.wait_for`, which aiortc uses while it shakes
    hands, forgets a cancellation that comes together with a packet.
    """
    while task is not None and not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=0.1)


def _sha256(certificate: RTCCertificate) -> bytes:
    for fingerprint in certificate.getFingerprints():
        if fingerprint.algorithm == "sha-256":
            return bytes.fromhex(fingerprint.value.replace(":", ""))
    raise ConnectFailed(stage="dtls", remedy="aiortc gives no SHA-256 of a certificate.")


def _is_literal(address: str) -> bool:
    # Names are resolved, and their addresses judged, before a description gets here.
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


def _ignore_end(_error: Exception | None) -> None:
    """What `on_closed` is before somebody sets it; never called."""
