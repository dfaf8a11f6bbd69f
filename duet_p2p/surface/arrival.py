"""Where a value of several tensors lands: each in memory of its own, while it arrives.

Otherwise the bytes would be collected first and cut into tensors then, a second copy of all of
them. Tensors that lay in one piece of memory would not do: the smallest would keep it all.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

import numpy as np

from duet_p2p.wire.values import Span, TensorData, atoms_of

__all__ = ["Arrival"]


class Arrival:
    """A `Sink` for the blob of one value.

    Args:
        spans: of its tensors: not empty, in ascending order, within the blob, without overlap.
        nbytes: of the blob.
    """

    def __init__(self, spans: list[Span], nbytes: int) -> None:
        self.nbytes = nbytes
        self._starts = [span.offset for span in spans]
        # Memory is taken when it is written.
        self._parts = [np.empty(span.nbytes, dtype=np.uint8).data for span in spans]
        self._places = {span: number for number, span in enumerate(spans)}

    @classmethod
    def of(cls, value: Any, nbytes: int) -> Arrival | None:
        """For a closed value from the other side; None where it is to land in one piece.

        That is right for one tensor, which is all of its blob. Spans that overlap or lie outside
        are never written to: whoever makes the tensors judges them.
        """
        tensors = (atom for atom in atoms_of(value) if isinstance(atom, TensorData))
        found = {tensor.data for tensor in tensors if isinstance(tensor.data, Span)}
        spans = sorted(found, key=lambda span: (span.offset, span.nbytes))
        end = 0
        for span in spans:
            if span.offset < end or not span.nbytes:
                return None
            end = span.offset + span.nbytes
        return cls(spans, nbytes) if len(spans) > 1 and end <= nbytes else None

    def write(self, offset: int, part: bytes | memoryview) -> None:
        """Puts bytes in their place; those between two tensors are dropped."""
        left = memoryview(part)
        number = max(bisect_right(self._starts, offset) - 1, 0)
        while left and number < len(self._parts):
            memory = self._parts[number]
            at = offset - self._starts[number]
            if at < 0:  # in front of it
                skipped = min(-at, len(left))
            elif at < len(memory):
                skipped = min(len(memory) - at, len(left))
                memory[at : at + skipped] = left[:skipped]
            else:
                number += 1
                continue
            offset, left = offset + skipped, left[skipped:]

    def take(self, span: Span) -> tuple[memoryview, bool] | None:
        """The bytes of a tensor, and whether they are the caller's; None for an unknown span."""
        number = self._places.get(span)
        if number is None:
            return None
        memory = self._parts[number]
        is_first = not memory.readonly
        # The next one with this span, of another type, makes a copy.
        self._parts[number] = memory.toreadonly()
        return memory, is_first
