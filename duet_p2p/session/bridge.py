"""The only crossing between the user's threads and the event loop.

A `Bridge` is one asyncio loop in one daemon thread, and one more thread for what must never stop
the network: callbacks of the user and printing. Threads are daemons, so that a notebook with an
open session can exit; an exit handler closes what is left, as long as there is still a loop to do
it on.

A Ctrl-C in the user's thread reaches the coroutine that it waits for: it is cancelled there, given
a moment to clean up, and the KeyboardInterrupt goes on.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from duet_p2p import limits
from duet_p2p.errors import SessionClosed

__all__ = ["Bridge", "CallbackThread"]

_LOG = logging.getLogger("duet_p2p")

T = TypeVar("T")


class Bridge:
    """One event loop in one thread of its own, and the callback thread beside it.

    Args:
        name: Of the threads, for debuggers.
    """

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.callback_thread = CallbackThread(f"{name} callbacks")
        self._waiting: dict[concurrent.futures.Future[Any], threading.Event] = {}
        self._lock = threading.Lock()
        self._is_closed = False
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), name=name, daemon=True)
        self._thread.start()
        ready.wait(limits.BRIDGE_SECONDS)
        atexit.register(self.close)

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._is_closed

    def is_own_thread(self) -> bool:
        """Whether the caller runs on the loop's thread, which must not wait for itself."""
        return threading.current_thread() is self._thread

    def submit(self, coro: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Starts a coroutine on the loop; from any thread.

        Cancelling the future cancels the coroutine.

        Raises:
            SessionClosed: The bridge is closed.
        """
        future: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._start(coro, future, threading.Event())
        return future

    def call(self, coro: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Runs a coroutine on the loop and waits for its result in the calling thread.

        Raises:
            TimeoutError: `timeout` seconds passed; the coroutine was cancelled.
            KeyboardInterrupt: Of the calling thread; the coroutine was cancelled.
            SessionClosed: The bridge is closed.
            RuntimeError: Called on the loop's own thread, which would wait for itself.
        """
        if threading.current_thread() is self._thread:
            coro.close()
            raise RuntimeError("Bridge.call would wait for its own thread. Use await there.")
        future: concurrent.futures.Future[T] = concurrent.futures.Future()
        ended = threading.Event()
        try:
            # inside of the try: Ctrl-C may come as soon as the loop knows of the coroutine
            self._start(coro, future, ended)
            return future.result(timeout)
        except concurrent.futures.CancelledError:
            raise SessionClosed() from None
        except (KeyboardInterrupt, TimeoutError):
            # also when the coroutine itself ended so: then there is nothing to cancel
            future.cancel()
            ended.wait(limits.CANCEL_SECONDS)
            raise

    def _start(
        self,
        coro: Coroutine[Any, Any, T],
        future: concurrent.futures.Future[T],
        ended: threading.Event,
    ) -> None:
        def start() -> None:
            if self._is_closed:
                coro.close()
                future.cancel()
                future.set_running_or_notify_cancel()
                ended.set()
                return
            task = self.loop.create_task(coro)
            self._waiting[future] = ended
            task.add_done_callback(finish)
            future.add_done_callback(lambda _: self._cancel_if_cancelled(future, task))

        def finish(task: asyncio.Task[T]) -> None:
            self._waiting.pop(future, None)
            error = None if task.cancelled() else task.exception()
            if task.cancelled():
                future.cancel()
            if future.set_running_or_notify_cancel():
                if error is not None:
                    future.set_exception(error)
                else:
                    future.set_result(task.result())
            ended.set()

        with self._lock:
            if self._is_closed:
                coro.close()
                raise SessionClosed()
            self.loop.call_soon_threadsafe(start)

    def _cancel_if_cancelled(
        self, future: concurrent.futures.Future[Any], task: asyncio.Task[Any]
    ) -> None:
        if future.cancelled() and not task.done():
            with contextlib.suppress(RuntimeError):  # the loop is closed: nothing runs any more
                self.loop.call_soon_threadsafe(task.cancel)

    def close(self) -> None:
        """Cancels what runs, ends both threads; may be called twice, and from any thread.

        What the callback thread has in its queue is still done. On the bridge's own threads this
        does not wait for the end.
        """
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        atexit.unregister(self.close)
        self.loop.call_soon_threadsafe(self._stop)
        if threading.current_thread() is not self._thread:
            self._thread.join(limits.BRIDGE_SECONDS)
        self.callback_thread.close(wait=threading.current_thread() is not self._thread)

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.call_soon(ready.set)
        try:
            self.loop.run_forever()
        finally:
            asyncio.set_event_loop(None)
            self.loop.close()
            # of coroutines that would not end
            while self._waiting:
                future, ended = self._waiting.popitem()
                future.cancel()
                future.set_running_or_notify_cancel()
                ended.set()

    def _stop(self) -> None:
        # this task stops the loop that it runs on; it is held here until then
        self._stopping = self.loop.create_task(self._wind_down())

    async def _wind_down(self) -> None:
        mine = asyncio.current_task()
        others = [task for task in asyncio.all_tasks() if task is not mine]
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others, timeout=limits.CANCEL_SECONDS)
        await self.loop.shutdown_asyncgens()
        self.loop.call_soon(self.loop.stop)


class CallbackThread:
    """Runs functions one after the other, in order, away from the loop.

    An exception in one of them is logged with its traceback, and the next one runs.

    Args:
        name: Of the thread, which starts with the first function.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._queue: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def tell(self, fn: Callable[..., object], *args: Any) -> None:
        """Queues a call; from any thread. After `close` it is dropped."""
        with self._lock:
            if self._is_closed:
                return
            self._queue.put(lambda: fn(*args))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def close(self, *, wait: bool = True) -> None:
        """Ends the thread after what is queued; called on the thread itself, it does not wait."""
        with self._lock:
            self._is_closed = True
            thread = self._thread
            self._queue.put(None)
        if wait and thread is not None and thread is not threading.current_thread():
            thread.join(limits.BRIDGE_SECONDS)

    def _run(self) -> None:
        while True:
            call = self._queue.get()
            if call is None:
                return
            try:
                call()
            except Exception:
                _LOG.exception("A callback failed")
