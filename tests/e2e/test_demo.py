"""The demo as a person runs it, and Ctrl-C in the middle of it."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


def demo(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "duet_p2p.demo", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def descendants(pid: int) -> set[int]:
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found |= {child} | descendants(child)
    return found


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_walk_through_trains_above_90_percent() -> None:
    with demo() as process:
        assert process.stdout is not None
        text = process.stdout.read()
    assert process.returncode == 0, text
    assert "(verified)" in text
    assert "loss ?" in text, "the first losses are denied"
    assert re.search(r"loss \d\.\d{4}", text), "later ones are numbers"
    before, after = re.search(r"before, after +([\d.]+)%, ([\d.]+)%", text).groups()  # type: ignore[union-attr]
    assert float(before) < 30
    assert float(after) > 90
    assert re.search(r"Requests +\d+ accepted, [1-9]\d* denied", text)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["Session ID", "Connected.", "batch   10"])
def test_ctrl_c_ends_all_processes(moment: str) -> None:
    with demo() as process:
        assert process.stdout is not None
        for line in process.stdout:
            if moment in line:
                break
        children = descendants(process.pid)
        assert len(children) >= 2
        os.killpg(process.pid, signal.SIGINT)
        rest = process.stdout.read()
        process.wait(40)
    assert process.returncode == 130, rest
    assert "Traceback" not in rest, rest
    deadline = time.monotonic() + 10
    while left := {pid for pid in children if is_alive(pid)}:
        assert time.monotonic() < deadline, f"still running: {left}"
        time.sleep(0.1)


def test_a_folder_without_digits_is_refused_at_once(tmp_path: Path) -> None:
    with demo("--data", str(tmp_path)) as process:
        assert process.stdout is not None
        text = process.stdout.read()
    assert process.returncode == 2
    assert "train-images-idx3-ubyte" in text
