"""Two associations over a network that loses, repeats, delays and reorders: every word arrives."""

import hashlib
import random

import pytest

from duet_p2p import limits
from duet_p2p.transport.sctp.chunks import FIRST, LAST, Abort, ForwardTsn, Init, Kind, build_data
from duet_p2p.transport.sctp.events import (
    Ended,
    Established,
    StreamsReset,
    StreamsRestarted,
)
from duet_p2p.transport.sctp.outgoing import user_data_of
from duet_p2p.transport.sctp.packet import Envelope, find_chunks
from duet_p2p.transport.sctp.states import TRANSITIONS, Input, State, next_state
from tests.protocol.network_kit import Network, Weather

WEATHERS = {
    "calm": Weather(),
    "2 % lost": Weather(loss=0.02),
    "10 % lost": Weather(loss=0.10),
    "reordered": Weather(jitter=0.01),
    "everything": Weather(loss=0.05, duplication=0.05, delay=0.02, jitter=0.02),
}


def payloads(seed: int, count: int, largest: int = 20_000) -> list[bytes]:
    rng = random.Random(seed)
    return [rng.randbytes(int(rng.random() ** 3 * largest) + 1) for _ in range(count)]


def digests(messages: list[bytes]) -> list[str]:
    return [hashlib.sha256(message).hexdigest() for message in messages]


@pytest.mark.parametrize("weather", WEATHERS.values(), ids=WEATHERS)
@pytest.mark.parametrize("count", [30, pytest.param(600, marks=pytest.mark.slow)])
def test_every_message_arrives_once_and_in_order(weather: Weather, count: int) -> None:
    network = Network(weather, seed=count)
    network.open()
    sent = {
        (side, stream): payloads(10 * side + stream, count)
        for side in (0, 1)
        for stream in range(3)
    }
    for batch in zip(*sent.values(), strict=True):
        for (side, stream), message in zip(sent, batch, strict=True):
            network.sides[side].send(stream, 53, message)
    network.run(lambda: all(side.is_idle for side in network.sides))
    for (side, stream), messages in sent.items():
        assert digests(network.heard(1 - side, stream)) == digests(messages)
    assert all(side.is_idle and side.state is State.ESTABLISHED for side in network.sides)
    assert (network.lost > 0) == (weather.loss > 0)


def test_a_message_larger_than_the_receive_window_arrives() -> None:
    options = {"window": 20_000, "max_message": 1_000_000}
    network = Network(Weather(loss=0.02), a=options, b=options)
    network.open()
    message = random.Random(1).randbytes(300_000)
    network.sides[0].send(1, 53, message)
    network.sides[0].send(2, 53, b"after")
    network.run(lambda: network.sides[0].is_idle)
    assert network.heard(1) == [message, b"after"]


@pytest.mark.parametrize("first", [0, 1, 2**32 - 1, 2**32 - 40, 2**31 - 20])
def test_numbers_go_on_past_their_end(first: int) -> None:
    network = Network(Weather(loss=0.05, jitter=0.005), a={"first": first}, b={"first": first})
    network.open()
    sent = payloads(3, 40)
    for message in sent:
        network.sides[0].send(0, 53, message)
        network.sides[1].send(0, 53, message)
    network.run(lambda: all(side.is_idle for side in network.sides))
    assert network.heard(0) == network.heard(1) == sent


def test_sequence_numbers_of_a_stream_go_on_past_their_end() -> None:
    network = Network(Weather(jitter=0.002))
    network.open()
    for number in range(66_000):
        network.sides[0].send(0, 53, number.to_bytes(4, "big"))
    network.run(lambda: network.sides[0].is_idle)
    heard = [int.from_bytes(data, "big") for data in network.heard(1)]
    assert heard == list(range(66_000))


# beginning


