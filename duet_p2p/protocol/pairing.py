"""The state tables of pairing.

Four small machines work together: the owner's admission of each client, the half-open attempt on
either side, and the live slot that holds the one verified association. Each is a table from
(state, event) to a step. DROP is a message that changes nothing and is counted; a pair that is not
listed cannot happen in a correct shell and raises `IllegalEvent`, which changes nothing either.

A join, an offer or a half-open attempt never touches the live slot: only an association on which
both keys were proved takes it over. So nobody can end a session by pretending to start one.

The machines that run on these tables are in owner_pairing.py and scientist_pairing.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Generic, TypeAlias, TypeVar

__all__ = [
    "ADMISSION",
    "DROP",
    "LIVE",
    "OWNER",
    "SCIENTIST",
    "Admission",
    "AdmissionEvent",
    "IllegalEvent",
    "Live",
    "LiveEvent",
    "OwnerEvent",
    "OwnerState",
    "ScientistEvent",
    "ScientistState",
    "Step",
    "Table",
    "step",
]


class IllegalEvent(RuntimeError):
    """The shell reported something that cannot happen in this state; nothing was changed."""


class Admission(Enum):
    """What the owner knows of a client."""

    UNKNOWN = auto()
    HELD = auto()
    EXPECTED = auto()


class AdmissionEvent(Enum):
    """What happens to a client before its attempts count."""

    JOIN = auto()
    NAMED = auto()
    """Its ID was typed, given or known."""
    EXPIRED = auto()
    """Held for too long, or pushed out."""
    OTHER_PINNED = auto()


class OwnerState(Enum):
    """The owner's half-open attempt of one client."""

    IDLE = auto()
    OFFERED = auto()
    CONNECTING = auto()
    CONFIRMING = auto()


class OwnerEvent(Enum):
    """What can happen to an owner's attempt."""

    JOIN_NEWER = auto()
    JOIN_SAME = auto()
    JOIN_OLD = auto()
    """An older one, or the newest attempt with other bytes."""
    ANSWER = auto()
    ANSWER_BAD = auto()
    CHANNEL_OPEN = auto()
    """Channel 0 is open and the certificate is the signed one."""
    CERT_DIFFERS = auto()
    CONFIRM = auto()
    INTRUSION = auto()
    """Another first frame, any frame on channels 1 and 2, an extra channel."""
    FAILED = auto()
    """A deadline passed, or ICE or DTLS failed."""
    BYE = auto()
    CLOSE = auto()


class ScientistState(Enum):
    """The scientist's half-open attempt."""

    IDLE = auto()
    JOINING = auto()
    ANSWERING = auto()
    CONFIRMING = auto()


class ScientistEvent(Enum):
    """What can happen to a scientist's attempt."""

    BEGIN = auto()
    """The call of join_duet, or a live association that was lost."""
    RESEND = auto()
    """The timer, a new registration, or the partner coming online."""
    OFFER = auto()
    OFFER_SAME = auto()
    """The bytes of the offer that was accepted."""
    OFFER_BAD = auto()
    VERSION = auto()
    """A proved offer of a release that this one cannot speak with."""
    CHANNEL_OPEN = auto()
    CERT_DIFFERS = auto()
    CONFIRM = auto()
    INTRUSION = auto()
    FAILED = auto()
    BYE = auto()
    CLOSE = auto()


class Live(Enum):
    """The one verified association of a session."""

    NONE = auto()
    VERIFIED = auto()
    OPEN = auto()


class LiveEvent(Enum):
    """What can happen to it."""

    VERIFIED = auto()
    """Another association was verified just now."""
    READY = auto()
    NOT_READY = auto()
    """Another frame on channel 0 than the ready that must be next, or no ready in time."""
    PROOF_AGAIN = auto()
    """A confirm or a ready."""
    GONE = auto()
    """Lost, or left by the partner, or closed by this side."""


State = TypeVar("State", bound=Enum)
Event = TypeVar("Event", bound=Enum)


@dataclass(frozen=True, slots=True)
class Step(Generic[State]):
    """One cell: what to do, then the new state. An action may choose another state by itself."""

    act: str
    to: State


