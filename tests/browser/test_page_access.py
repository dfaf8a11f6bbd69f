"""The page for everybody: screen readers, keyboards, small screens, dark rooms, no motion."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.owner_kit import Owner
from tests.browser.page_kit import page_server, too_small
from tests.browser.visit_kit import SHARE, Camera, Visit, accept, deny, visit

WIDTHS = (320, 390, 1440)
ID = "SGX2NCYHG6RXHHGMFG3GD2RPQ8KDAEZ0"
NOBODY = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def url(signalling: str) -> Iterator[str]:
    with page_server(signalling=signalling) as found:
        yield found


@pytest.fixture
def visitor(chromium: Any, url: str) -> Iterator[Visit]:
    with visit(chromium, url, reduced_motion="reduce") as made:
        yield made


def violations(page: Any) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {one['help']} ({node['target']})" for one in found for node in one["nodes"]
    ]


def moving(page: Any) -> int:
    found: int = page.evaluate(
        "document.getAnimations().filter(({playState}) => playState === 'running').length"
    )
    return found


def checked(visitor: Visit) -> None:
    """No violation in light and dark, no scrolling sideways, nothing too small for a thumb."""
    page = visitor.page
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        assert violations(page) == []
    assert moving(page) == 0
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        assert not visitor.is_wide(), width
    page.set_viewport_size({"width": 390, "height": 800})
    assert violations(page) == []
    assert too_small(page) == []
    page.set_viewport_size({"width": 1440, "height": 900})


@pytest.mark.slow
def test_pairing_is_open_to_everybody(visitor: Visit) -> None:
    page = visitor.page
    visitor.open()
    checked(visitor)
    page.click("#advanced summary")
    page.fill("#code", "SGX2NCYHG6RXHHGMFG3GD2RPQ8KDAEZ1")
    checked(visitor)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        box = page.locator("#client-id").bounding_box()
        size = page.locator("#client-id").evaluate("e => parseFloat(getComputedStyle(e).fontSize)")
        assert box["x"] >= 0 and box["x"] + box["width"] <= width
        assert size >= 19


@pytest.mark.slow
def test_waiting_and_failing_are_open_to_everybody(
    visitor: Visit, signalling: str, tmp_path: Path
) -> None:
    page, camera = visitor.page, Camera(tmp_path)
    visitor.open(f"#{ID}")
    page.click("#connect")
    page.get_by_text("Waiting for the owner to enter your client ID").wait_for()
    page.emulate_media(reduced_motion="no-preference")
    assert moving(page) > 0
    checked(visitor)
    page.click("#stop")
    page.click("#advanced summary")
    page.fill("#server", NOBODY)
    page.set_viewport_size({"width": 390, "height": 700})
    page.click("#connect")
    page.get_by_role("button", name="Try again").wait_for()
    alert = page.locator("#failure .alert").bounding_box()
    assert alert["y"] + alert["height"] <= 700, "what went wrong is not seen"
    checked(visitor)
    camera.take(page, "pairing-nobody")
    assert [text for text in visitor.complaints if "ERR_" not in text] == []
    visitor.complaints.clear()  # Chromium itself says that nobody answered


def test_dark_and_light_follow_the_system(visitor: Visit) -> None:
    page = visitor.page
    visitor.open()
    grounds = set()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(grounds) == 2


def tab_to(page: Any, name: str) -> None:
    """Presses Tab until what is called so has the focus."""
    for _ in range(40):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            "(({activeElement: e}) => (e.getAttribute('aria-label') ?? e.textContent).trim())"
            "(document)"
        )
        if focused == name:
            return
    raise AssertionError(f"{name} cannot be reached with Tab")


@pytest.mark.slow
def test_from_the_link_to_a_value_with_the_keyboard_alone(
    visitor: Visit, owner: Owner, signalling: str
) -> None:
    page = visitor.page
    session_id = owner.launch(signalling, share=SHARE)
    visitor.open()
    # the field has the focus from the start
    page.keyboard.insert_text(session_id)
    page.keyboard.press("Enter")
    page.get_by_text("Waiting for the owner to enter your client ID").wait_for()
    owner.expect(visitor.client_id)
    visitor.in_workbench(owner)
    visitor.until("document.activeElement.id === 'source'")
    page.keyboard.type("m = ages.float().mea")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.keyboard.type("()")
    page.keyboard.press("Enter")
    visitor.chip("m").wait_for()

    tab_to(page, "Request")
    page.keyboard.press("Enter")
    visitor.until("document.activeElement.name === 'reason'")
    page.keyboard.type("Only with keys")
    checked(visitor)
    page.keyboard.press("Enter")
    accept(owner)
    visitor.state_of("m", "Released")
    visitor.run("h = torch.histc(ages.float(), 10)")
    visitor.ask("h", "Distribution")
    accept(owner)
    visitor.state_of("h", "Released")
    visitor.run("t = scans.mean(0)")
    visitor.ask("t", "No")
    deny(owner, "no")
    visitor.state_of("t", "Denied")
    page.fill("#source", "ages.maen()")
    page.press("#source", "Control+Enter")
    page.click("#log-details summary")
    checked(visitor)
    page.get_by_role("button", name="Table").first.click()
    checked(visitor)
    page.click("#source")
    page.keyboard.press("Escape")
    tab_to(page, "Remove from the list")
    page.click("#source")
    page.keyboard.type("ages.m")
    page.locator("#completions [role=option]").first.wait_for()
    checked(visitor)
    owner.run("duet.close()")
    page.locator("#badge", has_text="Closed").wait_for()
    checked(visitor)
