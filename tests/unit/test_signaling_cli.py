"""``python -m signaling_server`` as its users start it."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from signaling_server.limits import FIELDS, env_name, option_name

SECONDS = 20.0
# Runs the same main(), and says at the end what it has loaded.
PROGRAM = """
import sys
from signaling_server.__main__ import main
try:
    main()
finally:
    wrong = {"torch", "duet_p2p", "numpy", "aiortc"} & set(sys.modules)
    print("loaded:", sorted(wrong), flush=True)
"""


@contextmanager
def started(*options: str, **environ: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "--listen", "127.0.0.1:0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environ,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("Signalling server: http://127.0.0.1:"), process.communicate()
        yield process, line.split()[-1]
    finally:
        process.kill()
        process.communicate(timeout=SECONDS)


def refused(*options: str, **environ: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "signaling_server", *options],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=os.environ | {"COLUMNS": "200"} | environ,
    )
    assert done.returncode in (1, 2), done
    return done.stdout + done.stderr


def test_it_loads_no_torch_and_sigterm_ends_it_cleanly() -> None:
    with started("--metrics-listen", "") as (process, url):
        with urllib.request.urlopen(url + "/readyz", timeout=SECONDS) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, err
        assert out == "loaded: []\n"
        assert err.endswith("info signaling_server.server shutting down\n")
        assert err.count("\n") == 1


def test_a_second_signal_ends_the_grace() -> None:
    with started("--metrics-listen", "", "--grace", "60") as (process, url):
        port = int(url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as client:
            client.sendall(
                (
                    f"GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
                    "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                    "Sec-WebSocket-Protocol: duet.v1\r\n\r\n"
                ).encode()
            )
            assert b"101" in client.recv(4096)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            assert process.poll() is None  # the grace
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=SECONDS)
            assert process.returncode == 0
            assert time.monotonic() - began < 10


def test_log_lines_are_json_and_name_no_address() -> None:
    with started("--metrics-listen", "", "--log-format", "json") as (process, url):
        for path in ("/v1/info", "/nowhere"):
            request = urllib.request.Request(url + path, headers={"Host": "evil.example"})
            with pytest.raises(urllib.error.HTTPError):
                urllib.request.urlopen(request, timeout=SECONDS)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=SECONDS)
    lines = [json.loads(line) for line in err.splitlines()]
    assert {line["level"] for line in lines} == {"info"}
    assert "127.0.0.1" not in err and "evil" not in err


def test_the_environment_sets_limits_and_an_option_wins() -> None:
    with (
        started("--metrics-listen", "", DUET_SIG_MAX_FRAME="5000", DUET_SIG_HEARTBEAT="7") as (
            _,
            url,
        ),
        urllib.request.urlopen(url + "/v1/info", timeout=SECONDS) as answer,
    ):
        limits = json.load(answer)["limits"]
        assert (limits["max_frame"], limits["heartbeat"]) == (5000, 7)
    with (
        started("--metrics-listen", "", "--max-frame", "6000", DUET_SIG_MAX_FRAME="5000") as (
            _,
            url,
        ),
        urllib.request.urlopen(url + "/v1/info", timeout=SECONDS) as answer,
    ):
        assert json.load(answer)["limits"]["max_frame"] == 6000


@pytest.mark.skipif(
    importlib.util.find_spec("prometheus_client") is None,
    reason="prometheus-client is not installed",
)
def test_metrics_are_served_apart() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with (
        started("--metrics-listen", address),
        urllib.request.urlopen(f"http://{address}/metrics", timeout=SECONDS) as answer,
    ):
        text = answer.read().decode()
    assert "duet_sig_build_info" in text and "duet_sig_sessions" in text


@pytest.mark.skipif(
    importlib.util.find_spec("prometheus_client") is not None,
    reason="prometheus-client is installed",
)
def test_without_the_library_metrics_are_off_with_one_line() -> None:
    with started("--metrics-listen", "127.0.0.1:0") as (process, _):
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=SECONDS)
    assert err.count("prometheus-client is not installed") == 1


def test_what_would_be_unsafe_is_refused_with_what_to_do() -> None:
    assert "--insecure" in refused("--listen", "192.0.2.1:0")
    assert "--public-url" in refused("--listen", "0.0.0.0:0", "--insecure", "--metrics-listen", "")
    assert "--public-url" in refused("--trusted-proxy", "10.0.0.0/8")


@pytest.mark.parametrize(
    "options",
    [
        ("--listen", "8765"),
        ("--listen", "127.0.0.1:99999"),
        ("--trusted-proxy", "proxy.example", "--public-url", "https://a.example"),
        ("--max-frame", "0"),
        ("--cert", "/nonexistent"),
        ("--turn-url", "turn:a.example"),
        ("--ice-server", "http://a.example"),
        ("--public-url", "a.example"),
        ("--base-path", "duet"),
        ("--log-format", "xml"),
    ],
)
def test_wrong_options_are_refused_without_a_traceback(options: tuple[str, ...]) -> None:
    assert "Traceback" not in refused(*options)


def test_each_limit_is_an_option_with_its_variable() -> None:
    text = subprocess.run(
        [sys.executable, "-m", "signaling_server", "--help"],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=os.environ | {"COLUMNS": "300"},
    ).stdout
    for name in FIELDS:
        assert option_name(name) in text
        assert env_name(name) in text
    assert "--web" in text
