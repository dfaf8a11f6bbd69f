"""The confirm, the live slot and goodbyes."""

from dataclasses import replace

import pytest

from duet_p2p import limits
from duet_p2p.errors import (
    ConfirmFailed,
    ConnectionLost,
    PartnerLeft,
    ProtocolError,
)
from duet_p2p.identity.keys import Key
from duet_p2p.protocol.bodies import Bye
from duet_p2p.protocol.effects import (
    ClosePeer,
    Ended,
    LinkClosed,
    Post,
    SendProof,
)
from duet_p2p.protocol.pairing import (
    Live,
    OwnerEvent,
    OwnerState,
    ScientistState,
)
from duet_p2p.protocol.proofs import Ready

from .pairing_kit import (
    OWNER,
    SCIENTIST,
    STRANGER,
    World,
    hold,
    names,
    newer_join,
    one,
    signed,
)


def flipped(data):
    return data[:-1] + bytes([data[-1] ^ 1])


def wrong_firsts(world):
    other = World()
    other.now += 1
    other.connect()
    return {
        "an operation": (0, b"\x93\x01\x02\x03"),
        "a frame on channel 1": (1, world.scientist_proof),
        "a frame on channel 2": (2, world.scientist_proof),
        "an extra channel": (3, world.scientist_proof),
        "the owner's own confirm": (0, world.owner_proof),
        "a spoiled signature": (0, flipped(world.scientist_proof)),
        "a confirm of another transcript": (0, other.scientist_proof),
        "ready first": (0, Ready(b"t" * 32).encode()),
        "nothing": (0, b""),
    }


WRONG_FIRSTS = [
    "an operation",
    "a frame on channel 1",
    "a frame on channel 2",
    "an extra channel",
    "the owner's own confirm",
    "a spoiled signature",
    "a confirm of another transcript",
    "ready first",
    "nothing",
]


@pytest.mark.parametrize("name", WRONG_FIRSTS)
def test_anything_but_the_right_confirm_closes(name):
    world = World()
    world.connect()
    channel, data = wrong_firsts(world)[name]
    world.owner.frame(world.owner_peer, channel, data, world.now)
    effects = world.owner.take_effects()
    assert names(effects) == ["ClosePeer", "AttemptFailed"]
    assert isinstance(effects[1].error, ConfirmFailed)
    assert world.owner.live_state is Live.NONE and world.owner.pinned is None


# the live slot


def test_confirm_twice_closes_before_and_after_ready():
    world = World()
    world.connect()
    world.confirm()
    world.owner.frame(world.owner_peer, 0, world.scientist_proof, world.now)
    closed = one(world.owner.take_effects(), LinkClosed)
    assert isinstance(closed.error, ConfirmFailed) and not closed.was_open
    for proof in ("scientist_proof", "scientist_proof_2"):
        world = World()
        world.open()
        world.owner.frame(world.owner_peer, 0, getattr(world, proof), world.now)
        closed = one(world.owner.take_effects(), LinkClosed)
        assert isinstance(closed.error, ProtocolError) and closed.was_open
        assert world.owner.live_state is Live.NONE


def test_no_ready_in_time_closes_and_the_scientist_tries_again():
    world = World()
    world.connect()
    world.confirm()
    later = world.now + limits.CONFIRM_SECONDS
    assert world.owner.next_tick() == world.scientist.next_tick() == later
    for machine in (world.owner, world.scientist):
        machine.tick(later)
        closed = one(machine.take_effects(), LinkClosed)
        assert isinstance(closed.error, ConfirmFailed)
        assert machine.live_state is Live.NONE
    assert world.scientist_state is ScientistState.JOINING
    assert world.owner.pinned is None


def test_frames_on_other_channels_may_overtake_ready():
    world = World()
    world.connect()
    world.confirm()
    world.owner.frame(world.owner_peer, 1, b"operation", world.now)
    assert world.owner.take_effects() == []
    assert world.owner.is_verified(world.owner_peer)


def test_ready_of_another_transcript_closes():
    world = World()
    world.connect()
    world.confirm()
    world.scientist.frame(world.scientist_peer, 0, Ready(b"t" * 32).encode(), world.now)
    assert isinstance(one(world.scientist.take_effects(), LinkClosed).error, ConfirmFailed)


def test_a_lost_link_is_made_anew_without_typing_and_replaces_the_old_one():
    world = World()
    world.open()
    old = world.owner_peer
    world.now += 1
    world.scientist.lost(world.scientist_peer, world.now)
    effects = world.scientist.take_effects()
    assert names(effects) == ["LinkClosed", "Post"]
    assert isinstance(effects[0].error, ConnectionLost)
    world.join_body = effects[1].body
    world.deliver_join()
    world.deliver_offer()
    world.deliver_answer()
    world.connect_owner()
    world.connect_scientist()
    assert world.owner.live.peer == old  # nothing half-open touches it
    world.owner.frame(world.owner_peer, 0, world.scientist_proof, world.now)
    effects = world.owner.take_effects()
    assert names(effects) == ["LinkClosed", "SendProof"]
    assert effects[0].peer == old and effects[0].was_open
    world.owner_proof_2 = effects[1].data
    world.scientist.frame(world.scientist_peer, 0, world.owner_proof, world.now)
    world.scientist_proof_2 = world.scientist.take_effects()[0].data
    world.ready()
    assert names(world.owner.take_effects()) == ["LinkOpened"]
    assert world.owner.pinned == SCIENTIST.id


