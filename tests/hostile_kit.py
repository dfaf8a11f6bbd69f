"""Strings that want to be more than text, and what may be left of them where people look."""

import json
import unicodedata
from html.parser import HTMLParser
from pathlib import Path

from duet_p2p import limits

__all__ = ["HOSTILE", "Structure", "assert_harmless_html", "assert_harmless_text"]

HOSTILE: dict[str, str] = json.loads(
    (Path(__file__).parent / "data" / "hostile_strings.json").read_text()
)
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_VOID = {"br", "img", "meta", "link", "input", "hr", "base"}


class Structure(HTMLParser):
    """The elements and attributes of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, tuple[tuple[str, str | None], ...]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data!r}")

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(f"a declaration: {decl!r}")

    def handle_pi(self, data: str) -> None:
        raise AssertionError(f"an instruction: {data!r}")

    unknown_decl = handle_decl


def assert_harmless_text(text: str, *, lines: bool = True) -> None:
    """Nothing invisible, nothing that moves the cursor or the direction of writing."""
    kept = "\n\t" if lines else ""
    bad = {c for c in text if c not in kept and unicodedata.category(c) in _INVISIBLE}
    assert not bad, f"{sorted(map(ascii, bad))} in {text!r}"


def assert_harmless_html(page: str, like: str, *, most: int = 12_000) -> None:
    """The page has the elements and attributes of `like`, which holds a plain word instead."""
    found, wanted = Structure(page), Structure(like)
    assert found.elements == wanted.elements
    assert not found.open
    assert_harmless_text(page)
    assert len(page) <= most, f"{len(page)} characters"
    assert max(map(len, found.texts)) <= max(limits.CARD_CODE_CHARS, limits.CARD_FIELD_CHARS)
