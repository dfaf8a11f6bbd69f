"""Bytes that the scientist's uploads announced, on their way from the bulk channel to the engine.

Memory for an upload is taken here, in the owner's process, so what is announced counts before any
of it has arrived, and until the engine has done with it: an engine that is busy takes nothing. One
upload has a limit, and so have all that are under way together.

A large one lands in a memory file, which is a descriptor here, on the pipe or in the engine, and a
process has few of them. So only so many large ones are received ahead of the engine; for those
behind them nobody says GO yet, and their sender waits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from duet_p2p import limits
from duet_p2p.engine import messages as engine
from duet_p2p.engine.landing import HAS_MEMORY_FILES, Landing
from duet_p2p.errors import DuetError
from duet_p2p.owner.ends import SessionEnd
from duet_p2p.wire.values import Blob

__all__ = ["Uploads"]


@dataclass(slots=True, eq=False)
class _Announced:
    """One upload that the engine is not done with."""

    seq: int
    """Number of the command that announced it."""
    blob: Blob
    arriving: asyncio.Future[Any] | None = None
    """None: it was not asked for yet."""
    is_given_up: bool = False

    @property
    def is_large(self) -> bool:
        """Whether it lands in a memory file, here or on the pipe."""
        return self.blob.nbytes >= limits.PIPE_MEMORY_FILE_BYTES


class Uploads:
    """The scientist's uploads that are under way.

    Args:
        session: where the bytes come from.
        arrived: is given the transfer, its bytes, and in words which quota refused them; no bytes
            fail the upload, so that the commands behind it do not wait for ever.
        one: bytes of one upload.
        together: bytes of all that are under way.

    Attributes:
        under_way: bytes that were announced, by commands that the engine is not done with.
    """

    def __init__(
        self,
        session: SessionEnd,
        arrived: Callable[[int, engine.Buffer | Landing, str], None],
        *,
        one: int,
        together: int,
    ) -> None:
        self._session = session
        self._arrived = arrived
        self._one = one
        self._together = together
        self.under_way = 0
        self._open: deque[_Announced] = deque()
        self._waiting: deque[_Announced] = deque()  # those of them that were not asked for yet
        self._files = 0  # large ones of the others

    def expect(self, seq: int, blob: Blob) -> None:
        """A command announced this blob."""
        # The engine refuses what is too large, by the same number, when it comes to this command;
        # here it is only not received.
        if blob.nbytes > self._one:
            self.refuse(blob.transfer)
            return
        if self.under_way + blob.nbytes > self._together:
            self.refuse(blob.transfer)
            refusal = (
                f"uploads under way have {self.under_way} bytes, another of {blob.nbytes} would be "
                f"more than the {self._together} allowed (uploads_bytes): send it later"
            )
            self._arrived(blob.transfer, b"", refusal)
            return
        self.under_way += blob.nbytes
        announced = _Announced(seq, blob)
        self._open.append(announced)
        self._waiting.append(announced)
        self._go_on()

    def settled(self, seq: int) -> None:
        """The engine is done with all commands up to this one."""
        while self._open and self._open[0].seq <= seq:
            announced = self._open.popleft()
            self.under_way -= announced.blob.nbytes
            self._files -= announced.is_large
        if self._waiting:
            self._go_on()

    def refuse(self, transfer: int) -> None:
        """Nobody wants these bytes. A partner who leaves too many refusals unanswered is out."""
        try:
            self._session.refuse_blob(transfer)
        except DuetError as error:
            self._session.fail(error)

    def engine_died(self) -> None:
        """What was on its way has no command any more that waits for it; the next engine has none.

        To the next engine it would be bytes that nobody counts, or those of another command which
        announces the same transfer.
        """
        given_up, self._open = self._open, deque()
        self._waiting.clear()
        self.under_way = self._files = 0
        for announced in given_up:
            announced.is_given_up = True
            if announced.arriving is None or not announced.arriving.done():
                self.refuse(announced.blob.transfer)

    def _go_on(self) -> None:
        """Asks for what comes next, as long as there may be one more file."""
        while self._waiting:
            announced = self._waiting[0]
            if announced.is_large and self._files >= limits.UPLOAD_FILES:
                return
            self._waiting.popleft()
            self._files += announced.is_large
            self._ask_for(announced)

    def _ask_for(self, announced: _Announced) -> None:
        blob = announced.blob
        try:
            announced.arriving = self._session.expect_blob(
                blob.transfer, blob.nbytes, into=_landing(blob.nbytes)
            )
        except DuetError:  # announced twice
            self._arrived(blob.transfer, b"", "")
            return
        announced.arriving.add_done_callback(lambda done: self._done(announced, done))

    def _done(self, announced: _Announced, done: asyncio.Future[Any]) -> None:
        if announced.is_given_up:
            return
        data, refusal = _complete(announced.blob.nbytes, done)
        self._arrived(announced.blob.transfer, data, refusal)


def _complete(nbytes: int, done: asyncio.Future[Any]) -> tuple[engine.Buffer | Landing, str]:
    """What has arrived, ready for the engine; or nothing, and perhaps in words why."""
    if done.cancelled():
        return b"", ""
    error = done.exception()
    data = b"" if error is not None else done.result()
    try:
        if isinstance(data, Landing):
            data.complete()
    except OSError as refused:
        error = refused
    if error is None:
        return data, ""
    if isinstance(error, DuetError):  # the partner gave it up, or the session has ended
        return b"", ""
    why = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return b"", f"{len(data) or nbytes} bytes arrived and could not be kept ({why}): send again"


def _landing(nbytes: int) -> Landing | None:
    """Where large uploads go; small ones, and all without memory files, into ordinary memory."""
    if not HAS_MEMORY_FILES or nbytes < limits.PIPE_MEMORY_FILE_BYTES:
        return None
    try:
        return Landing(nbytes)
    except OSError:  # no more descriptors: then it takes the long way
        return None
