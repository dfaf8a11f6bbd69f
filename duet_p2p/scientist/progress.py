"""Bars for what takes long, in notebooks only: transfers, and passes over a loader.

A transfer moves on the session's loop, which must never wait for a screen, so its bar is drawn on
the callback thread. Nothing is drawn in the first second: most passes and transfers are over by
then. In scripts nothing is redrawn.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

from duet_p2p import limits
from duet_p2p.objects.panels import in_notebook

__all__ = ["TransferBar", "pass_bar", "transfer_bar"]

T = TypeVar("T")


class Watched(Protocol):
    """What a bar needs of the client."""

    bridge: Any
    shows_progress: bool


def transfer_bar(client: Watched, text: str, nbytes: int) -> TransferBar | None:
    """A bar for one transfer, or None where nobody would look at it."""
    if nbytes < limits.PROGRESS_BYTES or not client.shows_progress or not in_notebook():
        return None
    return TransferBar(text, nbytes, client.bridge.callback_thread.tell)


def pass_bar(client: Watched, batches: Iterator[T], count: int) -> Iterator[T]:
    """The same batches, with a bar where somebody looks."""
    if not client.shows_progress or not in_notebook():
        return batches
    return iter(
        _tqdm()(batches, total=count, unit="batch", leave=False, delay=limits.PROGRESS_SECONDS)
    )


class TransferBar:
    """Called on the loop with bytes done and in all; draws elsewhere.

    Args:
        text: what is on its way.
        nbytes: in all.
        tell: runs a function on the callback thread.
    """

    def __init__(self, text: str, nbytes: int, tell: Callable[..., None]) -> None:
        self._text = text
        self._nbytes = nbytes
        self._tell = tell
        self._began = self._told = time.monotonic()
        self._bar: Any = None

    def __call__(self, done: int, total: int) -> None:
        """So many bytes are done. On the loop."""
        now = time.monotonic()
        is_over = done >= self._nbytes
        if now - self._told < limits.PANEL_SECONDS and not is_over:
            return
        self._told = now
        if now - self._began >= limits.PROGRESS_SECONDS or is_over:
            self._tell(self._draw, done)

    def _draw(self, done: int) -> None:
        is_over = done >= self._nbytes
        if self._bar is None:
            if is_over:
                return
            self._bar = _tqdm()(
                total=self._nbytes, desc=self._text, unit="B", unit_scale=True, leave=False
            )
        self._bar.update(done - self._bar.n)
        if is_over:
            self._bar.close()


def _tqdm() -> Any:
    from tqdm.auto import tqdm

    return tqdm
