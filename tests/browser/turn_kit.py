"""A real TURN server, coturn, and a page whose media goes through it or nowhere."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

TURNSERVER = "turnserver"
SECONDS = 30.0

ONLY_RELAYED = """
const Connection = globalThis.RTCPeerConnection;
globalThis.RTCPeerConnection = class extends Connection {
  constructor(settings) { super({...settings, iceTransportPolicy: 'relay'}); }
};
"""
"""What a network does that lets nothing else through."""


@contextmanager
def coturn(folder: Path, secret: str) -> Iterator[str]:
    """The URL of a coturn process on this machine that takes credentials made with `secret`."""
    if shutil.which(TURNSERVER) is None:
        reason = "turnserver (Debian: coturn) is not installed"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    port = _free_port()
    with (folder / "turnserver.txt").open("w") as log:
        process = subprocess.Popen(
            [
                *(TURNSERVER, "-n", "--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1"),
                *(f"--listening-port={port}", "--no-tls", "--no-dtls", "--no-cli"),
                *("--use-auth-secret", f"--static-auth-secret={secret}", "--realm=duet.test"),
                *("--allow-loopback-peers", "--no-multicast-peers", "--log-file=stdout"),
                *(f"--pidfile={folder / 'turnserver.pid'}", f"--userdb={folder / 'turndb'}"),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
        try:
            _listens(port, process)
            yield f"turn:127.0.0.1:{port}?transport=udp"
        finally:
            process.terminate()
            process.wait(SECONDS)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _listens(port: int, process: subprocess.Popen[bytes]) -> None:
    """coturn opens TCP and UDP together."""
    deadline = time.monotonic() + SECONDS
    while True:
        assert process.poll() is None, "turnserver ended at once"
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < deadline, "turnserver does not listen"
        time.sleep(0.05)
