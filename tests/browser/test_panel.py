"""The live panel in a real JupyterLab: an owner's notebook, and a scientist in another process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.browser.jupyter_kit import CHROMIUM, CHROMIUM_ARGS, Lab, LabNotebook
from tests.e2e.notebook import Notebook

_MISSING = [n for n in ("jupyterlab", "anywidget", "playwright") if find_spec(n) is None]
if not Path(CHROMIUM).exists():
    _MISSING.append(CHROMIUM)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        bool(_MISSING) and os.environ.get("CI") != "true", reason=f"missing: {', '.join(_MISSING)}"
    ),
]

LAUNCH = """
import torch, duet_p2p as sy
duet = sy.launch_duet(loopback=True, timeout=120)
ages = torch.arange(20.0).tag("ages").send(duet)
"""
BUSY = """
import os, time
end = time.monotonic() + 60
while not os.path.exists("go on") and time.monotonic() < end: time.sleep(0.05)
os.remove("go on")
"""
TEX = r"""
from IPython.display import HTML
HTML(r"<b>$\beta$</b>")
"""
APPEARS_MS = 15_000


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    made = Lab(tmp_path_factory.mktemp("lab"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    made = chromium.new_page(viewport={"width": 1100, "height": 1200})
    yield made
    made.close()


@pytest.fixture
def scientist(lab: Lab) -> Iterator[Notebook]:
    made = Notebook("scientist", lab.folder)
    yield made
    made.close()


def keep(page: Any, lab: Lab, name: str) -> None:
    """Keeps a picture, where somebody wants to look at it."""
    folder = Path(os.environ.get("DUET_SCREENSHOTS", lab.folder))
    page.screenshot(path=str(folder / f"panel-{name}.png"))


def paired(lab: Lab, page: Any, scientist: Notebook, name: str, dark: bool = False) -> LabNotebook:
    notebook = lab.open(page, name, [LAUNCH, "duet", BUSY, "duet.requests", TEX], dark=dark)
    notebook.start(0)
    scientist.run("import duet_p2p as sy\nduet = sy.join_duet(loopback=True, timeout=90)", 100)
    notebook.wait_done(0)
    notebook.run(1)
    page.locator(".duet-panel").wait_for(timeout=APPEARS_MS)
    scientist.run(
        "import time\nwhile not len(duet.store): time.sleep(0.01)\nages = duet.store['ages']"
    )
    return notebook


def card(page: Any, text: str) -> Any:
    return page.locator(".duet-request", has_text=text)


def test_an_owner_accepts_and_denies_on_the_panel(lab: Lab, page: Any, scientist: Notebook) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    paired(lab, page, scientist, "decide.ipynb")
    assert "connected" in page.locator(".duet-badge").inner_text()
    scientist.run("mean = ages.mean(); mean.request(name='mean', reason='how old?')")
    scientist.run("raw = ages.request(name='raw', reason='all of it')")
    card(page, "how old?").wait_for(timeout=APPEARS_MS)
    card(page, "all of it").wait_for(timeout=APPEARS_MS)
    keep(page, lab, "light")
    assert "aggregate" in card(page, "how old?").inner_text()
    page.wait_for_timeout(700)  # a new row takes no click for half a second
    card(page, "how old?").locator(".duet-accept").click()
    card(page, "how old?").wait_for(state="detached", timeout=APPEARS_MS)
    assert scientist.run("mean.get().item()") == pytest.approx(9.5)
    page.wait_for_timeout(700)
    card(page, "all of it").locator(".duet-word").fill("raw data stays here")
    card(page, "all of it").locator(".duet-deny").click()
    card(page, "all of it").wait_for(state="detached", timeout=APPEARS_MS)
    assert scientist.run("str(raw.wait(10))") == "Rejected"
    scientist.run("duet.close()")
    page.locator(".duet-badge[data-state=closed]").wait_for(timeout=APPEARS_MS)
    assert not errors


def test_a_request_appears_while_the_owners_cell_is_busy(
    lab: Lab, page: Any, scientist: Notebook
) -> None:
    notebook = paired(lab, page, scientist, "busy.ipynb", dark=True)
    notebook.start(2)
    scientist.run("total = ages.sum(); asked = total.request(name='sum', reason='in the middle')")
    card(page, "in the middle").wait_for(timeout=APPEARS_MS)
    assert notebook.is_running(2)
    page.wait_for_timeout(700)
    card(page, "in the middle").locator(".duet-accept").click()
    page.get_by_text("The notebook is busy").wait_for(timeout=APPEARS_MS)
    keep(page, lab, "busy-dark")
    (lab.folder / "notebooks" / "go on").touch()
    card(page, "in the middle").wait_for(state="detached", timeout=APPEARS_MS)
    assert scientist.run("total.get().item()") == 190


def test_hostile_words_stay_words(lab: Lab, page: Any, scientist: Notebook) -> None:
    notebook = paired(lab, page, scientist, "hostile.ipynb")
    texts = ["<img src=x onerror='window.hit=1'>", r"$\href{javascript:1}{x}$ \(\alpha\) $$x$$"]
    for text in texts:
        scientist.run(f"ages.sum().request(name={text!r}, reason={text!r})")
        card(page, text).wait_for(timeout=APPEARS_MS)
    notebook.run(3)
    table = notebook.cell(3).locator(".duet-card")
    table.wait_for(timeout=APPEARS_MS)
    for text in texts:
        assert text in table.inner_text()
    notebook.run(4)
    page.locator("mjx-container").first.wait_for(timeout=APPEARS_MS)  # JupyterLab does typeset HTML
    assert page.locator("mjx-container").count() == 1
    assert page.locator(".jp-OutputArea img").count() == 0
    assert page.evaluate("window.hit") is None
