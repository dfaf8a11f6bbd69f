"""What holds for all tests."""

from __future__ import annotations

import asyncio
import os
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("duet", deadline=None)  # a busy machine is no failure
settings.load_profile("duet")

_FIRST = ("e2e", "browser", "network", "docs")
"""Folders whose files take long and wait much: with them last, one worker would end alone."""


def pytest_configure(config: pytest.Config) -> None:
    """Keys, logs and known peers of tests are none of the user's who runs them."""
    folder = tempfile.TemporaryDirectory(prefix="duet-tests-")
    os.environ["DUET_HOME"] = str(Path(folder.name) / "duet")
    config.add_cleanup(folder.cleanup)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        folder = item.path.parent.name
        return _FIRST.index(folder) if folder in _FIRST else len(_FIRST)

    items.sort(key=rank)


_loops: weakref.WeakSet[asyncio.BaseEventLoop] = weakref.WeakSet()
_made = asyncio.BaseEventLoop.__init__


def _noted(loop: Any) -> None:
    _made(loop)
    _loops.add(loop)


asyncio.BaseEventLoop.__init__ = _noted  # type: ignore[method-assign]


@pytest.fixture(scope="module", autouse=True)
def no_loop_is_left() -> Iterator[None]:
    """Closes the event loops that a library left open in this module, a kernel's client for one.

    Else the collector meets them at any time, and some later test is blamed for the warning.
    """
    before = set(_loops)
    yield
    for loop in set(_loops) - before:
        if not loop.is_running() and not loop.is_closed():
            loop.close()
