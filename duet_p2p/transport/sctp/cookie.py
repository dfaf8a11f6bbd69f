"""What an INIT said, kept by the side that said it (RFC 9260 section 5.1.3).

Answering an INIT changes nothing here: all that is needed later is in the cookie, sealed with a key
of this association.
"""

from __future__ import annotations

import hmac
from struct import Struct, pack
from typing import Final

from duet_p2p import limits
from duet_p2p.transport.sctp.chunks import Init, Parameter

__all__ = ["CookieJar"]

_SEAL_BYTES: Final = 32
_BODY: Final = Struct("!dLLHHLBL")


class CookieJar:
    """Seals and opens cookies.

    Args:
        key: secret, 32 bytes, of one association.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def seal(self, init: Init, now: float) -> bytes:
        """The cookie for an INIT."""
        skips = init.find(Parameter.FORWARD_TSN) is not None
        body = _BODY.pack(
            now,
            init.tag,
            init.window,
            init.outbound,
            init.inbound,
            init.tsn,
            skips,
            packet_limit_of(init),
        )
        return body + self._sign(body)

    def open(self, cookie: bytes, now: float) -> Init | None:
        """The INIT that a cookie was made for; None if it is not ours, or too old."""
        body, seal = cookie[: _BODY.size], cookie[_BODY.size :]
        if len(body) != _BODY.size or not hmac.compare_digest(seal, self._sign(body)):
            return None
        made, tag, window, outbound, inbound, tsn, skips, packet = _BODY.unpack(body)
        if not 0 <= now - made <= limits.SCTP_COOKIE_SECONDS:
            return None
        parameters: list[tuple[int, bytes]] = []
        if skips:
            parameters.append((Parameter.FORWARD_TSN, b""))
        if packet:
            parameters.append((Parameter.PACKET_LIMIT, pack("!L", packet)))
        return Init(tag, window, outbound, inbound, tsn, tuple(parameters))

    def _sign(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, "sha256")[:_SEAL_BYTES]


def packet_limit_of(init: Init) -> int:
    """The largest packet, in bytes, that a peer of ours takes; 0 for any other."""
    said = init.find(Parameter.PACKET_LIMIT)
    return int.from_bytes(said, "big") if said is not None and len(said) == 4 else 0
