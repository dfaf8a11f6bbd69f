"""The example notebooks, as .ipynb and unchanged, in two or three real kernels at once."""

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

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    # A second run of tests on the machine has a server at the default address, and ends with it.
    pytest.mark.skipif(
        "DUET_KERNELS" not in os.environ, reason="needs the machine for itself: set DUET_KERNELS=1"
    ),
]

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
SECONDS = 240.0


class Run:
    """One notebook in one kernel, cell after cell, in a thread of its own."""

    def __init__(self, path: Path, home: Path, server: str, end: float) -> None:
        from jupyter_client.manager import KernelManager

        self.path, self.printed, self.error, self.end = path, "", "", end
        self.prompts: queue.Queue[str] = queue.Queue()
        self.answers: queue.Queue[str] = queue.Queue()
        self.manager: Any = KernelManager(kernel_name="python3")
        self.manager.start_kernel(
            env={
                **os.environ,
                "DUET_HOME": str(home / path.stem),
                "DUET_SIGNALING_URL": server,
                "DUET_QUICK": "1",
                "OMP_NUM_THREADS": "1",
            }
        )
        self.client: Any = self.manager.client()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)
        for cell in nbformat.read(self.path, as_version=4).cells:
            if cell.cell_type == "code" and not self._cell(cell.source):
                return

    def _cell(self, source: str) -> bool:
        message = self.client.execute(source, allow_stdin=True)
        while True:
            if time.monotonic() > self.end:
                self.error = f"too late in:\n{source}"
                return False
            if self.client.stdin_channel.msg_ready():
                self.prompts.put(self.client.get_stdin_msg(timeout=1)["content"]["prompt"])
                self.client.input(self.answers.get(timeout=max(1, self.end - time.monotonic())))
            try:
                got = self.client.get_iopub_msg(timeout=0.1)
            except queue.Empty:
                continue
            content = got["content"]
            self.printed += content.get("text", "")
            if got["parent_header"].get("msg_id") != message:
                continue
            if got["msg_type"] == "error":
                self.error = "\n".join(content["traceback"])
            elif got["msg_type"] == "status" and content["execution_state"] == "idle":
                return not self.error

    def wait_for_print(self, pattern: str, count: int = 1) -> str:
        while len(found := re.findall(pattern, self.printed, re.MULTILINE)) < count:
            assert self.thread.is_alive() and time.monotonic() < self.end, self.report()
            time.sleep(0.05)
        text: str = found[count - 1]
        return text

    def answer(self, prompt: str, text: str) -> None:
        """Types, once the kernel asks; a prompt is an input request, as in a notebook."""
        asked = self.prompts.get(timeout=max(1, self.end - time.monotonic()))
        assert asked == prompt
        self.answers.put(text)

    def report(self) -> str:
        return f"--- {self.path.name}\n{self.printed}\n{self.error}"

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.client.context.destroy(linger=0)


@pytest.mark.parametrize(
    ("name", "owners", "said"),
    [
        ("01-basics", ["owner"], "mean age: 46.8333"),
        ("02-mnist", ["owner"], "after"),
        ("03-iris", ["owner"], "the remote losses equal local ones"),
        ("04-federated", ["owner1", "owner2"], "the average:"),
    ],
)
def test_a_pair_of_notebooks_runs_in_kernels(
    server: str, tmp_path: Path, name: str, owners: list[str], said: str
) -> None:
    end = time.monotonic() + SECONDS
    runs = [Run(NOTEBOOKS / name / f"{n}.ipynb", tmp_path, server, end) for n in owners]
    scientist = Run(NOTEBOOKS / name / "scientist.ipynb", tmp_path, server, end)
    try:
        for number, owner in enumerate(runs, 1):
            session_id = owner.wait_for_print(r"^Session ID: (\S+)")
            scientist.answer("The owner's session ID: ", session_id)
            client_id = scientist.wait_for_print(r"^ {4}(C[0-9A-Z-]{38})", number)
            owner.answer("Your partner's client ID: ", client_id)
        for run in (scientist, *runs):
            run.thread.join(max(1, end - time.monotonic()))
        everything = "\n".join(run.report() for run in (scientist, *runs))
        assert not any(run.error or run.thread.is_alive() for run in (scientist, *runs)), everything
        assert said in scientist.printed, everything
    finally:
        for run in (scientist, *runs):
            run.close()
