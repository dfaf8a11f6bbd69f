"""A relay that changes, invents, replays and reflects: no channel opens, and the error is typed."""

import json
from dataclasses import replace

import pytest

from duet_p2p import limits
from duet_p2p.errors import PairingTimeout, PeerProofError
from duet_p2p.identity.keys import Key
from duet_p2p.protocol.bodies import Bye, Caps, Join, Sdp, parse_body
from duet_p2p.transport.memory import MemoryNetwork, MemoryPeer, MemoryRelay
from signaling_server.ids import b64encode
from tests.handshake_kit import CAPS, Side, both, pair, speed_up, until

MALLORY_OWNER, MALLORY_SCIENTIST = Key.fresh("owner"), Key.fresh("scientist")
EXTRA_MEDIA = "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n"
EXTRA_CANDIDATE = "a=candidate:9 1 udp 1 203.0.113.9 9 typ host\r\n"
OTHER_CAPS = CAPS.replace(b"65536", b"1")


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    speed_up(monkeypatch)


class CountingNetwork(MemoryNetwork):
    """Counts the peers that were made, by role."""

    def __init__(self):
        super().__init__()
        self.made = {"owner": 0, "scientist": 0}

    def __call__(self, *, controlling, **arguments):
        self.made["owner" if controlling else "scientist"] += 1
        return super().__call__(controlling=controlling, **arguments)


def change_fields(message, **changes):
    return replace(message, **changes).encode()


def key_for(message, *, resign):
    """The message under Mallory's key, with the victim's IDs."""
    key = MALLORY_OWNER if getattr(message, "kind", "") == "offer" else MALLORY_SCIENTIST
    changed = replace(message, pub=key.pub)
    return replace(changed, sig=key.sign(changed.signed())).encode() if resign else changed.encode()


def raw(message, **changes):
    fields = json.loads(message.encode())
    fields.update(changes)
    return json.dumps({k: v for k, v in fields.items() if v is not None}).encode()


OTHER_PART = {
    "offer": {"kind": "answer", "role": "scientist"},
    "answer": {"kind": "offer", "role": "owner"},
}
SDP_ATTACKS = {
    "key": lambda m: key_for(m, resign=False),
    "key and signature": lambda m: key_for(m, resign=True),
    "fingerprint": lambda m: change_fields(m, fp=b"f" * 32),
    "fingerprint in both places": lambda m: change_fields(
        m, fp=b"f" * 32, sdp=m.sdp.replace(m.fp.hex(":").upper(), (b"f" * 32).hex(":").upper())
    ),
    "sdp": lambda m: change_fields(m, sdp=m.sdp.replace("a=ice-ufrag:", "a=ice-ufrag:x")),
    "caps": lambda m: change_fields(m, caps=OTHER_CAPS),
    "own nonce": lambda m: change_fields(m, own_nonce=b"n" * 16),
    "peer nonce": lambda m: change_fields(m, peer_nonce=b"n" * 16),
    "attempt": lambda m: change_fields(m, attempt=m.attempt + 1),
    "setup": lambda m: change_fields(m, setup="passive"),
    "media line": lambda m: change_fields(m, sdp=m.sdp + EXTRA_MEDIA),
    "candidate": lambda m: change_fields(m, sdp=m.sdp + EXTRA_CANDIDATE),
    "signature of zeros": lambda m: change_fields(m, sig=bytes(64)),
    "kind": lambda m: raw(m, kind="answer" if m.kind == "offer" else "offer"),
    "kind and role": lambda m: raw(m, **OTHER_PART[m.kind]),
    "no signature": lambda m: raw(m, sig=None),
    "cut signature": lambda m: raw(m, sig=b64encode(m.sig[:63])),
    "empty signature": lambda m: raw(m, sig=""),
}
# These are not even messages, or not ones for the receiver: they are dropped without a count.
UNCOUNTED = {"kind", "kind and role", "no signature", "cut signature", "empty signature"}


