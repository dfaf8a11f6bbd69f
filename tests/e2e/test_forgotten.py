"""Sessions that nobody closes: dropped by the program, or open when Python ends."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import connect, wait_for_store
from tests.e2e.notebook import Notebook

PARTNER_GONE = """
import time
deadline = time.monotonic() + 8
while duet.is_open and time.monotonic() < deadline:
    time.sleep(0.02)
duet.is_open
"""


def children(notebook: Notebook) -> list[str]:
    pid = notebook.process.pid
    return [
        child
        for task in Path(f"/proc/{pid}/task").glob("*/children")
        for child in task.read_text().split()
    ]


@pytest.mark.slow
def test_a_dropped_session_leaves_no_thread_and_no_process(
    server: str, owner: Notebook, scientist: Notebook
) -> None:
    for dropped, partner in ((owner, scientist), (scientist, owner)):
        connect(server, owner, scientist)
        owner.run("pointer = torch.ones(1).send(duet)")
        wait_for_store(scientist, 1)
        dropped.run("import gc\ndel duet\npointer = rt = None\ngc.collect()\nNone")
        assert partner.run(PARTNER_GONE) is False, "the partner was told"
        left = dropped.run(
            """
            import threading, time
            deadline = time.monotonic() + 8
            while threading.active_count() > 1 and time.monotonic() < deadline:
                time.sleep(0.05)
            [t.name for t in threading.enumerate()][1:]
            """
        )
        assert left == []
        partner.run("duet.close()")
    deadline = time.monotonic() + 5
    while children(owner) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert children(owner) == []


def test_a_script_that_ends_with_an_open_session_says_goodbye(
    server: str, scientist: Notebook, tmp_path: Path
) -> None:
    code = (
        "import sys, duet_p2p as sy\n"
        f"duet = sy.launch_duet(url={server!r}, wait=False)\n"
        "print(duet.id, flush=True)\n"
        "duet.expect_client(input()); duet.wait(30)\n"
        "import time\n"
        "while not duet.status()['engine']: time.sleep(0.05)\n"
        "print('ENGINE', duet.status()['engine']['pid'], flush=True)\n"
        "input()\n"
    )
    scientist.run("import duet_p2p as sy")
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as script:
        assert script.stdout is not None and script.stdin is not None
        lines = iter(script.stdout)
        session_id = next(line.strip() for line in lines if len(line.strip()) == 32)
        client_id = scientist.run(
            f"duet = sy.join_duet({session_id!r}, url={server!r}, wait=False); duet.id"
        )
        script.stdin.write(f"{client_id}\n")
        script.stdin.flush()
        engine = next(line for line in lines if line.startswith("ENGINE")).split()[1]
        scientist.run("duet.wait(30); None")
        script.stdin.write("\n")
        script.stdin.flush()
        assert script.wait(15) == 0
    assert scientist.run(PARTNER_GONE) is False, "a goodbye, not ten seconds of silence"
    assert not Path(f"/proc/{engine}").exists()
