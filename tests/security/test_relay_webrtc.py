"""Attacks at the wire: a malicious signalling server, real sockets, real WebRTC.

Each attack has one line that says what the attacker hopes for. In every one no link opens and no
frame reaches a session, so no operation can run; and whoever waits hears a typed error in time.
`test_control_*` show that the same harness does succeed where one thing is left out: signatures, or
the comparison of certificates.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.rtcsctptransport import DATA_CHANNEL_OPEN, WEBRTC_DCEP, WEBRTC_STRING

from duet_p2p import limits
from duet_p2p.errors import (
    ConfirmFailed,
    DuetError,
    OriginMismatch,
    PairingTimeout,
    PeerProofError,
    ProtocolError,
)
from duet_p2p.identity.keys import Key
from duet_p2p.protocol.bodies import Bye, Join, Sdp, parse_body
from duet_p2p.protocol.effects import AttemptFailed, LinkClosed
from duet_p2p.protocol.proofs import Ready, parse_proof
from duet_p2p.transport.signaling import WebSocketSignaling
from duet_p2p.transport.webrtc import WebRtcPeer
from signaling_server import frames
from signaling_server.frames import Close
from signaling_server.ids import b64encode
from tests.handshake_kit import CAPS, Side, both, until
from tests.security.malicious_relay import (
    DuetWire,
    MaliciousRelay,
    ManInTheMiddle,
    OnPath,
    PlainWire,
    detoured,
    running,
)

OPERATION = b"\x92\x01secret operation"
PATIENCE = 10.0
SILENCE = 0.3  # how long a test waits for what must not happen
TIMES = {
    "CONNECT_SECONDS": 5.0,
    "CONFIRM_SECONDS": 2.0,
    "JOIN_RESEND_SECONDS": 0.05,
    "JOIN_RESEND_MAX_SECONDS": 0.1,
    "RETRY_SECONDS": 0.02,
    "RECONNECT_MAX_SECONDS": 0.05,
}
MALLORY = {"offer": Key.fresh("owner"), "answer": Key.fresh("scientist")}
MALLORY["join"] = MALLORY["answer"]


@pytest.fixture(autouse=True)
def speed_up(monkeypatch):
    for name, seconds in TIMES.items():
        monkeypatch.setattr(limits, name, seconds)


class Peers:
    """Makes the peers of both sides, and counts them."""

    def __init__(self, owner: type[WebRtcPeer], scientist: type[WebRtcPeer]) -> None:
        self.kinds = {"owner": owner, "scientist": scientist}
        self.made = {"owner": 0, "scientist": 0}

    def __call__(self, *, controlling: bool, **options: Any) -> WebRtcPeer:
        role = "owner" if controlling else "scientist"
        self.made[role] += 1
        return self.kinds[role](controlling=controlling, **options)


def side(relay: MaliciousRelay, peers: Peers, key: Key, **options: Any) -> Side:
    return Side(None, peers, key, signaling=WebSocketSignaling(relay.url, key), **options)


@asynccontextmanager
async def victims(
    relay: MaliciousRelay,
    *,
    owner_key: Key | None = None,
    scientist_key: Key | None = None,
    owner_peer: type[WebRtcPeer] = WebRtcPeer,
    scientist_peer: type[WebRtcPeer] = WebRtcPeer,
    **options: Any,
) -> AsyncIterator[tuple[Side, Side, Peers]]:
    """An owner who expects a scientist, who was told the right session ID; both at `relay`."""
    owner_key = owner_key or Key.fresh("owner")
    scientist_key = scientist_key or Key.fresh("scientist")
    peers = Peers(owner_peer, scientist_peer)
    o = side(relay, peers, owner_key, expected=[scientist_key.id], **options)
    s = side(relay, peers, scientist_key, partner_id=owner_key.id)
    problems: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, found: problems.append(found))
    try:
        await o.handshake.start()
        await s.handshake.start()
        yield o, s, peers
    finally:
        await asyncio.gather(o.handshake.close(), s.handshake.close())
    assert problems == []


def assert_nothing_opened(*sides: Side) -> None:
    for one in sides:
        assert one.links == [] and one.frames == [] and one.handshake.link is None
        assert one.handshake.pinned is None


async def assert_alive(o: Side, s: Side) -> None:
    """The link that is open still carries frames both ways."""
    o.handshake.link.peer.send(0, b"to the scientist")
    s.handshake.link.peer.send(1, b"to the owner")
    await until(lambda: (0, b"to the scientist") in s.frames and (1, b"to the owner") in o.frames)


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
        with pytest.raises(attack.error):
            await victim.handshake.wait(PATIENCE if attack.error is PeerProofError else SILENCE)
        assert hits
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


# replays


def goodbye(speaker: Key, o: Key, s: Key, th: bytes, signer: Key | None = None) -> bytes:
    unsigned = Bye(speaker.role, o.id, s.id, speaker.pub, th, "closed", bytes(64))
    return replace(unsigned, sig=(signer or speaker).sign(unsigned.signed())).encode()


async def recorded_session(relay: MaliciousRelay) -> tuple[Key, Key, int]:
    """Fills `relay.posted` with genuine bodies of each kind; gives the keys, the last attempt."""
    relay._tamper = lambda *posted: [posted] if isinstance(parse_body(posted[2]), Join) else []
    async with victims(relay) as (o, s, _):
        await until(lambda: any(sender == o.key.id for sender, _, _ in relay.posted))
    relay._tamper = None
    keys = {"owner_key": o.key, "scientist_key": s.key}
    async with victims(relay, **keys) as (again_o, again_s, _):
        link, _ = await both(again_o, again_s, PATIENCE)
    for speaker, other in ((o.key, s.key), (s.key, o.key)):
        relay.posted.append((speaker.id, other.id, goodbye(speaker, o.key, s.key, link.th)))
    kinds = {json.loads(body)["kind"] for _, _, body in relay.posted}
    assert kinds == {"join", "offer", "answer", "bye"}
    return o.key, s.key, link.attempt


@pytest.mark.parametrize("remembered", [True, False], ids=["known peers", "files lost"])
async def test_a_whole_old_session_replayed_to_the_owner_opens_nothing(remembered):
    """The relay hopes that a restarted owner with the same identity takes the recorded partner."""
    async with running(MaliciousRelay()) as relay:
        o_key, s_key, attempt = await recorded_session(relay)
        recorded = list(relay.posted)
        relay._tamper = lambda *posted: []
        options = {"newest_attempts": {s_key.id: attempt} if remembered else {}}
        async with victims(relay, owner_key=o_key, **options) as (o, s, peers):
            o.handshake.expect(s_key.id)
            for _ in range(2):
                await relay.inject(*(posted for posted in recorded if posted[1] == o_key.id))
            with pytest.raises(PairingTimeout):
                await o.handshake.wait(SILENCE)
            # Without its memory the owner answers an old join, and nobody can answer that.
            assert peers.made["owner"] <= (0 if remembered else 2)
            assert o.handshake.dropped > 0 and o.handshake.rejected == 0
            assert_nothing_opened(o, s)


async def test_a_whole_old_session_replayed_to_the_scientist_opens_nothing():
    """The relay hopes that old offers and goodbyes count for a new join."""
    async with running(MaliciousRelay()) as relay:
        o_key, s_key, _ = await recorded_session(relay)
        recorded = list(relay.posted)
        relay._tamper = lambda *posted: []
        async with victims(relay, owner_key=o_key, scientist_key=s_key) as (o, s, peers):
            await relay.inject(*(posted for posted in recorded if posted[1] == s_key.id))
            with pytest.raises(PairingTimeout):
                await s.handshake.wait(SILENCE)
            assert peers.made["scientist"] == 0 and s.handshake.rejected == 0
            assert_nothing_opened(o, s)
            relay._tamper = None  # and it kept nobody out
            await both(o, s, PATIENCE)


async def test_an_old_session_replayed_into_another_one_opens_nothing():
    """The relay hopes that messages fit other people once the IDs in them are rewritten."""
    async with running(MaliciousRelay()) as relay:
        o_key, s_key, _ = await recorded_session(relay)
        recorded = list(relay.posted)
        relay._tamper = lambda *posted: []
        async with victims(relay) as (o, s, peers):
            new = {o_key.id: o.key.id, s_key.id: s.key.id}
            for sender, to, body in recorded:
                moved = body.replace(o_key.id.encode(), o.key.id.encode())
                moved_both = moved.replace(s_key.id.encode(), s.key.id.encode())
                for changed in (body, moved, moved_both):
                    await relay.inject((new[sender], new[to], changed))
            await until(lambda: o.handshake.dropped >= 3)
            for victim in (o, s):
                # An offer under another key is a bad proof; enough of them end a wait, by name.
                with pytest.raises((PairingTimeout, PeerProofError)):
                    await victim.handshake.wait(SILENCE)
            assert peers.made == {"owner": 0, "scientist": 0}
            assert_nothing_opened(o, s)


async def test_replays_forged_goodbyes_and_a_late_join_leave_a_live_link_alone():
    """The relay hopes to end, replace or confuse a session that is open."""
    held_back: list[tuple[str, str, bytes]] = []

    def hold_back(sender, to, body):
        message = parse_body(body)
        if isinstance(message, Join) and len(held_back) < 1:
            held_back.append((sender, to, body))
        return [] if (sender, to, body) in held_back else [(sender, to, body)]

    async with running(MaliciousRelay()) as relay, victims(relay) as (o, s, _):
        await both(o, s, PATIENCE)
        relay._tamper = hold_back
        # A second attempt whose first join never arrived, so that the relay owns one more.
        limits_of_a_join, limits.JOIN_RENEW_SECONDS = limits.JOIN_RENEW_SECONDS, 0.2
        try:
            s.handshake.link_lost()
            await until(lambda: len(s.links) == len(o.links) == 2, PATIENCE)
        finally:
            limits.JOIN_RENEW_SECONDS = limits_of_a_join
        owners, scientists = o.links[1], s.links[1]
        assert held_back and owners.is_open
        bad = MALLORY["answer"]
        forged = [
            (s.key.id, o.key.id, goodbye(s.key, o.key, s.key, owners.th, signer=bad)),
            (s.key.id, o.key.id, goodbye(bad, o.key, s.key, owners.th)),
            (s.key.id, o.key.id, goodbye(s.key, o.key, s.key, o.links[0].th)),
            (o.key.id, s.key.id, goodbye(o.key, o.key, s.key, owners.th, signer=MALLORY["offer"])),
            (o.key.id, s.key.id, goodbye(MALLORY["offer"], o.key, s.key, owners.th)),
            (o.key.id, s.key.id, goodbye(o.key, o.key, s.key, s.links[0].th)),
        ]
        old = (o.handshake.dropped, s.handshake.dropped)
        for _ in range(2):
            await relay.inject(*relay.posted, *forged, *held_back)
        await until(lambda: o.handshake.dropped > old[0] + 3 and s.handshake.dropped > old[1] + 3)
        await assert_alive(o, s)
        assert owners.is_open and scientists.is_open
        assert len(o.links) == len(s.links) == 2
        assert o.handshake.rejected == s.handshake.rejected == 0


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


# the expected partner, misbehaving on the channel


class RawPeer(WebRtcPeer):
    """Proves the right key, and then says something else than it should.

    `instead` is called with this peer and each proof that the honest code would send.
    """

    instead: Callable[["RawPeer", bytes], None]

    def send(self, channel: int, data: bytes) -> None:
        if channel == 0 and is_a_proof(data):
            self.instead(data)
        else:
            super().send(channel, data)

    def say(self, *messages: tuple[int, bytes]) -> None:
        for channel, data in messages:
            super().send(channel, data)

    def say_as(self, stream: int, kind: int, data: bytes) -> None:
        """Past the channels, as a program of one's own could."""
        self._said = asyncio.ensure_future(self._sctp._send(stream, kind, data))


