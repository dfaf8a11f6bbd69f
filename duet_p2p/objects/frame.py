"""Tables of what the other side wrote, as DataFrames that show it as text.

pandas escapes what it shows in a notebook, with two doors left open. JupyterLab typesets ``$…$`` in
any HTML, and TeX can draw over other cells, so the table bears the classes at which MathJax turns
back. And `style` escapes nothing unless it is asked to.

A spreadsheet takes a text that begins like a formula for one, and a formula can read other cells
and fetch addresses. So what is written for one has an apostrophe in front of such texts.

It loads pandas, so it is imported where a table is wanted.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import pandas

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

__all__ = ["Frame", "frame_of"]


_NO_TEX: Final = 'class="tex2jax_ignore mathjax_ignore"'
_FORMULA: Final = tuple("=+-@\t\r\n＝＋－＠")


class Frame(pandas.DataFrame):
    """A DataFrame; so is all that is made of its rows and columns."""

    @property
    def _constructor(self) -> Callable[..., Frame]:
        return Frame

    def _repr_html_(self) -> str | None:
        with pandas.option_context("display.html.use_mathjax", False):
            return super()._repr_html_()  # type: ignore[misc, no-any-return]

    @property
    def style(self) -> Styler:
        """As of any DataFrame, with texts escaped."""
        styled: Styler = super().style.set_table_attributes(_NO_TEX).format(_escaped)
        return styled.format_index(_escaped, axis=0).format_index(_escaped, axis=1)

    def to_csv(self, *args: Any, **kwargs: Any) -> Any:
        """As of any DataFrame, with an apostrophe before what a spreadsheet takes for a formula."""
        return self._in_words().to_csv(*args, **kwargs)

    def to_excel(self, *args: Any, **kwargs: Any) -> None:  # type: ignore[misc]
        """As `to_csv`."""
        self._in_words().to_excel(*args, **kwargs)

    def to_clipboard(self, *args: Any, **kwargs: Any) -> None:  # type: ignore[misc]
        """As `to_csv`."""
        self._in_words().to_clipboard(*args, **kwargs)

    def _in_words(self) -> pandas.DataFrame:
        words = pandas.DataFrame(self).map(_word)
        words.index, words.columns = words.index.map(_word), words.columns.map(_word)
        return words


def _word(value: object) -> object:
    if isinstance(value, tuple):  # of an index with several levels
        return tuple(map(_word, value))
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _escaped(value: object) -> str:
    """The way of pandas escapes a text, and not a list of texts."""
    return html.escape(str(value))


def frame_of(rows: Sequence[Any], columns: Sequence[str]) -> Frame:
    """A table.

    Args:
        rows: each a tuple in the order of the columns, or a dict.
        columns: names.
    """
    return Frame(rows, columns=list(columns))
