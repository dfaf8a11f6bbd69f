"""What the owner's screen says by itself: values of print_local, the OPEN warning, the live line.

All of it runs on the callback thread, never on the loop: printing may block, and a notebook's
print is user code.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from duet_p2p import limits
from duet_p2p.objects.panels import in_notebook
from duet_p2p.objects.words import clean_text

__all__ = [
    "OPEN_WARNING",
    "SUSPENDED",
    "CallbackThread",
    "LiveLine",
    "Printer",
    "Status",
    "live_text",
]

OPEN_WARNING = (
    "OPEN: this handler accepts everything. Any value, your raw data included, is given to your "
    "partner without asking you, until you remove it: duet.requests.clear_handlers()"
)

SUSPENDED = (
    "SUSPENDED: the engine ended while it worked on your data. That it ended may itself tell "
    "something about the data, so your partner cannot go on until you looked at duet.errors and "
    "called duet.resume()."
)

_log = logging.getLogger("duet_p2p.owner")


class CallbackThread(Protocol):
    """The bridge's thread for user callbacks and printing."""

    def tell(self, fn: Callable[..., object], *args: Any) -> None:
        """Runs `fn(*args)` there, after everything told before."""
        ...


@dataclass(frozen=True, slots=True)
class Status:
    """The counts of the live line."""

    objects: int
    requests: int
    handlers: int
    operations: int
    is_open_to_all: bool


class Printer:
    """Sends texts to the owner's screen and log, in order, from the callback thread.

    A screen may take nothing for hours (a pager, a terminal that was stopped), while a scientist
    goes on asking; so only so many values wait for it, and the others are counted.
    """

    def __init__(self, thread: CallbackThread, *, is_on: bool = True) -> None:
        self._thread = thread
        self._is_on = is_on
        self._told = self._dropped = 0  # counted on the loop
        self._shown = self._missed = 0  # on the callback thread

    def value(
        self, action: str, name: str, reason: str, text: str, *, to_screen: bool, to_log: bool
    ) -> None:
        """The value that a handler decided about; asked for by print_local or log_local.

        print_local prints whatever `logging` says: the owner asked for it with the handler.
        """
        if self._told - self._shown >= limits.PRINTED_WAITING:
            self._dropped += 1
            return
        self._told += 1
        self._thread.tell(self._value, value_text(action, name, reason, text), to_screen, to_log)

    def _value(self, line: str, to_screen: bool, to_log: bool) -> None:
        self._print(line, to_screen, to_log)
        self._shown += 1
        missed = self._dropped - self._missed
        if missed and self._shown == self._told:
            self._missed += missed
            self._print(f"HANDLER … {missed:,} more were decided meanwhile", to_screen, to_log)

    def _print(self, line: str, to_screen: bool, to_log: bool) -> None:
        if to_screen:
            _show(line)
        if to_log:
            _log.info("%s", line)

    def warn_open(self) -> None:
        """Says what an accept-everything handler means."""
        self.warn(OPEN_WARNING)

    def warn(self, text: str) -> None:
        """Says it on the screen, or in the log where nothing is shown."""
        self._thread.tell(_log.warning if not self._is_on else _show, text)

    def say(self, text: str) -> None:
        """One line about the session."""
        if self._is_on:
            self._thread.tell(_show, text)


def value_text(action: str, name: str, reason: str, text: str) -> str:
    """One decision for the owner's eyes, for example ``HANDLER deny 'loss' ('why'): 0.31``."""
    about = f" ({reason!r})" if reason else ""
    return f"HANDLER {action} {name!r}{about}: {clean_text(text, limits.PRINTED_VALUE_CHARS)}"


def live_text(status: Status) -> str:
    """The live line: ``Objects: 2  Requests: 1  Handlers: 3  Operations: 1,204``."""
    parts = [
        f"Objects: {status.objects:,}",
        f"Requests: {status.requests:,}",
        f"Handlers: {status.handlers:,}",
        f"Operations: {status.operations:,}",
    ]
    if status.is_open_to_all:
        parts.append("OPEN")
    return "  ".join(parts)


_LIVE_SECONDS: Final = 0.5
"""The live line follows at most this often."""


class LiveLine:
    """One line in a notebook's output that follows the session; nothing at all in a script."""

    def __init__(self, thread: CallbackThread, *, is_on: bool = True) -> None:
        self._thread = thread
        self.is_on = is_on and in_notebook()
        self._handle: Any = None
        self._shown = ""
        self._timer: asyncio.TimerHandle | None = None

    def soon(self, loop: asyncio.AbstractEventLoop, counts: Callable[[], Status]) -> None:
        """Redraws the line in a moment, with what was counted then."""
        if self.is_on and self._timer is None:
            self._timer = loop.call_later(_LIVE_SECONDS, self._due, counts)

    def _due(self, counts: Callable[[], Status]) -> None:
        self._timer = None
        self.update(counts())

    def update(self, status: Status) -> None:
        """Redraws the line if it says something new."""
        text = live_text(status)
        if self.is_on and text != self._shown:
            self._shown = text
            self._thread.tell(self._draw, text)

    def close(self) -> None:
        """Takes the line away; on the loop."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.is_on:
            self.is_on = False
            self._thread.tell(self._draw, "")

    def _draw(self, text: str) -> None:
        display: Any = importlib.import_module("IPython.display").display

        shown = {"text/plain": text}
        if self._handle is None:
            self._handle = display(shown, raw=True, display_id=True)
        else:
            self._handle.update(shown, raw=True)


def _show(text: str) -> None:
    print(text, flush=True)
