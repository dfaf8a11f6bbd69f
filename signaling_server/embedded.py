"""The same server inside another process, in a thread with a loop of its own.

An owner who names no server gets this one. It must not share the owner's loop: a notebook's cell
may keep that busy for minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import threading
from collections.abc import Callable
from typing import Final

from signaling_server.app import SignalingConfig
from signaling_server.limits import Limits
from signaling_server.server import WILDCARDS, Server

__all__ = ["EmbeddedServer"]

_CLOSE_SECONDS: Final = 10.0
_TAKEN: Final = {errno.EADDRINUSE, errno.EACCES}
_LIMITS: Final = Limits(
    max_sockets=256,
    max_unregistered=64,
    max_sessions=128,
    queue_total=4 * 1024 * 1024,
    limiter_entries=4_096,
)
"""Descriptors and memory are those of an owner's process, of which most systems give it 1,024."""


class EmbeddedServer:
    """A signalling server of this process.

    Args:
        host: the address to listen at. Another one than loopback opens it to the network, in plain
            HTTP; ``0.0.0.0`` and ``::`` are announced by this machine's first address.
        port: wanted port; another one is taken where it is in use.
        limits: see `Limits`; without them those of a server for a few people.
        is_own: see `SignalingConfig`.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 8765,
        *,
        limits: Limits | None = None,
        is_own: Callable[[socket.socket], bool] | None = None,
    ) -> None:
        self._is_own = is_own
        self._host = host
        self._port = port
        self._limits = limits or _LIMITS
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._started = threading.Event()
        self._error: BaseException | None = None
        self.url = ""
        """Normalised URL for partners, once it is started."""

    def start(self, timeout: float = 10.0) -> str:
        """Starts it; returns its URL.

        Raises:
            OSError: it cannot listen at that host.
            TimeoutError: it did not start in time.
        """
        if self._thread is not None:
            return self.url
        self._started.clear()
        self._error = None
        self._thread = threading.Thread(target=self._main, name="duet-signaling", daemon=True)
        self._thread.start()
        if not self._started.wait(timeout):
            self.close()
            raise TimeoutError(f"the signalling server did not start within {timeout:g} s")
        self._raise_error()
        return self.url

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            self.close()
            raise error

    def close(self, timeout: float = _CLOSE_SECONDS) -> None:
        """Closes all sockets and ends the thread; may be called twice.

        Raises:
            TimeoutError: the thread did not end.
        """
        thread, self._thread = self._thread, None
        if thread is None:
            return
        if self._loop is not None and self._stop is not None:
            # The loop is closed already where the server failed to start.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stop.set)
        thread.join(timeout)
        if thread.is_alive():
            raise TimeoutError("the signalling server did not end")

    def _main(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as error:  # for the thread that waits in start()
            self._error = error
        finally:
            self._started.set()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        try:
            server = await self._listen(self._port)
        except OSError as error:
            if error.errno not in _TAKEN or not self._port:
                raise
            server = await self._listen(0)
        self.url = server.url
        self._started.set()
        try:
            await self._stop.wait()
        finally:
            await server.close(grace=0)

    async def _listen(self, port: int) -> Server:
        announced = _first_address(self._host) if self._host in WILDCARDS else ""
        server = Server(
            SignalingConfig((), is_own=self._is_own),
            self._limits,
            host=self._host,
            port=port,
            announced=announced,
        )
        await server.start()
        return server


def _first_address(wildcard: str) -> str:
    """This machine's address on the way out; loopback where there is none. Sends nothing."""
    family, target = (
        (socket.AF_INET6, "2001:db8::1") if wildcard == "::" else (socket.AF_INET, "192.0.2.1")
    )
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((target, 9))
            address: str = probe.getsockname()[0]
        except OSError:
            return "::1" if wildcard == "::" else "127.0.0.1"
    return address
