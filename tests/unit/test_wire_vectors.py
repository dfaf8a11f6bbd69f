"""The same bytes as in the other client: tests/data/wire_vectors.json."""

import json
from collections import OrderedDict
from pathlib import Path

import pytest

from duet_p2p.errors import ProtocolError
from duet_p2p.wire import frames, values
from duet_p2p.wire.codec import decode_message, decode_value, encode_message, encode_value

VECTORS = json.loads((Path(__file__).parents[1] / "data" / "wire_vectors.json").read_text())
READERS = {"value": decode_value, "message": decode_message, "frame": frames.decode_frame}


def made(notation):
    """The value of its notation."""
    if notation is None or isinstance(notation, bool | str):
        return notation
    if isinstance(notation, list):
        return [made(item) for item in notation]
    [(kind, content)] = notation.items()
    match kind:
        case "int":
            return int(content)
        case "float":
            return float(content)
        case "bytes":
            return bytes.fromhex(content)
        case "complex":
            return complex(float(content[0]), float(content[1]))
        case "tuple" | "set" | "range" | "slice":
            parts = [made(item) for item in content]
            kinds = {"tuple": tuple, "set": set}
            if kind in kinds:
                return kinds[kind](parts)
            return (range if kind == "range" else slice)(*parts)
        case "dict" | "OrderedDict":
            pairs = [(made(key), made(value)) for key, value in content]
            return dict(pairs) if kind == "dict" else OrderedDict(pairs)
        case "ellipsis":
            return ...
        case "Size":
            return values.Size(tuple(made(content)))
        case "TensorData":
            dtype, shape, data, requires_grad = content
            return values.TensorData(dtype, tuple(made(shape)), made(data), requires_grad)
    return getattr(values, kind)(*made(content))


@pytest.mark.parametrize("case", VECTORS["values"], ids=lambda case: case["name"])
def test_a_value_has_these_bytes(case):
    assert encode_value(made(case["value"])).hex() == case["bytes"]
    again = decode_value(bytes.fromhex(case["bytes"]))
    assert encode_value(again).hex() == case["bytes"]


@pytest.mark.parametrize("case", VECTORS["messages"], ids=lambda case: case["type"])
def test_a_message_has_these_bytes(case):
    message = decode_message(bytes.fromhex(case["bytes"]))
    assert type(message).__name__ == case["type"]
    assert encode_message(message).hex() == case["bytes"]


@pytest.mark.parametrize("case", VECTORS["frames"], ids=lambda case: str(case["first"]))
def test_messages_are_cut_into_these_frames(case):
    parts = [bytes.fromhex(part) for part in case["messages"]]
    assert [frame.hex() for frame in frames.split(case["first"], parts)] == case["frames"]
    seen = [decoded for frame in case["frames"] for decoded in frames.decode_frame(
        bytes.fromhex(frame))[1]]  # fmt: skip
    assert [encode_message(message).hex() for message in seen] == case["messages"]


@pytest.mark.parametrize("case", VECTORS["refused"], ids=lambda c: f"{c['kind']}: {c['name']}")
def test_these_bytes_are_refused(case):
    with pytest.raises(ProtocolError):
        READERS[case["kind"]](bytes.fromhex(case["bytes"]))
