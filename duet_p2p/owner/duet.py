"""`OwnerDuet`: what `launch_duet` returns; every call crosses to the loop and back.

The facade holds no state of its own that the loop needs: it turns words into plain values
(`sharing`, `handler_view`), runs one function of the service on the loop, and turns what comes
back into handles.
"""

from __future__ import annotations

import webbrowser
from collections.abc import Callable, Coroutine, Iterable, Mapping, MutableMapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar

from duet_p2p import limits as numbers
from duet_p2p.engine import messages as engine
from duet_p2p.engine.host import Host
from duet_p2p.errors import DuetError, NotAllowed, SessionClosed
from duet_p2p.identity.keys import parse_id
from duet_p2p.objects import cards, notes
from duet_p2p.objects.panels import Panelled
from duet_p2p.objects.plan import Plan
from duet_p2p.owner.audit import AuditLog
from duet_p2p.owner.audit_view import AuditView
from duet_p2p.owner.catalog import Item
from duet_p2p.owner.data_dirs import DataDirs, checked_dirs
from duet_p2p.owner.ends import (
    ConsoleWay,
    LoopBridge,
    OwnerConsole,
    OwnerSession,
    Pairing,
    SessionEnd,
)
from duet_p2p.owner.failure import Failure
from duet_p2p.owner.handler_view import OwnerRequests
from duet_p2p.owner.handles import Handle, OwnerStore
from duet_p2p.owner.journal import Journal, LogJournal
from duet_p2p.owner.plans import OwnerPlans
from duet_p2p.owner.policy import Policy
from duet_p2p.owner.printing import CallbackThread, LiveLine, Printer
from duet_p2p.owner.quotas import QUOTAS, checked_quotas
from duet_p2p.owner.service import Service
from duet_p2p.owner.sharing import is_state, prepare
from duet_p2p.surface import values

__all__ = ["QUOTAS", "OwnerDuet", "start_service"]

T = TypeVar("T")

_LATER: Final = frozenset({"privacy"})
_THEIRS: Final = frozenset({"torch", "torchvision", "python", "syft", "step", "dp"})


async def start_service(
    session: SessionEnd,
    host: Host,
    *,
    callback_thread: CallbackThread,
    session_id: str,
    data_dirs: Mapping[str, str | Path] | None = None,
    limits: Mapping[str, int] | None = None,
    min_records: int = numbers.MIN_RECORDS,
    threads: int | None = None,
    logging: bool = True,
    journal: Journal | None = None,
) -> Service:
    """Puts a service between a session and an engine, which starts meanwhile. Runs on the loop.

    Args:
        session: not necessarily connected yet.
        host: where the engine runs: `ProcessHost` or `ThreadHost`.
        callback_thread: runs printing.
        session_id: the owner's ID, for the journal.
        data_dirs: names and directories that remote data sets may read.
        limits: overrides of `QUOTAS`.
        min_records: the guard's smallest group.
        threads: for torch in the engine; None leaves its default.
        logging: whether lines are printed.
        journal: where events are kept; None: the logger ``duet_p2p.audit``.

    Raises:
        ValueError: a limit or name that does not exist, or makes no sense.
        TypeError: limits that are no mapping.
        NotADirectoryError: one of `data_dirs` is no directory.
    """
    service = Service(
        session,
        host,
        configure=engine.Configure(
            quotas=checked_quotas(limits), data_dirs=checked_dirs(data_dirs or {}), threads=threads
        ),
        policy=Policy(min_records=min_records),
        journal=journal or LogJournal(session_id),
        printer=Printer(callback_thread, is_on=logging),
        live=LiveLine(callback_thread, is_on=logging),
    )
    service.start()
    return service


