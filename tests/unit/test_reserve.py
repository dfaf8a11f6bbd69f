"""What the engine's own work has in reserve when operations have used up all else."""

import subprocess
import sys

import pytest

from duet_p2p.engine import messages as m
from duet_p2p.engine import pipe
from duet_p2p.engine.reserve import RESERVE, again

MIB = 1024 * 1024
CHILD = """
from duet_p2p.engine.confinement import limit_memory
from duet_p2p.engine.reserve import RESERVE
MIB = 1024 * 1024
limit_memory(64 * MIB)
held = []
try:
    while True:
        held.append(bytearray(MIB))
except MemoryError:
    pass
print(RESERVE.is_touched)
with RESERVE:
    held += [bytearray(MIB) for _ in range(16)]
print(RESERVE.is_touched, RESERVE.is_short())
del held[:40]
print(RESERVE.is_short(), RESERVE.is_touched)
try:
    with RESERVE:
        held += [bytearray(MIB) for _ in range(200)]
except MemoryError:
    print("no more than that")
"""


class Failing:
    """Fails for want of memory so many times."""

    def __init__(self, times: int) -> None:
        self.left = times

    def __call__(self) -> str:
        if self.left:
            self.left -= 1
            raise MemoryError
        return "done"


def test_work_is_done_once_more_and_no_more() -> None:
    assert again(Failing(0)) == again(Failing(1)) == "done"
    with pytest.raises(MemoryError):
        again(Failing(2))


def test_where_nobody_limited_the_process_nothing_is_touched() -> None:
    with RESERVE:
        pass
    assert not RESERVE.is_touched


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits private memory")
def test_what_operations_cannot_have_is_there_for_the_engine() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split("\n")[:4] == [
        "False", "True True", "False False", "no more than that"
    ]  # fmt: skip


class Kept(bytearray):
    """Bytes of which some cannot be taken away at first, as where there is no memory."""

    failures = 1

    def __delitem__(self, key) -> None:
        if self.failures:
            self.failures -= 1
            raise MemoryError
        super().__delitem__(key)


def test_a_frame_is_read_once_where_its_bytes_cannot_be_taken_away_at_first() -> None:
    reader = pipe.FrameReader()
    reader._bytes = Kept()
    sent = pipe.encode([m.Discard(1)]), pipe.encode([m.Discard(2)])
    data = b"".join(bytes(chunk) for frame in sent for chunk in frame.chunks)
    assert list(reader.feed(data)) == [m.Discard(1), m.Discard(2)]
