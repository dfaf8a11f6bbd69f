"""What a person reads and types while two parties look for each other.

The texts are those of docs/protocol.md, section Pairing. Reading happens in the caller's thread
through `input`, so that it works in a terminal, in a notebook and under a debugger; printing may
come from any thread. With `is_on` False only a prompt that is needed appears.
"""

from __future__ import annotations

import builtins
import os
import re
import select
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import BuiltinFunctionType
from typing import Any, Final, Protocol

from duet_p2p.errors import InputRequired, InvalidId, PairingTimeout
from duet_p2p.identity.files import check_private_file
from duet_p2p.identity.keys import Role, format_id, parse_id

__all__ = [
    "CredentialExchanger",
    "Prompts",
    "join_arguments",
    "named_clients",
    "named_session",
]


_JOIN_LINE: Final = re.compile(
    r"""join_duet\(\s*["']([^"']*)["']\s*(?:,\s*(?:network_)?url\s*=\s*["']([^"']*)["']\s*)?\)"""
)
"""The line that an owner's notebook prints; it may be pasted whole where an ID is asked for."""


class CredentialExchanger(Protocol):
    """The original's hook in place of the prompts.

    `set_role(join=…)` and `set_responder_id(id)`, with the owner's ID as far as it is known, are
    called first where they exist.
    """

    def run(self, credential: str) -> str:
        """Takes the own ID, returns the partner's."""
        ...


class Prompts:
    """Prints the lines of one pairing, and asks.

    Args:
        is_on: whether anything but a needed prompt appears.
        end: on the monotonic clock, when typing ends with `PairingTimeout`. A terminal and a pipe
            keep to it; where reading cannot be watched (a notebook's kernel), it counts once the
            line was typed.
    """

    def __init__(self, *, is_on: bool, end: float | None = None) -> None:
        self._is_on = is_on
        self._end = end

    def say(self, text: str = "") -> None:
        """One line for the person, unless switched off."""
        if self._is_on:
            print(text, flush=True)

    def owner_started(self, session_id: str, where: str, join_arguments: str) -> None:
        """The owner's first lines: the session ID and what to send."""
        self.say("Starting Duet")
        self.say(f"Signalling server: {where}")
        self.say(f"Session ID: {format_id(session_id)}")
        self.say("STEP 1: send this to your partner:")
        self._say_join(join_arguments)

    def owner_moved(self, session_id: str, where: str, url_to_send: str) -> None:
        """The signalling server is another one from now on."""
        self.say(f"Signalling server: {where}")
        if url_to_send:
            self.say("A partner who has not joined yet needs this line in place of the first:")
            self._say_join(join_arguments(session_id, url_to_send))

    def _say_join(self, join_arguments: str) -> None:
        self.say()
        self.say("    import duet_p2p as sy")
        self.say(f"    duet = sy.join_duet({join_arguments})")
        self.say()

    def scientist_started(self, client_id: str, where: str) -> None:
        """The scientist's first lines: the client ID to send; an empty `where` is loopback."""
        self.say("Joining Duet")
        if not where:
            self.say("Connecting...")
            return
        self.say(f"Signalling server: {where}")
        self.say("STEP 1: send this client ID to the owner and wait:")
        self.say()
        self.say(f"    {format_id(client_id)}")
        self.say()
        self.say("Waiting for the owner to enter it...")

    def ask_client(self, own_id: str) -> str:
        """Asks the owner for the partner's ID until it is one.

        Raises:
            InputRequired: there is no input.
        """
        self.say("STEP 2: ask your partner for the client ID and enter it here.")
        return self._ask("Your partner's client ID: ", "scientist", own_id, "client_id=")[0]

    def ask_session(self) -> tuple[str, str]:
        """Asks the scientist for the owner's session ID until it is one.

        Returns:
            The ID, and the signalling server where the owner's whole line was pasted and names one.
        """
        return self._ask("The owner's session ID: ", "owner", "", "target_id")

    def _ask(self, prompt: str, role: Role, own_id: str, argument: str) -> tuple[str, str]:
        while True:
            try:
                typed = builtins.input(self._wait_for_line(prompt))
            except EOFError as error:
                raise InputRequired(f"There is no input to type an ID; pass {argument}.") from error
            except Exception as error:
                # A kernel without stdin has an exception of its own for it.
                if type(error).__name__ != "StdinNotImplementedError":
                    raise
                raise InputRequired(
                    f"This kernel has no prompt to type an ID; pass {argument}."
                ) from error
            line = _JOIN_LINE.search(typed)
            text, url = (line[1], line[2] or "") if line else (typed, "")
            try:
                return parse_id(text, role, own_id=own_id), url
            except InvalidId as error:
                print(error, flush=True)

    def _wait_for_line(self, prompt: str) -> str:
        """With a deadline, shows the prompt and waits for a line; what `input` is to show then."""
        # A notebook's kernel puts an `input` of its own in place, which does not read stdin.
        reader: Any = builtins.input
        if self._end is None or not isinstance(reader, BuiltinFunctionType):
            return prompt
        try:
            readable = [sys.stdin.fileno()]
        except (OSError, ValueError, AttributeError):
            return prompt
        print(prompt, end="", flush=True)
        left = self._end - time.monotonic()
        if left <= 0 or not select.select(readable, [], [], left)[0]:
            raise PairingTimeout("No ID was typed in time.")
        return ""


