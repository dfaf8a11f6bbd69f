"""How ``duet console``, another process of the same user, asks a session to open its console.

A Unix socket of mode 0600 in the user's folder of mode 0700, named by the session ID. Both ends ask
the kernel who the other one is, so that neither a folder that was open for a moment nor a socket
that somebody else made is believed. What comes back is the path of a redirect file that only this
user can read: no secret goes over the socket.

Where there are no such sockets (Windows), `duet.console()` in the session is the way.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import stat
import struct
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final

from duet_p2p import limits
from duet_p2p.errors import DuetError, NotAllowed, SessionClosed
from duet_p2p.identity.files import check_private_folder

__all__ = ["Door", "doors", "knock"]

_LOG = logging.getLogger("duet_p2p")
_QUESTION: Final = b"open\n"
_SUFFIX: Final = ".door"
_ADDRESS_BYTES: Final = 100
"""Longer paths do not fit into a socket's address (104 to 108 bytes)."""
_ACCEPTING: Final = 3
"""Turns of the loop from a connection that was accepted to its visit."""
_LOCAL_PEERCRED: Final = 1
"""macOS and BSD: option of level 0 that gives a `struct xucred`."""


class Door:
    """The session's end.

    Args:
        session_id: the owner's ID; the name of the door.
        on_knock: makes a way in and gives the path of its file.
    """

    def __init__(self, session_id: str, on_knock: Callable[[], Awaitable[str]]) -> None:
        self._session_id = session_id
        self._on_knock = on_knock
        self._server: asyncio.Server | None = None
        self._path: Path | None = None
        self._visits: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def start(self, folder: Path) -> None:
        """Listens in a private folder; a door that a dead process left is replaced.

        Without a door there is still `duet.console()`, so trouble is only logged.
        """
        if not hasattr(socket, "AF_UNIX") or sys.platform == "win32":
            return
        path = folder / f"{self._session_id}{_SUFFIX}"
        try:
            listener = _bound(path)
            if listener is None:
                _LOG.info("Another session of this ID has the door %s", path)
                return
            self._server = await asyncio.start_unix_server(
                self._visit, sock=listener, limit=limits.CONSOLE_DOOR_BYTES
            )
            self._path = path
        except OSError as error:
            _LOG.warning("`duet console` cannot reach this session (%s): %s", path, error)

    async def close(self) -> None:
        """Listens no more; may be called twice."""
        if self._server is not None:
            loop = asyncio.get_running_loop()
            for listener in self._server.sockets:
                loop.remove_reader(listener.fileno())
            # a server that closes drops what it has just accepted, without closing it
            for _ in range(_ACCEPTING):
                await asyncio.sleep(0)
            self._server.close()
            self._server = None
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None
        for visit, writer in tuple(self._visits.items()):
            visit.cancel()
            writer.transport.abort()
        if self._visits:
            await asyncio.wait(self._visits)

    def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visit = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._visits[visit] = writer
        visit.add_done_callback(self._visits.pop)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(limits.CONSOLE_DOOR_SECONDS):
                if _user_of(writer.get_extra_info("socket")) != os.geteuid():
                    return
                if await reader.readline() != _QUESTION:
                    return
                try:
                    answer = {"path": await self._on_knock()}
                except (DuetError, OSError) as error:
                    answer = {"error": str(error)}
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (TimeoutError, ConnectionError, ValueError) as error:
            _LOG.info("Somebody at the door of the console left: %s", error)
        finally:
            writer.close()


def doors(folder: Path) -> list[str]:
    """IDs of the sessions of this user that can be asked; what dead ones left is removed.

    Raises:
        IdentityFileUnsafe: others can use the folder.
    """
    check_private_folder(folder)
    return [path.stem for path in sorted(folder.glob(f"*{_SUFFIX}")) if _is_alive(path)]


def knock(folder: Path, session_id: str) -> Path:
    """Asks a session to open its console.

    Returns:
        The redirect file, for a browser.

    Raises:
        SessionClosed: nobody is there.
        NotAllowed: it does not belong to this user, or cannot open one; the text says why.
    """
    path = folder / f"{session_id}{_SUFFIX}"
    try:
        found = path.lstat()
        if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid():
            raise NotAllowed(f"{path} is not a door of yours. Remove it: rm {path}")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line, _address(path) as address:
            line.settimeout(limits.CONSOLE_DOOR_SECONDS)
            line.connect(address)
            if _user_of(line) != os.geteuid():
                raise NotAllowed("The process behind this door is of another user.")
            line.sendall(_QUESTION)
            answer = _read_line(line)
    except (ConnectionError, FileNotFoundError, TimeoutError):
        raise SessionClosed(f"No session {session_id} runs here any more.") from None
    if "path" not in answer:
        raise NotAllowed(answer.get("error") or "The session gave no answer.")
    return Path(answer["path"])


def _read_line(line: socket.socket) -> dict[str, str]:
    data = b""
    while not data.endswith(b"\n") and len(data) < limits.CONSOLE_DOOR_BYTES:
        more = line.recv(limits.CONSOLE_DOOR_BYTES)
        if not more:
            break
        data += more
    try:
        answer = json.loads(data)
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or not all(isinstance(v, str) for v in answer.values()):
        return {}
    return answer


def _bound(path: Path) -> socket.socket | None:
    """A listening socket of mode 0600; None if a living process has this door."""
    if _is_alive(path):
        return None
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _address(path) as address:
            listener.bind(address)
        path.chmod(0o600)
        listener.listen(4)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _is_alive(path: Path) -> bool:
    """Whether a process listens there; if none does, the path is free afterwards."""
    if path.is_socket():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line, _address(path) as address:
            line.settimeout(limits.CONSOLE_DOOR_SECONDS)
            with contextlib.suppress(ConnectionError):
                line.connect(address)
                return True
    path.unlink(missing_ok=True)
    return False


@contextlib.contextmanager
def _address(path: Path) -> Iterator[str]:
    """The path in a form that fits; on Linux a long folder is named by a descriptor of it."""
    if len(os.fsencode(path)) < _ADDRESS_BYTES:
        yield str(path)
        return
    if not Path("/proc/self/fd").is_dir():
        raise OSError(f"{path} is too long for a socket. Set DUET_HOME to a shorter one.")
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _user_of(line: socket.socket) -> int:
    """User id of the process at the other end, as the kernel says; -1 where it does not."""
    if hasattr(socket, "SO_PEERCRED"):
        size = struct.calcsize("3i")
        _, user, _ = struct.unpack(
            "3i", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        )
        return int(user)
    if sys.platform == "darwin" or "bsd" in sys.platform:
        # struct xucred: version, user, …
        found = line.getsockopt(0, _LOCAL_PEERCRED, 76)
        return int(struct.unpack_from("=II", found)[1])
    return -1
