"""The user's private folder: what makes a file in it safe to read, and safe to write.

Whoever can read an identity file can be its owner, and whoever can change one can choose whom this
user talks to. So a file that others can read or change, that belongs to somebody else or that is a
link is refused, with the command that mends it. Writing is atomic: a crash leaves the old file.

On Windows modes mean nothing; the folder is in the user's profile, which others cannot read.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from duet_p2p import limits
from duet_p2p.errors import IdentityFileUnsafe, IdentityInUse
from duet_p2p.identity.keys import Key, Role

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = [
    "Identity",
    "check_private_file",
    "check_private_folder",
    "home",
    "is_locked",
    "locked",
    "open_identity",
    "read_private",
    "try_lock",
    "unlock",
    "write_private",
]

_LOCK_PAUSE: Final = 0.02
_KEY_MAX_BYTES: Final = 4096
_NAME: Final = re.compile(r"[a-z0-9_-]{1,32}")
_NOFOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)
_BINARY: Final = getattr(os, "O_BINARY", 0)


def home() -> Path:
    """The folder `DUET_HOME`, default ``~/.duet``, made on first use.

    Raises:
        IdentityFileUnsafe: others can use it, or it is not the user's own folder.
    """
    folder = Path(os.environ.get("DUET_HOME") or Path.home() / ".duet").expanduser().absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    check_private_folder(folder)
    return folder


def check_private_folder(folder: Path) -> None:
    """Refuses a folder that others can look into or change.

    Raises:
        IdentityFileUnsafe: with the command that mends it.
    """
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise IdentityFileUnsafe(f"{folder} is not a folder. Set DUET_HOME to one of your own.")
    _check_owner_and_mode(folder, found, "700")


def check_private_file(path: Path) -> None:
    """Refuses a file that others can read or change, or a link.

    Raises:
        IdentityFileUnsafe: with the command that mends it.
        FileNotFoundError: there is none.
    """
    _check_file(path, path.lstat())


def read_private(path: Path, *, limit: int = 16 * 1024 * 1024) -> bytes:
    """The content of a file that passes `check_private_file`; the very file that was checked.

    Raises:
        IdentityFileUnsafe: see `check_private_file`; or it is longer than `limit` bytes.
        FileNotFoundError: there is none.
    """
    check_private_file(path)
    fd = os.open(path, os.O_RDONLY | _NOFOLLOW | _BINARY)
    with open(fd, "rb") as file:
        _check_file(path, os.fstat(fd))
        data = file.read(limit + 1)
    if len(data) > limit:
        raise IdentityFileUnsafe(f"{path} is too large to be a file of Duet.")
    return data


def write_private(path: Path, data: bytes) -> None:
    """Replaces a file as a whole; a crash at any moment leaves the old one or the new one."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW | _BINARY, mode=0o600)
    try:
        with open(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(fd)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if sys.platform != "win32":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keeps other processes out while a file is read, changed and written.

    Raises:
        IdentityInUse: another process kept its lock for `limits.FILE_LOCK_SECONDS`.
    """
    lock = path.with_name(f"{path.name}.lock")
    deadline = time.monotonic() + limits.FILE_LOCK_SECONDS
    while (fd := try_lock(lock)) is None:
        if time.monotonic() > deadline:
            raise IdentityInUse(f"Another process keeps {lock} locked. End it and try again.")
        time.sleep(_LOCK_PAUSE)
    try:
        yield
    finally:
        unlock(fd)


def try_lock(path: Path) -> int | None:
    """Locks a file, made if need be, until `unlock` or the end of the process; None if taken."""
    with contextlib.suppress(FileNotFoundError):
        check_private_file(path)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | _NOFOLLOW | _BINARY, mode=0o600)
    try:
        _check_file(path, os.fstat(fd))
        if sys.platform == "win32":
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        if isinstance(error, IdentityFileUnsafe):
            raise
        return None
    return fd


def unlock(fd: int) -> None:
    """Gives back what `try_lock` returned."""
    os.close(fd)


def is_locked(path: Path) -> bool:
    """Whether a living process holds the lock of an existing file."""
    if not path.exists():
        return False
    fd = try_lock(path)
    if fd is None:
        return True
    unlock(fd)
    return False


# named identities


class Identity:
    """A stored key that this process uses; `close` lets others use it.

    Attributes:
        key: the key in its role.
    """

    def __init__(self, key: Key, path: Path) -> None:
        self.key = key
        self._path = path
        self._is_open = True

    def close(self) -> None:
        """Gives the identity back; may be called twice."""
        if self._is_open:
            self._is_open = False
            _release(self._path)


# Sessions of one process share an identity: the lock is the process's.
_held: dict[Path, tuple[int, int]] = {}


def open_identity(name: str, role: Role) -> Identity:
    """The stored key of that name, made on first use.

    Args:
        name: 1 to 32 of ``a-z0-9_-``.
        role: the ID depends on it.

    Raises:
        ValueError: not such a name.
        IdentityInUse: another process uses it.
        IdentityFileUnsafe: its file can be read or changed by others, or is damaged.
    """
    if not _NAME.fullmatch(name):
        raise ValueError("An identity's name has 1 to 32 characters of a-z, 0-9, _ and -.")
    path = home() / f"identity-{name}.key"
    _hold(path, name)
    try:
        return Identity(_load_or_make(path, role), path)
    except BaseException:
        _release(path)
        raise


def _load_or_make(path: Path, role: Role) -> Key:
    try:
        pem = read_private(path, limit=_KEY_MAX_BYTES)
    except FileNotFoundError:
        key = Key.fresh(role)
        write_private(path, key.to_pem())
        return key
    try:
        return Key.from_pem(pem, role)
    except ValueError as error:
        raise IdentityFileUnsafe(
            f"{path} holds no key ({error}). Restore it, or give it up with: rm {path}"
        ) from None


def _hold(path: Path, name: str) -> None:
    fd, uses = _held.get(path, (-1, 0))
    if not uses:
        taken = try_lock(path.with_name(f"{path.name}.lock"))
        if taken is None:
            raise IdentityInUse(
                f"Another process uses the identity {name!r}. End it, or choose another name."
            )
        fd = taken
    _held[path] = (fd, uses + 1)


def _release(path: Path) -> None:
    fd, uses = _held[path]
    if uses > 1:
        _held[path] = (fd, uses - 1)
    else:
        del _held[path]
        unlock(fd)


def _check_file(path: Path, found: os.stat_result) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise IdentityFileUnsafe(f"{path} is a link. Put the file itself there: rm {path}")
    if not stat.S_ISREG(found.st_mode):
        raise IdentityFileUnsafe(f"{path} is not a file. Remove it: rm -r {path}")
    _check_owner_and_mode(path, found, "600")


def _check_owner_and_mode(path: Path, found: os.stat_result, mode: str) -> None:
    if sys.platform == "win32":
        return
    if found.st_uid != os.geteuid():
        raise IdentityFileUnsafe(
            f"{path} belongs to another user. Take it over with: sudo chown {os.geteuid()} {path}"
        )
    if found.st_mode & 0o077:
        raise IdentityFileUnsafe(f"{path} is open to other users. Close it: chmod {mode} {path}")
