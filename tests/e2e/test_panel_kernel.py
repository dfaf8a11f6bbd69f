"""Pushing to a page from a thread while the main thread prints: what ipykernel promises, tested."""

import os
import queue
import time
from pathlib import Path

import pytest

from tests.e2e.test_kernels import Kernel

if os.environ.get("CI") != "true":
    pytest.importorskip("anywidget", reason="anywidget is not installed")

COUNT = 300

SETUP = """
import anywidget, threading, traitlets
class Number(anywidget.AnyWidget):
    _esm = "export default {}"
    value = traitlets.Int(0).tag(sync=True)
number = Number()
"""
RACE = f"""
def push():
    for n in range(1, {COUNT} + 1):
        number.value = n
thread = threading.Thread(target=push)
thread.start()
for n in range({COUNT}):
    print("line", n, flush=True)
    number.send(n)
thread.join()
print("over")
"""


def test_pushes_from_a_thread_arrive_whole_and_in_order_while_a_cell_prints(
    tmp_path: Path,
) -> None:
    kernel = Kernel(tmp_path)
    try:
        kernel.run(SETUP)
        kernel.start(RACE)
        printed, states, customs = "", [], []
        deadline = time.monotonic() + 60
        while "over" not in printed or len(states) < COUNT:
            assert time.monotonic() < deadline, (printed[-200:], len(states))
            try:
                message = kernel.client.get_iopub_msg(timeout=1)
            except queue.Empty:
                continue
            content = message["content"]
            if message["msg_type"] == "stream":
                printed += content["text"]
            elif message["msg_type"] == "comm_msg":
                data = content["data"]
                if data["method"] == "custom":
                    customs.append(data["content"])
                else:
                    states.append(data["state"]["value"])
        assert states == list(range(1, COUNT + 1))
        assert customs == list(range(COUNT))
        assert printed.split("\n")[:COUNT] == [f"line {n}" for n in range(COUNT)]
    finally:
        kernel.close()