def is_a_proof(data: bytes) -> bool:
    try:
        parse_proof(data)
    except ValueError:
        return False
    return True


def is_ready(data: bytes) -> bool:
    return isinstance(parse_proof(data), Ready)


def raw(instead: Callable[[RawPeer, bytes], None]) -> type[RawPeer]:
    return type("Raw", (RawPeer,), {"instead": instead})


def at_confirm(*make: Callable[[bytes], tuple[int, bytes]]) -> type[RawPeer]:
    """Other messages in place of the confirm; the ready is right."""
    return raw(
        lambda peer, data: peer.say(*([(0, data)] if is_ready(data) else (m(data) for m in make)))
    )


def past_the_channels(stream: int, kind: int, data: bytes) -> type[RawPeer]:
    """Once, in place of the confirm, what a program of one's own can send."""
    return raw(lambda peer, proof: None if is_ready(proof) else peer.say_as(stream, kind, data))


def at_ready(*make: Callable[[bytes], tuple[int, bytes]]) -> type[RawPeer]:
    """The right confirm, then other messages in place of the ready."""
    return raw(
        lambda peer, data: peer.say(*(m(data) for m in make) if is_ready(data) else [(0, data)])
    )


CONFIRM = lambda data: (0, data)
EXTRA = bytes([DATA_CHANNEL_OPEN, *bytes(8), 5, 0, 0]) + b"extra"


