"""Queues, links, rates and lifetimes: each limit at the limit and one past it."""

from __future__ import annotations

from signaling_server.frames import Close
from signaling_server.limits import JOINERS, REFUSALS
from tests.unit.rooms_kit import CLIENT, OWNER, World, proof
from tests.unit.signaling_kit import owner, scientist


async def test_queued_messages_are_bounded_and_grow_too_old() -> None:
    world = World()
    session, _ = await world.register(OWNER)
    await world.rooms.leave(session)
    client, out = await world.register(CLIENT)
    for number in range(20):
        world.now += 1
        await world.say(client, t="join", to=OWNER.id, mid="j", body=f"a{number:02}")
    assert {f["status"] for f in out.take() if f["t"] == "ack"} == {"accepted"}
    world.now += 60 - 16  # the first four are a minute old, the last four found it full
    session, out = await world.register(OWNER)
    assert [f["body"] for f in out.take()[1:]] == [f"a{n:02}" for n in range(4, 16)]
    assert world.backend.waiting() == 0


async def test_the_queues_of_all_together_are_bounded() -> None:
    world = World(queue_total=3 * (256 + 100))
    session, _, client, out_s = await world.pair()
    await world.rooms.leave(session)
    out_s.take()
    for number in range(4):
        await world.say(client, t="signal", to=OWNER.id, mid="m", body=f"{number}".ljust(100, "a"))
    assert [f["status"] for f in out_s.take()] == ["queued"] * 3 + ["full"]
    world.now += 61
    await world.rooms.sweep()
    assert world.backend.waiting() == 0
    await world.say(client, t="signal", to=OWNER.id, mid="m", body="a" * 100)
    assert [f["status"] for f in out_s.take()] == ["queued"]


async def test_a_session_links_16_clients_and_not_17() -> None:
    world = World()
    session, out = await world.register(OWNER)
    clients = []
    for number in range(1, 18):
        client, _ = await world.register(scientist(number))
        clients.append(client)
        await world.say(client, t="join", to=OWNER.id, mid="j", body="aa")
        out.take()
        await world.say(session, t="signal", to=scientist(number).id, mid="o", body="aa")
    assert [f["code"] for f in out.take()] == ["overload"]
    await world.say(clients[0], t="bye")  # its place is free again
    out.take()
    await world.say(session, t="signal", to=scientist(17).id, mid="o", body="aa")
    assert [f["status"] for f in out.take()] == ["delivered"]


async def test_a_session_remembers_a_bounded_number_of_joins() -> None:
    world = World(max_sockets=10_000)
    session, out = await world.register(OWNER)
    for number in range(1, JOINERS + 2):
        client, _ = await world.register(scientist(number))
        await world.say(client, t="join", to=OWNER.id, mid="j", body="aa")
        await world.say(client, t="bye")
    await world.register(scientist(1))
    await world.register(scientist(JOINERS + 1))
    out.take()
    await world.say(session, t="signal", to=scientist(1).id, mid="o", body="aa")
    await world.say(session, t="signal", to=scientist(JOINERS + 1).id, mid="o", body="aa")
    assert [f.get("code", f.get("status")) for f in out.take()] == ["not_linked", "delivered"]


async def test_frames_past_the_burst_are_refused_and_20_refusals_close() -> None:
    world = World(message_burst=20, message_rate=60)
    client, out = await world.register(CLIENT)  # takes the first of 20
    out.take()
    for number in range(19):
        await world.say(client, t="signal", to=OWNER.id, mid=f"m{number}", body="aa")
    assert {f["code"] for f in out.take()} == {"not_linked"}
    await world.say(client, t="signal", to=OWNER.id, mid="late", body="aa")
    (refused,) = out.take()
    assert (refused["code"], refused["mid"]) == ("rate", "late")
    world.now += refused["retry_after"]
    await world.say(client, t="signal", to=OWNER.id, mid="m", body="aa")
    assert [f["code"] for f in out.take()] == ["not_linked"]
    for _ in range(REFUSALS - 2):
        await world.say(client, t="signal", to=OWNER.id, mid="m", body="aa")
    assert out.closed is None
    await world.say(client, t="nonsense")  # refused frames of any kind cost a token
    assert out.closed == (Close.RATE, "retry_after=60")


async def test_old_refusals_are_forgotten() -> None:
    world = World(message_burst=1, message_rate=1)
    client, out = await world.register(CLIENT)
    for _ in range(3 * REFUSALS):
        world.now += 4
        await world.say(client, t="ice")
    assert out.closed is None


