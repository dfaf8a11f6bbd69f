"""Which association runs: the fast one, or aiortc's own."""

from __future__ import annotations

import logging
import os
from typing import Final, Literal

from duet_p2p.transport.sctp.internals import missing

__all__ = ["AUTO", "SCTP_CLASSES", "SctpClass", "choose"]

SctpClass = Literal["auto", "fast", "stock"]
SCTP_CLASSES: Final = ("auto", "fast", "stock")

AUTO: Final[Literal["fast", "stock"]] = "fast"
"""What ``auto`` means where the fast association can run."""

logger = logging.getLogger(__name__)
_warned: set[str] = set()


def choose(wanted: SctpClass) -> Literal["fast", "stock"]:
    """What is used for a wish; ``DUET_SCTP`` takes the place of ``auto``.

    Where the fast association cannot run, the stock one does, with one warning.

    Raises:
        ValueError: neither ``auto``, ``fast`` nor ``stock``.
    """
    if wanted not in SCTP_CLASSES:
        raise ValueError(f"sctp is 'auto', 'fast' or 'stock', not {wanted!r}")
    if wanted == "auto":
        named = os.environ.get("DUET_SCTP") or "auto"
        if named not in SCTP_CLASSES:
            raise ValueError(f"DUET_SCTP is 'auto', 'fast' or 'stock', not {named!r}")
        wanted = AUTO if named == "auto" else named  # type: ignore[assignment]
    if wanted == "stock":
        return "stock"
    reason = missing()
    if reason is None:
        return "fast"
    if reason not in _warned:
        _warned.add(reason)
        logger.warning("The fast data channel is not used: %s. The stock one is.", reason)
    return "stock"
