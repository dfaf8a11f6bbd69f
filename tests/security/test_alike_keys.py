"""Keys that all have the same hash: Python compares each of them with all others.

Hashes of numbers are public, so anybody makes a dict that takes a minute to be read. It is the
owner's process that would read it, for each answer anew, and it has other things to do.
"""

import msgpack
import pytest

from duet_p2p import limits
from duet_p2p.errors import DuetError, NotAllowed, ProtocolError
from duet_p2p.protocol.description import Channel
from duet_p2p.wire import messages as wire
from duet_p2p.wire.codec import decode_value, encode_message, encode_value, pack_value, unpack_value
from duet_p2p.wire.values import Ref
from tests.security.bomb_kit import LIMITS, handle_id, opened, unharmed
from tests.security.raw_peer import attacked

SAME = 2**61 - 1  # what Python takes the hash of a number by
MANY = 3_000
MOST = limits.ALIKE_KEYS


@pytest.fixture(scope="module")
def attack():
    yield from opened(LIMITS)


@pytest.fixture
def raw(attack):
    yield from unharmed(attack)


def alike(count):
    return [number * SAME for number in range(count)]


KINDS = {
    "set": set,
    "dict": dict.fromkeys,
    "tuples": lambda keys: {(key, "a") for key in keys},
    "complex numbers": lambda keys: {complex(-1_000_003 * n, n) for n in range(len(keys))},
    "inside of another": lambda keys: [{"a": set(keys)}],
}


@pytest.mark.parametrize("kind", KINDS)
def test_so_many_are_read_and_written_and_not_one_more(kind):
    value = KINDS[kind](alike(MOST))
    assert decode_value(encode_value(value)) == value
    value = KINDS[kind](alike(MOST + 1))
    with pytest.raises(ValueError, match="keys with the same hash"):
        encode_value(value)
    with pytest.raises(ProtocolError, match="keys with the same hash"):
        unpack_value(packed(kind))


def packed(kind):
    """As somebody writes it who keeps to no limit."""
    keys = [pack_value(key) for key in alike(MOST + 1)]
    items = {"s": keys}
    if kind == "dict":
        return {"d": [[key, 1] for key in keys]}
    if kind == "tuples":
        return {"s": [{"t": [key, "a"]} for key in keys]}
    if kind == "complex numbers":
        return {"s": [{"c": [-1_000_003.0 * n, float(n)]} for n in range(MOST + 1)]}
    return [{"d": [["a", items]]}] if kind == "inside of another" else items


def test_very_many_keys_that_differ_are_as_before():
    value = dict.fromkeys(range(-2, limits.PAIR_ITEMS - 2))
    assert unpack_value(pack_value(value)) == value


def test_a_value_of_them_is_refused_and_nobody_reads_it(attack, raw):
    """It was read by the owner's process for each get."""
    keys = raw.op("python.Range", 0, MANY * SAME, SAME)
    made = [raw.op("python.Dict.fromkeys", keys), raw.op("python.Set", keys)]
    for ref in made:
        assert raw.get(ref).reason == "this value cannot be sent"
    held = raw.op("python.collect", *made)
    assert raw.get(held).reason == "this value cannot be sent"


def test_one_of_private_numbers_cannot_be_shown_or_accepted(attack, raw):
    duet = attack[0]
    one = raw.op("python.Int", raw.op("torch.Tensor.__getitem__", Ref(handle_id(duet)), 0))
    steps = raw.op("python.Int.__mul__", one, SAME)
    end = raw.op("python.Int.__mul__", steps, MANY)
    made = raw.op("python.Set", raw.op("python.Range", 0, end, steps))
    call = raw.request(made)
    raw.wait(lambda: len(duet.requests) == 1)
    with pytest.raises(NotAllowed, match="keys with the same hash"):
        _ = duet.requests[0].value
    with pytest.raises(DuetError, match="cannot be accepted"):
        duet.requests[0].accept()
    duet.requests[0].deny()
    assert isinstance(raw.answer(call), wire.Denied)


def test_a_command_with_them_ends_the_session_as_any_broken_rule():
    duet, raw, bridge = attacked(LIMITS)
    bomb = msgpack.packb({"s": [pack_value(key) for key in alike(MANY)]})
    op = encode_message(wire.Op("python.List", (1,), (7,), {}, "g"))
    raw.raw(Channel.OPS, b"\x92\x01" + op.replace(b"\x91\x07", b"\x91" + bomb))
    raw.wait(lambda: not duet.is_open)
    assert "keys with the same hash" in str(duet._session.end)
    duet.close()
    bridge.close()
