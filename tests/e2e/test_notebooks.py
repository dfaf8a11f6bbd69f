"""The example notebooks, unchanged: each file is a real process, paired at its own prompts."""

import contextlib
import subprocess
from pathlib import Path

import pytest

from tests.e2e.example_kit import EXAMPLES, numbers
from tests.e2e.script import Script

pytestmark = pytest.mark.timeout(300)

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
START_SECONDS = 120.0
"""For a process to import torch and reach its prompt on a busy machine."""
RUN_SECONDS = 100.0


def run(
    server: str,
    home: Path,
    name: str,
    *,
    owners: tuple[str, ...] = ("owner",),
    scientist: str = "scientist",
) -> dict[str, str]:
    """Runs one example with ``--quick``; what each of its files printed, by its name."""
    folder = home / f"{name}-{scientist}"
    folder.mkdir()
    scripts: list[Script] = []
    try:
        for stem in (*owners, scientist):
            path = NOTEBOOKS / name / f"{stem}.py"
            scripts.append(Script(path, folder, "--quick", DUET_SIGNALING_URL=server))
        *owner_scripts, joining = scripts
        for number, owner in enumerate(owner_scripts, 1):
            session_id = owner.wait_for_print(r"^Session ID: (\S+)", START_SECONDS)
            joining.wait_for_print(r"(The owner's session ID: )", START_SECONDS, number)
            joining.type_line(session_id)
            client_id = joining.wait_for_print(r"^ {4}(C[0-9A-Z-]{38})", START_SECONDS, number)
            owner.wait_for_print(r"(Your partner's client ID: )", START_SECONDS)
            owner.type_line(client_id)
        codes = {}
        for script in (joining, *owner_scripts):
            with contextlib.suppress(subprocess.TimeoutExpired):
                codes[script.name] = script.wait(RUN_SECONDS)
    finally:
        for script in scripts:
            script.kill()
    everything = "\n".join(f"--- {s.name}\n{s.printed()}" for s in scripts)
    assert codes == {script.name: 0 for script in scripts}, everything
    assert "Traceback" not in everything, everything
    return {script.name: script.printed() for script in scripts}


@pytest.mark.brief
@pytest.mark.parametrize("name", ["01-basics"])
def test_an_example_runs_as_a_program_too(server: str, home: Path, name: str) -> None:
    """In kernels all four of the first ones run: test_notebook_kernels.py."""
    owners, check = EXAMPLES[name]
    check(run(server, home, name, owners=owners))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("05-vae", r"loss ([\d.]+) per digit"),
        ("06-dcgan", r"judge ([\d.]+)  generator"),
        ("07-super-resolution", r"mean loss ([\d.]+)"),
        ("08-time-sequence", r"step +\d+  loss ([\d.]+)"),
        ("09-char-lstm", r"step +\d+  loss ([\d.]+)"),
    ],
)
def test_a_network_of_another_kind_learns(server: str, home: Path, name: str, loss: str) -> None:
    printed = run(server, home, name)
    losses = numbers(loss, printed["scientist"])
    assert len(losses) >= 2 and losses[-1] < losses[0]
    assert "scientist: done" in printed["scientist"]


@pytest.mark.slow
def test_an_agent_learns_in_a_world_that_it_does_not_see(server: str, home: Path) -> None:
    printed = run(server, home, "10-actor-critic")
    paid = numbers(r"episode +\d+  paid (-?[\d.]+)", printed["scientist"])
    assert len(paid) == 8
    assert "owner: denied {'agent'}" in printed["owner"]


@pytest.mark.slow
def test_an_owners_plan_trains_the_scientists_network(server: str, home: Path) -> None:
    printed = run(
        *(server, home, "08-time-sequence"), owners=("owner_plan",), scientist="scientist_plan"
    )
    assert len(numbers(r"step +\d+  loss ([\d.]+)", printed["scientist_plan"])) == 15
    assert "the remote losses equal local ones" in printed["scientist_plan"]
    assert "15 losses and 15 models left" in printed["owner_plan"]
