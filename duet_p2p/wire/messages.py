"""Every message of an open session, one frozen dataclass each.

Three groups. *Commands* (scientist to owner) and *answers* (owner to scientist) are numbered:
the frame that carries them gives the sequence number of its first message, and the others follow
on. They are executed exactly once and in order, also over a reconnect. *Life* messages have no
number and may be lost. Commands travel on the ops channel, everything else on ctl; the bytes of
blobs travel on bulk.

The tags in `COMMANDS`, `ANSWERS` and `LIFE` are the first element of each message on the wire,
the fields follow in the order of the class. docs/protocol.md has the same table.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Final

from duet_p2p.wire.values import Blob

__all__ = [
    "ANSWERS",
    "COMMANDS",
    "LIFE",
    "Ack",
    "AuditHead",
    "Bye",
    "Complete",
    "DefinePlan",
    "Del",
    "Denied",
    "EngineRestarted",
    "Expired",
    "Fail",
    "Failed",
    "Get",
    "Message",
    "Meta",
    "NotYours",
    "Note",
    "Op",
    "Ping",
    "PlanStep",
    "Pong",
    "Put",
    "Request",
    "Resume",
    "RunClosure",
    "RunPlan",
    "Settled",
    "StoreChanged",
    "StoreEntry",
    "StoreSnapshot",
    "Suspended",
    "Value",
    "Withdraw",
]

Wire = Any
"""A value of the closed set (wire/values.py); mypy cannot say more than that."""


# commands: scientist to owner, on ops


@dataclass(frozen=True, slots=True, init=False)
class Op:
    """Run one name of the surface. There is no reply when it works.

    Both sides make one for each operation, so its slots' own setters fill it: what dataclass writes
    for a frozen class takes twice as long.
    """

    name: str
    """Canonical name in the surface table, for example ``torch.relu``."""
    outs: tuple[int, ...]
    """Fresh positive ids for the results, in order. One id for a result of one value; for a result
    of several values (``sort``, ``split``) either one id (the whole tuple) or one per element."""
    args: tuple[Wire, ...]
    kwargs: dict[str, Wire]
    mode: str
    """Grad mode of the caller: ``g`` grad, ``n`` no_grad, ``i`` inference."""

    def __init__(
        self,
        name: str,
        outs: tuple[int, ...],
        args: tuple[Wire, ...],
        kwargs: dict[str, Wire],
        mode: str,
    ) -> None:
        _put_name(self, name)
        _put_outs(self, outs)
        _put_args(self, args)
        _put_kwargs(self, kwargs)
        _put_mode(self, mode)


_put_name, _put_outs, _put_args, _put_kwargs, _put_mode = (
    vars(Op)[each.name].__set__ for each in fields(Op)
)


@dataclass(frozen=True, slots=True)
class Put:
    """Upload values of the scientist's own; label public."""

    outs: tuple[int, ...]
    """Fresh positive ids, one per value."""
    values: tuple[Wire, ...]
    """May contain `TensorData` with inline bytes or with a `Span` of the blob, never `Ref`."""
    blob: Blob | None
    tags: tuple[str, ...] = ()
    """Notes of the first value; only sent for objects that a person sent, not automatic uploads."""
    description: str = ""
    listed: bool = False
    """Whether the first value is listed in the store (``pointable=True``)."""


@dataclass(frozen=True, slots=True)
class Del:
    """These ids are dead: no command names them any more."""

    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Note:
    """Tags and description of an own object, whole."""

    id: int
    tags: tuple[str, ...]
    description: str
    listed: bool


@dataclass(frozen=True, slots=True)
class Request:
    """Ask for the release of a value as it is at this place in the program."""

    call: int
    """Random, 1 … 2^63-1, unique in the session; the request's id, shown as 16 hex digits."""
    id: int
    name: str
    reason: str
    limit_s: float | None
    """Seconds on the owner's clock from arrival; None: no limit; 0: handlers only."""


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Take an open request back."""

    call: int


@dataclass(frozen=True, slots=True)
class Get:
    """Fetch a value that is public or already released; never asks anybody."""

    call: int
    """Random like a request's; the answer carries it."""
    id: int


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One command of a plan. A `Ref` in it is a local number of the plan, never an object's id."""

    name: str
    """Canonical name in the surface table, as in `Op`."""
    outs: tuple[int, ...]
    """Local numbers of the results: the next ones, in order."""
    args: tuple[Wire, ...]
    kwargs: dict[str, Wire]
    mode: str
    """Grad mode, as in `Op`."""


