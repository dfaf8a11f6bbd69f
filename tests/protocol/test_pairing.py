"""Every cell of the tables of an attempt, as docs/protocol.md has them."""

from dataclasses import replace

import pytest

from duet_p2p.errors import (
    ConnectFailed,
)
from duet_p2p.protocol.bodies import parse_body
from duet_p2p.protocol.pairing import (
    ADMISSION,
    LIVE,
    Admission,
    AdmissionEvent,
    IllegalEvent,
    Live,
    LiveEvent,
    OwnerEvent,
    OwnerState,
    ScientistEvent,
    ScientistState,
    step,
)
from duet_p2p.protocol.pairing import (
    OWNER as OWNER_TABLE,
)
from duet_p2p.protocol.pairing import (
    SCIENTIST as SCIENTIST_TABLE,
)

from .pairing_kit import (
    OWNER,
    OWNER_CERT,
    SCIENTIST,
    SCIENTIST_CERT,
    World,
    names,
    newer_join,
    signed,
    spoiled,
    version_offer,
)

# "-": dropped and counted, nothing changes. "!": raises, nothing changes. Else: the new state and
# the effects, in order.
OWNER_CELLS = """
              | IDLE             | OFFERED                     | CONNECTING                  | CONFIRMING
JOIN_NEWER    | OFFERED MakePeer | OFFERED ClosePeer MakePeer  | OFFERED ClosePeer MakePeer  | OFFERED ClosePeer MakePeer
JOIN_SAME     | -                | OFFERED Post                | -                           | -
JOIN_OLD      | -                | -                           | -                           | -
ANSWER        | -                | CONNECTING Connect          | -                           | -
ANSWER_BAD    | -                | OFFERED                     | -                           | -
CHANNEL_OPEN  | !                | !                           | CONFIRMING SendProof        | !
CERT_DIFFERS  | !                | !                           | IDLE ClosePeer              | !
CONFIRM       | !                | !                           | !                           | IDLE SendProof
INTRUSION     | !                | !                           | IDLE ClosePeer AttemptFailed | IDLE ClosePeer AttemptFailed
FAILED        | -                | IDLE ClosePeer AttemptFailed | IDLE ClosePeer AttemptFailed | IDLE ClosePeer AttemptFailed
BYE           | -                | IDLE ClosePeer PartnerBye   | IDLE ClosePeer PartnerBye   | IDLE ClosePeer PartnerBye
CLOSE         | -                | IDLE Post ClosePeer         | IDLE Post ClosePeer         | IDLE Post ClosePeer
"""  # noqa: E501
SCIENTIST_CELLS = """
              | IDLE         | JOINING            | ANSWERING                       | CONFIRMING
BEGIN         | JOINING Post | -                  | -                               | -
RESEND        | -            | JOINING Post       | ANSWERING Post                  | -
OFFER         | -            | ANSWERING MakePeer | -                               | -
OFFER_SAME    | -            | -                  | ANSWERING Post                  | -
OFFER_BAD     | -            | JOINING            | ANSWERING                       | -
VERSION       | -            | IDLE Post Ended    | -                               | -
CHANNEL_OPEN  | !            | !                  | CONFIRMING SendProof            | !
CERT_DIFFERS  | !            | !                  | JOINING ClosePeer               | !
CONFIRM       | !            | !                  | !                               | IDLE SendProof
INTRUSION     | !            | !                  | JOINING AttemptFailed ClosePeer | JOINING AttemptFailed ClosePeer
FAILED        | -            | -                  | JOINING AttemptFailed ClosePeer | JOINING AttemptFailed ClosePeer
BYE           | -            | IDLE Ended         | IDLE Ended ClosePeer            | IDLE Ended ClosePeer
CLOSE         | -            | IDLE Post          | IDLE Post ClosePeer             | IDLE Post ClosePeer
"""  # noqa: E501


def cells(text):
    rows = [[part.strip() for part in line.split("|")] for line in text.strip("\n").splitlines()]
    header = rows[0][1:]
    return [
        (event, state, cell)
        for event, *row in rows[1:]
        for state, cell in zip(header, row, strict=True)
    ]


OWNER_DRIVERS = {
    "JOIN_NEWER": lambda w: w.owner.received(SCIENTIST.id, newer_join(w), w.now),
    "JOIN_SAME": lambda w: w.owner.received(SCIENTIST.id, w.join_body, w.now),
    "JOIN_OLD": lambda w: w.owner.received(SCIENTIST.id, newer_join(w, by=0), w.now),
    "ANSWER": lambda w: w.owner.received(SCIENTIST.id, w.answer_body, w.now),
    "ANSWER_BAD": lambda w: w.owner.received(
        SCIENTIST.id, spoiled(w.answer_body, SCIENTIST, setup="passive"), w.now
    ),
    "CHANNEL_OPEN": lambda w: w.owner.connected(w.owner_peer, SCIENTIST_CERT, w.now),
    "CERT_DIFFERS": lambda w: w.owner.connected(w.owner_peer, b"x" * 32, w.now),
    "CONFIRM": lambda w: w.owner.frame(w.owner_peer, 0, w.scientist_proof, w.now),
    "INTRUSION": lambda w: w.owner.intruded(w.owner_peer, w.now),
    "FAILED": lambda w: w.owner.failed(w.owner_peer, ConnectFailed(), w.now),
    "BYE": lambda w: w.owner.received(SCIENTIST.id, w.bye_of(SCIENTIST), w.now),
    "CLOSE": lambda w: w.owner.close("closed", w.now),
}


