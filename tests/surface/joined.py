"""Both sides of a session in one process: everything real but the network.

The scientist's client, session, codec and frames, a joined pair of peers in memory, the owner's
session, service, policy and desk, and the engine in a thread.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from duet_p2p.engine.engine import Engine
from duet_p2p.engine.host import ThreadHost
from duet_p2p.errors import DuetError
from duet_p2p.owner.duet import OwnerDuet, start_service
from duet_p2p.scientist.duet import ScientistDuet
from duet_p2p.session.bridge import Bridge
from duet_p2p.session.link import Link
from duet_p2p.session.session import Session
from duet_p2p.transport.memory import MemoryPeer, memory_pair
from duet_p2p.wire.messages import Op

__all__ = ["Joined", "joined", "until"]

OWNER_ID, SCIENTIST_ID = "owner", "scientist"
_SECONDS = 60.0


class Joined:
    """A session of two.

    Attributes:
        owner: the owner's facade.
        scientist: the scientist's facade.
        names: every name that crossed the wire as an operation.
        engine: the engine itself, to look into its store.
    """

    def __init__(self, bridge: Bridge, owner: OwnerDuet, scientist: ScientistDuet) -> None:
        self.bridge = bridge
        self.owner = owner
        self.scientist = scientist
        self.names: set[str] = set()

    @property
    def engine(self) -> Engine:
        running = self.owner._service._host._running  # type: ignore[attr-defined]
        engine: Engine = running.engine
        return engine

    def own_objects(self) -> int:
        """How many objects of the scientist's the owner's store holds once what is dead went."""
        client = self.scientist._client
        gc.collect()  # a traceback may hold a pointer in a circle
        client.bury()
        mark = client.new_id()
        client.settle(client.emit(Op("torch.zeros", (mark,), (1,), {}, "g")))
        client.forget(mark)
        return sum(1 for id in list(self.engine.store.ids()) if id > 0) - 1

    def answers(self) -> bool:
        """Whether the scientist has heard that they may go on."""
        try:
            return bool(self.scientist.torch.ones(1).get() == 1)
        except DuetError:
            return False


def until(is_so: Callable[[], Any]) -> Any:
    """Waits for something on either side, which it gives."""
    end = time.monotonic() + _SECONDS
    while not (found := is_so()):
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)
    return found


def _linked(peer: MemoryPeer, partner: str) -> Link:
    link = Link(
        peer,
        partner_id=partner,
        partner_pub=b"",
        th=b"",
        caps={},
        audit_head=b"",
        attempt=1,
        on_second_proof=lambda frame: None,
    )
    peer.on_frame = link.deliver
    peer.on_closed = link.end
    return link


class _Pairing:
    pinned = None

    def expect(self, client_id: str) -> bool:
        return True

    async def wait(self, timeout: float | None = None) -> None:
        return None


@contextmanager
def joined(**settings: Any) -> Iterator[Joined]:
    """An owner and a scientist, connected; both end with the block.

    Args:
        settings: of the owner's service: ``limits``, ``data_dirs``, ``min_records``; and ``host``
            of its engine, a thread unless it is given.
    """
    bridge = Bridge("surface")
    state = torch.get_rng_state()
    try:
        made = bridge.call(_build(bridge, settings), 60)
        try:
            made.scientist.wait(30)
            yield made
        finally:
            made.scientist.close()
            made.owner.close()
    finally:
        torch.set_rng_state(state)
        bridge.close()


async def _build(bridge: Bridge, settings: dict[str, Any]) -> Joined:
    ends = {role: Session(role, bridge.loop) for role in ("owner", "scientist")}
    service = await start_service(
        ends["owner"],
        settings.pop("host", None) or ThreadHost(),
        callback_thread=bridge.callback_thread,
        session_id=OWNER_ID,
        logging=False,
        **settings,
    )
    owner = OwnerDuet(bridge, ends["owner"], _Pairing(), service, session_id=OWNER_ID)
    scientist = ScientistDuet(bridge, ends["scientist"], id=SCIENTIST_ID, peer=OWNER_ID)
    made = Joined(bridge, owner, scientist)
    deliver = ends["owner"].on_message

    def noted(number: int, message: Any) -> None:
        if isinstance(message, Op):
            made.names.add(message.name)
        deliver(number, message)

    ends["owner"].on_message = noted
    peers = await memory_pair()
    ends["owner"].attach(_linked(peers[0], SCIENTIST_ID))
    ends["scientist"].attach(_linked(peers[1], OWNER_ID))
    while not (ends["owner"].is_open and ends["scientist"].is_open):
        await asyncio.sleep(0.002)
    return made
