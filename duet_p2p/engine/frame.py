"""The objects of one run of a plan: what it was given, what it captured, and its own results.

A store of its own over the session's: the numbers in it are the plan's, so no command of a plan can
name an object that it was not given. What it holds counts against the session's quotas like
everything else, and is gone when the run is over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from duet_p2p.engine.store import Slot, Store

__all__ = ["Frame"]


class Frame(Store):
    """The store that a plan's commands see.

    Args:
        session: the session's own store.
        given: inputs and captures by local number: the session's very slots.
    """

    def __init__(self, session: Store, given: Mapping[int, Slot]) -> None:
        super().__init__()
        self._session = session
        self._slots.update(given)
        self._given = len(given)

    def __len__(self) -> int:
        return len(self._session) + len(self._slots) - self._given

    def __iter__(self) -> Iterator[Slot]:
        yield from self._session
        yield from list(self._slots.values())[self._given :]

    def _add(self, id: int, slot: Slot) -> None:
        slot.uid = self._session.new_uid()
        self._slots[id] = slot

    def hold(self, id: int, slot: Slot) -> None:
        """Keeps a slot that no command names, so that it counts against the quotas."""
        self._slots[id] = slot

    def take(self, id: int) -> Slot | None:
        """Takes a local out: nothing in the plan names it any more."""
        return self._slots.pop(id, None)
