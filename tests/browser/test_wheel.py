"""The wheel in a fresh environment, then `duet web`: the page is there, and works."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.visit_kit import visit

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # builds, installs, imports torch
ROOT = Path(__file__).parents[2]
SECONDS = 200.0


def done(*command: str, **options: Any) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, **options)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture
def installed(chromium: Any, tmp_path: Path) -> Path:
    """The folder of the commands of an environment that has the wheel.

    Its dependencies are those of the environment that runs the tests, which is searched after it:
    torch is too large to be installed again.
    """
    build = (sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path))
    done(*build, cwd=ROOT)
    [wheel] = tmp_path.glob("*.whl")
    environment = tmp_path / "fresh"
    done(sys.executable, "-m", "venv", "--without-pip", str(environment))
    python = environment / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", str(python))
    done(*pip, "install", "--no-deps", "--no-index", str(wheel))
    own = Path(
        done(str(python), "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])").strip()
    )
    (own / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return environment / "bin"


@pytest.fixture
def url(installed: Path, tmp_path: Path) -> Iterator[str]:
    """What `duet web` prints; nothing of the checkout is in reach."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen(
        [str(installed / "duet"), "web", "--port", str(port), "--no-open"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
        env=environment | {"DUET_HOME": str(tmp_path / "home")},
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r"http://\S+", line)
            assert found, line + process.stdout.read()
            yield found[0].rstrip(".")
        finally:
            process.terminate()
            process.wait(30)


def test_the_installed_command_serves_a_page_that_makes_its_key(
    chromium: Any, url: str, installed: Path
) -> None:
    where = done(
        *(str(installed / "python"), "-c"),
        "import duet_p2p, signaling_server; print(duet_p2p.__file__, signaling_server.__file__)",
        cwd=installed,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
    )
    assert all(path.startswith(str(installed.parent)) for path in where.split()), where
    with visit(chromium, url) as visitor:
        visitor.open()
        assert re.fullmatch(r"C[0-9A-Z]{31}", visitor.client_id)
        assert "your own machine" in visitor.page.inner_text("#served")
