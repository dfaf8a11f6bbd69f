"""A relay replays what it recorded, before and during a live connection, over real WebRTC."""

import json
from dataclasses import replace

import pytest

from duet_p2p import limits
from duet_p2p.errors import PairingTimeout, PeerProofError
from duet_p2p.identity.keys import Key
from duet_p2p.protocol.bodies import Bye, Join, parse_body
from tests.handshake_kit import both, until
from tests.security.malicious_relay import MaliciousRelay, running
from tests.security.webrtc_kit import (
    PATIENCE,
    SILENCE,
    assert_alive,
    assert_nothing_opened,
    speed_up,
    victims,
)

MALLORY_OWNER, MALLORY_SCIENTIST = Key.fresh("owner"), Key.fresh("scientist")


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    speed_up(monkeypatch)


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


async def test_replays_forged_goodbyes_and_a_late_join_leave_a_live_link_alone(monkeypatch):
    """The relay hopes to end, replace or confuse a session that is open."""
    held_back: list[tuple[str, str, bytes]] = []

    def hold_back(sender, to, body):
        message = parse_body(body)
        if isinstance(message, Join) and not held_back:
            held_back.append((sender, to, body))
        return [] if (sender, to, body) in held_back else [(sender, to, body)]

    async with running(MaliciousRelay()) as relay, victims(relay) as (o, s, _):
        await both(o, s, PATIENCE)
        relay._tamper = hold_back
        # A second attempt whose first join never arrived, so that the relay owns one more.
        monkeypatch.setattr(limits, "JOIN_RENEW_SECONDS", 0.2)
        s.handshake.link_lost()
        await until(lambda: len(s.links) == len(o.links) == 2, PATIENCE)
        owners, scientists = o.links[1], s.links[1]
        assert held_back and owners.is_open
        bad = MALLORY_SCIENTIST
        forged = [
            (s.key.id, o.key.id, goodbye(s.key, o.key, s.key, owners.th, signer=bad)),
            (s.key.id, o.key.id, goodbye(bad, o.key, s.key, owners.th)),
            (s.key.id, o.key.id, goodbye(s.key, o.key, s.key, o.links[0].th)),
            (o.key.id, s.key.id, goodbye(o.key, o.key, s.key, owners.th, signer=MALLORY_OWNER)),
            (o.key.id, s.key.id, goodbye(MALLORY_OWNER, o.key, s.key, owners.th)),
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
