"""Every message, strictly by its declared fields; and docs/protocol.md says the same."""

from __future__ import annotations

import dataclasses
import re
import typing
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duet_p2p import limits
from duet_p2p.errors import ProtocolError
from duet_p2p.wire import fields
from duet_p2p.wire.codec import decode_message, encode_message
from duet_p2p.wire.messages import (
    ANSWERS,
    COMMANDS,
    LIFE,
    Ack,
    Bye,
    DefinePlan,
    Del,
    Meta,
    Op,
    Ping,
    PlanStep,
    Put,
    Request,
    Resume,
    RunClosure,
    RunPlan,
    StoreChanged,
    StoreEntry,
    StoreSnapshot,
    Value,
)
from duet_p2p.wire.packing import INT_MAX, TAGS
from duet_p2p.wire.values import Blob, Ref, TensorData

DOCS = Path(__file__).parents[2] / "docs" / "protocol.md"

ENTRY = StoreEntry(-3, "torch.Tensor", ("#a",), "text", (2, 3), "float32", None, False, None)

EXAMPLES: list[Any] = [
    Op("torch.add", (5,), (Ref(1), Ref(-2), 1.5, slice(None, 3)), {"alpha": 2}, "g"),
    Put((7, 8), (TensorData("int8", (1,), b"x"), [1]), Blob(1, 10), ("#x",), "mine", True),
    Put((7,), (1,), None),
    Del((1, -2)),
    DefinePlan(
        5, "step", 1, (3, -2), (PlanStep("torch.add", (4,), (Ref(1), Ref(2)), {}, "n"),), (4,), True
    ),
    RunPlan(-5, (1, 2), (9,), 0),
    RunClosure(-5, 2, 10),
    Request(99, 4, "loss", "to see it", None),
    Request(99, 4, "loss", "to see it", 2.5),
    StoreSnapshot((ENTRY,), bytes(16), {"versions": {"torch": "2"}}),
    StoreChanged((ENTRY, ENTRY), (-1,)),
    Meta(4, "torch.Tensor", None, None, 3, {"batches": 2}),
    Value(3, {"a": 1, ...: (1,)}, None),
    Ack(0),
    Ping(1),
    Bye("closed"),
    Resume(5, b"", {1: 65536}),
]


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_a_message_comes_back_equal(message: Any) -> None:
    assert decode_message(encode_message(message)) == message


def of_field(kind: type, name: str, hint: Any) -> st.SearchStrategy[Any]:
    """Values of a field by its declaration."""
    where = f"{kind.__name__}.{name}"
    if where in fields.CHOICES:
        return st.sampled_from(sorted(fields.CHOICES[where]))
    if name == "times":
        return st.integers(0, limits.PLAN_TIMES)
    if hint is bytes:
        size = max(fields.EPOCHS[where])
        return st.binary(min_size=size, max_size=size)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if type(None) in arguments:
        return st.none() | of_field(kind, name, arguments[0])
    if origin is tuple:
        return st.lists(of_field(kind, name, arguments[0]), max_size=3).map(tuple)
    if origin is dict:
        keys, items = (of_field(kind, name, argument) for argument in arguments)
        return st.dictionaries(keys, items, max_size=3)
    if dataclasses.is_dataclass(hint):
        return of_class(hint)
    plain = {int: st.integers(1, INT_MAX), str: st.text(max_size=100), bool: st.booleans()}
    plain[float] = st.floats(0, 1e9)
    return plain.get(hint, st.none() | st.integers() | st.text(max_size=5) | st.just(Ref(1)))


def of_class(kind: Any) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    return st.builds(kind, *[of_field(kind, name, hints[name]) for name in names])


ALL = {**COMMANDS, **ANSWERS, **LIFE}


@given(st.sampled_from(sorted(ALL)).flatmap(lambda tag: of_class(ALL[tag])))
def test_any_message_comes_back_equal(message: Any) -> None:
    assert decode_message(encode_message(message)) == message


@given(
    st.sampled_from(sorted(ALL)).flatmap(lambda tag: of_class(ALL[tag])),
    st.integers(1, 8),
    st.sampled_from([None, True, -1, 0, 2**63, 1.5, "x" * 5000, b"x", [], [None], ["a"], [[1]]]),
)
def test_a_wrong_field_is_refused_or_changes_only_itself(
    message: Any, place: int, wrong: Any
) -> None:
    packed = msgpack.unpackb(encode_message(message))
    place = min(place, len(packed) - 1)
    packed[place] = wrong
    try:
        changed = decode_message(msgpack.packb(packed))
    except ProtocolError:
        return
    assert type(changed) is type(message)
    names = [field.name for field in dataclasses.fields(message)]
    assert [
        name for name in names if repr(getattr(changed, name)) != repr(getattr(message, name))
    ] in ([], [names[place - 1]])


WRONG: dict[str, list[Any]] = {
    "no list": [5],
    "no tag": [[]],
    "unknown tag": [[99, 1]],
    "tag as bool": [[True, "a", [1], [], [], "g"]],
    "a field too few": [[64]],
    "a field too many": [[64, 1, 1]],
    "name as bytes": [[1, b"relu", [1], [], [], "g"]],
    "unknown mode": [[1, "relu", [1], [], [], "x"]],
    "a result with id 0": [[1, "relu", [0], [], [], "g"]],
    "a result of the owner's": [[1, "relu", [-1], [], [], "g"]],
    "a result as bool": [[1, "relu", [True], [], [], "g"]],
    "kwargs as a map": [[1, "relu", [1], [], {"a": 1}, "g"]],
    "a kwarg twice": [[1, "relu", [1], [], [["a", 1], ["a", 2]], "g"]],
    "a kwarg without a name": [[1, "relu", [1], [], [[1, 1]], "g"]],
    "deleting 0": [[3, [0]]],
    "limit as int": [[5, 9, 1, "n", "r", 3]],
    "limit as NaN": [[5, 9, 1, "n", "r", float("nan")]],
    "negative limit": [[5, 9, 1, "n", "r", -1.0]],
    "call 0": [[6, 0]],
    "an epoch too short": [[41, bytes(15), ""]],
    "an entry too short": [[33, [[1, "t"]], []]],
    "a blob with a tag": [[36, 1, None, {"b": [1, 1]}]],
    "unknown bye": [[68, "bored"]],
}


