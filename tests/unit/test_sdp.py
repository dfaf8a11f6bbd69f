import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duet_p2p import limits
from duet_p2p.protocol.description import Candidate, Description
from duet_p2p.protocol.sdp import SdpError, build_sdp, is_usable_address, parse_sdp, restrict

VECTORS = json.loads((Path(__file__).parents[1] / "data" / "pairing_vectors.json").read_text())
PLAIN = VECTORS["sdp"][0]


def read(case, text=None):
    return parse_sdp(
        case["sdp"] if text is None else text,
        kind=case["kind"],
        fp=bytes.fromhex(case["fp"]),
        setup=case["setup"],
        loopback=case["loopback"],
    )


@pytest.mark.parametrize("case", VECTORS["sdp"], ids=lambda case: case["name"])
def test_vectors(case):
    if case["result"] == "ok":
        assert build_sdp(read(case)) == case["rebuilt"]
    else:
        with pytest.raises(SdpError) as failure:
            read(case)
        assert failure.value.code == case["result"]


@pytest.mark.parametrize("case", VECTORS["sdp_size"], ids=lambda case: case["name"])
def test_size_at_the_limit_and_one_past_it(case):
    room = case["bytes"] - len(PLAIN["sdp"])
    lines, rest = divmod(room, 100)
    padding = ("a=x:" + "y" * 94 + "\r\n") * (lines - 1)
    padding += "a=x:" + "y" * (94 + rest) + "\r\n"
    text = PLAIN["sdp"] + padding
    assert len(text) == case["bytes"]
    if case["result"] == "ok":
        assert build_sdp(read(PLAIN, text)) == PLAIN["rebuilt"]
    else:
        with pytest.raises(SdpError, match="size"):
            read(PLAIN, text)


def test_what_was_rebuilt_parses_to_itself():
    for case in VECTORS["sdp"]:
        if case["result"] == "ok":
            assert build_sdp(read(case, case["rebuilt"])) == case["rebuilt"]


@pytest.mark.parametrize(
    ("line", "changed"),
    [
        ("a=sctp-port:5000", "a=sctp-port:65536"),
        ("a=sctp-port:5000", "a=sctp-port:0"),
        ("a=mid:0", "a=mid:" + "m" * 17),
        ("a=ice-ufrag:aKmD", "a=ice-ufrag:aKm"),
        ("a=ice-ufrag:aKmD", "a=ice-ufrag:aKmD\r\na=ice-ufrag:aKmD"),
        ("a=max-message-size:262144", "a=max-message-size:-1"),
        ("a=max-message-size:262144", "a=max-message-size:1\r\na=max-message-size:1"),
        ("t=0 0", "v=0"),
    ],
)
def test_lines_that_are_refused(line, changed):
    assert line in PLAIN["sdp"]
    with pytest.raises(SdpError, match="line"):
        read(PLAIN, PLAIN["sdp"].replace(line, changed))


@pytest.mark.parametrize(
    ("text", "size"),
    [("", 65_536), ("a=max-message-size:0\r\n", 65_536), ("a=max-message-size:1200\r\n", 1200)],
)
def test_message_size(text, size):
    changed = PLAIN["sdp"].replace("a=max-message-size:262144\r\n", text)
    assert read(PLAIN, changed).max_message_size == size


@given(st.text(alphabet=st.characters(min_codepoint=10, max_codepoint=126), max_size=400))
def test_any_text_is_refused_or_rebuilt(text):
    for candidate in (text, PLAIN["sdp"] + text, PLAIN["sdp"][: len(text)] + text):
        try:
            rebuilt = build_sdp(read(PLAIN, candidate))
        except SdpError:
            continue
        assert build_sdp(read(PLAIN, rebuilt)) == rebuilt


@given(st.ip_addresses().map(str))
def test_no_address_that_aims_at_this_machine_or_link_is_usable(address):
    import ipaddress

    ip = ipaddress.ip_address(address)
    if is_usable_address(address, loopback=False):
        assert not (ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified)
        assert getattr(ip, "ipv4_mapped", None) is None


def test_loopback_only_where_it_is_wanted():
    for address in ("127.0.0.1", "127.9.9.9", "::1"):
        assert is_usable_address(address, loopback=True)
        assert not is_usable_address(address, loopback=False)
    assert not is_usable_address("169.254.1.1", loopback=True)


def test_the_senders_own_description_is_restricted_the_same_way():
    host = Candidate("1", 1, "192.0.2.1", 1000, "host")
    own = Description(
        ufrag="aKmD",
        pwd="5ICS5uBYdezh9pJ7tuRbdb",
        fingerprint=bytes(32),
        setup="actpass",
        candidates=(replace(host, address="127.0.0.1"), replace(host, address="fe80::1"))
        + (host,) * 40,
        max_message_size=262_144,
    )
    sent = restrict(own, loopback=False)
    assert sent.candidates == (host,) * limits.CANDIDATES
    assert sent.max_message_size == limits.MESSAGE_MAX_BYTES
    text = build_sdp(sent)
    assert parse_sdp(text, kind="offer", fp=bytes(32), setup="actpass", loopback=False) == sent
    assert restrict(own, loopback=True).candidates[0].address == "127.0.0.1"
