"""The SDP whitelist: check the signed text, parse it, and build it again from what was understood.

Only the rebuilt text, or the `Description` that it stands for, reaches the ICE and DTLS code, so
nothing that this file does not know can pass: no second media section, no second fingerprint, no
relaxed mode, no address that would aim this machine's connectivity checks at itself or at
link-local services. The sender builds its own text with the same function.

Candidates that are not wanted are left out, not refused: browsers offer TCP and mDNS ones as well,
and a partner without a usable candidate can still be reached by its own checks.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import replace
from typing import Final

from duet_p2p import limits
from duet_p2p.protocol.description import Candidate, Description

__all__ = ["SdpError", "build_sdp", "is_mdns_name", "is_usable_address", "parse_sdp", "restrict"]

_CHARSET: Final = re.compile(r"(?:[a-zA-Z]=[\x20-\x7e]*\r\n)+")
_MEDIA: Final = re.compile(r"m=application ([1-9][0-9]{0,4}) UDP/DTLS/SCTP webrtc-datachannel")
_FINGERPRINT: Final = re.compile(r"sha-256 ([0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){31})")
_UFRAG: Final = re.compile(r"[A-Za-z0-9+/]{4,256}")
_PWD: Final = re.compile(r"[A-Za-z0-9+/]{22,256}")
_MID: Final = re.compile(r"[A-Za-z0-9]{1,16}")
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}")
_SIZE: Final = re.compile(r"[0-9]{1,18}")
_FOUNDATION: Final = re.compile(r"[A-Za-z0-9+/]{1,32}")
_PRIORITY: Final = re.compile(r"[0-9]{1,10}")
_MDNS: Final = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\.local", re.IGNORECASE
)

_LINE_TYPES: Final = frozenset("vostcmab")
_SETUPS: Final = {"offer": ("actpass",), "answer": ("active", "passive")}
_KINDS: Final = ("host", "srflx", "prflx", "relay")
_NEVER: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "169.254.0.0/16",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/96",  # unspecified and IPv4-compatible; ::1 is asked for first
        "fe80::/10",
        "ff00::/8",
        "::ffff:0:0/96",
        "64:ff9b::/96",
    )
)


class SdpError(ValueError):
    """A session description breaks the whitelist.

    Attributes:
        code: ``size``, ``charset``, ``line``, ``media``, ``fingerprint``, ``setup`` or
            ``candidates``.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def parse_sdp(text: str, *, kind: str, fp: bytes, setup: str, loopback: bool) -> Description:
    """What a signed text says, restricted to what may be used.

    Args:
        text: the text, after its signature was checked.
        kind: ``offer`` or ``answer``.
        fp: the fingerprint that was signed beside it, 32 bytes.
        setup: the setup that was signed beside it.
        loopback: whether candidates at loopback addresses may stay.

    Raises:
        SdpError: with the code of the first rule that is broken.
    """
    if len(text.encode("utf-8", "surrogatepass")) > limits.SDP_MAX_BYTES:
        raise SdpError("size")
    if not _CHARSET.fullmatch(text):
        raise SdpError("charset")
    lines = text.split("\r\n")[:-1]
    _check_lines(lines)
    attributes = _attributes(lines)

    found_fp = _FINGERPRINT.fullmatch(_one(attributes, "fingerprint", "fingerprint"))
    if found_fp is None or bytes.fromhex(found_fp[1].replace(":", "")) != fp:
        raise SdpError("fingerprint")
    if _one(attributes, "setup", "setup") != setup or setup not in _SETUPS[kind]:
        raise SdpError("setup")
    mid = _one_of(attributes, "mid", _MID)
    if attributes.get("group", [f"BUNDLE {mid}"]) != [f"BUNDLE {mid}"]:
        raise SdpError("line")
    found = attributes.get("candidate", [])
    if len(found) > limits.CANDIDATES:
        raise SdpError("candidates")
    candidates = (_candidate(value, loopback=loopback) for value in found)
    return Description(
        ufrag=_one_of(attributes, "ice-ufrag", _UFRAG),
        pwd=_one_of(attributes, "ice-pwd", _PWD),
        fingerprint=fp,
        setup=setup,
        candidates=tuple(candidate for candidate in candidates if candidate is not None),
        mid=mid,
        sctp_port=_port(_one_of(attributes, "sctp-port", _PORT)),
        max_message_size=_message_size(attributes),
    )


