"""Attacks at the wire: a malicious signalling server, real sockets, real WebRTC.

Each attack has one line that says what the attacker hopes for. In every one no link opens and no
frame reaches a session, so no operation can run; and whoever waits hears a typed error in time.
`test_control_*` show that the same harness does succeed where one thing is left out: signatures, or
the comparison of certificates.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from duet_p2p import limits
from duet_p2p.errors import DuetError, OriginMismatch, PairingTimeout, PeerProofError
from duet_p2p.identity.keys import Key
from duet_p2p.protocol.bodies import Join, Sdp, parse_body
from duet_p2p.transport.signaling import WebSocketSignaling
from signaling_server import frames
from signaling_server.frames import Close
from signaling_server.ids import b64encode
from tests.handshake_kit import CAPS, both, until
from tests.security.malicious_relay import (
    DuetWire,
    MaliciousRelay,
    ManInTheMiddle,
    OnPath,
    PlainWire,
    detoured,
    running,
)
from tests.security.webrtc_kit import (
    OPERATION,
    PATIENCE,
    SILENCE,
    assert_alive,
    assert_nothing_opened,
    speed_up,
    victims,
)

MALLORY = {"offer": Key.fresh("owner"), "answer": Key.fresh("scientist")}
MALLORY["join"] = MALLORY["answer"]


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    speed_up(monkeypatch)


# changed messages


@dataclass(frozen=True)
class Attack:
    hope: str
    change: Callable[[Any], bytes]
    error: type[DuetError] = PeerProofError


def fields(message: Join | Sdp, **changes: Any) -> bytes:
    return replace(message, **changes).encode()


def text(message: Join | Sdp, **changes: Any) -> bytes:
    """Changes the JSON, past what the dataclass would allow; None takes a field out."""
    changed = json.loads(message.encode()) | changes
    return json.dumps({k: v for k, v in changed.items() if v is not None}).encode()


def with_key(message: Join | Sdp, **changes: Any) -> bytes:
    """The message under Mallory's signature; the IDs are still the victims'."""
    key = MALLORY[getattr(message, "kind", "join")]
    changed = replace(message, **changes)
    return replace(changed, sig=key.sign(changed.signed())).encode()


def mallory_pub(message: Join | Sdp) -> bytes:
    return MALLORY[getattr(message, "kind", "join")].pub


def other_fingerprint(message: Sdp) -> dict[str, Any]:
    old, new = (fp.hex(":").upper() for fp in (message.fp, b"f" * 32))
    return {"fp": b"f" * 32, "sdp": message.sdp.replace(old, new)}


def redirected(message: Sdp) -> str:
    """All candidates at one address of Mallory's."""
    kept = [line for line in message.sdp.split("\r\n") if not line.startswith("a=candidate")]
    kept.insert(-2, "a=candidate:1 1 udp 1 203.0.113.9 9 typ host")
    return "\r\n".join(kept)


