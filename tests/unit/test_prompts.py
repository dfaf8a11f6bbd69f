import builtins
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from duet_p2p.errors import IdentityFileUnsafe, InputRequired, InvalidId, PairingTimeout
from duet_p2p.identity.keys import Key, format_id
from duet_p2p.prompts import Prompts, join_arguments, named_clients, named_session

OWNER = Key.fresh("owner").id
CLIENT = Key.fresh("scientist").id
OTHER = Key.fresh("scientist").id

Typing = Callable[..., None]


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DUET_CLIENT_ID", "DUET_CLIENT_ID_FILE", "DUET_SESSION_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def typing(monkeypatch: pytest.MonkeyPatch) -> Typing:
    """What the person types, line by line; an exception is raised in its place."""

    def prepare(*lines: str | Exception) -> None:
        rest = iter(lines)

        def read(prompt: str) -> str:
            line = next(rest)
            if isinstance(line, Exception):
                raise line
            return line

        monkeypatch.setattr(builtins, "input", read)

    return prepare


class Exchanger:
    """The original's hook, recording what it is told."""

    def __init__(self, answer: str) -> None:
        self.answer = answer
        self.told: list[object] = []

    def set_role(self, join: bool) -> None:
        self.told.append(join)

    def set_responder_id(self, own: str) -> None:
        self.told.append(own)

    def run(self, credential: str) -> str:
        self.told.append(credential)
        return self.answer


def test_the_owner_is_asked_until_it_is_an_id(
    typing: Typing, capsys: pytest.CaptureFixture[str]
) -> None:
    typing("", CLIENT[:-1], OWNER, CLIENT[0] + "U" + CLIENT[2:], f"  {format_id(CLIENT).lower()} ")
    assert Prompts(is_on=True).ask_client(OWNER) == CLIENT
    printed = capsys.readouterr().out
    assert "Not a client ID: 31 of 32 characters." in printed
    assert "That is your own ID." in printed
    assert "Not a client ID: character 2 cannot occur in one." in printed


@pytest.mark.parametrize(
    ("line", "url"),
    [
        (OWNER, ""),
        (f'    duet = sy.join_duet("{OWNER}")', ""),
        (f"sy.join_duet('{OWNER}', url='http://10.0.0.7:8765')", "http://10.0.0.7:8765"),
        (f'duet = sy.join_duet("{OWNER}", network_url="https://a.example")', "https://a.example"),
    ],
    ids=["ID", "line", "url", "network_url"],
)
def test_the_owners_whole_line_may_be_pasted_for_the_id(
    typing: Typing, line: str, url: str
) -> None:
    typing("    import duet_p2p as sy", line)
    assert Prompts(is_on=False).ask_session() == (OWNER, url)


def test_what_the_owners_prompt_prints_is_what_the_scientists_takes(
    typing: Typing, capsys: pytest.CaptureFixture[str]
) -> None:
    url = "http://127.0.0.1:35273"
    Prompts(is_on=True).owner_started(OWNER, url, join_arguments(OWNER, url))
    typing(*capsys.readouterr().out.splitlines()[4:])
    assert Prompts(is_on=False).ask_session() == (OWNER, url)


def test_a_line_for_the_partner_is_no_client_id(
    typing: Typing, capsys: pytest.CaptureFixture[str]
) -> None:
    typing(f'duet = sy.join_duet("{OWNER}")', CLIENT)
    assert Prompts(is_on=True).ask_client(OWNER) == CLIENT
    assert "That is your own ID." in capsys.readouterr().out


