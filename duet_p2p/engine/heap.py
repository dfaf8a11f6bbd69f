"""Freed memory stays with the engine's process, since its next step asks for as much again.

By default the C library gives freed memory back to the kernel whenever a few megabytes at the end
of the heap are free. A training step frees tens of megabytes of activations and gradients, one by
one and often all at its end, and the next step fetches them again: each page of it is a page fault
and 4 KiB of zeros. For the walk-through's network these were ten thousand faults and a quarter of
the step's time, twice as many as the same loop on local tensors has.

Only glibc can be told so; elsewhere nothing is done. What is kept counts against the engine's limit
of memory, as if it were in use.
"""

from __future__ import annotations

import ctypes
from typing import Final

from duet_p2p.limits import ENGINE_KEPT_BYTES, ENGINE_MAPPED_BYTES

__all__ = ["keep_freed_memory"]

_TRIM_THRESHOLD: Final = -1  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
_MMAP_THRESHOLD: Final = -3


def keep_freed_memory() -> bool:
    """From now on up to `ENGINE_KEPT_BYTES` at the heap's end stay; whether that can be said here.

    Blocks of more than `ENGINE_MAPPED_BYTES` have pages of their own, which go back at once.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_TRIM_THRESHOLD, ENGINE_KEPT_BYTES), (_MMAP_THRESHOLD, ENGINE_MAPPED_BYTES))
    return all([mallopt(name, value) == 1 for name, value in settings])
