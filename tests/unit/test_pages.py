"""Who serves the browser's pages, and what they do not serve."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from duet_p2p import web
from duet_p2p.errors import IdentityFileUnsafe
from signaling_server import pages
from signaling_server.pages import CONTENT_SECURITY_POLICY, Pages, PageServer, TakenPort

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 30.0


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes


def get(port: int, path: str, host: str, address: str = "127.0.0.1") -> Answer:
    connection = http.client.HTTPConnection(address, port, timeout=SECONDS)
    try:
        connection.putrequest("GET", path, skip_host=True)
        connection.putheader("Host", host)
        connection.endheaders()
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


@contextmanager
def started(*command: str, home: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A command of ours and the address that it prints first."""
    with subprocess.Popen(
        [sys.executable, "-m", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"DUET_HOME": str(home)},
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        url = next((word for word in line.split() if word.startswith("http")), None)
        assert url, line + process.stdout.read()
        yield process, url
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "vendor").mkdir()
    for name in ("index.html", "src/a.js", "src/b.json", "vendor/c.js", "secret.txt", "src/x.key"):
        (tmp_path / name).write_text(name)
    return tmp_path


async def test_only_files_that_were_there_at_start_and_are_pages_are_served(folder: Path) -> None:
    server = PageServer(Pages.read(folder), label="abc", port=0, signalling="http://s")
    await server.start()
    (folder / "src" / "late.js").write_text("late")
    host = f"abc.localhost:{server.port}"
    try:

        async def fetch(path: str, at: str = host) -> tuple[int, bytes, str]:
            def work() -> tuple[int, bytes, str]:
                answer = get(server.port, path, at)
                return answer.status, answer.body, answer.headers["Content-Type"]

            return await asyncio.to_thread(work)

        assert await fetch("/") == (200, b"index.html", "text/html; charset=utf-8")
        assert await fetch("/src/a.js") == (200, b"src/a.js", "text/javascript; charset=utf-8")
        assert (await fetch("/src/b.json"))[2] == "application/json"
        for path in (
            *("/secret.txt", "/src/x.key", "/src/late.js", "/src/", "/src", "/nothing"),
            *("/../secret.txt", "/src/../secret.txt", "/src/%2e%2e/secret.txt", "//secret.txt"),
            *("/src%2fa.js%00", "/vendor/../../etc/passwd"),
        ):
            assert (await fetch(path))[0] == 404, path
        for other in ("localhost", f"127.0.0.1:{server.port}", f"abd.localhost:{server.port}", ""):
            assert (await fetch("/", other))[0] in (400, 421), other
        config = json.loads((await fetch("/config.json"))[1])
        assert config == {"signalling": "http://s", "servedBy": "this machine"}
    finally:
        await server.close()


async def test_every_answer_forbids_what_a_page_does_not_need(folder: Path) -> None:
    server = PageServer(Pages.read(folder), label="abc", port=0, signalling="http://s")
    await server.start()
    try:
        for path, host in (
            *(("/", "abc.localhost"), ("/nothing", "abc.localhost"), ("/config.json", "")),
            ("/", "other"),
        ):
            at = f"{host}:{server.port}"
            answer = await asyncio.to_thread(get, server.port, path, at)
            assert answer.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Referrer-Policy"] == "no-referrer"
            assert answer.headers["Cache-Control"] == "no-store"
    finally:
        await server.close()


def test_no_other_user_can_listen_at_the_other_loopback_address() -> None:
    listeners = pages._listen(0)
    try:
        hosts = [listener.getsockname()[0] for listener in listeners]
        assert hosts == (["127.0.0.1", "::1"] if pages._has_ipv6_loopback() else ["127.0.0.1"])
        port = listeners[0].getsockname()[1]
        with pytest.raises(TakenPort, match=f"Port {port} of this machine is taken"):
            pages._listen(port)
    finally:
        for listener in listeners:
            listener.close()


