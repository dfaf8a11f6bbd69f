"""Two pairing machines against each other: repeats, deadlines, bad proofs."""

import json

import pytest

from duet_p2p import limits
from duet_p2p.errors import (
    ConfirmFailed,
    ConnectFailed,
    PeerProofError,
)
from duet_p2p.protocol.bodies import parse_body
from duet_p2p.protocol.effects import (
    AttemptFailed,
    Ended,
    LinkOpened,
    MakePeer,
    NoAnswerYet,
    Post,
)
from duet_p2p.protocol.pairing import (
    Live,
    OwnerState,
    ScientistState,
)

from .pairing_kit import (
    CAPS,
    HEAD,
    OWNER,
    OWNER_CERT,
    SCIENTIST,
    World,
    description,
    names,
    newer_join,
    one,
    spoiled,
)


def test_two_machines_open_and_agree():
    world = World()
    world.connect()
    world.confirm()
    world.ready()
    owner = one(world.owner.take_effects(), LinkOpened)
    scientist = one(world.scientist.take_effects(), LinkOpened)
    assert owner.th == scientist.th
    assert (owner.partner_id, owner.partner_pub) == (SCIENTIST.id, SCIENTIST.pub)
    assert (scientist.partner_id, scientist.partner_pub) == (OWNER.id, OWNER.pub)
    assert (owner.audit_head, scientist.audit_head) == (b"", HEAD)
    assert owner.caps == scientist.caps == json.loads(CAPS)
    assert world.owner.live_state is world.scientist.live_state is Live.OPEN
    assert world.owner.next_tick() is None and world.scientist.next_tick() is None


def test_attempts_are_numbered_by_time_and_never_repeat():
    world = World()
    world.begin()
    first = parse_body(world.join_body)
    assert first.attempt == 1_100_000
    world.now += limits.JOIN_RENEW_SECONDS
    world.scientist.tick(world.now)
    second = parse_body(one(world.scientist.take_effects(), Post).body)
    assert second.attempt == 1_160_000 and second.nonce != first.nonce
    world.scientist._new_attempt(world.now, pause=0.0)
    assert world.scientist._attempt == 1_160_001


def test_the_join_is_repeated_byte_for_byte_with_growing_pauses():
    world = World()
    world.begin()
    times = []
    while (now := world.scientist.next_tick()) is not None and now < 150:
        world.scientist.tick(now)
        for effect in world.scientist.take_effects():
            assert effect.body == world.join_body and effect.is_join
            times.append(now - 100)
    assert times == pytest.approx([2, 5, 9.5, 16.25, 26.375, 41.5625])


def test_nobody_answers_is_said_once():
    world = World()
    world.begin()
    said = []
    while (now := world.scientist.next_tick()) is not None and now < 300:
        world.scientist.tick(now)
        said += [now for e in world.scientist.take_effects() if isinstance(e, NoAnswerYet)]
    assert said == [100 + limits.NO_ANSWER_SECONDS]


def test_a_lost_offer_is_made_good_by_the_next_join():
    world = World()
    world.begin()
    world.deliver_join()  # and the offer is lost
    world.now += limits.CONNECT_SECONDS
    world.owner.tick(world.now)
    assert world.owner_state is OwnerState.IDLE
    world.now = 100 + limits.JOIN_RENEW_SECONDS
    world.scientist.tick(world.now)
    world.scientist.take_effects()
    world.join_body = world.scientist._join_body
    world.deliver_join()
    world.deliver_offer()
    assert world.scientist_state is ScientistState.ANSWERING


def test_a_proved_but_late_offer_or_answer_is_dropped_and_not_held_against_the_partner():
    world = World()
    world.begin()
    world.deliver_join()
    late = world.offer_body
    world.scientist._new_attempt(world.now + 1, pause=0.0)
    for _ in range(limits.BAD_PROOFS + 1):
        world.scientist.received(OWNER.id, late, world.now)
    assert world.scientist.rejected == 0
    assert world.scientist_state is ScientistState.JOINING
    other = World()
    other.bring_owner_to(OwnerState.OFFERED)
    late = other.answer_body
    other.owner.received(SCIENTIST.id, newer_join(other), other.now)
    peer = one(other.owner.take_effects(), MakePeer).peer
    other.owner.gathered(peer, description(OWNER_CERT, "actpass"), other.now)
    other.owner.take_effects()
    for _ in range(limits.BAD_PROOFS + 1):
        other.owner.received(SCIENTIST.id, late, other.now)
    assert other.owner.rejected == 0 and other.owner_state is OwnerState.OFFERED


