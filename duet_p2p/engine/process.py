"""The engine's process as such: how it is started, and what its end means."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from duet_p2p.engine.watch import Running

__all__ = ["during", "ended_by", "start"]


def start(theirs: socket.socket, page: int) -> subprocess.Popen[bytes]:
    """Starts an engine's process.

    Args:
        theirs: its end of the pipe.
        page: descriptor of the page that it says on what runs.
    """
    import duet_p2p

    assert duet_p2p.__file__ is not None
    root = str(Path(duet_p2p.__file__).resolve().parent.parent)
    environment = dict(os.environ)
    known = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = os.pathsep.join([root, known] if known else [root])
    return subprocess.Popen(
        # -P: a torch.py in the owner's working directory is not the torch that is meant
        [sys.executable, "-P", "-m", "duet_p2p.engine.child", str(theirs.fileno()),
         str(os.getpid()), str(page)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        bufsize=0,
        pass_fds=(theirs.fileno(), page),
        env=environment,
        start_new_session=True,  # Ctrl-C in the terminal is for the owner's cell
    )  # fmt: skip


def during(running: Running | None) -> str:
    """What ran when it ended, to be added to the reason."""
    if running is None:
        return ""
    return f", while it ran {running.name}" + (f" (#{running.seq})" if running.seq else "")


def ended_by(code: int, *, is_run_over: bool = False) -> str:
    """Why a process ended by itself.

    Args:
        code: its exit code.
        is_run_over: an alarm was that of a message as a whole.
    """
    if code == -signal.SIGALRM:
        took = (
            "what one message asked for, runs of a plan or a step with its closure, took longer"
            if is_run_over
            else "one command took longer"
        )
        name = "run_seconds" if is_run_over else "command_seconds"
        return f"{took} than the limit {name} (launch with a larger one if that is wanted work)"
    if code == -signal.SIGXCPU:
        return "the engine used up its processor time, the limit cpu_seconds"
    if code < 0:
        return f"the engine's process was ended by signal {-code}"
    return f"the engine's process ended with code {code}"
