"""What failed, for `duet.errors` on the owner's side."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Failure"]


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed command, for the owner's eyes."""

    seq: int
    op: str
    code: str
    text: str
    """The full text; torch writes private values into some."""
    is_public: bool
    """Whether the scientist was told."""

    def __str__(self) -> str:
        told = "told to the scientist" if self.is_public else "not told"
        return f"#{self.seq} {self.op}: {self.code}: {self.text} ({told})"