def test_timers_are_short_while_an_open_session_is_lost():
    world = World()
    world.open()
    world.scientist.lost(world.scientist_peer, world.now)
    last = world.now
    while (now := world.scientist.next_tick()) < 100 + limits.RECONNECT_HASTE_SECONDS - 5:
        world.scientist.tick(now)
        if any(isinstance(e, Post) for e in world.scientist.take_effects()):
            assert now - last <= limits.RECONNECT_MAX_SECONDS + 1e-9
            last = now


def test_links_that_die_at_once_again_and_again_are_not_a_storm():
    world = World()
    pauses = []
    for _ in range(8):
        world.join_body = world.join_body or world.scientist._join_body
        if world.scientist_state is ScientistState.IDLE:
            world.open()
        else:
            world.deliver_join()
            world.deliver_offer()
            world.deliver_answer()
            world.connect_owner()
            world.connect_scientist()
            world.owner.frame(world.owner_peer, 0, world.scientist_proof, world.now)
            world.owner_proof_2 = one(world.owner.take_effects(), SendProof).data
            world.scientist.frame(world.scientist_peer, 0, world.owner_proof, world.now)
            world.scientist_proof_2 = one(world.scientist.take_effects(), SendProof).data
            world.ready()
            world.owner.take_effects()
            world.scientist.take_effects()
        world.scientist.lost(world.scientist_peer, world.now)
        if "Post" not in names(world.scientist.take_effects()):
            pauses.append(world.scientist.next_tick() - world.now)
            world.now += pauses[-1]
            world.scientist.tick(world.now)
            assert "Post" in names(world.scientist.take_effects())
        world.join_body = world.scientist._join_body
    assert len(pauses) == 7  # the first loss costs nothing
    assert pauses == sorted(pauses) and pauses[0] > limits.RETRY_SECONDS
    assert pauses[-1] == pytest.approx(limits.RECONNECT_MAX_SECONDS)


@pytest.mark.parametrize("left", [PartnerLeft(), ProtocolError()])
def test_a_scientist_does_not_come_back_to_an_owner_who_left_or_lied(left):
    world = World()
    world.open()
    world.scientist.lost(world.scientist_peer, world.now, left)
    effects = world.scientist.take_effects()
    assert names(effects) == ["LinkClosed", "Ended"]
    assert effects[1].error is left
    assert world.scientist_state is ScientistState.IDLE


def test_a_goodbye_over_the_live_transcript_ends_the_link_and_others_do_not():
    world = World()
    world.open()
    th = world.owner.live.th

    def bye(key, th, role=None, **changes):
        made = Bye(role or key.role, OWNER.id, SCIENTIST.id, key.pub, th, "shutdown", bytes(64))
        return replace(signed(made, key), **changes).encode()

    for body in (
        world.bye_of(SCIENTIST),  # over the join only, as before a link
        bye(SCIENTIST, b"t" * 32),
        bye(OWNER, th),
        bye(OWNER, th, role="scientist"),
        bye(STRANGER, th),
        bye(SCIENTIST, th, reason="closed"),
        bye(SCIENTIST, th, session_id=Key.fresh("owner").id),
    ):
        dropped = world.owner.dropped
        world.owner.received(SCIENTIST.id, body, world.now)
        assert world.owner.take_effects() == []
        assert world.owner.dropped == dropped + 1
    world.owner.received(SCIENTIST.id, bye(SCIENTIST, th), world.now)
    closed = one(world.owner.take_effects(), LinkClosed)
    assert isinstance(closed.error, PartnerLeft) and closed.error.reason == "shutdown"


@pytest.mark.parametrize("state", list(ScientistState)[1:])
def test_the_owner_understands_the_scientists_goodbye_in_every_state(state):
    world = World()
    world.bring_scientist_to(state)
    world.scientist.close("closed", world.now)
    bye = one(world.scientist.take_effects(), Post)
    world.owner.received(SCIENTIST.id, bye.body, world.now)
    assert names(world.owner.take_effects()) == ["ClosePeer", "PartnerBye"]


@pytest.mark.parametrize("state", list(OwnerState)[1:])
def test_the_scientist_understands_the_owners_goodbye_in_every_state(state):
    world = World()
    world.bring_owner_to(state)
    world.owner.close("shutdown", world.now)
    bye = one(world.owner.take_effects(), Post)
    world.scientist.received(OWNER.id, bye.body, world.now)
    ended = one(world.scientist.take_effects(), Ended)
    assert isinstance(ended.error, PartnerLeft) and ended.error.reason == "shutdown"


def test_closed_machines_do_nothing():
    world = World()
    world.bring_owner_to(OwnerState.IDLE)
    world.owner.close("closed", world.now)
    world.owner.take_effects()
    world.owner.received(SCIENTIST.id, newer_join(world), world.now)
    assert world.owner.take_effects() == []
    assert not world.owner.expect(STRANGER.id, world.now)


def test_two_expected_clients_at_once_do_not_push_each_other_out():
    world = World()
    world.owner.expect(STRANGER.id, world.now)
    world.connect()
    world.confirm()
    first = world.owner.live
    # the other one gets as far as its confirm while the first waits for ready
    client = world.owner._clients[STRANGER.id]
    hold(world, STRANGER)
    client.state = OwnerState.CONFIRMING
    peer = client.exchange.peer
    world.owner._fire(client, OwnerEvent.CONFIRM, world.now)
    assert world.owner.take_effects() == [ClosePeer(peer)]
    assert world.owner.live is first
