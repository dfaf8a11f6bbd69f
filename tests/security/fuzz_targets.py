"""What reads bytes of strangers, one function each, and what each of them may answer.

Every function takes bytes. It either returns, after it checked that what was read can be written
and read again, or it answers with the one error of its kind; anything else is a finding.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Final

from duet_p2p.engine import pipe
from duet_p2p.errors import ProtocolError
from duet_p2p.protocol.bodies import BodyError, parse_body
from duet_p2p.protocol.sdp import SdpError, build_sdp, parse_sdp
from duet_p2p.session import bulk_header
from duet_p2p.wire import codec, frames
from signaling_server.frames import (
    FrameRefused,
    FrameViolation,
    encode,
    parse_from_server,
    parse_to_server,
)
from signaling_server.ids import IdError, format_id, parse_id

__all__ = ["TARGETS"]

FP: Final = bytes(range(32))


def value(data: bytes) -> None:
    try:
        found = codec.decode_value(data)
    except ProtocolError:
        return
    again = codec.encode_value(found)
    assert codec.encode_value(codec.decode_value(again)) == again


def message(data: bytes) -> None:
    try:
        found = codec.decode_message(data)
    except ProtocolError:
        return
    again = codec.encode_message(found)
    assert codec.encode_message(codec.decode_message(again)) == again


def frame(data: bytes) -> None:
    try:
        first, messages = frames.decode_frame(data)
    except ProtocolError:
        return
    assert first >= 0 and messages


def bulk(data: bytes) -> None:
    try:
        bulk_header.unpack(data)
    except ProtocolError:
        return


def engine_pipe(data: bytes) -> None:
    try:
        list(pipe.FrameReader().feed(data))
    except ProtocolError:
        return


def an_id(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    for role in ("owner", "scientist"):
        try:
            found = parse_id(text, role)
        except IdError:
            continue
        assert parse_id(format_id(found), role) == found


def sdp(data: bytes) -> None:
    text = data.decode("latin-1")
    for setup in ("actpass", "active"):
        kind = "offer" if setup == "actpass" else "answer"
        try:
            found = parse_sdp(text, kind=kind, fp=FP, setup=setup, loopback=False)
        except SdpError:
            continue
        rebuilt = build_sdp(found)
        again = parse_sdp(rebuilt, kind=kind, fp=FP, setup=setup, loopback=False)
        assert build_sdp(again) == rebuilt


def body(data: bytes) -> None:
    try:
        found = parse_body(data)
    except BodyError:
        return
    assert parse_body(found.encode()) == found


def signaling(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    with contextlib.suppress(FrameViolation, FrameRefused):
        assert isinstance(encode(parse_to_server(text, max_body=49_152)), str)
    try:
        parse_from_server(text)
    except FrameViolation:
        return


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "value": value, "message": message, "frame": frame, "bulk": bulk, "engine_pipe": engine_pipe,
    "id": an_id, "sdp": sdp, "body": body, "signaling": signaling,
}  # fmt: skip