def test_without_logging_only_mistakes_are_printed(
    typing: Typing, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = Prompts(is_on=False)
    prompts.owner_started(OWNER, "http://127.0.0.1:8765", f'"{OWNER}"')
    typing(CLIENT)
    assert prompts.ask_client(OWNER) == CLIENT
    assert capsys.readouterr().out == ""


def test_the_lines_of_both_sides(capsys: pytest.CaptureFixture[str]) -> None:
    prompts = Prompts(is_on=True)
    prompts.owner_started(OWNER, "http://127.0.0.1:8765", f'"{OWNER}"')
    prompts.scientist_started(CLIENT, "http://127.0.0.1:8765")
    printed = capsys.readouterr().out.splitlines()
    assert f"Session ID: {format_id(OWNER)}" in printed
    assert f'    duet = sy.join_duet("{OWNER}")' in printed
    assert f"    {format_id(CLIENT)}" in printed


class StdinNotImplementedError(RuntimeError):
    """As IPython's, by name."""


@pytest.mark.parametrize("end", [EOFError(), StdinNotImplementedError()])
def test_no_input_names_the_argument(typing: Typing, end: Exception) -> None:
    typing(end)
    with pytest.raises(InputRequired, match="client_id="):
        Prompts(is_on=False).ask_client(OWNER)
    typing(end)
    with pytest.raises(InputRequired, match="target_id"):
        Prompts(is_on=False).ask_session()


def test_an_error_of_input_itself_is_not_hidden(typing: Typing) -> None:
    typing(RuntimeError("broken"))
    with pytest.raises(RuntimeError, match="broken"):
        Prompts(is_on=False).ask_client(OWNER)


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """stdin is a pipe; gives the end to write to."""
    theirs, ours = os.pipe()
    with os.fdopen(theirs) as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        yield ours
        os.close(ours)


def test_typing_ends_at_the_deadline(pipe: int) -> None:
    with pytest.raises(PairingTimeout):
        Prompts(is_on=False, end=time.monotonic() + 0.1).ask_client(OWNER)


def test_what_is_typed_in_time_counts(pipe: int) -> None:
    os.write(pipe, f"{CLIENT}\n".encode())
    assert Prompts(is_on=False, end=time.monotonic() + 10).ask_client(OWNER) == CLIENT


def test_clients_are_named_in_this_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "clients"
    file.write_text(f"{format_id(OTHER)}\n\n")
    file.chmod(0o600)
    assert named_clients(None, None, OWNER) == []
    monkeypatch.setenv("DUET_CLIENT_ID_FILE", str(file))
    assert named_clients(None, None, OWNER) == [OTHER]
    monkeypatch.setenv("DUET_CLIENT_ID", f"{CLIENT}, {OTHER}")
    assert named_clients(None, None, OWNER) == [CLIENT, OTHER]
    exchanger = Exchanger(CLIENT)
    assert named_clients(None, exchanger, OWNER) == [CLIENT]
    assert exchanger.told == [False, OWNER, OWNER]
    assert named_clients(OTHER, exchanger, OWNER) == [OTHER]
    assert named_clients([OTHER, CLIENT], None, OWNER) == [OTHER, CLIENT]
    assert named_clients(lambda own: CLIENT if own == OWNER else "", None, OWNER) == [CLIENT]


def test_a_file_of_ids_that_others_can_change_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "clients"
    file.write_text(CLIENT)
    file.chmod(0o666)
    monkeypatch.setenv("DUET_CLIENT_ID_FILE", str(file))
    with pytest.raises(IdentityFileUnsafe):
        named_clients(None, None, OWNER)


def test_every_named_id_is_checked_before_one_is_used() -> None:
    with pytest.raises(InvalidId):
        named_clients([CLIENT, OWNER], None, "")


def test_the_session_is_named_in_this_order(monkeypatch: pytest.MonkeyPatch) -> None:
    assert named_session("", None, CLIENT) == ""
    monkeypatch.setenv("DUET_SESSION_ID", format_id(OWNER))
    assert named_session("", None, CLIENT) == OWNER
    other = Key.fresh("owner").id
    exchanger = Exchanger(other)
    assert named_session("", exchanger, CLIENT) == other
    assert exchanger.told == [True, "", CLIENT]
    assert named_session(OWNER, exchanger, CLIENT) == OWNER
    assert exchanger.told[3:] == [True, OWNER, CLIENT], "it may carry the own ID to the owner"
