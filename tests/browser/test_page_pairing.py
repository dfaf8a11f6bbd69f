"""The pairing page in Chromium, with a real server and a real owner."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import segno
from playwright.sync_api import expect

from tests.browser.owner_kit import Owner
from tests.browser.page_kit import page_server
from tests.browser.visit_kit import SHARE, Camera, Visit, accept, visit

ID = "SGX2NCYHG6RXHHGMFG3GD2RPQ8KDAEZ0"
OTHER_CLIENT = "C96Q4X2CQYCHJEXPRA2FAFSQAD4CRZY2"


@pytest.fixture(scope="module")
def url(signalling: str) -> Iterator[str]:
    with page_server(signalling=signalling) as found:
        yield found


@pytest.fixture
def visitor(chromium: Any, url: str) -> Iterator[Visit]:
    with visit(chromium, url) as made:
        yield made


@pytest.fixture
def camera(tmp_path: Path) -> Camera:
    return Camera(tmp_path)


@pytest.fixture
def session_id(owner: Owner, signalling: str) -> Iterator[str]:
    yield owner.launch(signalling, share=SHARE)
    owner.run("duet.close()")


def test_a_link_leads_to_a_verified_connection(
    visitor: Visit, owner: Owner, session_id: str, camera: Camera
) -> None:
    page = visitor.page
    visitor.open(f"#{session_id}")
    assert page.input_value("#code") == session_id
    assert page.inner_text("#code-note") == "This is a complete session ID."
    camera.take(page, "pairing-link")
    page.click("#connect")
    page.get_by_text("Waiting for the owner to enter your client ID").wait_for()
    assert "Connecting" in page.inner_text("#badge")
    assert page.is_enabled("#stop")
    camera.take(page, "pairing-waiting")
    owner.expect(visitor.client_id)
    visitor.in_workbench(owner)
    page.locator("#badge", has_text="Verified · direct").wait_for()
    steps = page.locator("#steps > li")
    assert [steps.nth(i).get_attribute("data-state") for i in range(5)] == ["done"] * 5
    times = [steps.nth(i).locator("time").text_content() or "" for i in range(5)]
    assert all(time.endswith(("ms", "s")) for time in times), times
    assert owner.run("str(duet.peer)").find(visitor.client_id) >= 0
    assert not [asked for asked in visitor.requested if session_id in asked]


def test_a_typo_is_told_at_once_in_the_words_of_the_protocol(
    visitor: Visit, camera: Camera
) -> None:
    page = visitor.page
    visitor.open()

    def told(text: str) -> str:
        page.fill("#code", text)
        return str(page.inner_text("#code-note"))

    assert told(ID) == "This is a complete session ID."
    assert told(f" {ID[:4].lower()}-{ID[4:]}\t") == "This is a complete session ID."
    assert page.is_enabled("#connect")
    swapped = ID[:6] + ID[7] + ID[6] + ID[8:]
    wrong = "Not a session ID: a character is wrong or two are swapped. Compare and try again."
    assert told(swapped) == wrong
    assert page.get_attribute("#code", "aria-invalid") == "true"
    assert not page.is_enabled("#connect")
    camera.take(page, "pairing-typo")
    assert told(ID[:4] + "U" + ID[5:]) == "Not a session ID: character 5 cannot occur in one."
    assert told(ID + "S") == "Not a session ID: 33 of 32 characters."
    assert told(OTHER_CLIENT) == (
        "That is a client ID (it starts with C); your partner's session ID starts with S."
    )
    assert told(visitor.client_id) == "That is your own ID."


def test_the_line_that_the_owner_sends_can_be_pasted_whole(visitor: Visit) -> None:
    page = visitor.page
    visitor.open()
    before = page.input_value("#server")
    page.fill("#code", f'    duet = sy.join_duet("{ID}")')
    assert page.input_value("#code") == ID
    assert page.inner_text("#code-note") == "This is a complete session ID."
    assert page.input_value("#server") == before
    page.fill("#code", f'duet = sy.join_duet("{ID}", network_url="http://192.168.1.20:8765")')
    assert page.input_value("#code") == ID
    assert page.is_visible("#server")
    assert page.input_value("#server") == "http://192.168.1.20:8765"
    assert "http://192.168.1.20:8765" in page.inner_text("#sentence")
    assert page.is_enabled("#connect")
    page.fill("#code", f"https://duet.example.org/#{ID}")
    assert page.input_value("#code") == ID


def test_who_still_types_sees_a_count_and_who_has_finished_the_mistake(visitor: Visit) -> None:
    page = visitor.page
    visitor.open()
    page.click("#code")
    page.keyboard.type(ID[:31])
    assert page.inner_text("#code-note") == "31 of 32 characters"
    page.keyboard.press("Tab")
    assert page.inner_text("#code-note") == "Not a session ID: 31 of 32 characters."


def test_the_own_id_can_be_read_copied_and_scanned(visitor: Visit) -> None:
    page = visitor.page
    visitor.open()
    assert len(visitor.client_id) == 32
    groups = page.text_content("#client-id").split("-")
    assert [len(group) for group in groups] == [4] * 8
    page.click("#copy-id")
    expect(page.locator("#copy-id")).to_have_text("Copied")
    assert page.locator("#copy-id use").get_attribute("href") == "#icon-tick"
    assert page.evaluate("navigator.clipboard.readText()") == visitor.client_id
    page.click("#copy-sentence")
    sentence = page.evaluate("navigator.clipboard.readText()")
    assert sentence == page.inner_text("#sentence")
    assert "-".join(groups) in sentence
    picture = page.get_by_role("img", name="QR code of your client ID")
    assert picture.is_visible()
    path = picture.locator("path").get_attribute("d")
    dark = {(int(x) - 2, int(y) - 2) for x, y in re.findall(r"M(\d+) (\d+)h", path)}
    assert dark in [modules(visitor.client_id, mask) for mask in range(8)]


def modules(text: str, mask: int) -> set[tuple[int, int]]:
    """The dark modules of a text's QR code, by another encoder."""
    code = segno.make(text, error="m", micro=False, boost_error=False, mask=mask)
    return {(x, y) for y, row in enumerate(code.matrix) for x, is_dark in enumerate(row) if is_dark}


