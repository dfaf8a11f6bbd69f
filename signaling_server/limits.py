"""Every limit of the signalling server, with its default, its option and its variable.

One dataclass is the whole table: the command line and the environment are made from its fields, so
that a limit cannot exist without a way to change it. `--max-frame` is `DUET_SIG_MAX_FRAME`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Final

__all__ = ["FIELDS", "Limits", "env_name", "option_name"]

# what is fixed by the protocol, not by whoever runs the server
FRAME_DEPTH: Final = 8  # nested objects and arrays in one frame
MID_CHARS: Final = 32
REFUSALS: Final = 20  # refused frames within REFUSAL_SECONDS close the socket
REFUSAL_SECONDS: Final = 60.0
REFUSED_WAIT_SECONDS: Final = 60  # what a socket closed for its rate is told to wait
ABORT_SECONDS: Final = 1.0  # from closing a socket that does not read to aborting its transport
JOINERS: Final = 512  # clients per session whose join it was sent and that it may link
BLOCK_SECONDS: Final = 60.0  # the first block after too many unknown IDs; doubles each time
MESSAGE_OVERHEAD_BYTES: Final = 256  # what a queued message costs besides its body
BUSY_RETRY_SECONDS: Final = 10  # Retry-After of a server that is full or going away


def _limit(default: float, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one server; every value is checked to be above zero.

    Raises:
        ValueError: a limit that is zero or negative, named by its option.
    """

    max_frame: int = _limit(65_536, "Bytes of one frame; a larger one closes 1009.")
    max_body: int = _limit(49_152, "Characters of a body; a longer one is refused.")
    heartbeat: float = _limit(25.0, "Seconds between pings; a socket without a pong is closed.")
    register_timeout: float = _limit(10.0, "Seconds until a socket must have registered.")
    max_sockets: int = _limit(10_000, "Sockets at once.")
    max_unregistered: int = _limit(256, "Sockets at once that have not registered yet.")
    sockets_per_source: int = _limit(64, "Sockets at once of an IPv4 address or an IPv6 /64.")
    connect_rate: float = _limit(60.0, "New sockets per minute and source, 64 at once.")
    max_sessions: int = _limit(5_000, "Sessions that are known at once.")
    links_per_session: int = _limit(16, "Clients that one session is linked with.")
    ttl_idle: float = _limit(86_400.0, "Seconds that a linked ID stays known without activity.")
    ttl_unpaired: float = _limit(7_200.0, "Seconds that an ID without links stays known.")
    queue_messages: int = _limit(16, "Messages that wait for one ID that is offline.")
    queue_seconds: float = _limit(60.0, "Seconds that a message waits.")
    queue_total: int = _limit(64 * 1024 * 1024, "Bytes of all messages that wait.")
    message_rate: float = _limit(60.0, "Frames per minute and socket.")
    message_burst: int = _limit(20, "Frames of one socket at once.")
    join_rate: float = _limit(
        30.0, "Joins of unlinked clients per minute, for each source and for each session."
    )
    lookup_failures: int = _limit(10, "Different unknown IDs per minute and source.")
    block_max: float = _limit(3_600.0, "Seconds of the longest block after too many unknown IDs.")
    ice_rate: float = _limit(6.0, "Requests per minute and socket for ICE credentials.")
    out_queue_messages: int = _limit(64, "Frames that wait for a socket that reads slowly.")
    out_queue_bytes: int = _limit(1024 * 1024, "Bytes that wait for a socket that reads slowly.")
    send_timeout: float = _limit(10.0, "Seconds for one frame to leave.")
    limiter_entries: int = _limit(100_000, "Rates and blocks that are remembered.")
    grace: float = _limit(20.0, "Seconds between drain and close at shutdown.")
    drain_jitter: float = _limit(5.0, "Seconds over which drained clients spread.")

    def __post_init__(self) -> None:
        for entry in fields(self):
            if not getattr(self, entry.name) > 0:  # also refuses NaN
                raise ValueError(f"{option_name(entry.name)} must be above zero")

    def public(self) -> dict[str, int | float]:
        """What clients are told: nothing that helps to find the limits of other sources."""
        return {
            name: getattr(self, name)
            for name in (
                "max_frame",
                "max_body",
                "heartbeat",
                "register_timeout",
                "message_rate",
                "message_burst",
                "ice_rate",
                "queue_messages",
                "queue_seconds",
            )
        }


CONNECT_BURST: Final = 64
FIELDS: Final = {entry.name: entry for entry in fields(Limits)}


def option_name(name: str) -> str:
    """``max_frame`` as an option: ``--max-frame``."""
    return "--" + name.replace("_", "-")


def env_name(name: str) -> str:
    """``max_frame`` as a variable: ``DUET_SIG_MAX_FRAME``."""
    return "DUET_SIG_" + name.upper()
