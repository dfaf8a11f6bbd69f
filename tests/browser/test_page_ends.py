"""What a person reads when a session does not go well: no way out for UDP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.owner_kit import Owner
from tests.browser.page_kit import browser, page_server
from tests.browser.visit_kit import SHARE, Camera, visit

pytestmark = pytest.mark.slow  # attempts have to fail, links have to be lost

NO_UDP = "--webrtc-ip-handling-policy=disable_non_proxied_udp"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser that may not send UDP except through a proxy, as in some organisations."""
    with browser(NO_UDP) as found:
        yield found


@pytest.fixture(scope="module")
def url(signalling: str) -> Iterator[str]:
    with page_server(signalling=signalling) as found:
        yield found


def test_a_browser_without_udp_is_told_so_with_a_way_out(
    chromium: Any, url: str, owner: Owner, signalling: str, tmp_path: Path
) -> None:
    with visit(chromium, url) as visitor:
        page = visitor.page
        session_id = owner.launch(signalling, share=SHARE)
        visitor.open(f"#{session_id}")
        page.click("#connect")
        page.get_by_text("Waiting for the owner to enter your client ID").wait_for()
        owner.expect(visitor.client_id)
        path = page.locator("[data-stage=path] .say", has_text="blocks UDP")
        path.wait_for(timeout=60_000)
        said = path.inner_text()
        assert "Ask the host of the signalling server for TURN" in said
        Camera(tmp_path).take(page, "pairing-no-udp")
        page.click("#stop")
        owner.run("duet.close()")