@pytest.mark.parametrize("name", SDP_ATTACKS)
@pytest.mark.parametrize("kind", ["offer", "answer"])
async def test_a_changed_offer_or_answer_opens_nothing(kind, name):
    hit = []

    def tamper(sender, to, body):
        message = parse_body(body)
        if isinstance(message, Sdp) and message.kind == kind:
            hit.append(name)
            return [SDP_ATTACKS[name](message)]
        return [body]

    async with pair(MemoryRelay(tamper)) as (o, s):
        victim = s if kind == "offer" else o
        expected = PairingTimeout if name in UNCOUNTED else PeerProofError
        with pytest.raises(expected):
            await victim.handshake.wait(0.5 if name in UNCOUNTED else 10)
        assert hit and o.links == s.links == []


JOIN_ATTACKS = {
    "key": lambda m: key_for(m, resign=False),
    "key and signature": lambda m: key_for(m, resign=True),
    "caps": lambda m: change_fields(m, caps=OTHER_CAPS),
    "nonce": lambda m: change_fields(m, nonce=b"n" * 16),
    "attempt": lambda m: change_fields(m, attempt=m.attempt + 1),
    "signature of zeros": lambda m: change_fields(m, sig=bytes(64)),
    "no signature": lambda m: raw(m, sig=None),
    "cut signature": lambda m: raw(m, sig=b64encode(m.sig[:32])),
}


@pytest.mark.parametrize("name", JOIN_ATTACKS)
async def test_a_changed_join_makes_no_peer_and_never_raises_on_the_owner(name):
    network = CountingNetwork()

    def tamper(sender, to, body):
        message = parse_body(body)
        return [JOIN_ATTACKS[name](message) if isinstance(message, Join) else body]

    async with pair(MemoryRelay(tamper), network) as (o, s):
        with pytest.raises(PairingTimeout):
            await s.handshake.wait(0.3)
        assert network.made == {"owner": 0, "scientist": 0}
        assert o.handshake.dropped > 0 and o.handshake.rejected == 0
        assert o.handshake.error is None and o.events == []


async def test_an_honest_relay_that_loses_and_doubles_everything_only_costs_time():
    count = 0

    def lossy(sender, to, body):
        nonlocal count
        count += 1
        return [] if count % 2 else [body, body]

    async with pair(MemoryRelay(lossy)) as (o, s):
        owners, scientists = await both(o, s, timeout=10)
        assert owners.th == scientists.th
        assert o.handshake.rejected == s.handshake.rejected == 0


class Terminator(MemoryRelay):
    """A relay with a session of its own on either side.

    To the scientist it speaks as an owner, to the owner as a scientist, under its own keys; the IDs
    in its messages are those that the victims expect.
    """

    def __init__(self, owner_id, scientist_id):
        super().__init__()
        self.names = {MALLORY_OWNER.id: owner_id, MALLORY_SCIENTIST.id: scientist_id}

    def _pass_on(self, sender, to, body):
        back = {real: own for own, real in self.names.items()}
        text = body.decode()
        if sender in self.names:  # Mallory speaks
            for own, real in self.names.items():
                text = text.replace(own, real)
            super()._pass_on(self.names[sender], self.names.get(to, to), text.encode())
        else:
            own = back[to]
            for real, name in back.items():
                if real != sender:
                    text = text.replace(real, name)
            super()._pass_on(sender, own, text.encode())


