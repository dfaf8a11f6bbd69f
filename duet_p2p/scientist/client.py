"""The scientist's end of the session: ids, commands out, answers in.

Nobody waits for an operation. The client gives each result its id, sends the command and forgets
it, apart from the line that issued it. What it knows of a result (type, shape, length) it worked
out itself, or the owner tells later (`Meta`); only a call that needs a value waits, and always with
a deadline.

Answers arrive on the session's loop; users call from any thread. What both touch is either a
`concurrent.futures.Future` or one assignment.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import itertools
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any
from weakref import WeakSet, WeakValueDictionary

from torch import Tensor

from duet_p2p.errors import (
    ConnectionLost,
    DuetError,
    NoAnswer,
    PointerDeleted,
    ProtocolError,
    RemoteError,
    SessionClosed,
    SessionLost,
    SessionSuspended,
    StepError,
)
from duet_p2p.identity.signed_head import SignedHead
from duet_p2p.limits import (
    ANSWER_SECONDS,
    DEAD_IDS_IDLE_SECONDS,
    DEAD_IDS_PER_DELETE,
    DEAD_IDS_SECONDS,
    LOST_GRACE_SECONDS,
    SCIENTIST_CLOSE_SECONDS,
    SPARE_SECONDS,
)
from duet_p2p.scientist import dispatch
from duet_p2p.scientist.failures import Failures
from duet_p2p.scientist.progress import transfer_bar
from duet_p2p.scientist.promise import Promise
from duet_p2p.scientist.recording import active
from duet_p2p.scientist.requests import RequestList
from duet_p2p.scientist.sites import CallSites
from duet_p2p.scientist.store import StoreView
from duet_p2p.scientist.uploads import Uploads
from duet_p2p.surface.arrival import Arrival
from duet_p2p.wire.messages import (
    AuditHead,
    DefinePlan,
    Del,
    Denied,
    EngineRestarted,
    Expired,
    Fail,
    Failed,
    Get,
    Message,
    Meta,
    NotYours,
    Op,
    Put,
    RunClosure,
    RunPlan,
    StoreChanged,
    StoreSnapshot,
    Suspended,
    Value,
)

if TYPE_CHECKING:
    from duet_p2p.scientist.pointer import Pointer
    from duet_p2p.session.bridge import Bridge
    from duet_p2p.session.session import Session

__all__ = ["Answer", "Client"]

Answer = Value | Denied | Expired | NotYours | Failed
"""The end of a request or a get; the bytes of its blob come beside it."""

_WITH_SITES = frozenset({Op, Put, DefinePlan, RunPlan, RunClosure})
"""Commands that can fail for the scientist's own mistake."""

_POLL_SECONDS = 0.5
"""How long a wait may go without looking at Ctrl-C (Windows) and at the connection."""


