"""What the other side's words ask to be answered, until the next packets leave.

Some of its chunks need an answer each, whatever they are: a heartbeat, a kind that nobody knows, an
INIT that came again. Thousands of them fit into one packet, and their answers are larger than they
are. So only so many wait, and the rest is not answered, as if it had been lost on its way.
"""

from __future__ import annotations

from typing import Final

__all__ = ["REPLIES", "Replies"]

REPLIES: Final = 32  # that wait at once; ours sends no two of one kind together
_BYTES: Final = 65_536


class Replies(list[bytes]):
    """Chunks or packets that wait to be sent; `append` is for what this side says by itself."""

    def offer(self, reply: bytes) -> None:
        """One more answer, if there is room."""
        if len(self) < REPLIES and sum(map(len, self)) + len(reply) <= _BYTES:
            self.append(reply)
