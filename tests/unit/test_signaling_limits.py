"""Who may open a socket: each limit at the limit and one past it; and the table of limits."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from signaling_server.app import SignalingConfig
from signaling_server.limits import CONNECT_BURST, FIELDS, Limits, env_name, option_name
from signaling_server.sources import parse_networks
from tests.unit.signaling_kit import owner, running, scientist

PROXY = SignalingConfig((), trusted_proxies=parse_networks(["127.0.0.0/8"]))


def test_defaults_are_those_of_the_specification() -> None:
    assert dataclasses.asdict(Limits()) == {
        "max_frame": 65_536,
        "max_body": 49_152,
        "heartbeat": 25,
        "register_timeout": 10,
        "max_sockets": 10_000,
        "max_unregistered": 256,
        "sockets_per_source": 64,
        "connect_rate": 60,
        "max_sessions": 5_000,
        "links_per_session": 16,
        "ttl_idle": 24 * 3600,
        "ttl_unpaired": 2 * 3600,
        "queue_messages": 16,
        "queue_seconds": 60,
        "queue_total": 64 * 2**20,
        "message_rate": 60,
        "message_burst": 20,
        "join_rate": 30,
        "lookup_failures": 10,
        "block_max": 3600,
        "ice_rate": 6,
        "out_queue_messages": 64,
        "out_queue_bytes": 2**20,
        "send_timeout": 10,
        "limiter_entries": 100_000,
        "grace": 20,
        "drain_jitter": 5,
    }
    assert CONNECT_BURST == 64


@pytest.mark.parametrize("name", list(FIELDS))
def test_no_limit_may_be_zero_or_less(name: str) -> None:
    wrong: Any
    for wrong in (0, -1, float("nan")):
        with pytest.raises(ValueError, match=option_name(name)):
            dataclasses.replace(Limits(), **{name: wrong})


def test_names_of_options_and_variables() -> None:
    assert option_name("max_frame") == "--max-frame"
    assert env_name("max_frame") == "DUET_SIG_MAX_FRAME"


async def test_sockets_per_source() -> None:
    async with running(Limits(sockets_per_source=2)) as run:
        first = await run.connect()
        await run.connect()
        refused = await run.refusal()
        assert refused.status == 429
        assert refused.headers is not None and int(refused.headers["Retry-After"]) >= 1
        await first.ws.close()
        await run.connect()


async def test_new_sockets_per_minute_and_source() -> None:
    async with running(Limits(connect_rate=6.0)) as run:  # slow to grow: a busy machine counts too
        for _ in range(CONNECT_BURST):
            raw = await run.connect()
            await raw.ws.close()
        refused = await run.refusal()
        assert refused.status == 429
        assert refused.headers is not None and 1 <= int(refused.headers["Retry-After"]) <= 10


async def test_all_sockets() -> None:
    async with running(Limits(max_sockets=2)) as run:
        await run.member(owner())
        await run.member(scientist())
        assert (await run.refusal()).status == 503


async def test_sockets_that_have_not_registered() -> None:
    async with running(Limits(max_unregistered=2)) as run:
        for number in range(1, 5):
            await run.member(owner(number))  # registered ones do not count
        first = await run.connect()
        await run.connect()
        refused = await run.refusal()
        assert refused.status == 503
        assert refused.headers is not None and "Retry-After" in refused.headers
        await first.register(owner(5))
        second = await run.connect()
        assert (await run.refusal()).status == 503
        await second.ws.close()
        await run.connect()


async def test_sessions() -> None:
    async with running(Limits(max_sessions=2)) as run:
        await run.member(owner(1))
        await run.member(owner(2))
        raw = await run.connect()
        await raw.send(**raw.proof(owner(3)))
        assert (await raw.next())["code"] == "overload"
        assert await raw.close_code() == 1013
        await run.member(owner(1))  # a known one may always come back


async def test_behind_a_proxy_each_client_is_its_own_source() -> None:
    async with running(Limits(sockets_per_source=1), PROXY) as run:
        for address in ("192.0.2.1", "192.0.2.2", "[2001:db8::1]:99"):
            await run.connect(headers={"X-Forwarded-For": f"203.0.113.9, {address}"})
        for address in ("192.0.2.1", "2001:db8::2"):
            refused = await run.refusal(headers={"X-Forwarded-For": f"10.0.0.1, {address}"})
            assert refused.status == 429


async def test_without_a_trusted_proxy_forged_hops_change_nothing() -> None:
    async with running(Limits(sockets_per_source=1)) as run:
        await run.connect(headers={"X-Forwarded-For": "192.0.2.1"})
        for header in ("X-Forwarded-For", "Forwarded"):
            assert (await run.refusal(headers={header: "for=192.0.2.2"})).status == 429