@dataclass(frozen=True, slots=True)
class DefinePlan:
    """Keep a recorded step, to be run by its id; nothing runs now.

    Locals are numbered from 1: inputs, captures, then results in the order of the steps, so that
    the same commands have one form only. A long plan comes in several messages of one id, one right
    behind the other: each brings steps, the last one everything else.
    """

    plan: int
    """Fresh positive id, of the same numbers as objects; `Del` forgets the plan."""
    name: str
    """The scientist's word for it, for people."""
    inputs: int
    """How many objects each run is given."""
    captures: tuple[int, ...]
    """Ids of objects that every run uses: parameters, an optimizer."""
    steps: tuple[PlanStep, ...]
    outputs: tuple[int, ...]
    """Local numbers of results that a run stores; all others never reach the store."""
    is_last: bool
    """Whether the plan is complete."""
    signature: Wire = None
    """Of a plan that a person sent: names of its arguments and form of its result, see
    objects/plan.py; else None."""
    tags: tuple[str, ...] = ()
    description: str = ""
    listed: bool = False


@dataclass(frozen=True, slots=True)
class RunPlan:
    """Run a plan, once or several times; in order, as if its commands were sent one by one."""

    plan: int
    """Id of a plan of the scientist (positive) or of the owner (negative)."""
    inputs: tuple[int, ...]
    """Ids of the objects that it is given, the same ones in each of the runs."""
    outs: tuple[int, ...]
    """Fresh positive ids, one per output."""
    times: int
    """0: once, and each output is stored as it is. n: n runs, and of each output a list of n."""


@dataclass(frozen=True, slots=True)
class RunClosure:
    """One step of an optimizer that calls a plan as its closure, as often as it likes."""

    plan: int
    """Id of a plan without inputs and with one output, the loss."""
    optimizer: int
    """Id of the optimizer."""
    out: int
    """Fresh positive id of what the step gives: the first loss."""


# answers: owner to scientist, on ctl


@dataclass(frozen=True, slots=True)
class StoreEntry:
    """One object that the scientist may see listed."""

    id: int
    type: str
    """Type name, see surface/types.py: ``torch.Tensor``, ``python.Int``, ``torch.nn.Module``, …"""
    tags: tuple[str, ...]
    description: str
    shape: tuple[int, ...] | None
    """None where hidden or where the object has none."""
    dtype: str | None
    length: int | None
    requires_grad: bool
    keys: tuple[str, ...] | None
    """Of a module's state dict, else None: those of another dict are content."""
    signature: Wire = None
    """Of a plan, as in `DefinePlan`; else None."""


@dataclass(frozen=True, slots=True)
class StoreSnapshot:
    """The whole visible store; the first answer of a session."""

    entries: tuple[StoreEntry, ...]
    epoch: bytes
    """16 random bytes of the owner's engine; another epoch means that all pointers are dead."""
    settings: dict[str, Wire]
    """Facts of the session: ``versions`` (library to version text), ``root`` …, names only."""


@dataclass(frozen=True, slots=True)
class StoreChanged:
    """What changed in the visible store."""

    added: tuple[StoreEntry, ...]
    """New entries, or new facts of old ones (same id)."""
    removed: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Meta:
    """Public facts of a result that the scientist could not infer."""

    id: int
    type: str
    shape: tuple[int, ...] | None
    dtype: str | None
    length: int | None
    facts: dict[str, Wire]
    """For a loader: ``batches``, ``batch_size``, ``last``, ``element`` (type, shape, dtype of each
    element of a batch without the batch axis). Otherwise empty."""


