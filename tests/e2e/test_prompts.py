"""What a person reads and types, on a pseudo-terminal: IDs, mistakes, and the end of input."""

import os
import pty
import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

STAY = "import time; time.sleep(100)"
OWNER = (
    "import duet_p2p as sy; duet = sy.launch_duet(timeout=60{}); print('READY', duet.peer);" + STAY
)
JOIN = "import duet_p2p as sy; d = sy.join_duet({!r}, url={!r}, timeout=60); print('READY');" + STAY


class Terminal:
    """A Python program on a pseudo-terminal: `code`, or a module with arguments."""

    def __init__(self, code: str, home: Path, *module: str, **environment: str) -> None:
        self._end, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-u", *(["-m", *module] if module else ["-c", code])],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env={**os.environ, "DUET_HOME": str(home), **environment},
        )
        os.close(theirs)
        self.text = ""

    def read_until(self, pattern: str, timeout: float = 100) -> re.Match[str]:
        deadline = time.monotonic() + timeout
        while not (found := re.search(pattern, self.text, re.MULTILINE)):
            left = deadline - time.monotonic()
            assert left > 0, f"{pattern!r} did not appear:\n{self.text}"
            if select.select([self._end], [], [], left)[0]:
                try:
                    self.text += os.read(self._end, 65536).decode(errors="replace")
                except OSError:
                    raise AssertionError(f"it ended before {pattern!r}:\n{self.text}") from None
        return found

    def type(self, text: str) -> None:
        os.write(self._end, text.encode())

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        os.close(self._end)


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    started: list[Terminal] = []
    yield started
    for terminal in started:
        terminal.close()


def test_two_people_pair_by_reading_and_typing(
    server: str, home: Path, terminals: list[Terminal]
) -> None:
    owner = Terminal(OWNER.format(f", url={server!r}"), home / "a")
    terminals.append(owner)
    line = owner.read_until(r'sy\.join_duet\("(S[0-9A-Z]{31})", network_url="([^"]+)"\)')
    session_id = line[1]
    owner.read_until(r"^STEP 2: ask your partner for the client ID and enter it here\.")
    owner.read_until(r"Your partner's client ID: ")

    scientist = Terminal(JOIN.format(session_id, line[2]), home / "b")
    terminals.append(scientist)
    client_id = scientist.read_until(r"^ {4}(C[0-9A-Z-]{38})")[1]
    scientist.read_until("Waiting for the owner to enter it")
    owner.read_until(r"A partner is waiting\. Enter the client ID that your partner sent you\.")

    owner.type(f"{session_id}\n")
    owner.read_until("That is your own ID.")
    owner.type(client_id[:-1] + "\n")
    owner.read_until("Not a client ID: 31 of 32 characters.")
    owner.type(("D" if client_id[5] != "D" else "E").join((client_id[:5], client_id[6:])) + "\n")
    owner.read_until("a character is wrong or two are swapped")
    owner.type("C?" + client_id[2:] + "\n")
    owner.read_until("Not a client ID: character 2 cannot occur in one.")
    owner.type(client_id.lower().replace("-", " ") + "\n")

    for terminal, partner in ((owner, client_id), (scientist, session_id)):
        connected = terminal.read_until(
            r"Connected\. Partner ([0-9A-Z-]+) \(verified\), you ([0-9A-Z-]+), direct"
        )
        assert connected[1].replace("-", "") == partner.replace("-", "")
        terminal.read_until("READY")


@pytest.mark.slow
def test_without_input_the_error_names_the_argument(server: str, home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OWNER.format(f", url={server!r}")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "DUET_HOME": str(home / "c")},
    )
    assert done.returncode != 0
    assert "InputRequired" in done.stderr
    assert "client_id=" in done.stderr


@pytest.mark.slow
def test_a_partner_by_environment_and_callback(
    server: str, home: Path, terminals: list[Terminal]
) -> None:
    scientist_code = (
        "import os, duet_p2p as sy\n"
        "duet = sy.join_duet(url=os.environ['URL'], timeout=60, identity='lab',"
        " on_id=lambda own: print('MINE', own))\nprint('READY')\n" + STAY
    )
    key = (
        "from duet_p2p.identity.files import open_identity\n"
        "print(open_identity('lab', 'scientist').key.id)"
    )
    environment = {**os.environ, "DUET_HOME": str(home / "lab")}
    client_id = subprocess.run(
        [sys.executable, "-c", key], capture_output=True, text=True, env=environment, timeout=60
    ).stdout.strip()
    owner = Terminal(OWNER.format(f", url={server!r}"), home / "d", DUET_CLIENT_ID=client_id)
    terminals.append(owner)
    session_id = owner.read_until(r'sy\.join_duet\("(S[0-9A-Z]{31})"')[1]
    scientist = Terminal(scientist_code, home / "lab", DUET_SESSION_ID=session_id, URL=server)
    terminals.append(scientist)
    assert scientist.read_until(r"MINE (\S+)")[1] == client_id
    scientist.read_until("READY")
    owner.read_until(f"READY {client_id}")


