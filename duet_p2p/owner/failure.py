"""What failed, for `duet.errors` on the owner's side."""

from __future__ import annotations

from dataclasses import dataclass

from duet_p2p import limits
from duet_p2p.objects.words import clean_line, clean_text

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
        """For people: the name, and so the text, can be the scientist's."""
        told = "told to the scientist" if self.is_public else "not told"
        op = clean_line(self.op, limits.NAME_CHARS)
        text = clean_text(self.text, limits.MESSAGE_TEXT_CHARS)
        return f"#{self.seq} {op}: {self.code}: {text} ({told})"
