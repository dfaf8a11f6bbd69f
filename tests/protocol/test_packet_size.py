"""How large packets become on paths of different width, which say nothing about it."""

import random

import pytest

from duet_p2p import limits
from duet_p2p.transport.sctp.chunks import Heartbeat, Kind, parse_chunk
from duet_p2p.transport.sctp.packet import find_chunks
from duet_p2p.transport.sctp.packet_size import PacketSize, Phase
from duet_p2p.transport.sctp.states import State
from tests.protocol.network_kit import Network, Weather

BASE = limits.SCTP_PACKET_BYTES
LARGEST, *SMALLER = limits.SCTP_PROBE_SIZES


def searching(weather: Weather, seed: int = 0, largest: int = LARGEST) -> Network:
    network = Network(weather, seed=seed)
    network.open()
    for side in network.sides:
        side.packet_size.search(largest, network.now)
    return network


def sizes(network: Network) -> list[int]:
    return [side.packet_size.size for side in network.sides]


@pytest.mark.parametrize(
    ("width", "found"),
    [(9_000, LARGEST), (LARGEST, LARGEST)]
    + [(size, size) for size in SMALLER]
    + [(LARGEST - 1, SMALLER[0]), (SMALLER[-1] - 1, BASE), (BASE, BASE)],
)
def test_the_largest_size_that_gets_through_is_found(width: int, found: int) -> None:
    network = searching(Weather(width=width, delay=0.02))
    assert sizes(network) == [BASE, BASE]
    network.run(seconds=30)
    assert sizes(network) == [found, found]
    network.packets[0].clear()
    network.sides[0].send(0, 53, bytes(60_000))
    network.run(lambda: network.sides[0].is_idle)
    assert max(map(len, network.packets[0])) == found
    assert network.heard(1) == [bytes(60_000)]


def test_packets_are_small_while_nothing_is_known_and_messages_do_not_wait() -> None:
    network = searching(Weather(width=BASE, delay=0.02))
    network.packets[0].clear()
    sent = random.Random(1).randbytes(65_000)
    network.sides[0].send(0, 53, sent)
    network.run(lambda: network.sides[0].is_idle, seconds=1)
    assert network.heard(1) == [sent]
    assert max(map(len, network.packets[0])) == BASE
    assert network.sides[0].outbound.retransmissions == 0


@pytest.mark.parametrize("seed", range(5))
def test_lost_probes_are_tried_again_before_a_size_is_given_up(seed: int) -> None:
    network = searching(Weather(loss=0.2), seed=seed)
    network.run(seconds=60)
    assert all(size > BASE for size in sizes(network))
    assert all(side.outbound.retransmissions == 0 for side in network.sides)


def test_no_size_is_tried_more_than_three_times_at_least_a_second_apart() -> None:
    network = searching(Weather(width=BASE))
    started = network.now
    network.run(seconds=60)
    expected = [size for size in limits.SCTP_PROBE_SIZES for _ in range(limits.SCTP_PROBES)]
    assert network.probes == [expected, expected]
    found_at = network.sides[0].packet_size
    assert found_at.phase is Phase.FOUND and found_at.deadline is not None
    last_try = found_at.deadline - limits.SCTP_PROBE_AGAIN_SECONDS
    assert last_try - started >= len(expected) * limits.SCTP_PROBE_SECONDS


def test_a_path_that_became_wider_is_found_out_after_some_minutes() -> None:
    network = searching(Weather(width=SMALLER[0]))
    network.run(seconds=30)
    network.weather.width = None
    network.run(seconds=limits.SCTP_PROBE_AGAIN_SECONDS + 30)
    assert sizes(network) == [LARGEST, LARGEST]
    tried = len(network.probes[0])
    network.run(seconds=3 * limits.SCTP_PROBE_AGAIN_SECONDS)
    assert len(network.probes[0]) == tried  # there is nothing larger to be found


