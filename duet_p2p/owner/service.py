"""The owner's side of one session, on the loop: the only file that knows all the parts.

    session.on_message ─ commands ─→ engine, in order, what arrives together in one `Run`
                       ─ requests ─→ desk ─→ (policy) ─→ answers
    host.on_event      ─→ answers to the scientist, futures of the owner's own calls

Nothing that a scientist sends raises here. The session (codec, window) has checked the form of
messages; the engine checks ids and names; the desk checks calls.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from duet_p2p import errors, limits
from duet_p2p.engine import messages as engine
from duet_p2p.engine.host import Host
from duet_p2p.errors import DuetError, EngineFailed, NotAllowed, SessionClosed, SessionLost
from duet_p2p.objects.words import clean_line, clean_text
from duet_p2p.owner import clock
from duet_p2p.owner.answers import Answers
from duet_p2p.owner.catalog import whole_store
from duet_p2p.owner.data_dirs import LATE_DIRECTORY
from duet_p2p.owner.desk import Desk
from duet_p2p.owner.ends import SessionEnd
from duet_p2p.owner.failure import Failure
from duet_p2p.owner.gate import Gate
from duet_p2p.owner.journal import Journal, facts_of_start
from duet_p2p.owner.policy import Policy
from duet_p2p.owner.printing import SUSPENDED, LiveLine, Printer, Status
from duet_p2p.owner.requests import RequestBook
from duet_p2p.owner.revival import Revival
from duet_p2p.owner.settling import Settling
from duet_p2p.owner.shares import Shares
from duet_p2p.owner.tick import Tick
from duet_p2p.owner.uploads import Uploads
from duet_p2p.wire import messages as wire

__all__ = ["Service"]


class Service:
    """Carries one scientist's commands to the engine, and what is decided back."""

    def __init__(
        self,
        session: SessionEnd,
        host: Host,
        *,
        configure: engine.Configure,
        policy: Policy,
        journal: Journal,
        printer: Printer,
        live: LiveLine,
    ) -> None:
        self.failures: deque[Failure] = deque(maxlen=limits.FAILURES)
        self.operations = 0
        self.error: Exception | None = None
        self._session, self._host = session, host
        self._configure = configure
        self._journal = journal
        self._printer = printer
        self._live = live
        self._loop = asyncio.get_running_loop()
        # told on the loop that something changed
        self.watchers: list[Callable[[], None]] = [lambda: live.soon(self._loop, self.counts)]
        self._batch: list[tuple[int, engine.Ordered | engine.Unread]] = []
        self._answers = Answers(session, journal, self._whole_store, configure.quotas)
        self._settling = Settling(session.settled)
        self._is_up = self._has_run = False
        self._is_open = True
        self._listed_puts: dict[int, int] = {}  # unsettled puts of listed objects: seq to id
        self.revival = Revival(
            lambda: host.start(self._configure), on_up=self._up, on_end=self._give_up
        )
        self._gate = Gate(self.message, configure.quotas["commands_per_second"], self._loop)
        self._uploads = Uploads(
            session,
            self._arrived,
            one=configure.quotas["upload_bytes"],
            together=configure.quotas["uploads_bytes"],
        )
        self._timer: asyncio.TimerHandle | None = None
        self._tick = Tick(self.event, self._loop)
        self.shares = Shares(
            to_engine=self.to_engine,
            tell=self._answers.tell_store,
            on_change=self._changed,
            journal=journal,
        )
        self.catalog, self.plans = self.shares.catalog, self.shares.plans
        self.desk = Desk(
            self,
            policy=policy,
            book=RequestBook(open_limit=configure.quotas["open_requests"]),
            journal=journal,
            printer=printer,
            clock=clock.seconds,
            source_name=self.catalog.source_name,
        )
        self.desk.releases.together = configure.quotas["downloads_bytes"]
        self.desk.on_change, self.desk.on_end = self._changed, self._tell_watchers
        self._on_message = self._message_table()
        self._on_event = self._event_table()

    def _message_table(self) -> Mapping[type, Callable[[int, Any], None]]:
        return {
            wire.Op: self._op,
            engine.Unread: self._op,
            wire.Put: self._put,
            wire.Del: self._del,
            wire.DefinePlan: self._define,
            wire.RunPlan: self._run_plan,
            wire.RunClosure: self._run_plan,
            wire.Note: self._note,
            wire.Request: self._request,
            wire.Get: self._get,
            wire.Withdraw: self._withdraw,
        }

    def _event_table(self) -> Mapping[type, Callable[[Any], None]]:
        return {
            engine.SettledUpTo: self._settled,
            engine.OpFailed: self._op_failed,
            engine.Learnt: self._learnt,
            engine.Shared: self.shares.shared,
            engine.Candidate: self._candidate,
            engine.Described: self._described,
            engine.Bytes: self._bytes,
            engine.Refused: self._refused,
            engine.Text: self.desk.text,
            # a broken rule of the wire that only the engine saw
            engine.Malformed: lambda e: self._session.fail(errors.ProtocolError(e.reason)),
            engine.Died: self._died,
        }

    # life

    def start(self) -> None:
        """Listens to both sides; the engine, which takes seconds to load torch, starts meanwhile.

        Until it is up, what the scientist sends waits in the gate, and what the owner shares with
        the shares. One that cannot start ends the session with `EngineFailed`.
        """
        self._host.on_event = self._tick.event
        self._journal.record(
            "session", facts_of_start(self._configure, self.desk.policy.min_records)
        )
        self._session.on_state = self.state
        self._session.on_message = self._gate.message
        self._gate.shut()
        self.revival.begin()
        self._changed()

    @property
    def started(self) -> engine.Started | None:
        """The newest engine that was up; None while the first one starts."""
        return self._answers.engine

    async def close(self) -> None:
        """Ends everything that waits and stops the engine; the session is closed by its owner."""
        self._end(SessionClosed())
        await self.revival.close()
        self._is_up = False
        await self._host.stop()
        await self._journal.finish()

    async def farewell(self) -> None:
        """The owner is about to close: the log's last head, for the scientist to keep."""
        self.desk.closes()
        self.desk.releases.close(await self._journal.finish())

    def state(self, state: str, error: Exception | None) -> None:
        """The connection changed: ``open``, ``lost`` or ``closed``."""
        self._journal.record("session", {"state": state, "why": str(error or "")})
        if state == "open":
            if self.desk.intake.requester != self._session.partner_id:
                self._journal.record("peer", {"peer": self._session.partner_id})
            self.desk.intake.requester = self._session.partner_id
            self._answers.greet()
        elif state == "closed":
            self._end(error or SessionClosed())
        self._tell_watchers()

    @property
    def is_open(self) -> bool:
        """Whether the scientist is there, or may come back."""
        return self._is_open

    def counts(self) -> Status:
        """What the live line shows."""
        return Status(
            objects=sum(item.listed for item in self.catalog),
            requests=len(self.desk.book.pending()),
            handlers=len(self.desk.policy.handlers()),
            operations=self.operations,
            is_open_to_all=self.desk.policy.is_open(self.desk.now()),
        )

    def _end(self, error: Exception) -> None:
        if not self._is_open:
            return
        self._is_open = False
        self.error = error
        self.desk.closed()
        self.catalog.drop_theirs()
        if self._is_up:
            self._host.send(engine.Leave())
        self._answers.close()
        self.shares.closed(error if isinstance(error, DuetError) else SessionClosed())
        self._gate.close()
        self._tick.close()
        self._live.close()
        self._changed()

    def _whole_store(self, started: engine.Started) -> Iterable[wire.Message]:
        names = sorted(name for name in self._configure.data_dirs if name)
        return whole_store(self.catalog.visible(), started, names)

    def message(self, seq: int, message: wire.Message) -> None:
        """One numbered message, in order."""
        self._answers.greet()
        self._settling.seen(seq)
        take = self._on_message.get(type(message))
        if take is None or not self._is_up or self.revival.is_suspended:
            self._miss(message)
            return
        take(seq, message)

    def _miss(self, message: wire.Message) -> None:
        """Between two engines, or suspended: what arrives was made for one that is gone."""
        if isinstance(message, wire.Put) and message.blob is not None:
            self._uploads.refuse(message.blob.transfer)
        self._idle()

    def _op(self, seq: int, message: wire.Op | engine.Unread) -> None:
        self.operations += 1
        self._run(seq, message)

    def _define(self, seq: int, message: wire.DefinePlan) -> None:
        item = self.catalog.plan(message) if self.plans.define(message) else None
        if item is not None:
            self._answers.tell_store(wire.StoreChanged((item.entry(),), ()))
        self._run(seq, message)

    def _run_plan(self, seq: int, message: wire.RunPlan | wire.RunClosure) -> None:
        # how often a closure really runs may be a private fact
        times = max(1, message.times) if isinstance(message, wire.RunPlan) else 1
        self.operations += times
        self.plans.ran(message.plan, times)
        self._run(seq, message)

    def _run(self, seq: int, message: engine.Ordered | engine.Unread) -> None:
        self._has_run = True
        if not self._batch:
            self._settling.given(seq)  # an answer to older ones may come before the flush
            self._loop.call_soon(self._flush)
        self._batch.append((seq, message))

    def _flush(self) -> None:
        if self._batch:
            batch, self._batch = tuple(self._batch), []
            self._settling.given(batch[-1][0])
            self._host.send(engine.Run(batch, self._loop.time()))
            self._tell_watchers()

    def _put(self, seq: int, message: wire.Put) -> None:
        item = self.catalog.put(message)
        if item is not None:
            self._listed_puts[seq] = item.id
            self._answers.tell_store(wire.StoreChanged((item.entry(),), ()))
        self._run(seq, message)
        if message.blob is not None:
            self._uploads.expect(seq, message.blob)

    def _arrived(self, transfer: int, data: engine.Buffer | engine.Landing, refusal: str) -> None:
        """Nothing instead of the bytes fails the upload; commands behind it must not wait."""
        self._flush()
        self.to_engine(engine.Arrived(transfer, data, refusal))

    def _del(self, seq: int, message: wire.Del) -> None:
        is_refused = min(message.ids, default=1) < 0  # whole, by the engine
        own = () if is_refused else message.ids
        self.desk.deleted(own)
        self.plans.delete(own)
        self._unlist(own)
        self._run(seq, message)

    def _note(self, seq: int, message: wire.Note) -> None:
        item = self.catalog.note(message)
        if item is not None:
            self._answers.tell_store(wire.StoreChanged((item.entry(),), ()))
        elif message.id > 0 and not message.listed:
            self._unlist((message.id,))
        self._run(seq, message)
        self._changed()

    def _unlist(self, ids: tuple[int, ...]) -> None:
        gone = self.catalog.remove(ids)
        if gone:
            self._answers.tell_store(wire.StoreChanged((), tuple(item.id for item in gone)))
            self._changed()

    def _request(self, seq: int, message: wire.Request) -> None:
        self._ask(seq, message.call, self.desk.intake.request(message))
        slept = self.desk.now() - self._loop.time()
        timer = self._timer
        if timer is None or self.desk.book.ends_before(message.call, timer.when() + slept):
            self._set_timer()

    def _get(self, seq: int, message: wire.Get) -> None:
        self._ask(seq, message.call, self.desk.intake.get(message))

    def _ask(self, seq: int, call: int, is_asked: bool) -> None:
        if is_asked:
            self._settling.asked(seq, call)
        else:
            self._idle()

    def _withdraw(self, seq: int, message: wire.Withdraw) -> None:
        self.desk.withdraw(message.call)
        self._idle()

    def _idle(self) -> None:
        """A message needed no engine; what came before it may still need one."""
        self._flush()
        self._settling.settle()

    def event(self, event: engine.Event) -> None:
        """One event of the engine."""
        take = self._on_event.get(type(event))
        if take is not None:
            take(event)

    def _settled(self, event: engine.SettledUpTo) -> None:
        if self._listed_puts:
            self._listed_puts = {s: i for s, i in self._listed_puts.items() if s > event.seq}
        self._uploads.settled(event.seq)
        self._settling.done(event.seq)

    def _op_failed(self, event: engine.OpFailed) -> None:
        failure = Failure(event.seq, event.op, event.code, event.text, event.is_public)
        self.failures.append(failure)
        facts = {"seq": event.seq, "op": failure.op, "code": event.code, "told": event.is_public}
        self._journal.record("fault", facts)
        if (put := self._listed_puts.pop(event.seq, None)) is not None:
            self._unlist((put,))
        if event.is_public:
            text = clean_text(event.text, limits.MESSAGE_TEXT_CHARS)
            self._answers.tell(wire.Fail(event.seq, event.op, event.code, text))
        self._changed()

    def _learnt(self, event: engine.Learnt) -> None:
        self._answers.tell(
            wire.Meta(event.id, event.type, event.shape, event.dtype, event.length, event.facts)
        )

    def _candidate(self, event: engine.Candidate) -> None:
        if self.desk.intake.candidate(event):
            self._settling.answered(event.call)

    def _described(self, event: engine.Described) -> None:
        self.desk.intake.described(event)
        self._settling.answered(event.call)

    def _bytes(self, event: engine.Bytes) -> None:
        if not self.shares.answer(event):
            self.desk.bytes(event)

    def _refused(self, event: engine.Refused) -> None:
        if not self.shares.answer(event):
            self.desk.refused(event)

    @property
    def data_dirs(self) -> Mapping[str, str]:
        """Names and directories that data sets may read from."""
        return self._configure.data_dirs

    async def configure(self, data_dirs: Mapping[str, str]) -> None:
        """Directories that data sets may read from now on; see `DataDirs.register`."""
        if self.started is None:  # the engine that starts now was told of the others
            await self.revival.done()
        if not self._is_open:
            raise self.error or SessionClosed()
        is_known = set(data_dirs.values()) <= set(self._configure.data_dirs.values())
        is_closed = self.started is not None and self.started.are_files_closed and not is_known
        if is_closed and self._has_run:
            raise NotAllowed(LATE_DIRECTORY)
        self._configure = replace(self._configure, data_dirs=dict(data_dirs))
        self._journal.record("share", {"data_dirs": dict(data_dirs)})
        if is_closed:
            self._is_up = False
            self.revival.renew(self._host.stop)
            await self.revival.done()
        else:
            self.to_engine(self._configure)

    # the desk's outlet

    def to_engine(self, command: engine.Command) -> None:
        """One command, behind everything that the scientist sent before it."""
        self._flush()
        if self._is_up:
            self._host.send(command)

    def post(self, message: wire.Message) -> None:
        """One answer; `DuetError` if it cannot be sent."""
        self._answers.post(message)

    def send_value(self, call: int, value: Any, data: engine.Payload | None) -> None:
        """A released value; its bytes go on the bulk channel."""
        self._answers.send_value(call, value, data)

    def _died(self, event: engine.Died) -> None:
        """The engine ended by itself: everything of the scientist's is gone with it."""
        self._is_up = False
        self._batch.clear()
        self._listed_puts.clear()
        why = clean_line(event.reason.partition(": ")[0], 500)  # what follows can hold values
        self._journal.record("engine", {"ended": why, "private": event.was_private})
        self.failures.append(Failure(0, "the engine", "Died", event.reason, False))
        self._gate.open()
        for part in (self.desk, self.shares, self._uploads):
            part.engine_died()
        if self._is_open:
            self.revival.died(was_private=event.was_private)
            if event.was_private:
                self._suspend()
            else:
                self._printer.say("The engine ended and is started again; see duet.errors.")
        self._changed()

    def _suspend(self) -> None:
        self._journal.record("session", {"state": "suspended"})
        # Why it ended may follow from private values, so the reason stays here.
        self._answers.tell(wire.Suspended("the engine ended while it worked on the owner's data"))
        self._printer.say(SUSPENDED)

    def resume(self) -> bool:
        """The owner lets the scientist go on after a suspension; False if there was none."""
        if not self.revival.is_suspended:
            return False
        self.revival.is_suspended = False
        self._journal.record("session", {"state": "resumed"})
        if self._is_up and self.started is not None:
            self._answers.another(self.started, "resumed")
        self._changed()
        return True

    def _up(self, started: engine.Started) -> None:
        is_first = self.started is None
        self._is_up = True
        self.shares.share_again()
        self._journal.record("engine", {"started": dict(started.versions)})
        if is_first:
            self._answers.up(started)
            self._gate.begin()
            self._changed()
            return
        self._answers.engine = started
        if not self.revival.is_suspended:
            self._answers.another(started, "restarted")
        self._settling.restart()

    def _give_up(self, reason: str) -> None:
        """No engine, no session: the owner's calls say so, and the partner gets a goodbye."""
        error = EngineFailed(reason) if self.started is None else SessionLost(reason)
        self.failures.append(Failure(0, "the engine", "NotStarted", reason, False))
        self._journal.record("engine", {"not_started": clean_line(reason, 500)})
        self._printer.say(f"The session ends. {reason}")
        self._session.fail(error)
        self._end(error)

    def _changed(self) -> None:
        self._set_timer()
        self._tell_watchers()

    def _tell_watchers(self) -> None:
        for watcher in self.watchers:
            watcher()

    def _set_timer(self) -> None:
        """It may ring early, which costs one look: most requests end long before their time."""
        due = self.desk.next_deadline() if self._is_open else None
        due = None if due is None else due - self.desk.now() + self._loop.time()
        if self._timer is not None:
            if self._is_open and (due is None or self._timer.when() <= due):
                return
            self._timer.cancel()
        self._timer = None if due is None else self._loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.desk.tick()
        self._set_timer()
