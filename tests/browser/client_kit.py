"""A page without anything on it but the client library, for tests of the library itself."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.browser.owner_kit import Owner
from tests.browser.page_kit import PATIENCE_MS, WEB, page_server, watch

_HTML = """<!doctype html><html lang="en"><meta charset="utf-8"><title>client</title>
<link rel="icon" href="data:,">
<script type="module" src="src/bare.js"></script></html>
"""
_SCRIPT = """
import * as duet from './session.js';
globalThis.duet = duet;
globalThis.told = [];
globalThis.open = (options) => {
  const session = new duet.Session(options);
  for (const event of ['stage', 'state', 'store', 'request', 'failure', 'log'])
    session.addEventListener(event, ({ detail }) => told.push([event, detail]));
  globalThis.session = session;
  return session;
};
"""


@contextmanager
def bare_pages(folder: Path, signalling: str) -> Iterator[str]:
    """The URL of a page with `duet` (session.js), `open({sessionId, url})` and `told` in scope."""
    shutil.copytree(WEB / "src", folder / "src", dirs_exist_ok=True)
    (folder / "src" / "bare.js").write_text(_SCRIPT)
    (folder / "index.html").write_text(_HTML)
    with page_server(folder, signalling=signalling) as url:
        yield url


class Client:
    """A page that is or will be connected."""

    def __init__(self, page: Any, url: str) -> None:
        self.page = page
        self.url = url
        self.complaints = watch(page)
        page.goto(url)
        self.until("globalThis.duet !== undefined")
        self.client_id = str(
            page.evaluate("duet.Session.identity().then(({clientId}) => clientId)")
        )

    def begin(self, session_id: str, signalling: str) -> None:
        """Starts to connect and does not wait."""
        self.page.evaluate(
            "([sessionId, url]) => { globalThis.connecting = open({sessionId, url}).connect();"
            " connecting.catch(() => {}); }",
            [session_id, signalling],
        )

    def connected(self) -> None:
        """Waits until it is open; raises what went wrong."""
        answer = self.page.evaluate(
            "connecting.then(() => null, ({code, message, remedy}) => ({code, message, remedy}))"
        )
        assert answer is None, answer

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression, which may be a promise; `session` is in scope."""
        return self.page.evaluate(
            f"Promise.race([(async () => ({script}))(), new Promise((_, reject) => setTimeout("
            f"() => reject(new Error('nothing came for {PATIENCE_MS} ms')), {PATIENCE_MS}))])"
        )

    def until(self, condition: str) -> None:
        """Waits for an expression to hold. Playwright's own wait needs eval: the CSP forbids it."""
        deadline = time.monotonic() + PATIENCE_MS / 1000
        while not self.page.evaluate(condition):
            assert time.monotonic() < deadline, f"it never held: {condition}"
            self.page.wait_for_timeout(20)

    def told(self, event: str) -> list[Any]:
        """The details of all events of a kind."""
        return list(
            self.page.evaluate(
                f"told.filter(([kind]) => kind === '{event}').map(([, detail]) => detail)"
            )
        )


def pair(owner: Owner, client: Client, signalling: str, share: str = "", **options: object) -> None:
    """Connects as people do: the session ID is pasted, the client ID is typed."""
    session_id = owner.launch(signalling, share=share, **options)
    client.begin(session_id, signalling)
    owner.expect(client.client_id)
    client.connected()
    owner.wait()
