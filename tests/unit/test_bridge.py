"""The crossing between a user's thread and the loop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator

import pytest

from duet_p2p.errors import SessionClosed
from duet_p2p.session.bridge import Bridge


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    before = set(threading.enumerate())
    bridge = Bridge("test")
    yield bridge
    bridge.close()
    assert bridge.loop.is_closed()
    assert [thread for thread in threading.enumerate() if thread not in before] == []


async def answer(seconds: float = 0.0) -> int:
    await asyncio.sleep(seconds)
    return 42


class Cleanup:
    """A coroutine that waits for ever and notes how it ended."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.ended = threading.Event()

    async def wait(self) -> None:
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.02)
            self.ended.set()


def test_a_coroutine_runs_on_the_loop_and_its_result_comes_back(bridge: Bridge) -> None:
    assert bridge.call(answer()) == 42
    assert bridge.submit(answer()).result(5) == 42

    async def where() -> str:
        return threading.current_thread().name

    assert bridge.call(where()) == "test"


def test_an_error_comes_back_as_it_is(bridge: Bridge) -> None:
    async def fail() -> None:
        raise ZeroDivisionError("of mine")

    with pytest.raises(ZeroDivisionError, match="of mine"):
        bridge.call(fail())


def test_a_timeout_cancels_the_coroutine(bridge: Bridge) -> None:
    cleanup = Cleanup()
    with pytest.raises(TimeoutError):
        bridge.call(cleanup.wait(), timeout=0.05)
    assert cleanup.ended.is_set(), "call waits for the cleaning up"


def test_a_timeout_of_the_coroutine_itself_comes_back(bridge: Bridge) -> None:
    async def fail() -> None:
        raise TimeoutError("of mine")

    with pytest.raises(TimeoutError, match="of mine"):
        bridge.call(fail())


def test_ctrl_c_cancels_the_coroutine_and_goes_on(bridge: Bridge) -> None:
    cleanup = Cleanup()

    def interrupt() -> None:
        assert cleanup.started.wait(5)
        # a real one: it also wakes a thread that waits for a lock
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        bridge.call(cleanup.wait(), timeout=10)
    assert cleanup.ended.is_set()
    thread.join(5)
    assert bridge.call(answer()) == 42, "the bridge goes on"


def test_a_cancelled_future_cancels_its_coroutine(bridge: Bridge) -> None:
    cleanup = Cleanup()
    future = bridge.submit(cleanup.wait())
    assert cleanup.started.wait(5)
    assert future.cancel()
    assert cleanup.ended.wait(5)


def test_a_future_cancelled_at_once_leaves_nothing(bridge: Bridge) -> None:
    cleanup = Cleanup()
    for _ in range(50):
        bridge.submit(cleanup.wait()).cancel()

    async def others() -> int:
        return len(asyncio.all_tasks()) - 1

    deadline = time.monotonic() + 5
    while bridge.call(others()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert bridge.call(others()) == 0


def test_call_on_the_loops_thread_is_refused(bridge: Bridge) -> None:
    async def wrong() -> int:
        return bridge.call(answer())

    with pytest.raises(RuntimeError, match="its own thread"):
        bridge.call(wrong())


def test_close_cancels_what_runs_and_wakes_who_waits() -> None:
    bridge = Bridge("closing")
    cleanup = Cleanup()
    threading.Timer(0.05, bridge.close).start()
    with pytest.raises(SessionClosed):
        bridge.call(cleanup.wait(), timeout=10)
    assert cleanup.ended.wait(5)
    with pytest.raises(SessionClosed):
        bridge.call(answer())
    with pytest.raises(SessionClosed):
        bridge.submit(answer())
    bridge.close()
    assert bridge.is_closed


def test_close_does_not_wait_for_ever_for_what_will_not_end() -> None:
    bridge = Bridge("stubborn")

    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                if bridge.loop.time() > start + 20:
                    raise

    start = bridge.loop.time()
    future = bridge.submit(stubborn())
    time.sleep(0.05)
    logging.getLogger("asyncio").disabled = True  # "Task was destroyed", as it should be
    try:
        bridge.close()
        assert bridge.loop.is_closed()
        assert future.cancelled()
    finally:
        logging.getLogger("asyncio").disabled = False
    assert bridge.loop.time() - start < 5


def test_callbacks_run_in_order_in_a_thread_of_their_own(bridge: Bridge) -> None:
    seen: list[tuple[int, str]] = []
    done = threading.Event()
    for index in range(100):
        bridge.callback_thread.tell(
            lambda index: seen.append((index, threading.current_thread().name)), index
        )
    bridge.callback_thread.tell(done.set)
    assert done.wait(5)
    assert seen == [(index, "test callbacks") for index in range(100)]


def test_a_callback_that_fails_is_logged_and_the_next_one_runs(
    bridge: Bridge, caplog: pytest.LogCaptureFixture
) -> None:
    done = threading.Event()
    bridge.callback_thread.tell(lambda: 1 // 0)
    bridge.callback_thread.tell(done.set)
    assert done.wait(5)
    assert "ZeroDivisionError" in caplog.text


def test_a_slow_callback_does_not_stop_the_loop(bridge: Bridge) -> None:
    release = threading.Event()
    bridge.callback_thread.tell(release.wait, 10)
    assert bridge.call(answer(), timeout=5) == 42
    release.set()


def test_the_queue_is_finished_on_close() -> None:
    bridge = Bridge("finishing")
    seen: list[int] = []
    for index in range(20):
        bridge.callback_thread.tell(seen.append, index)
    bridge.close()
    assert seen == list(range(20))
    bridge.callback_thread.tell(seen.append, 99)
    assert 99 not in seen


def test_a_callback_may_close_the_bridge() -> None:
    bridge = Bridge("closed by a callback")
    done = threading.Event()

    def close() -> None:
        bridge.close()
        done.set()

    bridge.callback_thread.tell(close)
    assert done.wait(5)
    assert bridge.loop.is_closed()


def test_a_coroutine_may_close_the_bridge() -> None:
    bridge = Bridge("closed by a coroutine")

    async def close() -> None:
        bridge.close()

    bridge.submit(close())
    bridge._thread.join(5)
    assert bridge.loop.is_closed()


def test_the_interpreter_exits_with_an_open_bridge() -> None:
    program = """
        import asyncio, time
        from duet_p2p.session.bridge import Bridge
        bridge = Bridge("left open")
        bridge.submit(asyncio.sleep(1000))
        bridge.callback_thread.tell(time.sleep, 0.2)
        bridge.callback_thread.tell(print, "hello")
        raise SystemExit(3)
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "hello\n", "")
