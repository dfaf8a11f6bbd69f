"""Tabs that can be in the background, as those of a person who reads something else meanwhile.

Playwright keeps each of its own pages awake and in front, whatever lies over them. These tabs are
Chromium's alone: opened and spoken to by its debugging protocol, throttled and frozen as usual.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.browser.page_kit import ARGUMENTS, PATIENCE_MS, chromium_path

AWAKE = (
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
)
"""What Playwright adds to a browser's command line, and people do not."""


class Window:
    """A window of a fresh profile, with tabs."""

    def __init__(self, browser: Any) -> None:
        self._clock = browser.new_context().new_page()  # its waiting lets events come in
        self._session = browser.new_browser_cdp_session()
        self._session.on("Target.receivedMessageFromTarget", self._heard)
        self._profile = self.send("Target.createBrowserContext")["browserContextId"]
        self._heard_of: dict[str, list[dict[str, Any]]] = {}

    def send(self, method: str, **parameters: Any) -> Any:
        return self._session.send(method, parameters)

    def _heard(self, event: dict[str, Any]) -> None:
        self._heard_of.setdefault(event["sessionId"], []).append(json.loads(event["message"]))

    def heard(self, session: str) -> list[dict[str, Any]]:
        """What a tab said since this was asked last."""
        return self._heard_of.pop(session, [])

    def wait(self, ms: float) -> None:
        self._clock.wait_for_timeout(ms)

    def tab(self) -> Tab:
        """A new tab, in front of the others."""
        return Tab(self, self._profile)


class Tab:
    """One tab; it has what `client_kit.Client` needs of a page."""

    def __init__(self, window: Window, profile: str) -> None:
        self._window, self._number = window, 0
        created = window.send("Target.createTarget", url="about:blank", browserContextId=profile)
        self._target: str = created["targetId"]
        attached = window.send("Target.attachToTarget", targetId=self._target, flatten=False)
        self._session: str = attached["sessionId"]
        self._complain: list[Any] = []
        self.send("Runtime.enable")
        self.send("Page.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol and its answer."""
        self._number += 1
        message = json.dumps({"id": self._number, "method": method, "params": parameters})
        self._window.send("Target.sendMessageToTarget", sessionId=self._session, message=message)
        deadline = time.monotonic() + PATIENCE_MS / 1000
        while True:
            for said in self._window.heard(self._session):
                if said.get("method") == "Runtime.exceptionThrown":
                    for told in self._complain:
                        told(said["params"]["exceptionDetails"].get("text"))
                if said.get("id") == self._number:
                    assert "error" not in said, said
                    answer: dict[str, Any] = said["result"]
                    return answer
            assert time.monotonic() < deadline, f"no answer to {method}"
            self.wait_for_timeout(10)

    def goto(self, url: str) -> None:
        self.send("Page.navigate", url=url)
        deadline = time.monotonic() + PATIENCE_MS / 1000
        while self.evaluate("document.readyState") != "complete":
            assert time.monotonic() < deadline, url
            self.wait_for_timeout(20)

    def evaluate(self, source: str, argument: object = None) -> Any:
        """The value of an expression, or of a function of one argument; promises are waited for."""
        expression = source if argument is None else f"({source})({json.dumps(argument)})"
        answer = self.send(
            *("Runtime.evaluate",),
            **{"expression": expression, "returnByValue": True, "awaitPromise": True},
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def on(self, event: str, heard: Any) -> None:
        if event == "pageerror":
            self._complain.append(heard)

    def set_default_timeout(self, _ms: float) -> None:
        """Every wait here has its own end."""

    def wait_for_timeout(self, ms: float) -> None:
        self._window.wait(ms)

    def to_front(self) -> None:
        self._window.send("Target.activateTarget", targetId=self._target)

    def freeze(self) -> None:
        """No timer and no script runs, as while the machine sleeps."""
        self.send("Page.setWebLifecycleState", state="frozen")

    def thaw(self) -> None:
        self.send("Page.setWebLifecycleState", state="active")


@contextmanager
def window() -> Iterator[Window]:
    """Chromium as people have it: what is not seen is slowed down."""
    path = chromium_path()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=list(ARGUMENTS), ignore_default_args=list(AWAKE)
        )
        try:
            yield Window(browser)
        finally:
            browser.close()
