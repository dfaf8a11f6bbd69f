"""Real processes, a real data channel, a server of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.notebook import Notebook

TEST_SECONDS = 240
"""For a test with its fixtures: each process of theirs imports torch, on a machine that is busy."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(TEST_SECONDS))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("e2e")


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[str]:
    """The URL of a signalling server process."""
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "signaling_server"),
            *("--listen", "127.0.0.1:0", "--metrics-listen", ""),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        url = next((word.rstrip(".,") for word in line.split() if word.startswith("http")), None)
        assert url, f"the server did not start: {line}"
        yield url
        process.terminate()
        process.wait(15)


@pytest.fixture(scope="module")
def owner(home: Path) -> Iterator[Notebook]:
    notebook = Notebook("owner", home)
    yield notebook
    notebook.close()


@pytest.fixture(scope="module")
def scientist(home: Path) -> Iterator[Notebook]:
    notebook = Notebook("scientist", home)
    yield notebook
    notebook.close()


@pytest.fixture(scope="module")
def pair(server: str, owner: Notebook, scientist: Notebook) -> tuple[Notebook, Notebook]:
    """Both connected as people do it, each with `sy`, `torch` and `duet` in scope."""
    connect(server, owner, scientist)
    return owner, scientist


def connect(server: str, owner: Notebook, scientist: Notebook, **launch: object) -> None:
    """Pairs two notebooks by their IDs, typed nowhere: handed over as the callbacks' argument."""
    imports = "import torch\nimport duet_p2p as sy\nfrom torch import nn\n"
    for started in [notebook.start(imports) for notebook in (owner, scientist)]:
        started.result(100)
    options = "".join(f", {name}={value!r}" for name, value in launch.items())
    session_id = owner.run(f"duet = sy.launch_duet(url={server!r}, wait=False{options}); duet.id")
    client_id = scientist.run(
        f"duet = sy.join_duet({session_id!r}, url={server!r}, wait=False); duet.id"
    )
    owner.run(f"duet.expect_client({client_id!r}); duet.wait(60)")
    scientist.run("duet.wait(60); rt = duet.torch")


def wait_for_store(scientist: Notebook, count: int, duet: str = "duet") -> None:
    """The owner's pushes arrive a moment after its `send` has returned."""
    scientist.run(
        f"""
        import time
        deadline = time.monotonic() + 30
        while len({duet}.store) < {count} and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len({duet}.store) >= {count}
        """
    )


def wait_for_request(owner: Notebook) -> None:
    """Until one waits for the owner's word."""
    owner.run(
        """
        import time
        deadline = time.monotonic() + 30
        while not len(duet.requests):
            assert time.monotonic() < deadline, "no request came"
            time.sleep(0.01)
        """
    )
