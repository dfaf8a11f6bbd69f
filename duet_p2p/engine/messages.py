"""What goes into the engine and what comes out of it.

The engine is a plain object: `Engine.handle(command)` gives events. Two hosts carry it, in a
child process or in a thread. Commands are executed in order. Nothing here knows a network, a
partner or a policy: the owner's service decides what is sent in and what becomes of what comes out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from duet_p2p.engine.departure import Departure
from duet_p2p.engine.landing import Landing
from duet_p2p.wire.frames import Unread
from duet_p2p.wire.messages import DefinePlan, Del, Note, Op, Put, RunClosure, RunPlan

__all__ = [
    "Arrived",
    "Bytes",
    "Candidate",
    "Command",
    "Configure",
    "Departure",
    "Describe",
    "Described",
    "Died",
    "Discard",
    "Drop",
    "Event",
    "Facts",
    "Hold",
    "Landing",
    "Learnt",
    "Leave",
    "Malformed",
    "OpFailed",
    "Ordered",
    "Payload",
    "Peek",
    "Read",
    "Refused",
    "Release",
    "Run",
    "SettledUpTo",
    "Share",
    "SharePlan",
    "Shared",
    "Snapshot",
    "Started",
    "Stop",
    "Text",
    "Unread",
]

Buffer = bytes | bytearray | memoryview

Payload = Buffer | Departure
"""The bytes of a value that leaves."""

Ordered = Op | Put | Del | Note | DefinePlan | RunPlan | RunClosure
"""What the scientist sends for the engine, to be executed at its place in the program."""


# commands


@dataclass(frozen=True, slots=True)
class Configure:
    """First command: the session's settings. Answered by `Started`.

    Sent again, it changes the settings of the session that runs, and nothing answers.
    """

    quotas: dict[str, int]
    """Names and numbers of limits.py, section engine, in lower case: ``stored_bytes``, …"""
    data_dirs: dict[str, str]
    """Names of directories that remote data sets may read."""
    threads: int | None
    """For torch.set_num_threads; None leaves torch's default."""


@dataclass(frozen=True, slots=True)
class Run:
    """Commands of the scientist with their sequence numbers, in order.

    Messages that are not for the engine (requests and so on) are left out, so the numbers have
    gaps.
    """

    commands: tuple[tuple[int, Ordered | Unread], ...]
    at: float | None = None
    """When they arrived, in seconds on the owner's clock; None: now."""


@dataclass(frozen=True, slots=True)
class Malformed:
    """In place of a `Run`: one of its operations cannot be read, so none of it is executed.

    The engine's answer is the same again: the session is over.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Arrived:
    """The bytes of a blob that a `Put` announced; commands from that `Put` on wait for it."""

    transfer: int
    data: Buffer | Landing | Departure
    refusal: str = ""
    """Why there are no bytes: a quota in words, or empty."""


@dataclass(frozen=True, slots=True)
class Share:
    """Put a private object of the owner into the store, read-only. Answered by `Shared`."""

    id: int
    """Negative, fresh."""
    value: Any
    """Closed value with `Span`s into `data`."""
    data: Payload | None
    type: str
    """Type name; ``torch.nn.Module`` marks a state dict, ``torch.utils.data.Dataset`` a dataset."""
    tags: tuple[str, ...]
    description: str
    shapes_public: bool
    record_axis: int | None = 0
    """Where the records of a tensor lie, from the left; None: along no axis. Those of a data set
    are its items."""
    keys_public: bool = False
    """The keys of dicts are names of fields. Those of a state dict are names in any case."""


@dataclass(frozen=True, slots=True)
class SharePlan:
    """Keep a plan of the owner, for the scientist to run. Answered by `Shared`."""

    id: int
    """Negative, fresh."""
    parts: list[bytes]
    """Its `DefinePlan` messages, encoded."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Remove objects, of either side."""

    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Leave:
    """The scientist is gone for good: what they made goes too, the owner's objects stay."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Freeze the value of an id as it is now, and tell the facts. Answered by `Candidate`."""

    call: int
    id: int
    account: str = "with"
    """Where the facts come that only people and bound rules read: ``with`` the others, ``after``
    them in a `Described`, or ``never``. What comes after comes behind the next answers, or when
    there was no command for a moment, or behind a `Describe`."""


@dataclass(frozen=True, slots=True)
class Describe:
    """Somebody waits for what comes after: give every `Described` that is due."""


@dataclass(frozen=True, slots=True)
class Release:
    """Give the bytes of a frozen value (and forget the snapshot). Answered by `Bytes`."""

    call: int
    is_look: bool = False
    """For the owner's eyes. Else what no message holds, beside its tensors, is refused."""


@dataclass(frozen=True, slots=True)
class Discard:
    """Forget a snapshot."""

    call: int


@dataclass(frozen=True, slots=True)
class Peek:
    """The text of a frozen value for the owner's eyes. Answered by `Text`."""

    call: int
    chars: int


@dataclass(frozen=True, slots=True)
class Read:
    """The owner takes a value itself: own objects, or what the scientist sent. -> `Bytes`."""

    call: int
    id: int


@dataclass(frozen=True, slots=True)
class Stop:
    """End."""


# events


@dataclass(frozen=True, slots=True)
class Started:
    """The engine is ready."""

    epoch: bytes
    pid: int
    versions: dict[str, str]
    are_files_closed: bool = False
    """It can open no files but those of Python, torch and the data directories that it began with.
    """


@dataclass(frozen=True, slots=True)
class SettledUpTo:
    """All commands up to this sequence number were executed."""

    seq: int


@dataclass(frozen=True, slots=True)
class Hold:
    """An operation whose time depends on private values ended: what follows waits for a tick."""


