"""The scientist's own requests, as objects and as a list."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NoReturn

from duet_p2p import limits
from duet_p2p.errors import RequestClosed, RequestExpired, WrongSide
from duet_p2p.objects import cards
from duet_p2p.objects.notes import object_key
from duet_p2p.scientist.promise import Promise
from duet_p2p.surface import values
from duet_p2p.wire import messages
from duet_p2p.wire.messages import Denied, Expired, Failed, Value, Withdraw

if TYPE_CHECKING:
    from pandas import DataFrame

    from duet_p2p.scientist.client import Client
    from duet_p2p.scientist.pointer import Pointer

__all__ = ["COLUMNS", "Request", "RequestList", "RequestStatus", "decoded"]

COLUMNS: Final = (
    "Name",
    "Requested Object's tags",
    "Reason",
    "Request ID",
    "Requested Object's ID",
    "Requested Object's type",
)


class RequestStatus(StrEnum):
    """How a request stands; equal to its text, as on the owner's side."""

    Pending = "Pending"
    Accepted = "Accepted"
    Rejected = "Rejected"
    Expired = "Expired"
    Withdrawn = "Withdrawn"


class Request:
    """One request of this scientist. Made by `ptr.request` and `ptr.get(request_block=True)`.

    Attributes:
        name: by which the owner's handlers may match.
        timeout_secs: its life on the owner's clock; -1: no limit.
        arrival_time: when it was sent, seconds since 1970.
    """

    def __init__(
        self, client: Client, pointer: Pointer, name: str, reason: str, limit: float | None
    ) -> None:
        self.name = name
        self.request_description = reason
        self.timeout_secs = -1 if limit is None else limit
        self.arrival_time = time.time()
        self.object_tags = pointer.tags
        self.object_type = pointer.object_type
        self._object_id = pointer._id
        self._client = client
        self._closed_as: RequestStatus | None = None
        self._is_delivered = False
        self._call, self._answer = client.open_call(self._on_answer)

    @property
    def id(self) -> str:
        """The request's id, 16 hex digits; the owner sees the same."""
        return f"{self._call:016x}"

    @property
    def request_id(self) -> str:
        """The same as `id`."""
        return self.id

    @property
    def reason(self) -> str:
        """What the owner reads, the same as `request_description`."""
        return self.request_description

    @property
    def object_id(self) -> str:
        """Id of the object that is asked for, as in both sides' tables."""
        return object_key(self._client.session_id, self._object_id)

    @property
    def requester_verify_key(self) -> str:
        """This scientist's ID."""
        return self._client.client_id

    requester = requester_verify_key

    @property
    def status(self) -> RequestStatus:
        """How it stands now; pushed by the owner's side, read from memory."""
        if self._closed_as is not None:
            return self._closed_as
        if not self._answer.done():
            return RequestStatus.Pending
        if self._answer.exception() is not None:
            return RequestStatus.Expired
        answer, _ = self._answer.result()
        match answer:
            case Denied():
                return RequestStatus.Rejected
            case Expired():
                return RequestStatus.Expired
            case Value():
                return RequestStatus.Accepted
        return RequestStatus.Accepted  # released as what it is: a failure

    def wait(self, timeout: float | None = None) -> RequestStatus:
        """Waits for the decision.

        Args:
            timeout: seconds; None waits until somebody decides.

        Raises:
            RequestExpired: `timeout` passed first; the request stays open.
        """
        if self._closed_as is None:
            try:
                self._client.wait(self._answer, timeout)
            except TimeoutError:
                raise RequestExpired(
                    f"The request {self.name!r} was not decided within {timeout:g} seconds; it "
                    f"stays open."
                ) from None
        return self.status

    def withdraw(self) -> None:
        """Takes the request back.

        Raises:
            RequestClosed: it is not pending any more.
        """
        if self.status is not RequestStatus.Pending:
            raise RequestClosed(f"The request {self.name!r} is {self.status} already.")
        self._client.emit(Withdraw(self._call))
        self._client.flush()
        self._close(RequestStatus.Withdrawn)

    def deny(self, reason: str | None = None) -> None:
        """For the scientist the same as `withdraw`."""
        self.withdraw()

    reject = deny

    def accept(self, always: bool = False) -> NoReturn:
        """Belongs to the owner."""
        raise WrongSide("only the owner can accept a request")

    approve = grant = accept

    def released(self) -> Any:
        """The value that came with the decision.

        Raises:
            RequestClosed: there is none (yet).
        """
        if self.status is RequestStatus.Accepted:
            answer, data = self._answer.result()
            if isinstance(answer, Value):
                if self._is_delivered:
                    raise RequestClosed("This value was delivered; get() fetches it again.")
                return decoded(answer, data)
            if isinstance(answer, Failed):
                raise self._client.remote_error(answer)
        is_told = self._answer.done() and self._answer.exception() is None
        why = getattr(self._answer.result()[0], "reason", "") if is_told else ""
        said = f" ({why})" if why else ""
        raise RequestClosed(f"The request {self.name!r} is {self.status}{said}; it has no value.")

    def _delivered(self) -> None:
        """Lets go of a large value once somebody has it: the history would keep it for ever."""
        answer, _ = self._answer.result()
        if isinstance(answer, Value) and answer.blob is not None:
            taken: Promise[Any] = Promise()
            taken.set_result((answer, None))
            self._answer, self._is_delivered = taken, True

    def _close(self, status: RequestStatus) -> None:
        """Ends it from this side; a late answer changes nothing any more."""
        self._closed_as = status
        self._client.drop_call(self._call)
        if not self._answer.done():
            answer: Any = Denied(self._call, "withdrawn")
            if status is RequestStatus.Expired:
                answer = Expired(self._call)
            self._answer.set_result((answer, None))

    def _on_answer(self, done: Promise[Any]) -> None:
        self._client.requests._decided(self)

    def __repr__(self) -> str:
        return f"<Request {self.id} {cards.shown(repr(self.name))} {self.status}>"

    def _repr_html_(self) -> str:
        facts = {
            "name": self.name,
            "reason": self.reason,
            "object": f"{self.object_type}, tags {self.object_tags}",
            "limit": None if self.timeout_secs < 0 else f"{self.timeout_secs:g} s",
            "id": self.id,
        }
        return cards.card("My request", facts, state=self.status)


