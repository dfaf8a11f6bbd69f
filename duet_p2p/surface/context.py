"""What a few names of the surface need beside their arguments: the session's own settings.

The engine makes one `Context` per session and hands it to the names in
`callables.NEEDS_CONTEXT` as their first argument. It holds no random state: the engine swaps the
session's generators in and out around each batch of commands, so `torch.manual_seed` is right
there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from duet_p2p import limits

__all__ = ["Context", "Quotas"]


@dataclass(frozen=True, slots=True)
class Quotas:
    """The numbers of the session that names of the surface must respect, with their defaults."""

    result_bytes: int = limits.RESULT_BYTES
    """Logical bytes of one result."""
    dataset_bytes: int = limits.DATASET_BYTES
    """Bytes of one file of a data set, unpacked."""
    text_chars: int = limits.TEXT_CHARS
    container_items: int = limits.CONTAINER_ITEMS
    int_bits: int = limits.INT_BITS


@dataclass(frozen=True, slots=True)
class Context:
    """Settings of one session that operations may read."""

    data_dirs: Mapping[str, Path] = field(default_factory=dict)
    """Directories that data sets may be read from, by name; the name "" stands for a root of "" and
    for paths whose first part is no other name."""
    quotas: Quotas = field(default_factory=Quotas)
