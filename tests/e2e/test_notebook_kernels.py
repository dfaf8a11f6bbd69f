"""The example notebooks, as .ipynb and unchanged, in two or three real kernels at once.

They meet at a server of the test's own, named as a user names one: by ``DUET_SIGNALING_URL``. So it
does not matter who holds the default port of the machine, and for how long.
"""

import os
import queue
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest

if os.environ.get("CI") != "true":
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")

import nbformat

from tests.e2e.example_kit import EXAMPLES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
SECONDS = 170.0


class Run:
    """One notebook in one kernel, cell after cell, in a thread of its own.

    The thread never waits for an answer: what was printed before a prompt may arrive after it.
    """

    def __init__(self, path: Path, home: Path, server: str, end: float) -> None:
        from jupyter_client.manager import KernelManager

        self.path, self.end = path, end
        self.printed, self.red, self.error = "", "", ""
        self.prompts: queue.Queue[str] = queue.Queue()
        self.answers: queue.Queue[str] = queue.Queue()
        self.manager: Any = KernelManager(kernel_name="python3")
        self.manager.start_kernel(
            cwd=str(path.parent),
            env={
                **os.environ,
                "DUET_HOME": str(home / path.stem),
                "DUET_SIGNALING_URL": server,
                "DUET_QUICK": "1",
                "OMP_NUM_THREADS": "1",
            },
        )
        self.client: Any = self.manager.client()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        from jupyter_core.utils import ensure_event_loop

        try:
            self.client.start_channels()
            self.client.wait_for_ready(timeout=max(1, self.end - time.monotonic()))
            for cell in nbformat.read(self.path, as_version=4).cells:
                if cell.cell_type == "code" and not self._cell(cell.source):
                    return
        except Exception as error:  # the test's thread tells it, with what was printed
            self.error = f"{type(error).__name__}: {error}"
        finally:
            ensure_event_loop().close()  # jupyter_client made one for this thread

    def _cell(self, source: str) -> bool:
        """Whether it ran to its end without an error."""
        message = self.client.execute(source, allow_stdin=True)
        while time.monotonic() < self.end:
            if self.client.stdin_channel.msg_ready():
                self.prompts.put(self.client.get_stdin_msg(timeout=1)["content"]["prompt"])
            if not self.answers.empty():
                self.client.input(self.answers.get())
            try:
                got = self.client.get_iopub_msg(timeout=0.1)
            except queue.Empty:
                if not self.manager.is_alive():
                    self.error = f"the kernel died in:\n{source}"
                    return False
                continue
            content = got["content"]
            self.printed += content.get("text", "")
            if content.get("name") == "stderr":
                self.red += content["text"]
            if got["parent_header"].get("msg_id") != message:
                continue
            if got["msg_type"] == "error":
                self.error = "\n".join(content["traceback"])
            elif got["msg_type"] == "status" and content["execution_state"] == "idle":
                return not self.error
        self.error = f"too late in:\n{source}"
        return False

    def wait_for_print(self, pattern: str, count: int = 1) -> str:
        """The first group of the match of this number, once it was printed."""
        while len(found := re.findall(pattern, self.printed, re.MULTILINE)) < count:
            assert self.thread.is_alive() and time.monotonic() < self.end, self.report()
            time.sleep(0.05)
        text: str = found[count - 1]
        return text

    def answer(self, prompt: str, text: str) -> None:
        """Types, once the kernel asks; a prompt is an input request, as in a notebook."""
        while self.prompts.empty():
            assert self.thread.is_alive() and time.monotonic() < self.end, self.report()
            time.sleep(0.05)
        assert self.prompts.get() == prompt
        self.answers.put(text)

    def report(self) -> str:
        return f"--- {self.path.name}\n{self.printed}\n{self.error}"

    def close(self) -> None:
        self.end = 0.0
        self.manager.shutdown_kernel(now=True)
        self.thread.join(10)
        self.client.stop_channels()
        self.client.context.destroy(linger=0)


def run_pair(server: str, home: Path, name: str, owners: tuple[str, ...]) -> dict[str, str]:
    """Runs one example in kernels, ids typed at the prompts; what each printed, by its name."""
    end = time.monotonic() + SECONDS
    runs: list[Run] = []
    try:
        for stem in (*owners, "scientist"):
            runs.append(Run(NOTEBOOKS / name / f"{stem}.ipynb", home, server, end))
        *owner_runs, scientist = runs
        for number, owner in enumerate(owner_runs, 1):
            session_id = owner.wait_for_print(r"^Session ID: (\S+)$")
            scientist.answer("The owner's session ID: ", session_id)
            client_id = scientist.wait_for_print(r"^ {4}(C[0-9A-Z-]{38})$", number)
            owner.answer("Your partner's client ID: ", client_id)
        for run in (scientist, *owner_runs):
            run.thread.join(max(0, end - time.monotonic()))
        everything = "\n".join(run.report() for run in runs)
        assert not any(run.error or run.thread.is_alive() for run in runs), everything
        assert not any(run.red for run in runs), everything  # a reader takes red for a failure
        return {run.path.stem: run.printed for run in runs}
    finally:
        for run in runs:
            run.close()


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_pair_of_notebooks_runs_in_kernels(server: str, tmp_path: Path, name: str) -> None:
    owners, check = EXAMPLES[name]
    printed = run_pair(server, tmp_path, name, owners)
    check(printed)
    assert "scientist: done" in printed["scientist"]
