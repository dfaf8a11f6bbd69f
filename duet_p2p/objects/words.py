"""Texts that the other side wrote, made fit to be shown: capped, one line, nothing invisible."""

from __future__ import annotations

import unicodedata

__all__ = ["clean_line", "clean_text", "whole_text"]

# Cc controls, Cf invisible and direction marks, Cs/Co/Cn what no font shows; Zl, Zp line breaks.
_DROPPED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_UNSEEN = frozenset(
    map(
        chr,
        (
            *(0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0),
            *range(0x180B, 0x1810),
            *range(0xFE00, 0xFE10),
            *range(0xE0100, 0xE01F0),
        ),
    )
)
"""Letters and marks by their category that no font shows: fillers, joiners, variation selectors."""
_BLANK = "\u2800"  # a pattern of no dots; its category is that of symbols
_MARKS = 4
"""On one letter; more of them reach into the lines above and below."""


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
    shown = whole_text(text[: chars + 1])
    return shown if len(text) <= chars else shown[: chars - 1] + "…"


def whole_text(text: str) -> str:
    """Text of any length that keeps its lines and tabs."""
    return _visible(text, "\n\t")


def _is_plain(text: str) -> bool:
    """Whether nothing is to be looked for in it character by character, as in most texts."""
    if not text.isprintable():  # no `_DROPPED`, and no other space than one
        return False
    return text.isascii() or not any(
        c in _UNSEEN or c == _BLANK or unicodedata.category(c) in ("Mn", "Me") for c in set(text)
    )


def _visible(text: str, kept: str) -> str:
    if _is_plain(text.replace("\n", "").replace("\t", "") if kept else text):
        return text
    shown: list[str] = []
    known: dict[str, str | None] = {}  # of the few characters that most texts are made of
    marks = 0
    for c in text:
        stands = known[c] if c in known else known.setdefault(c, _stands_for(c, kept))
        if stands is None:
            marks += 1
            if marks <= _MARKS and shown and not shown[-1].isspace():
                shown.append(c)  # else it is a mark on what stands before the text
        elif stands:
            marks = 0
            shown.append(stands)
    return "".join(shown)


def _stands_for(c: str, kept: str) -> str | None:
    """What is shown of a character, if anything; None: it is a mark on the one before it."""
    category = "" if c in kept else unicodedata.category(c)
    if category in _DROPPED or c in _UNSEEN:
        return ""
    if category in ("Mn", "Me"):
        return None
    return " " if category == "Zs" or c == _BLANK else c