@pytest.mark.parametrize(("event", "state", "cell"), cells(OWNER_CELLS))
def test_each_cell_of_the_owners_attempt(event, state, cell):
    world = World()
    world.bring_owner_to(OwnerState[state])
    dropped, rejected = world.owner.dropped, world.owner.rejected
    if cell == "!":
        client = world.owner._clients[SCIENTIST.id]
        with pytest.raises(IllegalEvent):
            world.owner._fire(client, OwnerEvent[event], world.now)
        assert (world.owner_state.name, world.owner.dropped) == (state, dropped)
        assert world.owner.take_effects() == []
        return
    OWNER_DRIVERS[event](world)
    effects = world.owner.take_effects()
    if cell == "-":
        assert world.owner_state is OwnerState[state] and effects == []
        if not (event == "FAILED" and state == "IDLE"):  # of a peer that is forgotten already
            assert world.owner.dropped == dropped + 1
    else:
        to, *expected = cell.split()
        assert world.owner_state is OwnerState[to]
        assert names(effects) == expected
        assert world.owner.dropped == dropped
    counts = event == "CERT_DIFFERS" or (event, state) == ("ANSWER_BAD", "OFFERED")
    assert world.owner.rejected == rejected + counts


SCIENTIST_DRIVERS = {
    "BEGIN": lambda w: w.scientist.begin(w.now),
    "RESEND": lambda w: w.scientist.relay_is_back(w.now),
    "OFFER": lambda w: w.scientist.received(
        OWNER.id,
        signed(replace(parse_body(w.offer_body), own_nonce=b"o" * 16), OWNER).encode(),
        w.now,
    ),
    "OFFER_SAME": lambda w: w.scientist.received(OWNER.id, w.offer_body, w.now),
    "OFFER_BAD": lambda w: w.scientist.received(
        OWNER.id, spoiled(w.offer_body, OWNER, fp=b"f" * 32), w.now
    ),
    "VERSION": lambda w: w.scientist.received(OWNER.id, version_offer(w), w.now),
    "CHANNEL_OPEN": lambda w: w.scientist.connected(w.scientist_peer, OWNER_CERT, w.now),
    "CERT_DIFFERS": lambda w: w.scientist.connected(w.scientist_peer, b"x" * 32, w.now),
    "CONFIRM": lambda w: w.scientist.frame(w.scientist_peer, 0, w.owner_proof, w.now),
    "INTRUSION": lambda w: w.scientist.intruded(w.scientist_peer, w.now),
    "FAILED": lambda w: w.scientist.failed(w.scientist_peer, ConnectFailed(), w.now),
    "BYE": lambda w: w.scientist.received(OWNER.id, w.bye_of(OWNER), w.now),
    "CLOSE": lambda w: w.scientist.close("closed", w.now),
}
# A scientist at rest has sent nothing: what could come then was recorded in another session.
RECORDED = World()
RECORDED.bring_scientist_to(ScientistState.CONFIRMING)


@pytest.mark.parametrize(("event", "state", "cell"), cells(SCIENTIST_CELLS))
def test_each_cell_of_the_scientists_attempt(event, state, cell):
    world = World()
    world.bring_scientist_to(ScientistState[state])
    if state == "IDLE":
        world.join_body, world.offer_body = RECORDED.join_body, RECORDED.offer_body
    dropped, rejected = world.scientist.dropped, world.scientist.rejected
    if cell == "!":
        with pytest.raises(IllegalEvent):
            world.scientist._fire(ScientistEvent[event], world.now)
        assert (world.scientist_state.name, world.scientist.dropped) == (state, dropped)
        assert world.scientist.take_effects() == []
        return
    if (event, state) in (("OFFER_SAME", "JOINING"), ("FAILED", "JOINING")):
        # While joining no offer was accepted and there is no peer.
        assert step(SCIENTIST_TABLE, ScientistState.JOINING, ScientistEvent[event]) is None
        return
    SCIENTIST_DRIVERS[event](world)
    effects = world.scientist.take_effects()
    if cell == "-":
        assert world.scientist_state is ScientistState[state] and effects == []
        silent = (event, state) == ("FAILED", "IDLE") or event == "RESEND"
        assert world.scientist.dropped == dropped + (not silent)
    else:
        to, *expected = cell.split()
        assert world.scientist_state is ScientistState[to]
        assert names(effects) == expected
        assert world.scientist.dropped == dropped
    bad = event == "OFFER_BAD" and state in ("JOINING", "ANSWERING")
    assert world.scientist.rejected == rejected + (event == "CERT_DIFFERS" or bad)


def test_every_pair_is_listed_or_raises():
    for table, states, events in (
        (ADMISSION, Admission, AdmissionEvent),
        (OWNER_TABLE, OwnerState, OwnerEvent),
        (SCIENTIST_TABLE, ScientistState, ScientistEvent),
        (LIVE, Live, LiveEvent),
    ):
        for state in states:
            for event in events:
                if (state, event) in table:
                    step(table, state, event)
                else:
                    with pytest.raises(IllegalEvent):
                        step(table, state, event)
        assert set(table) <= {(s, e) for s in states for e in events}
    for text, table, states, events in (
        (OWNER_CELLS, OWNER_TABLE, OwnerState, OwnerEvent),
        (SCIENTIST_CELLS, SCIENTIST_TABLE, ScientistState, ScientistEvent),
    ):
        listed = {(states[s], events[e]) for e, s, cell in cells(text) if cell != "!"}
        assert listed == set(table)
