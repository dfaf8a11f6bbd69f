"""The private parts of aiortc are where they are expected, and their absence is an error.

The first tests fail when a new aiortc moves one of them: that is what they are for.
"""

import asyncio
import inspect
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from struct import pack, unpack_from
from typing import Any, cast

import aioice.ice
import aioice.stun as stun
import pytest
from aiortc import (
    RTCCertificate,
    RTCDtlsTransport,
    RTCIceGatherer,
    RTCIceTransport,
    RTCSctpTransport,
)

from duet_p2p import limits
from duet_p2p.errors import ConnectFailed
from duet_p2p.transport import ortc
from duet_p2p.transport.base import Channel
from duet_p2p.transport.webrtc import WebRtcPeer

DEADLINE = 10.0


async def a_transport() -> tuple[RTCIceGatherer, RTCIceTransport, RTCDtlsTransport]:
    gatherer = ortc.make_gatherer(relay_only=False)
    ice = RTCIceTransport(gatherer)
    return gatherer, ice, RTCDtlsTransport(ice, [RTCCertificate.generateCertificate()])


async def test_aiortc_has_what_this_file_touches() -> None:
    gatherer, ice, dtls = await a_transport()
    connection = ice._connection
    assert gatherer._connection is connection
    assert (connection._protocols, connection._local_candidates) == ([], [])
    assert connection._nominated == {}
    assert "retransmissions=0" in inspect.getsource(aioice.ice.Connection.query_consent)
    assert connection._queue.qsize() == 0
    assert connection.stun_server is None and connection.turn_server is None
    assert (dtls._role, dtls._ssl, dtls._task) == ("auto", None, None)
    sctp = ortc.BoundedSctpTransport(dtls, on_flood=lambda: None)
    assert (sctp._advertised_rwnd, sctp._srtt) == (1024 * 1024, None)
    for name in ("_send_chunk", "_receive_data_chunk"):
        # What is overridden is what stock calls.
        assert asyncio.iscoroutinefunction(getattr(RTCSctpTransport, name))
    await ice.stop()


async def test_the_ice_role_can_be_set() -> None:
    _, ice, _ = await a_transport()
    for controlling, role in ((True, "controlling"), (False, "controlled")):
        ortc.set_ice_role(ice, controlling=controlling)
        assert ice.role == role
    await ice.stop()


async def test_the_dtls_role_is_set_once() -> None:
    _, ice, dtls = await a_transport()
    ortc.set_dtls_role(dtls, "server")
    assert ortc.BoundedSctpTransport(dtls, on_flood=lambda: None).is_server
    with pytest.raises(ConnectFailed):
        ortc.set_dtls_role(dtls, "client")
    await ice.stop()


class Empty:
    """An aiortc without any of it."""


@pytest.mark.parametrize(
    ("stage", "touch"),
    [
        ("gathering", lambda changed: ortc.set_ice_role(changed, controlling=True)),
        ("ice", lambda changed: ortc.nominated_pair(changed)),
        ("dtls", lambda changed: ortc.set_dtls_role(changed, "client")),
        ("dtls", lambda changed: ortc.peer_fingerprint(changed)),
        ("dtls", lambda changed: ortc.watch_pump(changed, lambda _task: None)),
    ],
)
def test_a_changed_aiortc_is_an_error_that_names_it(
    stage: str, touch: Callable[[Any], object]
) -> None:
    with pytest.raises(ConnectFailed, match=r"aiortc [0-9.]+ with aioice") as caught:
        touch(Empty())
    assert caught.value.stage == stage


async def test_a_certificate_that_cannot_be_read_is_an_error_and_not_a_pass() -> None:
    class NoCertificate:
        def get_peer_certificate(self, *, as_cryptography: bool) -> None:
            assert as_cryptography

    for connection in (None, NoCertificate(), Empty()):
        dtls = Empty()
        dtls._ssl = connection  # type: ignore[attr-defined]
        with pytest.raises(ConnectFailed, match="certificate"):
            ortc.peer_fingerprint(dtls)  # type: ignore[arg-type]


async def test_packets_that_nobody_reads_are_bounded() -> None:
    gatherer, ice, _ = await a_transport()
    for _ in range(limits.UNREAD_PACKETS + 10):
        gatherer._connection.data_received(b"\x16noise", 1)
    assert gatherer._connection._queue.qsize() == limits.UNREAD_PACKETS
    await ice.stop()


