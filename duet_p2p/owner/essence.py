"""What is left of a recipe's text without copies, conversions and other shapes.

A rule that denied a value also denies it under another name. ``loss.clone()`` is the same value in
another recipe, so both are reduced to the same *essence*. There are endlessly many ways to write a
number down once more (``loss * 2``), so this keeps off what a person would try first; whoever wants
to be sure denies by source.

What a name stands for is written down at each place of it, so a long text of that is a digest: it
could hold a name many times, whose text held another many times, and so on.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import sha256
from typing import Final

from duet_p2p import limits
from duet_p2p.owner.binding import same_text

__all__ = ["essence_of"]

_COPIES: Final = (
    "clone|detach|detach_|contiguous|alias|data|cpu|to|type|float|double|half|bfloat16|item|"
    "requires_grad_|view|view_as|reshape|reshape_as|flatten|ravel|squeeze|unsqueeze|expand|"
    "positive|conj|resolve_conj|resolve_neg|nan_to_num|unflatten|broadcast_to|lift_fresh"
)
_ZERO, _ONE = r"-?0(?:\.0)?", r"1(?:\.0)?"
_SAME: Final = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(?P<of>.+)\.(?:{_COPIES})\([^<>]*\)",
        rf"torch\.(?:{_COPIES})\((?P<of>[^,()]+)(?:, [^<>]*)?\)",
        rf"(?P<of>.+) (?:[+-] {_ZERO}|(?:\*|/|\*\*) {_ONE})",
        rf"(?:{_ZERO} \+|{_ONE} \*) (?P<of>.+)",
        rf"torch\.(?:add|sub)\((?P<of>[^,()]+), {_ZERO}\)",
        rf"torch\.(?:mul|div|pow)\((?P<of>[^,()]+), {_ONE}\)",
        r"(?P<of>.+)\[(?:\.\.\.|None|\(\)|:)\]",
        r"(?P<of>.+)\.data",
        r"\+(?P<of>.+)",
        r"python\.(?:collect|List|Tuple|Float)\(\[?(?P<of>[^,()\[\]]+)\]?\)",
    )
)
_NAME: Final = re.compile(r"\bv\d+\b")
_DIGEST: Final = re.compile(r"<[0-9a-f]{64}>")
_WORD_CHARS: Final = 400
"""What a name stands for; the text of an object of the owner's is shorter."""
_COPY_CHARS: Final = 1_000
"""A longer expression is no copy: how often a pattern looks at a text grows with its square."""


@lru_cache(limits.COMPARED_TEXTS)  # each rule that denied something compares it
def essence_of(recipe: str) -> str:
    """A text that is equal for recipes of the same value, as far as that can be seen.

    Args:
        recipe: of `Facts`; lines of ``v3 = …``, inputs first, and one without a name at the end.
    """
    known: dict[str, str] = {}
    result = ""
    for line in same_text(recipe).splitlines():
        name, is_named, expression = line.partition(" = ")
        if not (is_named and _NAME.fullmatch(name)):
            name, expression = "", line
        filled = _NAME.sub(lambda found: known.get(found[0], found[0]), expression)
        of = _same_as(filled)
        result = known[name] = of if 0 < len(of) <= _WORD_CHARS else _digest(of or filled)
    return result if _DIGEST.fullmatch(result) else _digest(result)


def _digest(text: str) -> str:
    return f"<{sha256(text.encode(errors='surrogatepass')).hexdigest()}>"


def _same_as(expression: str) -> str:
    """What an expression is a copy of; empty if it is no copy."""
    if len(expression) > _COPY_CHARS:
        return ""
    for pattern in _SAME:
        found = pattern.fullmatch(expression)
        if found is not None:
            return found["of"]
    return ""