def join_arguments(session_id: str, url_to_send: str) -> str:
    """What stands between the brackets of the partner's `join_duet`."""
    more = f', network_url="{url_to_send}"' if url_to_send else ""
    return f'"{session_id}"{more}'


def named_clients(client_id: Any, exchanger: CredentialExchanger | None, own_id: str) -> list[str]:
    """The partners that an owner named without a prompt; empty: ask.

    In this order: the argument (an ID, a list of them, or a callable that takes the own ID), the
    credential exchanger, ``DUET_CLIENT_ID`` (comma-separated), ``DUET_CLIENT_ID_FILE`` (one per
    line; empty and missing lines do not count).

    Raises:
        InvalidId: one of them is none; all of them are checked before any is used.
    """
    given: Iterable[str]
    if callable(client_id):
        client_id = client_id(own_id)
    if client_id:
        given = [client_id] if isinstance(client_id, str) else client_id
    elif exchanger is not None:
        given = [_exchange(exchanger, own_id, join=False, responder_id=own_id)]
    elif os.environ.get("DUET_CLIENT_ID"):
        given = os.environ["DUET_CLIENT_ID"].split(",")
    elif os.environ.get("DUET_CLIENT_ID_FILE"):
        given = _lines(Path(os.environ["DUET_CLIENT_ID_FILE"]))
    else:
        return []
    return [parse_id(text, "scientist", own_id=own_id) for text in given]


def named_session(target_id: str, exchanger: CredentialExchanger | None, own_id: str) -> str:
    """The session ID that a scientist named without a prompt; empty: ask.

    An exchanger runs even if the ID is given: it may be what brings the own ID to the owner.
    """
    text = target_id
    if exchanger is not None:
        found = _exchange(exchanger, own_id, join=True, responder_id=target_id)
        text = target_id or found
    text = text or os.environ.get("DUET_SESSION_ID", "")
    return parse_id(text, "owner", own_id=own_id) if text else ""


def _exchange(exchanger: CredentialExchanger, own_id: str, *, join: bool, responder_id: str) -> str:
    set_role: Callable[..., object] | None = getattr(exchanger, "set_role", None)
    if set_role is not None:
        set_role(join=join)
    set_responder_id: Callable[..., object] | None = getattr(exchanger, "set_responder_id", None)
    if set_responder_id is not None:
        set_responder_id(responder_id)
    return exchanger.run(own_id)


def _lines(path: Path) -> list[str]:
    check_private_file(path)
    return [line for line in path.read_text().splitlines() if line.strip()]
