"""Whom an owner listens to."""

from dataclasses import replace

from duet_p2p import limits
from duet_p2p.errors import (
    VersionMismatch,
)
from duet_p2p.identity.keys import Key
from duet_p2p.protocol.bodies import Bye, parse_body
from duet_p2p.protocol.effects import (
    Ended,
    LinkOpened,
    PartnerWaiting,
    Post,
)
from duet_p2p.protocol.pairing import (
    Admission,
    OwnerState,
    ScientistState,
)

from .pairing_kit import (
    CAPS,
    NEW_CAPS,
    OWNER,
    SCIENTIST,
    STRANGER,
    World,
    hold,
    make_join,
    names,
    one,
    signed,
    version_offer,
)


def test_unknown_clients_are_held_while_the_prompt_is_open_and_said_once():
    world = World(expect=False, prompt_open=True)
    assert names(hold(world)) == ["PartnerWaiting"]
    assert names(hold(world, STRANGER)) == []
    assert world.owner.admission(SCIENTIST.id) is Admission.HELD


def test_they_are_held_if_no_client_was_named_and_dropped_otherwise():
    world = World(expect=False)
    assert hold(world) == [PartnerWaiting()]
    world = World(expect=True)
    assert hold(world, STRANGER) == []
    assert world.owner.admission(STRANGER.id) is Admission.UNKNOWN
    assert world.owner.dropped == 1


def test_a_typed_id_takes_the_newest_held_join():
    world = World(expect=False, prompt_open=True)
    hold(world, attempt=5)
    hold(world, attempt=6)
    assert world.owner.expect(SCIENTIST.id, world.now)
    assert names(world.owner.take_effects()) == ["MakePeer"]
    assert world.owner._clients[SCIENTIST.id].newest == 6
    assert world.owner.expect(SCIENTIST.id, world.now)  # again: nothing
    assert world.owner.take_effects() == []


def test_a_held_join_that_does_not_verify_does_nothing_when_its_id_is_typed():
    world = World(expect=False, prompt_open=True)
    forged = replace(make_join(), caps=CAPS + b" ")
    world.owner.received(SCIENTIST.id, forged.encode(), world.now)
    world.owner.take_effects()
    world.owner.expect(SCIENTIST.id, world.now)
    assert world.owner.take_effects() == []
    assert world.owner_state is OwnerState.IDLE
    assert names(hold(world, attempt=6)) == ["MakePeer"]


def test_a_held_join_goes_after_ten_minutes():
    world = World(expect=False, prompt_open=True)
    hold(world)
    world.owner.tick(world.now + limits.HELD_SECONDS - 0.1)
    assert world.owner.admission(SCIENTIST.id) is Admission.HELD
    assert world.owner.next_tick() == world.now + limits.HELD_SECONDS
    world.owner.tick(world.now + limits.HELD_SECONDS)
    assert world.owner.admission(SCIENTIST.id) is Admission.UNKNOWN


def strangers(count):
    return [
        Key.from_seed(bytes([9] * 30) + bytes(divmod(i, 256)), "scientist") for i in range(count)
    ]


def test_at_most_ten_new_clients_a_minute_and_sixteen_in_all():
    world = World(expect=False, prompt_open=True)
    everybody = strangers(2 * limits.HELD_NEW_PER_MINUTE + 5)
    for number, key in enumerate(everybody):
        if number in (2 * limits.HELD_NEW_PER_MINUTE, limits.HELD_NEW_PER_MINUTE + 2):
            world.now += 60.0
        hold(world, key)
    held = [key for key in everybody if world.owner.admission(key.id) is Admission.HELD]
    assert len(held) == limits.HELD_CLIENTS
    assert everybody[0] not in held  # the oldest went
    assert everybody[limits.HELD_NEW_PER_MINUTE] not in held  # the eleventh in its minute
    assert world.owner.dropped == 2
    assert everybody[-1] in held


def test_closing_the_prompt_forgets_who_was_not_named():
    world = World(expect=True, prompt_open=True)
    hold(world, STRANGER)
    assert world.owner.admission(STRANGER.id) is Admission.HELD
    world.owner.close_prompt()
    assert world.owner.admission(STRANGER.id) is Admission.UNKNOWN


def test_the_first_to_open_is_pinned_and_others_are_sent_away():
    world = World(expect=True, prompt_open=True)
    world.owner.expect(STRANGER.id, world.now)
    held = strangers(1)[0]
    hold(world, STRANGER)
    hold(world, held)
    world.connect()
    world.confirm()
    world.ready()
    effects = world.owner.take_effects()
    assert world.owner.pinned == SCIENTIST.id
    assert one(effects, LinkOpened).partner_id == SCIENTIST.id
    bye = one(effects, Post)
    assert (bye.to, parse_body(bye.body).reason) == (STRANGER.id, "closed")
    assert world.owner.admission(STRANGER.id) is Admission.UNKNOWN
    assert world.owner.admission(held.id) is Admission.UNKNOWN
    # one who was named and comes later is told too, a stranger is not
    (later,) = hold(world, STRANGER, attempt=9)
    assert parse_body(later.body).reason == "closed"
    assert hold(world, held, attempt=9) == []
    assert not world.owner.expect(STRANGER.id, world.now)


def test_joins_for_another_session_or_in_anothers_name_are_dropped():
    world = World()
    other = Key.fresh("owner")
    for from_id, join in (
        (SCIENTIST.id, signed(replace(make_join(), session_id=other.id), SCIENTIST)),
        (STRANGER.id, make_join()),
        (SCIENTIST.id, replace(make_join(STRANGER), client_id=SCIENTIST.id)),
        (SCIENTIST.id, signed(replace(make_join(STRANGER), client_id=SCIENTIST.id), STRANGER)),
        (SCIENTIST.id, replace(make_join(), attempt=9)),
        (SCIENTIST.id, replace(make_join(), nonce=b"m" * 16)),
        (SCIENTIST.id, make_join(caps=b"{}")),
    ):
        dropped = world.owner.dropped
        world.owner.received(from_id, join.encode(), world.now)
        assert world.owner.take_effects() == []
        assert world.owner.dropped == dropped + 1
    assert world.owner_state is OwnerState.IDLE and world.owner.rejected == 0


def test_an_attempt_of_an_earlier_launch_is_old():
    world = World(expect=False)
    world.owner.expect(SCIENTIST.id, world.now, newest_attempt=5)
    assert hold(world, attempt=5) == []
    assert names(hold(world, attempt=6)) == ["MakePeer"]


# versions


def test_a_join_of_another_version_is_refused_with_a_signed_goodbye():
    world = World(caps=NEW_CAPS)
    world.begin()
    for _ in range(2):  # the goodbye may be lost, so each repeat of the join gets one
        world.owner.received(SCIENTIST.id, world.join_body, world.now)
    effects = world.owner.take_effects()
    assert names(effects) == ["Post", "AttemptFailed", "Post"]
    assert isinstance(effects[1].error, VersionMismatch)
    world.scientist.received(OWNER.id, effects[0].body, world.now)
    ended = one(world.scientist.take_effects(), Ended)
    assert isinstance(ended.error, VersionMismatch)
    assert world.scientist_state is ScientistState.IDLE


def test_an_offer_of_another_version_ends_both():
    world = World()
    world.bring_scientist_to(ScientistState.JOINING)
    world.scientist.received(OWNER.id, version_offer(world), world.now)
    bye = parse_body(one(world.scientist.take_effects(), Post).body)
    assert isinstance(bye, Bye) and bye.reason == "version"