class Client:
    """One session as pointers, namespaces and modules see it.

    Attributes:
        label: how the partner is called in messages; the owner's session ID.
        raise_on_denied: blocking calls raise in place of giving None.
        shows_progress: whether notebooks get bars for what takes long.
    """

    def __init__(
        self, session: Session, bridge: Bridge, *, session_id: str, client_id: str = ""
    ) -> None:
        self.session = session
        self.bridge = bridge
        self.session_id = session_id
        self.client_id = client_id
        self.label = session_id
        self.raise_on_denied = False
        self.shows_progress = True
        self.sites = CallSites()
        self.failures = Failures(self.sites)
        self.requests = RequestList(self)
        self.store = StoreView(self)
        self.uploads = Uploads(self)
        self.settings: dict[str, Any] = {}
        self.namespaces: dict[str, Any] = {}
        self.optimizers: WeakSet[Any] = WeakSet()
        self.operations = 0
        self.ready: Future[None] = Future()
        self.audit_head: SignedHead | None = None  # the owner's newest
        self._ids = itertools.count(1)
        self._newest_id = 0
        self._lost_below = 0  # ids up to this one belonged to an engine that died
        self._lost_reason = ""
        self._emitting = threading.RLock()  # a command's id, order and dead ids go together
        self._dead: deque[int] = deque()
        self._dead_since = 0.0
        self._calls: dict[int, Promise[tuple[Answer, Any]]] = {}
        self._unknown: WeakValueDictionary[int, Pointer] = WeakValueDictionary()
        self._settled = 0
        self._settling: list[tuple[int, Future[None]]] = []
        self._settling_lock = threading.Lock()
        self._is_suspended = False
        self._state = "open"
        self._error: Exception | None = None
        self._lost_at = 0.0
        session.on_message = self._on_message
        session.on_settled = self._on_settled
        session.on_state = self._on_state
        bridge.loop.call_soon_threadsafe(self._tick)

    @property
    def torch(self) -> Any:
        """The namespace `duet.torch`."""
        from duet_p2p.scientist.namespaces import namespace

        return namespace(self, "torch")

    # commands

    def new_id(self) -> int:
        """A fresh id for a result."""
        self._newest_id = next(self._ids)
        return self._newest_id

    def emit(self, message: Message) -> int:
        """Sends a command; ids that died before go in front of it. Returns its sequence number.

        Raises:
            SessionClosed: the session has ended; or the error that ended it.
            SessionSuspended: the owner has to look first.
        """
        recording = active()
        if recording is not None:
            recording.refuse(message)
        return self._send(message)

    def _send(self, message: Message) -> int:
        if self._error is not None and self._state == "closed":
            raise self.ended()
        if self._is_suspended:
            raise SessionSuspended()
        with self._emitting:
            if self._dead and (
                len(self._dead) >= DEAD_IDS_PER_DELETE
                or time.monotonic() - self._dead_since >= DEAD_IDS_SECONDS
            ):
                self.bury()
            seq: int = self.session.outbox.put(message)
            if type(message) in _WITH_SITES:
                self.operations += 1
                self.sites.note(seq, 4)  # with `current`, this one, and what called it
        return seq

    def issue(self, op: Op, inputs: Sequence[Pointer], made: Sequence[Pointer]) -> int:
        """Sends an operation, or keeps it where this thread records a step.

        Args:
            op: the command.
            inputs: the pointers that it names.
            made: the pointers to its results.

        Raises:
            StepError: the step that is recorded belongs to another session.
        """
        recording = active()
        if recording is None:
            return self._send(op)
        if recording.client is not self:
            raise StepError("A step works on one session only." + recording.here())
        return recording.add(op, inputs, made)

    def bury(self) -> None:
        """Tells the owner's side which ids no pointer holds any more."""
        with self._emitting:
            self._dead_since = time.monotonic()
            ids = tuple([self._dead.popleft() for _ in range(len(self._dead))])
            if ids:
                self.session.outbox.put(Del(ids))

    def forget(self, object_id: int) -> None:
        """Called by a pointer's destructor: no lock, no network, no allocation to speak of."""
        self._dead.append(object_id)

    def flush(self) -> None:
        """Something waits: what was emitted leaves now."""
        self.session.outbox.flush()

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Runs one name of the surface on the owner's side; a pointer, or what it is known to give.

        Raises:
            NotAllowed: the name or an argument may not be sent.
            ForeignPointer: an argument belongs to another session.
        """
        return dispatch.run(self, name, args, kwargs)

    def put_many(self, tensors: Sequence[Tensor], *, parameters: bool = False) -> list[Any]:
        """Uploads tensors in one transfer; the same tensor twice gives the same pointer twice."""
        return self.uploads.put_tensors(tensors, parameters=parameters)

    def follow(self, before: Sequence[Any], after: Sequence[Any]) -> None:
        """Optimizers that hold tensors of `before` go on with those of `after`."""
        from duet_p2p.scientist.optimizers import follow

        follow(self, before, after)

    def collect(self, pointers: Sequence[Any]) -> Any:
        """A list on the owner's side of these very objects."""
        return dispatch.run(self, "python.collect", tuple(pointers), {})

    def fetch_state(
        self, state: Mapping[str, Any], meanwhile: Callable[[], None], options: Mapping[str, Any]
    ) -> Any:
        """The values of a state dict of pointers, with one request; None if it was not allowed."""
        from duet_p2p.scientist.release import fetch

        pointer = dispatch.run(self, "python.state_dict", (list(state), list(state.values())), {})
        return fetch(pointer, meanwhile=meanwhile, **options)

    # what is known

    def await_meta(self, pointer: Pointer) -> None:
        """Remembers that the owner may tell more about this object."""
        self._unknown[pointer._id] = pointer

    def check_id(self, object_id: int) -> None:
        """Raises if the owner's side cannot have this object any more.

        Raises:
            SessionLost: it was made before the owner's engine restarted.
            PointerDeleted: the owner removed it from the session.
        """
        if 0 < object_id <= self._lost_below:
            raise SessionLost(
                "The owner's engine was restarted, and this object is gone with the old one"
                + (f" ({self._lost_reason})" if self._lost_reason else "")
                + ". What the owner shared is still there; make the rest again."
            )
        if object_id < 0 and object_id in self.store.removed:
            raise PointerDeleted("The owner removed this object from the session.")

    # waiting

    def open_call(
        self, on_answer: Callable[[Promise[tuple[Answer, Any]]], object] | None = None
    ) -> tuple[int, Promise[tuple[Answer, Any]]]:
        """A fresh call number and its answer to come."""
        call = secrets.randbits(63) or 1
        promise = self._calls[call] = Promise(on_answer)
        return call, promise

    def drop_call(self, call: int) -> None:
        """Nobody waits for this answer any more."""
        self._calls.pop(call, None)

    def ask_value(self, object_id: int) -> tuple[Answer, Any]:
        """Sends `Get` and waits for the answer; asks no person."""
        call, future = self.open_call()
        self.emit(Get(call, object_id))
        try:
            answer: tuple[Answer, Any] = self.wait(future, ANSWER_SECONDS + self.round_trip())
            return answer
        finally:
            self.drop_call(call)

    def wait(self, future: Future[Any] | Promise[Any], seconds: float | None) -> Any:
        """The future's result, with a deadline; None waits until it is decided (Ctrl-C works).

        Raises:
            ConnectionLost: the deadline passed while the partner could not be reached.
            NoAnswer: it passed although the partner is there.
            SessionClosed: the session ended meanwhile.
        """
        if self.is_on_loop():
            raise RuntimeError("a blocking call on the session's own loop would never return")
        self.flush()
        end = None if seconds is None else time.monotonic() + seconds
        while not future.done():
            left = _POLL_SECONDS if end is None else min(_POLL_SECONDS, end - time.monotonic())
            if left <= 0:
                if self._state == "lost":
                    raise copy.copy(self._error) or ConnectionLost()
                raise NoAnswer
            if self._state == "closed" and not future.done():
                raise self.ended()
            is_endless = end is None and self._state == "lost"
            # the partner may come back, but nobody waits for that without end
            if is_endless and time.monotonic() > self._lost_at + LOST_GRACE_SECONDS:
                raise copy.copy(self._error) or ConnectionLost()
            with contextlib.suppress(TimeoutError, CancelledError):
                future.exception(left)  # what it ends with is raised below
        return future.result()

    def is_on_loop(self) -> bool:
        """Whether the caller runs on the session's own loop, which must not wait for itself."""
        try:
            return asyncio.get_running_loop() is self.bridge.loop
        except RuntimeError:
            return False

    def round_trip(self) -> float:
        """Seconds to the partner and back, with a second to spare."""
        return (self.session.rtt or 0.0) + SPARE_SECONDS

    def settle(self, seq: int, seconds: float = ANSWER_SECONDS) -> None:
        """Waits until this command was executed; what it taught us has arrived then."""
        if self._settled >= seq:
            return
        future: Future[None] = Future()
        with self._settling_lock:
            self._settling.append((seq, future))
        if self._settled >= seq and not future.done():
            future.set_result(None)
        self.wait(future, seconds + self.round_trip())

    def catch_up(self) -> bool:
        """Waits until the owner's side did all that it had to do by now; False where nobody waits.

        What the owner shared before this call is in the store's copy here after it.
        """
        if active() is not None or self._state != "open" or self.is_on_loop():
            return False
        self.settle(self.emit(Del(())))
        return True

    def ended(self) -> Exception:
        """The error that every call raises after the end."""
        if isinstance(self._error, DuetError):
            return copy.copy(self._error)  # one object, raised twice, would collect tracebacks
        return SessionClosed()

    @property
    def is_open(self) -> bool:
        """Whether commands can be sent, or will be once the connection is back."""
        return self._state != "closed"

    def close(self) -> None:
        """Ends the session from this side."""
        if self._state == "closed":
            return
        # If that fails it is closed below for everybody here; the partner notices by its pings.
        with contextlib.suppress(TimeoutError, SessionClosed):
            self.bridge.call(self.session.close(), SCIENTIST_CLOSE_SECONDS)
        if self._state != "closed":
            self._on_state("closed", SessionClosed())

    # on the loop

    def _on_message(self, seq: int, message: Message) -> None:
        match message:
            case Value(call=call, blob=None):
                self._resolve(call, message, None)
            case Value(call=call, blob=blob):
                assert blob is not None
                bar = transfer_bar(self, "receiving", blob.nbytes)
                into = Arrival.of(message.value, blob.nbytes)
                arriving = self.session.expect_blob(blob.transfer, blob.nbytes, bar, into)
                arriving.add_done_callback(lambda done: self._on_blob(message, done))
            case Denied(call=call) | Expired(call=call) | NotYours(call=call) | Failed(call=call):
                self._resolve(call, message, None)
            case Meta():
                pointer = self._unknown.get(message.id)
                if pointer is not None:
                    pointer._learn(message)
            case Fail():
                self.failures.add(message)
            case StoreSnapshot():
                self.settings = dict(message.settings)
                self.store.replace(message.entries)
                if not self.ready.done():
                    self.ready.set_result(None)
            case StoreChanged():
                self.store.change(message.added, message.removed)
            case EngineRestarted():
                self._is_suspended = False
                self._on_restart(message.reason)
            case AuditHead():
                self._on_audit_head(message)
            case Suspended():
                self._on_restart(message.reason, SessionSuspended())
                self._is_suspended = True
            case _:
                raise TypeError(f"{type(message).__name__} is not an answer")

    def _resolve(self, call: int, answer: Answer, data: Any) -> None:
        future = self._calls.pop(call, None)
        if future is not None and not future.done():
            future.set_result((answer, data))

    def _on_blob(self, message: Value, done: Any) -> None:
        error = None if done.cancelled() else done.exception()
        if done.cancelled() or error is not None:
            future = self._calls.pop(message.call, None)
            if future is not None and not future.done():
                future.set_exception(error or SessionClosed())
        else:
            self._resolve(message.call, message, done.result())

    def _on_restart(self, reason: str, error: DuetError | None = None) -> None:
        self._lost_below, self._lost_reason = self._newest_id, reason
        self.uploads.forget_all()
        text = "The owner's engine was restarted; what this needed is gone with the old one."
        for call in list(self._calls):
            self._fail_call(call, error or SessionLost(text))

    def _on_audit_head(self, message: AuditHead) -> None:
        head = SignedHead(self.session_id, message.pub, message.head, message.signature)
        if not head.is_genuine:
            raise ProtocolError("The owner sent a head of its audit log that it did not sign.")
        self.audit_head = head

    def _fail_call(self, call: int, error: Exception) -> None:
        future = self._calls.pop(call, None)
        if future is not None and not future.done():
            future.set_exception(error)

    def _on_settled(self, seq: int) -> None:
        self._settled = max(self._settled, seq)
        with self._settling_lock:
            due = [future for upto, future in self._settling if upto <= self._settled]
            self._settling = [entry for entry in self._settling if entry[0] > self._settled]
        for future in due:
            if not future.done():
                future.set_result(None)

    def _on_state(self, state: str, error: Exception | None) -> None:
        if state == "lost":
            self._lost_at = time.monotonic()
        self._state, self._error = state, error
        if state != "closed":
            return
        if self._error is None:
            self._error = SessionClosed()
        for call in list(self._calls):
            self._fail_call(call, self.ended())
        with self._settling_lock:
            waiting, self._settling = self._settling, []
        for future in [future for _, future in waiting] + [self.ready]:
            if not future.done():
                future.set_exception(self.ended())

    def _tick(self) -> None:
        """Dead ids leave after a second of idleness, from the callback thread: `put` may block."""
        if self._state == "closed":
            return
        if self._dead and self._state == "open":
            self.bridge.callback_thread.tell(self._bury_idle)
        self.bridge.loop.call_later(DEAD_IDS_IDLE_SECONDS, self._tick)

    def _bury_idle(self) -> None:
        if self._state == "open":
            self.bury()

    def remote_error(self, answer: Failed) -> RemoteError:
        """The error for a value that was computed from a failed command."""
        return self.failures.error(answer.seq, answer.op, answer.code, answer.text)
