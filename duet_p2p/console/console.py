"""The owner's console of one session: made with the session, served from the first `open` on.

Opening is done by a file: a page of mode 0600 in the user's own folder that sends the browser on,
with the token in the fragment. So the token is in no command line that others could list, and in
no request that somebody could log. The file is gone as soon as it was used, or after a minute.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import logging
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from duet_p2p import limits
from duet_p2p.console.actions import Actions
from duet_p2p.console.board import Board, WatchedSession
from duet_p2p.console.door import Door
from duet_p2p.console.files import page_files
from duet_p2p.console.page import Page
from duet_p2p.console.server import ConsoleServer
from duet_p2p.console.tokens import Tokens
from duet_p2p.errors import SessionClosed
from duet_p2p.identity.files import check_private_folder, home, write_private
from duet_p2p.owner.audit import AuditLog
from duet_p2p.owner.audit_view import AuditView
from duet_p2p.owner.service import Service

__all__ = ["Console", "Opening", "console_folder"]

_LOG = logging.getLogger("duet_p2p")

ENDED: Final = "The owner's session is closed. Nothing can be decided any more."


@dataclass(frozen=True, slots=True)
class Opening:
    """A way into the console that one browser can use once, within a minute.

    Attributes:
        address: of the console.
        path: of the file that leads there; open it in a browser of this machine.
        url: the same way as an address. It contains the secret, so it is not shown.
    """

    address: str
    path: Path
    url: str = field(repr=False)

    def __repr__(self) -> str:
        return (
            f"<Console at {self.address}; if no browser opened, open this file within "
            f"{limits.CONSOLE_TOKEN_SECONDS:.0f} s: {self.path}>"
        )


def console_folder() -> Path:
    """Where redirect files and doors are, made on first use; for this user only.

    Raises:
        IdentityFileUnsafe: others can use it.
    """
    folder = home() / "console"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    check_private_folder(folder)
    return folder


class Console:
    """Shows one session to its owner's browser. Everything here runs on the session's loop.

    Args:
        service: of the session.
        session: its end of the connection.
        session_id: the owner's ID.
        audit: the log, or None where nothing is kept.
    """

    def __init__(
        self,
        service: Service,
        session: WatchedSession,
        session_id: str,
        *,
        audit: AuditLog | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._service = service
        self._session = session
        self._session_id = session_id
        self._audit = audit
        self._tokens = Tokens()
        self._pages: set[Page] = set()
        self._board: Board | None = None
        self._server: ConsoleServer | None = None
        self._starting = asyncio.Lock()
        self._rest = 0.0  # seconds until the next picture, by what the last one took
        self._due: asyncio.TimerHandle | None = None
        self._gauge_due: asyncio.TimerHandle | None = None
        self._files: dict[str, Path] = {}  # by the token that is in it
        self._door = Door(session_id, self._open_path)
        self._is_closed = False

    async def listen(self) -> None:
        """Lets ``duet console`` of the same user open this console from another process."""
        try:
            folder = console_folder()
        except OSError as error:
            # `open` says so again, to somebody who wants it; a session can do without a console.
            _LOG.warning("`duet console` cannot reach this session: %s", error)
            return
        await self._door.start(folder)

    async def open(self) -> Opening:
        """Makes a way in; the server starts with the first one.

        Raises:
            SessionClosed: the session is closed.
            DuetError: the page's files are not installed, or the folder is not safe.
            OSError: no port, or the disk refuses.
        """
        if self._is_closed:
            raise SessionClosed()
        async with self._starting:
            if self._server is None:
                self._server = await self._start()
        token = self._tokens.issue(self._loop.time(), limits.CONSOLE_TOKEN_SECONDS)
        address = f"{self._server.origin}/"
        path = console_folder() / f"open-{secrets.token_hex(8)}.html"
        self._files[token] = path
        await asyncio.to_thread(write_private, path, _redirect(f"{address}#{token}"))
        self._loop.call_later(limits.CONSOLE_TOKEN_SECONDS, self._forget, token)
        return Opening(address, path, f"{address}#{token}")

    async def close(self) -> None:
        """Tells the pages that the session is closed, and ends server and door; may be repeated."""
        if self._is_closed:
            return
        self._is_closed = True
        for timer in (self._due, self._gauge_due):
            if timer is not None:
                timer.cancel()
        await self._door.close()
        if self._server is not None:
            self._show()
            await self._server.close(ENDED)
            self._service.watchers.remove(self._soon)
        for token in tuple(self._files):
            self._forget(token)

    async def _start(self) -> ConsoleServer:
        await asyncio.to_thread(_remove_old, console_folder())
        audit = self._audit
        self._board = Board(
            self._service,
            self._session,
            self._session_id,
            audit_state=lambda: "off" if audit is None else audit.trouble or "on",
        )
        view = None if audit is None else AuditView(audit.file.path, flush=audit.flush)
        actions = Actions(self._service, self._board.views, self._session_id, view)
        server = ConsoleServer(
            await asyncio.to_thread(page_files),
            self._tokens,
            answer=actions.answer,
            on_page=self._page_came,
            on_gone=self._page_left,
        )
        await server.start()
        self._service.watchers.append(self._soon)
        self._session.transfers.on_change = self._soon
        return server

    # what is shown

    def _page_came(self, page: Page) -> None:
        self._pages.add(page)
        self._forget(page.came_with)
        self._show()
        if self._gauge_due is None:
            self._gauge()

    def _page_left(self, page: Page) -> None:
        self._pages.discard(page)

    def _soon(self) -> None:
        """Something changed: shown in a moment, together with what else changes until then."""
        if self._due is None and self._pages and not self._is_closed:
            wait = max(limits.CONSOLE_PUSH_SECONDS, self._rest)
            self._due = self._loop.call_later(wait, self._show)

    def _show(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if self._board is not None and self._pages:
            started = self._loop.time()
            picture = self._board.picture()
            # The scientist decides how much there is to be shown, and this loop serves the network.
            self._rest = limits.CONSOLE_RESTS * (self._loop.time() - started)
            for page in self._pages:
                page.show(picture)
            if self._board.is_behind:
                self._soon()

    def _gauge(self) -> None:
        """What changes all the time, round trips and counts of operations, is read now and then."""
        self._gauge_due = None
        if self._board is not None and self._pages and not self._is_closed:
            self._board.gauge()
            self._soon()
            self._gauge_due = self._loop.call_later(limits.CONSOLE_GAUGE_SECONDS, self._gauge)

    # the way in

    async def _open_path(self) -> str:
        return str((await self.open()).path)

    def _forget(self, token: str) -> None:
        path = self._files.pop(token, None)
        if path is not None:
            path.unlink(missing_ok=True)


def _remove_old(folder: Path) -> None:
    """What processes that were killed have left; of no use to anybody, but there."""
    for path in folder.glob("open-*.html"):
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < time.time() - limits.CONSOLE_TOKEN_SECONDS:
                path.unlink()


def _redirect(url: str) -> bytes:
    target = html.escape(url, quote=True)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="referrer" content="no-referrer"><title>Duet</title>'
        f'<meta http-equiv="refresh" content="0;url={target}"></head>'
        f'<body><p><a href="{target}">Open the console</a></p></body></html>\n'
    ).encode()