@pytest.mark.parametrize("lost", [[0], [1], [0, 1], [0, 0, 1, 1], [1, 1, 0]])
def test_a_lost_packet_of_the_handshake_is_sent_again(lost: list[int]) -> None:
    network = Network()
    network.lose_next = lost
    network.open()
    network.sides[0].send(0, 53, b"a")
    network.sides[1].send(0, 53, b"b")
    network.run(seconds=10)
    assert (network.heard(0), network.heard(1)) == ([b"b"], [b"a"])


@pytest.mark.parametrize("seed", range(30))
def test_the_handshake_ends_in_one_association_whatever_the_order(seed: int) -> None:
    network = Network(Weather(loss=0.2, duplication=0.3, jitter=0.1), seed=seed)
    network.open()
    network.sides[0].send(0, 53, b"a")
    network.sides[1].send(0, 53, b"b")
    network.run(lambda: all(side.is_idle for side in network.sides), seconds=120)
    assert (network.heard(0), network.heard(1)) == ([b"b"], [b"a"])
    for events in network.events:
        assert sum(isinstance(event, Established) for event in events) == 1


def test_only_one_side_may_begin() -> None:
    network = Network()
    network.sides[0].start(network.now)
    network.run(lambda: all(side.state is State.ESTABLISHED for side in network.sides))
    network.sides[1].send(5, 53, b"hello")
    network.run(seconds=1)
    assert network.heard(0) == [b"hello"]


def test_the_packet_limits_are_exchanged() -> None:
    network = Network(a={"packet_limit": 9_000}, b={"packet_limit": 0})
    network.open()
    assert Established(0) in network.events[0] and Established(9_000) in network.events[1]


def test_nobody_there_is_the_end_after_some_attempts() -> None:
    network = Network(Weather(loss=1.0))
    network.start()
    network.run(seconds=60)
    end = network.end(0)
    assert end is not None and end.reason is not None
    assert len(network.packets[0]) == limits.SCTP_INIT_ATTEMPTS + 1


def test_a_forged_cookie_and_another_tag_change_nothing() -> None:
    network = Network()
    network.open()
    side = network.sides[1]
    before = (side.state, side._peer_tag)
    other = Init(tag=77, window=9, outbound=1, inbound=1, tsn=5, parameters=())
    side.receive(Envelope(5000, 5000, 0).wrap([bytes(other)]), network.now)
    side.receive(Envelope(5000, 5000, 99).wrap([bytes(Abort())]), network.now)
    assert (side.state, side._peer_tag) == before
    assert side.transmit(network.now) == []


def test_a_state_that_is_not_in_the_table_stays() -> None:
    for state in State:
        for happened in Input:
            following = next_state(state, happened)
            assert following is TRANSITIONS.get((state, happened))
    assert all(next_state(State.ENDED, happened) is None for happened in Input)


# losses


def test_packets_are_full_and_many_small_messages_share_one() -> None:
    network = Network()
    network.open()
    network.packets[0].clear()
    for _ in range(50):
        network.sides[0].send(0, 53, bytes(200))
    network.sides[0].send(0, 53, bytes(50_000))
    network.run(lambda: network.sides[0].is_idle)
    assert max(map(len, network.packets[0])) <= limits.SCTP_PACKET_BYTES
    assert len(network.packets[0]) < 10 + 50 + 5


def with_a_grown_window() -> Network:
    network = Network(Weather(delay=0.01))
    network.open()
    network.sides[0].send(0, 53, bytes(60_000))
    network.run(lambda: network.sides[0].is_idle)
    return network


def test_a_lone_loss_costs_no_timeout() -> None:
    network = with_a_grown_window()
    network.sides[0].send(0, 53, bytes(1_000))
    started = network.now
    network.lose_next = [0]
    for _ in range(20):
        network.sides[0].send(0, 53, bytes(1_100))
        network.run(seconds=0.005)
    network.run(lambda: network.sides[0].is_idle)
    assert len(network.heard(1)) == 22
    assert network.lost == 1 and network.sides[0].outbound.retransmissions == 1
    assert network.now - started < 0.2


