"""Two ways to carry an engine: in a process of its own, or in a thread of the owner's process.

Both live on an asyncio loop and have one interface, `Host`. Neither ever blocks the loop: writing
is queued (sender.py).

The process is started with `subprocess`, not `multiprocessing`: its spawn runs a script without a
``__main__`` guard a second time, and its pipes unpickle what the child sends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import signal
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from duet_p2p.engine import pipe
from duet_p2p.engine.messages import Command, Configure, Died, Event, Started, Stop
from duet_p2p.engine.process import during, ended_by, start
from duet_p2p.engine.sender import Sender
from duet_p2p.engine.terminal import Terminal
from duet_p2p.engine.watch import Page
from duet_p2p.errors import DuetError, ProtocolError
from duet_p2p.limits import ENGINE_START_SECONDS, ENGINE_STOP_SECONDS

if TYPE_CHECKING:
    from duet_p2p.engine.engine import Engine

__all__ = ["Host", "ProcessHost", "ThreadHost"]

_log = logging.getLogger("duet_p2p.engine")

_REAP_SECONDS: Final = 0.005


class Host(Protocol):
    """What the owner's service needs of an engine, wherever it runs."""

    on_event: Callable[[Event], None]
    """Called on the loop, in order, for every event but `Started`."""

    async def start(self, configure: Configure) -> Started:
        """Start an engine; a second time after `Died` or `stop` gives a new one."""
        ...

    def send(self, command: Command) -> None:
        """Queue a command; order is kept, nothing blocks. Dropped if no engine runs.

        A `Discard` may leave a moment later: it wakes nobody by itself.
        """
        ...

    async def stop(self) -> None:
        """End the engine within `ENGINE_STOP_SECONDS`; no `Died` comes of it."""
        ...


def _ignore(event: Event) -> None:
    return None


def _start_failure(error: BaseException) -> BaseException:
    if isinstance(error, TimeoutError):
        return DuetError(f"The engine did not start within {ENGINE_START_SECONDS:.0f} s.")
    return error


class ProcessHost:
    """The engine in a child process."""

    def __init__(self) -> None:
        self.on_event: Callable[[Event], None] = _ignore
        self._running: _Process | None = None

    async def start(self, configure: Configure) -> Started:
        """Start the process and wait until it is configured.

        Raises:
            DuetError: it ended, or did not answer within `ENGINE_START_SECONDS`.
        """
        if self._running is not None:
            raise DuetError("The engine runs already.")
        running = self._running = _Process(asyncio.get_running_loop(), self._event, self._ended)
        try:
            running.send(configure)
            async with asyncio.timeout(ENGINE_START_SECONDS):
                return await running.started
        except BaseException as error:
            await self.stop()
            raise _start_failure(error) from None

    @property
    def pid(self) -> int | None:
        """The process id of the engine that runs."""
        return None if self._running is None else self._running.pid

    def send(self, command: Command) -> None:
        """See `Host.send`."""
        if self._running is not None:
            self._running.send(command)

    async def stop(self) -> None:
        """See `Host.stop`."""
        running, self._running = self._running, None
        if running is not None:
            await running.stop()

    def _event(self, event: Event) -> None:
        self.on_event(event)

    def _ended(self, running: _Process, reason: str) -> None:
        if self._running is running:
            self._running = None
            self.on_event(Died(reason, running.was_private))


