"""Memory that a step frees is there for the next one."""

import asyncio
import platform
from pathlib import Path

import pytest

from duet_p2p.engine import messages as m
from duet_p2p.engine.host import ProcessHost
from duet_p2p.wire.messages import Del, Op

MIB = 1024 * 1024 // 4  # in floats
SIZES = (24, 12, 6, 3)
"""Of the tensors of a step, in MiB: whether glibc gives all of a step back hangs on it."""
STEP_MIB = 144
ROUNDS = 4
STEP_PAGES = STEP_MIB * 256


def step(first: int, size: int) -> m.Run:
    """Tensors of this size, `STEP_MIB` together, all freed at its end."""
    ids = tuple(range(first, first + STEP_MIB // size))
    commands = [(id, Op("torch.ones", (id,), (size * MIB,), {}, "g")) for id in ids]
    return m.Run((*commands, (ids[-1] + 1, Del(ids))))


def faults(pid: int) -> int:
    """Pages that the kernel gave it without a disk, so far (`proc(5)`, field 10 of stat)."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[7])


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told to keep it")
async def test_what_a_step_freed_is_not_fetched_from_the_kernel_again() -> None:
    host = ProcessHost()
    events: asyncio.Queue[m.Event] = asyncio.Queue()
    host.on_event = events.put_nowait
    try:
        engine = await host.start(m.Configure({}, {}, 1))
        number, fetched = 1, []
        for _ in range(1 + ROUNDS):
            before = faults(engine.pid)
            for size in SIZES:
                run = step(number, size)
                number = run.commands[-1][0]
                host.send(run)
                async with asyncio.timeout(30):
                    while await events.get() != m.SettledUpTo(number):
                        pass
                number += 1
            fetched.append(faults(engine.pid) - before)
        # Gaps between what lives longer make the heap grow for some rounds, until it is large.
        # Where all is given back, every round fetches what its four steps hold.
        assert min(fetched) < STEP_PAGES / 2
    finally:
        await host.stop()
