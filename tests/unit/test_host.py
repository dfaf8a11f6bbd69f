"""Both ways to carry an engine: the same answers, and an end in every case."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import resource
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch

from duet_p2p.engine import host as host_module
from duet_p2p.engine import messages as m
from duet_p2p.engine.departure import in_memory
from duet_p2p.engine.host import ProcessHost, ThreadHost
from duet_p2p.errors import DuetError
from duet_p2p.surface.values import from_wire, pack, to_wire
from duet_p2p.wire.messages import Del, Op, Put
from duet_p2p.wire.values import Blob, Ref

CONFIGURE = m.Configure({}, {}, 1)
ROOT = Path(__file__).resolve().parents[2]


class Events:
    def __init__(self, host):
        self.queue = asyncio.Queue()
        host.on_event = self.queue.put_nowait

    async def get(self, kind=None):
        async with asyncio.timeout(30):
            while True:
                event = await self.queue.get()
                if kind is None or isinstance(event, kind):
                    return event


@pytest.fixture(params=[ProcessHost, ThreadHost], ids=["process", "thread"])
async def host(request):
    made = request.param()
    made.events = Events(made)
    yield made
    await made.stop()


@pytest.fixture
async def process():
    made = ProcessHost()
    made.events = Events(made)
    yield made
    await made.stop()


def op(seq, name, out, *args):
    return m.Run(((seq, Op(name, (out,), args, {}, "g")),))


async def test_share_compute_snapshot_release(host):
    started = await host.start(CONFIGURE)
    assert len(started.epoch) == 16 and started.versions["torch"] == torch.__version__
    assert (started.pid == os.getpid()) is isinstance(host, ThreadHost)
    data = torch.arange(100_000.0)
    packed = pack(data)
    host.send(m.Share(-1, packed.value, b"".join(packed.buffers), "torch.Tensor", (), "", True))
    assert (await host.events.get(m.Shared)).shape == (100_000,)
    host.send(op(1, "torch.Tensor.__add__", 1, Ref(-1), 1.0))
    host.send(m.Snapshot(7, 1))
    host.send(m.Release(7))
    assert (await host.events.get(m.SettledUpTo)).seq == 1
    candidate = await host.events.get(m.Candidate)
    assert candidate.facts.kind == "per_record" and not candidate.has_value
    answer = await host.events.get(m.Bytes)
    assert torch.equal(from_wire(answer.value, in_memory(answer.data)), data + 1)


async def test_once_sizes_are_private_no_death_is_a_public_fact(process):
    """What memory is left tells them, and an engine that finds none can die of it at anything."""
    started = await process.start(m.Configure({}, {}, 1))
    packed = pack(torch.arange(8.0))
    process.send(m.Share(-1, packed.value, b"".join(packed.buffers), "torch.Tensor", (), "", True))
    process.send(op(1, "torch.gt", 1, Ref(-1), 3.0))
    process.send(op(2, "torch.masked_select", 2, Ref(-1), Ref(1)))
    process.send(m.Run(((3, Del((1, 2))),)))
    while await process.events.get(m.SettledUpTo) != m.SettledUpTo(3):
        pass
    os.kill(started.pid, signal.SIGKILL)
    died = await process.events.get(m.Died)
    assert died.was_private and "while" not in died.reason


TIMED = m.Configure({"command_seconds": 1, "memory_bytes": 256 * 1024**2}, {}, 1)


@pytest.mark.parametrize("is_private", [False, True])
async def test_a_command_that_takes_too_long_ends_the_process_and_says_on_what(process, is_private):
    await process.start(TIMED)
    packed = pack(torch.ones(1_500, 1_500))
    process.send(m.Share(-1, packed.value, b"".join(packed.buffers), "torch.Tensor", (), "", True))
    await process.events.get(m.Shared)
    process.send(op(1, "torch.ones", 1, 1_500, 1_500))
    square = Ref(-1) if is_private else Ref(1)
    process.send(op(2, "torch.linalg.matrix_power", 2, square, 2**62 + 1))
    died = await process.events.get(m.Died)
    assert "command_seconds" in died.reason
    assert "torch.linalg.matrix_power (#2)" in died.reason
    assert died.was_private is is_private


async def test_a_process_that_is_killed_at_rest_was_on_nothing_private(process, caplog):
    """And before: no dump of its memory, and what it says to its terminal stays in the log."""
    caplog.set_level(logging.DEBUG, "duet_p2p.engine")
    started = await process.start(m.Configure({"command_seconds": 60}, {}, 1))
    process.send(op(1, "torch.ones", 1, 3))
    process.send(op(2, "torch.ones", 2, 1, 3))
    process.send(op(3, "torch.nn.functional.mse_loss", 3, Ref(1), Ref(2)))  # torch warns of it
    told = [await process.events.get() for _ in range(2)]
    while told[-1] != m.SettledUpTo(3):
        told.append(await process.events.get())
    if sys.platform == "linux":
        (dumps,) = re.findall(
            "Max core file size .*", Path(f"/proc/{started.pid}/limits").read_text()
        )
        assert dumps.split()[4:6] == ["0", "0"]
    assert {type(event) for event in told} <= {m.SettledUpTo, m.Learnt}
    async with asyncio.timeout(30):
        while "target size" not in caplog.text:
            await asyncio.sleep(0.01)
    os.kill(started.pid, signal.SIGKILL)
    died = await process.events.get(m.Died)
    assert not died.was_private
    assert "while" not in died.reason


async def test_memory_beyond_the_limit_is_an_error_of_the_operation(process):
    await process.start(TIMED)
    process.send(op(1, "torch.ones", 1, 128 * 1024**2))  # 512 MiB
    failed = await process.events.get(m.OpFailed)
    assert "allocate memory" in failed.text
    process.send(op(2, "torch.ones", 2, 1024))
    assert (await process.events.get(m.SettledUpTo)).seq in (1, 2)


async def test_an_upload_holds_up_what_comes_after_it(host):
    await host.start(CONFIGURE)
    packed = pack(torch.ones(50_000))
    put = Put((1,), (packed.value,), Blob(3, packed.nbytes))
    host.send(m.Run(((1, put), (2, Op("torch.sum", (2,), (Ref(1),), {}, "g")))))
    host.send(m.Snapshot(1, 2))
    host.send(m.Share(-1, 5, None, "python.Int", (), "", True))
    await host.events.get(m.Shared)  # the owner does not wait
    assert host.events.queue.empty()
    host.send(m.Arrived(3, b"".join(packed.buffers)))
    candidate = await host.events.get(m.Candidate)
    assert from_wire(candidate.value) == 50_000


async def test_a_second_start_is_a_new_engine(host):
    first = await host.start(CONFIGURE)
    host.send(op(1, "torch.ones", 1, 3))
    await host.events.get(m.SettledUpTo)
    await host.stop()
    second = await host.start(CONFIGURE)
    assert first.epoch != second.epoch
    host.send(m.Snapshot(1, 1))
    assert (await host.events.get(m.Candidate)).facts is None


async def test_stop_is_quick_and_silent(host):
    await host.start(CONFIGURE)
    started = time.monotonic()
    await host.stop()
    assert time.monotonic() - started < 10
    host.send(m.Snapshot(1, 1))  # goes nowhere
    assert host.events.queue.empty()


async def test_the_owners_generator_is_never_touched(host):
    await host.start(CONFIGURE)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    seed = Op("torch.manual_seed", (), (42,), {}, "g")
    host.send(m.Run(((1, seed), (2, Op("torch.rand", (1,), (3,), {}, "g")))))
    host.send(op(3, "torch.rand", 2, 3))
    host.send(m.Read(9, 2))
    answer = await host.events.get(m.Bytes)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(42)
    torch.rand(3)
    assert torch.equal(from_wire(answer.value, in_memory(answer.data)), torch.rand(3))


async def test_a_killed_process_is_told_and_can_be_started_again(process):
    started = await process.start(CONFIGURE)
    os.kill(started.pid, signal.SIGKILL)
    died = await process.events.get()
    assert died == m.Died("the engine's process was ended by signal 9")
    process.send(m.Snapshot(1, 1))
    again = await process.start(CONFIGURE)
    assert again.pid != started.pid
    process.send(m.Snapshot(1, 1))
    assert (await process.events.get(m.Candidate)).facts is None


async def test_stop_ends_a_process_that_does_not_answer(process):
    started = await process.start(CONFIGURE)
    os.kill(started.pid, signal.SIGSTOP)
    at = time.monotonic()
    await process.stop()
    assert time.monotonic() - at < 15
    with pytest.raises(ProcessLookupError):
        os.kill(started.pid, 0)


async def test_ctrl_c_in_the_owners_terminal_is_not_for_the_engine(process):
    started = await process.start(CONFIGURE)
    os.kill(started.pid, signal.SIGINT)
    process.send(m.Snapshot(1, 1))
    assert (await process.events.get(m.Candidate)).facts is None


async def test_a_process_that_cannot_start_says_why(process, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(Exception, match=r"could not be started: .*code 1"):
        await process.start(CONFIGURE)


async def test_a_process_that_takes_too_long_to_start_is_ended(process, monkeypatch, tmp_path):
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 60\n")
    python.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(host_module, "ENGINE_START_SECONDS", 1.0)
    with pytest.raises(DuetError, match="did not start within 1 s"):
        await process.start(CONFIGURE)
    assert process.pid is None
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


async def test_the_loop_stays_free_while_much_is_sent(process):
    await process.start(CONFIGURE)
    packed = pack(torch.zeros(16_000_000))
    data = b"".join(packed.buffers)
    longest, last = 0.0, time.monotonic()
    process.send(m.Share(-1, packed.value, data, "torch.Tensor", (), "", True))
    for _ in range(2_000):
        process.send(op(1, "torch.zeros", 1, 3))
    while process.events.queue.empty():
        await asyncio.sleep(0.001)
        now = time.monotonic()
        longest, last = max(longest, now - last), now
    assert longest < 0.5


def script(code: str, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *args],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


START = """
    import asyncio, sys, time
    from duet_p2p.engine.host import ProcessHost
    from duet_p2p.engine.messages import Configure
    async def main():
        host = ProcessHost()
        started = await host.start(Configure({}, {}, 1))
        print(started.pid, flush=True)
        await asyncio.sleep(60)