@pytest.mark.slow
def test_a_reload_keeps_the_id_and_joins_again_by_itself(
    visitor: Visit, owner: Owner, session_id: str
) -> None:
    visitor.open()
    visitor.join(owner, session_id)
    before = owner.run("str(duet.peer)")
    visitor.run("m = ages.float().mean()")
    visitor.page.reload()
    visitor.in_workbench(owner)
    visitor.page.locator("#badge", has_text="Verified").wait_for()
    assert owner.run("str(duet.peer)") == before
    visitor.run("again = ages.float().mean()")
    visitor.ask("again", "after the reload")
    accept(owner)
    visitor.state_of("again", "Released")


@pytest.mark.slow
def test_stop_ends_the_session_and_leave_goes_back(
    visitor: Visit, owner: Owner, session_id: str
) -> None:
    page = visitor.page
    visitor.open()
    visitor.join(owner, session_id)
    page.click("#stop")
    page.locator("#badge", has_text="Closed").wait_for()
    assert "You stopped the session" in page.inner_text("#link-note")
    page.click("#stop")
    assert page.is_visible("#pairing")
    assert page.input_value("#code") == session_id
    page.reload()
    visitor.page.wait_for_selector("#client-id > span:nth-child(8)")
    assert page.is_visible("#pairing")
    assert "Not connected" in page.inner_text("#badge")


def test_stop_ends_an_attempt(visitor: Visit, session_id: str) -> None:
    page = visitor.page
    visitor.open(f"#{session_id}")
    page.click("#connect")
    page.get_by_text("Waiting for the owner to enter your client ID").wait_for()
    page.click("#stop")
    page.locator("#badge", has_text="Not connected").wait_for()
    assert page.is_enabled("#connect")


def test_a_link_that_is_no_link_is_a_mistake_in_the_field(visitor: Visit) -> None:
    visitor.open("#%E0%A4%A")
    assert visitor.page.input_value("#code") == "%E0%A4%A"
    told = visitor.page.inner_text("#code-note")
    assert told == "Not a session ID: character 1 cannot occur in one."


def test_an_address_that_cannot_be_one_is_told_at_its_field(visitor: Visit) -> None:
    page = visitor.page
    visitor.open(f"#{ID}")
    page.click("#advanced summary")
    page.fill("#server", "http://sig.example.org")
    assert "https" in page.inner_text("#server-note")
    assert not page.is_enabled("#connect")
    page.fill("#server", "https://sig.example.org/duet")
    assert page.is_enabled("#connect")
    assert "https://sig.example.org/duet" in page.inner_text("#sentence")


def test_a_step_that_fails_says_what_to_do_and_can_be_tried_again(
    chromium: Any, url: str, owner: Owner, session_id: str, signalling: str, camera: Camera
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        with visit(chromium, url) as visitor:
            page = visitor.page
            visitor.open(f"#{session_id}")
            page.click("#advanced summary")
            page.fill("#server", closed)
            page.click("#connect")
            page.get_by_role("button", name="Try again").wait_for()
            assert page.get_attribute("[data-stage=signalling]", "data-state") == "failed"
            assert page.inner_text("#failure .alert").replace("\n", "") == (
                f"The signalling server {closed} cannot be used."
                "It would be on this machine. If the owner works here, start their session first;"
                " if not, enter the server that you both use under “Advanced”."
            )
            assert "Could not connect" in page.inner_text("#badge")
            camera.take(page, "pairing-failed")
            page.fill("#server", signalling)
            page.get_by_role("button", name="Try again").click()
            owner.expect(visitor.client_id)
            visitor.in_workbench(owner)
            refused = [text for text in visitor.complaints if "ERR_CONNECTION_REFUSED" in text]
            assert visitor.complaints == refused  # Chromium itself says that nobody answered
            visitor.complaints.clear()


def test_the_page_says_who_served_it(visitor: Visit, url: str) -> None:
    visitor.open()
    said = visitor.page.inner_text("#served")
    assert "your own machine" in said
    assert url.rstrip("/") in said
