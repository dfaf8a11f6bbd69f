"""`duet web`: the browser's pages from this machine, at an origin that is this user's alone."""

from __future__ import annotations

import asyncio
import html
import secrets
import signal
import webbrowser
from pathlib import Path
from typing import Final

from duet_p2p.identity.files import home, locked, read_private, write_private
from signaling_server.pages import Pages, PageServer

__all__ = ["LOCAL_SIGNALLING", "PORT", "label_of_user", "serve"]

PORT: Final = 8770
LOCAL_SIGNALLING: Final = "http://127.0.0.1:8765"
_LABEL_FILE: Final = "web-label"
_OPENER: Final = "open-page.html"


def label_of_user() -> str:
    """The label of this user's origin, made once; who knows only the port cannot share its data.

    Raises:
        IdentityFileUnsafe: others can read or change the file that keeps it.
    """
    path = home() / _LABEL_FILE
    with locked(path):
        try:
            label = read_private(path, limit=64).decode("ascii", "replace").strip()
        except FileNotFoundError:
            label = ""
        if not (8 <= len(label) <= 63 and label.isalnum() and label.islower()):
            label = f"d{secrets.token_hex(10)}"
            write_private(path, label.encode())
    return label


def serve(*, port: int, signalling: str, opens: bool) -> None:
    """Serves until Ctrl-C.

    Args:
        port: of the origin.
        signalling: URL of the signalling server that the page proposes.
        opens: whether to open the page in the user's browser.

    Raises:
        PagesMissing: this installation has no pages.
        TakenPort: somebody listens there already.
        IdentityFileUnsafe: see `label_of_user`.
    """
    server = PageServer(Pages.installed(), label=label_of_user(), port=port, signalling=signalling)
    asyncio.run(_run(server, opens=opens))


async def _run(server: PageServer, *, opens: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stop.set)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
    await server.start()
    try:
        print(
            f"Duet's page: {server.url}\nCtrl-C ends it; a page that is open goes on.", flush=True
        )
        if opens:
            await asyncio.to_thread(_open, server.url)
        await stop.wait()
    finally:
        await server.close()


def _open(url: str) -> None:
    """Opens a page; its address is in a private file, not in a command line that all users see."""
    opener = home() / _OPENER
    target = html.escape(url, quote=True)
    write_private(
        opener,
        f'<!doctype html><meta charset="utf-8"><title>Duet</title>'
        f'<meta http-equiv="refresh" content="0; url={target}">'
        f'<a href="{target}">Duet</a>\n'.encode(),
    )
    webbrowser.open(Path(opener).as_uri())
