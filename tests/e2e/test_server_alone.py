"""The signalling server as an organisation installs it: from the wheel, without torch."""

import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_wheel_without_its_dependencies_runs_the_server(tmp_path: Path) -> None:
    def run(*command: str) -> None:
        done = subprocess.run(command, capture_output=True, text=True, timeout=250)
        assert done.returncode == 0, done.stdout + done.stderr

    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", str(tmp_path), str(ROOT))
    run(sys.executable, "-m", "venv", str(tmp_path / "venv"))
    python = str(tmp_path / "venv" / "bin" / "python")
    wheel = next(tmp_path.glob("*.whl"))
    run(python, "-m", "pip", "install", "--no-deps", str(wheel))
    run(python, "-m", "pip", "install", "-r", str(ROOT / "signaling_server" / "requirements.txt"))
    run(python, "-c", "import importlib.util as u; assert not u.find_spec('torch')")
    with subprocess.Popen(
        [
            str(tmp_path / "venv" / "bin" / "duet-signaling"),
            *("--listen", "127.0.0.1:0", "--metrics-listen", ""),
        ],
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        with urllib.request.urlopen(f"{url}/readyz", timeout=10) as answer:
            assert answer.status == 200
        process.terminate()
        assert process.wait(30) == 0
