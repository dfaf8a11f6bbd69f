"""Texts that the other side wrote, made fit to be shown: capped, one line, nothing invisible."""

from __future__ import annotations

import unicodedata

__all__ = ["clean_line", "clean_text"]

# Cc controls, Cf invisible and direction marks, Cs/Co/Cn what no font shows; Zl, Zp line breaks.
_DROPPED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def clean_line(text: object, chars: int) -> str:
    """One line of at most `chars` characters; anything that is no text gives an empty one."""
    if not isinstance(text, str):
        return ""
    if text.isascii() and text.isprintable():  # most of them: nothing to be looked for
        return text[: 4 * chars].strip()[:chars]
    spaced = "".join(" " if c in "\n\r\t\u2028\u2029" else c for c in text[: 4 * chars])
    return _visible(spaced, "").strip()[:chars]


def clean_text(text: str, chars: int) -> str:
    """Text of at most `chars` characters that keeps its lines and tabs."""
    shown = _visible(text[: chars + 1], "\n\t")
    return shown if len(text) <= chars else shown[: chars - 1] + "…"


def _visible(text: str, kept: str) -> str:
    return "".join(c for c in text if c in kept or unicodedata.category(c) not in _DROPPED)