@pytest.mark.parametrize("noise", [b"", b"noise", b"\0", b"\x13", b"\x40", b"\x80\0", b"\xff"])
async def test_what_is_no_record_of_dtls_is_dropped(noise: bytes) -> None:
    gatherer, ice, _ = await a_transport()
    gatherer._connection.data_received(noise, 1)
    assert gatherer._connection._queue.qsize() == 0
    await ice.stop()


async def test_addresses_of_one_partner_are_bounded() -> None:
    gatherer, ice, _ = await a_transport()
    connection = gatherer._connection
    message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    asked: list[Any] = []
    protocol = cast(Any, type("Protocol", (), {"send_stun": lambda *said: asked.append(said)})())
    connection.request_received(message, ("192.0.2.1", 1), protocol)
    assert len(asked) == 1  # answered, with an error: it has no password
    known = [
        aioice.Candidate("1", 1, "udp", 1, "192.0.2.1", port, "prflx")
        for port in range(1, limits.REMOTE_ADDRESSES + 1)
    ]
    connection._remote_candidates += known
    connection.request_received(message, ("192.0.2.1", 1), protocol)
    connection.request_received(message, ("192.0.2.1", limits.REMOTE_ADDRESSES + 1), protocol)
    assert len(asked) == 2  # one that is known, and no new one
    await ice.stop()


# servers


def test_one_stun_server_and_one_relay_per_transport_are_picked() -> None:
    account = {"username": "u", "credential": "c"}
    servers = ortc.pick_servers(
        [
            {"urls": "turns:relay.example:443?transport=tcp", **account},
            {"urls": ["stun:one.example", "stun:two.example:99"]},
            {"urls": ["turn:relay.example", "turn:other.example"], **account},
            {"urls": "turn:relay.example:80?transport=tcp", **account},
        ]
    )
    assert servers.stun == ("one.example", 3478)
    assert [(relay.host, relay.port, relay.transport) for relay in servers.relays] == [
        ("relay.example", 3478, "udp"),
        ("relay.example", 80, "tcp"),
        ("relay.example", 443, "tls"),
    ]


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"urls": []},
        {"urls": "https://example.org"},
        {"urls": "stuns:example.org"},
        {"urls": "turn:example.org"},
        {"urls": "turn:example.org", "username": "u"},
        {"urls": "turn:example.org?transport=carrier-pigeon", "username": "u", "credential": "c"},
        {"urls": [7]},
    ],
)
def test_a_server_that_cannot_be_used_is_left_out(entry: dict[str, Any]) -> None:
    assert ortc.pick_servers([entry]) == ortc.Servers()


# a TURN server of a few lines, enough for aioice without a password


class Turn(asyncio.DatagramProtocol):
    def __init__(self, *, frees: bool = True) -> None:
        self.frees = frees
        self.relays: dict[tuple[str, int], Relayed] = {}
        self.released = 0
        self.passed_on = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)
        self.address = transport.get_extra_info("sockname")

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if data[0] & 0xC0 == 0x40:
            channel, length = unpack_from("!HH", data)
            relayed = self.relays[addr]
            relayed.transport.sendto(data[4 : 4 + length], relayed.peers[channel])
            self.passed_on += 1
            return
        request = stun.parse_message(data)
        if request.message_method == stun.Method.ALLOCATE:
            self.allocation = asyncio.ensure_future(self.allocate(request, addr))
        elif request.message_method == stun.Method.CHANNEL_BIND:
            peer = request.attributes["XOR-PEER-ADDRESS"]
            self.relays[addr].peers[request.attributes["CHANNEL-NUMBER"]] = peer
            self.answer(request, addr)
        elif request.message_method == stun.Method.REFRESH and self.frees:
            self.released += 1
            self.relays.pop(addr).transport.close()
            self.answer(request, addr, LIFETIME=0)

    async def allocate(self, request: stun.Message, addr: Any) -> None:
        loop = asyncio.get_running_loop()
        _, relayed = await loop.create_datagram_endpoint(
            lambda: Relayed(self, addr), local_addr=("127.0.0.1", 0)
        )
        self.relays[addr] = relayed
        self.answer(
            request,
            addr,
            LIFETIME=600,
            XOR_MAPPED_ADDRESS=addr,
            XOR_RELAYED_ADDRESS=relayed.transport.get_extra_info("sockname"),
        )

    def answer(self, request: stun.Message, addr: Any, **attributes: Any) -> None:
        response = stun.Message(
            message_method=request.message_method,
            message_class=stun.Class.RESPONSE,
            transaction_id=request.transaction_id,
        )
        for name, value in attributes.items():
            response.attributes[name.replace("_", "-")] = value
        self.transport.sendto(bytes(response), addr)


