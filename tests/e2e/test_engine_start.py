"""Launching does not wait for the engine: what works meanwhile, and what if it cannot start."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.notebook import CellError, Notebook

Sides = tuple[Notebook, Notebook, Path]

WAITS = """#!/bin/sh
echo $$ > "$(dirname "$0")/pid.new" && mv "$(dirname "$0")/pid.new" "$(dirname "$0")/pid"
until [ -e "$(dirname "$0")/go" ]; do sleep 0.05; done
exec "$REAL_PYTHON" "$@"
"""

OWNER = """
import os, sys, threading, torch
import duet_p2p as sy
os.environ.setdefault("REAL_PYTHON", sys.executable)
sys.executable = {python!r}
duet = None
"""

SENDING = """
told = []
def send():
    try:
        told.append(duet.send(torch.arange(4.0), tags=["four"]).tags)
    except Exception as error:
        told.append([type(error).__name__, str(error)])
sending = threading.Thread(target=send)
sending.start()
"""


@pytest.fixture
def sides(owner: Notebook, scientist: Notebook, tmp_path: Path) -> Iterator[Sides]:
    """An owner whose engine waits for the file `go` before it starts, and a scientist."""
    python = tmp_path / "python"
    python.write_text(WAITS)
    python.chmod(0o700)
    owner.run(OWNER.format(python=str(python)))
    scientist.run("import torch\nimport duet_p2p as sy\nduet = None")
    yield owner, scientist, tmp_path
    (tmp_path / "go").touch()
    for notebook in (owner, scientist):
        notebook.run("duet is None or duet.close()")


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def fails(notebook: Notebook, code: str) -> str:
    with pytest.raises(CellError) as failure:
        notebook.run(code)
    return failure.value.kind


def meet(owner: Notebook, scientist: Notebook, engine: Path) -> None:
    owner.run("duet = sy.launch_duet(loopback='start', wait=False)")
    scientist.run("duet = sy.join_duet(loopback='start', wait=False, timeout=30)")
    owner.run("duet.wait(30)")
    until((engine / "pid").exists)


def test_the_two_meet_and_send_before_the_engine_is_there(sides: Sides) -> None:
    owner, scientist, engine = sides
    meet(owner, scientist, engine)
    assert owner.run("duet.status()['engine']") == {}
    owner.run(SENDING)
    made = scientist.start(
        "x = torch.ones(300_000).send(duet) + 1; x.sum().get(request_block=True).item()"
    )
    assert owner.run("sending.join(0.3); told") == []
    assert not made.done()
    (engine / "go").touch()
    assert owner.run("sending.join(30); told") == [["four"]]
    owner.run("duet.requests.add_handler(action='accept')")
    assert made.result(60) == 600_000.0
    scientist.run("duet.wait(30)")
    assert scientist.run("'four' in duet.store")
    assert owner.run("duet.status()['engine']['pid']") == int((engine / "pid").read_text())


@pytest.mark.slow
def test_an_engine_that_is_killed_while_it_starts_is_told_to_both(sides: Sides) -> None:
    owner, scientist, engine = sides
    meet(owner, scientist, engine)
    owner.run(SENDING)
    waiting = scientist.start("duet.wait(60)")
    os.kill(int((engine / "pid").read_text()), signal.SIGKILL)
    ((kind, text),) = owner.run("sending.join(30); told")
    assert kind == "EngineFailed" and "ended by signal 9" in text
    with pytest.raises(CellError) as failure:
        waiting.result(30)
    assert (failure.value.kind, failure.value.text) == ("PartnerLeft", "The partner left: error.")
    assert fails(owner, "duet.send(torch.ones(1))") == fails(owner, "duet.wait(5)") == kind
    owner.wait_for_print("The session ends. The engine could not be started: .*signal 9")
    assert not owner.run("duet.is_open")
    owner.run("duet.close()")


def test_a_launch_without_an_engine_does_not_wait_for_anybody(sides: Sides) -> None:
    owner, scientist, engine = sides
    launching = owner.start("sy.launch_duet(loopback='start')")
    until((engine / "pid").exists)
    os.kill(int((engine / "pid").read_text()), signal.SIGKILL)
    with pytest.raises(CellError) as failure:
        launching.result(30)
    assert failure.value.kind == "EngineFailed" and "ended by signal 9" in failure.value.text
    assert fails(scientist, "sy.join_duet(loopback='start', timeout=1)") == "PairingTimeout"


def test_closing_does_not_wait_for_an_engine_that_starts(sides: Sides) -> None:
    owner, _, engine = sides
    owner.run("duet = sy.launch_duet(loopback='start', wait=False)")
    until((engine / "pid").exists)
    owner.run("duet.close()")
    pid = int((engine / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