def test_the_fifth_bad_offer_ends_the_wait():
    world = World()
    world.bring_scientist_to(ScientistState.JOINING)
    bad = spoiled(world.offer_body, OWNER, fp=b"f" * 32)
    for _ in range(limits.BAD_PROOFS - 1):
        world.scientist.received(OWNER.id, bad, world.now)
    assert world.scientist.take_effects() == []
    world.scientist.received(OWNER.id, bad, world.now)
    assert isinstance(one(world.scientist.take_effects(), Ended).error, PeerProofError)
    assert world.scientist_state is ScientistState.IDLE


def test_the_fifth_bad_answer_ends_the_owners_wait_but_no_open_link():
    world = World()
    world.bring_owner_to(OwnerState.OFFERED)
    bad = spoiled(world.answer_body, SCIENTIST, fp=b"f" * 32)
    for _ in range(limits.BAD_PROOFS):
        world.owner.received(SCIENTIST.id, bad, world.now)
    assert isinstance(one(world.owner.take_effects(), Ended).error, PeerProofError)

    world = World()
    world.open()
    world.owner.received(SCIENTIST.id, newer_join(world), world.now)
    peer = one(world.owner.take_effects(), MakePeer).peer
    world.owner.gathered(peer, description(OWNER_CERT, "actpass"), world.now)
    world.owner.take_effects()
    for _ in range(limits.BAD_PROOFS + 1):
        world.owner.received(SCIENTIST.id, bad, world.now)
    assert world.owner.take_effects() == []
    assert world.owner.live_state is Live.OPEN


def fail_after_offer(world, error):
    world.deliver_join()
    world.deliver_offer()
    world.scientist.failed(world.scientist_peer, error, world.now)
    return world.scientist.take_effects()


def test_the_third_failure_in_a_row_ends_the_scientists_wait():
    world = World()
    world.begin()
    for attempt in range(limits.FAILED_ATTEMPTS - 1):
        effects = fail_after_offer(world, ConnectFailed(stage="dtls", remedy="x"))
        assert names(effects) == ["AttemptFailed", "ClosePeer"]
        assert world.scientist_state is ScientistState.JOINING
        pause = world.scientist.next_tick() - world.now
        assert pause == pytest.approx(
            limits.RETRY_SECONDS * limits.JOIN_RESEND_FACTOR ** (attempt + 1)
        )
        world.scientist.relay_is_back(world.now)  # not before its time
        assert world.scientist.take_effects() == []
        world.now += pause
        world.scientist.tick(world.now)
        world.join_body = one(world.scientist.take_effects(), Post).body
    effects = fail_after_offer(world, ConnectFailed(stage="dtls", remedy="x"))
    error = one(effects, Ended).error
    assert isinstance(error, ConnectFailed) and error.stage == "dtls"
    assert world.scientist_state is ScientistState.IDLE and world.scientist.next_tick() is None


def test_deadlines_of_each_state():
    world = World()
    world.bring_owner_to(OwnerState.OFFERED)
    for state, seconds, kind in (
        (OwnerState.OFFERED, limits.CONNECT_SECONDS, ConnectFailed),
        (OwnerState.CONNECTING, limits.CONNECT_SECONDS, ConnectFailed),
        (OwnerState.CONFIRMING, limits.CONFIRM_SECONDS, ConfirmFailed),
    ):
        world = World()
        world.bring_owner_to(state)
        assert world.owner.next_tick() == world.now + seconds
        world.owner.tick(world.now + seconds - 0.01)
        assert world.owner_state is state
        world.owner.tick(world.now + seconds)
        assert world.owner_state is OwnerState.IDLE
        assert isinstance(one(world.owner.take_effects(), AttemptFailed).error, kind)
    for state, seconds, kind in (
        (ScientistState.ANSWERING, limits.CONNECT_SECONDS, ConnectFailed),
        (ScientistState.CONFIRMING, limits.CONFIRM_SECONDS, ConfirmFailed),
    ):
        world = World()
        world.bring_scientist_to(state)
        world.scientist.tick(world.now + seconds - 0.01)
        assert world.scientist_state is state
        world.scientist.take_effects()
        world.scientist.tick(world.now + seconds)
        assert world.scientist_state is ScientistState.JOINING
        assert isinstance(one(world.scientist.take_effects(), AttemptFailed).error, kind)


def test_the_owners_deadline_counts_from_the_sending_of_the_offer():
    world = World()
    world.begin()
    world.owner.received(SCIENTIST.id, world.join_body, world.now)
    peer = one(world.owner.take_effects(), MakePeer).peer
    world.owner.gathered(peer, description(OWNER_CERT, "actpass"), world.now + 5)
    assert world.owner.next_tick() == world.now + 5 + limits.CONNECT_SECONDS
