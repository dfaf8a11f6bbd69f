"""Room in a server that is for one user, when strangers link IDs among themselves there."""

from __future__ import annotations

from typing import Any

from signaling_server.backend import Message
from signaling_server.frames import Close
from tests.unit.rooms_kit import Recorder, World, proof
from tests.unit.signaling_kit import owner, scientist

BODY = "a" * 1_000


class Shared(World):
    """A server for the user whose sockets come from `own`."""

    def enter(self, source: str = "192.0.2.1") -> tuple[Any, Recorder]:
        member, recorder = super().enter(source)
        member.is_own = source == "own"
        return member, recorder

    async def pair_of_strangers(self, number: int, *, stays: bool = False) -> tuple[Any, ...]:
        """A session and a client that are linked, and offline unless they stay."""
        made = await self.pair(owner(number), scientist(number))
        if not stays:
            await self.rooms.leave(made[0])
            await self.rooms.leave(made[2])
        return made

    async def refused(self, key: Any, source: str = "192.0.2.1") -> bool:
        member, out = self.enter(source)
        await self.say(member, **proof(key))
        assert member.registered or out.closed == (Close.OVERLOAD, "overload")
        return not member.registered


async def test_strangers_that_are_linked_and_away_make_room_for_everybody() -> None:
    world = Shared(max_sessions=4, max_sockets=4)
    for number in range(1, 5):
        await world.pair_of_strangers(number)
    assert not await world.refused(owner(100), "own")
    for number in (101, 102, 103, 104):  # a partner comes from elsewhere, like a stranger
        member, _ = await world.register(scientist(number))
        await world.rooms.leave(member)


async def test_strangers_that_stay_have_half_of_the_sessions() -> None:
    world = Shared(max_sessions=4, max_sockets=100)
    for number in (1, 2):
        await world.pair_of_strangers(number, stays=True)
    assert await world.refused(owner(3))
    for number in (100, 101):
        assert not await world.refused(owner(number), "own")
    assert await world.refused(owner(102), "own")  # all of them are the user's or stay


async def test_who_is_linked_with_the_user_keeps_its_place() -> None:
    world = Shared(max_sessions=4, max_sockets=4)
    session, _ = await world.register(owner(100), "own")
    client, out = await world.register(scientist(100))
    await world.say(client, t="join", to=session.id, mid="j", body="aa")
    await world.say(session, t="signal", to=client.id, mid="o", body="bb")
    await world.rooms.leave(client)
    for number in range(1, 20):
        await world.pair_of_strangers(number)
    await world.say(session, t="signal", to=client.id, mid="p", body="cc")
    back, out = await world.register(scientist(100))
    assert [f["body"] for f in out.frames if f["t"] == "signal"] == ["cc"]
    assert back.linked


async def test_the_users_own_that_are_away_go_last() -> None:
    world = Shared(max_sessions=4, max_sockets=4)
    client, _ = await world.register(scientist(100), "own")
    await world.rooms.leave(client)
    for number in range(1, 9):
        await world.pair_of_strangers(number)
    assert await world.backend.queue(_to(client.id))  # it is known
    for number in range(1, 5):
        await world.register(scientist(200 + number))
    assert not await world.backend.queue(_to(client.id))


async def test_what_waits_for_strangers_leaves_room_for_what_waits_for_the_user() -> None:
    world = Shared(queue_total=10 * (len(BODY) + 256))
    strangers = [scientist(number).id for number in range(1, 11)]
    for number in range(1, 11):
        await world.pair_of_strangers(number)
    session, _ = await world.register(owner(100), "own")
    await world.rooms.leave(session)
    kept = [await world.backend.queue(_to(id, BODY)) for id in strangers]
    assert kept == [True] * 5 + [False] * 5
    assert await world.backend.queue(_to(session.id, BODY))
    for id in strangers:
        await world.backend.take(id)
    assert await world.backend.queue(_to(strangers[-1], BODY))  # counted back


def _to(id: str, body: str = "dd") -> Any:
    return Message("signal", owner(999).id, id, body)
