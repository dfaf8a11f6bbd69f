"""A real JupyterLab, or plain Notebook, in a process of its own, driven as a person does.

The two are built from the same parts: a notebook's cells look alike, its address and the
kernel's state differ.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any, Literal

import nbformat

__all__ = ["CHROMIUM", "CHROMIUM_ARGS", "Jupyter", "JupyterNotebook", "Program"]

Program = Literal["jupyterlab", "notebook"]
"""The module to run; `notebook` is version 7."""

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = "/usr/bin/chromium"
CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
START_SECONDS = 240.0
CELL_MS = 120_000


class Jupyter:
    """The server. Its settings, kernels and notebooks live in `folder`."""

    def __init__(self, folder: Path, program: Program) -> None:
        self.folder, self.program = folder, program
        self.token = secrets.token_hex(16)
        self._log = folder / "jupyter.log"
        (folder / "notebooks").mkdir()
        settings = folder / "settings" / "@jupyterlab" / "apputils-extension"
        settings.mkdir(parents=True)
        (settings / "notification.jupyterlab-settings").write_text(
            json.dumps({"fetchNews": "false", "checkForUpdates": False})
        )
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", program, "--no-browser", "--allow-root"),
                    *("--port=0", "--ServerApp.ip=127.0.0.1"),
                    f"--ServerApp.root_dir={folder / 'notebooks'}",
                    f"--IdentityProvider.token={self.token}",
                    *(["--LabApp.news_url="] if program == "jupyterlab" else []),
                ],
                cwd=folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={
                    **os.environ,
                    "PYTHONPATH": str(ROOT),
                    "OMP_NUM_THREADS": "1",
                    "HOME": str(folder),
                    "DUET_HOME": str(folder / "duet"),
                    "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
                    "JUPYTER_CONFIG_DIR": str(folder / "config"),
                    "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
                    "JUPYTER_DATA_DIR": str(folder / "data"),
                    "JUPYTER_PLATFORM_DIRS": "1",
                },
            )
        try:
            self.url = self._wait_for_url()
        except BaseException:
            self.close()
            raise

    def _wait_for_url(self) -> str:
        deadline = time.monotonic() + START_SECONDS
        while True:
            text = self._log.read_text(errors="replace")
            if found := re.search(r"(http://127\.0\.0\.1:\d+)/(?:lab|tree)", text):
                return found[1]
            assert self._process.poll() is None, text
            assert time.monotonic() < deadline, text
            time.sleep(0.1)

    def close(self) -> None:
        """Ends the server, and its kernels with it."""
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)

    def open(
        self, page: Any, name: str, cells: list[str], *, dark: bool = False
    ) -> JupyterNotebook:
        """Writes a notebook and opens it."""
        theme = self.folder / "settings" / "@jupyterlab" / "apputils-extension"
        (theme / "themes.jupyterlab-settings").write_text(
            json.dumps({"theme": "JupyterLab Dark" if dark else "JupyterLab Light"})
        )
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
        notebook.metadata["kernelspec"] = {
            "name": "python3",
            "display_name": "Python 3",
            "language": "python",
        }
        nbformat.write(notebook, self.folder / "notebooks" / name)
        where = "doc/tree" if self.program == "jupyterlab" else "notebooks"
        deadline = time.monotonic() + CELL_MS / 1000
        while True:
            page.goto(f"{self.url}/{where}/{name}?token={self.token}&reset")
            page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=CELL_MS)
            if self._got_kernel(page, name, deadline):
                page.locator("[data-status=idle]").first.wait_for(timeout=CELL_MS)
                return JupyterNotebook(page)

    def _got_kernel(self, page: Any, name: str, deadline: float) -> bool:
        """Whether the page started the notebook's kernel; False where it asks which one.

        It asks where the list of kernels did not reach it in time, and then offers none; its mark
        for idle is not enough, it stands there before there is a kernel.
        """
        while name not in self._running():
            asked = page.locator(".jp-Dialog").all_inner_texts()
            assert time.monotonic() < deadline, asked or self._log.read_text(errors="replace")
            if asked:
                return False
            page.wait_for_timeout(200)
        return True

    def _running(self) -> set[str]:
        """The notebooks that have a kernel, as the server says."""
        asked = urllib.request.Request(
            f"{self.url}/api/sessions", headers={"Authorization": f"token {self.token}"}
        )
        with urllib.request.urlopen(asked, timeout=CELL_MS / 1000) as answer:
            return {session["path"] for session in json.load(answer)}


class JupyterNotebook:
    """The notebook that a page shows."""

    def __init__(self, page: Any) -> None:
        self.page = page

    def cell(self, number: int) -> Any:
        return self.page.locator(".jp-Notebook .jp-CodeCell").nth(number)

    def start(self, number: int) -> None:
        """Runs a cell and does not wait for its end.

        The page drops a key that comes before it is ready, so it is pressed until the cell runs.
        """
        deadline = time.monotonic() + CELL_MS / 1000
        before = self._count(number)
        while self._count(number) in (before, ""):
            assert time.monotonic() < deadline, "the cell did not start"
            assert not (asked := self.page.locator(".jp-Dialog").all_inner_texts()), asked
            self.cell(number).locator(".cm-content").click()
            self.page.keyboard.press("Control+Enter")
            self.page.wait_for_timeout(1_000)

    def is_running(self, number: int) -> bool:
        return self._count(number) == "*"

    def _count(self, number: int) -> str:
        """The cell's number, ``*`` while it runs, empty before."""
        text = self.cell(number).locator(".jp-InputPrompt").inner_text()
        return text.strip().strip("[]: ")

    def run(self, number: int) -> None:
        """Runs a cell and waits until it has a number."""
        self.start(number)
        self.wait_done(number)

    def wait_done(self, number: int) -> None:
        deadline = time.monotonic() + CELL_MS / 1000
        while not self._count(number).isdigit():
            assert time.monotonic() < deadline, self.output(number)
            self.page.wait_for_timeout(50)

    def output(self, number: int) -> str:
        text: str = self.cell(number).locator(".jp-Cell-outputArea").inner_text()
        return text

    def wait_for_output(self, number: int, pattern: str) -> str:
        """The first group of the match, or all of it, once a cell shows it."""
        deadline = time.monotonic() + CELL_MS / 1000
        while not (found := re.search(pattern, self.output(number))):
            assert time.monotonic() < deadline, f"no {pattern!r} in\n{self.output(number)}"
            self.page.wait_for_timeout(50)
        return found[1] if found.re.groups else found[0]

    def answer(self, prompt: str, text: str) -> bool:
        """Types into the field of a cell that asks; whether it asks with these words."""
        asking = self.page.locator(".jp-Stdin")
        asking.wait_for(timeout=CELL_MS)
        asked: str = asking.locator(".jp-Stdin-prompt").inner_text()
        asking.locator(".jp-Stdin-input").fill(text)
        asking.locator(".jp-Stdin-input").press("Enter")
        return asked.strip() == prompt.strip()