DROP: Final = None
Table: TypeAlias = Mapping[tuple[State, Event], Step[State] | None]


def step(table: Table[State, Event], state: State, event: Event) -> Step[State] | None:
    """The cell of a table.

    Raises:
        IllegalEvent: the pair is not listed.
    """
    try:
        return table[state, event]
    except KeyError:
        raise IllegalEvent(f"{event} in {state}") from None


def _table(
    rows: Mapping[Event, Mapping[State, Step[State] | None]],
) -> Table[State, Event]:
    return {(state, event): cell for event, row in rows.items() for state, cell in row.items()}


def _everywhere(states: type[State], cell: Step[State] | None) -> dict[State, Step[State] | None]:
    return dict.fromkeys(states, cell)


_A = Admission
_AE = AdmissionEvent
ADMISSION: Final[Table[Admission, AdmissionEvent]] = _table(
    {
        _AE.JOIN: {
            _A.UNKNOWN: Step("hold", _A.HELD),  # or dropped, past the limits
            _A.HELD: Step("hold_newest", _A.HELD),
            _A.EXPECTED: Step("pass_on", _A.EXPECTED),
        },
        _AE.NAMED: {
            _A.UNKNOWN: Step("expect", _A.EXPECTED),
            _A.HELD: Step("expect_held", _A.EXPECTED),
            _A.EXPECTED: DROP,
        },
        _AE.EXPIRED: {
            _A.UNKNOWN: DROP,
            _A.HELD: Step("forget", _A.UNKNOWN),
            _A.EXPECTED: DROP,
        },
        _AE.OTHER_PINNED: {
            _A.UNKNOWN: DROP,
            _A.HELD: Step("forget", _A.UNKNOWN),
            _A.EXPECTED: Step("refuse", _A.UNKNOWN),
        },
    }
)

_O = OwnerState
_OE = OwnerEvent
_OFFER: Final = Step("offer", _O.OFFERED)
OWNER: Final[Table[OwnerState, OwnerEvent]] = _table(
    {
        _OE.JOIN_NEWER: {
            _O.IDLE: _OFFER,
            _O.OFFERED: _OFFER,
            _O.CONNECTING: _OFFER,
            _O.CONFIRMING: _OFFER,
        },
        _OE.JOIN_SAME: {
            _O.IDLE: DROP,
            _O.OFFERED: Step("repeat_offer", _O.OFFERED),
            _O.CONNECTING: DROP,
            _O.CONFIRMING: DROP,
        },
        _OE.JOIN_OLD: _everywhere(_O, DROP),
        _OE.ANSWER: {
            _O.IDLE: DROP,
            _O.OFFERED: Step("connect", _O.CONNECTING),
            _O.CONNECTING: DROP,
            _O.CONFIRMING: DROP,
        },
        _OE.ANSWER_BAD: {
            _O.IDLE: DROP,
            _O.OFFERED: Step("reject", _O.OFFERED),
            _O.CONNECTING: DROP,
            _O.CONFIRMING: DROP,
        },
        _OE.CHANNEL_OPEN: {_O.CONNECTING: Step("confirm", _O.CONFIRMING)},
        _OE.CERT_DIFFERS: {_O.CONNECTING: Step("drop_imposter", _O.IDLE)},
        _OE.CONFIRM: {_O.CONFIRMING: Step("verify", _O.IDLE)},
        _OE.INTRUSION: {
            _O.CONNECTING: Step("drop_intruder", _O.IDLE),
            _O.CONFIRMING: Step("drop_intruder", _O.IDLE),
        },
        _OE.FAILED: {
            _O.IDLE: DROP,
            _O.OFFERED: Step("fail", _O.IDLE),
            _O.CONNECTING: Step("fail", _O.IDLE),
            _O.CONFIRMING: Step("fail", _O.IDLE),
        },
        _OE.BYE: {
            _O.IDLE: DROP,
            _O.OFFERED: Step("see_off", _O.IDLE),
            _O.CONNECTING: Step("see_off", _O.IDLE),
            _O.CONFIRMING: Step("see_off", _O.IDLE),
        },
        _OE.CLOSE: {
            _O.IDLE: DROP,
            _O.OFFERED: Step("leave", _O.IDLE),
            _O.CONNECTING: Step("leave", _O.IDLE),
            _O.CONFIRMING: Step("leave", _O.IDLE),
        },
    }
)

