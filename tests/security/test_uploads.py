"""What a partner can do with uploads, by frames made by hand: memory, pieces, ids, deaths.

An upload is announced by a command (`Put`) and arrives in pieces on another channel. So there are
two stories of one thing, and each attack tells them differently, or tells one of them twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from duet_p2p.owner.duet import OwnerDuet
from duet_p2p.protocol.description import Channel
from duet_p2p.session.bulk_header import CHUNK_BYTES, Kind, pack
from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Blob, Ref, Span, TensorData
from tests.security.raw_peer import RawPeer, against

X, T = Ref(-1), "torch.Tensor."
NUMBERS = 32_768
NBYTES = 4 * NUMBERS
DATA = torch.arange(float(NUMBERS)) + 0.5
Session = tuple[OwnerDuet, RawPeer]


@pytest.fixture
def session() -> Iterator[Session]:
    with against({"x": DATA}) as pair:
        yield pair


def tensor(dtype: str = "float32", nbytes: int = NBYTES, at: int = 0) -> TensorData:
    """One that lies in an upload."""
    return TensorData(dtype, (nbytes // getattr(torch, dtype).itemsize,), Span(at, nbytes))


def announce(raw: RawPeer, transfer: int, *values: Any, nbytes: int = NBYTES) -> list[Ref]:
    outs = [raw.new_id() for _ in values]
    raw.send(wire.Put(tuple(outs), values, Blob(transfer, nbytes)))
    return [Ref(out) for out in outs]


def chunk(raw: RawPeer, transfer: int, at: int, data: bytes, total: int = NBYTES) -> None:
    raw.raw(Channel.BULK, pack(Kind.CHUNK, transfer, at, total) + data)


def send(raw: RawPeer, transfer: int, data: bytes = bytes(NBYTES)) -> None:
    """All of it, as it should be."""
    for at in range(0, len(data), CHUNK_BYTES):
        chunk(raw, transfer, at, data[at : at + CHUNK_BYTES], len(data))


# memory: labels hang on storages, so no two storages may lie over the same bytes


TWICE: dict[str, tuple[Any, ...]] = {
    "the same bytes as two types": (tensor("float32"), tensor("int32")),
    "as three": (tensor("int64"), tensor("float32"), tensor("uint8")),
    "the same type, which is one storage": (tensor("float32"), tensor("float32")),
    "one of them in a list": (tensor("float32"), [tensor("int32")]),
    "both in a dict": ({"one": tensor("float32"), "other": tensor("int32")},),
    "one that can have a gradient": (tensor("int32"), TensorData("float32", (NUMBERS,),
                                     Span(0, NBYTES), True)),
    "behind an empty one": (tensor("int32", 0), tensor("float32"), tensor("int32")),
    "all and a part": (tensor("float32"), tensor("int32", NBYTES // 2)),
}  # fmt: skip


def parts(raw: RawPeer, ref: Ref, value: Any) -> list[Ref]:
    """The tensors in what was uploaded."""
    if isinstance(value, list):
        return [raw.op("python.List.__getitem__", ref, n) for n in range(len(value))]
    if isinstance(value, dict):
        return [raw.op("python.Dict.__getitem__", ref, key) for key in value]
    return [ref]


@pytest.mark.parametrize("way", TWICE)
def test_what_is_written_to_one_tensor_of_an_upload_is_in_no_other(
    session: Session, way: str
) -> None:
    """The data went into one of them, and left by the other, which nobody knew it was in."""
    _, raw = session
    values = TWICE[way]
    refs = announce(raw, 7, *values)
    send(raw, 7)
    tensors = [t for ref, value in zip(refs, values, strict=True) for t in parts(raw, ref, value)]
    floats = [t for t in tensors if raw.value(raw.get(raw.op(T + "is_floating_point", t)))]
    raw.do(T + "copy_", raw.op(T + "detach", floats[0]), X)
    answers = [raw.get(raw.op(T + "count_nonzero", one)) for one in tensors]
    kept = [answer for answer in answers if isinstance(answer, wire.NotYours)]
    assert kept and all(raw.value(answer) == 0 for answer in answers if answer not in kept)