def other_role(data: bytes) -> bytes:
    confirm = parse_proof(data)
    return replace(confirm, role="owner" if confirm.role == "scientist" else "scientist").encode()


def unsigned(data: bytes) -> bytes:
    return replace(parse_proof(data), sig=bytes(64)).encode()


def other_th(data: bytes) -> bytes:
    return replace(parse_proof(data), th=bytes(32)).encode()


def other_head(data: bytes) -> bytes:
    return replace(parse_proof(data), audit_head=b"a" * 32).encode()


RAW = {
    "operation before confirm": ("it runs unproved", at_confirm(lambda d: (1, OPERATION), CONFIRM)),
    "bulk before confirm": ("it is stored", at_confirm(lambda d: (2, OPERATION), CONFIRM)),
    "operation on channel 0": ("any frame is taken", at_confirm(lambda d: (0, OPERATION), CONFIRM)),
    "flood before confirm": (
        "memory fills up",
        at_confirm(*[lambda d: (2, bytes(60_000))] * 20, CONFIRM),
    ),
    "confirm twice": ("states are confused", at_confirm(CONFIRM, CONFIRM)),
    "wrong th": ("any transcript will do", at_confirm(lambda d: (0, other_th(d)))),
    "unsigned confirm": ("the hash is enough", at_confirm(lambda d: (0, unsigned(d)))),
    "confirm in the other's role": (
        "roles are not bound",
        at_confirm(lambda d: (0, other_role(d))),
    ),
    "another audit head": ("the head is not bound", at_confirm(lambda d: (0, other_head(d)))),
    "a byte after confirm": ("the rest is parsed later", at_confirm(lambda d: (0, d + b"\0"))),
    "too long a confirm": ("long frames are parsed", at_confirm(lambda d: (0, d + bytes(1024)))),
    "ready first": ("ready implies confirm", at_confirm(lambda d: (0, Ready(bytes(32)).encode()))),
    "no confirm": ("silence is taken for it", at_confirm()),
    "no ready": ("confirm alone opens", at_ready()),
    "ready of another transcript": (
        "its hash is not read",
        at_ready(lambda d: (0, Ready(bytes(32)).encode())),
    ),
    "operation for ready": ("it runs at once", at_ready(lambda d: (0, OPERATION))),
    "operation and no ready": ("what overtakes ready runs", at_ready(lambda d: (1, OPERATION))),
    "text on a channel": (
        "strings take another way",
        past_the_channels(0, WEBRTC_STRING, b"confirm"),
    ),
    "extra channel before confirm": (
        "a channel that nobody guards",
        past_the_channels(3, WEBRTC_DCEP, EXTRA),
    ),
}


