"""A person with the pairing page in front of them: types, clicks, reads. Nothing of its inside."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.browser.owner_kit import Owner
from tests.browser.page_kit import PATIENCE_MS, pictures, watch

OTHERS = """
hours = torch.rand(200) * 10
duet.send(hours, tags=["hours"], description="Hours of study in a week")
score = 3 * hours + 12 + 0.1 * torch.randn(200)
duet.send(score, tags=["score"], description="Score in the exam")
duet.send(torch.rand(64, 28, 28), tags=["scans", "pilot"], shapes="private",
          description="One scan for each patient. Not to be used outside of the pilot.")
"""
SHARE = (
    """
torch.manual_seed(0)
ages = torch.tensor([25, 32, 49, 65, 88, 22] * 20)
duet.send(ages, tags=["ages"], description="Ages of 120 patients at admission")
"""
    + OTHERS
)
SHARED = ["ages", "hours", "score", "scans"]


_NEXT = "import time\nwhile not duet.requests.requests: time.sleep(0.02)\n"  # a look at all


def waiting(owner: Owner) -> tuple[str, str]:
    """Name and reason of the request that the owner sees next."""
    found: tuple[str, str] = owner.run(_NEXT + "(duet.requests[0].name, duet.requests[0].reason)")
    return found


def accept(owner: Owner) -> None:
    """The owner accepts the next request."""
    owner.run(_NEXT + "duet.requests[0].accept()")


def deny(owner: Owner, reason: str) -> None:
    """The owner denies the next request."""
    owner.run(_NEXT + f"duet.requests[0].deny({reason!r})")


class Visit:
    """One browser context with the page open."""

    def __init__(self, context: Any, url: str) -> None:
        self.context = context
        self.url = url
        self.page = context.new_page()
        self.complaints = watch(self.page)
        self.requested: list[str] = []
        self.page.on("request", lambda request: self.requested.append(request.url))

    def open(self, fragment: str = "") -> None:
        """Opens the page, with a link's fragment if there is one, and waits for its ID."""
        self.page.goto(self.url + fragment)
        self.page.wait_for_selector("#client-id > span:nth-child(8)")

    @property
    def client_id(self) -> str:
        """What a person reads out."""
        return re.sub(r"[^0-9A-Z]", "", self.page.inner_text("#client-id"))

    def join(self, owner: Owner, session_id: str) -> None:
        """Types the session ID, has the owner type the client ID, waits for the workbench."""
        self.page.fill("#code", session_id)
        self.page.click("#connect")
        owner.expect(self.client_id)
        self.in_workbench(owner)

    def in_workbench(self, owner: Owner) -> None:
        self.page.wait_for_selector("#workbench:not([hidden])")
        owner.wait()
        self.page.wait_for_selector(f"#shared li:nth-child({len(SHARED)})")

    def run(self, source: str) -> None:
        """Runs a text, and waits until its entry says that it is done."""
        before = self.page.locator("#entries > li").count()
        self.page.fill("#source", source)
        self.page.press("#source", "Control+Enter")
        self.until(
            f"document.querySelectorAll('#entries > li').length > {before}"
            " && document.querySelector('#run').textContent.trim() === 'Run'"
        )

    def until(self, condition: str) -> None:
        """Waits for an expression to hold; Playwright's own wait needs the eval that is denied."""
        deadline = time.monotonic() + PATIENCE_MS / 1000
        while not self.page.evaluate(condition):
            assert time.monotonic() < deadline, f"it never held: {condition}"
            self.page.wait_for_timeout(20)

    def chip(self, name: str) -> Any:
        """The newest chip of this name."""
        return self.page.locator(".chip", has=self.page.get_by_text(name, exact=True)).first

    def ask(self, name: str, reason: str = "") -> None:
        """Asks for a result."""
        chip = self.chip(name)
        chip.locator(".ask-button").click()
        chip.get_by_label("Why you need it").fill(reason)
        chip.get_by_role("button", name="Send request").click()

    def state_of(self, name: str, words: str) -> None:
        """Waits until the chip says these words."""
        self.chip(name).locator(".state", has_text=words).wait_for()

    def is_wide(self) -> bool:
        """Whether the page can be scrolled sideways."""
        return bool(
            self.page.evaluate(
                "document.documentElement.scrollWidth > document.documentElement.clientWidth"
            )
        )


@contextmanager
def visit(chromium: Any, url: str, **options: Any) -> Iterator[Visit]:
    """A fresh browser context; at its end nothing was complained of, the policy least of all."""
    context = chromium.new_context(**options)
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=url.rstrip("/"))
    made = Visit(context, url)
    try:
        yield made
        assert made.complaints == []
    finally:
        context.close()


class Camera:
    """Pictures of every state, for people; see `page_kit.pictures`."""

    def __init__(self, folder: Path) -> None:
        self._folder = pictures(folder)

    def take(self, page: Any, name: str) -> None:
        """Four pictures: wide and narrow, light and dark. The page is wide and light after it."""
        for width, height in ((390, 844), (1440, 900)):
            page.set_viewport_size({"width": width, "height": height})
            for scheme in ("dark", "light"):
                page.emulate_media(color_scheme=scheme)
                page.evaluate("scrollTo(0, 0)")  # the bar sticks to the top of what is seen
                path = self._folder / f"{name}-{width}-{scheme}.png"
                page.screenshot(path=path, full_page=True, animations="disabled")
