"""Pictures of the documentation: of a screen's size, small files, each one shown somewhere."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KINDS = ("pairing", "workbench", "console", "panel")  # of scripts/docs_pictures
PICTURES = [
    path
    for path in sorted((ROOT / "docs" / "images").glob("*.png"))
    if path.stem.split("-")[0] in KINDS
]
SCREENS = (390, 1440)
MOST_BYTES = 150_000
PAGES = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]


def test_there_are_pictures_of_pairing_workbench_and_console() -> None:
    assert {"pairing", "workbench", "console"} <= {path.stem for path in PICTURES}


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.stem)
def test_pictures_are_small_and_have_the_width_of_a_screen(path: Path) -> None:
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    (width,) = struct.unpack(">I", data[16:20])
    assert width in SCREENS
    assert len(data) <= MOST_BYTES


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.stem)
def test_each_picture_is_shown_on_a_page(path: Path) -> None:
    assert any(f"images/{path.name})" in page.read_text(encoding="utf-8") for page in PAGES)
