"""What failed, for `duet.errors` on the owner's side."""

from __future__ import annotations

from dataclasses import dataclass

from duet_p2p import limits
from duet_p2p.objects.words import clean_line, clean_text, whole_text

__all__ = ["Failure"]


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed command, for the owner's eyes."""

    seq: int
    op: str
    code: str
    text: str
    """The full text, cleaned; torch writes private values into some."""
    is_public: bool
    """Whether the scientist was told."""

    def __post_init__(self) -> None:
        # the name is the scientist's, and some texts repeat what the scientist sent
        object.__setattr__(self, "op", clean_line(self.op, limits.NAME_CHARS))
        object.__setattr__(self, "text", whole_text(self.text))

    def __str__(self) -> str:
        """For people."""
        told = "told to the scientist" if self.is_public else "not told"
        text = clean_text(self.text, limits.MESSAGE_TEXT_CHARS)
        return f"#{self.seq} {self.op}: {self.code}: {text} ({told})"
