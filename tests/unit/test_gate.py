"""Commands a second: what is faster waits, in order, and nothing is lost."""

import asyncio

import pytest

from duet_p2p.owner.gate import Gate
from duet_p2p.wire.messages import Withdraw


@pytest.fixture
def got():
    return []


def gate(got, per_second):
    loop = asyncio.get_running_loop()
    return Gate(lambda seq, message: got.append((seq, message.call)), per_second, loop)


async def test_as_many_as_allowed_pass_at_once_and_one_more_waits(got):
    made = gate(got, 50)
    for seq in range(1, 52):
        made.message(seq, Withdraw(seq))
    assert [seq for seq, _ in got] == list(range(1, 51))
    assert made.held == 1
    async with asyncio.timeout(10):
        while made.held:
            await asyncio.sleep(0.01)
    assert [seq for seq, _ in got] == list(range(1, 52))


async def test_what_waits_keeps_its_order_and_its_pace(got):
    made = gate(got, 100)
    start = asyncio.get_running_loop().time()
    for seq in range(1, 141):
        made.message(seq, Withdraw(seq))
        if seq % 20 == 0:
            await asyncio.sleep(0)
    async with asyncio.timeout(10):
        while len(got) < 140:
            await asyncio.sleep(0.01)
    assert asyncio.get_running_loop().time() - start >= 0.35
    assert [seq for seq, _ in got] == list(range(1, 141))


async def test_open_lets_all_pass_and_close_forgets(got):
    made = gate(got, 1)
    for seq in range(1, 5):
        made.message(seq, Withdraw(seq))
    made.open()
    assert [seq for seq, _ in got] == [1, 2, 3, 4]
    made.message(5, Withdraw(5))
    made.close()
    await asyncio.sleep(0.01)
    assert made.held == 0
    assert len(got) == 4


async def test_none_a_second_is_none(got):
    made = gate(got, 0)
    made.message(1, Withdraw(1))
    await asyncio.sleep(0.01)
    assert got == []


async def test_a_shut_gate_keeps_all_and_begins_in_order_at_its_pace(got):
    made = gate(got, 2)
    made.shut()
    for seq in range(1, 4):
        made.message(seq, Withdraw(seq))
    await asyncio.sleep(0.01)
    assert got == [] and made.held == 3
    made.begin()
    assert [seq for seq, _ in got] == [1, 2]
    made.message(4, Withdraw(4))
    async with asyncio.timeout(10):
        while made.held:
            await asyncio.sleep(0.01)
    assert [seq for seq, _ in got] == [1, 2, 3, 4]
