"""Methods of remote Python texts, with size admission.

Not offered: ``format``, ``format_map`` and ``%`` (they walk attributes of their arguments).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from duet_p2p import limits
from duet_p2p.errors import QuotaExceeded
from duet_p2p.surface.sizes import admit_text

__all__ = ["TEXT_METHODS"]

# What str.upper and its like may make of one character.
_EXPANSION: Final = 3
_ENCODINGS: Final = frozenset({"utf-8", "utf8", "ascii", "latin-1", "utf-16", "utf-32"})
_ERRORS: Final = frozenset({"strict", "ignore", "replace"})


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a str is needed, not {type(value).__name__}")
    return value


def _padded(name: str) -> Callable[..., str]:
    method = getattr(str, name)

    def run(text: Any, width: int, *fill: str) -> str:
        admit_text(width)
        result: str = method(_text(text), width, *fill)
        return result

    return run


def _cased(name: str) -> Callable[..., str]:
    method = getattr(str, name)

    def run(text: Any) -> str:
        admit_text(len(_text(text)) * _EXPANSION)
        result: str = method(text)
        return result

    return run


def _plain(name: str) -> Callable[..., Any]:
    method = getattr(str, name)

    def run(text: Any, *args: Any) -> Any:
        return method(_text(text), *args)

    return run


def _replace(text: Any, old: str, new: str, count: int = -1) -> str:
    found = _text(text).count(old) if count < 0 else min(_text(text).count(old), count)
    admit_text(len(text) + found * max(len(new) - len(old), 0))
    result: str = text.replace(old, new, count)
    return result


def _expandtabs(text: Any, tabsize: int = 8) -> str:
    admit_text(len(_text(text)) + text.count("\t") * max(tabsize, 0))
    result: str = text.expandtabs(tabsize)
    return result


def _join(text: Any, parts: Iterable[str]) -> str:
    if not isinstance(parts, (list, tuple)):
        raise TypeError("join takes a list or a tuple")
    admit_text(sum(len(_text(part)) for part in parts) + len(_text(text)) * len(parts))
    result: str = text.join(parts)
    return result


def _translate(text: Any, table: Any) -> str:
    if not isinstance(table, dict):
        raise TypeError("translate takes a dict")
    longest = max((len(v) for v in table.values() if isinstance(v, str)), default=1)
    admit_text(len(_text(text)) * max(longest, 1))
    result: str = text.translate(table)
    return result


def _encode(text: Any, encoding: str = "utf-8", errors: str = "strict") -> bytes:
    if encoding.lower() not in _ENCODINGS or errors not in _ERRORS:
        raise ValueError("this encoding is not offered")
    admit_text(len(_text(text)) * 4)
    result: bytes = text.encode(encoding, errors)
    return result


def _length(text: Any) -> int:
    return len(_text(text))


def _getitem(text: Any, index: Any) -> str:
    return _text(text)[index]


def _contains(text: Any, part: Any) -> bool:
    return _text(part) in _text(text)


def _reversed(text: Any) -> list[str]:
    if len(_text(text)) > limits.CONTAINER_ITEMS:
        raise QuotaExceeded("a text of too many characters")
    return list(reversed(text))


TEXT_METHODS: Final[dict[str, Callable[..., Any]]] = {
    **{name: _padded(name) for name in ("center", "ljust", "rjust", "zfill")},
    **{
        name: _cased(name)
        for name in ("capitalize", "casefold", "lower", "swapcase", "title", "upper")
    },
    **{
        name: _plain(name)
        for name in str.split(
            "count endswith find index isalnum isalpha isascii isdecimal isdigit "
            "isidentifier islower isnumeric isprintable isspace istitle isupper lstrip "
            "partition rfind rindex rpartition rsplit rstrip split splitlines startswith "
            "strip"
        )
    },
    "replace": _replace,
    "expandtabs": _expandtabs,
    "join": _join,
    "translate": _translate,
    "encode": _encode,
    "__len__": _length,
    "__getitem__": _getitem,
    "__contains__": _contains,
    "__reversed__": _reversed,
    "__str__": _text,
}
"""What runs for each method of a text, by its Python name."""
