"""What an owner may set for a session with ``launch_duet(limits=…)``, and within which bounds.

A number that makes no sense is refused at the launch, by its name. Otherwise the engine would end
of it when it starts, which says nothing of the limit, or the session would wait for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from duet_p2p import limits as numbers

__all__ = ["QUOTAS", "checked_quotas"]

QUOTAS: Final[Mapping[str, int]] = {
    "objects": numbers.OBJECTS,
    "stored_bytes": numbers.STORED_BYTES,
    "result_bytes": numbers.RESULT_BYTES,
    "upload_bytes": numbers.UPLOAD_BYTES,
    "open_requests": numbers.OPEN_REQUESTS,
    "uploads_bytes": numbers.UPLOADS_BYTES,
    "downloads_bytes": numbers.DOWNLOADS_BYTES,
    "commands_per_second": numbers.COMMANDS_PER_SECOND,
    "command_seconds": numbers.COMMAND_SECONDS,
    "run_seconds": numbers.RUN_SECONDS,
    "closed_reads": numbers.CLOSED_READS,
    "cpu_seconds": numbers.ENGINE_CPU_SECONDS,
    "timed_per_minute": numbers.TIMED_PER_MINUTE,
    "memory_bytes": numbers.ENGINE_MEMORY_BYTES,
}
"""What ``launch_duet(limits=…)`` may override, with the defaults."""

_ZERO: Final = {
    "command_seconds": "no limit",
    "run_seconds": "no limit",
    "cpu_seconds": "no limit",
    "memory_bytes": "three quarters of the machine",
    "closed_reads": "off",
    "timed_per_minute": "none at all",
}
"""What 0 means. Of the others it would be no session, so it is taken for a mistake."""
_LEAST: Final = {"memory_bytes": numbers.ENGINE_MEMORY_MIN_BYTES}
_MOST: Final = {
    "closed_reads": 1,
    "command_seconds": numbers.QUOTA_MAX_SECONDS,
    "run_seconds": numbers.QUOTA_MAX_SECONDS,
    "cpu_seconds": numbers.QUOTA_MAX_SECONDS,
}


def checked_quotas(given: Mapping[str, int] | None) -> dict[str, int]:
    """All quotas of a session.

    Raises:
        ValueError: there is no such limit, or its number makes no sense.
        TypeError: it is no mapping.
    """
    if not isinstance(given or {}, Mapping):
        raise TypeError(f"limits= is a dict of names and numbers, not {type(given).__name__}")
    given = given or {}
    for name, value in given.items():
        if name not in QUOTAS:
            raise ValueError(f"no limit is called {name!r}; there are {', '.join(QUOTAS)}")
        least, most = _LEAST.get(name, 1), _MOST.get(name, numbers.QUOTA_MAX)
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if not (is_whole and (least <= value <= most or (value == 0 and name in _ZERO))):
            zero = f", or 0: {_ZERO[name]}" if name in _ZERO else ""
            raise ValueError(
                f"the limit {name!r} is a whole number from {least} to {most}{zero}; "
                f"not {_shown(value)}"
            )
    return {**QUOTAS, **given}


def _shown(value: object) -> str:
    if isinstance(value, int) and not -numbers.QUOTA_MAX <= value <= numbers.QUOTA_MAX * 1024:
        return "one beyond that"  # Python writes no number of very many digits
    return repr(value)[: numbers.NAME_CHARS]