BY_TRANSPORT = {"flood before confirm", "text on a channel", "extra channel before confirm"}


def failures(one: Side) -> list[DuetError]:
    return [event.error for event in one.told(AttemptFailed) + one.told(LinkClosed)]


@pytest.mark.parametrize("liar", ["scientist", "owner"])
@pytest.mark.parametrize("name", RAW)
async def test_a_partner_who_breaks_the_order_is_closed_and_nothing_is_delivered(
    name, liar, monkeypatch
):
    if name in ("no confirm", "no ready", "operation and no ready"):
        monkeypatch.setattr(limits, "CONFIRM_SECONDS", 0.3)
    peer = {f"{liar}_peer": RAW[name][1]}
    async with running(MaliciousRelay()) as relay, victims(relay, **peer) as (o, s, _):
        honest = o if liar == "scientist" else s
        await until(lambda: failures(honest), PATIENCE)
        # Before the channels are open on its side too, the transport names the reason itself.
        expected = (ConfirmFailed, ProtocolError) if name in BY_TRANSPORT else ConfirmFailed
        assert isinstance(failures(honest)[0], expected), failures(honest)
        assert_nothing_opened(honest)


async def test_the_confirm_of_an_earlier_association_opens_nothing():
    """The partner hopes that an old confirm is as good as a new one."""
    first: list[bytes] = []

    def replay(peer, data):
        if not is_ready(data):
            first.append(data)
            data = first[0]
        peer.say((0, data))

    async with (
        running(MaliciousRelay()) as relay,
        victims(relay, scientist_peer=raw(replay)) as (o, s, _),
    ):
        await both(o, s, PATIENCE)
        s.handshake.link_lost()
        await until(lambda: any(isinstance(e, ConfirmFailed) for e in failures(o)), PATIENCE)
        assert len(o.links) == 1 and o.frames == []


