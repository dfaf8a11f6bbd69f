"""Real pages in a real Chromium: start it, open a page, and read what it says when it fails."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from signaling_server.pages import Pages, PageServer

WEB = Path(__file__).parents[2] / "web"
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_MS = 30_000


def chromium_path() -> str:
    """Where Chromium is; skips the test where it is not installed, fails in CI."""
    found = next(
        (p for p in ("chromium", "chromium-browser", "google-chrome") if shutil.which(p)), None
    )
    path = os.environ.get("DUET_CHROMIUM") or (found and shutil.which(found))
    if path:
        with contextlib.suppress(ImportError):
            import playwright.sync_api  # noqa: F401

            return path
    if os.environ.get("CI") == "true":
        pytest.fail("chromium is not installed")
    pytest.skip("chromium is not installed")


@contextmanager
def browser(*more: str) -> Iterator[Any]:
    """A headless Chromium, with more arguments if there are any."""
    path = chromium_path()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=[*ARGUMENTS, *more])
        try:
            yield chromium
        finally:
            chromium.close()


@contextmanager
def page_server(
    folder: Path = WEB, *, signalling: str, label: str = "test", top: tuple[str, ...] = ()
) -> Iterator[str]:
    """The server of `duet web` in a thread; gives its URL."""
    pages = Pages.read(folder, top) if top else Pages.read(folder)
    server = PageServer(pages, label=label, port=0, signalling=signalling)
    started, stop = threading.Event(), threading.Event()

    async def run() -> None:
        await server.start()
        started.set()
        await asyncio.get_running_loop().run_in_executor(None, stop.wait)
        await server.close()

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield server.url
    finally:
        stop.set()
        thread.join(10)


_SMALL = """() => [...document.querySelectorAll(
    'button, input, textarea, select, summary, a[href], [role=option]')]
  .filter((one) => one.checkVisibility({visibilityProperty: true}))
  .map((one) => one.matches('[type=checkbox], [type=radio]') ? one.closest('label') ?? one : one)
  .map((one) => [one, one.getBoundingClientRect()])
  .filter(([, {width, height, bottom}]) => bottom > 0 && (width < 43.5 || height < 43.5))
  .map(([one, {width, height}]) =>
    `${one.tagName} ${one.id || one.className} "${one.textContent.trim().slice(0, 30)}": `
    + `${Math.round(width)} × ${Math.round(height)}`)"""


def too_small(page: Any) -> list[str]:
    """What a thumb would miss: things to operate of less than 44 px in width or height."""
    found: list[str] = page.evaluate(_SMALL)
    return found


def pictures(folder: Path) -> Path:
    """Where pictures for people go: `DUET_SCREENSHOTS`; in CI build/screens, which it keeps."""
    in_ci = WEB.parent / "build" / "screens" if os.environ.get("CI") == "true" else folder
    where = Path(os.environ.get("DUET_SCREENSHOTS") or in_ci)
    where.mkdir(parents=True, exist_ok=True)
    return where


def watch(page: Any) -> list[str]:
    """Collects what a page complains about: console errors, uncaught exceptions, CSP."""
    complaints: list[str] = []
    page.on(
        "console",
        lambda message: (
            complaints.append(message.text) if message.type in ("error", "warning") else None
        ),
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.set_default_timeout(PATIENCE_MS)
    return complaints
