"""The engine: commands in, events out. It knows no process, no network, no policy.

Commands run in order. A `Put` whose bytes have not arrived yet holds up everything behind it, so
"as it is at this place in the program" means the same on both sides; the owner's own commands
(share, drop, release) do not wait.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import torch

from duet_p2p import limits
from duet_p2p.engine import learning
from duet_p2p.engine import messages as m
from duet_p2p.engine.admission import Limits
from duet_p2p.engine.closures import Closures
from duet_p2p.engine.departure import Departure, in_memory
from duet_p2p.engine.effects import Effects
from duet_p2p.engine.executor import Executor
from duet_p2p.engine.facts import NO_ACCOUNT, Frozen, account_of, freeze
from duet_p2p.engine.faults import for_failure
from duet_p2p.engine.landing import Landing
from duet_p2p.engine.lineage import Lineage, reach
from duet_p2p.engine.parcel import Files, Parcel
from duet_p2p.engine.plans import Plans
from duet_p2p.engine.random_state import SessionRandom
from duet_p2p.engine.recipe import boundary
from duet_p2p.engine.refusals import Refusals
from duet_p2p.engine.reserve import RESERVE, again
from duet_p2p.engine.shared import share
from duet_p2p.engine.store import Slot, Store
from duet_p2p.engine.watch import Watch
from duet_p2p.errors import ProtocolError, QuotaExceeded
from duet_p2p.surface.context import Context, Quotas
from duet_p2p.surface.values import from_wire, logical_numbers, pack
from duet_p2p.wire.codec import decode_message, encode_value
from duet_p2p.wire.messages import DefinePlan, Del, Op, Put, RunClosure, RunPlan

__all__ = ["Engine"]

_log = logging.getLogger("duet_p2p.engine")

_UNEVENTFUL: Final = frozenset({RunPlan, Del})
"""Commands that are not counted by themselves: each command of a plan is, or the plan is played."""
_COUNTED: Final = frozenset({Op, Del})
"""Commands that see to `Lineage.count` themselves; all others change what was seen."""
_COMMON: Final = (KeyError, TypeError, ValueError, MemoryError, QuotaExceeded, ProtocolError)
"""What a command that is no operation can meet: it fails, and nothing else does."""
_QUEUEING: Final = frozenset({m.Run, m.Arrived})  # what they queue is done once, one by one
_Queued = tuple[int, m.Ordered, float | None] | m.Snapshot | m.Read | m.Release | m.Peek


class Engine:
    """One session's objects and everything that happens to them.

    Args:
        is_alone: the process is the engine's own; its warnings go to the owner's log. Otherwise
            warnings of operations are dropped, since the process is the owner's notebook.
        watch: is told what runs.
        are_files_closed: the process cannot open data directories that come later.
    """

    def __init__(
        self,
        *,
        is_alone: bool = False,
        watch: Watch | None = None,
        are_files_closed: bool = False,
    ) -> None:
        self._are_files_closed = are_files_closed
        self._watch = watch or Watch()
        self.store = Store()
        self.lineage = Lineage()
        self._effects = Effects(self.lineage)
        self._plans = Plans(self.store, self.lineage, self._effects)
        self._closures = Closures(self.store, self.lineage, self._effects, self._plans)
        self._refusals = Refusals(self.store, self.lineage, self._plans)
        self._random = SessionRandom(is_alone=is_alone)
        self._executor: Executor | None = None
        self._limits = Limits(0, 0, 0, 0)
        self._is_alone = is_alone
        self._queue: deque[_Queued] = deque()
        self.files = Files()
        self._blobs: dict[int, m.Buffer | Landing | Departure | str] = {}  # or why there are none
        self._unwanted: set[int] = set()
        self._frozen: dict[int, Frozen] = {}
        self._unwritten: list[Parcel] = []
        self._undescribed: list[tuple[int, Slot]] = []
        self._discarded: list[Frozen] = []  # files whose pages the kernel takes back when it rests
        self._settled = 0
        self._handlers: Final[dict[type, Callable[[Any], list[m.Event]]]] = {
            m.Configure: self._configure,
            m.Run: self._run,
            m.Malformed: lambda c: [c],
            m.Arrived: self._arrived,
            m.Share: lambda c: [share(c, self.store, self.lineage)],
            m.SharePlan: lambda c: [self._plans.share(c)],
            m.Drop: self._drop,
            m.Leave: self._leave,
            m.Snapshot: self._in_order,
            m.Read: self._in_order,
            m.Release: self._of_frozen,
            m.Peek: self._of_frozen,
            m.Stop: lambda c: [],
        }

    def handle(self, command: m.Command) -> list[m.Event]:
        """Carry out one command.

        Raises:
            RuntimeError: the first command is not `Configure`.
        """
        if self._executor is None and not isinstance(command, m.Configure):
            raise RuntimeError("the engine is not configured")
        if type(command) is m.Discard:
            return self._discard(command)
        late = self.finish()
        if type(command) is m.Describe:
            return late
        self._watch.begin(0, type(command).__name__)
        if type(command) is not m.Run:
            self.lineage.epoch += 1
            self.lineage.count += 1
        work = partial(self._handlers[type(command)], command)
        events = work() if type(command) in _QUEUEING else again(work)
        self._watch.rest()  # not after a mistake of ours: the process ends in the middle of this
        return late + events

    def finish(self) -> list[m.Event]:
        """Does what the answers to the last command need not wait for: call it when they are sent.

        The next command does it first, where nobody called.
        """
        if not (self._unwritten or self._undescribed):
            return []
        self._watch.begin(0, "Snapshot")
        while self._unwritten:
            self._unwritten.pop().write()
        events = again(lambda: [self._described(*entry) for entry in self._undescribed])
        self._undescribed.clear()
        del self._discarded[:-1]
        self._watch.rest()
        return events

    @property
    def is_untidy(self) -> bool:
        """Whether there is something to `tidy`."""
        return bool(self._discarded)

    def tidy(self) -> None:
        """Gives memory back that the kernel needs a while to take; for a moment without work."""
        self._discarded.clear()

    def _configure(self, command: m.Configure) -> list[m.Event]:
        quotas = command.quotas
        self._limits = Limits(
            objects=quotas.get("objects", limits.OBJECTS),
            stored_bytes=quotas.get("stored_bytes", limits.STORED_BYTES),
            result_bytes=quotas.get("result_bytes", limits.RESULT_BYTES),
            upload_bytes=quotas.get("upload_bytes", limits.UPLOAD_BYTES),
            timed_per_minute=quotas.get("timed_per_minute", limits.TIMED_PER_MINUTE),
        )
        context = Context(
            {name: Path(directory) for name, directory in command.data_dirs.items()},
            Quotas(result_bytes=self._limits.result_bytes),
        )
        if command.threads is not None:
            torch.set_num_threads(command.threads)
        if self._executor is not None:  # settings of a session that runs: its counts go on
            self._executor.configure(context, self._limits)
            return []
        self._executor = Executor(self.store, self.lineage, self._effects, context, self._limits)
        self._executor.watch = self._watch
        return [m.Started(os.urandom(16), os.getpid(), _versions(), self._are_files_closed)]

    # commands of the scientist, in order

    def _run(self, command: m.Run) -> list[m.Event]:
        try:
            commands = again(
                lambda: [(seq, read(item), command.at) for seq, item in command.commands]
            )
        except ProtocolError as error:
            return [m.Malformed(str(error))]
        self._queue.extend(commands)
        return self._drain()

    def _arrived(self, command: m.Arrived) -> list[m.Event]:
        if command.transfer in self._unwanted:
            self._unwanted.discard(command.transfer)
            return []
        self._blobs[command.transfer] = command.refusal or command.data
        return self._drain()

    def _in_order(self, command: m.Snapshot | m.Read) -> list[m.Event]:
        if self._queue:  # behind an upload that is still on its way
            self._queue.append(command)
            return self._drain()
        with self._quiet():  # it draws no random numbers
            if isinstance(command, m.Read):
                return [self._read(command)]
            return [self._snapshot(command)]

    def _drain(self) -> list[m.Event]:
        assert self._executor is not None
        events: list[m.Event] = []
        before, pacing = self._settled, self._executor.admission.pacing
        no_memory = partial(self._refusals.no_memory, self._executor)
        with self._random.swapped_in(), self._quiet(), self._plans.written_down():
            while self._queue:
                item = self._queue[0]
                kind = type(item[1]) if isinstance(item, tuple) else type(item)
                if kind is Put and self._is_blocked(item):
                    break
                self._queue.popleft()
                if kind not in _UNEVENTFUL:
                    self._plans.write_down()
                    self.lineage.epoch += 1
                if kind not in _COUNTED:
                    self.lineage.count += 1
                if isinstance(item, tuple):
                    seq, command, at = item
                    pacing.arrived(at)
                    try:
                        is_full = RESERVE.is_touched and self._refusals.is_full(command)
                        told = (no_memory if is_full else self._command)(seq, command)
                    except MemoryError as error:
                        told = no_memory(seq, command, error)
                    if kind not in _COUNTED:
                        self.lineage.count += 1  # what was seen within it is not seen later
                    if pacing.has_run():
                        events.append(m.Hold())
                    events += told
                    self._settled = seq
                else:
                    events += again(partial(self._waited, item))
        if self._settled != before:
            events.append(m.SettledUpTo(self._settled))
        return events

    def _waited(self, item: m.Snapshot | m.Read | m.Release | m.Peek) -> list[m.Event]:
        """A command of the owner's side that is done at its place among the scientist's."""
        if isinstance(item, m.Snapshot):
            self._watch.begin(0, "Snapshot")
            return [self._snapshot(item), *self.finish()]  # what follows may write to the value
        return [self._read(item)] if isinstance(item, m.Read) else self._of_frozen(item)

    def _is_blocked(self, item: _Queued) -> bool:
        """A `Put` waits for its bytes, unless they are more than will be taken."""
        if not isinstance(item, tuple) or not isinstance(item[1], Put) or item[1].blob is None:
            return False
        blob = item[1].blob
        return blob.transfer not in self._blobs and blob.nbytes <= self._limits.upload_bytes

    @contextlib.contextmanager
    def _quiet(self) -> Iterator[None]:
        if self._is_alone:
            yield
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield

    def _command(self, seq: int, command: m.Ordered) -> list[m.Event]:
        assert self._executor is not None
        if isinstance(command, Op):
            failed = self._executor.run_alone(seq, command)
            if failed and failed.is_public:
                return [failed]
            is_inferred = self._executor.admission.is_inferred
            if (
                is_inferred
                and not (failed or self.store.has_told)
                and command.name in learning.KNOWN
            ):
                return []  # as nearly always
            learnt = learning.of_results(command, self.store, self.lineage, is_inferred)
            return [failed, *learnt] if failed else learnt
        if isinstance(command, RunPlan):
            return self._plans.run(seq, command, self._executor)
        if isinstance(command, RunClosure):
            return self._closures.run(seq, command, self._executor)
        if isinstance(command, DefinePlan):
            return self._plans.define(seq, command)
        self._watch.begin(seq, type(command).__name__)
        self._watch.is_public()
        try:
            if isinstance(command, Put):
                self._put(seq, command)
            elif isinstance(command, Del):
                self._forget(self.store.delete(command.ids))
                self._plans.delete(command.ids)
            else:
                if command.id in self._plans:
                    return []  # what people wrote about a plan is the owner's process's business
                slot = self.store.get(command.id)
                if command.id < 0:
                    raise QuotaExceeded("an owner's object is described by the owner")
                slot.tags, slot.description = command.tags, command.description
                slot.listed = command.listed
        except _COMMON as error:
            with for_failure(error):
                return self._refusals.refused(seq, command, error, self._executor)
        return []

    def _put(self, seq: int, command: Put) -> None:
        assert self._executor is not None
        data: m.Buffer | None = None
        if command.blob is not None:
            came = self._blobs.pop(command.blob.transfer, None)
            if isinstance(came, str):
                raise QuotaExceeded(came)
            if came is None:
                self._unwanted.add(command.blob.transfer)
                nbytes, most = command.blob.nbytes, self._limits.upload_bytes
                raise QuotaExceeded(f"an upload of {nbytes} bytes, {most} allowed (upload_bytes)")
            self.files.spare.note(command.blob.nbytes)
            data = came.map() if isinstance(came, Landing) else in_memory(came)
        self.store.check_fresh(command.outs)
        if len(command.outs) != len(command.values):
            raise ValueError("as many ids as values are needed")
        if len(self.store) + len(command.outs) > self._limits.objects:
            raise QuotaExceeded(f"more than {self._limits.objects} objects (objects)")
        values = from_wire(list(command.values), data, is_owned=True)
        self._executor.admission.room.admit_bytes(self.store, logical_numbers(values)[1])
        for number, (id, value) in enumerate(zip(command.outs, values, strict=True)):
            slot = Slot(value, made=boundary(_own_name(id, value)))
            for part in reach(value):
                if isinstance(part, torch.Tensor):
                    self.lineage.own(part).made = slot.made
                    self.lineage.has_leaves |= part.requires_grad
            if number == 0:
                slot.tags, slot.description = command.tags, command.description
                slot.listed = command.listed
            self.store.put(id, slot)

    def _drop(self, command: m.Drop) -> list[m.Event]:
        self._plans.delete(command.ids)
        self._forget(self.store.drop(command.ids))
        return []

    def _leave(self, command: m.Leave) -> list[m.Event]:
        self._queue.clear()
        self._blobs.clear()
        self._frozen.clear()
        self._forget(self.store.drop([id for id in self.store.ids() if id > 0]))
        return []

    def _forget(self, slots: list[Slot]) -> None:
        while slots:
            slot = slots.pop()
            value, slot.value = slot.value, None
            del slot
            if type(value) is not torch.Tensor:
                self.lineage.forget(value)

    # values on their way out

    def _snapshot(self, command: m.Snapshot) -> m.Event:
        slot = self.store.find(command.id)
        if slot is None:
            return m.Candidate(command.call, None, None, False)
        is_described = command.account == "with"
        try:
            frozen = again(lambda: self._frozen_now(slot, is_described=is_described))
            value, has_value = frozen.small()
        except Exception:  # what cannot be frozen cannot be judged
            _log.exception("the value of %d could not be frozen", command.id)
            return m.Candidate(command.call, None, None, False)
        self._frozen[command.call] = frozen
        if command.account == "after":
            self._undescribed.append((command.call, slot))
        if frozen.parcel is None:
            data = None
        else:
            value, data = frozen.parcel.value, frozen.parcel.departure
            self._unwritten.append(frozen.parcel)
        return m.Candidate(command.call, frozen.facts, value, has_value, data, is_described)

    def _frozen_now(self, slot: Slot, *, is_described: bool) -> Frozen:
        assert self._executor is not None
        self.files.count = sum(held.parcel is not None for held in self._frozen.values())
        names, beside = self._effects.dataset_names, self._executor.of_memory
        account = self._account(slot) if is_described else None
        return freeze(slot, self.lineage, names, self.files, beside, account)

    def _account(self, slot: Slot) -> Mapping[str, Any]:
        """How a value came to be; a mistake in that is no answer to whether there is a value."""
        try:
            return account_of(slot, self.lineage, self.store)
        except Exception:
            _log.exception("how a value came to be could not be told")
            return NO_ACCOUNT

    def _described(self, call: int, slot: Slot) -> m.Event:
        return m.Described(call, **self._account(slot))

    def _of_frozen(self, command: m.Release | m.Peek) -> list[m.Event]:
        if command.call not in self._frozen and any(
            isinstance(item, m.Snapshot) and item.call == command.call for item in self._queue
        ):
            self._queue.append(command)
            return []
        if isinstance(command, m.Peek):
            return [self._peek(command)]
        frozen = self._frozen.pop(command.call, None)
        if frozen is None:
            return [m.Refused(command.call, "no such snapshot")]
        if frozen.facts.failed:
            return [m.Refused(command.call, frozen.facts.failed)]
        return [_bytes(command.call, frozen, is_sent=not command.is_look)]

    def _peek(self, command: m.Peek) -> m.Event:
        frozen = self._frozen.get(command.call)
        if frozen is None:
            return m.Refused(command.call, "no such snapshot")
        try:
            text = frozen.facts.failed or frozen.shown()
        except Exception as error:
            text = f"<cannot be shown: {type(error).__name__}>"
        return m.Text(command.call, text[: command.chars])

    def _discard(self, command: m.Discard) -> list[m.Event]:
        frozen = self._frozen.pop(command.call, None)
        if frozen is None:
            self._queue = deque(
                item for item in self._queue
                if isinstance(item, tuple) or item.call != command.call
            )  # fmt: skip
        elif frozen.parcel is not None and frozen.parcel.departure.nbytes <= limits.SPARE_BYTES:
            del self._discarded[:-1]
            self._discarded.append(frozen)
        return []

    def _read(self, command: m.Read) -> m.Event:
        slot = self.store.find(command.id)
        if slot is None:
            return m.Refused(command.call, "no such object")
        try:
            frozen = freeze(slot, self.lineage, self._effects.dataset_names)
        except Exception as error:
            return m.Refused(command.call, f"{type(error).__name__}: {error}")
        if frozen.facts.failed:
            return m.Refused(command.call, frozen.facts.failed)
        return _bytes(command.call, frozen)


def _bytes(call: int, frozen: Frozen, *, is_sent: bool = False) -> m.Event:
    if frozen.parcel is not None:
        frozen.parcel.write()
        return m.Bytes(call, frozen.parcel.value, frozen.parcel.departure)
    try:
        packed = pack(frozen.opened())
        if is_sent:  # the owner's process has better to do than to read it in vain
            encode_value(packed.value, limits.MESSAGE_MAX_BYTES)
    except (TypeError, ValueError, RecursionError, MemoryError) as error:
        return m.Refused(call, str(error))
    if not packed.nbytes:
        return m.Bytes(call, packed.value, None)
    # one tensor is written to its memory file from where it is
    data = packed.buffers[0] if len(packed.buffers) == 1 else b"".join(packed.buffers)
    return m.Bytes(call, packed.value, data)


def read(command: m.Ordered | m.Unread) -> m.Ordered:
    """The command itself.

    Raises:
        ProtocolError: it is an operation that cannot be read.
    """
    if not isinstance(command, m.Unread):
        return command
    found = decode_message(command.data)
    assert isinstance(found, Op), "only operations are left unread"
    return found


def _own_name(id: int, value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"own{id}<{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}>"
    return f"own{id}"


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "torch": str(torch.__version__)}
    with contextlib.suppress(metadata.PackageNotFoundError):
        found["torchvision"] = metadata.version("torchvision")
    return found