def decoded(answer: Value, data: Any) -> Any:
    """The value that was released; `data` holds the bytes of its blob."""
    if answer.blob is not None:
        return values.unpack(answer.value, data, is_owned=True)
    return values.from_wire(answer.value)


class RequestList:
    """This scientist's requests that wait for a decision, oldest first."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._open: OrderedDict[int, Request] = OrderedDict()
        self._history: list[Request] = []
        self._lock = threading.Lock()

    def open(self, pointer: Pointer, name: str, reason: str, limit: float | None) -> Request:
        """Sends a new request for the value as it is at this place in the program."""
        name = str(name)[: limits.REQUEST_NAME_CHARS]
        reason = str(reason)[: limits.REQUEST_REASON_CHARS]
        request = Request(self._client, pointer, name, reason, limit)
        with self._lock:
            self._open[request._call] = request
        try:
            self._client.emit(messages.Request(request._call, pointer._id, name, reason, limit))
        except BaseException:
            request._close(RequestStatus.Withdrawn)
            raise
        return request

    def _decided(self, request: Request) -> None:
        with self._lock:
            self._open.pop(request._call, None)
            self._history.append(request)
            if len(self._history) > limits.REQUEST_HISTORY:
                del self._history[: limits.REQUEST_HISTORY // 10]

    @property
    def requests(self) -> list[Request]:
        """The waiting ones as a list."""
        with self._lock:
            return list(self._open.values())

    @property
    def history(self) -> list[Request]:
        """The decided ones, oldest first."""
        with self._lock:
            return list(self._history)

    def all_by_id(self, request_id: str) -> Request:
        """A request by its id, decided or not; KeyError if there is none."""
        for request in [*self.requests, *self.history]:
            if request.id == request_id:
                return request
        raise KeyError(request_id)

    def get_request_id_from_object_id(self, object_id: str) -> str | None:
        """Id of the waiting request for an object, None if nothing waits for it."""
        found = next((r for r in self.requests if r.object_id == object_id), None)
        return found.id if found is not None else None

    @property
    def pandas(self) -> DataFrame:
        """The waiting ones as a table; empty, with its columns, when nothing waits."""
        from duet_p2p.objects.frame import frame_of

        rows = [
            (r.name, r.object_tags, r.reason, r.id, r.object_id, r.object_type)
            for r in self.requests
        ]
        return frame_of(rows, COLUMNS)

    def add_handler(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Belongs to the owner."""
        raise WrongSide("only the owner can add handlers")

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Request]:
        return iter(self.requests)

    def __getitem__(self, key: int | str) -> Request:
        if isinstance(key, str):
            return self.all_by_id(key)
        return self.requests[key]

    def __repr__(self) -> str:
        waiting = self.requests
        return f"<{len(waiting)} waiting requests>" + "".join(f"\n  {r!r}" for r in waiting)

    def _repr_html_(self) -> str:
        columns = ("", "name", "reason", "type", "tags", "id")
        rows = [
            (f"[{n}]", r.name, r.reason, r.object_type, r.object_tags, r.id)
            for n, r in enumerate(self.requests)
        ]
        return cards.table("My waiting requests", columns, rows, empty="No request waits.")