def test_the_lost_end_of_a_burst_costs_one_late_answer_and_not_one_a_packet() -> None:
    network = with_a_grown_window()
    network.sides[0].send(0, 53, bytes(30_000))
    network.weather.loss = 1.0
    started = network.now
    network.run(seconds=0.001)
    network.weather.loss = 0.0
    network.run(lambda: network.sides[0].is_idle)
    assert network.heard(1) == [bytes(60_000), bytes(30_000)]
    assert network.lost == network.sides[0].outbound.retransmissions > 20
    assert network.now - started < 0.3  # virtual seconds, not one late answer after another


def test_a_message_goes_on_where_it_was_when_packets_grow_until_it_would_fit_whole() -> None:
    network = Network(Weather(delay=0.01))
    network.open()
    outbound = network.sides[0].outbound
    small, large = user_data_of(limits.SCTP_PACKET_BYTES), user_data_of(limits.SCTP_PROBE_SIZES[0])
    said = [bytes([number]) * (small + 12) for number in range(40)]
    assert small + 12 <= large
    for message in said:
        network.sides[0].send(0, 53, message)
    network.run(lambda: any(0 < found.position < small + 12 for found in outbound._messages))
    outbound.set_packet(limits.SCTP_PROBE_SIZES[0])
    network.run(lambda: network.sides[0].is_idle)
    beginnings = [
        chunk
        for packet in network.packets[0]
        for chunk in find_chunks(packet)
        if chunk[0] == Kind.DATA and chunk[1] & FIRST
    ]
    assert (network.heard(1), len(beginnings)) == (said, 40)  # begun once each


def test_a_silent_other_side_is_the_end_after_ten_timeouts() -> None:
    network = Network()
    network.open()
    network.sides[0].send(0, 53, b"anybody?")
    network.weather.loss = 1.0
    network.run(lambda: network.end(0) is not None, seconds=1_000)
    end = network.end(0)
    assert end is not None and end.reason is not None and not end.is_violation
    assert network.sides[0].outbound.expiries == limits.SCTP_EXPIRIES + 1 == 11


def test_a_lone_packet_is_acknowledged_after_10_milliseconds_and_two_at_once() -> None:
    network = Network(Weather(delay=0.001))
    network.open()
    network.run(seconds=1)
    for count, seconds in ((1, 0.012), (2, 0.002)):
        began = network.now
        for _ in range(count):
            network.sides[0].send(0, 53, bytes(1_000))
        network.run(lambda: network.sides[0].is_idle)
        assert network.now - began == pytest.approx(seconds, abs=1e-6)


def reports_of_one_window(packet_limit: int) -> int:
    """SACKs for nine packets that come together from a side with such a limit."""
    network = Network(Weather(delay=0.01), a={"packet_limit": packet_limit})
    network.open()
    network.packets[1].clear()
    network.sides[0].send(0, 53, bytes(10_000))
    network.run(lambda: network.sides[0].is_idle)
    assert network.heard(1) == [bytes(10_000)]
    return sum(packet[12] == Kind.SACK for packet in network.packets[1])


def test_a_partner_that_is_not_ours_gets_a_report_for_every_third_packet() -> None:
    # it sends a few packets for each report, so one for a whole batch would starve it
    assert reports_of_one_window(limits.SCTP_PACKET_MAX_BYTES) == 1
    assert reports_of_one_window(0) == 3


def test_no_more_is_on_its_way_than_the_other_side_has_room_for() -> None:
    network = Network(Weather(delay=0.05), b={"window": 5_000})
    network.open()
    network.packets[0].clear()
    network.sides[0].send(0, 53, bytes(60_000))
    network.run(seconds=0.04)
    assert 5_000 <= sum(map(len, network.packets[0])) < 5_000 + 2 * limits.SCTP_PACKET_BYTES
    network.run(lambda: network.sides[0].is_idle)
    assert network.heard(1) == [bytes(60_000)]


def test_an_idle_association_beats_and_a_dead_one_ends() -> None:
    network = Network()
    network.open()
    network.run(seconds=300)
    assert network.end(0) is None and network.end(1) is None
    assert 10 < len(network.packets[0]) < 100
    network.weather.loss = 1.0
    network.run(lambda: network.end(0) is not None, seconds=300)
    assert network.end(0) is not None