async def test_the_honest_sides_own_confirm_sent_back_opens_nothing():
    """The partner hopes that any confirm of this association will do, also the receiver's own."""

    echoed: list[bytes] = []

    class Mirror(WebRtcPeer):
        on_frame = property(lambda self: None, lambda self, _: self.listen())

        def send(self, channel: int, data: bytes) -> None:
            """Says nothing of its own."""

        def listen(self) -> None:
            def echo(channel: int, data: bytes) -> None:
                echoed.append(data)
                WebRtcPeer.send(self, channel, data)

            self._inbox.listener = echo

    async with (
        running(MaliciousRelay()) as relay,
        victims(relay, scientist_peer=Mirror) as (o, _, _),
    ):
        await until(lambda: failures(o), PATIENCE)
        assert isinstance(failures(o)[0], ConfirmFailed) and not is_ready(echoed[0])
        assert_nothing_opened(o)


@pytest.mark.parametrize("name", ["confirm", "ready", "extra channel", "text"])
async def test_an_open_link_ends_when_the_partner_starts_over_on_it(name):
    """The partner hopes to change who or what was agreed, once it is open."""
    sent: dict[str, bytes] = {}

    def note(peer, data):
        sent["ready" if is_ready(data) else "confirm"] = data
        peer.say((0, data))

    async with (
        running(MaliciousRelay()) as relay,
        victims(relay, scientist_peer=raw(note)) as (o, s, _),
    ):
        owners, scientists = await both(o, s, PATIENCE)
        peer = scientists.peer
        if name in sent:
            peer.say((0, sent[name]))
        elif name == "text":
            peer.say_as(1, WEBRTC_STRING, b"text")
        else:
            peer.say_as(3, WEBRTC_DCEP, EXTRA)
        await until(lambda: not owners.is_open)
        assert isinstance(o.closed[0], ProtocolError) and o.frames == []


async def test_control_what_an_honest_partner_says_is_delivered():
    async with running(MaliciousRelay()) as relay, victims(relay) as (o, s, peers):
        await both(o, s, PATIENCE)
        await assert_alive(o, s)
        assert peers.made == {"owner": 1, "scientist": 1}
