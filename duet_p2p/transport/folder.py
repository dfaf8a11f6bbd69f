"""Signalling without a server: two processes of one user pass files in a folder.

The bodies are the same signed ones that go through a server, so nothing about the proofs changes;
only the human channel is replaced, by the rule that whoever can write to this folder is this user.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from duet_p2p import limits
from duet_p2p.errors import IdentityFileUnsafe, PairingTimeout, PartnerLeft
from duet_p2p.identity.files import check_private_folder
from duet_p2p.identity.keys import Key
from duet_p2p.transport import rendezvous
from duet_p2p.transport.rendezvous import OwnedFolder

__all__ = ["FolderSignaling", "OwnerFolder", "ScientistFolder", "find_owner"]

log = logging.getLogger(__name__)

_NUMBER: Final = re.compile(r"[os]-(\d{1,18})\.json", re.ASCII)


async def find_owner(
    name: str | None, client_id: str, *, timeout: float | None = None, root: Path | None = None
) -> str:
    """Waits for an owner on this machine and takes the one that waits for the longest time.

    Args:
        name: of ``loopback="name"``, matched exactly; None where it is just ``True``.
        client_id: the ID that the owner will expect.
        timeout: seconds; None waits for as long as it takes.
        root: the folder of all sessions; default is `rendezvous.loopback_root`.

    Returns:
        The owner's session ID, for `ScientistFolder`.

    Raises:
        PairingTimeout: no owner came in time.
        IdentityFileUnsafe: a folder there is not our own user's alone.
    """
    root = root or rendezvous.loopback_root()
    try:
        async with asyncio.timeout(timeout):
            while True:
                for folder in rendezvous.waiting_folders(root, name):
                    taken = rendezvous.take_folder(folder, client_id)
                    if taken and rendezvous.is_alive(folder):
                        return folder.name
                await asyncio.sleep(limits.FOLDER_POLL_SECONDS)
    except TimeoutError:
        raise PairingTimeout(
            f"No owner with loopback={name or True!r} appeared on this machine in time."
        ) from None


class FolderSignaling:
    """What both sides of a folder share; implements `transport.base.Signaling`."""

    _own: str
    _other: str

    def __init__(self) -> None:
        self.url = ""
        self.is_local = True
        self.ice_servers: list[dict[str, Any]] = []
        self.on_message: Callable[[str, bytes], None] = lambda sender, body: None
        self.on_event: Callable[[str, str], None] = lambda event, id: None
        self._folder: Path | None = None
        self._partner = ""
        self._task: asyncio.Task[None] | None = None
        self._count = 0
        self._poll = limits.FOLDER_POLL_SECONDS
        self._wake = asyncio.Event()

    async def start(self) -> None:
        """Begins to look for files.

        Raises:
            IdentityFileUnsafe: the folder is not our own user's alone.
        """
        self._folder = self._open()
        self._task = asyncio.create_task(self._run(), name="loopback folder")
        self.on_event("registered", "")

    def post(self, to: str, body: bytes, *, is_join: bool = False) -> None:
        """Writes one body for the partner; too many or too large ones are lost."""
        if self._folder is None or to != self._partner or len(body) > limits.FOLDER_MESSAGE_BYTES:
            return
        name = f"{self._own}-{self._count}"
        try:
            if len(self._waiting(self._own)) >= limits.FOLDER_MESSAGES:
                return
            self._count += 1
            hidden = self._folder / f"{name}.tmp"
            rendezvous.write_file(hidden, body)
            hidden.rename(self._folder / f"{name}.json")
        except OSError as error:  # the folder is gone, or the disk is full: bodies may be lost
            log.debug("a loopback message was not written: %s", error.strerror)

    def hurry(self, on: bool) -> None:
        """Looks every 10 ms while pairing or lost, every 0.5 s while a session is open."""
        self._poll = limits.FOLDER_POLL_SECONDS if on else limits.FOLDER_IDLE_POLL_SECONDS
        self._wake.set()

    def rest(self) -> None:
        """Looks less often."""
        self.hurry(False)

    async def refresh_ice(self) -> list[dict[str, Any]]:
        """None: both are on this machine."""
        return []

    async def close(self, *, forget: bool) -> None:
        """Ends. The owner's folder goes with it in any case: without its lock it is dead."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        folder, self._folder = self._folder, None
        if folder is not None:
            self._leave(folder)

    def _open(self) -> Path:
        raise NotImplementedError

    def _leave(self, folder: Path) -> None:
        raise NotImplementedError

    def _look(self, folder: Path) -> None:
        """What this side checks besides messages."""
        raise NotImplementedError

    async def _run(self) -> None:
        folder = self._folder
        while folder is not None:
            try:
                self._look(folder)
                self._take(folder)
            except _Gone:
                self.on_event("offline", self._partner)
                self.on_event("closed", "PartnerLeft")
                return
            except IdentityFileUnsafe as error:
                log.error("loopback: %s", error)
                self.on_event("closed", "IdentityFileUnsafe")
                return
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._poll):
                    await self._wake.wait()

    def _take(self, folder: Path) -> None:
        for _, path in self._waiting(self._other):
            try:
                body = rendezvous.read_file(path)
                path.unlink()
            except FileNotFoundError:
                continue
            if self._partner:
                self.on_message(self._partner, body)

    def _waiting(self, side: str) -> list[tuple[int, Path]]:
        if self._folder is None:
            return []
        try:
            names = os.listdir(self._folder)
        except FileNotFoundError:
            return []
        matches = [_NUMBER.fullmatch(name) for name in names if name.startswith(side)]
        return sorted((int(m[1]), self._folder / m[0]) for m in matches if m)


