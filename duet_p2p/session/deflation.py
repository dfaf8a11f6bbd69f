"""Compressed chunks of channel 2: when they pay, how they are made and how they are opened.

Only the owner compresses, and only what was released: whole values whose bytes the other side gets
in any case. Each chunk is a zlib stream by itself, over bytes of one value alone. So no size that
anybody can see ever depends on a secret beside text that an attacker chose, which is how
compression gives secrets away (CRIME, BREACH); what an onlooker on the path learns is how well a
released value compresses. That is why uploads, commands and words are never compressed.

Whether it pays is a matter of numbers. A few parts of the value are compressed, in another thread
and while it leaves as it is, for the share that is left and for how fast that goes; the path is
measured by what leaves. Dense floats stay at nine tenths and are left alone; activations behind a
ReLU, masks and labels become a fraction.

A chunk that arrives is hostile. Its size is declared and checked before anything is inflated, and
one byte more than declared is never made, so a bomb costs one block of memory at most.
"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from duet_p2p import limits
from duet_p2p.errors import ProtocolError

__all__ = ["CAPABILITY", "Pace", "Sample", "capability", "deflate", "inflate", "is_agreed"]

CAPABILITY: Final = "deflate"
"""Key of the signed capabilities: the codecs that a side takes part in."""
_CODEC: Final = "zlib"
_LEVEL: Final = 1
_GAIN: Final = 0.8  # of the time that it takes otherwise; for less nobody should burn a processor
_WINDOW_SECONDS: Final = 0.05  # of a measurement of the path
_NEW_SHARE: Final = 0.3  # of a new measurement in the average


def capability() -> list[str]:
    """What this side announces; ``DUET_DEFLATE=off`` in the environment: nothing."""
    return [] if os.environ.get("DUET_DEFLATE") == "off" else [_CODEC]


def is_agreed(caps: Mapping[str, Any]) -> bool:
    """Whether both sides can and want to, by the partner's capabilities."""
    theirs = caps.get(CAPABILITY)
    return isinstance(theirs, list) and _CODEC in theirs and _CODEC in capability()


def deflate(raw: bytes | memoryview) -> bytes:
    """One block, compressed by itself."""
    return zlib.compress(raw, _LEVEL)


def inflate(data: memoryview, size: int) -> bytes:
    """The block of `size` bytes that was compressed.

    Raises:
        ProtocolError: it is not that, or `size` is more than `limits.DEFLATE_BLOCK_BYTES`.
    """
    if not 0 < size <= limits.DEFLATE_BLOCK_BYTES:
        raise ProtocolError("A compressed chunk is larger than it may be.")
    stream = zlib.decompressobj()
    try:
        raw = stream.decompress(data, size + 1)  # one more shows a stream that goes on
    except zlib.error:
        raise ProtocolError("A compressed chunk is damaged.") from None
    if len(raw) != size or not stream.eof or stream.unused_data:
        raise ProtocolError("A compressed chunk has another size than it says.")
    return raw


@dataclass(frozen=True, slots=True)
class Sample:
    """How a value compresses."""

    share: float
    """Of its bytes that is left."""
    seconds: float
    """For one byte, by the clock as the path's rate is: on a busy machine both are slower."""

    @classmethod
    def of(cls, parts: Sequence[bytes | memoryview]) -> Sample:
        """Compresses some parts; takes a millisecond or two."""
        # One stream: to begin one takes as long as a part does, and would count too much here.
        stream = zlib.compressobj(_LEVEL)
        began = time.perf_counter()
        left = sum(
            len(stream.compress(part)) + len(stream.flush(zlib.Z_FULL_FLUSH)) for part in parts
        )
        nbytes = sum(map(len, parts))
        return cls(left / nbytes, (time.perf_counter() - began) / nbytes)

    def with_next(self, seen: Sample) -> Sample:
        """What to expect after a block was compressed."""
        return Sample(
            self.share + _NEW_SHARE * (seen.share - self.share),
            self.seconds + _NEW_SHARE * (seen.seconds - self.seconds),
        )

    def pays(self, rate: float) -> bool:
        """Whether compressing and sending is quicker by a fifth than sending.

        As if one waited for the other. They overlap, but the time to inflate is not in it, and
        where sending is bound by a processor they share it.

        Args:
            rate: bytes a second that the path takes.
        """
        return self.seconds + self.share / rate < _GAIN / rate


class Pace:
    """What the path takes while there is something to send, in bytes a second.

    Attributes:
        rate: `limits.DEFLATE_PATH_RATE`, more than was ever seen, until it is measured.
        is_measured: whether it is.
    """

    def __init__(self) -> None:
        self.rate = limits.DEFLATE_PATH_RATE
        self.is_measured = False
        self._since: tuple[float, int] | None = None

    def note(self, now: float, left: int, waiting: int) -> None:
        """One look at the queue.

        Args:
            now: any clock, in seconds.
            left: bytes that have left the queue, in all.
            waiting: bytes in it; without any the path may have been idle.
        """
        if not waiting or self._since is None:
            self._since = (now, left) if waiting else None
            return
        seconds = now - self._since[0]
        if seconds < _WINDOW_SECONDS:
            return
        seen = max(1.0, (left - self._since[1]) / seconds)
        old = self.rate if self.is_measured else seen
        self.rate, self.is_measured = old + _NEW_SHARE * (seen - old), True
        self._since = (now, left)
