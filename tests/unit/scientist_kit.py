"""A scientist's client joined to the real engine, in one process and without a network.

`Loopback` stands where the session stands: messages are really encoded and decoded. `Owner` stands
where the owner's service stands: it carries commands to the engine and answers requests as a
function of the test says. Answers arrive on the bridge's loop, as from a session.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from duet_p2p.engine import messages as engine_messages
from duet_p2p.engine.engine import Engine
from duet_p2p.engine.messages import Arrived, Configure, Facts, Release, Run, Share, Snapshot
from duet_p2p.objects.plan import Plan
from duet_p2p.scientist.copying import Copy
from duet_p2p.scientist.duet import ScientistDuet
from duet_p2p.session.bridge import Bridge
from duet_p2p.surface import types, values
from duet_p2p.wire import codec, messages
from duet_p2p.wire.messages import (
    DefinePlan,
    Del,
    Denied,
    Expired,
    Fail,
    Failed,
    Get,
    Meta,
    Note,
    NotYours,
    Op,
    Put,
    Request,
    RunClosure,
    RunPlan,
    StoreChanged,
    StoreEntry,
    StoreSnapshot,
    Value,
    Withdraw,
)
from duet_p2p.wire.values import Blob

Decide = Callable[[Request, Facts], str]


def accept(request: Request, facts: Facts) -> str:
    return "accept"


def deny(request: Request, facts: Facts) -> str:
    return "deny"


def wait(request: Request, facts: Facts) -> str:
    return "wait"


class Owner:
    """Engine and decisions.

    Attributes:
        decide: gives accept, deny, wait or expire.
        asked: every request with its facts.
        ops: names of the operations that were run, in order.
    """

    def __init__(self, link: Loopback, decide: Decide, data_dirs: dict[str, str]) -> None:
        self.link = link
        self.decide = decide
        self.asked: list[tuple[Request, Facts]] = []
        self.commands: list[Any] = []
        self.failures: list[Any] = []
        self.entries: dict[int, StoreEntry] = {}
        self.waiting: dict[int, Request] = {}
        self._released: dict[int, int] = {}
        self._denied: set[int] = set()
        self._next_id = itertools.count(-1, -1)
        self.engine = Engine()
        self.engine.handle(Configure({}, data_dirs, None))

    @property
    def ops(self) -> list[str]:
        return [command.name for command in self.commands if isinstance(command, Op)]

    def share(
        self, value: Any, *tags: str, description: str = "", shapes_public: bool = True
    ) -> int:
        ident = next(self._next_id)
        packed = values.pack(value)
        data = b"".join(bytes(buffer) for buffer in packed.buffers)
        kind = types.type_name_of(value)
        command = Share(ident, packed.value, data, kind, tags, description, shapes_public)
        (event,) = self.engine.handle(command)
        assert isinstance(event, engine_messages.Shared), event
        assert not event.error, event.error
        self.entries[ident] = StoreEntry(
            ident,
            event.type,
            tags,
            description,
            event.shape,
            event.dtype,
            event.length,
            event.requires_grad,
            event.keys,
        )
        self.link.answer(StoreChanged((self.entries[ident],), ()))
        return ident

    def share_plan(self, plan: Any) -> int:
        ident = next(self._next_id)
        parts = [codec.encode_message(part) for part in plan.messages(1)]
        (event,) = self.engine.handle(engine_messages.SharePlan(ident, parts))
        assert isinstance(event, engine_messages.Shared)
        assert not event.error, event.error
        entry = StoreEntry(
            ident, event.type, tuple(plan.tags), plan.description, None, None, None, False, None,
            plan.signature,
        )  # fmt: skip
        self.entries[ident] = entry
        self.link.answer(StoreChanged((entry,), ()))
        return ident

    def handle(self, seq: int, message: Any) -> None:
        self.commands.append(message)
        match message:
            case Op() | Put() | Del() | Note() | DefinePlan() | RunPlan() | RunClosure():
                self._run(seq, message)
            case Request():
                self._request(message)
            case Get():
                self._get(message)
            case Withdraw():
                self.waiting.pop(message.call, None)
            case _:
                raise AssertionError(message)
        self.link.settle(seq)

    def _run(self, seq: int, message: Any) -> None:
        events = self.engine.handle(Run(((seq, message),)))
        if isinstance(message, Put) and message.blob is not None:
            data = self.link.blobs.pop(message.blob.transfer)
            assert len(data) == message.blob.nbytes
            events += self.engine.handle(Arrived(message.blob.transfer, data))
        for event in events:
            if isinstance(event, engine_messages.Learnt):
                self.link.answer(
                    Meta(event.id, event.type, event.shape, event.dtype, event.length, event.facts)
                )
            elif isinstance(event, engine_messages.OpFailed):
                self.failures.append(event)
                if event.is_public:
                    self.link.answer(Fail(event.seq, event.op, event.code, event.text))

    def _snapshot(self, call: int, ident: int) -> Any:
        (candidate,) = self.engine.handle(Snapshot(call, ident))
        return candidate

    def _request(self, request: Request) -> None:
        candidate = self._snapshot(request.call, request.id)
        facts = candidate.facts
        if facts is None:
            self.link.answer(NotYours(request.call, "unknown", ""))
            return
        if facts.kind == "public" or self._released.get(request.id) == facts.version:
            self._release(request.call, candidate)
            return
        self.asked.append((request, facts))
        self.apply(self.decide(request, facts), request, candidate)

    def apply(self, decision: str, request: Request, candidate: Any) -> None:
        if decision == "accept":
            self._released[request.id] = candidate.facts.version
            self._release(request.call, candidate)
        elif decision == "deny":
            self._denied.add(request.id)
            self.link.answer(Denied(request.call, "not today"))
        elif request.limit_s == 0 or decision == "expire":
            self.link.answer(Expired(request.call))
        else:
            self.waiting[request.call] = request

    def decide_waiting(self, decision: str) -> None:
        for call, request in list(self.waiting.items()):
            del self.waiting[call]
            self.apply(decision, request, self._snapshot(call, request.id))

    def _get(self, get: Get) -> None:
        candidate = self._snapshot(get.call, get.id)
        facts = candidate.facts
        version = self._released.get(get.id)
        if facts is None:
            self.link.answer(NotYours(get.call, "unknown", ""))
        elif facts.kind == "public" or version == facts.version:
            self._release(get.call, candidate)
        elif any(request.id == get.id for request in self.waiting.values()):
            self.link.answer(NotYours(get.call, "waiting", ""))
        elif version is not None:
            self.link.answer(NotYours(get.call, "changed", ""))
        else:
            state = "denied" if get.id in self._denied else "never"
            self.link.answer(NotYours(get.call, state, ""))

    def _release(self, call: int, candidate: Any) -> None:
        facts = candidate.facts
        if facts.failed:
            text = facts.failed if facts.failed_is_public else ""
            self.link.answer(
                Failed(call, facts.failed_seq, facts.failed_op, facts.failed_code, text)
            )
            return
        if candidate.has_value:
            self.link.answer(Value(call, candidate.value, None))
            return
        (event,) = self.engine.handle(Release(call))
        assert isinstance(event, engine_messages.Bytes), event
        if event.data is None:
            self.link.answer(Value(call, event.value, None))
            return
        transfer = next(self.link.transfers)
        self.link.blobs[transfer] = bytes(event.data)
        self.link.answer(Value(call, event.value, Blob(transfer, len(event.data))))


def _whole(source: Any) -> bytes:
    """All of a buffer, or of what is still copied."""
    if isinstance(source, Copy):
        source.fill()
        return bytes(source.read(0, source.nbytes))
    return bytes(source)


class Loopback:
    """What the client needs of a session, joined to an owner in the same process."""

    def __init__(self, bridge: Bridge, decide: Decide, data_dirs: dict[str, str]) -> None:
        self.bridge = bridge
        self.blobs: dict[int, bytes] = {}
        self.transfers = itertools.count(1)
        self.outbox = self
        self.is_open = True
        self.rtt = 0.001
        self.on_message: Any = None
        self.on_settled: Any = None
        self.on_state: Any = None
        self.is_settling = True
        self._seqs = itertools.count(1)
        self._answers = itertools.count(1)
        self.owner = Owner(self, decide, data_dirs)

    def put(self, message: Any) -> int:
        seq = next(self._seqs)
        self.owner.handle(seq, codec.decode_message(codec.encode_message(message)))
        return seq

    def flush(self) -> None:
        pass

    def send_blob(self, buffers: Sequence[Any], nbytes: int, progress: Any = None) -> int:
        transfer = next(self.transfers)
        self.blobs[transfer] = b"".join(map(_whole, buffers))
        assert len(self.blobs[transfer]) == nbytes
        return transfer

    def expect_blob(
        self, transfer: int, nbytes: int, progress: Any = None, into: Any = None
    ) -> asyncio.Future[Any]:
        future = self.bridge.loop.create_future()
        data = self.blobs.pop(transfer)
        if into is not None:
            into.write(0, data)
        future.set_result(data if into is None else into)
        return future

    def answer(self, message: messages.Message) -> None:
        copy = codec.decode_message(codec.encode_message(message))
        seq = next(self._answers)
        self.bridge.loop.call_soon_threadsafe(lambda: self.on_message(seq, copy))

    def settle(self, seq: int) -> None:
        if self.is_settling:
            self.bridge.loop.call_soon_threadsafe(lambda: self.on_settled(seq))

    def end(self, state: str, error: Exception | None) -> None:
        self.bridge.loop.call_soon_threadsafe(lambda: self.on_state(state, error))

    def status(self) -> dict[str, Any]:
        return {"rtt": self.rtt, "bytes_in": 0, "bytes_out": 0}

    async def close(self, reason: str = "closed") -> None:
        self.on_state("closed", None)


class Pair:
    """Both sides; `S` of the scenarios is `duet`, `O` is `owner`."""

    def __init__(
        self, bridge: Bridge, decide: Decide, data_dirs: dict[str, str], peer: str
    ) -> None:
        self.link = Loopback(bridge, decide, data_dirs)
        self.owner = self.link.owner
        self.duet = ScientistDuet(bridge, self.link, id="C-test", peer=peer)  # type: ignore[arg-type]
        self.link.answer(StoreSnapshot((), b"\0" * 16, {}))
        self.duet.wait(10)

    def share(self, value: Any, *tags: str, **options: Any) -> Any:
        """Shares an owner's object and gives the scientist's pointer to it."""
        if isinstance(value, Plan):
            ident = self.owner.share_plan(value)
        else:
            ident = self.owner.share(value, *tags, **options)
        self.settle()
        (found,) = [p for p in self.duet.store if p._id == ident]
        return found

    def settle(self) -> None:
        """Everything that was pushed until now has arrived."""
        self.link.bridge.call(asyncio.sleep(0), 10)

    def label(self, pointer: Any) -> tuple[str, int, bool]:
        """What an owner would read: kind, least number of records, whether injected."""
        self.settle()
        facts = self.owner._snapshot(1 << 40, pointer._id).facts
        return facts.kind, facts.min_records, facts.injected

    def value(self, pointer: Any) -> Any:
        """The value on the owner's side, whatever the rules are."""
        return self.owner.engine.store.get(pointer._id).value


@contextmanager
def pair(
    decide: Decide = accept, data_dirs: dict[str, str] | None = None, peer: str = "S-test"
) -> Iterator[Pair]:
    """A scientist and an owner; both end with the block."""
    bridge = Bridge("test")
    state = torch.get_rng_state()
    try:
        made = Pair(bridge, decide, data_dirs or {}, peer)
        try:
            yield made
        finally:
            made.duet.close()
    finally:
        torch.set_rng_state(state)
        bridge.close()
