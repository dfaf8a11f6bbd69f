"""The way to the live panel, for both facades.

The panel shows sessions, so it ranks above them, and its library is optional: it is imported by
its name when it is first shown.
"""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec
from typing import Any

from duet_p2p.errors import NotAllowed

__all__ = ["Panelled", "in_notebook"]


class Panelled:
    """A session that has a panel: `panel()`, and by itself as the last line of a cell."""

    _panel: Any = None

    def panel(self) -> Any:
        """The live panel of this session, an anywidget; the same one each time.

        It follows the session while cells run, and shows what waits with buttons to decide.

        Raises:
            NotAllowed: `anywidget` is not installed.
        """
        if self._panel is None:
            if find_spec("anywidget") is None:
                raise NotAllowed(
                    "The panel needs anywidget: pip install 'duet-p2p[notebook]'. Everything that "
                    "it shows is in duet.requests, too."
                )
            self._panel = importlib.import_module("duet_p2p.notebook.panel").panel_of(self)
        return self._panel

    def _repr_html_(self) -> str:
        raise NotImplementedError

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        bundle: dict[str, Any] = {"text/plain": repr(self), "text/html": self._repr_html_()}
        if in_notebook() and find_spec("anywidget") is not None:
            shown = self.panel()._repr_mimebundle_()
            data = shown[0] if isinstance(shown, tuple) else shown or {}
            bundle.update({kind: value for kind, value in data.items() if kind != "text/plain"})
        return bundle


def in_notebook() -> bool:
    """Whether this process is a Jupyter kernel; IPython is never imported to find out."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")