async def test_joins_are_limited_per_source_and_per_session_but_not_on_links() -> None:
    world = World(join_rate=3)
    _session, _out_o, client, out_s = await world.pair()  # one join of this source
    for session in (owner(2), owner(3)):
        await world.register(session, "192.0.2.9")
        await world.say(client, t="join", to=session.id, mid="j", body="aa")
    await world.say(client, t="join", to=owner(2).id, mid="j", body="aa")
    assert [f.get("status", f.get("code")) for f in out_s.take()] == ["accepted"] * 2 + ["rate"]
    await world.say(client, t="join", to=OWNER.id, mid="j", body="aa")
    assert out_s.take()[-1]["status"] == "delivered"
    answers = []
    for number in range(2, 6):  # one client per source, all to the same session
        other, out = await world.register(scientist(number), f"192.0.2.{number}")
        out.take()
        await world.say(other, t="join", to=OWNER.id, mid="j", body="aa")
        answers += [f.get("status", f.get("code")) for f in out.take()]
    assert answers == ["accepted", "accepted", "rate", "rate"]


async def test_joins_to_unknown_sessions_are_limited_like_those_to_known_ones() -> None:
    world = World(join_rate=2)
    answers: dict[str, list[str]] = {}
    await world.register(OWNER)
    for session in (OWNER, owner(2)):
        answers[session.id] = []
        for number in range(2, 6):
            client, out = await world.register(scientist(number), f"198.51.{number}.{len(answers)}")
            out.take()
            await world.say(client, t="join", to=session.id, mid="j", body="aa")
            answers[session.id] += [f.get("status") or f["code"] for f in out.take()]
    assert list(answers.values()) == [["accepted", "accepted", "rate", "rate"]] * 2


async def test_ten_unknown_sessions_are_looked_up_and_the_eleventh_join_is_refused() -> None:
    world = World()
    await world.register(OWNER)
    client, out = await world.register(CLIENT)
    out.take()
    for number in range(100, 110):
        await world.say(client, t="join", to=owner(number).id, mid="j", body="aa")
    assert {f["status"] for f in out.take()} == {"accepted"}
    await world.say(client, t="join", to=OWNER.id, mid="j", body="aa")
    (refused,) = out.take()
    assert (refused["code"], refused["retry_after"]) == ("rate", 60.0)
    world.now += 60
    await world.say(client, t="join", to=OWNER.id, mid="j", body="aa")
    assert [f["status"] for f in out.take()] == ["accepted"]


async def test_idle_ids_expire_sooner_without_links() -> None:
    world = World()
    _, _, client, out_s = await world.pair()
    lonely, out = await world.register(owner(2))
    world.now += 7199
    await world.rooms.sweep()
    assert out.code() is None
    world.now += 1
    await world.rooms.sweep()
    assert out.code() == Close.EXPIRED
    assert out_s.code() is None
    await world.rooms.leave(lonely)
    world.now += 86_400 - 7200
    await world.rooms.sweep()
    assert out_s.closed == (Close.EXPIRED, "expired")
    await world.rooms.leave(client)
    assert world.backend.sessions() == 0


async def test_activity_keeps_an_id() -> None:
    world = World()
    session, out = await world.register(OWNER)
    for _ in range(5):
        world.now += 7000
        await world.say(session, t="ice")
        await world.rooms.sweep()
    assert out.closed is None


async def test_an_offline_id_is_forgotten_after_its_time() -> None:
    world = World()
    session, _ = await world.register(OWNER)
    await world.rooms.leave(session)
    world.now += 7199
    await world.rooms.sweep()
    assert world.backend.sessions() == 1
    world.now += 2
    await world.rooms.sweep()
    assert world.backend.sessions() == 0


async def test_sessions_are_bounded_and_the_longest_offline_makes_room() -> None:
    world = World(max_sessions=2)
    first, _ = await world.register(owner(1))
    await world.register(owner(2))
    member, out = world.enter()
    await world.say(member, **proof(owner(3)))
    assert [f["code"] for f in out.take()] == ["overload"]
    assert out.closed == (Close.OVERLOAD, "overload")
    assert not member.registered
    await world.rooms.leave(first)
    await world.register(owner(3))
    assert world.backend.sessions() == 2


async def test_a_linked_session_makes_no_room() -> None:
    world = World(max_sessions=1)
    session, _, _, _ = await world.pair()
    await world.rooms.leave(session)
    member, out = world.enter()
    await world.say(member, **proof(owner(3)))
    assert out.closed == (Close.OVERLOAD, "overload")


async def test_ten_thousand_sessions_one_after_another_leave_nothing() -> None:
    world = World(max_sessions=50)
    for number in range(300):
        session, _ = await world.register(owner(number + 1))
        await world.rooms.leave(session)
    assert world.backend.sessions() == 50
    world.now += 7201
    await world.rooms.sweep()
    assert world.backend.sessions() == 0
    assert world.rooms.everyone() == []
