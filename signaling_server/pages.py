"""The browser's pages, from a closed set of files that was read at start.

A page is code, so whoever serves it is trusted: the user's own machine (`duet web`), or a
signalling server that the user's organisation hosts (`--web`). Nothing outside of the set has a
path here, so no request names a file.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from aiohttp import web

__all__ = [
    "CONTENT_SECURITY_POLICY",
    "PageServer",
    "Pages",
    "PagesMissing",
    "TakenPort",
    "config_response",
]

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Final = MappingProxyType(
    {
        "Cache-Control": "no-store",
        "Content-Security-Policy": CONTENT_SECURITY_POLICY,
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
)
_TYPES: Final = MappingProxyType(
    {
        ".html": "text/html; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".json": "application/json",
        ".css": "text/css; charset=utf-8",
        ".svg": "image/svg+xml",
        ".txt": "text/plain; charset=utf-8",
    }
)
_TOP: Final = ("index.html", "style.css")
_FOLDERS: Final = ("src", "vendor")


class PagesMissing(RuntimeError):
    """The browser's pages are not installed; install the package duet-p2p from its wheel."""


class TakenPort(OSError):
    """Another program listens at the port of the pages."""


@dataclass(frozen=True, slots=True)
class Pages:
    """Files by their path, without a leading slash, with their content type."""

    files: Mapping[str, tuple[bytes, str]]

    @classmethod
    def installed(cls) -> Pages:
        """Those of the wheel, or of the checkout that this file is in.

        Raises:
            PagesMissing: there are none.
        """
        here = Path(__file__).resolve()
        for folder in (here.with_name("web"), here.parents[1] / "web"):
            if (folder / "src" / "session.js").is_file():
                return cls.read(folder)
        raise PagesMissing(PagesMissing.__doc__)

    @classmethod
    def read(cls, folder: Path, top: tuple[str, ...] = _TOP) -> Pages:
        """All pages below a folder; the names at its top are given."""
        found = [folder / name for name in top if (folder / name).is_file()]
        for name in _FOLDERS:
            found += [path for path in sorted((folder / name).rglob("*")) if path.is_file()]
        files = {
            path.relative_to(folder).as_posix(): (path.read_bytes(), _TYPES[path.suffix])
            for path in found
            if path.suffix in _TYPES
        }
        return cls(MappingProxyType(files))

    def response(self, path: str) -> web.Response:
        """A file; 404 for anything that is none."""
        name = "index.html" if path in ("", "/") else path.removeprefix("/")
        found = self.files.get(name)
        if found is None:
            raise web.HTTPNotFound(text="There is no such page.\n", headers=HEADERS)
        body, kind = found
        return web.Response(body=body, headers={**HEADERS, "Content-Type": kind})


def config_response(*, signalling: str, served_by: str) -> web.Response:
    """``config.json``: what a page cannot know by itself.

    Args:
        signalling: URL of the signalling server that the page proposes.
        served_by: who served it, in words that the page shows.
    """
    text = json.dumps({"signalling": signalling, "servedBy": served_by})
    return web.Response(text=text, content_type="application/json", headers=HEADERS)


class PageServer:
    """`duet web`: the pages on this machine, at an origin of this user's own.

    Browsers keep a page's data by its origin, host and port. ``localhost:8770`` is shared by
    everybody who ever listens at that port of this machine; ``<label>.localhost:8770`` is not.
    It listens at both loopback addresses, since a browser may take either for such a name.

    Args:
        pages: what is served.
        label: of this user, one DNS label.
        port: of the origin; 0 takes a free one, for tests.
        signalling: URL that the page proposes.
    """

    def __init__(self, pages: Pages, *, label: str, port: int, signalling: str) -> None:
        self._pages = pages
        self._label = label
        self._wanted = port
        self._signalling = signalling
        self._runner: web.AppRunner | None = None
        self.port = 0
        self.url = ""

    async def start(self) -> None:
        """Listens.

        Raises:
            TakenPort: at one of the addresses somebody else does.
        """
        listeners = _listen(self._wanted)
        self.port = listeners[0].getsockname()[1]
        self.url = f"http://{self._label}.localhost:{self.port}/"
        app = web.Application(client_max_size=1024)
        app.router.add_get("/{path:.*}", self._get)
        self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, shutdown_timeout=1.0
        )
        await self._runner.setup()
        for listener in listeners:
            await web.SockSite(self._runner, listener).start()

    async def close(self) -> None:
        """Stops to listen."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _get(self, request: web.Request) -> web.Response:
        if request.host != f"{self._label}.localhost:{self.port}":
            raise web.HTTPMisdirectedRequest(
                text="These pages are not served under that name.\n", headers=HEADERS
            )
        path = request.match_info["path"]
        if path == "config.json":
            return config_response(signalling=self._signalling, served_by="this machine")
        return self._pages.response(path)


def _listen(port: int) -> list[socket.socket]:
    """Sockets at 127.0.0.1 and, where this machine has it, at ::1."""
    listeners: list[socket.socket] = []
    try:
        listeners.append(_bind(socket.AF_INET, "127.0.0.1", port))
        if _has_ipv6_loopback():
            listeners.append(_bind(socket.AF_INET6, "::1", listeners[0].getsockname()[1]))
    except OSError as error:
        for listener in listeners:
            listener.close()
        raise TakenPort(
            error.errno,
            f"Port {port} of this machine is taken: {error.strerror}. End the other program, or"
            " choose another port with --port; the page then has a new identity.",
        ) from None
    return listeners


def _bind(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # Windows: nobody else may listen there too
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((host, port))
        listener.listen(64)
    except OSError:
        listener.close()
        raise
    return listener


def _has_ipv6_loopback() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
        probe.bind(("::1", 0))
        return True
    return False