@pytest.mark.parametrize("told", ["the partner's IDs", "Mallory's IDs"])
async def test_a_relay_that_ends_both_sides_gets_nothing_unless_people_were_told_its_ids(told):
    owner_key, scientist_key = Key.fresh("owner"), Key.fresh("scientist")
    network = MemoryNetwork()
    is_fooled = told == "Mallory's IDs"
    relay = MemoryRelay() if is_fooled else Terminator(owner_key.id, scientist_key.id)
    partner = MALLORY_OWNER.id if is_fooled else owner_key.id
    s = Side(relay, network, scientist_key, partner_id=partner)
    mallory = Side(relay, network, MALLORY_OWNER, expected=[scientist_key.id])
    # Mallory believes every join, although her own relay broke its signature.
    mallory.handshake._owner._verified_caps = lambda join: Caps.parse(join.caps)
    try:
        await mallory.handshake.start()
        await s.handshake.start()
        if is_fooled:  # the harness can succeed: the humans' channel is what must be right
            await s.handshake.wait(5)
            assert mallory.links
        else:
            with pytest.raises(PeerProofError):
                await s.handshake.wait(10)
            assert s.links == mallory.links == []
    finally:
        await s.handshake.close()
        await mallory.handshake.close()


class TwoFaced(MemoryPeer):
    """Describes one certificate and uses another, as one sees it with somebody in between."""

    async def gather(self):
        described = await super().gather()
        self.fingerprint = b"m" * 32
        return described


@pytest.mark.parametrize("liar", ["owner", "scientist"])
async def test_another_certificate_than_the_signed_one_opens_nothing(liar):
    network = MemoryNetwork()

    def make(*, controlling, **_):
        kind = TwoFaced if controlling == (liar == "owner") else MemoryPeer
        return kind(network, controlling=controlling)

    async with pair(network=make) as (o, s):
        victim = s if liar == "owner" else o
        with pytest.raises(PeerProofError):
            await victim.handshake.wait(10 if liar == "owner" else 2)
        assert o.links == s.links == []
        assert o.frames == s.frames == []


class Recorder(MemoryRelay):
    """Keeps every body that passes."""

    def __init__(self):
        super().__init__(self._record)
        self.bodies = []

    def _record(self, sender, to, body):
        self.bodies.append((sender, to, body))
        return [body]


async def recorded_session(o_key=None, s_key=None):
    """Join, offer, answer and goodbyes of a whole session, and of one that was broken off."""
    relay = Recorder()
    async with pair(relay) as (o, s):
        await both(o, s)
        o.links[0].peer.lose()
        await until(lambda: len(s.links) == 2)
        for key in (o.key, s.key):
            bye = Bye(key.role, o.key.id, s.key.id, key.pub, o.links[0].th, "closed", bytes(64))
            body = replace(bye, sig=key.sign(bye.signed())).encode()
            relay.bodies.append((key.id, s.key.id if key is o.key else o.key.id, body))
        keys = o.key, s.key
    kinds = {json.loads(body)["kind"] for _, _, body in relay.bodies}
    assert kinds == {"join", "offer", "answer", "bye"}
    return keys, relay.bodies


async def test_replays_during_a_live_connection_leave_it_alone():
    relay = Recorder()
    async with pair(relay) as (o, s):
        first, _ = await both(o, s)
        first.peer.lose()
        await until(lambda: len(o.links) == len(s.links) == 2)
        owners, scientists = o.links[1], s.links[1]
        bye = Bye("scientist", o.key.id, s.key.id, s.key.pub, first.th, "closed", bytes(64))
        body = replace(bye, sig=s.key.sign(bye.signed())).encode()
        relay.bodies.append((s.key.id, o.key.id, body))
        for sender, to, body in [*relay.bodies] * 3:
            MemoryRelay._pass_on(relay, sender, to, body)
        scientists.peer.send(1, b"still here")
        await until(lambda: o.frames == [(1, b"still here")])
        assert owners.is_open and scientists.is_open
        assert len(o.links) == len(s.links) == 2
        assert o.handshake.rejected == s.handshake.rejected == 0
        assert o.handshake.dropped > 0 and s.handshake.dropped > 0


async def test_replays_of_another_session_in_a_new_one():
    (old_owner, old_scientist), bodies = await recorded_session()
    network = CountingNetwork()
    relay = MemoryRelay()
    async with pair(relay, network, owner={"expected": [old_scientist.id]}) as (o, s):
        for _, _, body in bodies:
            text = body.decode()
            moved = text.replace(old_owner.id, o.key.id).encode()
            both_moved = moved.decode().replace(old_scientist.id, s.key.id).encode()
            for changed in (body, moved, both_moved):
                o.signaling.on_message(old_scientist.id, changed)
                s.signaling.on_message(o.key.id, changed)
        assert network.made == {"owner": 0, "scientist": 0}
        assert o.links == s.links == []