class _Process:
    """One child process, from start to end."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_event: Callable[[Event], None],
        on_end: Callable[[_Process, str], None],
    ) -> None:
        self._loop = loop
        self._on_event = on_event
        self._on_end = on_end
        self.started: asyncio.Future[Started] = loop.create_future()
        self._reader = pipe.FrameReader()
        self._terminal = Terminal()
        self._is_stopping = False
        self.was_private = False
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._sock = ours
        try:
            self._page = Page()
            try:
                self._child = start(theirs, self._page.fd)
            except BaseException:
                self._page.close()
                raise
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        assert self._child.stdout is not None
        self._output = self._child.stdout.fileno()
        os.set_blocking(self._output, False)
        loop.add_reader(ours, self._readable)
        loop.add_reader(self._output, self._log_output)
        self._sender = Sender(loop, ours, self._end_soon)
        self._ending: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        return self._child.pid

    def send(self, command: Command) -> None:
        self._sender.send(command)

    # reading

    def _readable(self) -> None:
        try:
            events = pipe.receive(self._sock, self._reader)
            if events is None:
                self._end_soon("")
                return
            for event in events:
                self._deliver(event)
        except BlockingIOError:
            return
        except (ProtocolError, OSError) as error:
            self._end_soon(f"the engine's answers cannot be read: {error}")

    def _deliver(self, event: Any) -> None:
        if isinstance(event, Started):
            if not self.started.done():
                self.started.set_result(event)
        elif not self._is_stopping:
            _tell(self._loop, self._on_event, event)

    def _log_output(self) -> None:
        try:
            data = os.read(self._output, 65_536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._output)
            return
        self._terminal.say(data)

    # the end

    def _end_soon(self, reason: str) -> None:
        self._loop.remove_reader(self._sock)
        if self._ending is None and not self._is_stopping:
            self._ending = self._loop.create_task(self._end(reason))

    async def _end(self, reason: str) -> None:
        code = await self._reap(0.5 if not reason else 0.0)
        running = self._page.read()
        self.was_private = running is not None and not running.is_public
        self.was_private |= self._page.has_hidden
        # all of a session's processor time: the owner says whether there is more
        self.was_private |= code == -signal.SIGXCPU
        is_run_over = self._page.is_run_over and code == -signal.SIGALRM
        self.was_private |= is_run_over and self._page.was_private_before
        reason = (reason or ended_by(code, is_run_over=is_run_over)) + during(running)
        self._clean_up()
        if self.started.done():
            self._on_end(self, reason)
        else:
            self.started.set_exception(DuetError(f"The engine could not be started: {reason}"))

    async def stop(self) -> None:
        self._is_stopping = True
        if self._ending is None:
            self.send(Stop())
            # one that still loads torch has nothing to finish
            await self._reap(ENGINE_STOP_SECONDS if self.started.done() else 0.0)
            self._clean_up()
        else:
            await asyncio.wait([self._ending])
        if not self.started.done():
            self.started.cancel()

    async def _reap(self, seconds: float) -> int:
        """Wait for the child's end, then kill it.

        It looks again and again: at the end of Python no thread could be started to wait in.
        """
        deadline = self._loop.time() + seconds
        while (code := self._child.poll()) is None:
            if self._loop.time() >= deadline:
                self._child.kill()
            await asyncio.sleep(_REAP_SECONDS)
        return code

    def _clean_up(self) -> None:
        self._sender.close()
        self._loop.remove_reader(self._sock)
        self._sock.close()
        self._reader.close()
        self._log_output()
        self._terminal.end()
        self._loop.remove_reader(self._output)
        assert self._child.stdout is not None
        self._child.stdout.close()
        self._page.close()


def _tell(loop: asyncio.AbstractEventLoop, on_event: Callable[[Event], None], event: Event) -> None:
    """One listener's mistake must not lose the events behind it."""
    try:
        on_event(event)
    except Exception as error:
        loop.call_exception_handler(
            {"message": "An event of the engine was not handled", "exception": error}
        )


class ThreadHost:
    """The engine in a thread of this process: for tests, debugging and platforms without fork.

    It cannot be killed: an operation that is running when `stop` is called runs on until it is
    done, in a daemon thread, and its results go nowhere.
    """

    def __init__(self) -> None:
        self.on_event: Callable[[Event], None] = _ignore
        self._running: _Thread | None = None

    async def start(self, configure: Configure) -> Started:
        """See `Host.start`.

        Raises:
            DuetError: the engine could not be configured.
        """
        if self._running is not None:
            raise DuetError("The engine runs already.")
        running = self._running = _Thread(asyncio.get_running_loop(), self)
        running.send(configure)
        try:
            async with asyncio.timeout(ENGINE_START_SECONDS):
                return await running.started
        except BaseException as error:
            await self.stop()
            raise _start_failure(error) from None

    def send(self, command: Command) -> None:
        """See `Host.send`."""
        if self._running is not None:
            self._running.send(command)

    async def stop(self) -> None:
        """See `Host.stop`."""
        running, self._running = self._running, None
        if running is not None:
            await running.stop()

    def ended(self, running: _Thread, reason: str) -> None:
        """The thread met a mistake of ours; called on the loop."""
        if self._running is running:
            self._running = None
            self.on_event(Died(reason))


class _Thread:
    def __init__(self, loop: asyncio.AbstractEventLoop, host: ThreadHost) -> None:
        self._loop = loop
        self._host = host
        self.started: asyncio.Future[Started] = loop.create_future()
        self._ended = asyncio.Event()
        self._queue: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._is_stopping = False
        self.engine: Engine | None = None
        threading.Thread(target=self._run, name="duet-engine", daemon=True).start()

    def send(self, command: Command) -> None:
        self._queue.put(command)

    async def stop(self) -> None:
        self._is_stopping = True
        self.send(Stop())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ENGINE_STOP_SECONDS):
                await self._ended.wait()
        if not self.started.done():
            self.started.cancel()

    def _run(self) -> None:
        from duet_p2p.engine.engine import Engine

        reason = ""
        try:
            engine = self.engine = Engine()
            while not self._is_stopping:
                command = self._queue.get()
                if isinstance(command, Stop):
                    break
                self._post(self._deliver, engine.handle(command))
                self._post(self._deliver, engine.finish())
                engine.tidy()
        except Exception as error:
            _log.exception("the engine failed")
            reason = f"{type(error).__name__}: {error}"
        self._post(self._end, reason)

    def _post(self, call: Callable[..., None], *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens
            self._loop.call_soon_threadsafe(call, *args)

    def _deliver(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Started):
                if not self.started.done():
                    self.started.set_result(event)
            elif not self._is_stopping:
                _tell(self._loop, self._host.on_event, event)

    def _end(self, reason: str) -> None:
        self._ended.set()
        if reason and not self.started.done():
            self.started.set_exception(DuetError(f"The engine could not be started: {reason}"))
        elif reason and not self._is_stopping:
            self._host.ended(self, reason)
