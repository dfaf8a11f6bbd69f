"""Runs the walk-through: a signalling server, an owner and a scientist, three processes.

This process plays the two people: it reads the IDs that the programs print and hands each to the
other side, the owner's at its prompt. Nothing else passes through here.
"""

from __future__ import annotations

import json
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from duet_p2p.demo.child import Child, interrupts_wait

__all__ = ["demo"]

SUBSET = Path(__file__).parent / "mnist"
START_SECONDS = 60.0
"""For a process to import torch and print its first line on a slow machine."""
EPOCH_SECONDS = 1800.0
WIDTH = 9

_screen = threading.Lock()


def demo(
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training digits.")] = 1,
    data: Annotated[
        Path, typer.Option(help="Folder with MNIST's four files; the subset ships.")
    ] = SUBSET,
    keep_open: Annotated[
        bool, typer.Option("--keep-open", help="Then wait for a scientist of yours, until Ctrl-C.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only the closing summary.")] = False,
) -> None:
    """Train a network on digits that the scientist never sees, over a real data channel."""
    for split in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        name = f"{split}-ubyte"
        if not (data / name).exists() and not (data / f"{name}.gz").exists():
            raise typer.BadParameter(f"{data} has no {name} or {name}.gz", param_hint="--data")
    children: list[Child] = []
    started = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory(prefix="duet-demo-") as folder:
            _walk_through(children, Path(folder), data.resolve(), epochs, keep_open, quiet, started)
    except KeyboardInterrupt:
        print("\nInterrupted; ending the processes.", flush=True)
        raise SystemExit(130) from None
    finally:
        for child in reversed(children):
            child.end()


def _walk_through(
    children: list[Child],
    folder: Path,
    data: Path,
    epochs: int,
    keep_open: bool,
    quiet: bool,
    started: float,
) -> None:
    show = _ignore if quiet else _show

    def run(name: str, *arguments: str) -> Child:
        with interrupts_wait():
            children.append(Child(name, list(arguments), show))
        return children[-1]

    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    run("server", "signaling_server", "--listen", f"127.0.0.1:{port}", "--metrics-listen", "")
    flags = ["--keep-open"] if keep_open else []
    owner = run("owner", "duet_p2p.demo.owner", url, str(data), *flags)
    session_id = owner.find(r"^Session ID: (\S+)", START_SECONDS)
    scientist = run(
        *("scientist", "duet_p2p.demo.scientist", url, session_id, str(data)),
        *("--report", str(folder / "remote.json"), "--epochs", str(epochs)),
    )
    client_id = scientist.find(r"^ +(C[0-9A-Z-]{38})$", START_SECONDS)
    owner.answer(client_id, START_SECONDS)
    code = scientist.wait(START_SECONDS + EPOCH_SECONDS * epochs)
    if code:
        raise SystemExit(f"The scientist ended with exit code {code}.")
    if not keep_open and owner.wait(START_SECONDS):
        raise SystemExit("The owner ended with an error; see above.")
    remote = json.loads((folder / "remote.json").read_text())
    paired = time.perf_counter() - started

    show("demo", "The same training without a partner, for comparison…")
    local = run(
        *("local", "duet_p2p.demo.local", str(data)),
        *("--report", str(folder / "local.json"), "--epochs", str(epochs)),
    )
    if local.wait(EPOCH_SECONDS * epochs):
        raise SystemExit("The local training failed; see above.")
    _summary(remote, json.loads((folder / "local.json").read_text()), paired)
    if keep_open:
        print(
            "The owner waits for another scientist. Join with the newest line above,\n"
            "and type the client ID that you see there here. Ctrl-C ends everything.",
            flush=True,
        )
        for line in sys.stdin:
            owner.answer(line.strip(), START_SECONDS)
        while owner.is_running():
            time.sleep(0.2)


def _summary(remote: dict[str, Any], local: dict[str, Any], seconds: float) -> None:
    status, decided = remote["status"], [state for _, state in remote["decided"]]
    accepted = sum("accepted" in state.lower() for state in decided)
    rows = [
        ("Operations sent", f"{status['operations']:,}"),
        (
            "Bytes sent, received",
            f"{status['bytes_sent']:,} and {status['bytes_received']:,} (by the scientist)",
        ),
        ("Requests", f"{accepted} accepted, {len(decided) - accepted} denied"),
        ("Accuracy before, after", f"{remote['before']:.1%}, {remote['after']:.1%}"),
        ("Training, remote", f"{remote['train_s']:.1f} s"),
        ("Training, local", f"{local['train_s']:.1f} s (accuracy {local['after']:.1%})"),
        ("Remote over local", f"{remote['train_s'] / local['train_s']:.2f}"),
        ("Model download", f"{remote['download_s']:.1f} s, accepted by hand"),
        ("Whole session", f"{seconds:.1f} s, start of processes included"),
    ]
    print("\nSummary")
    for name, value in rows:
        print(f"  {name:<24}{value}")
    sys.stdout.flush()


def _show(name: str, line: str) -> None:
    with _screen:
        print(f"{name:>{WIDTH}} │ {line}", flush=True)


def _ignore(name: str, line: str) -> None:
    """Shows nothing; the lines are kept by the child all the same."""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
