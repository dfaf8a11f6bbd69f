"""The same session, awaitable: for programs that run an event loop of their own.

    duet = await aio.join_duet("SGX2-…")
    value = await aio.get(pointer, reason="…")

Sessions live on a loop of their own in any case, so nothing here blocks the caller's loop: each
blocking call runs in a worker thread, and cancelling the wait closes what was being opened.
"""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from duet_p2p import api
from duet_p2p.owner.duet import OwnerDuet
from duet_p2p.scientist.duet import ScientistDuet

__all__ = ["close", "get", "join_duet", "launch_duet", "wait"]

Duet = TypeVar("Duet", OwnerDuet, ScientistDuet)

_LOOK_SECONDS = 0.5
"""How long a worker waits before it looks whether anybody still awaits it."""


async def launch_duet(**options: Any) -> OwnerDuet:
    """Starts a session and waits for the scientist; the keywords of `duet_p2p.launch_duet`.

    There is no prompt: name the partner with `client_id=`, or use `loopback=`.
    """
    timeout = options.pop("timeout", None)
    return await wait(await asyncio.to_thread(_launch, options), timeout)


async def join_duet(target_id: str = "", **options: Any) -> ScientistDuet:
    """Joins a session; the keywords of `duet_p2p.join_duet`."""
    timeout = options.pop("timeout", None)
    return await wait(await asyncio.to_thread(_join, target_id, options), timeout)


async def wait(duet: Duet, timeout: float | None = None) -> Duet:
    """Waits until a session is connected; cancelled or failed, the session is closed.

    Raises:
        PairingTimeout: nobody connected in time.
        DuetError: what ended the pairing.
    """
    try:
        await _in_thread(duet.wait, timeout)
    except BaseException:
        await asyncio.to_thread(duet.close)
        raise
    return duet


async def get(pointer: Any, **options: Any) -> Any:
    """`pointer.get(request_block=True, …)`, awaited; the same result and errors."""
    return await asyncio.to_thread(pointer.get, True, **options)


async def close(duet: OwnerDuet | ScientistDuet) -> None:
    """`duet.close()`, awaited."""
    await asyncio.to_thread(duet.close)


def _launch(options: dict[str, Any]) -> OwnerDuet:
    return api.launch_duet(wait=False, **options)


def _join(target_id: str, options: dict[str, Any]) -> ScientistDuet:
    return api.join_duet(target_id, wait=False, **options)


async def _in_thread(blocking: Any, timeout: float | None) -> None:
    """Runs a wait in slices, so that a cancelled caller leaves no thread waiting for ever."""
    from duet_p2p.errors import PairingTimeout

    loop = asyncio.get_running_loop()
    end = None if timeout is None else loop.time() + timeout
    while True:
        left = _LOOK_SECONDS if end is None else min(_LOOK_SECONDS, end - loop.time())
        try:
            await asyncio.to_thread(blocking, max(left, 0.001))
            return
        except PairingTimeout:
            if end is not None and loop.time() >= end:
                raise
