"""What of torch's databases is not supported: a line of unsupported.tsv each, with its reason."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["LISTED", "Listed"]


@dataclass(frozen=True)
class Listed:
    """One entry that does not work, or some of its samples."""

    is_whole: bool
    """Every sample; else only those that are refused with `says`."""
    is_safety: bool
    """Refused to protect the owner, as against not built."""
    says: re.Pattern[str]
    """What the refusal says."""
    reason: str


def _read() -> dict[tuple[str, str], Listed]:
    found = {}
    for line in Path(__file__).with_name("unsupported.tsv").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        suite, entry, extent, why, says, reason = line.split("\t")
        assert extent in ("all", "some") and why in ("safety", "missing"), line
        assert (suite, entry) not in found, line
        found[suite, entry] = Listed(extent == "all", why == "safety", re.compile(says), reason)
    return found


LISTED = _read()
"""By suite (``op``, ``module``, ``optim``) and entry."""
