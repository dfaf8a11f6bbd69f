"""What an association tells its owner."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Ended", "Established", "Event", "Message", "StreamsReset", "StreamsRestarted"]


@dataclass(frozen=True, slots=True)
class Established:
    """Both sides agree; messages may be sent."""

    packet_limit: int
    """Largest packet in bytes that the other side takes; 0 when it did not say."""


@dataclass(frozen=True, slots=True)
class Message:
    """A whole message arrived, in its turn."""

    stream: int
    ppid: int
    """Payload protocol: what kind of bytes these are (RFC 8831 section 8)."""
    data: bytes


@dataclass(frozen=True, slots=True)
class StreamsReset:
    """The other side will not go on with these streams; none named: with any."""

    streams: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StreamsRestarted:
    """These streams of ours, whose reset was asked for, may be used afresh."""

    streams: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """The end, for good; the last event."""

    reason: str | None
    """None after an orderly end by either side; else what went wrong, for people."""
    is_violation: bool = False
    """Whether the other side sent what it may not."""


Event = Established | Message | StreamsReset | StreamsRestarted | Ended