@pytest.mark.parametrize("width", [SMALLER[0], BASE])
@pytest.mark.parametrize("loss", [0.0, 0.02])
def test_a_path_that_becomes_narrow_in_the_middle_loses_nothing(width: int, loss: float) -> None:
    network = searching(Weather(delay=0.01, loss=loss), seed=width)
    network.run(seconds=10)
    assert sizes(network) == [LARGEST, LARGEST]
    rng = random.Random(width)
    sent = [rng.randbytes(rng.randrange(1, 40_000)) for _ in range(40)]
    for message in sent[:20]:
        network.sides[0].send(0, 53, message)
    network.run(seconds=0.03)  # some are on their way
    assert not network.sides[0].is_idle
    network.weather.width = width
    for message in sent[20:]:
        network.sides[0].send(0, 53, message)
    started = network.now
    network.run(lambda: network.sides[0].is_idle)
    assert network.heard(1) == sent
    assert network.too_large > 0 and network.now - started < 15
    network.run(seconds=30)
    assert sizes(network)[0] == (width if width in SMALLER else BASE)
    assert all(side.state is State.ESTABLISHED for side in network.sides)


def test_a_lone_timeout_does_not_make_packets_small() -> None:
    network = searching(Weather(delay=0.01))
    network.run(seconds=10)
    network.sides[0].send(0, 53, bytes(1_000))
    network.lose_next = [0, 0]  # the message, and what asks after it early
    network.run(lambda: network.sides[0].is_idle)
    assert network.sides[0].outbound.retransmissions == 2
    assert sizes(network) == [LARGEST, LARGEST]


def test_a_size_that_this_machine_refuses_is_not_waited_for() -> None:
    network = Network()
    network.open()
    size = network.sides[0].packet_size
    size.search(LARGEST, network.now)
    probe = network.sides[0].take_probe()
    assert probe is not None and len(probe) == LARGEST
    size.refused(network.now)
    network.run(seconds=0.5)
    assert size.size == SMALLER[0]


def test_nothing_is_tried_beyond_what_the_other_side_takes() -> None:
    network = searching(Weather(), largest=SMALLER[0])
    network.run(seconds=30)
    assert sizes(network) == [SMALLER[0], SMALLER[0]]
    assert max(network.probes[0]) == SMALLER[0]


def test_a_probe_is_a_heartbeat_and_padding_of_the_size_in_question() -> None:
    network = searching(Weather())
    probe = network.sides[0].take_probe()
    assert probe is not None and len(probe) == LARGEST
    (kind, flags, start, end), (padding, _, _, last) = find_chunks(probe)
    assert isinstance(parse_chunk(kind, flags, probe[start:end]), Heartbeat)
    assert padding == Kind.PAD and last == LARGEST


def test_only_the_echo_of_the_last_probe_proves_anything() -> None:
    changes: list[int] = []
    size = PacketSize(changes.append)
    size.answered(b"", 1.0)
    size.search(LARGEST, 1.0)
    chunks = size.due()
    assert chunks is not None and size.due() is None
    echo = chunks[0][4:]
    for forged in (b"", echo[:-1], b"\0\1\0\x0c" + bytes(8)):
        size.answered(forged, 1.0)
    assert changes == [] and size.phase is Phase.SEARCHING
    size.answered(echo, 1.1)
    assert changes == [LARGEST] and size.phase is Phase.FOUND
    size.give(16_000)
    size.answered(echo, 1.2)
    size.fall_back(1.3)
    assert size.size == 16_000 and size.deadline is None
    assert changes == [LARGEST, 16_000]


def test_an_idle_association_that_searches_ends_all_the_same_when_nobody_answers() -> None:
    network = searching(Weather())
    network.run(seconds=5)
    network.weather.loss = 1.0
    network.sides[0].packet_size.search(LARGEST, network.now)
    network.run(lambda: network.end(0) is not None, seconds=300)
    assert network.end(0) is not None
    assert network.sides[0].take_probe() is None
