"""Bytes that the scientist's uploads announced, on their way from the bulk channel to the engine.

Memory for an upload is taken here, in the owner's process, so what is announced counts before any
of it has arrived: one upload has a limit, and so have all that are under way together.
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
    """One upload, and whether it is over."""

    blob: Blob
    is_done: bool = False


class Uploads:
    """The scientist's uploads that are under way.

    Args:
        session: where the bytes come from.
        arrived: is given the transfer, its bytes, and in words which quota refused them; no bytes
            fail the upload, so that the commands behind it do not wait for ever.
        one: bytes of one upload.
        together: bytes of all that are under way.

    Attributes:
        under_way: bytes that were announced and that the engine cannot have yet: they are not all
            here, or those of an upload before them are not, which everything waits for.
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

    def expect(self, blob: Blob) -> None:
        """A command announced this blob."""
        # The engine refuses what is too large, by the same number, when it comes to this command;
        # here it is only not received.
        if blob.nbytes > self._one:
            self._session.refuse_blob(blob.transfer)
            return
        if self.under_way + blob.nbytes > self._together:
            self._session.refuse_blob(blob.transfer)
            refusal = (
                f"uploads under way have {self.under_way} bytes, another of {blob.nbytes} would be "
                f"more than the {self._together} allowed (uploads_bytes): send it later"
            )
            self._arrived(blob.transfer, b"", refusal)
            return
        try:
            arriving = self._session.expect_blob(
                blob.transfer, blob.nbytes, into=_landing(blob.nbytes)
            )
        except DuetError:
            self._arrived(blob.transfer, b"", "")
            return
        self.under_way += blob.nbytes
        announced = _Announced(blob)
        self._open.append(announced)
        arriving.add_done_callback(lambda done: self._done(announced, done))

    def _done(self, announced: _Announced, done: asyncio.Future[Any]) -> None:
        announced.is_done = True
        while self._open and self._open[0].is_done:
            self.under_way -= self._open.popleft().blob.nbytes
        failed = done.cancelled() or done.exception() is not None
        self._arrived(announced.blob.transfer, b"" if failed else done.result(), "")


def _landing(nbytes: int) -> Landing | None:
    """Where large uploads go; small ones, and all without memory files, into ordinary memory."""
    if not HAS_MEMORY_FILES or nbytes < limits.PIPE_MEMORY_FILE_BYTES:
        return None
    try:
        return Landing(nbytes)
    except OSError:  # no more descriptors: then it takes the long way
        return None
