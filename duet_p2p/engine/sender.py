"""Commands on their way to an engine's process, in order; nothing here blocks the loop.

An error of writing says two different things. The child is gone: whoever reads from it notices and
says so. Or the kernel is short of something for a moment, descriptors or memory: then the same
frame is tried again, since an engine that is ended for that takes all of the scientist's objects
with it. What stays so ends the engine in words; nothing ends without any.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from duet_p2p.engine import pipe
from duet_p2p.engine.messages import Command, Discard
from duet_p2p.limits import PIPE_SHORT_LOOK_SECONDS, PIPE_SHORT_SECONDS

__all__ = ["Sender"]

_HELD_SECONDS: Final = 0.05  # until a `Discard` goes by itself
_COPY_BYTES: Final = 256 * 1024  # larger buffers go to memory files in a worker thread
_BATCH: Final = 64  # commands in one frame on the pipe


class Sender:
    """The writing half of the pipe to one engine.

    Args:
        loop: everything happens on it.
        sock: non-blocking; it belongs to somebody else.
        on_failure: called once if commands cannot be written, with the reason.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        on_failure: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._on_failure = on_failure
        self._outbox: deque[Command] = deque()
        self._held: list[Command] = []  # until the next command, or for a moment
        self._held_until: asyncio.TimerHandle | None = None
        self._wakeup = asyncio.Event()
        self._unsent: pipe.Outgoing | None = None  # what the pipe had no room for
        self._is_sending = False
        self._short_since: float | None = None
        self._task = loop.create_task(self._send_all())

    def send(self, command: Command) -> None:
        """Queues a command. A `Discard` may leave a moment later: it wakes nobody by itself."""
        if type(command) is Discard:
            # Nobody waits for it, and to wake the engine just when a value leaves delays the value.
            self._held.append(command)
            if self._held_until is None:
                self._held_until = self._loop.call_later(_HELD_SECONDS, self._send_held)
            return
        commands, self._held = [*self._held, command], []
        self._send_now(commands)

    def close(self) -> None:
        """Sends nothing any more."""
        if self._held_until is not None:
            self._held_until.cancel()
        self._task.cancel()
        if self._unsent is not None:
            self._unsent.close()

    def _send_held(self) -> None:
        self._held_until = None
        commands, self._held = self._held, []
        if commands:
            self._send_now(commands)

    def _send_now(self, commands: list[Command]) -> None:
        is_free = not self._is_sending and not self._outbox and self._unsent is None
        if is_free and len(commands) <= _BATCH and _data_bytes(commands[-1]) <= _COPY_BYTES:
            self._send_at_once(commands)
        else:
            self._outbox += commands
            self._wakeup.set()

    def _send_at_once(self, commands: list[Command]) -> None:
        """Nothing waits, so this need not wait for a turn of the loop; most commands go so."""
        try:
            outgoing = pipe.encode(commands)
        except OSError:
            self._outbox += commands  # from there it is tried again
            self._wakeup.set()
            return
        except Exception as error:  # whatever it is, commands behind it must not wait for ever
            self._fail(error)
            return
        try:
            while outgoing.chunks:
                chunk = outgoing.chunks[0]
                if outgoing.fds:
                    sent = socket.send_fds(self._sock, [chunk], outgoing.fds)
                    outgoing.close()  # they went with the first byte
                else:
                    sent = self._sock.send(chunk)
                outgoing.chunks[:1] = [chunk[sent:]] if sent < len(chunk) else []
        except ConnectionError:
            outgoing.close()  # the child is gone; the reader notices and says so
        except OSError:  # no room, or something else is short: nothing of this chunk was sent
            self._unsent = outgoing
            self._wakeup.set()

    async def _send_all(self) -> None:
        try:
            while True:
                await self._wakeup.wait()
                self._wakeup.clear()
                self._is_sending = True
                if self._unsent is not None:
                    unsent, self._unsent = self._unsent, None
                    await self._send_rest(unsent)
                while self._outbox:
                    await self._send_some()
                self._is_sending = False
        except ConnectionError:
            pass  # the child is gone; the reader notices and says so
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._on_failure(f"a command could not be written: {error}")

    async def _send_some(self) -> None:
        batch = [self._outbox.popleft()]
        is_large = _data_bytes(batch[0]) > _COPY_BYTES
        while (
            not is_large
            and self._outbox
            and len(batch) < _BATCH
            and _data_bytes(self._outbox[0]) <= _COPY_BYTES
        ):
            batch.append(self._outbox.popleft())
        await self._send_rest(await self._encoded(batch, is_large=is_large))

    async def _encoded(self, batch: list[Command], *, is_large: bool) -> pipe.Outgoing:
        while True:
            try:
                if is_large:
                    outgoing = await self._loop.run_in_executor(None, pipe.encode, batch)
                else:
                    outgoing = pipe.encode(batch)
            except OSError as error:
                await self._pause(error)
            else:
                self._short_since = None
                return outgoing

    async def _send_rest(self, outgoing: pipe.Outgoing) -> None:
        try:
            for number, chunk in enumerate(outgoing.chunks):
                await self._write(chunk, outgoing.fds if number == 0 else [])
        finally:
            outgoing.close()

    async def _write(self, chunk: memoryview, fds: Sequence[int]) -> None:
        while chunk:
            try:
                sent = socket.send_fds(self._sock, [chunk], fds) if fds else self._sock.send(chunk)
            except BlockingIOError:
                await self._writable()
                continue
            except ConnectionError:
                raise
            except OSError as error:
                await self._pause(error)
                continue
            fds, self._short_since = (), None
            chunk = chunk[sent:]

    async def _pause(self, error: OSError) -> None:
        """Something is short, perhaps for a moment only; the error itself if that lasts."""
        now = self._loop.time()
        self._short_since = self._short_since or now
        if now - self._short_since > PIPE_SHORT_SECONDS:
            raise error
        await asyncio.sleep(PIPE_SHORT_LOOK_SECONDS)

    async def _writable(self) -> None:
        ready: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_writer(self._sock, _resolve, ready)
        try:
            await ready
        finally:
            self._loop.remove_writer(self._sock)


def _data_bytes(command: Command) -> int:
    data = getattr(command, "data", None)
    if data is None:
        return 0
    return data.nbytes if isinstance(data, memoryview) else len(data)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
