"""`ScientistDuet`: what `sy.join_duet` returns."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from torch import nn

from duet_p2p.errors import ForeignPointer, NotAllowed, WrongSide
from duet_p2p.identity.signed_head import SignedHead
from duet_p2p.limits import ANSWER_SECONDS, ENGINE_START_SECONDS
from duet_p2p.objects import cards
from duet_p2p.objects.panels import Panelled
from duet_p2p.objects.plan import Plan
from duet_p2p.objects.remote import Remote
from duet_p2p.objects.shell import send_module
from duet_p2p.scientist.client import Client
from duet_p2p.scientist.namespaces import namespace
from duet_p2p.scientist.ordinary import know_pointers
from duet_p2p.scientist.plan import send_plan
from duet_p2p.scientist.pointer import Pointer
from duet_p2p.scientist.requests import RequestList
from duet_p2p.scientist.store import StoreView

if TYPE_CHECKING:
    from pandas import DataFrame

    from duet_p2p.session.bridge import Bridge
    from duet_p2p.session.session import Session

__all__ = ["Pairing", "ScientistDuet"]

_LATER: Final = frozenset({"pandas", "numpy", "statsmodels", "gym", "opacus", "dp"})
_OWNERS: Final = frozenset({"data", "errors", "audit", "privacy", "console"})


class Pairing(Protocol):
    """The handshake as the facade needs it (session/handshake.py)."""

    async def wait(self, timeout: float | None = None) -> Any:
        """Waits for the connection."""
        ...


class ScientistDuet(Panelled):
    """A session with a data owner, as the scientist holds it.

    Args:
        bridge: the thread that the session lives on.
        session: with the owner.
        handshake: finds the owner; None where the session is connected by other means.
        id: the scientist's own ID.
        peer: the owner's session ID.
        on_close: called once, after the session was closed.
    """

    def __init__(
        self,
        bridge: Bridge,
        session: Session,
        handshake: Pairing | None = None,
        *,
        id: str,
        peer: str,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        self.id = id
        self.peer = peer
        self._bridge = bridge
        self._session = session
        self._handshake = handshake
        self._on_close = on_close
        self._is_closed = False
        know_pointers()
        self._client = Client(session, bridge, session_id=peer, client_id=id)

    # namespaces

    @property
    def torch(self) -> Any:
        """Torch on the owner's side, as far as the surface goes."""
        return namespace(self._client, "torch")

    @property
    def torchvision(self) -> Any:
        """Torchvision on the owner's side, as far as the surface goes."""
        return namespace(self._client, "torchvision")

    @property
    def python(self) -> Any:
        """Python's own types on the owner's side."""
        return namespace(self._client, "python")

    @property
    def syft(self) -> Any:
        """The original's long name: `duet.syft.lib.python` is `duet.python`."""
        return namespace(self._client, "syft")

    # objects

    @property
    def store(self) -> StoreView:
        """What the owner shares, and what this scientist sent; kept up to date by the owner."""
        return self._client.store

    @property
    def requests(self) -> RequestList:
        """This scientist's requests that wait for a decision."""
        return self._client.requests

    @property
    def raise_on_denied(self) -> bool:
        """Whether blocking calls raise typed errors in place of giving None."""
        return self._client.raise_on_denied

    @raise_on_denied.setter
    def raise_on_denied(self, value: bool) -> None:
        self._client.raise_on_denied = bool(value)

    def send(
        self,
        obj: Any,
        *,
        tags: Sequence[str] | None = None,
        description: str = "",
        pointable: bool = True,
        searchable: bool | None = None,
        shapes: str | None = None,
        send_parameters: bool = True,
        record_axis: int | None = 0,
        keys: str | None = None,
    ) -> Any:
        """Copies an object of one's own to the owner's engine.

        Args:
            obj: tensor, module, plan, or built-in Python value.
            tags: to find it by; None takes those that `tag` set.
            description: instead of what `describe` set.
            pointable: listed in the owner's store and kept until deleted; else it lives as long as
                its pointer.
            searchable: the older word for `pointable`.
            shapes: the owner's option; what a scientist sends has no secret shape.
            send_parameters: of a module; False initialises them on the owner's side.
            record_axis: the owner's option; what a scientist sends has no private records.
            keys: the owner's option; what a scientist sends has no secret keys.

        Returns:
            A pointer; of a module the remote module.

        Raises:
            NotAllowed: values of this type do not travel.
        """
        if shapes not in (None, "public"):
            raise WrongSide("shapes= is the owner's option; your own objects are public to you")
        if keys not in (None, "public"):
            raise WrongSide("keys= is the owner's option; your own objects are public to you")
        if record_axis != 0:
            raise WrongSide("record_axis= is the owner's option; your own objects have no records")
        if isinstance(obj, nn.Module):
            return send_module(self._client, obj, parameters=send_parameters)
        if isinstance(obj, Remote):
            assert isinstance(obj, Pointer)
            if obj._client is not self._client:
                raise ForeignPointer("this pointer belongs to another session; get it first")
            return obj
        listed = pointable if searchable is None else searchable
        if isinstance(obj, Plan):
            return send_plan(self._client, obj, tags=tags, description=description, listed=listed)
        return self._client.uploads.send(obj, tags=tags, description=description, listed=listed)

    def step(self, function: Any = None, *, verify: bool = True) -> Any:
        """Records a function of pointers at its first call and replays it as one small message.

        Use it as ``@duet.step`` or ``@duet.step(verify=False)``; see `Step`.

        Args:
            function: takes pointers, remote modules and plain values, gives pointers.
            verify: the second use of a recording runs the function again and compares.
        """
        from duet_p2p.scientist.recorder import Step

        if function is None:
            return lambda function: Step(self._client, function, verify=verify)
        return Step(self._client, function, verify=verify)

    def update_vars(self, variables: MutableMapping[str, Any]) -> DataFrame:
        """Makes variables of the tags in the store; call it as `duet.update_vars(globals())`."""
        return self._client.store.update_vars(variables)

    # life

    @property
    def audit_head(self) -> SignedHead | None:
        """The newest head of the owner's audit log, signed by the owner; None before the first.

        Keep its text: an audit log of this session that does not contain it has lost its end, which
        the owner can check with ``duet audit verify --head TEXT``.
        """
        return self._client.audit_head

    @property
    def is_open(self) -> bool:
        """Whether the session has not ended."""
        return not self._is_closed and self._client.is_open

    def status(self) -> dict[str, Any]:
        """Facts of connection and session."""
        link = self._session.status()
        return {
            **link,
            "bytes_sent": link.get("bytes_out", 0),
            "bytes_received": link.get("bytes_in", 0),
            "id": self.id,
            "peer": self.peer,
            "is_open": self.is_open,
            "objects": len(self._client.store),
            "requests": len(self._client.requests),
            "operations": self._client.operations,
            "audit_head": str(self.audit_head or ""),
            "suspended": self._client._is_suspended,
            "failures": [str(error) for error in self._client.failures.recent],
        }

    def wait(self, timeout: float | None = None) -> Self:
        """Blocks until the session is usable: what the owner shares is in the store then.

        Raises:
            PairingTimeout: `timeout` seconds passed first.
            DuetError: what ended the pairing or the session.
        """
        if not self.is_open:
            raise self._client.ended()
        if self._handshake is not None and not self._client.ready.done():
            self._bridge.call(self._handshake.wait(timeout))
            timeout = ENGINE_START_SECONDS + ANSWER_SECONDS  # the owner's engine may still start
        self._client.wait(self._client.ready, timeout)
        return self

    @property
    def ready(self) -> Future[None]:
        """Done when `wait` would return; for code that awaits."""
        return self._client.ready

    def close(self) -> None:
        """Says goodbye; every waiting call ends with `SessionClosed`. May be called twice."""
        if self._is_closed:
            return
        self._is_closed = True
        self._client.close()
        if self._on_close is not None:
            self._on_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:
        if name in _LATER:
            raise NotAllowed(f"duet.{name} is not in this version.")
        if name in _OWNERS:
            raise NotAllowed(f"duet.{name} is the owner's; ask the owner of this session.")
        raise AttributeError(f"ScientistDuet has no attribute {name!r}")

    def __repr__(self) -> str:
        state = "open" if self.is_open else "closed"
        return f"<ScientistDuet {self.id or '?'} with {self.peer or '?'}, {state}>"

    def _repr_html_(self) -> str:
        facts = {
            "you": self.id,
            "owner": self.peer,
            "objects": len(self.store),
            "waiting requests": len(self.requests),
            "operations": self._client.operations,
        }
        return cards.card("Duet, scientist", facts, state="open" if self.is_open else "closed")
