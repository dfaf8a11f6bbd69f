"""The files of the page: a closed set, read once. No path of a request ever reaches the disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import signaling_server
from duet_p2p.errors import DuetError

__all__ = ["PageFile", "page_files"]

_SOURCES: Final = "src/console"


@dataclass(frozen=True, slots=True)
class PageFile:
    """What one path answers."""

    content_type: str
    data: bytes


def page_files() -> Mapping[str, PageFile]:
    """Path to file: the page, its style sheet and its modules.

    In a checkout they are in `web/`, in an installed package in `signaling_server/pages/`.

    Raises:
        DuetError: they are in neither place.
    """
    package = Path(signaling_server.__file__).parent
    for root in (package.parent / "web", package / "pages"):
        if (root / "console.html").is_file():
            break
    else:
        raise DuetError("The files of the console are not installed. Install duet-p2p again.")
    found = {
        "/": PageFile("text/html", (root / "console.html").read_bytes()),
        "/console.css": PageFile("text/css", (root / "console.css").read_bytes()),
    }
    for path in sorted((root / _SOURCES).glob("*.js")):
        found[f"/{_SOURCES}/{path.name}"] = PageFile("text/javascript", path.read_bytes())
    return found
