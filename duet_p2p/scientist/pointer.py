"""A pointer: a stand-in on this side for one object on the owner's side.

A plain object, not a tensor: nothing in C++ can mistake it for one, and it costs little to make.
torch asks it what to do through `__torch_function__`; its own methods and operators are generated
from the surface table, one Python class per remote type (`kinds.py`). What would need the value
here (truth, float, numpy, pickle) raises at once and says the way out.

Most pointers live for microseconds, so they hold little: what only some need is in `_more`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NoReturn

from duet_p2p.errors import NotAllowed, PointerDeleted, PrivateValueError, StepError, WrongSide
from duet_p2p.objects import cards
from duet_p2p.objects.notes import checked_tags, object_key
from duet_p2p.objects.remote import Remote
from duet_p2p.surface.shapes import TensorSpec, Unknown
from duet_p2p.wire.messages import Del, Meta, Note

if TYPE_CHECKING:
    from duet_p2p.scientist.client import Client
    from duet_p2p.scientist.requests import Request, RequestStatus

__all__ = ["NEEDS_VALUE", "Pointer", "make", "put_seq"]


class More:
    """What only some pointers have."""

    __slots__ = ("config", "description", "hidden", "kept", "listed", "request", "turn", "warned")

    def __init__(self) -> None:
        self.description = ""
        self.listed = False
        self.kept = False  # not deleted with its last pointer: it is listed, or not our own
        self.hidden = False  # the owner's side told nothing of its shape
        self.warned = False
        self.turn = 0  # of a list that `next` is called on
        self.request: Request | None = None
        self.config: dict[str, Any] = {}


class Pointer(Remote):
    """One remote object. Made by the client, never by hand."""

    __slots__ = (
        "__weakref__",
        "_client",
        "_gone",
        "_id",
        "_items",
        "_length",
        "_more",
        "_seq",
        "_spec",
        "_tags",
        "_type",
    )

    _client: Client
    _id: int
    _type: str
    _spec: TensorSpec | None
    _items: Any
    _length: int | None
    _seq: int
    _tags: tuple[str, ...]
    _gone: str
    _more: More | None
    _expects_meta = True

    def __del__(self) -> None:
        # Also called for a half-made object and while the interpreter goes down.
        more = getattr(self, "_more", None)
        if getattr(self, "_id", 0) > 0 and not self._gone and not (more and more.kept):
            self._client.forget(self._id)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        from duet_p2p.scientist.dispatch import torch_function

        return torch_function(func, args, kwargs or {})

    # facts

    @property
    def tags(self) -> list[str]:
        """The object's tags: set by a person, or inherited from what it was computed from."""
        return list(self._tags)

    @property
    def description(self) -> str:
        """The object's description, "" without one."""
        return self._more.description if self._more else ""

    @property
    def object_type(self) -> str:
        """Name of the remote type, ``torch.Tensor`` for example."""
        return self._type

    @property
    def id_at_location(self) -> str:
        """The object's id in both sides' tables, 32 hex digits."""
        return object_key(self._client.session_id, self._id)

    @property
    def client(self) -> Client:
        """The session that it belongs to."""
        return self._client

    @property
    def pointable(self) -> bool:
        """Whether the object is listed in the store."""
        return bool(self._more and self._more.listed)

    searchable = pointable

    @property
    def last_request(self) -> Request | None:
        """The newest request that was made for this value."""
        return self._more.request if self._more else None

    def resolve_pointer_type(self) -> Pointer:
        """The pointer itself, of its concrete kind as far as the owner's side makes it known."""
        if self._type == "python.Any":
            self._await_facts()
        return self

    # the value

    def get(
        self,
        request_block: bool = False,
        timeout_secs: float = 20,
        reason: str = "",
        delete_obj: bool = False,
        verbose: bool = False,
        *,
        name: str = "",
        raises: bool | None = None,
    ) -> Any:
        """The value itself, if the owner has released it or does so now.

        Args:
            request_block: ask for it and wait for the decision.
            timeout_secs: for the decision; 0 lets the owner's handlers answer and then gives up,
                -1 waits until somebody decides.
            reason: what the owner reads.
            delete_obj: delete an object of one's own after it has arrived.
            verbose: accepted for older code, no effect.
            name: the request's name, by which the owner's handlers may match.
            raises: typed errors in place of None in blocking calls; None: as the session is set.

        Returns:
            The value; None from a blocking call that was denied or not decided in time.

        Raises:
            NotReleased: without `request_block`, and the owner did not release it (yet).
            RequestDenied, RequestExpired: the same, or with `raises`.
            RemoteError: it was computed from an operation that failed.
            ConnectionLost, SessionClosed, SessionLost: no answer can come.
        """
        from duet_p2p.scientist.release import fetch

        return fetch(
            self,
            request_block=request_block,
            timeout_secs=timeout_secs,
            reason=reason,
            delete_obj=delete_obj,
            name=name,
            raises=raises,
        )

    def get_copy(
        self,
        request_block: bool = False,
        timeout_secs: float = 20,
        reason: str = "",
        verbose: bool = False,
        *,
        name: str = "",
    ) -> Any:
        """The same as `get`; kept for code written for the original."""
        return self.get(request_block, timeout_secs, reason, name=name)

    def request(
        self,
        reason: str = "",
        block: bool = False,
        timeout_secs: float | None = None,
        verbose: bool = False,
        *,
        name: str = "",
    ) -> Request:
        """Asks the owner for this value; asking again while a request is open returns that one.

        Args:
            reason: what the owner reads.
            block: wait for the decision, 30 seconds unless `timeout_secs` says otherwise.
            timeout_secs: life of the request on the owner's side; None: as long as the session.
            verbose: accepted for older code, no effect.
            name: by which the owner's handlers may match.
        """
        from duet_p2p.scientist.release import ask

        return ask(self, reason=reason, block=block, timeout_secs=timeout_secs, name=name)

    def check_access(self, node: Any = None, request_id: Any = None) -> RequestStatus | None:
        """How the newest request for this value stands; None if there was none."""
        if request_id is not None:
            return self._client.requests.all_by_id(str(request_id)).status
        request = self.last_request
        return request.status if request is not None else None

    def print(self) -> Pointer:
        """Prints the value if it was released, else the pointer and how to ask."""
        from duet_p2p.scientist.release import print_value

        print_value(self)
        return self

    def set_request_config(self, config: dict[str, Any]) -> None:
        """Sets name, reason and timeout_secs of the requests that len() and iteration make."""
        unknown = set(config) - {"name", "reason", "timeout_secs", "request_block", "delete_obj"}
        if unknown:
            raise TypeError(f"no such request option: {', '.join(sorted(unknown))}")
        self._extra().config = dict(config)

    def get_request_config(self) -> dict[str, Any]:
        """What `set_request_config` set."""
        return dict(self._more.config) if self._more else {}

    # own objects

    def tag(self, *tags: str) -> Pointer:
        """Sets the tags of an object of one's own; returns the pointer."""
        self._must_be_own("tag")
        self._tags = checked_tags(tags)
        self._send_note()
        return self

    def describe(self, description: str) -> Pointer:
        """Sets the description of an object of one's own; returns the pointer."""
        self._must_be_own("describe")
        if not isinstance(description, str):
            raise TypeError(f"a description is text, not {type(description).__name__}")
        self._extra().description = description
        self._send_note()
        return self

    def delete(self) -> None:
        """Deletes an object of one's own on the owner's side.

        Raises:
            WrongSide: the owner shared it; only the owner deletes it.
        """
        self._must_be_own("delete")
        if not self._gone:
            self._gone = f"{self._shown()} was deleted by .delete() or delete_obj=True."
            self._client.emit(Del((self._id,)))

    def update_searchability(self, pointable: bool = True) -> NoReturn:
        """Belongs to the owner."""
        raise WrongSide("only the owner decides what is listed in the store")

    def _send_note(self) -> None:
        more = self._extra()
        self._client.emit(Note(self._id, self._tags, more.description, more.listed))

    def _must_be_own(self, what: str) -> None:
        if self._id < 0:
            raise WrongSide(f"{what}() works on your own objects; this one the owner shared")
        if self._gone:
            raise PointerDeleted(self._gone)
        self._client.check_id(self._id)

    def _extra(self) -> More:
        if self._more is None:
            self._more = More()
        return self._more

    # what is known

    def _spec_for_inference(self) -> Any:
        return _unknown(self._type)

    def _learn(self, meta: Meta) -> None:
        """Takes what the owner's side told. Runs on the loop, so it only assigns."""
        if meta.length is not None:
            self._length = meta.length
        if self._type == "python.Any" and meta.type != "python.Any":
            from duet_p2p.scientist.kinds import class_of

            self._type = meta.type
            self.__class__ = class_of(meta.type)
            if type(self)._learn is not Pointer._learn:
                self._learn(meta)

    def _become(self, other: Pointer) -> None:
        """Stands for the other's object from now on; its own object dies with `other`."""
        for slot in ("_id", "_seq", "_spec"):
            mine, theirs = getattr(self, slot), getattr(other, slot)
            object.__setattr__(self, slot, theirs)
            object.__setattr__(other, slot, mine)

    def _await_facts(self) -> None:
        """Waits until the operation that made this has run: `Meta` arrives before that is told."""
        if self._seq < 0:
            raise StepError(
                f"What {self!r} is like is known on the owner's side only, so a step that is being "
                f"recorded cannot ask for it."
            )
        more = self._extra()
        if not more.hidden and self._id > 0:
            self._client.settle(self._seq)
        more.hidden = True

    # text

    def _shown(self) -> str:
        tags = f" tags={cards.shown(str(list(self._tags)))}" if self._tags else ""
        return f"<{type(self).__name__} {self.id_at_location[:8]}{self._facts_shown()}{tags}>"

    def _facts_shown(self) -> str:
        return ""

    def __repr__(self) -> str:
        return self._shown()

    def _repr_html_(self) -> str:
        request = self.last_request
        facts = {
            "tags": list(self._tags),
            "description": self.description,
            "type": self._type,
            "known here": self._facts_shown().strip() or None,
            "last request": f"{request.name!r} {request.status}" if request is not None else None,
            "id": self.id_at_location,
        }
        return cards.card(type(self).__name__, facts, state="deleted" if self._gone else "")

    def __format__(self, spec: str) -> str:
        if spec:
            raise _private("format(ptr, spec)", "format what get() returns")
        return repr(self)

    def __dir__(self) -> list[str]:
        return sorted(name for name in super().__dir__() if not name.startswith("_"))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        if name in NEEDS_VALUE:
            raise _private(f"ptr.{name}()", "get the value first")
        near = difflib.get_close_matches(name, dir(self), 1, 0.6)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise NotAllowed(f"{self._type} has no {name!r} on the surface that is offered.{hint}")

    def __setattr__(self, name: str, value: Any) -> None:
        try:
            object.__setattr__(self, name, value)
        except NotAllowed:
            raise
        except AttributeError:
            raise NotAllowed(
                f"{name!r} of a remote {self._type} cannot be set from this side"
            ) from None

    # what needs the value here

    def __bool__(self) -> bool:
        raise _private(
            "the truth value of a pointer",
            "use torch.where, or ask: ptr.get(request_block=True, reason=…)",
        )

    def __float__(self) -> NoReturn:
        raise _private("float(ptr)", "convert what get() returns; ptr.item() stays remote")

    def __int__(self) -> NoReturn:
        raise _private("int(ptr)", "convert what get() returns; ptr.item() stays remote")

    def __index__(self) -> NoReturn:
        raise _private("an index or range(ptr)", "convert what get() returns")

    def __complex__(self) -> NoReturn:
        raise _private("complex(ptr)", "convert what get() returns")

    def __contains__(self, item: object) -> NoReturn:
        raise _private("`in` on a pointer", "compare remotely, (ptr == x).any()")

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise _private("a NumPy array of a pointer", "get the value first")

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise _private(
            "pickle, copy or torch.save of a pointer",
            "it has no meaning outside its session; get the value first",
        )

    def __copy__(self) -> NoReturn:
        self.__reduce_ex__(4)

    def __deepcopy__(self, memo: Any) -> NoReturn:
        self.__reduce_ex__(4)


