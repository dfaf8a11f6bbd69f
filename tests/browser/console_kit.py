"""A real browser, a real owner process and a real scientist process for the console's tests."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.browser.page_kit import pictures
from tests.e2e.script import Script

__all__ = ["DEADLINE", "Console", "Partners", "chromium", "eventually", "shoot"]

DEADLINE = 60.0
CHROMIUM = "/usr/bin/chromium"
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # a name that somebody has made to point to this machine
    "--host-resolver-rules=MAP rebound.example 127.0.0.1",
)

# Lines that a test types are run one after the other, and answered with a number.
_LOOP = """
import sys, time, torch, traceback
import duet_p2p as sy
print("ready", flush=True)
for number, line in enumerate(sys.stdin, 1):
    try:
        exec(eval(line), globals())
    except BaseException:
        traceback.print_exc()
        print(f"failed {number}", flush=True)
    else:
        print(f"done {number}", flush=True)
"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Chromium without a window; where there is none the test is skipped, in CI it fails."""
    if not Path(CHROMIUM).exists():
        if os.environ.get("CI") == "true":
            pytest.fail("chromium is not installed")
        pytest.skip("chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(_ARGUMENTS))
        yield browser
        browser.close()


class Partners:
    """An owner and a scientist of one user, paired by the loopback folder."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.scripts: dict[str, Script] = {}
        self._lines: dict[str, int] = {}
        for name in ("owner", "scientist"):
            path = home / f"{name}.py"
            path.write_text(_LOOP)
            self.scripts[name] = Script(path, home)
            self._lines[name] = 0
        for script in self.scripts.values():
            script.wait_for_print("^(ready)", DEADLINE)
        self.start("owner", "duet = sy.launch_duet(loopback=True, logging=False)")
        self.scientist("duet = sy.join_duet(loopback=True, logging=False, timeout=60)")
        self.finish("owner")

    def start(self, name: str, code: str) -> None:
        """Types code and goes on."""
        self._lines[name] += 1
        self.scripts[name].type_line(repr(code))

    def finish(self, name: str) -> None:
        """Waits for the last code that was typed."""
        number = self._lines[name]
        script = self.scripts[name]
        ended = script.wait_for_print(rf"^((?:done|failed) {number})$", DEADLINE)
        assert ended.startswith("done"), script.printed()

    def owner(self, code: str) -> None:
        """Runs code in the owner's main thread."""
        self.start("owner", code)
        self.finish("owner")

    def scientist(self, code: str) -> None:
        """Runs code in the scientist's main thread."""
        self.start("scientist", code)
        self.finish("scientist")

    @contextmanager
    def busy(self, name: str) -> Iterator[None]:
        """The main thread there computes until this ends."""
        flag = self.home / f"{name} may go on"
        self.start(name, f"import os\nwhile not os.path.exists({str(flag)!r}): sum(range(100_000))")
        try:
            yield
        finally:
            flag.touch()
            self.finish(name)

    def told(self, name: str, expression: str) -> str:
        """What an expression prints there."""
        number = self._lines[name] + 1
        self.start(name, f"print('value {number}:', {expression}, flush=True)")
        self.finish(name)
        return self.scripts[name].wait_for_print(rf"^value {number}: (.*)$", DEADLINE)

    def close(self) -> None:
        for script in self.scripts.values():
            script.kill()


class Console:
    """One browser context with the console open, and what went wrong in it."""

    def __init__(self, browser: Browser, partners: Partners, **options: Any) -> None:
        options = {"viewport": {"width": 1440, "height": 960}, **options}
        self.partners = partners
        self.context: BrowserContext = browser.new_context(**options)
        self.context.set_default_timeout(30_000)
        self.page: Page = self.context.new_page()
        self.trouble: list[str] = []
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.trouble.append(str(error)))

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.trouble.append(message.text)

    def open(self) -> Page:
        """By the redirect file, as a person's browser does."""
        path = self.partners.told("owner", "duet.console(open_browser=False).path")
        self.page.goto(Path(path).as_uri())
        self.page.wait_for_selector('#badge[data-state="open"]')
        return self.page

    def another(self) -> Page:
        """A second tab with the console."""
        first, self.page = self.page, self.context.new_page()
        try:
            return self.open()
        finally:
            self.page = first

    def close(self) -> None:
        self.context.close()


def eventually(is_true: Callable[[], bool], what: str) -> None:
    """Waits until something is so."""
    deadline = time.monotonic() + DEADLINE
    while not is_true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def shoot(page: Page, name: str, folder: Path) -> None:
    """A picture for people; see `page_kit.pictures`."""
    page.screenshot(path=str(pictures(folder) / f"console-{name}.png"), full_page=True)
