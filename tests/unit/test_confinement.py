"""What a process that is closed off cannot do, tried in one."""

import json
import platform
import subprocess
import sys

import pytest

from duet_p2p.engine import confinement

TRIES = """
import json, os, signal, socket, subprocess, sys, threading
from duet_p2p.engine.confinement import close_off, limit_memory
a, b = socket.socketpair()
limit_memory(200 * 1024**2)
assert close_off()
def tried(call):
    try:
        call()
    except (OSError, MemoryError) as error:
        return type(error).__name__
    return "worked"
def in_a_thread():
    thread = threading.Thread(target=lambda: None); thread.start(); thread.join()
print(json.dumps({
    "socket": tried(socket.socket),
    "unix socket": tried(lambda: socket.socket(socket.AF_UNIX)),
    "program": tried(lambda: subprocess.run(["true"])),
    "fork": tried(os.fork),
    "exec": tried(lambda: os.execv("/bin/true", ["true"])),
    "kill the parent": tried(lambda: os.kill(os.getppid(), 0)),
    "signal itself": tried(lambda: os.kill(os.getpid(), 0)),
    "its own pair": tried(lambda: a.send(b"x")),
    "thread": tried(in_a_thread),
    "read a file": tried(lambda: open(os.__file__).read(10)),
    "100 MB": tried(lambda: bytearray(100 * 1024**2)),
    "300 MB": tried(lambda: bytearray(300 * 1024**2)),
}))
"""


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"),
    reason="no filter on this platform",
)
def test_sockets_programs_and_signals_are_refused_and_the_rest_works():
    done = subprocess.run([sys.executable, "-c", TRIES], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "socket": "PermissionError",
        "unix socket": "PermissionError",
        "program": "PermissionError",
        "fork": "PermissionError",
        "exec": "PermissionError",
        "kill the parent": "PermissionError",
        "signal itself": "worked",
        "its own pair": "worked",
        "thread": "worked",
        "read a file": "worked",
        "100 MB": "worked",
        "300 MB": "MemoryError",
    }


def test_the_memory_of_the_machine_is_more_than_torch_needs():
    assert confinement.memory_of_machine() > 1024**3
