"""What `send` copies, so that the tensor is the scientist's again when it returns.

The copy is made piece by piece and leaves meanwhile: the network's thread sends what is there.
numpy copies without the interpreter's lock, so the two do run at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from duet_p2p.limits import COPY_BYTES

__all__ = ["Copy"]


class Copy:
    """A `Source` of the bytes of some buffers, in memory of its own.

    Args:
        buffers: contiguous, with at least one byte together.
    """

    def __init__(self, buffers: Sequence[memoryview]) -> None:
        self._buffers = [buffer.cast("B") for buffer in buffers if buffer.nbytes]
        self.nbytes = sum(buffer.nbytes for buffer in self._buffers)
        self._memory = np.empty(self.nbytes, dtype=np.uint8)
        self._there = 0
        self._has_failed = False

    def fill(self) -> None:
        """Copies all of it, for whoever may still change the buffers."""
        try:
            while self._buffers:
                piece = np.frombuffer(self._buffers[0], dtype=np.uint8)
                for start in range(0, len(piece), COPY_BYTES):
                    part = piece[start : start + COPY_BYTES]
                    self._memory[self._there : self._there + len(part)] = part
                    self._there += len(part)
                del self._buffers[0]
        finally:
            self._has_failed = self._there < self.nbytes

    def give_up(self) -> None:
        """Nobody will copy the rest."""
        self._buffers.clear()
        self._has_failed = self._there < self.nbytes

    def ready(self) -> int:
        """Bytes from the beginning that are copied; EOFError: the rest never will be."""
        if self._has_failed:
            raise EOFError("a value was not copied to its end")
        return self._there

    def read(self, offset: int, size: int) -> memoryview:
        """Some of them, as they are in this memory."""
        return self._memory[offset : min(offset + size, self._there)].data
