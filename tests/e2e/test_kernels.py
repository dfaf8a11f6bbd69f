"""Two real Jupyter kernels: the prompt arrives as an input request, as in a notebook."""

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

if os.environ.get("CI") != "true":
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")


class Kernel:
    """One kernel; `run` executes a cell and answers its prompt."""

    def __init__(self, home: Path) -> None:
        from jupyter_client.manager import KernelManager

        self.manager: Any = KernelManager(kernel_name="python3")
        self.manager.start_kernel(env={**os.environ, "DUET_HOME": str(home)})
        self.client: Any = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=40)
        self.printed = ""
        self.shown: list[tuple[str, str, str]] = []  # displays: message type, display id, text
        self._is_shut = False

    def start(self, code: str) -> str:
        message: str = self.client.execute(code, allow_stdin=True)
        return message

    def read(self, timeout: float = 0.2) -> None:
        """Collects what was printed or shown meanwhile."""
        import queue

        try:
            while True:
                message = self.client.get_iopub_msg(timeout=timeout)
                content = message["content"]
                self.printed += content.get("text", "") + str(content.get("data", ""))
                self.printed += "\n".join(content.get("traceback", []))
                if message["msg_type"] in ("display_data", "update_display_data"):
                    display = content["transient"].get("display_id", "")
                    self.shown.append((message["msg_type"], display, content["data"]["text/plain"]))
        except queue.Empty:
            return

    def read_until(self, pattern: str, timeout: float = 40) -> re.Match[str]:
        deadline = time.monotonic() + timeout
        while not (found := re.search(pattern, self.printed, re.MULTILINE)):
            assert time.monotonic() < deadline, f"{pattern!r} did not appear:\n{self.printed}"
            self.read()
        return found

    def finish(self, message: str, timeout: float = 60) -> dict[str, Any]:
        deadline = time.monotonic() + timeout
        while True:
            reply = self.client.get_shell_msg(timeout=deadline - time.monotonic())
            if reply["parent_header"]["msg_id"] == message:
                self.read()
                content: dict[str, Any] = reply["content"]
                return content

    def run(self, code: str) -> dict[str, Any]:
        content = self.finish(self.start(code))
        assert content["status"] == "ok", content.get("evalue")
        return content

    def close(self) -> None:
        if not self._is_shut:
            self._is_shut = True
            self.client.stop_channels()
            self.manager.shutdown_kernel()
            self.client.context.destroy(linger=0)


@pytest.fixture
def kernels(tmp_path: Path) -> Iterator[tuple[Kernel, Kernel]]:
    owner, scientist = Kernel(tmp_path), Kernel(tmp_path)
    yield owner, scientist
    for kernel in (owner, scientist):
        kernel.close()


@pytest.mark.slow
def test_two_notebooks_pair_by_prompt_and_compute(
    server: str, kernels: tuple[Kernel, Kernel]
) -> None:
    owner, scientist = kernels
    interrupt_at_the_prompt(server, owner)
    launching = owner.start(
        f"import torch; print('NEXT')\nduet = sy.launch_duet(url={server!r}, timeout=90)"
    )
    session_id = owner.read_until(r'(?s)NEXT.*sy\.join_duet\("(S[0-9A-Z]{31})"')[1]
    joining = scientist.start(
        f"import duet_p2p as sy\nduet = sy.join_duet({session_id!r}, url={server!r}, timeout=90)"
    )
    client_id = scientist.read_until(r"^ {4}(C[0-9A-Z-]{38})")[1]
    prompt = owner.client.get_stdin_msg(timeout=40)
    assert prompt["content"]["prompt"] == "Your partner's client ID: "
    owner.client.input(client_id)
    assert owner.finish(launching)["status"] == "ok"
    assert scientist.finish(joining)["status"] == "ok"
    owner.read_until(r"Connected\. Partner \S+ \(verified\)")

    owner.run("p = torch.tensor([25, 32, 49, 65, 88, 22]).tag('ages').send(duet)")
    owner.run("print('ENGINE', duet.status()['engine']['pid'])")
    engine = owner.read_until(r"ENGINE (\d+)")[1]
    scientist.run("import time\nwhile not len(duet.store): time.sleep(0.01)")
    owner.run("duet.requests.add_handler(name='sum', action='deny', print_local=True)")
    scientist.run("total = duet.store['ages'].sum()")
    scientist.run("print('SUM', total.get(name='sum', reason='why', request_block=True))")
    scientist.read_until("SUM None")
    owner.read_until(r"HANDLER deny 'sum' \('why'\): tensor\(281\)")
    scientist.run("mean = duet.store['ages'].float().mean(); r = mean.request(reason='first')")
    waiting = scientist.start("mean.get(request_block=True, timeout_secs=-1)")
    time.sleep(1)
    scientist.manager.interrupt_kernel()
    interrupted = scientist.finish(waiting)
    assert (interrupted["status"], interrupted["ename"]) == ("error", "KeyboardInterrupt")
    owner.run("import time\nwhile not len(duet.requests): time.sleep(0.01)")
    owner.run("duet.requests[0].accept()")
    scientist.run("print('MEAN', mean.get(request_block=True).item())")
    assert scientist.read_until(r"MEAN (\S+)")[1].startswith("46.8333")

    check_live_line(owner)  # the session stays open: the kernel ends with it
    owner.close()
    deadline = time.monotonic() + 15
    while Path(f"/proc/{engine}").exists():
        assert time.monotonic() < deadline, "the engine outlived its notebook"
        time.sleep(0.1)


def interrupt_at_the_prompt(server: str, owner: Kernel) -> None:
    """An interrupted launch ends at once and leaves no engine and no live line behind."""
    launching = owner.start(
        f"import os, duet_p2p as sy; print('KERNEL', os.getpid())\n"
        f"sy.launch_duet(url={server!r}, timeout=90)"
    )
    kernel = owner.read_until(r"KERNEL (\d+)")[1]
    assert owner.client.get_stdin_msg(timeout=40)["content"]["prompt"]
    before = engines(kernel)
    assert len(before) == 1
    owner.read_until("Objects: 0  Requests: 0")
    owner.manager.interrupt_kernel()
    reply = owner.finish(launching, 15)
    assert (reply["status"], reply["ename"]) == ("error", "KeyboardInterrupt")
    assert engines(kernel) == []
    deadline = time.monotonic() + 30
    while owner.shown[-1][2]:
        assert time.monotonic() < deadline, f"the line stayed: {owner.shown}"
        owner.read()


def engines(pid: str) -> list[str]:
    children = [
        child
        for task in Path(f"/proc/{pid}/task").glob("*/children")
        for child in task.read_text().split()
    ]
    return [c for c in children if b"duet_p2p.engine" in Path(f"/proc/{c}/cmdline").read_bytes()]


def check_live_line(owner: Kernel) -> None:
    """Drawn once, then only redrawn, whatever else the cells print."""
    owner.read_until(r"Objects: 1  Requests: 0  Handlers: 1  Operations: \d+")
    last = owner.shown[-1][1]
    kinds = [kind for kind, display, _ in owner.shown if display == last]
    assert kinds[0] == "display_data" and set(kinds[1:]) == {"update_display_data"}
    assert "Traceback" not in owner.printed.partition("NEXT")[2], owner.printed
