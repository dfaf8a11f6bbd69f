"""The example notebooks, unchanged: each file is a real process, paired at its own prompts."""

import contextlib
import re
import subprocess
from pathlib import Path

import pytest

from tests.e2e.script import Script

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
START_SECONDS = 60.0
"""For a process to import torch and reach its prompt on a busy machine."""
RUN_SECONDS = 100.0


def run(server: str, home: Path, name: str, owners: tuple[str, ...] = ("owner",)) -> dict[str, str]:
    """Runs one example with ``--quick``; what each of its files printed, by its name."""
    folder = home / name
    folder.mkdir()
    scripts: list[Script] = []
    try:
        for stem in (*owners, "scientist"):
            path = NOTEBOOKS / name / f"{stem}.py"
            scripts.append(Script(path, folder, "--quick", DUET_SIGNALING_URL=server))
        *owner_scripts, scientist = scripts
        for number, owner in enumerate(owner_scripts, 1):
            session_id = owner.wait_for_print(r"^Session ID: (\S+)", START_SECONDS)
            scientist.wait_for_print(r"(The owner's session ID: )", START_SECONDS, number)
            scientist.type_line(session_id)
            client_id = scientist.wait_for_print(r"^ {4}(C[0-9A-Z-]{38})", START_SECONDS, number)
            owner.wait_for_print(r"(Your partner's client ID: )", START_SECONDS)
            owner.type_line(client_id)
        codes = {}
        for script in (scientist, *owner_scripts):
            with contextlib.suppress(subprocess.TimeoutExpired):
                codes[script.name] = script.wait(RUN_SECONDS)
    finally:
        for script in scripts:
            script.kill()
    everything = "\n".join(f"--- {s.name}\n{s.printed()}" for s in scripts)
    assert codes == {script.name: 0 for script in scripts}, everything
    assert "Traceback" not in everything, everything
    return {script.name: script.printed() for script in scripts}