def build_sdp(description: Description) -> str:
    """The one text of a description."""
    fingerprint = description.fingerprint.hex(":").upper()
    lines = [
        "v=0",
        "o=- 1 1 IN IP4 0.0.0.0",
        "s=-",
        "t=0 0",
        f"a=group:BUNDLE {description.mid}",
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
        "c=IN IP4 0.0.0.0",
        f"a=mid:{description.mid}",
        f"a=ice-ufrag:{description.ufrag}",
        f"a=ice-pwd:{description.pwd}",
        f"a=fingerprint:sha-256 {fingerprint}",
        f"a=setup:{description.setup}",
        f"a=sctp-port:{description.sctp_port}",
        f"a=max-message-size:{description.max_message_size}",
    ]
    for candidate in description.candidates:
        line = (
            f"a=candidate:{candidate.foundation} 1 udp {candidate.priority} "
            f"{candidate.address} {candidate.port} typ {candidate.kind}"
        )
        # The related address is of no use to the other side and tells it about this network.
        lines.append(line if candidate.kind == "host" else line + " raddr 0.0.0.0 rport 0")
    if description.candidates:
        # Without candidates ICE must wait for the peer's own checks; aioice fails at once if told
        # that none will follow.
        lines.append("a=end-of-candidates")
    return "".join(line + "\r\n" for line in lines)


def restrict(description: Description, *, loopback: bool) -> Description:
    """The sender's own description without what the other side would leave out or refuse."""
    usable = [
        candidate
        for candidate in description.candidates
        if is_mdns_name(candidate.address)
        or is_usable_address(candidate.address, loopback=loopback)
    ]
    return replace(
        description,
        candidates=tuple(usable[: limits.CANDIDATES]),
        max_message_size=min(description.max_message_size, limits.MESSAGE_MAX_BYTES),
    )


def is_mdns_name(address: str) -> bool:
    """Whether an address is a name that a browser made to hide a local address."""
    return _MDNS.fullmatch(address) is not None


def is_usable_address(address: str, *, loopback: bool) -> bool:
    """Whether connectivity checks may be sent to this literal."""
    if not address.isascii() or "%" in address:
        return False
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if ip.is_loopback and ip.version == 6:
        return loopback
    if ip.version == 4 and ip in ipaddress.ip_network("127.0.0.0/8"):
        return loopback
    return not any(ip.version == net.version and ip in net for net in _NEVER)


def _check_lines(lines: list[str]) -> None:
    if lines[0] != "v=0":
        raise SdpError("line")
    media = []
    for number, line in enumerate(lines):
        if line[0] not in _LINE_TYPES or (line[0] == "v" and number > 0):
            raise SdpError("line")
        if line[0] == "m":
            media.append(line)
    if len(media) != 1:
        raise SdpError("media")
    found = _MEDIA.fullmatch(media[0])
    if found is None or int(found[1]) > 65535:
        raise SdpError("media")


def _attributes(lines: list[str]) -> dict[str, list[str]]:
    attributes: dict[str, list[str]] = {}
    for line in lines:
        if line[0] == "a":
            name, _, value = line[2:].partition(":")
            attributes.setdefault(name, []).append(value)
    if "ice-lite" in attributes or "crypto" in attributes:
        raise SdpError("line")
    return attributes


def _one(attributes: dict[str, list[str]], name: str, code: str) -> str:
    values = attributes.get(name, [])
    if len(values) != 1:
        raise SdpError(code)
    return values[0]


def _one_of(attributes: dict[str, list[str]], name: str, pattern: re.Pattern[str]) -> str:
    value = _one(attributes, name, "line")
    if not pattern.fullmatch(value):
        raise SdpError("line")
    return value


def _port(text: str) -> int:
    if int(text) > 65535:
        raise SdpError("line")
    return int(text)


def _message_size(attributes: dict[str, list[str]]) -> int:
    if "max-message-size" not in attributes:
        return limits.MESSAGE_MAX_BYTES
    size = int(_one_of(attributes, "max-message-size", _SIZE))
    return min(size or limits.MESSAGE_MAX_BYTES, limits.MESSAGE_MAX_BYTES)


def _candidate(value: str, *, loopback: bool) -> Candidate | None:
    """The candidate of a line, or None where it is not to be used."""
    parts = value.split(" ")
    if len(parts) < 8 or parts[6] != "typ":
        return None
    foundation, component, transport, priority, address, port = parts[:6]
    usable = (
        component == "1"
        and transport.lower() == "udp"
        and parts[7] in _KINDS
        and _FOUNDATION.fullmatch(foundation)
        and _PRIORITY.fullmatch(priority)
        and int(priority) < 2**32
        and _PORT.fullmatch(port)
        and int(port) <= 65535
        and (is_mdns_name(address) or is_usable_address(address, loopback=loopback))
    )
    if not usable:
        return None
    return Candidate(foundation, int(priority), address, int(port), parts[7])