@pytest.mark.parametrize("name", WRONG)
def test_a_message_against_its_declaration_is_refused(name: str) -> None:
    with pytest.raises(ProtocolError):
        decode_message(msgpack.packb(WRONG[name][0]))


PAST = {
    "Op.name": (
        Op("x" * limits.NAME_CHARS, (1,), (), {}, "g"),
        Op("x" * (limits.NAME_CHARS + 1), (1,), (), {}, "g"),
    ),
    "Request.name": (
        Request(1, 1, "x" * limits.REQUEST_NAME_CHARS, "", None),
        Request(1, 1, "x" * (limits.REQUEST_NAME_CHARS + 1), "", None),
    ),
    "Request.reason": (
        Request(1, 1, "", "x" * limits.REQUEST_REASON_CHARS, None),
        Request(1, 1, "", "x" * (limits.REQUEST_REASON_CHARS + 1), None),
    ),
    "Put.description": (
        Put((1,), (1,), None, (), "x" * limits.MESSAGE_TEXT_CHARS),
        Put((1,), (1,), None, (), "x" * (limits.MESSAGE_TEXT_CHARS + 1)),
    ),
    "Del.ids": (
        Del((1,) * limits.ARRAY_ITEMS),
        Del((1,) * (limits.ARRAY_ITEMS + 1)),
    ),
    "Meta.shape": (
        Meta(1, "t", (1,) * limits.TENSOR_DIMS, None, None, {}),
        Meta(1, "t", (1,) * (limits.TENSOR_DIMS + 1), None, None, {}),
    ),
    "the whole": (
        # tag, call, bin header of 3 bytes, no blob, array header
        Value(1, b"x" * (limits.MESSAGE_MAX_BYTES - limits.FRAME_HEADER_BYTES - 7), None),
        Value(1, b"x" * (limits.MESSAGE_MAX_BYTES - limits.FRAME_HEADER_BYTES - 6), None),
    ),
}


@pytest.mark.parametrize("name", PAST)
def test_a_message_at_the_limit_passes_and_one_past_it_is_refused(name: str) -> None:
    at, past = PAST[name]
    assert decode_message(encode_message(at)) == at
    with pytest.raises(ValueError):
        encode_message(past)


def test_a_plan_runs_as_often_as_the_limit_says_and_not_once_more() -> None:
    at = RunPlan(1, (2,), (3,), limits.PLAN_TIMES)
    assert decode_message(encode_message(at)) == at
    with pytest.raises(ValueError):
        encode_message(dataclasses.replace(at, times=limits.PLAN_TIMES + 1))


PAST_IDS = [(0, 2, 3), (1, 0, 3), (1, 2, 0), (1, 2, -3), (INT_MAX + 1, 2, 3), (1, 2, INT_MAX + 1)]


@pytest.mark.parametrize("fields", PAST_IDS)
def test_a_step_with_a_closure_names_three_ids(fields: tuple[int, int, int]) -> None:
    at = RunClosure(-INT_MAX, INT_MAX, INT_MAX)
    assert decode_message(encode_message(at)) == at
    with pytest.raises(ValueError):
        encode_message(RunClosure(*fields))


def test_a_run_of_a_plan_takes_about_sixteen_bytes() -> None:
    assert len(encode_message(RunPlan(70_001, (90_001, 90_002), (90_003,), 0))) <= 25
    assert len(encode_message(RunPlan(101, (201, 202), (203,), 0))) <= 16


def test_what_is_no_message_is_our_own_mistake() -> None:
    with pytest.raises(TypeError):
        encode_message(ENTRY)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        encode_message(Value(1, object(), None))


def test_an_int_is_a_duration_and_travels_as_a_float() -> None:
    back = decode_message(encode_message(Request(1, 1, "n", "r", 3)))
    assert isinstance(back, Request)
    assert type(back.limit_s) is float


# the documentation


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading of docs/protocol.md."""
    text = DOCS.read_text(encoding="utf-8").split(f"\n{heading}\n", 1)[1].split("\n#", 1)[0]
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_documented_messages_are_the_messages() -> None:
    documented = {
        (int(tag), name.strip("`"), tuple(re.findall(r"`(\w+)`", names)), channel)
        for tag, name, names, channel, *_ in rows("### Messages")
    }
    real = {
        (tag, kind.__name__, tuple(field.name for field in dataclasses.fields(kind)), channel)
        for table, channel in ((COMMANDS, "ops"), (ANSWERS, "ctl"), (LIFE, "ctl"))
        for tag, kind in table.items()
    }
    assert documented == real


def test_the_documented_tags_are_the_tags() -> None:
    documented = {(name.strip("`"), tag.strip("`")) for name, tag, *_ in rows("### Tagged values")}
    assert documented == {(kind.__name__, tag) for kind, tag in TAGS.items()}


def test_the_documented_limits_are_the_limits() -> None:
    found = rows("## Limits")
    assert found
    for name, value, *_ in found:
        documented = float(value.replace(",", "").split()[0])
        assert documented == getattr(limits, name.strip("`")), name
