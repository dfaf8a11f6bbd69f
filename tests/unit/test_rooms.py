"""Sessions, links and presence, without sockets and with a clock of our own."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from duet_p2p.identity.keys import Key
from signaling_server import frames
from signaling_server.frames import Close
from signaling_server.ids import b64encode, register_input
from signaling_server.turn import IceConfig
from tests.unit.rooms_kit import CLIENT, ORIGIN, OWNER, World, proof
from tests.unit.signaling_kit import owner, scientist


async def test_a_right_proof_registers_and_epochs_count() -> None:
    world = World()
    for epoch in (1, 2, 3):
        _, out = await world.register(OWNER)
        assert out.take() == [
            {"t": "registered", "epoch": epoch, "ttl": 7200.0, "ice": [], "ice_expires": None}
        ]


@pytest.mark.parametrize(
    "change",
    [
        {"id": CLIENT.id},
        {"id": owner(2).id},
        {"role": "scientist"},
        {"pub": b64encode(owner(2).pub)},
        {"pub": b64encode(b"\x02" + OWNER.pub[1:])},
        {"pub": b64encode(b"\x01" + bytes(32))},  # small order
        {"pub": "??"},
        {"sig": b64encode(bytes(64))},
        {"sig": b64encode(OWNER.sign(b"something else"))},
        {"sig": b64encode(OWNER.sign(register_input(ORIGIN, bytes(32), OWNER.id, "owner")))},
        {
            "sig": b64encode(
                OWNER.sign(
                    register_input("https://evil.example", bytes([7]) * 32, OWNER.id, "owner")
                )
            )
        },
        {"sig": ""},
    ],
)
async def test_a_wrong_proof_closes_and_claims_nothing(change: dict[str, Any]) -> None:
    world = World()
    honest, out_honest = await world.register(OWNER)
    member, out = world.enter()
    await world.say(member, **proof(OWNER, **change))
    assert out.closed is not None
    assert out.closed[0] == Close.PROOF
    assert not member.registered
    assert out_honest.closed is None
    assert world.rooms.everyone() == [honest]


async def test_the_newest_valid_registration_wins() -> None:
    world = World()
    old, out_old = await world.register(OWNER)
    _new, out_new = await world.register(OWNER)
    assert out_old.closed == (Close.REPLACED, "replaced")
    await world.rooms.leave(old)  # its socket ends after the new one is in
    client, _ = await world.register(CLIENT)
    await world.say(client, t="join", to=OWNER.id, mid="j", body="aa")
    assert out_new.frames[-1] == {"t": "join", "from": CLIENT.id, "body": "aa"}


async def test_before_registration_nothing_else_is_done_and_it_is_done_once() -> None:
    world = World()
    member, out = world.enter()
    for frame in (
        {"t": "join", "to": OWNER.id, "mid": "m", "body": ""},
        {"t": "signal", "to": CLIENT.id, "mid": "m", "body": ""},
    ):
        await world.say(member, **frame)
        assert [(f["code"], f["mid"]) for f in out.take()] == [("not_registered", "m")]
    for kind in ("ice", "bye"):
        await world.say(member, t=kind)
        assert [f["code"] for f in out.take()] == ["not_registered"]
    await world.say(member, **proof(OWNER))
    out.take()
    await world.say(member, **proof(OWNER))
    assert [f["code"] for f in out.take()] == ["bad_frame"]
    assert out.closed is None


async def test_a_stranger_cannot_tell_unknown_offline_and_online_sessions_apart() -> None:
    world = World()
    await world.register(OWNER)
    offline, _ = await world.register(owner(2))
    await world.rooms.leave(offline)
    answers = []
    for session in (OWNER, owner(2), owner(3)):
        client, out = await world.register(scientist(9))
        out.take()
        await world.say(client, t="join", to=session.id, mid="j", body="aa")
        await world.say(client, t="signal", to=session.id, mid="s", body="aa")
        answers.append(out.take())
    assert answers[0] == answers[1] == answers[2]
    assert [f.get("status", f.get("code")) for f in answers[0]] == ["accepted", "not_linked"]


async def test_the_acknowledgement_of_a_join_comes_before_the_lookup() -> None:
    world = World()
    client, out = await world.register(CLIENT)
    out.take()
    seen: list[list[dict[str, Any]]] = []
    real = world.backend.send

    async def send(message: Any) -> Any:
        seen.append(list(out.frames))
        return await real(message)

    world.backend.send = send  # type: ignore[method-assign]
    await world.say(client, t="join", to=OWNER.id, mid="j", body="aa")
    assert seen == [[{"t": "ack", "mid": "j", "status": "accepted"}]]


async def test_a_join_waits_for_a_session_that_is_offline() -> None:
    world = World()
    session, _ = await world.register(OWNER)
    await world.rooms.leave(session)
    client, _ = await world.register(CLIENT)
    await world.say(client, t="join", to=OWNER.id, mid="j", body="aa")
    await world.say(client, t="join", to=OWNER.id, mid="k", body="aa")  # the same again
    _, out = await world.register(OWNER)
    assert [f["t"] for f in out.take()] == ["registered", "join"]


async def test_a_join_to_an_unknown_session_is_gone() -> None:
    world = World()
    client, _ = await world.register(CLIENT)
    await world.say(client, t="join", to=OWNER.id, mid="j", body="aa")
    _, out = await world.register(OWNER)
    assert [f["t"] for f in out.take()] == ["registered"]


async def test_a_link_needs_a_join_that_the_session_was_sent() -> None:
    world = World()
    session, out = await world.register(OWNER)
    client, _ = await world.register(CLIENT)
    out.take()
    await world.say(session, t="signal", to=CLIENT.id, mid="a", body="aa")
    assert [f["code"] for f in out.take()] == ["not_linked"]
    await world.say(client, t="join", to=OWNER.id, mid="j", body="aa")
    out.take()
    await world.say(session, t="signal", to=CLIENT.id, mid="a", body="aa")
    assert [f["status"] for f in out.take()] == ["delivered"]


async def test_a_client_cannot_signal_before_the_session_answered() -> None:
    world = World()
    await world.register(OWNER)
    client, out = await world.register(CLIENT)
    await world.say(client, t="join", to=OWNER.id, mid="j", body="aa")
    out.take()
    await world.say(client, t="signal", to=OWNER.id, mid="s", body="aa")
    assert [f["code"] for f in out.take()] == ["not_linked"]


async def test_roles_and_directions_are_kept() -> None:
    world = World()
    session, out = await world.register(OWNER)
    client, out_s = await world.register(CLIENT)
    out.take(), out_s.take()
    await world.say(session, t="join", to=owner(2).id, mid="m", body="aa")
    await world.say(session, t="signal", to=owner(2).id, mid="m", body="aa")
    await world.say(client, t="join", to=scientist(2).id, mid="m", body="aa")
    await world.say(client, t="signal", to=scientist(2).id, mid="m", body="aa")
    assert [f["code"] for f in out.take()] == ["bad_frame", "not_linked"]
    assert [f["code"] for f in out_s.take()] == ["bad_frame", "not_linked"]


async def test_on_a_link_presence_and_status_are_told() -> None:
    world = World()
    session, _out_o, client, out_s = await world.pair()
    await world.rooms.leave(session)
    assert out_s.take() == [{"t": "peer", "id": OWNER.id, "event": "offline"}]
    await world.say(client, t="signal", to=OWNER.id, mid="m", body="aa")
    await world.say(client, t="join", to=OWNER.id, mid="n", body="bb")
    assert [f["status"] for f in out_s.take()] == ["queued", "queued"]
    session, out_o = await world.register(OWNER)
    assert out_s.take() == [{"t": "peer", "id": OWNER.id, "event": "online"}]
    first, *rest = out_o.take()
    assert first["ttl"] == 86_400.0  # linked IDs live longer
    assert [(f["t"], f["body"]) for f in rest] == [("signal", "aa"), ("join", "bb")]
    await world.rooms.leave(client)
    assert out_o.take() == [{"t": "peer", "id": CLIENT.id, "event": "offline"}]


async def test_strangers_hear_no_presence() -> None:
    world = World()
    session, _ = await world.register(OWNER)
    client, out = await world.register(CLIENT)
    await world.say(client, t="join", to=OWNER.id, mid="j", body="aa")
    out.take()
    await world.rooms.leave(session)
    await world.register(OWNER)
    assert out.take() == []


async def test_bye_forgets_the_id_its_queue_and_its_links() -> None:
    world = World()
    _session, _out_o, client, out_s = await world.pair()
    await world.say(_session, t="bye")
    assert _out_o.closed == (Close.BYE, "bye")
    assert out_s.take() == [{"t": "peer", "id": OWNER.id, "event": "offline"}]
    await world.say(client, t="signal", to=OWNER.id, mid="m", body="aa")
    assert [f["status"] for f in out_s.take()] == ["no_peer"]
    _, out_o = await world.register(OWNER)
    assert out_o.take()[0]["epoch"] == 1
    assert out_s.take() == []  # no link, no presence
    await world.say(client, t="signal", to=OWNER.id, mid="m", body="aa")
    assert [f["status"] for f in out_s.take()] == ["no_peer"]
    await world.say(client, t="join", to=OWNER.id, mid="j", body="aa")
    assert [f["status"] for f in out_s.take()] == ["accepted"]


async def test_credentials_are_those_of_the_vectors_and_six_a_minute() -> None:
    ice = IceConfig(("stun:s.example:3478",), ("turn:t.example:3478",), "vector-secret", 3600)
    world = World(ice=ice)
    key = Key.from_seed(bytes([2]) * 32, "scientist")
    client, out = await world.register(key)
    registered = out.take()[0]
    assert registered["ice_expires"] == 1_767_225_600
    assert registered["ice"] == [
        {"urls": ["stun:s.example:3478"]},
        {
            "urls": ["turn:t.example:3478"],
            "username": "1767225600:C96Q4X2CQYCHJEXPRA2FAFSQAD4CRZY2",
            "credential": "Kw0W69AX4apQyJkTS3UT4QNhUaE=",
        },
    ]
    for _ in range(7):
        await world.say(client, t="ice")
    assert [f.get("code", f["t"]) for f in out.take()] == ["ice"] * 6 + ["rate"]


async def test_violations_close_and_nothing_after_them_is_read() -> None:
    world = World()
    session, out = await world.register(OWNER)
    out.take()
    await world.rooms.handle(session, '{"t":"bye","t":"bye"}')
    assert out.closed == (Close.PROTOCOL, "a key occurs twice")
    await world.say(session, t="bye")
    assert await world.backend.holds(OWNER.id, session.conn)


async def test_a_slow_socket_does_not_lose_a_message_of_a_link() -> None:
    world = World()
    _, out_o, client, out_s = await world.pair()
    out_o.is_slow = True
    await world.say(client, t="signal", to=OWNER.id, mid="m", body="zz")
    assert [f["status"] for f in out_s.take()] == ["queued"]
    _, out_o = await world.register(OWNER)
    assert out_o.take()[-1]["body"] == "zz"


def test_every_close_code_and_error_is_of_the_table() -> None:
    codes = {value for name, value in vars(Close).items() if name.isupper()}
    assert codes == {1000, 1012, 1013, 4000, 4001, 4002, 4003, 4004, 4005}
    for code in msgspec.json.schema(frames.Error)["$defs"]["Error"]["properties"]["code"]["enum"]:
        assert frames.Error(code, "text").code == code