class OwnerDuet(Panelled):
    """The owner's session: send objects, decide requests, write rules.

    Args:
        bridge: the loop's thread.
        session: the session on that loop.
        handshake: finds the partner.
        service: from `start_service`.
        session_id: the owner's ID.
        shapes: default of `send`, ``public`` or ``private``.
        forget: takes an ID off the list of known partners.
        on_close: called once, in the thread of `close`, after engine and session are closed.
        audit: the log that the service's journal is; None if nothing is kept.
        console: the page for this session; None if there is none.
        say: prints a line for the owner.

    Attributes:
        id: the session ID that the scientist joins with.
        store: what is shared, of both sides.
        requests: what waits, and the handlers.
        plans: recorded steps, with digest and listing.
        data: directories that remote data sets may read.
    """

    def __init__(
        self,
        bridge: LoopBridge,
        session: OwnerSession,
        handshake: Pairing,
        service: Service,
        *,
        session_id: str,
        shapes: str = "public",
        forget: Callable[[str], None] | None = None,
        on_close: Callable[[], None] | None = None,
        audit: AuditLog | None = None,
        console: OwnerConsole | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        _check_shapes(shapes)
        self.id = session_id
        self._bridge = bridge
        self._session = session
        self._handshake = handshake
        self._service = service
        self._shapes = shapes
        self._forget = forget
        self._on_close = on_close
        self._is_closed = False
        self._say = say
        self.store = OwnerStore(
            service.catalog,
            service.shares,
            self,
            object_key=lambda object_id: notes.object_key(session_id, object_id),
            decode=_decode,
        )
        self.requests = OwnerRequests(
            service.desk,
            self,
            self.store,
            resolve_source=self.store.resolve_source,
        )
        self.plans = OwnerPlans(service.plans, self)
        self.data = DataDirs(service, self)
        self._audit = audit
        self._console = console

    # what is shared

    def send(
        self,
        obj: Any,
        *,
        tags: Iterable[str] | None = None,
        description: str = "",
        pointable: bool = True,
        searchable: bool | None = None,
        shapes: str | None = None,
        send_parameters: bool = True,
        record_axis: int | None = 0,
        keys: str | None = None,
    ) -> Handle:
        """Copies an object into the engine, where the scientist can compute with it.

        Tensors and parameters; built-in Python values and the wrappers of `sy.lib.python`;
        containers of these; an `nn.Module` (listed as its state dict); a `TensorDataset`, or a
        map-style data set of tensors and numbers, read into tensors of one shape each. A later
        change of the object here does not reach the engine.

        Args:
            obj: what to share.
            tags: instead of the tags that it carries.
            description: instead of the description that it carries.
            pointable: listed in the scientist's store; what is not listed does not exist for it.
            searchable: the older word for `pointable`.
            shapes: ``public`` or ``private``: whether shape and dtype may be seen.
            send_parameters: only True; an owner's module is sent as it is.
            record_axis: of a tensor, along which axis its records (people, samples) lie; negative
                ones count from the right. What is summed over that axis is an aggregate, a part
                along it is single records. None: along no axis; the tensor is one record as a
                whole, and nothing that is computed from it is an aggregate.
            keys: of a dict, ``public`` or ``private``: whether a look-up may tell that it has a
                key. Say public if they are names of fields, such as "image": then `d["image"]` has
                its type and shape on the other side. None: private, since they may be persons. Then
                it has a shape there only if all items are tensors of one shape and dtype, and a key
                that is not there looks the same. A module's names are public.

        Returns:
            A handle, the same as `store[…]` gives.

        Raises:
            NotAllowed: an object of this kind cannot be sent, or takes no `record_axis`.
            ValueError: the tensor has no such axis.
            QuotaExceeded: the engine cannot take it.
            EngineFailed: the engine could not be started.
            SessionClosed: the session has ended.
        """
        if not send_parameters:
            raise ValueError("an owner's module is sent with its parameters")
        shapes = shapes or self._shapes
        _check_words(shapes, keys)
        note = _checked_note(obj, tags, description)
        if self._service.error is not None:
            raise self._ended()
        listed = pointable if searchable is None else searchable
        item = self.wait_for(self._share(obj, note, listed, shapes, keys, record_axis))
        if keys is None and shapes == "public" and isinstance(obj, dict) and not is_state(obj):
            self._say_keys()
        return Handle(item, self.store)

    def _share(
        self, obj: Any, note: tuple[tuple[str, ...], str], listed: bool, shapes: str,
        keys: str | None, record_axis: int | None,
    ) -> Coroutine[Any, Any, Item]:  # fmt: skip
        tags, text = note
        if isinstance(obj, Plan):
            if record_axis != 0:
                raise NotAllowed("record_axis= is for a tensor; a plan has no records.")
            return self._service.shares.share_plan(obj, tags=tags, description=text, listed=listed)
        return self._service.shares.share(
            prepare(obj, record_axis),
            tags=tags,
            description=text,
            listed=listed,
            shapes_public=shapes == "public",
            keys_public=keys == "public" or is_state(obj),
        )

    def _say_keys(self) -> None:
        """Once: a first dict was shared, and not a word was said of its keys."""
        if self._say is not None:
            self._say(_KEYS)
        self._say = None

    def update_vars(self, variables: MutableMapping[str, Any]) -> Any:
        """Binds each tag that is a free identifier to its handle; returns `store.pandas`."""
        return self.store.update_vars(variables)

    # the session

    @property
    def audit(self) -> AuditView:
        """The audit log: what was shared, asked, decided and released, in all your sessions.

        Raises:
            NotAllowed: the session was started with ``audit=False``.
        """
        if self._audit is None:
            raise AttributeError("audit")  # which __getattr__ explains
        return AuditView(self._audit.file.path, flush=self._audit.flush)

    def console(self, *, open_browser: bool = True) -> ConsoleWay:
        """Opens the console: a page of this machine that shows and decides all of this session.

        It talks to this process directly, so it works while a cell is running.

        Args:
            open_browser: False only makes the way in, for another browser of this machine.

        Returns:
            The way in, good for one browser and one minute; its `path` is the file to open.

        Raises:
            SessionClosed: the session is closed.
        """
        if self._console is None:
            raise NotAllowed("This session was started without a console.")
        way = self.wait_for(self._console.open())
        if open_browser:
            webbrowser.open(way.path.as_uri())
        return way

    @property
    def peer(self) -> str:
        """ID of the scientist; empty before the first connection."""
        return self._service.desk.intake.requester or self._handshake.pinned or ""

    @property
    def is_open(self) -> bool:
        """Whether the session goes on: the scientist is there, or may come back."""
        return not self._is_closed and self._service.is_open

    @property
    def errors(self) -> list[Failure]:
        """Failed commands with their full texts, oldest first. They may hold private values."""
        return list(self._service.failures)

    def resume(self) -> bool:
        """Lets the scientist go on after a suspension; False if there was none.

        The session is suspended when the engine ends in the middle of work on your data: it ran
        too long, took too much memory, or crashed. `errors` says in which operation.
        """
        return self.run(self._service.resume)

    def status(self) -> dict[str, Any]:
        """Facts about the connection, and counts of objects, requests and handlers."""
        counts = self._service.counts()
        started = self._service.started
        facts = {} if self._is_closed else self.run(self._session.status)
        return {
            **facts,
            "id": self.id,
            "peer": self.peer,
            "is_open": self.is_open,
            "objects": counts.objects,
            "requests": counts.requests,
            "handlers": counts.handlers,
            "operations": counts.operations,
            "OPEN": counts.is_open_to_all,
            "suspended": self._service.revival.is_suspended,
            "audit": self._audit_state(),
            "engine": {"pid": started.pid, "versions": started.versions} if started else {},
        }

    def wait(self, timeout: float | None = None) -> OwnerDuet:
        """Waits until the scientist is connected.

        Raises:
            PairingTimeout: nobody came in time.
            EngineFailed: the engine could not be started.
            DuetError: what ended the pairing or the session.
        """
        if self._service.error is not None:
            raise self._ended()
        self.wait_for(self._handshake.wait(timeout))
        return self

    def expect_client(self, client_id: str) -> bool:
        """Admits a scientist by ID; False if another one is connected already.

        Raises:
            InvalidId: this is no client ID.
        """
        return self.run(self._handshake.expect, parse_id(client_id, "scientist", own_id=self.id))

    def forget(self, client_id: str) -> None:
        """Forgets a known partner: the next one of that label is a new acquaintance.

        Raises:
            InvalidId: this is no client ID.
        """
        if self._forget is None:
            raise DuetError("This session keeps no list of known partners.")
        self._forget(parse_id(client_id, "scientist", own_id=self.id))

    def close(self) -> None:
        """Says goodbye, stops the engine, ends every waiting call; may be called twice."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            self._bridge.call(self._shut(), numbers.OWNER_CLOSE_SECONDS)
        except SessionClosed:
            pass  # the bridge is closed, and all that lived on its loop with it
        finally:
            if self._on_close is not None:
                self._on_close()

    async def _shut(self) -> None:
        try:
            await self._service.farewell()
            await self._session.close("closed")
        finally:
            await self._service.close()

    def __enter__(self) -> OwnerDuet:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:
        if name == "audit":
            raise NotAllowed("This session keeps no audit log: it was started with audit=False.")
        if name in _LATER:
            raise NotAllowed(f"duet.{name} is not in this version.")
        if name in _THEIRS:
            raise NotAllowed(f"duet.{name} is the scientist's; you have the data itself.")
        raise AttributeError(f"OwnerDuet has no attribute {name!r}")

    def __repr__(self) -> str:
        state = "open" if self.is_open else "closed"
        return f"<OwnerDuet {self.id} {state}, partner {self.peer or 'not connected'}>"

    def _repr_html_(self) -> str:
        counts = self._service.counts()
        facts = {
            "session": self.id,
            "scientist": self.peer or "not connected",
            "objects": counts.objects,
            "waiting requests": counts.requests,
            "handlers": counts.handlers,
            "operations": counts.operations,
        }
        if counts.is_open_to_all:
            facts["OPEN"] = "a handler accepts everything"
        return cards.card("Duet, owner", facts, state="open" if self.is_open else "closed")

    # from the user's thread to the loop (request_view.Caller)

    def run(self, fn: Callable[..., T], *args: Any) -> T:
        """Runs a plain function on the loop and returns what it returns."""

        async def call() -> T:
            return fn(*args)

        return self._bridge.call(call())

    def read(self, fn: Callable[..., T], *args: Any) -> T:
        """Runs a plain function that changes nothing, after the end right here."""
        try:
            return self.run(fn, *args)
        except SessionClosed:  # the loop is gone, and with it whoever could change something
            return fn(*args)

    def wait_on(self, fn: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        """Runs a coroutine function on the loop and returns what it returns."""
        return self._bridge.call(fn(*args))

    def wait_for(self, coro: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine on the loop and returns what it returns."""
        return self._bridge.call(coro)

    def _audit_state(self) -> str:
        if self._audit is None:
            return "off"
        return self._audit.trouble or str(self._audit.file.path)

    def _ended(self) -> Exception:
        error = self._service.error
        return type(error)(str(error)) if isinstance(error, DuetError) else SessionClosed()


def _decode(value: Any, data: Any) -> Any:
    return values.unpack(value, data)


def _checked_note(
    obj: Any, tags: Iterable[str] | None, description: str
) -> tuple[tuple[str, ...], str]:
    """Tags and description as given, or as the object carries them."""
    if isinstance(tags, str):
        tags = (tags,)
    chosen = notes.tags_of(obj) if tags is None else notes.checked_tags(tuple(tags))
    description = description or notes.description_of(obj)
    if len(chosen) > numbers.TAGS or any(len(tag) > numbers.NAME_CHARS for tag in chosen):
        raise ValueError(f"at most {numbers.TAGS} tags of {numbers.NAME_CHARS} characters each")
    if len(description) > numbers.MESSAGE_TEXT_CHARS:
        raise ValueError(f"a description has at most {numbers.MESSAGE_TEXT_CHARS:,} characters")
    return chosen, description


def _check_shapes(shapes: str) -> None:
    if shapes not in ("public", "private"):
        raise ValueError(f"shapes is 'public' or 'private', not {shapes!r}")


_KEYS: Final = (
    "The keys of this dict are private: a look-up by your partner does not tell whether a key is "
    "there. If they are names of fields, send it with keys='public' (keys='private' says that you "
    "know)."
)


def _check_words(shapes: str, keys: str | None) -> None:
    _check_shapes(shapes)
    if keys not in (None, "public", "private"):
        raise ValueError(f"keys is 'public' or 'private', not {keys!r}")
    if keys == "public" and shapes != "public":
        raise ValueError("keys='public' needs shapes='public': a look-up tells a shape")