def test_loopback_needs_no_server_and_no_typing(home: Path, terminals: list[Terminal]) -> None:
    owner = Terminal(OWNER.format(", loopback='pair'"), home / "loop")
    terminals.append(owner)
    code = "import duet_p2p as sy; d = sy.join_duet(loopback='pair', timeout=60); print('READY');"
    scientist = Terminal(code + STAY, home / "loop")
    terminals.append(scientist)
    owner.read_until("READY")
    scientist.read_until("READY")


@pytest.mark.slow
def test_a_script_without_a_main_guard_and_without_a_server_serves_its_own(
    home: Path, tmp_path: Path, terminals: list[Terminal]
) -> None:
    script = tmp_path / "owner.py"
    script.write_text(
        "import runpy, sys\nimport duet_p2p as sy\n"
        "duet = sy.launch_duet(timeout=60)\nprint('READY')\n" + STAY
    )
    owner = Terminal(f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')", home)
    terminals.append(owner)
    url = owner.read_until(r"Signalling server: (http://127\.0\.0\.1:\d+)")[1]
    session_id = owner.read_until(r'sy\.join_duet\("(S[0-9A-Z]{31})"')[1]
    scientist = Terminal(JOIN.format(session_id, url), home / "e")
    terminals.append(scientist)
    owner.read_until("client ID: ")
    owner.type(scientist.read_until(r"^ {4}(C[0-9A-Z-]{38})")[1] + "\n")
    owner.read_until("READY")
    scientist.read_until("READY")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_stranger_on_the_default_port_is_told_of_and_the_pasted_line_leads_past_it(
    home: Path, terminals: list[Terminal]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    stranger = Terminal("", home, "http.server", str(port), "--bind", "127.0.0.1")
    terminals.append(stranger)
    stranger.read_until("Serving HTTP")
    default = (
        "from duet_p2p import meeting\n"
        f"meeting.LOCAL_PORT, meeting.LOCAL_URL = {port}, 'http://127.0.0.1:{port}'\n"
        "import duet_p2p as sy\n"
    )
    owner = Terminal(default + "sy.launch_duet(timeout=250); print('READY')\n" + STAY, home / "g")
    terminals.append(owner)
    line = owner.read_until(r'    duet = sy\.join_duet\("(S\w+)", network_url="http://[\d.:]+"\)')
    join = default + "sy.join_duet(timeout=250); print('READY')\n" + STAY
    lost, scientist = (Terminal(join, home / name) for name in ("h", "i"))
    terminals += [lost, scientist]
    lost.read_until("session ID: ")
    lost.type(line[1] + "\n")
    lost.read_until("no Duet server is there")
    lost.read_until("paste it where join_duet")
    scientist.read_until("session ID: ")
    scientist.type(line[0].strip() + "\n")
    owner.read_until("client ID: ")
    owner.type(scientist.read_until(r"^ {4}(C[0-9A-Z-]{38})")[1] + "\n")
    owner.read_until("READY")
    scientist.read_until("READY")


def test_typing_ends_at_the_deadline(server: str, home: Path, terminals: list[Terminal]) -> None:
    code = f"import duet_p2p as sy; sy.launch_duet(url={server!r}, timeout=2)"
    owner = Terminal(code, home / "f")
    terminals.append(owner)
    owner.read_until("PairingTimeout", 40)
    assert owner.process.wait(20) != 0


@pytest.mark.slow
def test_the_command_gives_a_python_prompt_with_duet_in_scope(
    home: Path, terminals: list[Terminal]
) -> None:
    cli = "duet_p2p.cli"
    owner = Terminal("", home / "cli", cli, "launch", "--loopback", "--timeout", "60")
    terminals.append(owner)
    scientist = Terminal("", home / "cli", cli, "join", "--loopback", "--timeout", "60")
    terminals.append(scientist)
    owner.read_until(r"^>>> ")
    scientist.read_until(r"^>>> ")
    owner.type("t = torch.ones(3).tag('ones').send(duet)\n")
    owner.type("h = duet.requests.add_handler(action='accept')\n")
    owner.type("print('SET')\n")
    owner.read_until(r"SET(?!')")  # what is said of the rule may come beside it, or behind
    scientist.type("print('SUM', duet.store['ones'].sum().get(request_block=True).item())\n")
    scientist.read_until(r"^SUM 3\.0\s+>>> ")
    scientist.type("\x04")
    scientist.read_until("Closed.")
    assert scientist.process.wait(20) == 0
    owner.type("\x04")
    owner.read_until("Closed.")
    assert owner.process.wait(20) == 0
