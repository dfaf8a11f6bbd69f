"""The workbench in Chromium: shared objects, expressions, requests, results."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.owner_kit import Owner
from tests.browser.page_kit import page_server
from tests.browser.visit_kit import SHARE, SHARED, Camera, Visit, accept, deny, visit, waiting


@pytest.fixture(scope="module")
def bench(chromium: Any, owner: Owner, signalling: str) -> Iterator[Visit]:
    """One session for all tests here: each works on names of its own."""
    with page_server(signalling=signalling) as url, visit(chromium, url) as made:
        session_id = owner.launch(signalling, share=SHARE, engine="process")
        made.open()
        made.join(owner, session_id)
        yield made
        owner.run("duet.close()")


@pytest.fixture
def camera(tmp_path: Path) -> Camera:
    return Camera(tmp_path)


def test_shared_objects_are_cards_and_a_click_writes_their_name(bench: Visit) -> None:
    page = bench.page
    cards = page.locator("#shared .tile")
    assert [cards.nth(i).locator(".name").inner_text() for i in range(4)] == SHARED
    assert "120 values, int64" in cards.nth(0).inner_text()
    assert "Ages of 120 patients" in cards.nth(0).inner_text()
    assert "shape not public" in cards.nth(3).inner_text()
    assert cards.nth(3).locator(".tag").inner_text() == "pilot"
    page.fill("#source", "")
    cards.nth(0).click()
    assert page.input_value("#source") == "ages"
    assert page.evaluate("document.activeElement.id") == "source"
    page.keyboard.type(" + ")
    cards.nth(1).click()
    assert page.input_value("#source") == "ages + hours"
    page.fill("#source", "")


def test_a_named_result_is_asked_for_released_and_used(
    bench: Visit, owner: Owner, camera: Camera
) -> None:
    page = bench.page
    bench.run("m = ages.float().mean()")
    assert bench.chip("m").locator(".facts").inner_text() == "ages.float().mean() · Tensor"
    bench.ask("m", "Mean age for the report")
    bench.state_of("m", "Waiting")
    assert page.title() == "(1) Duet"
    camera.take(page, "workbench-waiting")
    assert waiting(owner) == ("m", "Mean age for the report")
    accept(owner)
    bench.state_of("m", "Released")
    assert bench.chip("m").locator(".value").inner_text() == "46.8333"
    assert page.title() == "Duet"
    bench.run("twice = m * 2")
    bench.ask("twice")
    accept(owner)
    bench.state_of("twice", "Released")
    assert bench.chip("twice").locator(".value").inner_text() == "93.6667"


def test_a_denial_shows_the_owners_reason_as_plain_text(bench: Visit, owner: Owner) -> None:
    reason = "<b>One</b> person\u202e is too few."
    bench.run("first = ages[0]")
    bench.ask("first", "one age")
    deny(owner, reason)
    bench.state_of("first", "Denied")
    shown = bench.chip("first").locator(".why")
    assert shown.inner_text() == "The owner’s reason: <b>One</b> person is too few."
    listed = bench.page.locator("#requests > li").first
    assert "Denied" in listed.inner_text()
    assert "<b>One</b> person is too few." in listed.inner_text()
    assert bench.page.locator("#workbench b").count() == 0


def test_a_request_can_be_withdrawn(bench: Visit, owner: Owner) -> None:
    bench.run("later = ages.float().std()")
    bench.ask("later", "perhaps")
    assert waiting(owner) == ("later", "perhaps")
    bench.page.locator("#requests > li").first.get_by_role("button", name="Withdraw").click()
    bench.state_of("later", "Withdrawn")
    owner.run("import time\nwhile len(duet.requests): time.sleep(0.02)")


def test_a_request_that_nobody_decides_says_so(bench: Visit, owner: Owner) -> None:
    bench.run("slow = ages.float().var()")
    bench.chip("slow").locator(".ask-button").click()
    limit = bench.chip("slow").get_by_label("Wait")
    limit.locator("option").nth(1).evaluate("option => { option.value = '1'; }")  # not a minute
    limit.select_option(index=1)
    bench.chip("slow").get_by_role("button", name="Send request").click()
    bench.state_of("slow", "Expired")
    assert bench.chip("slow").locator(".why").inner_text() == "Nobody decided in time."
    assert bench.chip("slow").get_by_role("button", name="Ask again").is_visible()
    assert "Expired" in bench.page.locator("#requests > li").first.inner_text()


def test_a_histogram_is_drawn_with_axes_and_said_in_words(
    bench: Visit, owner: Owner, camera: Camera
) -> None:
    bench.run("h = torch.histc(ages.float(), 10)")
    bench.ask("h", "The distribution")
    accept(owner)
    bench.state_of("h", "Released")
    chip = bench.chip("h")
    plot = chip.locator("svg.plot")
    label = plot.get_attribute("aria-label")
    assert label.startswith("Bar chart of h, 10 values: first 40, last 20"), label
    assert plot.locator(".bar").count() == 10
    assert plot.locator(".tick").count() > 5
    camera.take(bench.page, "workbench-histogram")
    chip.get_by_role("button", name="Table").click()
    assert chip.locator("tbody tr").count() == 10
    assert chip.locator("tbody td").first.inner_text() == "40"
    chip.get_by_role("button", name="Line").click()
    assert chip.locator("path.line").count() == 1


def test_a_picture_is_drawn_on_a_canvas(bench: Visit, owner: Owner) -> None:
    bench.run("picture = scans.mean(0)")
    bench.ask("picture", "The mean scan")
    accept(owner)
    bench.state_of("picture", "Released")
    canvas = bench.chip("picture").locator("canvas")
    assert "28 × 28 pixels" in canvas.get_attribute("aria-label")
    assert (
        canvas.evaluate("c => new Set(c.getContext('2d').getImageData(0, 0, 28, 28).data).size")
        > 50
    )


@pytest.mark.parametrize(
    ("source", "caret", "words"),
    [
        ("ages.maen()", "     ^^^^", "Did you mean mean?"),
        ("agse.mean()", "^^^^", "Did you mean ages?"),
        ("ages.mean(", "         ^", "never closed"),
        ("torch.load('x')", "      ^^^^", "no “load”"),
        ("ages and hours", "     ^^^", "&"),
    ],
)
def test_a_mistake_is_pointed_at(bench: Visit, source: str, caret: str, words: str) -> None:
    page = bench.page
    page.fill("#source", source)
    page.press("#source", "Control+Enter")
    mistake = page.locator(".mistake", has_text=words).first
    mistake.wait_for()
    assert mistake.locator(".caret").inner_text().rstrip("\n") == caret.rstrip()
    assert page.input_value("#source") == source
    page.fill("#source", "")


def test_what_fails_over_there_says_so_at_its_result(bench: Visit) -> None:
    bench.run("bad = ages + hours")
    bench.state_of("bad", "Failed")
    assert "torch.Tensor.__add__ failed" in bench.chip("bad").locator(".why").inner_text()
    bench.run("worse = (ages @ hours).mean()")
    told = bench.page.locator("#entries .told", has_text="failed on the owner's side").first
    told.wait_for()


def test_completion_and_history_work_with_the_keyboard(bench: Visit) -> None:
    page = bench.page
    page.fill("#source", "")
    page.click("#source")
    page.keyboard.type("ages.me")
    assert page.locator("#completions [role=option] code").first.inner_text() == "mean"
    page.keyboard.press("ArrowDown")
    active = page.get_attribute("#source", "aria-activedescendant")
    assert page.get_attribute(f"#{active}", "aria-selected") == "true"
    page.keyboard.press("Enter")
    assert page.input_value("#source") == "ages.mean"
    assert page.is_hidden("#completions")
    page.keyboard.type("(dim=0).ab")
    page.keyboard.press("Escape")
    assert page.is_hidden("#completions")
    page.fill("#source", "")
    bench.run("ages + 1")
    bench.run("ages + 2")
    page.click("#source")
    page.keyboard.press("ArrowUp")
    assert page.input_value("#source") == "ages + 2"
    page.keyboard.press("ArrowUp")
    assert page.input_value("#source") == "ages + 1"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert page.input_value("#source") == ""


def test_what_the_owner_shares_later_appears_and_moves_no_focus(bench: Visit, owner: Owner) -> None:
    page = bench.page
    page.fill("#source", "ages.fl")
    page.evaluate("document.querySelector('#source').setSelectionRange(2, 4)")
    evil = "<img src=x onerror=alert(1)> \u202eevil"
    owner.run(f"late = duet.send(torch.ones(3), tags=['late'], description={evil!r})")
    card = page.locator("#shared .tile", has_text="late")
    card.wait_for()
    assert "<img src=x onerror=alert(1)> evil" in card.inner_text()
    assert page.locator("#workbench img").count() == 0
    assert page.evaluate(
        "(({activeElement: e}) => [e.id, e.selectionStart, e.selectionEnd])(document)"
    ) == ["source", 2, 4]
    owner.run("late.delete()")
    card.wait_for(state="detached")
    page.fill("#source", "")


def test_a_dropped_result_is_gone_on_both_sides(bench: Visit, owner: Owner) -> None:
    bench.run("gone = ages + 5")
    bench.chip("gone").get_by_role("button", name="Drop gone").click()
    bench.page.fill("#source", "gone + 1")
    bench.page.press("#source", "Control+Enter")
    bench.page.locator(".mistake", has_text="There is no “gone” here.").first.wait_for()
    bench.page.fill("#source", "")


def test_the_activity_can_be_saved(bench: Visit) -> None:
    page = bench.page
    bench.run("noted = ages + 6")
    page.click("#log-details summary")
    with page.expect_download() as saving:
        page.click("#export-json")
    lines = json.loads(Path(saving.value.path()).read_text())
    assert saving.value.suggested_filename == "duet-activity.json"
    assert "Ran noted = ages + 6" in [line["text"] for line in lines]
    with page.expect_download() as saving:
        page.click("#export-text")
    assert "Ran noted = ages + 6" in Path(saving.value.path()).read_text()
    page.click("#log-details summary")


@pytest.mark.slow
def test_a_reload_brings_back_results_and_requests_and_what_was_released_meanwhile(
    bench: Visit, owner: Owner, camera: Camera
) -> None:
    page = bench.page
    bench.run("shown = ages.float().mean() + 1")
    bench.ask("shown", "seen before the reload")
    accept(owner)
    bench.state_of("shown", "Released")
    bench.run("changed = ages.float().sum()")
    bench.ask("changed")
    accept(owner)
    bench.state_of("changed", "Released")
    bench.run("changed.add_(1)")
    bench.run("refused = ages[1]")
    bench.ask("refused")
    deny(owner, "one person")
    bench.state_of("refused", "Denied")
    bench.run("collected = [shown, 2.0, 7]")
    bench.run("curious = ages.float().max()")
    bench.ask("curious", "to be taken back")
    assert waiting(owner)[0] == "curious"
    bench.run("pending = hours.mean()")
    bench.ask("pending", "decided while the page is away")
    owner.run("import time\nwhile len(duet.requests) < 2: time.sleep(0.02)")
    links = owner.run("duet.status()['links']")
    page.goto("about:blank")
    owner.run("next(r for r in duet.requests if r.name == 'pending').accept()")
    page.goto(bench.url)
    bench.in_workbench(owner)
    assert owner.run("duet.status()['links']") == links + 1
    bench.state_of("pending", "Released")
    assert bench.chip("pending").locator(".value").inner_text().startswith("4.")
    bench.chip("shown").locator(".value").wait_for()
    assert bench.chip("shown").locator(".value").inner_text() == "47.8333"
    assert owner.run("[r.name for r in duet.requests]") == ["curious"]  # nobody was asked again
    changed = bench.chip("changed").locator(".missing")
    changed.filter(has_text="It changed since the owner released it. Ask again.").wait_for()
    bench.state_of("refused", "Denied")
    assert "one person" in bench.chip("refused").locator(".why").inner_text()
    assert "47.8333" not in page.evaluate("JSON.stringify({...sessionStorage})")
    camera.take(page, "workbench-reloaded")

    row = page.locator("#requests > li", has_text="to be taken back")
    row.get_by_role("button", name="Withdraw").click()
    bench.state_of("curious", "Withdrawn")
    bench.run("stacked = torch.stack([collected[0], hours.mean()])")
    bench.ask("stacked")
    accept(owner)
    bench.state_of("stacked", "Released")
    page.reload()
    bench.in_workbench(owner)
    bench.chip("stacked").locator("svg.plot, .value, table").first.wait_for()
    page.locator("#log", has_text="Ran shown = ages.float().mean() + 1").wait_for(state="attached")


def test_an_owner_who_leaves_is_told_and_what_was_released_stays(
    bench: Visit, owner: Owner, camera: Camera
) -> None:
    """The last one: the session is over after it."""
    page = bench.page
    bench.run("kept = ages.float().mean()")
    bench.ask("kept")
    accept(owner)
    bench.state_of("kept", "Released")
    bench.run("open = ages.float().median()")
    bench.ask("open")
    assert waiting(owner)[0] == "open"
    owner.run("duet.close()")
    page.locator("#badge", has_text="Closed").wait_for()
    assert "The partner left" in page.inner_text("#link-note")
    bench.state_of("open", "Failed")
    assert bench.chip("kept").locator(".value").inner_text() == "46.8333"
    camera.take(page, "workbench-closed")
    page.get_by_role("button", name="Leave").click()
    assert page.is_visible("#pairing")