async def test_an_old_join_of_the_same_session_starts_nothing_new():
    relay, network = Recorder(), CountingNetwork()
    async with pair(relay, network) as (o, s):
        await both(o, s)
        made = dict(network.made)
        joins = [b for sender, _, b in relay.bodies if isinstance(parse_body(b), Join)]
        for body in joins * 20:
            o.signaling.on_message(s.key.id, body)
        assert network.made == made and o.handshake.link is not None


async def test_two_sessions_cannot_be_spliced():
    """The same scientist in two sessions: the offer of one is no use in the other."""
    relay, network = Recorder(), MemoryNetwork()
    scientist = Key.fresh("scientist")
    one, two = Key.fresh("owner"), Key.fresh("owner")
    sides = [
        Side(relay, network, one, expected=[scientist.id]),
        Side(relay, network, two, expected=[scientist.id]),
        Side(MemoryRelay(), network, scientist, partner_id=one.id),
        Side(MemoryRelay(), network, scientist, partner_id=two.id),
    ]
    o1, o2, s1, s2 = sides
    try:
        for side in sides:
            await side.handshake.start()
        o1.signaling.on_message(scientist.id, s1.handshake._scientist._join_body)
        o2.signaling.on_message(scientist.id, s2.handshake._scientist._join_body)
        await until(lambda: len(relay.bodies) == 2)
        offers = {sender: body for sender, _, body in relay.bodies}
        swapped = offers[two.id].decode().replace(two.id, one.id).encode()
        for body in (offers[two.id], swapped):
            s1.signaling.on_message(one.id, body)
        assert s1.handshake._scientist.state.name == "JOINING"
        assert s1.handshake.rejected == 2
        s1.signaling.on_message(one.id, offers[one.id])
        assert s1.handshake._scientist.state.name == "ANSWERING"
    finally:
        for side in sides:
            await side.handshake.close()


async def test_a_relay_that_only_reflects_opens_nothing():
    class Mirror(MemoryRelay):
        def _pass_on(self, sender, to, body):
            self.reflected += 1
            message = parse_body(body)
            echoes = [body]
            if isinstance(message, Sdp):
                echoes.append(raw(message, **OTHER_PART[message.kind]))
            for echo in echoes:
                super()._pass_on(to, sender, echo)

        reflected = 0

    relay, network = Mirror(), CountingNetwork()
    async with pair(relay, network) as (o, s):
        # the owner has a join to answer, so that its own offer comes back to it
        o.signaling.on_message(s.key.id, s.handshake._scientist._join_body)
        with pytest.raises(PairingTimeout):
            await s.handshake.wait(0.3)
        assert relay.reflected > 2 and network.made["scientist"] == 0
        assert o.links == s.links == []


async def test_foreign_joins_by_the_thousand_do_not_keep_the_partner_out():
    network = CountingNetwork()
    async with pair(network=network, owner={"expected": [], "prompt_open": True}) as (o, s):
        for number in range(10_000):
            key = MALLORY_SCIENTIST if number % 2 else Key.fresh("scientist")
            join = Join(o.key.id, key.id, key.pub, bytes(16), number, CAPS, bytes(64))
            o.signaling.on_message(key.id, join.encode())
        held = [c for c in o.handshake._owner._clients.values() if c.held is not None]
        assert len(held) <= limits.HELD_CLIENTS
        assert network.made["owner"] == 0
        assert len(o.events) == 1  # a partner is waiting: once, and never who
        o.handshake.expect(s.key.id)
        o.handshake.close_prompt()
        await both(o, s)
        assert o.handshake.pinned == s.key.id
