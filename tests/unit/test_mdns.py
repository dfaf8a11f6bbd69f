import time
from dataclasses import replace

from aioice import mdns

from duet_p2p import limits
from duet_p2p.protocol.description import Candidate, Description
from duet_p2p.session.mdns import resolve_names

HOST = Candidate("1", 1, "192.0.2.1", 1000, "host")
PLAIN = Description("abcd", "p" * 22, bytes(32), "active", (HOST,))


def name(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012x}.local"


def named(*numbers: int) -> Description:
    names = tuple(replace(HOST, address=name(number)) for number in numbers)
    return replace(PLAIN, candidates=(*names, HOST))


async def test_addresses_pass_without_a_look_up():
    assert await resolve_names(PLAIN, loopback=False) is not None
    assert (await resolve_names(PLAIN, loopback=False)) == PLAIN


async def test_names_that_nobody_answers_are_left_out_in_time():
    began = time.monotonic()
    assert await resolve_names(named(1, 2), loopback=False) == PLAIN
    assert time.monotonic() - began < limits.MDNS_SECONDS + 5


async def test_answers_pass_the_address_rules(monkeypatch):
    asked = []

    class Answers:
        """What the local network says."""

        async def resolve(self, hostname, timeout):
            asked.append(hostname)
            return {name(1): "192.0.2.7", name(2): "169.254.1.1", name(3): "127.0.0.1"}.get(
                hostname
            )

        async def close(self):
            asked.append("closed")

    async def create():
        return Answers()

    monkeypatch.setattr(mdns, "create_mdns_protocol", create)
    found = await resolve_names(named(1, 2, 3), loopback=False)
    assert [c.address for c in found.candidates] == ["192.0.2.7", "192.0.2.1"]
    found = await resolve_names(named(1, 2, 3), loopback=True)
    assert [c.address for c in found.candidates] == ["192.0.2.7", "127.0.0.1", "192.0.2.1"]
    assert asked[-1] == "closed"
    asked.clear()
    await resolve_names(named(*range(limits.MDNS_NAMES + 1)), loopback=False)
    assert len(asked) == limits.MDNS_NAMES + 1  # and closed


async def test_without_multicast_names_are_left_out(monkeypatch):
    async def create():
        raise OSError

    monkeypatch.setattr(mdns, "create_mdns_protocol", create)
    assert await resolve_names(named(1), loopback=False) == PLAIN