_unknown = lru_cache(maxsize=None)(Unknown)
NEEDS_VALUE: Final = frozenset({"numpy", "tolist", "__array__"})
"""Attributes of which the text says that the value is needed."""


def _private(what: str, remedy: str) -> PrivateValueError:
    return PrivateValueError(f"{what} needs the value, which is on the owner's side: {remedy}.")


def make(
    client: Client,
    object_id: int,
    type_name: str,
    *,
    tags: tuple[str, ...] = (),
    spec: TensorSpec | None = None,
    items: Any = None,
    length: int | None = None,
) -> Any:
    """A pointer of the class that belongs to the remote type."""
    cls = _CLASSES.get(type_name) or _class_of(type_name)
    pointer = cls.__new__(cls)
    _put_client(pointer, client)
    _put_id(pointer, object_id)
    _put_type(pointer, type_name)
    _put_spec(pointer, spec)
    _put_items(pointer, items)
    _put_length(pointer, length)
    put_seq(pointer, 0)
    _put_tags(pointer, tags)
    _put_gone(pointer, "")
    _put_more(pointer, None)
    if spec is None and object_id > 0 and cls._expects_meta:
        client.await_meta(pointer)
    return pointer


_CLASSES: Final[dict[str, type[Pointer]]] = {}


def _class_of(type_name: str) -> type[Pointer]:
    from duet_p2p.scientist.kinds import class_of

    found = _CLASSES[type_name] = class_of(type_name)
    return found


# A slot's own setter: a name would be looked up each time, and `__setattr__` of a pointer asked.
_SLOTS: Final = vars(Pointer)
_put_client, _put_id, _put_type = (_SLOTS[n].__set__ for n in ("_client", "_id", "_type"))
_put_spec, _put_items, _put_length = (_SLOTS[n].__set__ for n in ("_spec", "_items", "_length"))
_put_tags, _put_gone, _put_more = (_SLOTS[n].__set__ for n in ("_tags", "_gone", "_more"))
put_seq: Final[Callable[[Pointer, int], None]] = _SLOTS["_seq"].__set__
"""Sets the number of the command that makes a pointer's object."""
