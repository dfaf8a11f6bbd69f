import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duet_p2p.identity.keys import Key
from duet_p2p.protocol.bodies import BodyError, Bye, Caps, Join, Sdp, parse_body
from signaling_server.ids import b64encode

OWNER, SCIENTIST = Key.from_seed(bytes(32), "owner"), Key.from_seed(b"s" * 32, "scientist")
CAPS = b'{"v":1,"sw":"test","max_msg":65536,"ops":"00","conf":1}'
JOIN = Join(OWNER.id, SCIENTIST.id, SCIENTIST.pub, bytes(16), 5, CAPS, bytes(64))
OFFER = Sdp(
    "offer",
    OWNER.id,
    SCIENTIST.id,
    OWNER.pub,
    bytes(16),
    bytes(16),
    5,
    bytes(32),
    "actpass",
    "v=0\r\n",
    CAPS,
    bytes(64),
)
BYE = Bye("owner", OWNER.id, SCIENTIST.id, OWNER.pub, bytes(32), "closed", bytes(64))


@pytest.mark.parametrize("body", [JOIN, OFFER, BYE], ids=["join", "offer", "bye"])
def test_round_trip(body):
    assert parse_body(body.encode()) == body


@pytest.mark.parametrize("body", [JOIN, OFFER, BYE], ids=["join", "offer", "bye"])
def test_keys_are_exact(body):
    fields = json.loads(body.encode())
    for name in fields:
        with pytest.raises(BodyError):
            parse_body(json.dumps({k: v for k, v in fields.items() if k != name}).encode())
    with pytest.raises(BodyError):
        parse_body(json.dumps({**fields, "more": 1}).encode())


@pytest.mark.parametrize(
    ("body", "name", "value"),
    [
        (JOIN, "attempt", -1),
        (JOIN, "attempt", 2**53),
        (JOIN, "attempt", True),
        (JOIN, "attempt", 5.0),
        (JOIN, "attempt", "5"),
        (JOIN, "nonce", b64encode(bytes(15))),
        (JOIN, "nonce", b64encode(bytes(16)) + "=="),
        (JOIN, "pub", b64encode(bytes(32))),
        (JOIN, "caps", b64encode(b"x" * 2049)),
        (JOIN, "sig", b64encode(bytes(63))),
        (JOIN, "sig", ""),
        (JOIN, "sig", None),
        (JOIN, "session_id", SCIENTIST.id),
        (JOIN, "session_id", OWNER.id.lower()),
        (JOIN, "client_id", OWNER.id),
        (OFFER, "role", "scientist"),
        (OFFER, "kind", "answer"),
        (OFFER, "kind", ["offer"]),
        (OFFER, "setup", "holdconn"),
        (OFFER, "sdp", "v=é\r\n"),
        (OFFER, "sdp", ["v=0"]),
        (OFFER, "fp", b64encode(bytes(31))),
        (BYE, "reason", "because"),
        (BYE, "th", ""),
    ],
)
def test_types_and_lengths_are_exact(body, name, value):
    fields = json.loads(body.encode())
    fields[name] = value
    with pytest.raises(BodyError):
        parse_body(json.dumps(fields).encode())


def test_limits_at_the_limit():
    fields = json.loads(JOIN.encode())
    fields.update(attempt=2**53 - 1, caps=b64encode(b"x" * 2048))
    assert isinstance(parse_body(json.dumps(fields).encode()), Join)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff",
        b'{"kind":"join","kind":"join"}',
        b'{"kind":NaN}',
        b"[" * 30_000,
        b'{"kind":' + b"9" * 10_000 + b"}",
    ],
)
def test_what_is_not_a_message(data):
    with pytest.raises(BodyError):
        parse_body(data)


def test_a_duplicate_key_in_an_else_right_message():
    data = BYE.encode().replace(b'"reason":"closed"', b'"reason":"closed","reason":"closed"')
    with pytest.raises(BodyError):
        parse_body(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_refused(data):
    with pytest.raises(BodyError):
        parse_body(data)


def test_caps():
    assert Caps.parse(CAPS).is_compatible()
    more = Caps.parse(CAPS[:-1] + b',"new":[1]}')
    assert more.is_compatible() and more.fields["new"] == [1]
    assert not Caps.parse(CAPS.replace(b'"v":1', b'"v":2')).is_compatible()
    assert not Caps.parse(CAPS.replace(b'"conf":1', b'"conf":0')).is_compatible()
    for data in (b"{}", b"1", CAPS.replace(b'"v":1', b'"v":true'), CAPS[:-1] + b',"v":1}'):
        with pytest.raises(BodyError):
            Caps.parse(data)
