"""Takes the pictures of the documentation: real sessions, seen by Chromium at 1440 and at 390 px.

    scripts/docs_pictures [--out docs/images] [--only pairing console panel]

Each is a small PNG of 256 colours, so that a clone does not get heavy.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.browser import owner_kit, page_kit, visit_kit  # noqa: E402
from tests.browser.console_kit import Console, Partners, chromium  # noqa: E402
from tests.browser.jupyter_kit import Jupyter  # noqa: E402

MOST_BYTES = 150_000
WIDE, NARROW = (1440, 900), (390, 844)
AGES = """
torch.manual_seed(3)
ages = torch.randint(18, 90, (200,))
duet.send(ages, tags=["ages"], description="Ages of 200 patients at admission")
"""


class Album:
    """Where the pictures go."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def take(self, page: Any, name: str, size: tuple[int, int], scheme: str = "light") -> None:
        """What a screen of this size shows; no taller than the page."""
        page.set_viewport_size({"width": size[0], "height": size[1]})
        page.emulate_media(color_scheme=scheme)
        page.evaluate("scrollTo(0, 0)")
        page.wait_for_timeout(300)
        self.keep(page.screenshot(animations="disabled"), name)

    def keep(self, png: bytes, name: str) -> None:
        """Writes a picture with few colours."""
        image = Image.open(io.BytesIO(png)).convert("RGB")
        # of the methods this one keeps what is small and has a colour of its own, as a green dot
        few = image.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        path = self._folder / f"{name}.png"
        few.save(path, optimize=True)
        size = path.stat().st_size
        print(f"{path.name}: {image.width} × {image.height}, {size:,} bytes", flush=True)
        if size > MOST_BYTES:
            sys.exit(f"{path.name} has {size:,} bytes; at most {MOST_BYTES:,} are meant")


def pairing(album: Album, folder: Path) -> None:
    """The pairing page and the workbench."""
    with (
        page_kit.browser() as browser,
        owner_kit.signalling_server() as signalling,
        owner_kit.owner(folder / "owner") as owner,
        page_kit.page_server(signalling=signalling, label="d7f3k2m9q4") as url,
        visit_kit.visit(browser, url, viewport={"width": 1440, "height": 900}) as visitor,
    ):
        page = visitor.page
        session_id = owner.launch(signalling, share=AGES + visit_kit.OTHERS)
        visitor.open(f"#{session_id}")
        album.take(page, "pairing-phone", NARROW)
        page.set_viewport_size({"width": WIDE[0], "height": WIDE[1]})
        page.click("#connect")
        page.get_by_text("Waiting for the owner to enter your client ID").wait_for()
        album.take(page, "pairing", WIDE)
        owner.expect(visitor.client_id)
        visitor.in_workbench(owner)
        visitor.run("m = ages.float().mean()")
        visitor.ask("m", "Mean age for the report")
        visit_kit.accept(owner)
        visitor.state_of("m", "Released")
        visitor.run("first = ages[0]")
        visitor.ask("first", "One age")
        visit_kit.deny(owner, "One person is too few. Ask for a group.")
        visitor.state_of("first", "Denied")
        visitor.run("spread = ages.float().std()")
        visitor.ask("spread", "How far the ages spread")
        visitor.run("h = torch.histc(ages.float(), 10)")
        visitor.ask("h", "Distribution of ages")
        owner.run(
            "import time\n"
            "while len(duet.requests) < 2: time.sleep(0.02)\n"
            "next(r for r in duet.requests if r.name == 'h').accept()"
        )
        visitor.state_of("h", "Released")
        album.take(page, "workbench", WIDE, "dark")
        album.take(page, "workbench-phone", NARROW)
        owner.run("duet.close()")


def console(album: Album, folder: Path) -> None:
    """The owner's console with what may wait in it."""
    with chromium() as browser:
        both = Partners(folder)
        try:
            both.owner(
                "ages = torch.arange(64.).tag('ages', 'ward 3')"
                ".describe('ages of 64 patients, in years').send(duet)\n"
                "vitals = torch.randn(64, 3).tag('vitals')"
                ".describe('pulse, pressure, temperature').send(duet)\n"
                "duet.requests.add_handler(action='deny', name='raw')\n"
                "duet.requests.add_handler(action='accept', name='loss', max_uses=100)"
            )
            both.scientist(
                "end = time.monotonic() + 60\n"
                "while len(duet.store) < 2 and time.monotonic() < end: time.sleep(0.01)\n"
                "ages, vitals = duet.store['ages'], duet.store['vitals']\n"
                "for i in range(3):\n"
                "    (ages * i).mean().request(name='loss', reason='a step').wait(60)\n"
                "ages.mean().request(name='mean age', reason='for table 1 of the paper')\n"
                "ages[3].request(name='patient 4', reason='an outlier, I want to see it')\n"
                "(vitals * torch.rand(64, 1)).mean(0)"
                ".request(name='weighted means', reason='robust estimate')\n"
                "model = torch.nn.Linear(3, 1).send(duet)\n"
                "opt = duet.torch.optim.SGD(model.parameters(), lr=0.01)\n"
                "loss = ((model(vitals).squeeze() - ages) ** 2).mean()\n"
                "loss.backward()\n"
                "opt.step()\n"
                "model.weight.request(name='weights', reason='to test them here')"
            )
            opened = Console(browser, both, viewport={"width": WIDE[0], "height": WIDE[1]})
            page = opened.open()
            page.locator(".card").nth(3).wait_for()
            page.wait_for_timeout(1_500)
            page.locator(".card .summary").first.click()
            album.take(page, "console", WIDE)
            album.take(page, "console-phone", NARROW, "dark")
            opened.close()
        finally:
            both.close()


def panel(album: Album, folder: Path) -> None:
    """The live panel in JupyterLab."""
    jupyter = Jupyter(folder, "jupyterlab")
    try:
        with (
            owner_kit.owner(folder / "duet") as scientist,  # a process like any other
            page_kit.browser() as browser,
        ):
            page = browser.new_page(viewport={"width": WIDE[0], "height": WIDE[1]})
            cells = [
                "import torch, duet_p2p as sy\nduet = sy.launch_duet(loopback=True)",
                'ages = torch.randint(18, 90, (200,)).tag("ages").send(duet)\nduet',
            ]
            notebook = jupyter.open(page, "owner.ipynb", cells)
            notebook.start(0)
            scientist.run("import time\nduet = sy.join_duet(loopback=True)", timeout=300)
            notebook.wait_done(0)
            notebook.run(1)
            page.locator(".duet-panel").wait_for()
            scientist.run(
                "while not len(duet.store): time.sleep(0.01)\nages = duet.store['ages'].float()"
            )
            scientist.run("ages.mean().request(name='mean age', reason='for table 1 of the paper')")
            scientist.run("ages[3].request(name='patient 4', reason='an outlier')")
            page.locator(".duet-request").nth(1).wait_for()
            time.sleep(2)
            page.locator(".duet-panel").scroll_into_view_if_needed()
            album.keep(page.screenshot(), "panel")
            scientist.run("duet.close()")
    finally:
        jupyter.close()


SCENES = {"pairing": pairing, "console": console, "panel": panel}


def main() -> None:
    """Takes the scenes that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--only", nargs="*", choices=SCENES, default=list(SCENES))
    given = parser.parse_args()
    album = Album(given.out)
    for name in given.only:
        with tempfile.TemporaryDirectory() as folder:
            SCENES[name](album, Path(folder))


if __name__ == "__main__":
    main()
