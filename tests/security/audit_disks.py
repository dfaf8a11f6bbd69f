"""Ran in a mount namespace of its own: an owner whose audit log is on a small disk of its own.

``python -m tests.security.audit_disks FOLDER``; prints one line of JSON for each thing that it saw.
"""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import torch

from duet_p2p.errors import AuditUnavailable
from duet_p2p.identity.keys import Key
from duet_p2p.owner.audit import AuditLog
from duet_p2p.owner.audit_file import AuditFile
from duet_p2p.session.bridge import Bridge
from duet_p2p.wire.values import Ref
from tests.unit.owner_kit import owner_on

NO_MOUNTS = 77


def mount(*args: str) -> None:
    done = subprocess.run(["mount", *args], capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        sys.exit(NO_MOUNTS)


def main(folder: Path) -> None:
    mount("-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder))
    bridge = Bridge("audit disks")
    audit = AuditLog(AuditFile(folder / "log.sqlite"), Key.from_seed(bytes(32), "owner"))
    duet, scientist = owner_on(bridge, audit=audit)
    duet.send(torch.arange(6.0), tags=["data"])
    scientist.op("torch.zeros", 1, 2)
    ids = itertools.count(2)

    def look(what: str) -> None:
        asked = next(ids)
        scientist.op("torch.Tensor.sum", asked, Ref(-1))
        call = scientist.request(asked, name="sum")
        scientist.wait_for(lambda: len(duet.requests) == 1)
        duet.requests[0].accept()
        answer, mine = scientist.answer(call), scientist.get(1)
        seen = [what, type(answer).__name__, type(mine).__name__, duet.status()["audit"]]
        print(json.dumps(seen), flush=True)

    def settled() -> None:
        """The log is written again; a row that nobody waits for is what tries."""
        duet.requests.add_handler(name="x", action="deny")
        scientist.wait_for(lambda: "cannot" not in str(duet.status()["audit"]))

    look("ordinary")
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(1024)):
                pass
        except OSError:
            pass
    # what SQLite has room for in its own files yet
    for number in range(200):
        duet.send(torch.arange(6.0), tags=["x" * 250] * 8, description=str(number))
        if number % 20 == 19 and "cannot" in str(duet.status()["audit"]):
            break
    look("full")
    filler.unlink()
    settled()
    look("room again")
    print(json.dumps(["verified", bool(duet.audit.verify()), "", ""]), flush=True)
    (folder / "log.sqlite").unlink()
    look("removed")
    duet.close()
    bridge.close()
    mount("-o", "remount,ro", str(folder))
    try:
        AuditFile(folder / "other.sqlite")
    except AuditUnavailable as error:
        print(json.dumps(["read-only", "", "", str(error)]), flush=True)
    mount("-o", "remount,rw", str(folder))
    AuditFile(folder / "other.sqlite").close()
    mount("-o", "remount,ro", str(folder))
    try:
        AuditFile(folder / "other.sqlite")
    except AuditUnavailable as error:
        print(json.dumps(["read-only, old", "", "", str(error)]), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