class _Gone(Exception):
    """The owner's process does not hold the folder any more."""


class OwnerFolder(FolderSignaling):
    """The owner's side: makes the folder of its session and waits for the client that takes it.

    Args:
        key: the session's.
        name: of ``loopback="name"``, or None.
        on_client: called once with the client ID, which is the one to expect.
        root: the folder of all sessions; default is `rendezvous.loopback_root`.
    """

    _own, _other = "o", "s"

    def __init__(
        self,
        key: Key,
        name: str | None = None,
        *,
        on_client: Callable[[str], None] = lambda client_id: None,
        root: Path | None = None,
    ) -> None:
        super().__init__()
        self.on_client = on_client
        self._id = key.id
        self._name = name
        self._root = root
        self._owned: OwnedFolder | None = None

    def _open(self) -> Path:
        root = self._root or rendezvous.loopback_root()
        rendezvous.waiting_folders(root, self._name)  # removes what dead owners left
        self._owned = OwnedFolder.make(root, self._id, self._name)
        return self._owned.path

    def _leave(self, folder: Path) -> None:
        owned, self._owned = self._owned, None
        if owned is not None:
            owned.remove()

    def _look(self, folder: Path) -> None:
        if not self._partner:
            client_id = rendezvous.read_client(folder)
            if client_id is not None:
                self._partner = client_id
                self.on_client(client_id)
                self.on_event("online", client_id)


class ScientistFolder(FolderSignaling):
    """The scientist's side of a folder that `find_owner` took.

    Args:
        key: whose ID was given to `find_owner`.
        session_id: what it returned.
        root: the folder of all sessions; default is `rendezvous.loopback_root`.
    """

    _own, _other = "s", "o"

    def __init__(self, key: Key, session_id: str, *, root: Path | None = None) -> None:
        super().__init__()
        self._id = key.id
        self._partner = session_id
        self._root = root
        self._checked = 0.0

    def _open(self) -> Path:
        folder = (self._root or rendezvous.loopback_root()) / self._partner
        try:
            check_private_folder(folder)
        except FileNotFoundError:
            raise PartnerLeft("The owner of this loopback session is gone.") from None
        if rendezvous.read_client(folder) != self._id:
            raise IdentityFileUnsafe(f"{folder} was taken by another process.")
        return folder

    def _leave(self, folder: Path) -> None:
        """The folder is the owner's."""

    def _look(self, folder: Path) -> None:
        now = time.monotonic()
        if now - self._checked >= limits.FOLDER_IDLE_POLL_SECONDS:
            self._checked = now
            if not rendezvous.is_alive(folder):
                raise _Gone
