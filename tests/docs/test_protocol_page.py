"""docs/protocol.md is enough to write a client from: each field of each message stands there."""

from __future__ import annotations

import re
import types
import typing
from dataclasses import fields as fields_of
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from duet_p2p.engine.failures import CODES
from duet_p2p.wire import fields, messages
from duet_p2p.wire.codec import encode_message
from duet_p2p.wire.frames import decode_frame, encode_frame
from duet_p2p.wire.packing import INT_MAX
from duet_p2p.wire.values import Blob, Ref
from signaling_server.frames import ErrorCode

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
KINDS = [
    *messages.COMMANDS.values(),
    *messages.ANSWERS.values(),
    *messages.LIFE.values(),
    *(messages.PlanStep, messages.StoreEntry, Blob),
]
INTS = {fields.OBJECT: "id", fields.POSITIVE: "positive", fields.COUNT: "count"}


def rule(table: dict[str, Any], where: str) -> Any:
    return table[where] if where in table else table[where.partition(".")[2]]


def form(where: str, hint: Any) -> str:
    """What the page says about a field, from how the code reads it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if is_dataclass(hint):
        return f"`{typing.cast(type, hint).__name__}`"
    if origin is types.UnionType:
        return f"{form(where, arguments[0])} or nil"
    if origin is tuple:
        return f"list of {form(where, arguments[0])}"
    if origin is dict:
        return f"pairs of {form(where, arguments[0])} and {form(where, arguments[1])}"
    if hint is int:
        low, high, zero = rule(fields.INTS, where)
        return INTS.get((low, high, zero), f"{low} … {high:,}")
    if hint is str:
        if where in fields.CHOICES:
            return ", ".join(f"`{choice}`" for choice in sorted(fields.CHOICES[where]))
        return f"text of {rule(fields.CHARS, where):,}"
    if hint is bytes:
        return " or ".join(str(size) for size in sorted(fields.EPOCHS[where])) + " bytes"
    return {bool: "bool", float: "seconds", Any: "value"}[hint]


def wanted() -> dict[tuple[str, str], str]:
    """(class, field) to form."""
    return {
        (kind.__name__, field.name): form(
            f"{kind.__name__}.{field.name}", typing.get_type_hints(kind)[field.name]
        )
        for kind in KINDS
        for field in fields_of(typing.cast(Any, kind))
    }


def told() -> dict[str, str]:
    """`field`, or `Class.field` where it is another one there, to form."""
    section = PAGE.partition("\n### Fields\n")[2].partition("\n### ")[0]
    rows = re.findall(r"^\| ((?:`[\w.]+`(?:, )?)+) \| ([^|]+?) \|", section, re.MULTILINE)
    return {name: said for names, said in rows for name in re.findall(r"`([\w.]+)`", names)}


def test_each_field_of_each_message_has_the_form_that_the_code_reads() -> None:
    rows = told()
    wrong, used = [], set()
    for (kind, name), expected in wanted().items():
        row = f"{kind}.{name}" if f"{kind}.{name}" in rows else name
        used.add(row)
        if rows.get(row) != expected:
            wrong.append(f"{kind}.{name} is {expected}, the page says {rows.get(row)}")
    assert wrong == []
    assert set(rows) == used


def test_the_fields_of_what_is_inside_of_messages_stand_in_their_order() -> None:
    for kind in (messages.PlanStep, messages.StoreEntry, Blob):
        order = ", ".join(f"`{field.name}`" for field in fields_of(typing.cast(Any, kind)))
        assert re.search(rf"`{kind.__name__}` is \[{order}\]", PAGE.replace("\n", " ")), order


def test_the_closed_sets_of_codes_are_the_ones_of_the_code() -> None:
    assert f"2^{INT_MAX.bit_length()} − 1" in PAGE
    for heading, codes in (
        ("Codes of failures:", CODES),
        ("Codes of an `error`:", typing.get_args(ErrorCode)),
    ):
        paragraph = PAGE.partition(heading)[2].partition("\n\n")[0]
        assert set(re.findall(r"`(\w+)`", paragraph)) == set(codes), heading


def test_the_example_is_what_the_code_sends() -> None:
    block = PAGE.partition("### An example in bytes")[2].split("```")[1]
    data = bytes.fromhex(re.sub(r"(?m)^ *((?:[0-9a-f]{2,} ?)+).*$", r"\1", block))
    first, rest = data[: data.index(b"\x92\x02")], data[data.index(b"\x92\x02") :]
    op = messages.Op("torch.Tensor.mean", (1,), (Ref(-1),), {}, "g")
    asked = messages.Request(7, 1, "mean age", "for the report", None)
    assert decode_frame(first) == (1, [op])
    assert decode_frame(rest) == (2, [asked])
    assert encode_frame(1, [encode_message(op)]) + encode_frame(2, [encode_message(asked)]) == data
