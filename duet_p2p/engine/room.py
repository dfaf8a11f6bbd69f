"""How many objects and bytes the store may still take."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import torch

from duet_p2p.engine.lineage import Lineage, reach, storage_of
from duet_p2p.engine.store import Slot
from duet_p2p.errors import QuotaExceeded

__all__ = ["Held", "Room"]


class Held(Iterable[Slot], Protocol):
    """The objects of a store, or of a plan's run."""

    def __len__(self) -> int: ...


class Room:
    """The session's quotas of what is stored; bytes are counted anew only where they seem short.

    Attributes:
        objects: how many may be there.
        nbytes: how many bytes their own storages may have.
    """

    def __init__(self, lineage: Lineage, *, objects: int, nbytes: int) -> None:
        self._lineage = lineage
        self.objects = objects
        self.nbytes = nbytes
        self._counted = self._since = 0  # bytes at the last count, and since then

    def admit_objects(self, held: Held, count: int) -> None:
        """Raises `QuotaExceeded` where so many more objects are too many."""
        if len(held) + count > self.objects:
            raise QuotaExceeded(f"more than {self.objects} objects (objects)")

    def admit_bytes(self, held: Held, nbytes: int) -> None:
        """Count what is about to be stored.

        Raises:
            QuotaExceeded: the session's bytes are used up.
        """
        if self._counted + self._since + nbytes > self.nbytes:
            self._counted, self._since = self._stored(held), 0
            if self._counted + nbytes > self.nbytes:
                raise QuotaExceeded(f"more than {self.nbytes} bytes in the store (stored_bytes)")
        self._since += nbytes

    def add(self, nbytes: int) -> None:
        """So much is about to be stored that was not asked about before."""
        self._since += nbytes

    def take(self, nbytes: int) -> bool:
        """`admit_bytes` where it takes no count; whether there is room."""
        if self._counted + self._since + nbytes > self.nbytes:
            return False
        self._since += nbytes
        return True

    def give_back(self, nbytes: int) -> None:
        """So many of the bytes that were taken last are not stored after all."""
        self._since -= nbytes

    def _stored(self, held: Held) -> int:
        storages = {}
        for slot in held:
            for part in reach(slot.value, grads=True):
                if isinstance(part, torch.Tensor):
                    entry = self._lineage.entry(part)
                    if entry is None or not entry.is_shared:
                        storage = storage_of(part)
                        hidden = entry.nbytes if entry is not None and entry.hidden else 0
                        storages[storage._cdata] = hidden or storage.nbytes()
        return sum(storages.values())