class Relayed(asyncio.DatagramProtocol):
    def __init__(self, server: Turn, client: Any) -> None:
        self.server = server
        self.client = client
        self.peers: dict[int, tuple[str, int]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        for channel, peer in self.peers.items():
            if peer == addr:
                self.server.transport.sendto(pack("!HH", channel, len(data)) + data, self.client)


@asynccontextmanager
async def turn_server(*, frees: bool = True) -> AsyncIterator[Turn]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(
        lambda: Turn(frees=frees), local_addr=("127.0.0.1", 0)
    )
    try:
        yield server
    finally:
        for relayed in server.relays.values():
            relayed.transport.close()
        transport.close()
        await asyncio.sleep(0.01)


def account(server: Turn) -> list[dict[str, Any]]:
    host, port = server.address
    return [{"urls": f"turn:{host}:{port}", "username": "u", "credential": "c"}]


@pytest.mark.parametrize("sctp", ["fast", "stock"])
async def test_relayed_only_means_relayed_only(sctp: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUET_SCTP", sctp)
    async with turn_server() as server:
        owner, scientist = (
            WebRtcPeer(
                controlling=controlling,
                loopback=True,
                relay_only=True,
                ice_servers=account(server),
            )
            for controlling in (True, False)
        )
        offer, answer = await owner.gather(), await scientist.gather()
        for half in (offer, answer):
            assert {candidate.kind for candidate in half.candidates} == {"relay"}
        async with asyncio.timeout(DEADLINE):
            await asyncio.gather(owner.connect(answer), scientist.connect(offer))
        heard = asyncio.get_running_loop().create_future()
        scientist.on_frame = lambda channel, data: heard.set_result((channel, data))
        data = os.urandom(65_536)
        owner.send(Channel.BULK, data)
        async with asyncio.timeout(DEADLINE):
            assert await heard == (Channel.BULK, data)
        assert owner.path().kind == scientist.path().kind == "relayed"
        assert server.passed_on > 60
        await asyncio.gather(owner.close(), scientist.close())
        assert server.released == 2


async def test_a_turn_server_that_is_gone_does_not_hold_up_a_close(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "RELAY_RELEASE_SECONDS", 0.1)
    async with turn_server(frees=False) as server:
        peer = WebRtcPeer(controlling=True, loopback=True, ice_servers=account(server))
        half = await peer.gather()
        assert {candidate.kind for candidate in half.candidates} == {"host", "relay"}
        before = asyncio.get_running_loop().time()
        await peer.close()
        assert asyncio.get_running_loop().time() - before < 1.0
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_turn_server_that_does_not_answer_has_its_own_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "STUN_SECONDS", 0.1)
    monkeypatch.setattr(limits, "GATHER_SECONDS", 0.2)
    async with turn_server() as server:
        monkeypatch.setattr(server, "datagram_received", lambda _data, _addr: None)
        for relay_only in (False, True):
            peer = WebRtcPeer(
                controlling=True,
                loopback=True,
                relay_only=relay_only,
                ice_servers=account(server),
            )
            if relay_only:
                with pytest.raises(ConnectFailed, match="gave no relay address"):
                    await peer.gather()
            else:
                half = await peer.gather()
                assert {candidate.kind for candidate in half.candidates} == {"host"}
                assert "gave no relay address" in peer.failure().remedy
            await peer.close()


async def test_gathering_with_a_silent_turn_server_can_be_cancelled() -> None:
    async with turn_server() as server:
        server.datagram_received = lambda _data, _addr: None  # type: ignore[method-assign]
        peer = WebRtcPeer(controlling=True, loopback=True, ice_servers=account(server))
        gathering = asyncio.create_task(peer.gather())
        await asyncio.sleep(0.1)
        gathering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gathering
        before = asyncio.get_running_loop().time()
        await peer.close()
        assert asyncio.get_running_loop().time() - before < 0.5
    assert asyncio.all_tasks() == {asyncio.current_task()}
