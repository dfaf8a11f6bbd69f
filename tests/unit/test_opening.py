import threading
from pathlib import Path

import pytest

import duet_p2p as sy
from duet_p2p.errors import PairingTimeout


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DUET_HOME", str(tmp_path))
    return tmp_path


def running() -> tuple[set[threading.Thread], set[str]]:
    """The threads and the children of this process."""
    children = {
        child
        for task in Path("/proc/self/task").glob("*/children")
        for child in task.read_text().split()
    }
    return set(threading.enumerate()), children


@pytest.mark.parametrize("engine", ["process", "thread"])
def test_a_launch_that_is_refused_when_its_engine_starts_already_leaves_nothing(
    engine: str, home: Path
) -> None:
    threads, children = running()
    with pytest.raises(ValueError, match="shapes is 'public' or 'private'"):
        sy.launch_duet(loopback="refused", shapes="hidden", logging=False, engine=engine)
    threads_after, children_after = running()
    left = {thread for thread in threads_after - threads if thread.name != "duet-engine"}
    assert not left and children_after <= children
    assert not list(home.glob("loopback/*"))


@pytest.mark.parametrize("engine", ["process", "thread"])
def test_a_launch_that_nobody_answers_leaves_nothing(engine: str, home: Path) -> None:
    threads, children = running()
    with pytest.raises(PairingTimeout):
        sy.launch_duet(loopback="refused", logging=False, engine=engine, timeout=1.0)
    threads_after, children_after = running()
    left = {thread for thread in threads_after - threads if thread.name != "duet-engine"}
    assert not left and children_after <= children


def test_a_join_without_an_owner_leaves_nothing(home: Path) -> None:
    threads, _ = running()
    with pytest.raises(PairingTimeout):
        sy.join_duet(loopback="refused", logging=False, timeout=0.5)
    left = {thread for thread in running()[0] - threads if thread.name != "duet-preload"}
    assert not left


def test_the_ice_servers_of_the_environment_are_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUET_ICE_SERVERS", '{"urls": "stun:stun.example"}')
    with pytest.raises(ValueError, match="JSON list"):
        sy.join_duet(loopback="refused", logging=False, timeout=0.5)
