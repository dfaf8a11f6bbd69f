"""Tables of what the other side wrote, as DataFrames that show it as text.

pandas escapes what it shows in a notebook, with two doors left open. JupyterLab typesets ``$…$`` in
any HTML, and TeX can draw over other cells, so the table bears the classes at which MathJax turns
back. And `style` escapes nothing unless it is asked to.

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
