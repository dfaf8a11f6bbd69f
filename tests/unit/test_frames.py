"""Frames: what is strict, what is refused, what is ignored."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signaling_server import frames
from signaling_server.frames import FrameRefused, FrameViolation
from signaling_server.limits import Limits

MAX = Limits().max_body
SESSION = "SGX2NCYHG6RXHHGMFG3GD2RPQ8KDAEZ0"
CLIENT = "C96Q4X2CQYCHJEXPRA2FAFSQAD4CRZY2"


def parse(**frame: object) -> frames.ToServer:
    return frames.parse_to_server(json.dumps(frame), max_body=MAX)


def test_each_frame_of_a_client_is_read_as_it_was_written() -> None:
    for frame in (
        frames.Register(1, SESSION, "owner", "AQ", "Ag"),
        frames.Join(SESSION, "m-1_", "Ym9keQ"),
        frames.Signal(CLIENT, "2", ""),
        frames.IceRequest(),
        frames.Bye(),
    ):
        assert frames.parse_to_server(frames.encode(frame), max_body=MAX) == frame


def test_each_frame_of_a_server_is_read_as_it_was_written() -> None:
    for frame in (
        frames.Hello(1, "AQ", "c", "http://127.0.0.1:8765", {"max_frame": 65536}),
        frames.Registered(3, 60.0, [{"urls": ["stun:a.example"]}], None),
        frames.JoinFrom(CLIENT, "AQ"),
        frames.SignalFrom(SESSION, "AQ"),
        frames.Ack("m", "no_peer"),
        frames.Peer(CLIENT, "offline"),
        frames.Ice([], 17),
        frames.Drain(5000),
        frames.Error("rate", "too fast", 1.5, "m"),
        frames.Error("overload", "full"),
    ):
        assert frames.parse_from_server(frames.encode(frame)) == frame


def test_the_sender_is_called_from_on_the_wire() -> None:
    assert json.loads(frames.encode(frames.JoinFrom(CLIENT, "AQ"))) == {
        "t": "join",
        "from": CLIENT,
        "body": "AQ",
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "1",
        '"join"',
        "null",
        '{"t":"bye","t":"bye"}',
        '{"t":"bye","x":{"a":1,"a":2}}',
        '{"t":"bye","x":NaN}',
        '{"t":"bye","x":-Infinity}',
        '{"t":"bye","x":1e999}',
        '{"t":"bye"} ',
        "{'t':'bye'}",
        '{"t":"bye","x":' + "1" * 5000 + "}",
    ],
)
def test_what_is_not_one_strict_json_object_is_a_violation(text: str) -> None:
    text = text.replace('{"t":"bye"} ', '{"t":"bye"} {}')
    with pytest.raises(FrameViolation):
        frames.parse_to_server(text, max_body=MAX)


def test_depth_8_is_read_and_depth_9_is_a_violation() -> None:
    def nested(depth: int) -> str:
        return '{"t":"bye","x":' + "[" * (depth - 1) + "]" * (depth - 1) + "}"

    assert frames.parse_to_server(nested(8), max_body=MAX) == frames.Bye()
    with pytest.raises(FrameViolation, match="deep"):
        frames.parse_to_server(nested(9), max_body=MAX)
    with pytest.raises(FrameViolation, match="deep"):
        frames.parse_to_server("[" * 60_000, max_body=MAX)


def test_brackets_inside_of_strings_are_no_depth() -> None:
    text = json.dumps({"t": "bye", "x": '\\"' + "[{" * 50 + '"'})
    assert frames.parse_to_server(text, max_body=MAX) == frames.Bye()


def test_unknown_keys_are_ignored_and_unknown_types_refused() -> None:
    assert parse(t="bye", later=1) == frames.Bye()
    for frame in ({"t": "hello"}, {"t": 1}, {}, {"t": None}, {"t": ["bye"]}):
        with pytest.raises(FrameRefused) as caught:
            frames.parse_to_server(json.dumps({"mid": "m7", **frame}), max_body=MAX)
        assert (caught.value.code, caught.value.mid) == ("bad_frame", "m7")


@pytest.mark.parametrize(
    "change",
    [
        {"to": SESSION[:-1] + "1"},  # wrong check symbol
        {"to": SESSION.lower()},
        {"to": SESSION + "\n"},
        {"to": 7},
        {"to": "\ud800"},
        {"mid": ""},
        {"mid": "x" * 33},
        {"mid": "a b"},
        {"mid": "m\n"},
        {"mid": None},
        {"body": "a+b/"},
        {"body": "YQ=="},
        {"body": "YQ\n"},
        {"body": None},
    ],
)
def test_a_join_with_one_wrong_field_is_refused(change: dict[str, object]) -> None:
    good: dict[str, object] = {"t": "join", "to": SESSION, "mid": "m", "body": "YQ"}
    assert parse(**good) == frames.Join(SESSION, "m", "YQ")
    with pytest.raises(FrameRefused) as caught:
        parse(**(good | change))
    assert caught.value.code == "bad_frame"


def test_a_missing_field_and_another_version_are_refused() -> None:
    with pytest.raises(FrameRefused):
        parse(t="join", to=SESSION, mid="m")
    for version in (2, True, 1.0, "1"):
        with pytest.raises(FrameRefused):
            parse(t="register", v=version, id=SESSION, role="owner", pub="", sig="")


def test_mid_and_body_at_their_limits() -> None:
    parse(t="join", to=SESSION, mid="x" * 32, body="a" * MAX)
    with pytest.raises(FrameRefused) as caught:
        parse(t="join", to=SESSION, mid="x" * 32, body="a" * (MAX + 1))
    assert (caught.value.code, caught.value.mid) == ("too_big", "x" * 32)


def test_a_client_ignores_types_of_a_later_server_but_not_broken_frames() -> None:
    assert frames.parse_from_server('{"t":"news","x":1}') is None
    for text in ('{"t":"ack","mid":"m","status":"lost"}', '{"t":"drain"}', '{"t":"drain","t":1}'):
        with pytest.raises(FrameViolation):
            frames.parse_from_server(text)


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda b: b.decode("latin-1")))
def test_any_text_gives_a_frame_or_one_of_two_errors(text: str) -> None:
    try:
        frames.parse_to_server(text, max_body=MAX)
    except (FrameViolation, FrameRefused):
        return


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["v", "id", "role", "pub", "sig", "to", "mid", "body"])
TYPES = st.sampled_from(["register", "join", "signal", "ice", "bye"])


@given(TYPES, st.dictionaries(KEYS, JSON | st.just(SESSION), max_size=8))
def test_any_object_of_a_known_type_gives_a_frame_or_a_refusal(
    kind: str, fields: dict[str, object]
) -> None:
    text = json.dumps({"t": kind, **fields})
    try:
        frame = frames.parse_to_server(text, max_body=MAX)
    except (FrameRefused, FrameViolation):
        return
    assert isinstance(frame, msgspec.Struct)
