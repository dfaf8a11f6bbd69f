import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from duet_p2p import meeting
from duet_p2p.errors import SignalingUnreachable
from duet_p2p.meeting import (
    is_duet_server,
    owner_meeting_point,
    renewed_meeting_point,
    scientist_meeting_point,
)
from signaling_server.embedded import EmbeddedServer


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DUET_SIGNALING_URL", raising=False)


@pytest.fixture
def local_port(monkeypatch: pytest.MonkeyPatch) -> int:
    """A free port in place of the default one, so that a server of the user's is left alone."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    monkeypatch.setattr(meeting, "LOCAL_PORT", port)
    monkeypatch.setattr(meeting, "LOCAL_URL", f"http://127.0.0.1:{port}")
    return port


@pytest.fixture
def stranger() -> Iterator[int]:
    """Some other program's web server."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"hello": "there"}')

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join(5)


def test_an_argument_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUET_SIGNALING_URL", "https://env.example")
    assert scientist_meeting_point("https://arg.example", "").url == "https://arg.example"
    assert scientist_meeting_point("", "https://short.example").url == "https://short.example"
    assert scientist_meeting_point("", "").url == "https://env.example"
    assert owner_meeting_point("", "", None).url_to_send == "https://env.example"


def test_a_pasted_line_goes_before_the_environment_and_behind_an_argument(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DUET_SIGNALING_URL", "https://env.example")
    assert scientist_meeting_point("", "", "https://sent.example").url == "https://sent.example"
    named = scientist_meeting_point("https://arg.example", "", "https://sent.example")
    assert named.url == "https://arg.example"
    assert not named.hint


def test_two_names_for_two_servers_are_refused() -> None:
    with pytest.raises(ValueError, match="two names of one parameter"):
        scientist_meeting_point("https://a.example", "https://b.example")
    with pytest.raises(ValueError, match="either the URL"):
        owner_meeting_point("https://a.example", "", "10.0.0.1")


def test_a_scientist_without_a_url_tries_only_the_local_server(local_port: int) -> None:
    point = scientist_meeting_point("", "")
    assert point.url == f"http://127.0.0.1:{local_port}"
    assert "paste" in point.hint


def test_an_owner_starts_a_server_where_none_answers(local_port: int) -> None:
    point = owner_meeting_point("", "", None)
    assert point.server is not None
    try:
        assert point.url == f"http://127.0.0.1:{local_port}"
        assert point.url_to_send == "", "a scientist on this machine finds it by itself"
        assert "in this process; partners on this machine only" in point.text
        assert is_duet_server("127.0.0.1", local_port)
        second = owner_meeting_point("", "", None)
        assert second.server is None, "a server that answers is used"
        assert second.is_borrowed and not point.is_borrowed
        assert renewed_meeting_point(second) is second, "as long as it answers"
    finally:
        point.server.close()
    third = renewed_meeting_point(second)
    assert third.server is not None and third.url == second.url
    third.server.close()
    assert renewed_meeting_point(point) is point, "nobody takes the place of a server of one's own"


def test_another_programs_server_on_the_port_is_left_alone(
    stranger: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meeting, "LOCAL_PORT", stranger)
    monkeypatch.setattr(meeting, "LOCAL_URL", f"http://127.0.0.1:{stranger}")
    assert not is_duet_server("127.0.0.1", stranger)
    point = owner_meeting_point("", "", None)
    assert point.server is not None
    try:
        assert point.url != f"http://127.0.0.1:{stranger}"
        assert point.url_to_send == point.url, "the line to send names the other port"
    finally:
        point.server.close()


def test_a_host_for_the_lan_is_in_the_line_to_send(local_port: int) -> None:
    point = owner_meeting_point("", "", "127.0.0.2")
    assert point.server is not None
    try:
        assert point.url_to_send.startswith("http://127.0.0.2:")
        assert "partners on this network" in point.text
    finally:
        point.server.close()


def test_a_host_that_is_not_ours_is_an_error_that_names_it(local_port: int) -> None:
    with pytest.raises(SignalingUnreachable, match=r"192\.0\.2\.1"):
        owner_meeting_point("", "", "192.0.2.1")


def test_probing_ends_in_time_with_a_port_that_says_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(meeting, "PROBE_SECONDS", 0.1)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert not is_duet_server("127.0.0.1", silent.getsockname()[1])


def test_the_embedded_server_is_the_same_server() -> None:
    server = EmbeddedServer("127.0.0.1", 0)
    url = server.start(10)
    try:
        assert is_duet_server("127.0.0.1", int(url.rsplit(":", 1)[1]))
    finally:
        server.close()
