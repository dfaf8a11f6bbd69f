"""What holds for all tests."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("duet", deadline=None)  # a busy machine is no failure
settings.load_profile("duet")

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