def test_the_label_is_random_kept_and_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = set()
    for name in ("one", "two"):
        monkeypatch.setenv("DUET_HOME", str(tmp_path / name))
        label = web.label_of_user()
        assert label == web.label_of_user() and label.isalnum() and len(label) >= 20
        labels.add(label)
    assert len(labels) == 2
    path = tmp_path / "two" / "web-label"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    with pytest.raises(IdentityFileUnsafe):
        web.label_of_user()


def test_the_address_is_opened_by_way_of_a_private_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUET_HOME", str(tmp_path / "home"))
    opened: list[str] = []
    monkeypatch.setattr(web.webbrowser, "open", opened.append)
    web._open("http://abc.localhost:8770/")
    path = tmp_path / "home" / "open-page.html"
    assert opened == [path.as_uri()] and "abc" not in opened[0]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert 'content="0; url=http://abc.localhost:8770/"' in path.read_text()


def test_the_command_serves_and_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    port = free_port()
    options = (
        "duet_p2p.cli",
        "web",
        "--no-open",
        "--port",
        str(port),
        "--url",
        "wss://Sig.example",
    )
    with started(*options, home=tmp_path / "home") as (_, url):
        host = url.split("/")[2]
        assert host == f"{(tmp_path / 'home' / 'web-label').read_text()}.localhost:{port}"
        answer = get(port, "/src/session.js", host)
        assert (answer.status, b"class Session" in answer.body) == (200, True)
        config = json.loads(get(port, "/config.json", host).body)
        assert config["signalling"] == "https://sig.example"
        second = subprocess.run(
            [sys.executable, "-m", *options],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            env=os.environ | {"DUET_HOME": str(tmp_path / "home")},
        )
    assert second.returncode == 1
    assert second.stderr.startswith(f"Port {port} of this machine is taken")
    assert len(second.stderr.splitlines()) == 1


def test_a_signalling_server_serves_pages_only_when_it_is_told_to(tmp_path: Path) -> None:
    server = ("signaling_server", "--listen", "127.0.0.1:0", "--metrics-listen", "")
    for options, status in (((), 404), (("--web",), 200)):
        with started(*server, *options, home=tmp_path / "home") as (_, url):
            host = url.split("/")[2]
            port = int(host.rpartition(":")[2])
            answer = get(port, "/src/session.js", host)
            assert answer.status == status
            if status == 200:
                policy = answer.headers["Content-Security-Policy"]
                assert policy == CONTENT_SECURITY_POLICY
                assert get(port, "/", "other.example").status == 421
                config = json.loads(get(port, "/config.json", host).body)
                assert config == {"signalling": url, "servedBy": f"the signalling server {host}"}
            info = get(port, "/v1/info", host)
            assert info.headers["Content-Security-Policy"] == "default-src 'none'"


@pytest.mark.slow
def test_the_wheel_has_the_pages_and_nothing_else_of_their_folder(tmp_path: Path) -> None:
    build = pytest.importorskip("hatchling.build", reason="hatchling is not installed")
    assert build is not None
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=110,
    )
    [wheel] = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if name.startswith("signaling_server/web/")}
        archive.extractall(installed)
    expected = {
        f"signaling_server/web/{path.relative_to(ROOT / 'web').as_posix()}"
        for part in ("src", "vendor", "index.html", "style.css")
        for path in [ROOT / "web" / part, *(ROOT / "web" / part).rglob("*")]
        if path.is_file()
    }
    assert names == expected and "signaling_server/web/src/session.js" in names
    # the very files, run from there: nothing of the checkout is in reach
    script = "from signaling_server.pages import Pages; print(len(Pages.installed().files))"
    count = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"PYTHONPATH": str(installed), "PATH": os.environ["PATH"]},
        check=True,
        capture_output=True,
        text=True,
    )
    served = [name for name in expected if Path(name).suffix in pages._TYPES]
    assert int(count.stdout) == len(served)