def test_a_window_that_is_shut_is_asked_again_and_opens() -> None:
    network = Network()
    network.open()
    inbound = network.sides[1]._inbound
    assert inbound is not None
    inbound._held_bytes = inbound._window  # as if earlier fragments were missing
    network.sides[0].send(0, 53, bytes(3_000))
    network.run(seconds=1)
    inbound._held_bytes = 0
    network.run(lambda: network.sides[0].is_idle, seconds=10)
    assert network.heard(1) == [bytes(3_000)]


# messages that may be lost


@pytest.mark.parametrize("is_ordered", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_messages_without_retransmission_arrive_whole_or_not_at_all(
    is_ordered: bool, seed: int
) -> None:
    network = Network(Weather(loss=0.1), seed=seed)
    network.open()
    sent = payloads(seed, 100, largest=6_000)
    for number, message in enumerate(sent):
        network.sides[0].send(3, 53, message, is_ordered=is_ordered, max_retransmits=0)
        network.sides[0].send(4, 53, number.to_bytes(4, "big"))
    network.run(lambda: network.sides[0].is_idle)
    heard = network.heard(1, 3)
    assert 20 < len(heard) < 100 and set(heard) <= set(sent)
    if is_ordered:
        assert heard == [message for message in sent if message in set(heard)]
    assert network.heard(1, 4) == [number.to_bytes(4, "big") for number in range(100)]


def test_a_message_that_comes_too_late_is_given_up_in_the_middle() -> None:
    network = Network(Weather(delay=0.05))
    network.open()
    late = network.now + 0.12
    network.sides[0].send(3, 53, bytes(400_000), expires=late)
    network.sides[0].send(3, 53, b"next")
    network.lose_next = [0]
    network.run(lambda: network.sides[0].is_idle)
    assert network.heard(1, 3) == [b"next"]


def test_unordered_messages_do_not_wait_for_a_lost_one() -> None:
    network = Network()
    network.open()
    network.lose_next = [0]
    network.sides[0].send(1, 53, b"lost first", is_ordered=False)
    network.run(seconds=0.01)
    network.sides[0].send(1, 53, b"unordered", is_ordered=False)
    network.sides[0].send(2, 53, b"another stream")
    network.run(seconds=0.005)
    assert network.heard(1) == [b"unordered", b"another stream"]
    network.run(lambda: network.sides[0].is_idle)
    assert network.heard(1)[2:] == [b"lost first"]


def test_an_old_forward_tsn_moves_nothing_back() -> None:
    network = Network()
    network.open()
    network.sides[0].send(0, 53, b"one")
    network.run(lambda: network.sides[0].is_idle)
    side = network.sides[1]
    assert side._inbound is not None
    before = side._inbound.last
    side._inbound.skip((before - 5) % 2**32, ((0, 0),))
    assert side._inbound.last == before


# what is not allowed


def raw(network: Network, *chunks: bytes) -> None:
    """A packet of a hostile side 0."""
    envelope = network.sides[0]._outgoing
    assert envelope is not None
    network.sides[1].receive(envelope.wrap(list(chunks)), network.now)
    network.run(seconds=0.5)


def next_number(network: Network) -> int:
    return network.sides[0]._first


def test_a_message_that_is_too_large_ends_the_association_before_it_is_complete() -> None:
    network = Network()
    network.open()
    network.sides[0].send(0, 53, bytes(65_537))
    network.run(lambda: network.end(1) is not None)
    end = network.end(1)
    assert end is not None and end.is_violation
    assert network.heard(1) == []


def test_a_fragment_without_data_ends_the_association() -> None:
    network = Network()
    network.open()
    raw(network, build_data(FIRST | LAST, next_number(network), 0, 0, 53, b""))
    end = network.end(1)
    assert end is not None and end.is_violation
    assert isinstance(network.end(0), Ended)


def test_fragments_that_come_too_early_are_bounded() -> None:
    network = Network(b={"window": 50_000})
    network.open()
    first = next_number(network)
    for distance in range(1, 200):
        raw(network, build_data(FIRST, (first + distance) % 2**32, 0, 0, 53, bytes(1_000)))
    inbound = network.sides[1]._inbound
    assert inbound is not None and inbound._held_bytes <= 51_000
    raw(network, build_data(FIRST, (first + 70_000) % 2**32, 0, 0, 53, b"far"))
    assert len(inbound._held) <= 51


def test_unknown_chunks_are_skipped_reported_or_end_the_packet() -> None:
    network = Network()
    network.open()
    data = build_data(FIRST | LAST, next_number(network), 0, 0, 53, b"seen")
    raw(network, bytes([0x3F, 0, 0, 4]), data)
    assert network.heard(1) == []
    raw(network, bytes([0xBF, 0, 0, 4]), bytes([0xFF, 0, 0, 4]), data)
    assert network.heard(1) == [b"seen"]
    assert any(packet[12] == Kind.ERROR for packet in network.packets[1])


def test_a_middle_without_a_beginning_is_no_message() -> None:
    network = Network()
    network.open()
    first = next_number(network)
    raw(network, build_data(LAST, first, 0, 0, 53, b"end of nothing"))
    raw(network, build_data(FIRST, (first + 1) % 2**32, 0, 0, 53, b"begin"))
    raw(network, build_data(LAST, (first + 2) % 2**32, 1, 0, 53, b"other stream"))
    raw(network, build_data(FIRST | LAST, (first + 3) % 2**32, 0, 1, 53, b"whole"))
    assert network.heard(1) == [b"whole"]


def test_a_skip_in_the_middle_of_a_message_drops_what_is_incomplete() -> None:
    network = Network()
    network.open()
    first = next_number(network)
    raw(network, build_data(FIRST, first, 0, 0, 53, b"be"))
    raw(network, build_data(FIRST | LAST, (first + 3) % 2**32, 0, 1, 53, b"next"))
    raw(network, bytes(ForwardTsn((first + 2) % 2**32, ((0, 0),))))
    assert network.heard(1) == [b"next"]
    assert network.sides[1]._inbound is not None
    assert network.sides[1]._inbound.last == first + 3


# the end


def test_an_abort_is_an_orderly_end_for_the_other_side() -> None:
    network = Network()
    network.open()
    network.sides[0].abort()
    network.run(seconds=1)
    assert network.end(0) == network.end(1) == Ended(None)


@pytest.mark.parametrize("weather", [Weather(), Weather(loss=0.2)], ids=["calm", "20 % lost"])
def test_a_shutdown_waits_until_both_sides_have_everything(weather: Weather) -> None:
    network = Network(weather, seed=4)
    network.open()
    network.sides[0].send(0, 53, bytes(40_000))
    network.sides[1].send(0, 53, bytes(30_000))
    network.sides[0].shutdown()
    network.run(lambda: network.end(0) is not None, seconds=120)
    assert network.end(0) == Ended(None)
    assert (network.heard(0), network.heard(1)) == ([bytes(30_000)], [bytes(40_000)])


# streams


@pytest.mark.parametrize("weather", [Weather(), Weather(loss=0.2)], ids=["calm", "20 % lost"])
def test_a_stream_is_reset_after_its_last_message_and_may_be_used_again(weather: Weather) -> None:
    network = Network(weather, seed=9)
    network.open()
    network.sides[0].send(7, 53, bytes(60_000))
    network.sides[0].reset_stream(7)
    network.run(lambda: StreamsRestarted((7,)) in network.events[0], seconds=120)
    events = [event for event in network.events[1] if not isinstance(event, Established)]
    assert events[-1] == StreamsReset((7,)) and network.heard(1) == [bytes(60_000)]
    network.sides[0].send(7, 53, b"afresh")
    network.run(lambda: network.sides[0].is_idle)
    assert network.heard(1)[-1] == b"afresh"
