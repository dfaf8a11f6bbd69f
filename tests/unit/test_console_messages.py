"""Whatever a page says that is not exactly one of our messages is an error, and nothing else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duet_p2p import limits
from duet_p2p.console.messages import Accept, Message, Preview, parse
from duet_p2p.errors import ProtocolError

DIGEST = "0" * 64
REQUEST = "0123456789abcdef"
GOOD = [
    {"t": "hello", "token": "x"},
    {"t": "accept", "n": 1, "request": REQUEST, "digest": DIGEST, "always": False},
    {"t": "deny", "n": 1, "request": REQUEST, "digest": DIGEST, "reason": "no"},
    {"t": "look", "n": 1, "request": REQUEST, "digest": DIGEST},
    {"t": "preview", "n": 1, "rule": {"action": "deny"}},
    {"t": "add", "n": 1, "rule": {"action": "accept", "max_elements": None}, "digest": DIGEST},
    {"t": "remove", "n": 1, "handler": "0" * 32},
    {"t": "resume", "n": 1},
    {
        "t": "audit",
        "n": 1,
        "text": "",
        "kind": "",
        "all_sessions": False,
        "before": 0,
        "whole": False,
    },
]


@pytest.mark.parametrize("message", GOOD, ids=lambda message: message["t"])
def test_every_message_has_all_its_keys_and_no_others(message):
    assert isinstance(parse(json.dumps(message)), Message)
    with pytest.raises(ProtocolError):
        parse(json.dumps(message | {"more": 1}))
    for key in message:
        with pytest.raises(ProtocolError):
            parse(json.dumps({k: v for k, v in message.items() if k != key}))


@pytest.mark.parametrize("message", GOOD, ids=lambda message: message["t"])
def test_every_value_has_its_type(message):
    for key in message:
        for wrong in (None, [], {}, 1.5, "\ud800", -1, 2**70, True if key == "n" else []):
            with pytest.raises(ProtocolError):
                parse(json.dumps(message | {key: wrong}))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "1",
        '"hello"',
        "{}",
        '{"t":"unknown","n":1}',
        '{"t":"resume","n":1,"n":2}',
        '{"t":"resume","n":NaN}',
        '{"t":"resume","n":1e999}',
        '{"t":"resume","n":' + "9" * 5000 + "}",
        "[" * 10_000,
        '{"t":' * 1_000,
        '{"t":"resume","n":1}' + " " * limits.CONSOLE_MESSAGE_BYTES,
        '{"t":"resume","n":1} x',
        "\ud800",
    ],
)
def test_hostile_texts_are_refused(text):
    with pytest.raises(ProtocolError):
        parse(text)


@given(st.text())
def test_any_text_is_a_message_or_a_protocol_error(text):
    with pytest.raises(ProtocolError):
        parse(text)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(st.sampled_from(GOOD), st.sampled_from(sorted({key for m in GOOD for key in m})), _VALUES)
def test_a_message_with_one_value_changed_is_a_message_or_a_protocol_error(message, key, value):
    text = json.dumps(message | {key: value})
    try:
        parsed = parse(text)
    except ProtocolError:
        return
    assert isinstance(parsed, Message)


def rule_of(**fields):
    message = parse(json.dumps({"t": "preview", "n": 1, "rule": {"action": "accept", **fields}}))
    assert isinstance(message, Preview)
    return message.rule


@pytest.mark.parametrize(
    "fields",
    [
        {"kinds": []},
        {"kinds": ["secret"]},
        {"name": "x" * 101},
        {"tags": ["x"] * 65},
        {"sources": [1]},
        {"sources": [0]},
        {"max_elements": -1},
        {"max_elements": True},
        {"min_records": None},
        {"seconds": 0},
        {"like": "0123456789ABCDEF"},
        {"unknown": 1},
        {"action": "open"},
    ],
)
def test_a_rule_has_closed_fields_too(fields):
    with pytest.raises(ProtocolError):
        rule_of(**fields)


def test_no_limit_is_not_the_same_as_nothing_said():
    assert rule_of(max_elements=None).max_elements is None
    assert rule_of().max_elements is not None


def test_a_decision_names_its_request_and_what_was_shown():
    message = parse(json.dumps(GOOD[1]))
    assert isinstance(message, Accept)
    assert (message.request, message.digest, message.always) == (REQUEST, DIGEST, False)
    for key, wrong in (("request", 0), ("request", "0"), ("digest", "0" * 63), ("always", 1)):
        with pytest.raises(ProtocolError):
            parse(json.dumps(GOOD[1] | {key: wrong}))
