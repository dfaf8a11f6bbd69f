"""Chromium, a signalling server process, an owner process: real ones, each started once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser import owner_kit, page_kit


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """One browser; each test opens contexts of its own in it.

    Not longer than its module: while it is open its event loop runs, and no async test can.
    """
    with page_kit.browser() as found:
        yield found


@pytest.fixture(scope="module")
def signalling(chromium: Any) -> Iterator[str]:
    """The URL of a signalling server process; after `chromium`, so that nothing starts in vain."""
    with owner_kit.signalling_server() as url:
        yield url


@pytest.fixture(scope="module")
def owner(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[owner_kit.Owner]:
    """An owner process with `torch` and `sy`; call `launch` for each session."""
    with owner_kit.owner(tmp_path_factory.mktemp("owner")) as made:
        yield made