OLD = CAPS.replace(b'"v":1', b'"v":0')
SMALL = CAPS.replace(b"65536", b"1024")
SDP_ATTACKS = {
    "key": Attack(
        "the receiver verifies with whatever key is in the message",
        lambda m: fields(m, pub=mallory_pub(m)),
    ),
    "key and signature": Attack(
        "a message that is right in itself passes for the partner's",
        lambda m: with_key(m, pub=mallory_pub(m)),
    ),
    "signature": Attack("a signature by anybody is enough", lambda m: with_key(m)),
    "fingerprint": Attack("DTLS accepts Mallory's certificate", lambda m: fields(m, fp=b"f" * 32)),
    "fingerprint everywhere": Attack(
        "the same, with the text changed to match", lambda m: fields(m, **other_fingerprint(m))
    ),
    "ICE password": Attack(
        "the connectivity checks are answered by Mallory",
        lambda m: fields(m, sdp=m.sdp.replace("a=ice-pwd:", "a=ice-pwd:mallory")),
    ),
    "candidates": Attack("packets go to Mallory's address", lambda m: fields(m, sdp=redirected(m))),
    "one more candidate": Attack(
        "checks are aimed at a third machine",
        lambda m: fields(m, sdp=m.sdp + "a=candidate:9 1 udp 1 203.0.113.9 9 typ host\r\n"),
    ),
    "one more media line": Attack(
        "a second, unchecked association is negotiated",
        lambda m: fields(m, sdp=m.sdp + "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n"),
    ),
    "old version": Attack(
        "both fall back to a version without proofs", lambda m: fields(m, caps=OLD)
    ),
    "smaller messages": Attack("a limit is talked down unseen", lambda m: fields(m, caps=SMALL)),
    "own nonce": Attack("an old transcript fits again", lambda m: fields(m, own_nonce=bytes(16))),
    "peer nonce": Attack(
        "an answer to another message passes for one to this",
        lambda m: fields(m, peer_nonce=bytes(16)),
    ),
    "attempt": Attack(
        "the receiver takes it for a newer attempt", lambda m: fields(m, attempt=m.attempt + 1)
    ),
    "setup": Attack("the parts in DTLS are turned round", lambda m: fields(m, setup="passive")),
    "zeros for a signature": Attack("no signature is checked", lambda m: fields(m, sig=bytes(64))),
    # These are no messages at all: dropped, not even counted as somebody's bad proof.
    "no signature": Attack(
        "unsigned messages of an older release are taken",
        lambda m: text(m, sig=None),
        PairingTimeout,
    ),
    "cut signature": Attack(
        "only a part of the signature is compared",
        lambda m: text(m, sig=b64encode(m.sig[:32])),
        PairingTimeout,
    ),
    "two keys": Attack(
        "one reader takes the first value, another one the last",
        lambda m: m.encode()[:-1] + b',"fp":"' + b64encode(bytes(32)).encode() + b'"}',
        PairingTimeout,
    ),
}


@pytest.mark.parametrize("name", SDP_ATTACKS)
@pytest.mark.parametrize("kind", ["offer", "answer"])
async def test_a_changed_offer_or_answer_opens_nothing(kind, name):
    attack, hits = SDP_ATTACKS[name], []

    def tamper(sender, to, body):
        message = parse_body(body)
        if getattr(message, "kind", "") != kind:
            return [(sender, to, body)]
        hits.append(name)
        return [(sender, to, attack.change(message))]

    async with running(MaliciousRelay(tamper)) as relay, victims(relay) as (o, s, peers):
        victim = s if kind == "offer" else o
        async with asyncio.timeout(PATIENCE):
            while not hits:  # a busy machine may take its time until then
                await asyncio.sleep(0.01)
        with pytest.raises(attack.error):
            await victim.handshake.wait(PATIENCE if attack.error is PeerProofError else SILENCE)
        assert_nothing_opened(o, s)
        if kind == "offer":
            assert peers.made["scientist"] == 0  # not a packet went out


JOIN_ATTACKS = {
    "key": Attack(
        "the owner talks to whoever asks in the name", lambda m: fields(m, pub=mallory_pub(m))
    ),
    "key and signature": Attack(
        "a join that is right in itself passes for the client's",
        lambda m: with_key(m, pub=mallory_pub(m)),
    ),
    "nonce": Attack("an old offer answers it", lambda m: fields(m, nonce=bytes(16))),
    "attempt": Attack(
        "the client's own later joins count as old", lambda m: fields(m, attempt=2**53 - 1)
    ),
    "old version": Attack("the owner falls back to it", lambda m: fields(m, caps=OLD)),
    "no signature": Attack("unsigned joins are taken", lambda m: text(m, sig=None)),
    "cut signature": Attack("a part is enough", lambda m: text(m, sig=b64encode(m.sig[:32]))),
}


@pytest.mark.parametrize("name", JOIN_ATTACKS)
async def test_a_changed_join_makes_no_peer_and_keeps_nobody_out(name):
    is_on = True

    def tamper(sender, to, body):
        message = parse_body(body)
        if isinstance(message, Join) and is_on:
            return [(sender, to, JOIN_ATTACKS[name].change(message))]
        return [(sender, to, body)]

    async with running(MaliciousRelay(tamper)) as relay, victims(relay) as (o, s, peers):
        with pytest.raises(PairingTimeout):
            await s.handshake.wait(SILENCE)
        assert peers.made == {"owner": 0, "scientist": 0}
        assert o.handshake.dropped > 0 and o.events == [] and o.handshake.error is None
        assert_nothing_opened(o, s)
        is_on = False  # the very join that was changed still counts
        await both(o, s, PATIENCE)