"""


def test_the_child_ends_when_its_parent_dies():
    owner = script(START + "\n    asyncio.run(main())")
    try:
        pid = int(owner.stdout.readline())
        owner.kill()
        owner.wait(10)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and _is_alive(pid):
            time.sleep(0.05)
        assert not _is_alive(pid)
    finally:
        owner.kill()
        owner.stdout.close()


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.slow
def test_a_script_without_a_main_guard_runs_once(tmp_path):
    code = textwrap.dedent(START).replace("await asyncio.sleep(60)", "await host.stop()")
    path = tmp_path / "owner.py"
    path.write_text("print('begin')\n" + code + "\nasyncio.run(main())\n")
    done = subprocess.run(
        [sys.executable, str(path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("begin") == 1


def test_the_engines_process_loads_no_network_and_no_tables(tmp_path):
    code = """
        import sys
        import duet_p2p.engine.child
        import duet_p2p.engine.engine
        loaded = {name.partition(".")[0] for name in sys.modules}
        print(sorted(loaded & {"aiortc", "aiohttp", "pandas", "av", "duet_p2p.session"}))
        print(sorted(n for n in sys.modules if n.startswith(
            ("duet_p2p.session", "duet_p2p.transport", "duet_p2p.owner", "duet_p2p.protocol"))))
    """
    process = script(code)
    out, _ = process.communicate(timeout=90)
    assert out.split("\n")[:2] == ["[]", "[]"]


@pytest.mark.slow
async def test_the_real_child_has_loaded_none_of_them_either(process):
    started = await process.start(CONFIGURE)
    process.send(m.Share(-1, to_wire([1], None), None, "python.List", (), "", True))
    await process.events.get(m.Shared)
    maps = Path(f"/proc/{started.pid}/maps")
    try:
        text = maps.read_text()
    except PermissionError:
        pytest.skip("not dumpable, and this user cannot look")
    assert "torch" in text
    assert not [name for name in ("pandas", "aiohttp", "/av/") if name in text]


@pytest.mark.slow
async def test_processor_time_beyond_the_limit_ends_the_engine_and_needs_the_owners_word():
    host, events = ProcessHost(), []
    host.on_event = events.append
    await host.start(m.Configure({"cpu_seconds": 1}, {}, 1))
    try:
        ones = m.Run(((1, Op("torch.ones", (1,), ((1200, 1200),), {}, "g")),))
        host.send(ones)
        for seq in range(2, 2000):
            host.send(m.Run(((seq, Op("torch.matmul", (seq,), (Ref(1), Ref(1)), {}, "g")),)))
            host.send(m.Drop((seq,)))
        async with asyncio.timeout(110):
            while not any(isinstance(event, m.Died) for event in events):
                await asyncio.sleep(0.05)
    finally:
        await host.stop()
    (died,) = [event for event in events if isinstance(event, m.Died)]
    assert "cpu_seconds" in died.reason and died.was_private


async def frozen(host):
    """An engine that holds the snapshot 7 of a number."""
    started = await host.start(CONFIGURE)
    host.send(op(1, "torch.ones", 1, 3))
    host.send(m.Snapshot(7, 1))
    assert (await host.events.get(m.Candidate)).has_value
    return started


async def test_what_was_discarded_is_gone_before_the_next_command(host):
    await frozen(host)
    host.send(m.Discard(7))
    host.send(m.Release(7))
    assert await host.events.get(m.Refused) == m.Refused(7, "no such snapshot")
    host.send(m.Snapshot(8, 1))
    host.send(m.Snapshot(9, 1))
    host.send(m.Discard(8))
    host.send(m.Leave())  # the scientist is gone
    for call in (8, 9):
        host.send(m.Release(call))
        assert await host.events.get(m.Refused) == m.Refused(call, "no such snapshot")


async def test_a_discard_wakes_the_engine_with_the_next_command_or_after_a_moment(
    process, monkeypatch
):
    frames = []
    encode = host_module.pipe.encode
    monkeypatch.setattr(
        host_module.pipe, "encode", lambda items: (frames.append(items), encode(items))[1]
    )
    await frozen(process)
    del frames[:]
    process.send(m.Discard(7))
    process.send(m.Discard(8))
    assert frames == []
    process.send(m.Snapshot(9, 1))
    assert frames == [[m.Discard(7), m.Discard(8), m.Snapshot(9, 1)]]
    await process.events.get(m.Candidate)
    process.send(m.Discard(9))
    async with asyncio.timeout(30):
        while len(frames) < 2:
            await asyncio.sleep(0.01)
    assert frames[1:] == [[m.Discard(9)]]


@pytest.mark.slow
@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_an_end_takes_what_was_to_be_discarded_along(process, end):
    started = await frozen(process)
    process.send(m.Discard(7))
    if end == "stop":
        await process.stop()
    else:
        os.kill(started.pid, signal.SIGKILL)
        await process.events.get(m.Died)
    process.send(m.Discard(8))  # goes nowhere
    await process.start(CONFIGURE)
    process.send(m.Release(7))
    assert (await process.events.get(m.Refused)).reason == "no such snapshot"


async def test_an_account_comes_when_it_is_asked_for_behind_an_answer_and_when_all_is_quiet(host):
    await host.start(CONFIGURE)
    host.send(op(1, "torch.ones", 1, 3))
    for call, behind in enumerate((m.Describe(), m.Snapshot(9, 1, "never"), None), 11):
        host.send(m.Snapshot(call, 1, "after"))
        while (await host.events.get(m.Candidate)).call != call:
            pass
        if behind is not None:
            host.send(behind)
        assert (await host.events.get(m.Described)).call == call


async def test_the_owner_may_have_more_files_open_than_select_can_look_at(process):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 3_000:
        pytest.skip("this user may not open so many files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 3_000), hard))
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(1_100)]
    try:
        await process.start(CONFIGURE)  # its end of the pipe has the number that it has here
        process.send(op(1, "torch.ones", 1, 3))
        process.send(m.Snapshot(11, 1, "after"))
        assert (await process.events.get(m.Described)).call == 11
    finally:
        for file in files:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