@dataclass(frozen=True, slots=True)
class Fail:
    """A command failed for a reason that follows from public facts."""

    seq: int
    op: str
    code: str
    """Name of the exception's class, of a fixed set."""
    text: str
    """Empty, or a text made of public facts only (names, ids, public shapes, quotas)."""


@dataclass(frozen=True, slots=True)
class Value:
    """The answer to a request or get: the value itself."""

    call: int
    value: Wire
    blob: Blob | None


@dataclass(frozen=True, slots=True)
class Denied:
    """A request was denied, with the owner's reason (may be empty)."""

    call: int
    reason: str


@dataclass(frozen=True, slots=True)
class Expired:
    """A request's limit passed on the owner's clock."""

    call: int


@dataclass(frozen=True, slots=True)
class NotYours:
    """The answer to a get of a value that is not released."""

    call: int
    state: str
    """``never``, ``waiting``, ``denied``, ``expired``, ``changed`` or ``unknown`` (no such id)."""
    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The answer to a request or get of a value that was computed from a failed command."""

    call: int
    seq: int
    """The command that failed first."""
    op: str
    code: str
    text: str


@dataclass(frozen=True, slots=True)
class EngineRestarted:
    """The owner's engine died and was started again; objects of the scientist are gone."""

    epoch: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class AuditHead:
    """The newest head of the owner's audit log, signed; keep it, and the log's end is safe.

    Comes behind each released value and at the close, see identity/signed_head.py.
    """

    head: bytes
    pub: bytes
    """The owner's key, of which the session ID is a hash."""
    signature: bytes


@dataclass(frozen=True, slots=True)
class Suspended:
    """The engine died and the owner has to look first: all objects of the scientist are gone.

    What is sent from now on is dropped, until `EngineRestarted` says that it goes on.
    """

    reason: str


# life: either way, on ctl, no number


@dataclass(frozen=True, slots=True)
class Ack:
    """Received everything up to and including `seq`."""

    seq: int


@dataclass(frozen=True, slots=True)
class Settled:
    """Executed everything up to and including `seq`; sent on a tick, so that it is no clock."""

    seq: int


@dataclass(frozen=True, slots=True)
class Ping:
    """Answered by a `Pong` with the same number."""

    token: int


@dataclass(frozen=True, slots=True)
class Pong:
    """Answer to a `Ping`."""

    token: int


@dataclass(frozen=True, slots=True)
class Bye:
    """A clean end: ``closed``, ``shutdown``, ``replaced`` or ``error``."""

    reason: str


@dataclass(frozen=True, slots=True)
class Resume:
    """First message on a new association of an old session: what this side has received."""

    seq: int
    epoch: bytes
    """The engine that the sender's state belongs to; empty from a scientist that has none."""
    transfers: dict[int, int] = field(default_factory=dict)
    """Unfinished incoming transfers: id to the number of bytes received."""


@dataclass(frozen=True, slots=True)
class Complete:
    """All bytes of a transfer are here: its sender may forget them."""

    transfer: int


Message = (
    Op | Put | Del | Note | Request | Withdraw | Get | DefinePlan | RunPlan | RunClosure
    | StoreSnapshot | StoreChanged | Meta | Fail | Value | Denied | Expired | NotYours | Failed
    | EngineRestarted | Ack | Settled | Ping | Pong | Bye | Resume | Complete | AuditHead
    | Suspended
)  # fmt: skip

COMMANDS: Final = {
    1: Op,
    2: Put,
    3: Del,
    4: Note,
    5: Request,
    6: Withdraw,
    7: Get,
    8: DefinePlan,
    9: RunPlan,
    10: RunClosure,
}
ANSWERS: Final = {
    32: StoreSnapshot,
    33: StoreChanged,
    34: Meta,
    35: Fail,
    36: Value,
    37: Denied,
    38: Expired,
    39: NotYours,
    40: Failed,
    41: EngineRestarted,
    48: AuditHead,
    49: Suspended,
}
LIFE: Final = {64: Ack, 65: Settled, 66: Ping, 67: Pong, 68: Bye, 69: Resume, 70: Complete}
