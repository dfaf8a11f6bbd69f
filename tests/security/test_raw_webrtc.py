"""The raw peer over real WebRTC: the same attacks, with the real transport between them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import torch

from duet_p2p.owner.duet import OwnerDuet
from duet_p2p.protocol.description import Channel
from duet_p2p.transport.webrtc import WebRtcPeer
from duet_p2p.wire import messages as wire
from duet_p2p.wire.frames import encode_frame
from duet_p2p.wire.values import Ref
from tests.security.laundering_kit import ATTACKS, REFUSED, VALUES, is_told
from tests.security.raw_peer import RawPeer, against, taken_back, waiting

SAMPLE = ("which element of a list", "an item given as a keyword", "filled in", "a seed",
          "a gradient", "where a tensor ends", "the secret in one's own list",
          "one's own tensor gets it as its data", "an operation writes it out",
          "a write through a view of one's own")  # fmt: skip


async def webrtc_pair() -> tuple[WebRtcPeer, WebRtcPeer]:
    """Two connected peers, the owner's first."""
    owner = WebRtcPeer(controlling=True, loopback=True)
    scientist = WebRtcPeer(controlling=False, loopback=True)
    offer, answer = await owner.gather(), await scientist.gather()
    await asyncio.gather(owner.connect(answer), scientist.connect(offer))
    return owner, scientist


@pytest.fixture
def session() -> Iterator[tuple[OwnerDuet, RawPeer]]:
    with against(pair=webrtc_pair) as (duet, raw):
        duet.send(VALUES, tags=["secret"])
        yield duet, raw
        raw.bridge.call(raw.peer.close(), 30)


def test_attacks_over_webrtc_give_nothing_away(session: tuple[OwnerDuet, RawPeer]) -> None:
    duet, raw = session
    duet.requests.add_handler(name="loss", action="accept")
    for name in SAMPLE:
        target = ATTACKS[name](raw)
        answer = raw.get(target)
        if isinstance(answer, wire.Value):
            assert name in REFUSED and not is_told(raw.value(answer)), name
        else:
            taken_back(raw, waiting(duet, raw, target, "loss"))
    secret = bytes(VALUES[10:].numpy().data)
    assert not [data for _, data in raw.received if secret in data]


def test_hostile_frames_end_the_session_and_nothing_else(
    session: tuple[OwnerDuet, RawPeer],
) -> None:
    duet, raw = session
    raw.get(Ref(-1))
    raw.raw(Channel.OPS, encode_frame(999, [b"\xc0"]))
    raw.wait(lambda: duet.status()["state"] == "closed")
    assert torch.equal(duet.store[0].get(), VALUES)