@dataclass(frozen=True, slots=True)
class OpFailed:
    """A command failed; its results are poison."""

    seq: int
    op: str
    code: str
    """Name of the exception's class, of a fixed set."""
    text: str
    """Full text. For the owner's eyes only unless `is_public`."""
    is_public: bool
    """The failure follows from public facts and may be told to the scientist."""


@dataclass(frozen=True, slots=True)
class Learnt:
    """Public facts of a result: goes to the scientist as `Meta`."""

    id: int
    type: str
    shape: tuple[int, ...] | None
    dtype: str | None
    length: int | None
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shared:
    """An object of the owner is in place."""

    id: int
    type: str
    shape: tuple[int, ...] | None
    """None where hidden (``shapes_public=False``) or where there is none."""
    dtype: str | None
    length: int | None
    requires_grad: bool
    keys: tuple[str, ...] | None
    nbytes: int
    error: str
    """Empty, or why it could not be shared."""


@dataclass(slots=True)
class Facts:
    """What handlers judge and what the owner reads about one frozen value.

    Nobody changes them. They are made twice for each value that is asked for, and a frozen class
    takes four times as long to fill so many fields.
    """

    kind: str
    """public, metadata, aggregate, model, per_record or verbatim."""
    sources: tuple[int, ...]
    """Ids of the owner's private objects (negative) that the value depends on."""
    min_records: int
    """Smallest number of distinct records behind any one number; 1 where it cannot be told."""
    injected: bool
    elements: int
    """Numbers in it: ceil(bytes / 8) for long ints and strings, elements for tensors."""
    nbytes: int
    type: str
    shape: tuple[int, ...] | None
    dtype: str | None
    tags: tuple[str, ...]
    recipe: str
    """The last operations as readable torch code; text for people."""
    version: int
    """Changes whenever a command could have written the value; equal means unchanged."""
    failed: str
    """Empty, or the full text of the failure, for the owner's eyes."""
    failed_seq: int
    """The command that failed first, or 0."""
    failed_op: str
    failed_code: str
    failed_is_public: bool
    source_names: tuple[str, ...] = ()
    """Parallel to `sources`: names of data sets that were read from the owner's directories, which
    have no object in the store (their ids are below -2^40); empty text for shared objects."""
    plan: str = ""
    """Digest of the plan that gave this very value, and nothing wrote it since; else empty."""
    plan_output: int = 0
    """Which of its outputs, from 0."""
    plan_run: int = 0
    """Number of the (first) run in this session, from 1."""
    plan_runs: int = 0
    """How many runs are in the value."""
    plan_given: str = ""
    """Stands for that plan and the contents of all that its run was given, see form.py."""
    form: str = ""
    """Equal for values that were made the same way of the same public contents; `UNBOUND` or empty
    where that cannot be told."""
    writers: tuple[str, ...] = ()
    """Forms of the training steps that wrote what the value depends on."""
    dropout: bool = False
    """A dropout by the scientist's seed, of those that are not injected, fell on the records."""
    has_random: bool = False
    """Random numbers were drawn on the way to it."""
    summary: str = ""
    """The recipe in one line."""
    training: tuple[str, ...] = ()
    """Of trained parameters: steps, batches, learning rates, who chose the first weights."""
    foreseen: tuple[str, ...] = ()
    """Of a loss: forms of the training steps that its run makes next (foresight.py)."""
    foreseen_text: str = ""
    """What these are, or why there are none; empty if the value is no loss of a training run."""
    charge: int = 0
    """Numbers that quotas count; more than `elements` where the size is hidden, so that a quota
    does not tell it. 0: `elements`."""
    rows: tuple[str, ...] = ()
    """Parallel to `sources`: which of its records are behind the value, in words."""
    sized_by_values: bool = False
    """Private values may have decided its size or its type, so an answer by either tells them."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Answer to `Snapshot`; `facts` is None for an id that does not exist."""

    call: int
    facts: Facts | None
    value: Any
    """The value itself when it is small (inline, no spans), so that a release needs no second
    round to the engine; otherwise `has_value` is False, and without `data` this is None."""
    has_value: bool
    data: Departure | None = None
    """Of a large value: the file of its bytes, which may still be written; `value` has spans."""
    is_described: bool = True
    """False: the facts of `Described` are still empty."""


@dataclass(frozen=True, slots=True)
class Described:
    """The facts of a `Candidate` that were to come after it; the same fields of `Facts`.

    Empty, a value is shown without them, and nothing can be bound to it.
    """

    call: int
    recipe: str = ""
    form: str = ""
    summary: str = ""
    training: tuple[str, ...] = ()
    foreseen: tuple[str, ...] = ()
    foreseen_text: str = ""


@dataclass(frozen=True, slots=True)
class Bytes:
    """Answer to `Release` and `Read`: the closed value and the bytes its spans point into."""

    call: int
    value: Any
    data: Payload | None


@dataclass(frozen=True, slots=True)
class Text:
    """Answer to `Peek`."""

    call: int
    text: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A release or read that cannot be done (unknown id, unsendable type)."""

    call: int
    reason: str


@dataclass(frozen=True, slots=True)
class Died:
    """The engine's process ended unexpectedly; made by the host."""

    reason: str
    was_private: bool = False
    """It ended in the middle of something that may have been on private data."""


Command = (
    Configure | Run | Malformed | Arrived | Share | SharePlan | Drop | Leave | Snapshot | Release
    | Describe | Discard | Peek | Read | Stop
)  # fmt: skip
Event = (
    Started | SettledUpTo | Hold | OpFailed | Learnt | Shared | Candidate | Described | Bytes | Text
    | Refused | Died | Malformed
)  # fmt: skip
