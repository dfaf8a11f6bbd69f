"""A session in a real JupyterLab and in plain Notebook: prompts, the live panel, tables."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.browser.jupyter_kit import CHROMIUM, CHROMIUM_ARGS, Jupyter, JupyterNotebook
from tests.browser.page_kit import pictures
from tests.e2e.conftest import home, server
from tests.e2e.notebook import Notebook

__all__ = ["home", "server"]

_NEEDED = ("jupyterlab", "notebook", "anywidget", "playwright")
_MISSING = [n for n in _NEEDED if find_spec(n) is None]
if not Path(CHROMIUM).exists():
    _MISSING.append(CHROMIUM)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.timeout(500),
    pytest.mark.skipif(
        bool(_MISSING) and os.environ.get("CI") != "true", reason=f"missing: {', '.join(_MISSING)}"
    ),
]

LAUNCH = """
import torch, duet_p2p as sy
duet = sy.launch_duet(loopback=True, timeout=200)
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
APPEARS_MS = 60_000
OWNER_SHOWS = {
    "duet": "connected",
    "duet.store": "ages",
    "duet.requests": "the mean",
    "duet.requests[0]": "the mean",
    "duet.requests.handlers": "loss",
    "duet.audit": "share",
}
"""What an owner may end a cell with, and a text that has to be seen then."""
SCIENTIST_SHOWS = {
    "duet": "connected",
    "duet.store": "ages",
    "duet.store['ages']": "int64",
    "duet.requests": "the mean",
    "asked": "the mean",
}
LAUNCH_ASKING = "duet = sy.launch_duet(timeout=200)"
SHARE = """
import time, torch
ages = torch.arange(20).tag("ages").send(duet)
duet.requests.add_handler(name="loss", action="accept")
while not len(duet.requests): time.sleep(0.05)
"""
JOIN = "duet = sy.join_duet(timeout=200)"
ASK = """
import time
while not len(duet.store): time.sleep(0.05)
asked = duet.store["ages"].float().mean().request(name="the mean", reason="how old?")
"""
MEET = "import os, duet_p2p as sy\nos.environ['DUET_SIGNALING_URL'] = {!r}"


both_programs = pytest.mark.parametrize("jupyter", ["jupyterlab", "notebook"], indirect=True)
in_jupyterlab = pytest.mark.parametrize("jupyter", ["jupyterlab"], indirect=True)


@pytest.fixture(scope="module")
def jupyter(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Jupyter]:
    made = Jupyter(tmp_path_factory.mktemp(request.param), request.param)
    yield made
    made.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
        yield browser
        browser.close()


@dataclass
class Session:
    """An owner's notebook in a page, paired with a scientist's process."""

    notebook: JupyterNotebook
    page: Any
    scientist: Notebook
    errors: list[str]


@pytest.fixture(scope="module")
def session(jupyter: Jupyter, chromium: Any) -> Iterator[Session]:
    """One for all tests of a program: kernels and pairing take longer than what is tested."""
    page = chromium.new_page(viewport={"width": 1100, "height": 1200})
    scientist = Notebook("scientist", jupyter.folder)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(f"{error}\n{error.stack}"))
    try:
        cells = [LAUNCH, "duet", BUSY, "duet.requests", TEX]
        dark = jupyter.program == "jupyterlab"
        notebook = jupyter.open(page, "session.ipynb", cells, dark=dark)
        notebook.start(0)
        scientist.run("import duet_p2p as sy\nduet = sy.join_duet(loopback=True, timeout=200)", 210)
        notebook.wait_done(0)
        notebook.run(1)
        page.locator(".duet-panel").wait_for(timeout=APPEARS_MS)
        scientist.run(
            "import time\nwhile not len(duet.store): time.sleep(0.01)\nages = duet.store['ages']"
        )
        yield Session(notebook, page, scientist, errors)
    finally:
        scientist.close()
        page.close()


def keep(page: Any, jupyter: Jupyter, name: str) -> None:
    """Keeps a picture, where somebody wants to look at it."""
    folder = pictures(jupyter.folder)
    page.screenshot(path=str(folder / f"panel-{jupyter.program}-{name}.png"))


