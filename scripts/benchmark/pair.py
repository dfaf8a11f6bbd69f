"""A session of two real processes: this one is the scientist's, the owner's does as it is told."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

import duet_p2p as sy
from duet_p2p.errors import PairingTimeout

__all__ = ["Owner", "Pair", "close_shared", "get", "pair", "shared_pair"]

# One line of JSON in, code; one line out, the value of its last expression.
_OWNER = """
import ast, json, sys, time, torch
import duet_p2p as sy
from duet_p2p import api
torch.set_num_threads(int(sys.argv[1]))
names = {"sy": sy, "torch": torch, "time": time}
answers = sys.stdout
sys.stdout = sys.stderr
for line in sys.stdin:
    tree = ast.parse(json.loads(line))
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "owner", "exec"), names)
    value = eval(compile(ast.Expression(last.value), "owner", "eval"), names) if last else None
    print(json.dumps(value), file=answers, flush=True)
"""
_SECONDS = 120
_TICKS_AT_REST = 5  # in half a second: who waits for a partner looks around now and then
_STORED_BYTES = 12 << 30  # the largest model of a curve, twice


class Owner:
    """The owner's process."""

    def __init__(self, home: str) -> None:
        self._log = open(os.path.join(home, "owner.log"), "w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", _OWNER, str(torch.get_num_threads())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            # As many threads in the owner's engine as here, whatever torch would choose.
            env={
                **os.environ,
                "DUET_HOME": home,
                "OMP_NUM_THREADS": str(torch.get_num_threads()),
            },
        )

    def start(self, code: str) -> None:
        """Runs code; its value is read by `value`."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(code) + "\n")
        self.process.stdin.flush()

    def value(self) -> Any:
        """What the code that was started gave."""
        watch = threading.Timer(_SECONDS, self.process.kill)
        watch.start()
        try:
            assert self.process.stdout is not None
            line = self.process.stdout.readline()
        finally:
            watch.cancel()
        if not line:
            if self.process.wait(20) == -signal.SIGKILL:
                raise TimeoutError(f"the owner's process did not answer within {_SECONDS} s")
            self._log.seek(0)
            raise RuntimeError("the owner's process ended: " + self._log.read()[-2000:])
        return json.loads(line)

    def run(self, code: str) -> Any:
        """Runs code and waits for the value of its last expression."""
        self.start(code)
        return self.value()

    def wait_until_it_rests(self) -> None:
        """Until neither it nor its engine does anything: whatever was being loaded is loaded."""
        deadline = time.monotonic() + _SECONDS
        before = -1
        while (ticks := self._ticks()) - before > _TICKS_AT_REST:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the owner's process does not rest within {_SECONDS} s")
            before = ticks
            time.sleep(0.5)

    def _ticks(self) -> int:
        """Processor time of it and its children, in hundredths of a second."""
        total = 0
        pids = [self.process.pid]
        for pid in pids:
            tasks = Path(f"/proc/{pid}/task")
            for children in tasks.glob("*/children"):
                pids += map(int, children.read_text().split())
            total += sum(map(int, Path(f"/proc/{pid}/stat").read_text().split()[13:15]))
        return total

    def close(self) -> None:
        """Ends the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        self._log.close()


class Pair:
    """Both sides.

    Attributes:
        owner: the other process.
        duet: this side's session.
    """

    def __init__(self, owner: Owner, duet: Any) -> None:
        self.owner = owner
        self.duet = duet

    @property
    def engine_pid(self) -> int:
        """The owner's engine."""
        return int(self.owner.run("duet._service._host.pid"))


@contextmanager
def pair(*, audit: bool = False, accepts: bool = True, options: str = "") -> Iterator[Pair]:
    """A connected pair; both end with the block.

    Args:
        audit: whether the owner keeps an audit log.
        accepts: whether a handler of the owner's accepts everything.
        options: more arguments of `launch_duet`, as code.
    """
    name = secrets.token_hex(8)
    before = os.environ.get("DUET_HOME")
    with tempfile.TemporaryDirectory() as home:
        os.environ["DUET_HOME"] = home
        owner = Owner(home)
        try:
            owner.run("1")  # its imports are over
            owner.start(
                f"duet = sy.launch_duet(loopback={name!r}, logging=False, timeout=60,"
                f" audit={audit}, limits={{'stored_bytes': {_STORED_BYTES}}}{options})\n"
                + ("duet.requests.add_handler(action='accept')\n" if accepts else "")
                + "1"
            )
            with sy.join_duet(loopback=name, logging=False, timeout=60) as duet:
                owner.value()
                get(duet.torch.ones(1) + 1)  # what is loaded at the first operation is loaded
                yield Pair(owner, duet)
        except PairingTimeout:
            owner.value()  # says why the owner has ended, if it has
            raise
        finally:
            owner.close()
            if before is not None:
                os.environ["DUET_HOME"] = before


# The pair of parts that need no other one: its start takes longer than most of them.
_shared = ExitStack()
_sharing: list[Pair] = []


@contextmanager
def shared_pair(*, accepts: bool = True) -> Iterator[Pair]:
    """The pair that all parts of a run use, made at its first use; a failure ends it."""
    if not _sharing:
        _sharing.append(_shared.enter_context(pair()))
    [session] = _sharing
    session.owner.run(
        "duet.requests.clear_handlers()\n"
        + ("duet.requests.add_handler(action='accept')\n" if accepts else "")
        + "1"
    )
    try:
        yield session
    except BaseException:
        close_shared()
        raise


def close_shared() -> None:
    """Ends it, if there is one."""
    _sharing.clear()
    _shared.close()


def get(pointer: Any) -> Any:
    """The value, asked for and accepted."""
    return pointer.get(request_block=True, reason="bench", timeout_secs=60, raises=True)
