"""What people hold, as small HTML tables for notebooks: every `_repr_html_` is made here.

A name, a reason or a tag is often the other side's text, and a notebook runs what it shows. So no
text becomes markup: `field` is the only door, it cleans, cuts and escapes, and everything else in
the tables is written in this file. Two things that escaping alone does not stop:

* JupyterLab typesets ``$…$`` in any HTML output, and TeX can make links: the root element bears the
  classes at which MathJax turns back.
* Direction marks and invisible characters let a text look like another one: `words` drops them.

Nothing here may wait, ask or touch the network: the callers pass plain values from memory.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from duet_p2p import limits
from duet_p2p.objects.words import clean_line, clean_text

__all__ = ["card", "field", "lines", "shown", "table"]

_ROOT: Final = '<div class="duet-card mathjax_ignore tex2jax_ignore" style="max-width: 60em">'
_CELL: Final = (
    ' style="text-align: left; vertical-align: top; overflow-wrap: anywhere; min-width: 6em"'
)
_SHORT: Final = ' style="text-align: left; vertical-align: top; white-space: nowrap"'
"""For names of facts and columns, which are this program's, and positions."""
_COLUMN_CHARS: Final = 40
"""No column of plain text is padded beyond this."""
_CODE: Final = ' style="margin: 0; white-space: pre-wrap; text-align: left"'


def shown(value: object, chars: int = limits.CARD_FIELD_CHARS) -> str:
    """A value in words, clean and cut, not escaped: for texts and for front ends that escape."""
    if value is None:
        text = "—"
    elif isinstance(value, bool):
        text = "yes" if value else "no"
    elif isinstance(value, int):
        text = f"{value:,}"
    elif isinstance(value, str):
        text = value
    elif isinstance(value, list | set | frozenset):
        text = ", ".join(shown(item) for item in list(value)[:chars]) or "—"
    else:
        text = str(value)
    line = clean_line(text, chars + 1)
    return line if len(line) <= chars else line[: chars - 1] + "…"


def field(value: object, chars: int = limits.CARD_FIELD_CHARS) -> str:
    """A value as HTML text: clean, cut and escaped, for the inside of an element."""
    return html.escape(shown(value, chars))


def card(
    title: str,
    facts: Mapping[str, object] | Iterable[tuple[str, object]],
    *,
    state: str = "",
    code: str | None = None,
) -> str:
    """One object: its kind, its state, its facts, and code to read.

    Args:
        title: what it is; of this program, but escaped like everything.
        facts: names and values, in order.
        state: one word beside the title.
        code: some lines of code, shown as they are.
    """
    pairs = facts.items() if isinstance(facts, Mapping) else facts
    rows = "".join(
        f"<tr><th{_SHORT}>{field(name)}</th><td{_CELL}>{field(value)}</td></tr>"
        for name, value in pairs
    )
    if code is not None:
        text = html.escape(clean_text(code, limits.CARD_CODE_CHARS))
        rows += f'<tr><td colspan="2"{_CELL}><pre{_CODE}>{text}</pre></td></tr>'
    badge = f" <em>{field(state)}</em>" if state else ""
    return (
        f"{_ROOT}<div><strong>{field(title)}</strong>{badge}</div>"
        f"<table><tbody>{rows}</tbody></table></div>"
    )


def lines(rows: Sequence[Sequence[Any]], *, empty: str) -> str:
    """A list of objects as plain text in columns, the first `limits.CARD_ROWS` of them."""
    cells = [[shown(value) for value in row] for row in rows[: limits.CARD_ROWS]]
    widths = [min(max(map(len, column)), _COLUMN_CHARS) for column in zip(*cells, strict=True)]
    text = [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
    more = len(rows) - limits.CARD_ROWS
    return "\n".join([*text, *([f"… {more:,} more"] if more > 0 else [])]) if rows else empty


def table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, empty: str = ""
) -> str:
    """A list of objects, the first `limits.CARD_ROWS` of them.

    Args:
        title: what they are.
        columns: names.
        rows: plain values, in the order of the columns.
        empty: what to say when there is none.
    """
    if not rows:
        return f"{_ROOT}<em>{field(empty or title)}</em></div>"
    head = "".join(f"<th{_SHORT}>{field(name)}</th>" for name in columns)
    styles = [_CELL if name else _SHORT for name in columns]
    body = "".join(
        "<tr>"
        + "".join(f"<td{s}>{field(v)}</td>" for s, v in zip(styles, row, strict=True))
        + "</tr>"
        for row in rows[: limits.CARD_ROWS]
    )
    more = len(rows) - limits.CARD_ROWS
    rest = f"<div><em>… {more:,} more</em></div>" if more > 0 else ""
    return (
        f"{_ROOT}<div><strong>{field(title)}</strong></div>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}</div>"
    )