# somebody in the middle


FORGERIES = {
    "signature kept": lambda m: m,
    "signed by Mallory": lambda m: parse_body(with_key(m)),
    "Mallory's key and signature": lambda m: parse_body(with_key(m, pub=mallory_pub(m))),
}


@pytest.mark.parametrize("name", FORGERIES)
@pytest.mark.parametrize("kinds", [("offer",), ("answer",), ("offer", "answer")])
async def test_a_relay_that_ends_dtls_on_its_own_certificates_is_turned_away(kinds, name):
    relay = ManInTheMiddle(DuetWire(FORGERIES[name]), kinds)
    async with running(relay), victims(relay) as (o, s, _):
        victim = s if "offer" in kinds else o
        with pytest.raises(PeerProofError):
            await victim.handshake.wait(PATIENCE)
        assert_nothing_opened(o, s)
        assert relay.open == 0 and relay.read == []


async def test_control_the_same_relay_reads_two_stock_peers_that_sign_nothing():
    relay = ManInTheMiddle(PlainWire())
    async with running(relay):
        keys = {"offer": Key.fresh("owner"), "answer": Key.fresh("scientist")}
        ends = {kind: WebSocketSignaling(relay.url, key) for kind, key in keys.items()}
        stock = {kind: RTCPeerConnection(RTCConfiguration(iceServers=[])) for kind in keys}
        channels = {
            kind: [
                peer.createDataChannel(f"c{number}", negotiated=True, id=number)
                for number in range(3)
            ]
            for kind, peer in stock.items()
        }
        heard = asyncio.Queue()
        channels["answer"][1].on("message", heard.put_nowait)
        arrived = {kind: asyncio.Queue() for kind in keys}
        for kind, end in ends.items():
            end.on_message = lambda _, body, kind=kind: arrived[kind].put_nowait(json.loads(body))
            await end.start()

        async def send(kind, to):
            local = stock[kind].localDescription
            body = json.dumps({"kind": kind, "sdp": local.sdp}).encode()
            ends[kind].post(keys[to].id, body)
            got = await arrived[to].get()
            await stock[to].setRemoteDescription(RTCSessionDescription(got["sdp"], got["kind"]))

        try:
            async with asyncio.timeout(PATIENCE):
                await stock["offer"].setLocalDescription(await stock["offer"].createOffer())
                await send("offer", "answer")
                await stock["answer"].setLocalDescription(await stock["answer"].createAnswer())
                await send("answer", "offer")
                while channels["offer"][1].readyState != "open":
                    await asyncio.sleep(0.01)
                channels["offer"][1].send(OPERATION)
                assert await heard.get() == OPERATION  # the two notice nothing
            assert relay.open == 2 and relay.read == [("owner", 1, OPERATION)]
        finally:
            await asyncio.gather(*(peer.close() for peer in stock.values()))
            await asyncio.gather(*(end.close(forget=True) for end in ends.values()))


async def test_a_relay_on_the_path_that_changes_no_message_fails_at_the_certificate():
    relay = OnPath()
    kind = detoured(relay, blind=False)
    async with running(relay), victims(relay, owner_peer=kind, scientist_peer=kind) as (o, s, _):
        with pytest.raises(PeerProofError):
            await s.handshake.wait(PATIENCE)
        with pytest.raises(PeerProofError):
            await o.handshake.wait(SILENCE)
        assert len(relay.detours) >= 2 * limits.BAD_PROOFS  # it got as far as DTLS each time
        assert_nothing_opened(o, s)
        assert relay.read == []


async def test_control_the_same_relay_reads_everything_if_no_certificate_is_compared():
    relay = OnPath()
    kind = detoured(relay, blind=True)
    async with running(relay), victims(relay, owner_peer=kind, scientist_peer=kind) as (o, s, _):
        await both(o, s, PATIENCE)
        s.links[0].peer.send(1, OPERATION)
        await until(lambda: o.frames == [(1, OPERATION)])
        assert ("scientist", 1, OPERATION) in relay.read


# splicing, reflecting


