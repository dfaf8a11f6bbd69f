"""A large value comes down, and on the owner's side no process holds a copy of it."""

import sys

import pytest

from tests.e2e.conftest import wait_for_store
from tests.e2e.notebook import Notebook

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

MIB = 1024 * 1024
SIZE = 64 * MIB

WATCH = """
    def status(pid, field):
        lines = open(f"/proc/{pid}/status").read().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))

    def watch(pid):
        open(f"/proc/{pid}/clear_refs", "w").write("5")  # the high-water mark begins anew
        return status(pid, "VmRSS")

    def grown(pid, before):
        return status(pid, "VmHWM") - before
"""


@pytest.mark.slow
def test_a_download_is_held_once_and_in_no_process(pair: tuple[Notebook, Notebook]) -> None:
    owner, scientist = pair
    owner.run(WATCH)
    scientist.run(WATCH)
    owner.run(f"large = torch.ones({SIZE // 4}).tag('large').send(duet)")
    owner.run("duet.requests.add_handler(action='accept'); engine = duet._service._host.pid")
    wait_for_store(scientist, 1)
    scientist.run("large = duet.store['large'] * 2; large.sum().get(request_block=True)")
    owner.run("before = watch('self'), watch(engine)")
    scientist.run("before = watch('self'); value = large.get(request_block=True)")
    owners, engines = owner.run("[grown('self', before[0]), grown(engine, before[1])]")
    assert scientist.run("value.numel(), float(value[-1])") == [SIZE // 4, 2.0]
    assert owners < SIZE // 2
    assert engines < SIZE // 2
    assert scientist.run("grown('self', before)") < SIZE + SIZE // 2
