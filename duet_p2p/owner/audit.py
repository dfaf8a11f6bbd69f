"""The audit log of one session: events from the loop, rows on the disk, one thread between them.

`record` and `commit` put an entry into a list. The writer takes everything that is there and
writes it as one group with one sync. What nobody waits for may gather for a second, and a burst of
the same thing is one row with a count; a release is written at once, with all that happened before
it.

Two threads that wake each other take as long as a disk that is quick. So where the last group was
on it within `AUDIT_QUICK_SECONDS`, the loop writes a release itself, the first one of each of its
turns; the writer has the others, and all of them as soon as a group took longer.

If the disk refuses, entries stay in the list and are tried again; each release that waits is told
that it cannot be kept, which means that it does not happen. The session goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import hmac
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from duet_p2p import limits
from duet_p2p.engine.messages import Departure, Payload
from duet_p2p.errors import AuditUnavailable
from duet_p2p.identity.keys import Key
from duet_p2p.identity.signed_head import SignedHead
from duet_p2p.owner.audit_bursts import LATER, Bursts
from duet_p2p.owner.audit_chain import GENESIS, Entry, facts_text
from duet_p2p.owner.audit_file import AuditFile, LogInUse
from duet_p2p.owner.journal import Content, LogJournal, SignHead
from duet_p2p.wire.codec import encode_value

__all__ = ["AuditLog"]

_LOOK_SECONDS: Final = 0.002
_log = logging.getLogger("duet_p2p.owner")

Wait = tuple[asyncio.AbstractEventLoop, "asyncio.Future[SignHead]"]


@dataclass(slots=True, eq=False)
class _Pending:
    """One row to be."""

    time: str
    kind: str
    facts: dict[str, Any]
    content: tuple[bytes, Payload | None] | None = None
    wait: Wait | None = None
    times: int = 1
    requests: list[Any] = field(default_factory=list)
    is_compared: bool = False
    """With those of its kind that came behind it."""
    is_rough: bool = False
    """What was merged into it is alike in what became of it only."""


class AuditLog:
    """The journal that keeps.

    Args:
        file: open; it is closed by `finish`.
        key: the session's; signs heads.
        on_trouble: called in the writer's thread with a sentence when the disk begins to refuse.

    Attributes:
        file: the log on disk. One thread at a time uses it.
    """

    def __init__(
        self, file: AuditFile, key: Key, *, on_trouble: Callable[[str], object] = _log.warning
    ) -> None:
        self.file = file
        self.trouble = ""
        self._key = key
        self._keyed = hmac.new(file.value_key(), digestmod=hashlib.sha256)
        self._on_trouble = on_trouble
        self._mirror = LogJournal(key.id)
        self._head = self._told = self._due = file.head()
        self._writing = threading.Lock()  # before `_lock`: held from the taking of a group on
        self._is_quick = False  # the disk was, when the last group was written
        self._has_written = False  # the loop wrote in this turn
        self._is_look_due = False  # of the loop, at the file
        self._lock = threading.Condition()
        self._pending: list[_Pending] = []
        self._first: dict[str, _Pending] = {}  # of each kind
        self._bursts: dict[tuple[Any, ...], _Pending] = {}  # once there is another one
        self._alike = Bursts()
        self._later: dict[str, _Pending] = {}  # by what they say; behind what comes meanwhile
        self._repeats = 0
        self._lost = 0  # rows that there was no room for while the disk refused
        self._is_urgent = False
        self._is_ending = False
        self._is_wake_due = False
        self._put_rows = 0
        self._written_rows = 0
        self._thread = threading.Thread(target=self._run, name="duet audit", daemon=True)
        self._thread.start()

    # from the loop

    @property
    def is_kept(self) -> bool:
        """Always: what the disk refuses waits in memory."""
        return True

    def record(self, kind: str, facts: Mapping[str, Any]) -> None:
        """See `Journal.record`; any thread."""
        self._mirror.record(kind, facts)
        self._put(_Pending(_now(), kind, dict(facts)))

    def expect(self) -> None:
        """See `Journal.expect`: the file is looked at while the engine is at work, if not before.

        What is found to be wrong is found again, and said, when something is to be written.
        """
        if self._is_quick and not self._is_look_due:
            self._is_look_due = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        self._is_look_due = False
        if self._is_quick and self._writing.acquire(blocking=False):
            try:
                with contextlib.suppress(sqlite3.Error, OSError):
                    if not self._is_ending:
                        self.file.look()
            finally:
                self._writing.release()

    def commit(
        self, kind: str, facts: Mapping[str, Any], content: Content
    ) -> asyncio.Future[SignHead] | None:
        """See `Journal.commit`; on the loop.

        Raises:
            TypeError, ValueError: the content cannot travel, so it will not leave.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[SignHead] = loop.create_future()
        self._repeats += kind == "repeat"
        if kind == "repeat" and self._repeats > limits.AUDIT_REPEATS:
            self._count_repeat(facts, future)
            return future
        sealed = (encode_value(content[0]), content[1])
        self._mirror.record(kind, facts)
        row = _Pending(_now(), kind, dict(facts), sealed, (loop, future))
        if not (self._is_quick and self._write_here(row, loop)):
            self._put(row)
        return future

    def _count_repeat(self, facts: Mapping[str, Any], future: asyncio.Future[SignHead]) -> None:
        """One of very many: what leaves is on record, and so is soon how often it did once more.

        No newer head goes with it than one that a release was to be told: see `head`.
        """
        if self.trouble or self._is_ending:
            future.set_exception(AuditUnavailable(self.trouble or "The audit log is closed."))
            return
        self.record("repeat", facts)
        future.set_result(functools.partial(self._sign, self._due))

    def head(self) -> bytes:
        """For the proof of a link: the newest head that was sent; `GENESIS` gives nothing.

        A newer one would tell with each new link whether something was logged since, which what
        fails on private values is, and what another scientist does.
        """
        return b"" if self._told == GENESIS else self._told

    def flush(self, timeout: float = limits.AUDIT_CLOSE_SECONDS) -> None:
        """Waits until everything so far is written; any thread but the loop's.

        Raises:
            AuditUnavailable: it cannot be written.
        """
        with self._lock:
            self._put_later()
            upto = self._put_rows
            self._is_urgent = True
            self._lock.notify_all()
            is_done = self._lock.wait_for(
                lambda: self._written_rows >= upto or self.trouble or self._is_ending, timeout
            )
        if not is_done or self.trouble:
            raise AuditUnavailable(self.trouble or "The audit log is not written in time.")

    async def finish(self) -> SignedHead | None:
        """See `Journal.finish`; what the disk still refuses is lost, and said in the log file."""
        with self._lock:
            if self._is_ending:
                return None
            self._is_ending = True
            self._lock.notify_all()
        # Looked at again and again: at the end of Python no thread could be started to wait in.
        deadline = time.monotonic() + limits.AUDIT_CLOSE_SECONDS
        while self._thread.is_alive() and time.monotonic() < deadline:
            await asyncio.sleep(_LOOK_SECONDS)
        if self._pending:
            _log.error("%d rows of the audit log could not be written", len(self._pending))
        return None if self._head == GENESIS else SignedHead.sign(self._key, self._head)

    def _put(self, row: _Pending) -> None:
        with self._lock:
            if self._is_ending:
                self._refuse(row, "The audit log is closed.")
                return
            if row.kind in LATER:
                self._keep_for_later(row)
                return
            if self._merge(row) or not self._append(row):
                return
            # a writer that waits for company is woken for what cannot wait only
            if row.wait is not None:
                self._is_urgent = True
                self._lock.notify_all()
            elif len(self._pending) == 1:
                self._wake_soon()

    def _append(self, row: _Pending) -> bool:
        """False: there is no room for it. With the lock held."""
        if len(self._pending) >= limits.AUDIT_PENDING_ROWS:
            self._lost += 1
            self._refuse(row, self.trouble or "The audit log cannot be written fast enough.")
            return False
        self._pending.append(row)
        self._put_rows += 1
        return True

    def _keep_for_later(self, row: _Pending) -> None:
        """One row for all that say the same within a moment, each by its request."""
        said = facts_text({**row.facts, "request": ""})
        first = self._later.setdefault(said, row)
        if first is not row:
            first.times += 1
            first.requests.append(row.facts["request"])
        if max(len(self._later), len(first.requests)) >= limits.AUDIT_MERGED_IDS:
            self._put_later()
        elif first is row and len(self._later) == 1:
            self._wake_soon()

    def _put_later(self) -> None:
        """Has those written next. With the lock held."""
        for row in self._later.values():
            self._append(row)
        self._later.clear()

    def _wake_soon(self) -> None:
        """Has the writer look, but not beside an answer that is on its way. With the lock held."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._lock.notify_all()
        else:
            if not self._is_wake_due:
                self._is_wake_due = True
                loop.call_later(limits.AUDIT_WAKE_SECONDS, self._wake)

    def _wake(self) -> None:
        self._is_wake_due = False
        if self._pending or self._later:
            with self._lock:
                self._lock.notify_all()

    def _merge(self, row: _Pending) -> bool:
        same = None if row.wait is not None else self._alike.likeness(row.kind)
        if same is None:
            return False
        oldest = first = self._first.setdefault(row.kind, row)
        if oldest is not row:  # mostly the only one: then this is not put together
            if not oldest.is_compared:
                oldest.is_compared = True
                self._bursts[(row.kind, *same(oldest.facts))] = oldest
            first = self._bursts.setdefault((row.kind, *same(row.facts)), row)
        if first is row:
            self._alike.rows += 1
            return False
        first.times += 1
        first.is_rough = first.is_rough or self._alike.is_rough
        if "request" in row.facts and len(first.requests) < limits.AUDIT_MERGED_IDS:
            first.requests.append(row.facts["request"])
        return True

    def _write_here(self, row: _Pending, loop: asyncio.AbstractEventLoop) -> bool:
        """Writes a release, and what is to be written before it; False: the writer has to."""
        if self._has_written or self.trouble or not self._writing.acquire(blocking=False):
            return False
        try:
            with self._lock:
                if self._is_ending:
                    return False
                group = [*self._take(), row]
                self._put_rows += 1
            self._has_written = True
            loop.call_soon(self._next_turn)
            try:
                self._write(group, waits=False)
            except LogInUse:
                with self._lock:
                    self._put_rows -= 1
                    self._pending[:0] = group[:-1]
                return False
        finally:
            self._writing.release()
        return True

    def _next_turn(self) -> None:
        self._has_written = False

    # either thread

    def _take(self) -> list[_Pending]:
        """All that is to be written. With both locks held."""
        group, self._pending = self._pending, []
        self._first.clear()
        self._bursts.clear()
        self._is_urgent = False
        return group

    # the writer's thread

    def _run(self) -> None:
        is_ending = has_room = False
        while not is_ending:
            with self._lock:
                self._lock.wait_for(lambda: self._pending or self._later or self._is_ending)
                # Company for rows that nobody waits for, and a pause for a disk that refuses.
                self._lock.wait_for(
                    lambda: self._is_ending or (self._is_urgent and not self.trouble),
                    limits.AUDIT_GATHER_SECONDS,
                )
            with self._writing:
                with self._lock:
                    is_ending = self._is_ending
                    self._put_later()
                    group = self._take()
                self._write(group)
                if group and not (has_room or is_ending):
                    has_room = True
                    with contextlib.suppress(sqlite3.Error, OSError):
                        self.file.make_room()
        self.file.close()

    def _write(self, group: list[_Pending], *, waits: bool = True) -> None:
        """Writes a group and tells who waits for it.

        Args:
            group: in order; empty: nothing.
            waits: for another process that writes to the log.

        Raises:
            LogInUse: another one does, and it is not waited for.
        """
        started = time.monotonic()
        try:
            if group:
                lost = self._lost
                entries = [self._entry(row) for row in group]
                if lost:
                    text = facts_text({"rows_not_kept": lost})
                    entries.append(Entry(_now(), self._key.id, "fault", text))
                self._head = self.file.append(entries, waits=waits)
                self._is_quick = time.monotonic() - started <= limits.AUDIT_QUICK_SECONDS
                with self._lock:
                    self._lost -= lost
        except LogInUse:
            raise
        except Exception as error:  # whatever it is: what is not written does not leave
            self._is_quick = False
            if not isinstance(error, sqlite3.Error | OSError):
                _log.exception("a mistake of ours in the audit log")
            self._failed(group, error)
        else:
            if self.trouble:
                self.trouble = ""
                self._on_trouble("The audit log is written again.")
            # signed once, by whoever needs it first, when the value has left
            sign = functools.cache(functools.partial(self._sign, self._head))
            if any(row.wait is not None for row in group):
                self._due = self._head
            with self._lock:
                self._written_rows += len(group)
                self._lock.notify_all()
            for row in group:  # last: whoever is woken then finds nobody else at work
                if row.wait is not None:
                    _settle(row.wait, sign)

    def _sign(self, head: bytes) -> SignedHead:
        """Signs a head that is about to be sent."""
        self._told = head
        return SignedHead.sign(self._key, head)

    def _failed(self, group: list[_Pending], error: Exception) -> None:
        is_new = not self.trouble
        self.trouble = (
            f"The audit log {self.file.path} cannot be written "
            f"({getattr(error, 'strerror', None) or error}). {_remedy(error)}"
        )
        kept = []
        for row in group:
            if row.wait is None:
                kept.append(row)
            else:
                self._refuse(row, self.trouble)
        with self._lock:
            self._pending[:0] = kept
            self._written_rows += len(group) - len(kept)  # refused ones are settled too
            over = len(self._pending) - limits.AUDIT_PENDING_ROWS
            if over > 0:
                del self._pending[-over:]
                self._lost += over
                self._written_rows += over
            self._lock.notify_all()
        if is_new:
            with contextlib.suppress(Exception):  # a listener's mistake must not end the writer
                self._on_trouble(self.trouble)

    def _refuse(self, row: _Pending, reason: str) -> None:
        if row.wait is not None:
            _settle(row.wait, AuditUnavailable(reason))

    def _entry(self, row: _Pending) -> Entry:
        facts = row.facts
        if row.times > 1:
            facts = {**facts, "times": row.times}
            if row.is_rough:
                facts["roughly"] = True
            if row.requests:
                facts["more_requests"] = row.requests
        if row.content is not None:
            facts = {**facts, "hmac": self._hmac(row.content)}
        return Entry(row.time, self._key.id, row.kind, facts_text(facts))

    def _hmac(self, content: Content) -> str:
        """A value as a code that only the owner, who has the key, can compare with a value."""
        value, data = content
        code = self._keyed.copy()
        code.update(encode_value(value))
        for part in data.parts() if isinstance(data, Departure) else (data or b"",):
            code.update(part)
        return code.hexdigest()


def _remedy(error: Exception) -> str:
    """What the owner can do; for people."""
    if isinstance(error, FileNotFoundError):  # rows would go where nobody finds them
        return (
            "Nothing is released in this session any more: close it and open another one, which "
            "begins a new log."
        )
    return (
        "Nothing is released until it can be: make room on its disk, or let this user write there. "
        "It is tried again every second."
    )


def _settle(wait: Wait, answer: SignHead | Exception) -> None:
    loop, future = wait

    def settle() -> None:
        if future.done():
            return
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)

    if asyncio._get_running_loop() is loop:
        settle()
        return
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(settle)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
