"""From a request in the scientist's process to its row on the owner's console, in Chromium."""

from __future__ import annotations

import importlib.util
import shutil
import time
from pathlib import Path
from typing import Any

from scripts.benchmark.chromium import FLAGS
from scripts.benchmark.pair import Pair, shared_pair
from scripts.benchmark.rows import Report, Row, median

__all__ = ["measure"]

_MILLISECONDS = 30_000
# Notes when a name was first drawn: after the change, before the browser paints it.
_WATCH = """
window.seen = {};
new MutationObserver(() => {
  for (const name of document.querySelectorAll(".card .name")) {
    window.seen[name.textContent] ??= Date.now();
  }
}).observe(document.body, {childList: true, subtree: true, characterData: true});
"""


def measure(report: Report, *, repeats: int) -> None:
    """Two rows; skipped where there is no Chromium."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None or importlib.util.find_spec("playwright") is None:
        report.skipped["console"] = "needs chromium and the package playwright"
        return
    from playwright.sync_api import sync_playwright

    with shared_pair(accepts=False) as both, sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=list(FLAGS))
        try:
            page = browser.new_page()
            path = both.owner.run("str(duet.console(open_browser=False).path)")
            page.goto(Path(path).as_uri())
            page.wait_for_selector('#badge[data-state="open"]', timeout=_MILLISECONDS)
            page.evaluate(_WATCH)
            both.owner.run("torch.arange(64.).tag('ages').send(duet)\n1")
            found = [_seconds(both, page, f"request {number}") for number in range(repeats)]
        finally:
            browser.close()
    report.add(
        Row("a request until its row is on the console", median(found), "s", "median", 0.1),
        Row("the same", max(found), "s", f"the slowest of {repeats}"),
    )


def _seconds(both: Pair, page: Any, name: str) -> float:
    mean = both.duet.store["ages"].mean()
    time.sleep(0.2)  # what went before is drawn
    asked = time.time()
    mean.request(name=name)
    page.wait_for_function("name => name in window.seen", arg=name, timeout=_MILLISECONDS)
    drawn = page.evaluate("name => window.seen[name]", name) / 1e3
    return float(drawn - asked)
