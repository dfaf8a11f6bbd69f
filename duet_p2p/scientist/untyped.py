"""A pointer to what may be anything: a number, a tensor or an object.

Either the owner's side has not told yet what it is, or it never will, since private values, or a
private key of an owner's dict, decided it.
"""

from __future__ import annotations

from typing import Any, Final

from duet_p2p.errors import NotAllowed
from duet_p2p.scientist.pointer import NEEDS_VALUE, Pointer

__all__ = ["AnyPointer"]

_UNTOLD: Final = (
    "what it is was not told. torch's functions take it, and torch.clone(ptr) is a tensor that has "
    "its methods. If it lay in an owner's dict, whose keys are private, the owner can send that "
    "with keys='public'."
)


class AnyPointer(Pointer):
    """A remote object of a type that is not known here yet; indexing waits until it is."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in NEEDS_VALUE or self._type != "python.Any":
            return super().__getattr__(name)
        if self._extra().hidden:
            raise NotAllowed(f"{self!r} has no {name!r} here: {_UNTOLD}")
        self._await_facts()
        return getattr(self, name)

    def _concrete(self) -> Any:
        self._await_facts()
        if type(self).__getitem__ is AnyPointer.__getitem__:
            raise TypeError(
                f"{self!r} cannot be indexed: {_UNTOLD} An item of an owner's data "
                f"set is: next(iter(duet.torch.utils.data.DataLoader(data, batch_size=1)))"
            )
        return self

    def __getitem__(self, key: Any) -> Any:
        return self._concrete()[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._concrete()[key] = value

    def __delitem__(self, key: Any) -> None:
        del self._concrete()[key]

    def __iter__(self) -> Any:
        return iter(self._concrete())

    def __len__(self) -> int:
        return len(self._concrete())