_S = ScientistState
_SE = ScientistEvent
SCIENTIST: Final[Table[ScientistState, ScientistEvent]] = _table(
    {
        _SE.BEGIN: {
            _S.IDLE: Step("join", _S.JOINING),
            _S.JOINING: DROP,
            _S.ANSWERING: DROP,
            _S.CONFIRMING: DROP,
        },
        _SE.RESEND: {
            _S.IDLE: DROP,
            _S.JOINING: Step("repeat_join", _S.JOINING),
            _S.ANSWERING: Step("repeat_answer", _S.ANSWERING),
            _S.CONFIRMING: DROP,
        },
        _SE.OFFER: {
            _S.IDLE: DROP,
            _S.JOINING: Step("answer", _S.ANSWERING),
            _S.ANSWERING: DROP,
            _S.CONFIRMING: DROP,
        },
        _SE.OFFER_SAME: {
            _S.IDLE: DROP,
            _S.JOINING: DROP,
            _S.ANSWERING: Step("repeat_answer", _S.ANSWERING),
            _S.CONFIRMING: DROP,
        },
        _SE.OFFER_BAD: {
            _S.IDLE: DROP,
            _S.JOINING: Step("reject", _S.JOINING),
            _S.ANSWERING: Step("reject", _S.ANSWERING),
            _S.CONFIRMING: DROP,
        },
        _SE.VERSION: {
            _S.IDLE: DROP,
            _S.JOINING: Step("refuse_version", _S.IDLE),
            _S.ANSWERING: DROP,
            _S.CONFIRMING: DROP,
        },
        _SE.CHANNEL_OPEN: {_S.ANSWERING: Step("confirm", _S.CONFIRMING)},
        _SE.CERT_DIFFERS: {_S.ANSWERING: Step("drop_imposter", _S.JOINING)},
        _SE.CONFIRM: {_S.CONFIRMING: Step("verify", _S.IDLE)},
        _SE.INTRUSION: {
            _S.ANSWERING: Step("drop_intruder", _S.JOINING),
            _S.CONFIRMING: Step("drop_intruder", _S.JOINING),
        },
        _SE.FAILED: {
            _S.IDLE: DROP,
            _S.JOINING: DROP,
            _S.ANSWERING: Step("fail", _S.JOINING),  # the third in a row: IDLE
            _S.CONFIRMING: Step("fail", _S.JOINING),
        },
        _SE.BYE: {
            _S.IDLE: DROP,
            _S.JOINING: Step("see_off", _S.IDLE),
            _S.ANSWERING: Step("see_off", _S.IDLE),
            _S.CONFIRMING: Step("see_off", _S.IDLE),
        },
        _SE.CLOSE: {
            _S.IDLE: DROP,
            _S.JOINING: Step("leave", _S.IDLE),
            _S.ANSWERING: Step("leave", _S.IDLE),
            _S.CONFIRMING: Step("leave", _S.IDLE),
        },
    }
)

_L = Live
_LE = LiveEvent
LIVE: Final[Table[Live, LiveEvent]] = _table(
    {
        _LE.VERIFIED: {
            _L.NONE: Step("take", _L.VERIFIED),
            _L.VERIFIED: Step("replace", _L.VERIFIED),
            _L.OPEN: Step("replace", _L.VERIFIED),
        },
        _LE.READY: {_L.VERIFIED: Step("open", _L.OPEN)},
        _LE.NOT_READY: {_L.VERIFIED: Step("end", _L.NONE)},
        _LE.PROOF_AGAIN: {_L.OPEN: Step("end", _L.NONE)},
        _LE.GONE: {
            _L.NONE: DROP,
            _L.VERIFIED: Step("end", _L.NONE),
            _L.OPEN: Step("end", _L.NONE),
        },
    }
)
