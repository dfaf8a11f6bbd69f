"""The owner's own calls on shared objects: send, read, delete, list.

Each is a command to the engine and, where the scientist may see it, a pushed change of the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from duet_p2p import limits
from duet_p2p.engine import messages as engine
from duet_p2p.engine.departure import in_memory
from duet_p2p.errors import NotAllowed, PointerDeleted, QuotaExceeded, SessionLost
from duet_p2p.objects.plan import Plan
from duet_p2p.objects.words import whole_text
from duet_p2p.owner.catalog import Catalog, Item
from duet_p2p.owner.journal import Journal
from duet_p2p.owner.plans import PlanBook
from duet_p2p.owner.sharing import Prepared
from duet_p2p.wire.codec import encode_message
from duet_p2p.wire.messages import StoreChanged

__all__ = ["Shares"]

_Share = engine.Share | engine.SharePlan


class Shares:
    """Keeps the catalog and the engine's store of owner's objects the same.

    Args:
        to_engine: sends one command, in order.
        tell: pushes a change of the visible store to the scientist.
        on_change: called after each change.
    """

    def __init__(
        self,
        *,
        to_engine: Callable[[engine.Command], None],
        tell: Callable[[StoreChanged], None],
        on_change: Callable[[], None],
        journal: Journal,
    ) -> None:
        self.catalog = Catalog()
        self.plans = PlanBook(self.catalog.described)
        self._to_engine = to_engine
        self._tell = tell
        self._on_change = on_change
        self._journal = journal
        self._sharing: dict[int, tuple[_Share, bool, asyncio.Future[Item]]] = {}
        self._reads: dict[int, asyncio.Future[tuple[Any, Any]]] = {}
        self._next_read = -1  # the scientist's calls are positive

    async def share(
        self,
        prepared: Prepared,
        *,
        tags: tuple[str, ...],
        description: str,
        listed: bool,
        shapes_public: bool,
        keys_public: bool = False,
    ) -> Item:
        """Puts an object of the owner into the engine, and tells the scientist.

        Raises:
            QuotaExceeded: the engine cannot take it.
            DuetError: the session ended meanwhile.
        """
        share = engine.Share(
            id=self.catalog.new_id(),
            value=prepared.value,
            data=prepared.data,
            type=prepared.type,
            tags=tags,
            description=description,
            shapes_public=shapes_public,
            record_axis=prepared.record_axis,
            keys_public=keys_public,
        )
        return await self._share(share, listed=listed)

    async def share_plan(
        self, plan: Plan, *, tags: tuple[str, ...], description: str, listed: bool
    ) -> Item:
        """Puts a plan of the owner into the engine, and tells the scientist; see `share`."""
        parts = plan.messages(1, tags=tags, description=description)
        share = engine.SharePlan(self.catalog.new_id(), [encode_message(part) for part in parts])
        item = await self._share(share, listed=listed)
        self.plans.share(parts, item.id)
        return item

    async def _share(self, share: _Share, *, listed: bool) -> Item:
        future: asyncio.Future[Item] = asyncio.get_running_loop().create_future()
        self._sharing[share.id] = (share, listed, future)
        self._give(share, listed=listed)
        try:
            async with asyncio.timeout(limits.SHARE_SECONDS):
                return await future
        finally:
            self._sharing.pop(share.id, None)

    def _give(self, share: _Share, *, listed: bool) -> None:
        self._to_engine(share)
        if not listed:
            # In one breath with the share: no command of the scientist comes between.
            self._to_engine(engine.Drop((share.id,)))

    async def read(self, object_id: int) -> tuple[Any, Any]:
        """The closed value of an object and its bytes.

        Own objects come from memory, the scientist's from the engine.

        Raises:
            PointerDeleted: there is no such object.
            NotAllowed: it cannot be read.
            SessionLost: the engine ended meanwhile.
        """
        item = self.catalog.find(object_id)
        if item is None:
            raise PointerDeleted("This object was deleted from the session.")
        if isinstance(item.share, engine.SharePlan):
            raise NotAllowed("A plan is read in duet.plans: its listing() and digest.")
        if item.share is not None:
            return item.share.value, item.share.data
        call, self._next_read = self._next_read, self._next_read - 1
        future: asyncio.Future[tuple[Any, Any]] = asyncio.get_running_loop().create_future()
        self._reads[call] = future
        self._to_engine(engine.Read(call, object_id))
        try:
            async with asyncio.timeout(limits.OWNER_CALL_SECONDS):
                return await future
        finally:
            self._reads.pop(call, None)

    def delete(self, object_id: int) -> None:
        """Removes an object of either side, for both."""
        if not self.catalog.remove((object_id,)):
            return
        self.plans.delete((object_id,))
        self._journal.record("drop", {"object": object_id})
        self._to_engine(engine.Drop((object_id,)))
        self._tell(StoreChanged((), (object_id,)))
        self._on_change()

    def set_listed(self, object_id: int, listed: bool) -> None:
        """Whether the scientist may see an object of the owner; unlisted ones leave the engine."""
        item = self.catalog.find(object_id)
        if item is None or item.share is None or item.listed == listed:
            return
        item = self.catalog.set_listed(object_id, listed)
        self._journal.record("share", {"object": object_id, "listed": listed})
        if listed and item.share is not None:
            self._to_engine(item.share)
            self._tell(StoreChanged((item.entry(),), ()))
        else:
            self._to_engine(engine.Drop((object_id,)))
            self._tell(StoreChanged((), (object_id,)))
        self._on_change()

    # from the engine

    def shared(self, event: engine.Shared) -> None:
        """The engine took an object, or says why not."""
        share, listed, future = self._sharing.get(event.id, (None, False, None))
        if share is None or future is None or future.done():
            return
        if event.error:
            future.set_exception(QuotaExceeded(f"This could not be shared: {event.error}"))
            return
        item = self.catalog.shared(share, event, listed=listed)
        self._journal.record(
            "share",
            {
                **{"object": item.id, "type": item.type, "tags": item.tags, "nbytes": item.nbytes},
                **({"records": item.records} if item.records else {}),
                **({} if listed else {"listed": False}),
            },
        )
        if listed:  # before anything that the engine does next is told
            self._tell(StoreChanged((item.entry(),), ()))
        self._on_change()
        future.set_result(item)

    def answer(self, event: engine.Bytes | engine.Refused) -> bool:
        """The answer to a read; False if it is one to something else."""
        future = self._reads.pop(event.call, None)
        if future is None:
            return event.call < 0
        if future.done():
            return True
        if isinstance(event, engine.Refused):
            future.set_exception(NotAllowed(f"This cannot be read: {whole_text(event.reason)}"))
            return True
        try:
            future.set_result((event.value, in_memory(event.data)))
        except (OSError, ValueError, MemoryError) as error:  # no descriptor, or no room for it
            future.set_exception(QuotaExceeded(f"This cannot be read now: {error}"))
        return True

    def engine_died(self) -> None:
        """Objects of the scientist are gone; the owner's wait for the next engine."""
        self.catalog.drop_theirs()
        self.plans.drop_theirs()
        self._fail_reads(SessionLost("The engine was restarted; try again."))

    def share_again(self) -> None:
        """Gives an engine that is up what the owner shared, and what waits to be shared."""
        for item in self.catalog:
            if item.share is not None and item.listed:
                self._to_engine(item.share)
        for share, listed, _ in tuple(self._sharing.values()):
            self._give(share, listed=listed)

    def closed(self, error: Exception) -> None:
        """Nothing will be answered any more."""
        for _, _, future in self._sharing.values():
            if not future.done():
                future.set_exception(error)
        self._fail_reads(error)

    def _fail_reads(self, error: Exception) -> None:
        for future in self._reads.values():
            if not future.done():
                future.set_exception(error)
        self._reads.clear()
