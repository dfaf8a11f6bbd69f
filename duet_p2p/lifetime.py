"""The end of a session that nobody closes: it is collected, or open when Python ends."""

from __future__ import annotations

import atexit
import contextlib
import threading
import weakref
from typing import Any

from duet_p2p import limits
from duet_p2p.errors import SessionClosed
from duet_p2p.lobby import Lobby
from duet_p2p.owner.service import Service

__all__ = ["close_when_collected"]


def close_when_collected(session: Any, lobby: Lobby, service: Service | None) -> None:
    """A session that nobody holds any more, or that is open when Python ends, is closed.

    The collector runs wherever it likes, also on the session's own loop or under somebody's lock,
    so that case gets a thread. At the end of Python no thread can be started any more. There, the
    order counts: exit handlers run last in, first out, so this one before the bridge's own.
    """

    def collect() -> None:
        atexit.unregister(shut)
        threading.Thread(target=shut, name="duet closing", daemon=True).start()

    def shut() -> None:
        if service is not None and not lobby.bridge.is_closed:
            with contextlib.suppress(SessionClosed, TimeoutError):
                lobby.bridge.call(_end(lobby, service), limits.OWNER_CLOSE_SECONDS)
        lobby.close()

    finalizer = weakref.finalize(session, collect)
    finalizer.atexit = False
    atexit.register(shut)

    def forget() -> None:
        finalizer.detach()
        atexit.unregister(shut)

    lobby.on_closed = forget


async def _end(lobby: Lobby, service: Service) -> None:
    await service.farewell()
    await lobby.session.close()
    await service.close()
