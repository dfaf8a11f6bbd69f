"""Which files the engine's process can open."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from duet_p2p.engine import landlock
from duet_p2p.engine.host import ProcessHost
from duet_p2p.engine.messages import Configure, Run
from duet_p2p.wire.messages import Op

needs_landlock = pytest.mark.skipif(
    not landlock.version(), reason="this kernel has no Landlock, so nothing is closed off"
)

TRIES = """
import json, os, sys
from duet_p2p.engine.landlock import close_files
allowed, other = sys.argv[1:]
assert close_files([allowed])
def tried(call):
    try:
        call()
    except OSError as error:
        return type(error).__name__
    return "worked"
def shared_memory():
    fd = os.memfd_create("x"); os.write(fd, b"x"); os.close(fd)
import torch
print(json.dumps({
    "read data": tried(lambda: open(allowed + "/file").read()),
    "list data": tried(lambda: os.listdir(allowed)),
    "write data": tried(lambda: open(allowed + "/file", "w")),
    "new file in data": tried(lambda: open(allowed + "/new", "w")),
    "remove data": tried(lambda: os.remove(allowed + "/file")),
    "read elsewhere": tried(lambda: open(other + "/file").read()),
    "list elsewhere": tried(lambda: os.listdir(other)),
    "through a link": tried(lambda: open(allowed + "/link").read()),
    "write elsewhere": tried(lambda: open(other + "/new", "w")),
    "make a directory": tried(lambda: os.mkdir(other + "/d")),
    "truncate": tried(lambda: os.truncate(allowed + "/file", 0)),
    "home": tried(lambda: os.listdir(os.path.expanduser("~"))),
    "shadow": tried(lambda: open("/etc/shadow").read()),
    "null": tried(lambda: open(os.devnull, "w").write("x")),
    "memory file": tried(shared_memory),
    "torch": tried(lambda: torch.linalg.svd(torch.ones(3, 3))),
    "shapes": tried(lambda: torch.ones(3, device="meta") + 1),
}))
"""


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    allowed, other = tmp_path / "data", tmp_path / "other"
    for folder in (allowed, other):
        folder.mkdir()
        (folder / "file").write_text("text")
    (allowed / "link").symlink_to(other / "file")
    return allowed, other


@needs_landlock
def test_nothing_is_written_and_only_data_and_libraries_are_read(folders):
    allowed, other = folders
    done = subprocess.run(
        [sys.executable, "-P", "-c", TRIES, str(allowed), str(other)],
        capture_output=True,
        text=True,
        cwd=other,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    worked = {name for name, how in found.items() if how == "worked"}
    if landlock.version() < 3:
        worked.discard("truncate")  # which the first versions do not know
    assert worked == {"read data", "list data", "null", "memory file", "torch", "shapes"}, found
    assert (allowed / "file").read_text() == "text"


WRITES = """
import sys, os
from duet_p2p.engine.landlock import close_files
assert close_files(None)
open(sys.argv[1] + "/file").read(), os.listdir("/")
try:
    open(sys.argv[1] + "/new", "w")
except PermissionError:
    print("read and not written")
"""


@needs_landlock
def test_where_reads_stay_open_nothing_is_written_all_the_same(folders):
    done = subprocess.run(
        [sys.executable, "-P", "-c", WRITES, str(folders[0])],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "read and not written\n", done.stderr


@needs_landlock
async def test_the_engines_process_is_closed_off_and_works():
    host = ProcessHost()
    events = []
    host.on_event = events.append
    started = await host.start(Configure({"closed_reads": 1}, {}, 1))
    try:
        assert started.are_files_closed
        host.send(Run(((1, Op("torch.ones", (1,), (3,), {}, "g")),)))
    finally:
        await host.stop()


def test_a_kernel_without_it_changes_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(landlock, "version", lambda: 0)
    assert not landlock.close_files([str(tmp_path)])
    (tmp_path / "file").write_text("still allowed")
    assert torch.ones(1).item() == 1
