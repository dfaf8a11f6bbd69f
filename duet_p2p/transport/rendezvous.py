"""The folders in which two processes of one user find each other: who made one, who took it.

``DUET_HOME/loopback/<session_id>/`` belongs to one owner process, which keeps ``owner.json`` locked
while it lives; the lock, not the pid, says so, because pids are used again. It becomes visible by
one rename when it is complete and locked. A scientist takes it by creating ``client.json``, which
only one can.

Everything in a folder is our own user's, or it is refused: whoever could write here could put an
ID in front of an owner that no person passed on.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from duet_p2p import limits
from duet_p2p.errors import IdentityFileUnsafe, IdentityInUse
from duet_p2p.identity.files import check_private_folder, home, read_private
from signaling_server.ids import is_id

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = [
    "OwnedFolder",
    "is_alive",
    "loopback_root",
    "read_client",
    "read_file",
    "remove_folder",
    "take_folder",
    "waiting_folders",
    "write_file",
]

OWNER: Final = "owner.json"
CLIENT: Final = "client.json"
_UNFINISHED: Final = ".new-"
_LOCK_BYTE: Final = 1 << 30  # beyond the text: Windows forbids reading bytes that are locked


@dataclass(frozen=True, slots=True)
class OwnedFolder:
    """A folder and the open, locked ``owner.json`` in it."""

    path: Path
    lock: int
    """File descriptor; the lock lives as long as it is open."""

    @classmethod
    def make(cls, root: Path, session_id: str, name: str | None) -> OwnedFolder:
        """Makes the folder of a session, complete, locked, and visible in one step.

        Raises:
            IdentityInUse: another session of this key has its folder there.
        """
        hidden = root / f"{_UNFINISHED}{secrets.token_hex(8)}"
        hidden.mkdir(mode=0o700)
        facts = {
            "v": 1,
            "pid": os.getpid(),
            "session_id": session_id,
            "name": name,
            "created": time.time(),
        }
        lock = os.open(hidden / OWNER, os.O_RDWR | os.O_CREAT | os.O_EXCL | _NOFOLLOW, 0o600)
        try:
            os.write(lock, json.dumps(facts).encode())
            if not _try_lock(lock, shared=False):
                raise OSError("a new file is locked already")
            try:
                hidden.rename(root / session_id)
            except OSError as error:
                if not (root / session_id).exists():
                    raise
                raise IdentityInUse("Another session of this identity waits here.") from error
        except BaseException:
            os.close(lock)
            remove_folder(hidden)
            raise
        return cls(root / session_id, lock)

    def remove(self) -> None:
        """Removes the folder and gives up the lock."""
        remove_folder(self.path)
        os.close(self.lock)


_NOFOLLOW: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


def loopback_root() -> Path:
    """``DUET_HOME/loopback``, made if it is missing, and checked.

    Raises:
        IdentityFileUnsafe: it, or the home folder, is not our own user's alone.
    """
    root = home() / "loopback"
    with contextlib.suppress(FileExistsError):
        root.mkdir(mode=0o700)
    check_private_folder(root)
    return root


def waiting_folders(root: Path, name: str | None) -> list[Path]:
    """Folders of living owners that nobody took yet, longest waiting first; dead ones are removed.

    Raises:
        IdentityFileUnsafe: a folder or a file in it is not our own user's alone.
    """
    found: list[tuple[float, str, Path]] = []
    for entry in sorted(root.iterdir()):
        if entry.name.startswith(_UNFINISHED):
            with contextlib.suppress(FileNotFoundError):  # made visible, or removed, just now
                if time.time() - entry.lstat().st_mtime > limits.FOLDER_STALE_SECONDS:
                    remove_folder(entry)
            continue
        if not is_id(entry.name, "owner"):
            continue
        try:
            check_private_folder(entry)
            if not is_alive(entry):
                remove_folder(entry)
                continue
            facts = _parse(read_file(entry / OWNER))
        except FileNotFoundError:  # its owner left meanwhile
            continue
        created = facts.get("created")
        fits = facts.get("v") == 1 and facts.get("session_id") == entry.name
        if not fits or facts.get("name") != name or not isinstance(created, int | float):
            continue
        if not (entry / CLIENT).exists():
            found.append((float(created), entry.name, entry))
    return [path for _, _, path in sorted(found)]


def is_alive(folder: Path) -> bool:
    """Whether the owner of a folder still holds its lock."""
    try:
        file = os.open(folder / OWNER, os.O_RDWR | _NOFOLLOW)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise IdentityFileUnsafe(f"{folder / OWNER} cannot be opened safely") from error
    try:
        # Shared, so that two scientists who look at the same time do not take each other for it.
        return not _try_lock(file, shared=True)
    finally:
        os.close(file)


def take_folder(folder: Path, client_id: str) -> bool:
    """Creates ``client.json``; False where another scientist was faster or the folder is gone."""
    facts = {"v": 1, "pid": os.getpid(), "session_id": folder.name, "client_id": client_id}
    try:
        write_file(folder / CLIENT, json.dumps(facts).encode())
    except (FileExistsError, FileNotFoundError):
        return False
    return True


def read_client(folder: Path) -> str | None:
    """The client ID that took a folder, or None while there is none.

    Raises:
        IdentityFileUnsafe: the file is not our own user's alone.
    """
    try:
        facts = _parse(read_file(folder / CLIENT))
    except FileNotFoundError:
        return None
    client_id = facts.get("client_id")
    if facts.get("v") != 1 or facts.get("session_id") != folder.name:
        return None  # also while it is being written
    return client_id if isinstance(client_id, str) and is_id(client_id, "scientist") else None


def write_file(path: Path, content: bytes) -> None:
    """Creates a private file; `FileExistsError` where there is one."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW, 0o600)
    try:
        os.write(file, content)
    finally:
        os.close(file)


def read_file(path: Path) -> bytes:
    """A private file of at most 64 KiB.

    Raises:
        IdentityFileUnsafe: a symlink, another user's, open to others, or too large.
        FileNotFoundError: there is none.
    """
    return read_private(path, limit=limits.FOLDER_MESSAGE_BYTES)


def remove_folder(path: Path) -> None:
    """Removes a folder with the files that belong there; others keep it in place."""
    try:
        check_private_folder(path)
        for file in list(path.iterdir()):
            if file.suffix in (".json", ".tmp"):
                file.unlink(missing_ok=True)
        path.rmdir()
    except FileNotFoundError:
        return  # somebody else cleans up at the same time
    except OSError:
        return  # another process just wrote to it: the next look finds it again


def _parse(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _try_lock(file: int, *, shared: bool) -> bool:
    try:
        if sys.platform == "win32":
            os.lseek(file, _LOCK_BYTE, os.SEEK_SET)
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
