"""Chunks by the thousand from an authenticated partner: what is answered, and what is kept."""

from __future__ import annotations

from collections.abc import Callable
from struct import pack

import pytest

from duet_p2p.transport.sctp.association import Association
from duet_p2p.transport.sctp.chunks import Abort
from duet_p2p.transport.sctp.packet import Envelope
from duet_p2p.transport.sctp.states import State
from tests.protocol.network_kit import OPTIONS, Network

PACKETS = 2_000
BYTES = 1_100  # of each, about
MOST = 3 * 65_536  # of all answers: packets, chunks and reports
TSN = 2**32
Storm = Callable[[Association], bytes]
STORMS: dict[str, Storm] = {}


def storm(make: Storm) -> Storm:
    STORMS[make.__name__] = make
    return make


def chunk(kind: int, body: bytes = b"", flags: int = 0) -> bytes:
    return pack("!BBH", kind, flags, 4 + len(body)) + body + bytes(-len(body) % 4)


def filled(one: bytes, size: int = BYTES) -> bytes:
    return one * max(size // len(one), 1)


@storm
def unknown_kinds_that_are_reported(a: Association) -> bytes:
    return filled(chunk(0xD5))


@storm
def heartbeats(a: Association) -> bytes:
    return filled(chunk(4, pack("!HH", 1, 8) + b"abcd"))


@storm
def long_heartbeats(a: Association) -> bytes:
    return chunk(4, pack("!HH", 1, 15_900) + bytes(15_896))


@storm
def cookies_that_are_forged(a: Association) -> bytes:
    return filled(chunk(10, bytes(100)))


@storm
def answers_to_no_cookie(a: Association) -> bytes:
    return filled(chunk(11))


@storm
def reports_of_nothing(a: Association) -> bytes:
    return filled(chunk(3, pack("!LLHH", (a._first - 1) % TSN, 0, 0, 0)))


@storm
def requests_about_streams(a: Association) -> bytes:
    return filled(chunk(130, pack("!HHL", 15, 8, 7)))


@storm
def requests_in_one_chunk(a: Association) -> bytes:
    return chunk(130, filled(pack("!HHL", 15, 8, 7)))


@storm
def skips_over_no_fragment(a: Association) -> bytes:
    return chunk(192, pack("!L", (a._first - 1) % TSN) + filled(pack("!HH", 3, 5)))


@storm
def fragments_that_came_already(a: Association) -> bytes:
    return filled(chunk(0, pack("!LHHL", (a._first - 1) % TSN, 0, 0, 53) + b"x", 3))


@storm
def errors(a: Association) -> bytes:
    return filled(chunk(9))


@storm
def init_again(a: Association) -> bytes:
    return bytes(a._init(is_ack=False))


def after(packet_of: Storm) -> Network:
    """A network whose second side has received the storm, and has answered nothing yet."""
    network = Network()
    network.open()
    attacker, victim = network.sides
    tag = 0 if packet_of is init_again else attacker._peer_tag
    packet = Envelope(OPTIONS.port, OPTIONS.peer_port, tag).wrap([packet_of(attacker)])
    for _ in range(PACKETS):
        victim.receive(packet, network.now)
    return network


@pytest.mark.parametrize("name", STORMS)
def test_a_storm_is_answered_by_so_much_and_no_more(name: str) -> None:
    network = after(STORMS[name])
    attacker, victim = network.sides
    assert sum(map(len, victim.transmit(network.now))) <= MOST
    assert len(victim.events) <= 1 and victim.state is State.ESTABLISHED
    for side, other in ((attacker, 1), (victim, 0)):
        side.send(0, 53, b"still here")
        network.run(lambda at=other: b"still here" in network.heard(at))


def test_an_abort_among_them_is_an_orderly_end() -> None:
    network = after(heartbeats)
    attacker, victim = network.sides
    envelope = Envelope(OPTIONS.port, OPTIONS.peer_port, attacker._peer_tag)
    for _ in range(PACKETS):
        victim.receive(envelope.wrap([bytes(Abort()), heartbeats(attacker)]), network.now)
    assert victim.state is State.ENDED
    assert sum(map(len, victim.transmit(network.now))) <= MOST
    assert len(victim.take_events()) == 1


def test_what_a_side_says_by_itself_is_never_left_out() -> None:
    """A COOKIE ACK, or a heartbeat of its own, stands in the same packets as the answers."""
    network = after(heartbeats)
    victim = network.sides[1]
    victim.send(0, 53, b"data")
    own = victim._pulse.beat(network.now + 1_000, 1.0)
    assert own is not None
    victim._control.append(bytes(own))
    assert any(bytes(own) in packet for packet in victim.transmit(network.now))
