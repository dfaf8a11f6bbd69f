"""Any bytes are a packet or one ProtocolError; what is built is what is read."""

from struct import pack

import pytest
from google_crc32c import value
from hypothesis import given, settings
from hypothesis import strategies as st

from duet_p2p.errors import ProtocolError
from duet_p2p.transport.sctp.association import Association
from duet_p2p.transport.sctp.chunks import (
    Abort,
    Chunk,
    CookieEcho,
    ErrorReport,
    ForwardTsn,
    Heartbeat,
    Init,
    Kind,
    Reconfig,
    Sack,
    Shutdown,
    Signal,
    Unknown,
    build_data,
    parse_chunk,
)
from duet_p2p.transport.sctp.options import Options
from duet_p2p.transport.sctp.packet import HEADER_BYTES, Envelope, find_chunks, header_of
from tests.protocol.network_kit import Network

u16 = st.integers(0, 2**16 - 1)
u32 = st.integers(0, 2**32 - 1)
parameters = st.lists(st.tuples(u16, st.binary(max_size=40)), max_size=4).map(tuple)
chunks = st.one_of(
    st.builds(
        Init,
        tag=st.integers(1, 2**32 - 1),
        window=u32,
        outbound=st.integers(1, 2**16 - 1),
        inbound=st.integers(1, 2**16 - 1),
        tsn=u32,
        parameters=parameters,
        is_ack=st.booleans(),
    ),
    st.builds(
        Sack,
        tsn=u32,
        window=u32,
        gaps=st.lists(st.tuples(u16, u16), max_size=5).map(tuple),
        duplicates=st.lists(u32, max_size=5).map(tuple),
    ),
    st.builds(Heartbeat, info=st.binary(max_size=60), is_ack=st.booleans()),
    st.builds(Abort, causes=parameters, is_reflected=st.booleans()),
    st.builds(Shutdown, tsn=u32),
    st.builds(ErrorReport, causes=parameters),
    st.builds(CookieEcho, cookie=st.binary(max_size=80)),
    st.builds(Reconfig, parameters=parameters),
    st.builds(ForwardTsn, tsn=u32, streams=st.lists(st.tuples(u16, u16), max_size=5).map(tuple)),
    st.builds(Signal, kind=st.sampled_from([Kind.COOKIE_ACK, Kind.SHUTDOWN_ACK])),
)


def with_checksum(packet: bytes) -> bytes:
    """Noise that gets past the checksum."""
    return packet[:8] + pack("<L", value(packet[:8] + bytes(4) + packet[12:])) + packet[12:]


@given(st.lists(chunks, min_size=1, max_size=5), u32)
def test_chunks_come_back_as_they_were(sent: list[Chunk], tag: int) -> None:
    packet = Envelope(5000, 5001, tag).wrap([bytes(chunk) for chunk in sent])
    assert header_of(packet) == (5000, 5001, tag)
    found = [
        parse_chunk(kind, flags, packet[start:end])
        for kind, flags, start, end in find_chunks(packet)
    ]
    assert found == sent


@given(st.binary(max_size=200))
def test_any_bytes_are_a_packet_or_one_error(data: bytes) -> None:
    for packet in (data, with_checksum(data.ljust(16, b"\0"))):
        try:
            header_of(packet)
            placed = find_chunks(packet)
        except ProtocolError:
            continue
        for kind, flags, start, end in placed:
            assert HEADER_BYTES + 4 <= start <= end <= len(packet)
            try:
                parse_chunk(kind, flags, packet[start:end])
            except ProtocolError:
                continue


@given(st.integers(0, 255), st.integers(0, 255), st.binary(max_size=120))
def test_any_body_is_a_chunk_or_one_error(kind: int, flags: int, body: bytes) -> None:
    try:
        chunk = parse_chunk(kind, flags, body)
    except ProtocolError:
        return
    known = {int(found) for found in Kind} - {Kind.DATA}
    assert isinstance(chunk, Unknown) == (kind not in known)


bodies = st.tuples(st.sampled_from([0, 3, 192, 130, *range(16), 77, 200]), st.binary(max_size=60))


@settings(max_examples=50)
@given(st.lists(st.tuples(bodies, st.integers(0, 15)), min_size=1, max_size=6))
def test_an_association_outlives_or_ends_at_any_chunks_and_says_so(
    noise: list[tuple[tuple[int, bytes], int]],
) -> None:
    network = Network()
    network.open()
    for (kind, body), flags in noise:
        chunk = pack("!BBH", kind, flags, 4 + len(body)) + body + bytes(-len(body) & 3)
        envelope = network.sides[0]._outgoing
        assert envelope is not None
        network.sides[1].receive(envelope.wrap([chunk]), network.now)
    network.run(seconds=5)
    if network.end(1) is None:
        network.sides[1].send(0, 53, b"still here")
        network.run(seconds=5)
        assert network.heard(0)[-1:] == [b"still here"]


@given(st.binary(max_size=100))
def test_bytes_before_there_is_an_association_are_dropped(data: bytes) -> None:
    fresh = Association(Options(5000, 5000, 65_536))
    fresh.receive(data, 1.0)
    fresh.receive(with_checksum(data.ljust(16, b"\0")), 1.0)
    assert fresh.take_events() == []


@pytest.mark.parametrize("damaged", range(16, 44, 3))
def test_a_damaged_packet_is_dropped(damaged: int) -> None:
    network = Network()
    network.open()
    envelope = network.sides[0]._outgoing
    assert envelope is not None
    packet = bytearray(
        envelope.wrap([build_data(3, network.sides[0]._first, 0, 0, 53, b"data" * 4)])
    )
    packet[damaged] ^= 4
    network.sides[1].receive(bytes(packet), network.now)
    network.run(seconds=1)
    assert network.heard(1) == [] and network.sides[1].malformed == 1