@pytest.mark.parametrize("renamed", [False, True], ids=["as they are", "IDs rewritten"])
async def test_two_sessions_cannot_be_spliced(renamed):
    """The relay hopes that the owner of one session gets the scientist of the other."""
    swap: dict[str, str] = {}

    def splice(sender, to, body):
        if renamed:
            for own, other in swap.items():
                body = body.replace(own.encode(), b"@" + other[::-1].encode())
            for other in swap.values():
                body = body.replace(b"@" + other[::-1].encode(), other.encode())
        return [(swap[sender] if renamed else sender, swap[to], body)]

    async with (
        running(MaliciousRelay(lambda *posted: [])) as relay,
        victims(relay) as (o1, s1, one),
        victims(relay) as (o2, s2, two),
    ):
        for a, b in ((o1, o2), (s1, s2)):
            swap |= {a.key.id: b.key.id, b.key.id: a.key.id}
        relay._tamper = splice
        for scientist in (s1, s2):
            with pytest.raises(PairingTimeout):
                await scientist.handshake.wait(SILENCE)
        assert_nothing_opened(o1, s1, o2, s2)
        assert one.made == two.made == {"owner": 0, "scientist": 0}
        assert o1.handshake.dropped and o2.handshake.dropped


async def test_an_offer_of_another_session_of_the_same_people_does_not_fit():
    """The relay hopes that one session's offer is taken in another one of the same two people."""
    async with running(MaliciousRelay()) as relay, victims(relay) as (o, s, _):
        await both(o, s, PATIENCE)
        [offer] = [body for sender, _, body in relay.posted if sender == o.key.id]

        def swap_offers(sender, to, body):
            return [(sender, to, offer if isinstance(parse_body(body), Sdp) else body)]

        await asyncio.gather(o.handshake.close(), s.handshake.close())
        relay._tamper = swap_offers
        keys = {"owner_key": o.key, "scientist_key": s.key}
        async with victims(relay, **keys) as (again_o, again_s, peers):
            with pytest.raises(PairingTimeout):
                await again_s.handshake.wait(SILENCE)
            assert peers.made["owner"] == 1 and peers.made["scientist"] == 0
            assert_nothing_opened(again_o, again_s)


OTHER_PART = {
    "offer": {"kind": "answer", "role": "scientist"},
    "answer": {"kind": "offer", "role": "owner"},
}


async def test_own_messages_that_come_back_open_nothing():
    """The relay hopes that a side pairs with itself, also with role and kind turned round."""
    reflected = 0

    def mirror(sender, to, body):
        nonlocal reflected
        reflected += 1
        message = parse_body(body)
        echoes = [body]
        if isinstance(message, Sdp):
            echoes.append(text(message, **OTHER_PART[message.kind]))
        passed = [(sender, to, body)] if isinstance(message, Join) else []
        return [*passed, *((to, sender, echo) for echo in echoes)]

    async with running(MaliciousRelay(mirror)) as relay, victims(relay) as (o, s, peers):
        with pytest.raises(PairingTimeout):
            await s.handshake.wait(SILENCE)
        with pytest.raises(PeerProofError):  # its own offer as an answer, in the partner's name
            await o.handshake.wait(PATIENCE)
        assert reflected > 2 and peers.made["scientist"] == 0
        assert_nothing_opened(o, s)


async def test_a_relay_that_throws_both_out_ends_no_live_link():
    """The relay hopes that a session depends on it."""
    async with running(MaliciousRelay()) as relay, victims(relay) as (o, s, _):
        await both(o, s, PATIENCE)
        await relay.cut(o.key.id, Close.REPLACED)
        await relay.cut(s.key.id, Close.PROOF)
        await asyncio.sleep(0.1)
        await assert_alive(o, s)
        assert o.handshake.error is None and s.handshake.error is None


# the relay's own name


async def test_a_relay_under_another_name_gets_no_signature():
    """The relay hopes for a signature that registers the owner's ID at another server."""

    class Renamed(MaliciousRelay):
        async def on_hello(self):
            return replace_hello(await super().on_hello(), origin="https://sig.example.org")

    async with running(Renamed()) as relay:
        with pytest.raises(OriginMismatch):
            await WebSocketSignaling(relay.url, Key.fresh("owner")).start()
        assert relay.registered == []


def replace_hello(hello: frames.Hello, **changes: Any) -> frames.Hello:
    names = ("v", "challenge", "conn", "origin", "limits")
    return frames.Hello(**{name: getattr(hello, name) for name in names} | changes)
