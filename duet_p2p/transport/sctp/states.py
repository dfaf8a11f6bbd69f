"""What state an association is in, and what moves it (RFC 9260 section 4)."""

from __future__ import annotations

from enum import Enum
from typing import Final

__all__ = ["HEARS_DATA", "SENDS_DATA", "TRANSITIONS", "Input", "State", "next_state"]


class State(Enum):
    """One side's view of the association."""

    CLOSED = "closed"
    COOKIE_WAIT = "cookie wait"
    COOKIE_ECHOED = "cookie echoed"
    ESTABLISHED = "established"
    SHUTDOWN_PENDING = "shutdown pending"
    SHUTDOWN_SENT = "shutdown sent"
    SHUTDOWN_RECEIVED = "shutdown received"
    SHUTDOWN_ACK_SENT = "shutdown ack sent"
    ENDED = "ended"
    """For good: an association object is used once."""


class Input(Enum):
    """What moves it."""

    START = "INIT was sent"
    INIT_ACK = "the answer to INIT came"
    COOKIE_ECHO = "our cookie came back"
    COOKIE_ACK = "the other side has its cookie"
    SHUTDOWN_WANTED = "nothing more will be sent"
    SHUTDOWN = "the other side sends nothing more"
    ALL_ACKNOWLEDGED = "everything sent has arrived"
    SHUTDOWN_ACK = "the other side has everything"
    SHUTDOWN_COMPLETE = "both have everything"
    END = "abort, either side's, or too many losses"


TRANSITIONS: Final[dict[tuple[State, Input], State]] = {
    (State.CLOSED, Input.START): State.COOKIE_WAIT,
    (State.CLOSED, Input.COOKIE_ECHO): State.ESTABLISHED,
    (State.COOKIE_WAIT, Input.INIT_ACK): State.COOKIE_ECHOED,
    (State.COOKIE_WAIT, Input.COOKIE_ECHO): State.ESTABLISHED,
    (State.COOKIE_ECHOED, Input.COOKIE_ECHO): State.ESTABLISHED,
    (State.COOKIE_ECHOED, Input.COOKIE_ACK): State.ESTABLISHED,
    (State.ESTABLISHED, Input.SHUTDOWN_WANTED): State.SHUTDOWN_PENDING,
    (State.ESTABLISHED, Input.SHUTDOWN): State.SHUTDOWN_RECEIVED,
    (State.SHUTDOWN_PENDING, Input.ALL_ACKNOWLEDGED): State.SHUTDOWN_SENT,
    (State.SHUTDOWN_PENDING, Input.SHUTDOWN): State.SHUTDOWN_RECEIVED,
    (State.SHUTDOWN_RECEIVED, Input.ALL_ACKNOWLEDGED): State.SHUTDOWN_ACK_SENT,
    (State.SHUTDOWN_SENT, Input.SHUTDOWN): State.SHUTDOWN_ACK_SENT,
    (State.SHUTDOWN_SENT, Input.SHUTDOWN_ACK): State.ENDED,
    (State.SHUTDOWN_ACK_SENT, Input.SHUTDOWN_ACK): State.ENDED,
    (State.SHUTDOWN_ACK_SENT, Input.SHUTDOWN_COMPLETE): State.ENDED,
    **{(state, Input.END): State.ENDED for state in State if state is not State.ENDED},
}

# Rows, most likely first: each packet asks, and a set would have the hash of an enum, in Python.
SENDS_DATA: Final = (State.ESTABLISHED, State.SHUTDOWN_PENDING, State.SHUTDOWN_RECEIVED)
HEARS_DATA: Final = (State.ESTABLISHED, State.SHUTDOWN_PENDING, State.SHUTDOWN_SENT)


def next_state(state: State, happened: Input) -> State | None:
    """The state that follows, or None: then what happened changes nothing."""
    return TRANSITIONS.get((state, happened))
