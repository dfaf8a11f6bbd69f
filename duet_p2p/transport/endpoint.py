"""The signalling server as an address: which may be used, and what its refusals mean.

Two outcomes are told apart, for everything that can go wrong with a socket: `Retry`, which the
client mends by itself, and `Fatal`, which ends it with an error for the user.
"""

from __future__ import annotations

import asyncio
import os
from types import SimpleNamespace
from typing import Final

import aiohttp

from duet_p2p import errors, limits
from signaling_server import frames
from signaling_server.frames import Close
from signaling_server.urls import is_private_url, normalise_url

__all__ = [
    "Fatal",
    "Retry",
    "check_url",
    "connect",
    "http_session",
    "meaning_of_close",
    "reason_of",
]

_ENDINGS: Final[dict[int, type[errors.DuetError]]] = {
    Close.BYE: errors.SessionClosed,
    Close.REPLACED: errors.SessionReplaced,
    Close.EXPIRED: errors.SessionExpired,
}
_REFUSALS: Final = {Close.PROOF, Close.PROTOCOL, int(aiohttp.WSCloseCode.MESSAGE_TOO_BIG)}


class _Redirected(Exception):
    """A server wants to send us elsewhere; nobody but the named server is ever contacted."""


class Fatal(Exception):
    """Ends this client for good; the cause is the error for the user."""

    def __init__(self, error: errors.DuetError) -> None:
        super().__init__(str(error))
        self.error = error


class Retry(Exception):
    """The socket is gone and may be opened again after `wait` seconds, or the usual backoff."""

    def __init__(self, text: str, wait: float = 0.0) -> None:
        super().__init__(text)
        self.wait = wait


def check_url(text: str) -> str:
    """The canonical form of a signalling URL that may be used.

    Raises:
        SignalingUnreachable: it is not a URL, or it would send IDs over the internet in plain text.
    """
    try:
        url = normalise_url(text)
    except ValueError as error:
        raise errors.SignalingUnreachable(f"Not the URL of a signalling server: {error}.") from None
    allowed = os.environ.get("DUET_INSECURE_SIGNALING") == "1"
    if url.startswith("http:") and not (is_private_url(url) or allowed):
        raise errors.SignalingUnreachable(
            f"{url} is not encrypted: IDs and addresses would be visible on the way. Use https, or"
            " set DUET_INSECURE_SIGNALING=1 to accept that."
        )
    return url


async def connect(
    http: aiohttp.ClientSession, url: str, timeout: float
) -> aiohttp.ClientWebSocketResponse:
    """Opens the socket of a server.

    Raises:
        Fatal: it is known by another address.
        Retry: everything else that went wrong within `timeout` seconds, or that took longer.
    """
    try:
        async with asyncio.timeout(timeout):
            return await http.ws_connect(
                url + "/v1/ws",
                protocols=(frames.SUBPROTOCOL,),
                max_msg_size=limits.SIGNALING_FRAME_BYTES,
                timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
                compress=0,
            )
    except TimeoutError:
        raise Retry(f"no answer within {timeout:g} s") from None
    except _Redirected:
        raise Retry("it wants to send us to another address") from None
    except aiohttp.WSServerHandshakeError as error:
        raise _refused(url, error) from None
    except (aiohttp.ClientError, OSError) as error:
        raise Retry(reason_of(error)) from None


def meaning_of_close(url: str, code: int | None, reason: str) -> Fatal | Retry:
    """The table of close codes."""
    if code in _ENDINGS:
        return Fatal(_ENDINGS[code]())
    if code in _REFUSALS:
        text = f"The signalling server {url} refused us: {reason or code}."
        return Fatal(errors.ProtocolError(text))
    if code == Close.RATE:
        seconds = reason.removeprefix("retry_after=")
        wait = float(seconds) if seconds.isascii() and seconds.isdigit() else 60.0
        return Retry("too many messages", min(wait, limits.RETRY_AFTER_MAX_SECONDS))
    if code == Close.OVERLOAD:
        return Retry("the server is full", limits.BACKOFF_OVERLOAD_SECONDS)
    return Retry(f"the connection was closed ({code})")


def _refused(url: str, error: aiohttp.WSServerHandshakeError) -> Exception:
    """What an HTTP answer instead of a WebSocket means."""
    if error.status == 421:
        text = f"The signalling server at {url} does not know itself by that address."
        return Fatal(errors.OriginMismatch(text))
    after = error.headers.get("Retry-After", "") if error.headers else ""
    wait = float(after) if after.isascii() and after.isdigit() else 0.0
    if error.status in (429, 503):
        text = "it is full or takes no more connections from here"
        return Retry(text, min(max(wait, 1.0), limits.RETRY_AFTER_MAX_SECONDS))
    return Retry(f"no Duet server is there (HTTP {error.status})")


def reason_of(error: BaseException) -> str:
    """Why there is no connection, in words that name no address."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
        return "its certificate is not valid"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name is not known"
    return "no connection"


def http_session() -> aiohttp.ClientSession:
    """An HTTP session without cookies, redirects and proxies."""
    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(_refuse_redirect)
    return aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),  # every wait has its own
        trace_configs=[trace],
    )


async def _refuse_redirect(
    session: aiohttp.ClientSession,
    context: SimpleNamespace,
    params: aiohttp.TraceRequestRedirectParams,
) -> None:
    raise _Redirected