def card(page: Any, text: str) -> Any:
    return page.locator(".duet-request", has_text=text)


@both_programs
def test_an_owner_accepts_and_denies_on_the_panel(jupyter: Jupyter, session: Session) -> None:
    page, scientist = session.page, session.scientist
    assert "connected" in page.locator(".duet-badge").inner_text()
    scientist.run("mean = ages.mean(); mean.request(name='mean', reason='how old?')")
    scientist.run("raw = ages.request(name='raw', reason='all of it')")
    card(page, "how old?").wait_for(timeout=APPEARS_MS)
    card(page, "all of it").wait_for(timeout=APPEARS_MS)
    keep(page, jupyter, "requests")
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


@both_programs
def test_two_notebooks_pair_at_their_prompts_and_show_what_they_hold(
    jupyter: Jupyter, chromium: Any, server: str
) -> None:
    page, other = (chromium.new_page(viewport={"width": 1100, "height": 1200}) for _ in range(2))
    try:
        meet = MEET.format(server)
        owner = jupyter.open(page, "owner.ipynb", [meet, LAUNCH_ASKING, SHARE, *OWNER_SHOWS])
        scientist = jupyter.open(other, "scientist.ipynb", [meet, JOIN, ASK, *SCIENTIST_SHOWS])
        for notebook in (owner, scientist):
            notebook.run(0)
            notebook.start(1)
        session_id = owner.wait_for_output(1, r"Session ID: ([0-9A-Z-]+)")
        assert scientist.answer("The owner's session ID: ", session_id)
        client_id = scientist.wait_for_output(1, r"(C[0-9A-Z-]{38})")
        assert owner.answer("Your partner's client ID: ", client_id)
        for notebook in (owner, scientist):
            notebook.wait_done(1)
            assert "verified" in notebook.output(1)
        owner.start(2)  # ends with the scientist's request
        scientist.run(2)
        owner.wait_done(2)
        for notebook, names in ((owner, OWNER_SHOWS), (scientist, SCIENTIST_SHOWS)):
            for number, (name, text) in enumerate(names.items(), 3):
                notebook.run(number)
                notebook.wait_for_output(number, text)
                shown = notebook.cell(number).locator(".jp-RenderedHTMLCommon table, .duet-panel")
                assert shown.count() >= 1, f"{name} is plain text: {notebook.output(number)}"
        keep(page, jupyter, "owner-tables")
        keep(other, jupyter, "scientist-tables")
    finally:
        page.close()
        other.close()


@in_jupyterlab
def test_a_request_appears_while_the_owners_cell_is_busy(
    jupyter: Jupyter, session: Session
) -> None:
    notebook, page, scientist = session.notebook, session.page, session.scientist
    notebook.start(2)
    scientist.run("total = ages.sum(); asked = total.request(name='sum', reason='in the middle')")
    card(page, "in the middle").wait_for(timeout=APPEARS_MS)
    assert notebook.is_running(2)
    page.wait_for_timeout(700)
    card(page, "in the middle").locator(".duet-accept").click()
    page.get_by_text("The notebook is busy").wait_for(timeout=APPEARS_MS)
    keep(page, jupyter, "busy")
    (jupyter.folder / "notebooks" / "go on").touch()
    card(page, "in the middle").wait_for(state="detached", timeout=APPEARS_MS)
    assert scientist.run("total.get().item()") == 190
    notebook.wait_done(2)


@in_jupyterlab
def test_hostile_words_stay_words(jupyter: Jupyter, session: Session) -> None:
    notebook, page = session.notebook, session.page
    texts = ["<img src=x onerror='window.hit=1'>", r"$\href{javascript:1}{x}$ \(\alpha\) $$x$$"]
    for text in texts:
        session.scientist.run(f"ages.sum().request(name={text!r}, reason={text!r})")
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


@both_programs
def test_a_session_that_is_over_says_so(jupyter: Jupyter, session: Session) -> None:
    """The last one of each program."""
    session.scientist.run("duet.close()")
    session.page.locator(".duet-badge[data-state=closed]").wait_for(timeout=APPEARS_MS)
    # The panel's code is loaded from a blob; Notebook has errors of its own while it starts.
    assert not [error for error in session.errors if "blob:" in error]
