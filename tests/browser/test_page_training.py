"""A linear regression from the page: no Python on this side, no value before it is released."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.owner_kit import Owner
from tests.browser.page_kit import page_server
from tests.browser.visit_kit import SHARE, Camera, Visit, accept, visit

pytestmark = pytest.mark.slow  # hundreds of steps

LOCAL = """
w = torch.zeros(1, 1, requires_grad=True)
b = torch.zeros(1, requires_grad=True)
opt = torch.optim.Adam([w, b], lr=0.3)
losses = []
for step in range(200):
    opt.zero_grad()
    loss = ((hours.reshape(-1, 1) @ w + b - score.reshape(-1, 1)) ** 2).mean()
    loss.backward()
    opt.step()
    losses.append(loss.item())
[w.item(), b.item(), losses[0], losses[-1]]
"""


@pytest.fixture
def bench(chromium: Any, owner: Owner, signalling: str) -> Iterator[Visit]:
    with page_server(signalling=signalling) as url, visit(chromium, url) as made:
        session_id = owner.launch(signalling, share=SHARE, engine="process")
        made.open()
        made.join(owner, session_id)
        yield made
        owner.run("duet.close()")


def test_the_example_finds_the_line_and_its_losses_are_drawn(
    bench: Visit, owner: Owner, tmp_path: Path
) -> None:
    page = bench.page
    camera = Camera(tmp_path)
    page.click("#example")
    source = page.input_value("#source")
    assert "hours.float()" in source
    assert "score.float()" in source
    camera.take(page, "workbench-example")
    bench.run(source)
    assert page.locator("#entries .told").first.inner_text().startswith("1008 statements")
    for name, reason in (("w", "The slope"), ("b", "The offset"), ("curve", "Did it converge?")):
        bench.ask(name, reason)
        accept(owner)
        bench.state_of(name, "Released")
    slope = float(bench.chip("w").locator(".value").inner_text())
    offset = float(bench.chip("b").locator(".value").inner_text())
    wanted = owner.run(LOCAL)
    assert [slope, offset] == pytest.approx(wanted[:2], rel=1e-3)
    assert slope == pytest.approx(3, abs=0.2)
    plot = bench.chip("curve").locator("svg.plot")
    label = plot.get_attribute("aria-label")
    assert label.startswith("Line chart of curve, 200 values: first ")
    first, last = (
        float(part.split()[1].rstrip(",")) for part in label.split(": ")[1].split(", ")[:2]
    )
    assert [first, last] == pytest.approx(wanted[2:], rel=1e-2)
    assert last < first / 20
    camera.take(page, "workbench-training")
    bench.run("w.data = w.data * 0\nzero = w.sum()")
    bench.ask("zero", "Was it set?")
    accept(owner)
    bench.state_of("zero", "Released")
    assert bench.chip("zero").locator(".value").inner_text() == "0"


def test_a_running_script_can_be_ended(bench: Visit) -> None:
    page = bench.page
    page.fill("#source", "for i in range(15000):\n    last = ages + i")
    page.press("#source", "Control+Enter")
    page.get_by_role("button", name="End the script").click()
    page.locator("#entries .told", has_text="Stopped after").wait_for()
    bench.run("after = ages.float().mean()")
    assert bench.chip("after").is_visible()
