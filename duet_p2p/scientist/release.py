"""Getting a value: what the scientist's `get` and `request` mean on the wire.

`get()` sends a `Get`, which asks nobody and is answered at once. `get(request_block=True)` sends a
`Request`, which the owner's side answers at once if the value is public or was released unchanged;
else a handler or a person decides, and the decision is pushed with the value. The table in the
public API says which error or None comes out of which answer; `_outcome` is that table.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Final

from duet_p2p.errors import (
    NotReleased,
    PointerDeleted,
    ProtocolError,
    RequestDenied,
    RequestExpired,
)
from duet_p2p.limits import ANSWER_SECONDS, REQUEST_SECONDS
from duet_p2p.scientist.dispatch import check
from duet_p2p.scientist.pointer import Pointer
from duet_p2p.scientist.requests import Request, RequestStatus, decoded
from duet_p2p.wire.messages import Denied, Expired, Failed, NotYours, Value, Withdraw

__all__ = ["ask", "fetch", "print_value", "value_of"]

_LEAVE_SECONDS: Final = 0.001  # for a request to leave before the cell does something else
_HOW_TO_ASK = "Ask for it: ptr.request(reason=…), or ptr.get(request_block=True, reason=…)."


def fetch(
    pointer: Pointer,
    *,
    request_block: bool = False,
    timeout_secs: float | None = 20,
    reason: str = "",
    delete_obj: bool = False,
    name: str = "",
    raises: bool | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> Any:
    """`Pointer.get`, see there; `meanwhile` is called while a request's answer is waited for."""
    client = pointer._client
    check(client, pointer)
    if not request_block:
        answer, data = client.ask_value(pointer._id)
        if isinstance(answer, NotYours):
            raise _not_yours(pointer, answer)
        value = value_of(pointer, answer, data)
    else:
        raises = client.raise_on_denied if raises is None else raises
        limit = _limit(timeout_secs)
        request = pointer.last_request
        if request is None or request.status is not RequestStatus.Pending:
            request = _send(pointer, reason, name, limit)
        try:
            if meanwhile is not None:
                _let_leave(request)
                meanwhile()
            answer, data = _await(request, limit)
            value = value_of(pointer, answer, data)
            request._delivered()
        except (RequestDenied, RequestExpired):
            if raises:
                raise
            return None
    if delete_obj:
        _delete(pointer)
    return value


def ask(
    pointer: Pointer,
    *,
    reason: str = "",
    block: bool = False,
    timeout_secs: float | None = None,
    name: str = "",
) -> Request:
    """`Pointer.request`, see there."""
    check(pointer._client, pointer)
    if block and timeout_secs is None:
        timeout_secs = REQUEST_SECONDS
    limit = _limit(timeout_secs)
    request = pointer.last_request
    if request is None or request.status is not RequestStatus.Pending:
        request = _send(pointer, reason, name, limit)
        pointer._client.flush()
    if block:
        with contextlib.suppress(RequestExpired):  # the request itself says so
            _await(request, limit)
    return request


def _limit(timeout_secs: float | None) -> float | None:
    """Seconds for the owner's clock; None where somebody must decide, whenever that is."""
    if timeout_secs is None or timeout_secs < 0:
        return None
    return float(timeout_secs)


def _send(pointer: Pointer, reason: str, name: str, limit: float | None) -> Request:
    request = pointer._client.requests.open(pointer, name, reason, limit)
    pointer._extra().request = request
    return request


def _let_leave(request: Request) -> None:
    """Waits for a moment: who works now takes the interpreter from the thread that sends."""
    request._client.flush()
    with contextlib.suppress(TimeoutError):
        request._answer.exception(_LEAVE_SECONDS)


def _await(request: Request, limit: float | None) -> tuple[Any, Any]:
    """The answer to a request, with a deadline that leaves the owner's clock room to end it."""
    client = request._client
    seconds = None
    if limit is not None:
        # 0 seconds means that handlers answer; that takes as long as what is queued before it.
        seconds = (limit or ANSWER_SECONDS) + client.round_trip()
    try:
        return client.wait(request._answer, seconds)  # type: ignore[no-any-return]
    except TimeoutError:
        if request.timeout_secs == limit:  # a request of a longer life stays open
            client.emit(Withdraw(request._call))
            request._close(RequestStatus.Expired)
        raise RequestExpired(
            f"Nobody decided the request {request.name!r} within {limit:g} seconds."
        ) from None


def value_of(pointer: Pointer, answer: Any, data: Any) -> Any:
    """The value in an answer, or the error that it stands for."""
    match answer:
        case Value():
            return decoded(answer, data)
        case Denied():
            said = f": {answer.reason}" if answer.reason else ""
            raise RequestDenied(f"The owner denied this request{said}.".replace("..", "."))
        case Expired():
            raise RequestExpired("Nobody decided this request in time.")
        case Failed():
            raise pointer._client.remote_error(answer)
        case NotYours():  # the answer to a request whose object does not exist any more
            raise _not_yours(pointer, answer)
    raise TypeError(f"{type(answer).__name__} is not an answer")


def _not_yours(pointer: Pointer, answer: NotYours) -> Exception:
    shown = repr(pointer)
    match answer.state:
        case "never":
            return NotReleased(f"The owner has not released {shown}. {_HOW_TO_ASK}")
        case "waiting":
            return NotReleased(f"The request for {shown} is still waiting for the owner.")
        case "changed":
            return NotReleased(f"{shown} changed since the owner released it. {_HOW_TO_ASK}")
        case "denied":
            said = f": {answer.reason}" if answer.reason else "."
            return RequestDenied(f"The owner denied the request for {shown}{said}")
        case "expired":
            return RequestExpired(f"Nobody decided the request for {shown} in time. {_HOW_TO_ASK}")
        case "unknown":
            gone = PointerDeleted(f"The owner's side has no object for {shown} any more.")
            return pointer._client.failures.of_room() or gone
    return ProtocolError(f"{answer.state!r} is not a state of a value")


def _delete(pointer: Pointer) -> None:
    if pointer._id > 0:
        pointer.delete()
        return
    more = pointer._extra()
    if not more.warned:
        more.warned = True
        print("delete_obj has no effect on the owner's objects; the owner still has it.")


def print_value(pointer: Pointer) -> None:
    """Prints the value if it was released to this scientist, else how to ask."""
    request = pointer.last_request
    if request is not None and request.status is RequestStatus.Accepted:
        print(request.released())
    else:
        print(f"{pointer!r}  not released. {_HOW_TO_ASK}")
