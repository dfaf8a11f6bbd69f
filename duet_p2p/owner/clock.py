"""The clock of rules and requests: seconds that also pass while the machine sleeps.

A rule that holds for an hour has ended in the morning. The loop's own clock stands still on Linux
and macOS while a laptop is shut, so timers may ring late; whether a rule is in force is asked of
this one whenever something is decided.
"""

from __future__ import annotations

import sys
import time
from typing import Final

__all__ = ["seconds"]

_NAME: Final = {"linux": "CLOCK_BOOTTIME", "darwin": "CLOCK_MONOTONIC"}.get(sys.platform, "")
_CLOCK: Final[int | None] = getattr(time, _NAME, None)


def seconds() -> float:
    """From some moment on; never less than before."""
    if _CLOCK is None:
        return time.monotonic()  # which counts sleep on Windows
    return time.clock_gettime(_CLOCK)
