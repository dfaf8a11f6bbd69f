"""`launch_duet` and `join_duet`: from two programs to two connected sessions.

The order of the first four parameters is the original's. Everything that can be refused without a
partner is refused before anything is sent.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import logging as standard_logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from duet_p2p import limits as numbers
from duet_p2p.console.console import Console
from duet_p2p.engine.host import Host, ProcessHost, ThreadHost
from duet_p2p.errors import NotAllowed, PairingTimeout, SessionClosed
from duet_p2p.identity.files import home
from duet_p2p.identity.keys import format_id
from duet_p2p.lobby import Lobby
from duet_p2p.meeting import owner_meeting_point, scientist_meeting_point
from duet_p2p.owner.audit import AuditLog
from duet_p2p.owner.audit_file import AuditFile, audit_path
from duet_p2p.owner.duet import OwnerDuet, start_service
from duet_p2p.owner.service import Service
from duet_p2p.prompts import (
    CredentialExchanger,
    Prompts,
    join_arguments,
    named_clients,
    named_session,
)
from duet_p2p.scientist.duet import ScientistDuet
from duet_p2p.surface import compiler
from duet_p2p.transport.folder import OwnerFolder, ScientistFolder, find_owner
from duet_p2p.transport.sctp.choice import SctpClass
from duet_p2p.transport.signaling import WebSocketSignaling

__all__ = ["duet", "get_root_data_path", "join_duet", "launch_duet", "load", "logger"]


def launch_duet(
    logging: bool = True,
    network_url: str = "",
    loopback: bool | str = False,
    credential_exchanger: CredentialExchanger | None = None,
    *,
    url: str = "",
    host: str | None = None,
    client_id: str | Sequence[str] | Callable[[str], Any] | None = None,
    on_id: Callable[[str], object] | None = None,
    identity: str | None = None,
    partner: str | None = None,
    ice_servers: Sequence[dict[str, Any]] | None = None,
    timeout: float | None = None,
    wait: bool = True,
    data_dirs: Mapping[str, str | Path] | None = None,
    shapes: str = "public",
    min_records: int = numbers.MIN_RECORDS,
    limits: Mapping[str, int] | None = None,
    engine: str = "process",
    audit: bool | str | Path = True,
    sctp: SctpClass = "auto",
) -> OwnerDuet:
    """Starts a session as the data owner and waits for the data scientist.

    Args:
        logging: whether lines are printed; a prompt that is needed always is.
        network_url: signalling server. Empty: ``DUET_SIGNALING_URL``, else the one on this
            machine, started inside this process where none answers.
        loopback: pair with another process of this user, without server and typing; a name tells
            several such pairs apart.
        credential_exchanger: the original's hook in place of the prompt: `run(own_id)` gives the
            partner's ID.
        url: the short name of `network_url`.
        host: address on which the server in this process listens, for partners on a LAN.
        client_id: the partner's ID, a list of IDs, or a callable that takes the own ID and gives
            one, called when a partner can join; in place of the prompt. None: ``DUET_CLIENT_ID``,
            ``DUET_CLIENT_ID_FILE``, else the prompt.
        on_id: called with the own ID as soon as it exists.
        identity: name of a stored key, made on first use. None: a fresh key.
        partner: your own label for the partner; refused if it stood for another ID before.
        ice_servers: RTCIceServer dicts. None: what the signalling server hands out; []: none.
        timeout: seconds for pairing, typing included. None: until interrupted.
        wait: False returns at once, with `id` set; `duet.wait()` blocks until connected.
        data_dirs: names and directories that remote data sets may read. None: only
            `get_root_data_path()`; {}: nothing.
        shapes: ``public`` or ``private``: default for `send`.
        min_records: the guard's smallest group of records.
        limits: overrides of quotas, see `owner.duet.QUOTAS`.
        engine: ``process``, or ``thread`` for debugging.
        audit: True keeps a log of what was shared, asked, decided and released in
            ``DUET_HOME/audit.sqlite``; or another file's path; False keeps nothing.
        sctp: the data channel: ``auto`` (fast where it can run), ``fast`` or ``stock`` (aiortc's
            own); see docs/transport.md.

    Raises:
        PairingTimeout: nobody connected in time.
        PeerProofError: messages in the partner's name failed verification.
        EngineFailed: the engine, which starts meanwhile, could not.
        InvalidId, InputRequired, SignalingUnreachable, OriginMismatch, PeerIdentityChanged,
        IdentityInUse, IdentityFileUnsafe, AuditUnavailable: see `duet_p2p.errors`.
    """
    make_host = {"process": ProcessHost, "thread": ThreadHost}.get(engine)
    if make_host is None:
        raise ValueError(f"engine is 'process' or 'thread', not {engine!r}")
    end = _deadline(timeout)
    lobby = Lobby(
        "owner",
        prompts := Prompts(is_on=logging, end=end),
        identity=identity,
        partner=partner,
        ice_servers=_ice_servers(ice_servers),
        sctp=sctp,
    )
    own_id = lobby.key.id
    log: AuditLog | None = None
    try:
        log = _open_audit(audit, lobby, prompts)
        # What runs a user's code runs when the partner can join, as the prompt does.
        is_code = callable(client_id) or (not client_id and credential_exchanger is not None)
        clients = [] if loopback or is_code else named_clients(client_id, None, own_id)
        if loopback:
            where, join_line, meeting = "none needed, loopback", _loopback_line(loopback), None
        else:
            meeting = owner_meeting_point(network_url, url, host)
            where = meeting.text
            join_line = join_arguments(own_id, meeting.url_to_send)

        async def build() -> Service:
            signaling = (
                OwnerFolder(
                    lobby.key,
                    _loopback_name(loopback),
                    on_client=lobby.expect,
                )
                if meeting is None
                else WebSocketSignaling(
                    meeting.url,
                    lobby.key,
                    find_again=lobby.find_server_again if meeting.is_borrowed else None,
                )
            )
            await lobby.prepare(
                signaling,
                meeting=meeting,
                expected=clients,
                prompt_open=not clients and not loopback,
                audit_head=log.head if log is not None else bytes,
            )
            service = await start_service(
                lobby.session,
                made_host,
                callback_thread=lobby.bridge.callback_thread,
                session_id=own_id,
                data_dirs=_data_dirs(data_dirs),
                limits=limits,
                min_records=min_records,
                logging=logging,
                journal=log,
            )
            lobby.session.on_state = lobby.watch(lobby.session.on_state)
            return service

        made_host: Host = lobby.bridge.call(_on_loop(make_host))
        service = lobby.bridge.call(build())
        console = lobby.bridge.call(_with_console(lobby, service, log))
        session = OwnerDuet(
            lobby.bridge,
            lobby.session,
            lobby.handshake,
            service,
            session_id=own_id,
            shapes=shapes,
            forget=lobby.forget,
            on_close=lobby.close,
            audit=log,
            console=console,
        )
    except BaseException:
        if log is not None:
            with contextlib.suppress(SessionClosed, TimeoutError):
                lobby.bridge.call(log.finish(), numbers.AUDIT_CLOSE_SECONDS)
        lobby.close()
        raise
    _close_when_collected(session, lobby, service)
    try:
        left = _left(end)
        lobby.bridge.call(lobby.start(), left)
        prompts.owner_started(own_id, where, join_line)
        if on_id is not None:
            on_id(own_id)
        if not clients and not loopback:
            if is_code:
                clients = named_clients(client_id, credential_exchanger, own_id)
            if wait and not clients:
                clients = [prompts.ask_client(own_id)]
            for named in clients:
                lobby.check_label(named)
                session.expect_client(named)
            if clients:
                lobby.bridge.call(_on_loop(lobby.handshake.close_prompt))
                prompts.say("Connecting...")
        elif wait and not loopback:
            prompts.say("Waiting for " + ", ".join(map(format_id, clients)) + "...")
        if wait:
            session.wait(_left(end))
    except BaseException:
        session.close()
        raise
    return session


def join_duet(
    target_id: str = "",
    network_url: str = "",
    loopback: bool | str = False,
    credential_exchanger: CredentialExchanger | None = None,
    *,
    url: str = "",
    logging: bool = True,
    on_id: Callable[[str], object] | None = None,
    identity: str | None = None,
    partner: str | None = None,
    ice_servers: Sequence[dict[str, Any]] | None = None,
    timeout: float | None = None,
    wait: bool = True,
    sctp: SctpClass = "auto",
) -> ScientistDuet:
    """Joins a data owner's session as the data scientist.

    Args:
        target_id: the owner's session ID. Empty: ``DUET_SESSION_ID``, else asks; there the owner's
            whole line may be pasted, and its server counts where no other was named in the call.
        network_url: signalling server; see `launch_duet`. Without one, only the local one is tried.
        loopback: pair with the longest waiting owner process of this user.
        credential_exchanger: `run(own_id)` gives the session ID; it also runs where `target_id`
            is given, which then goes before its answer.
        url: the short name of `network_url`.
        logging: whether lines are printed.
        on_id: called with the own ID as soon as it exists.
        identity: name of a stored key. None: a fresh key.
        partner: your own label for the owner.
        ice_servers: as for `launch_duet`.
        timeout: seconds for pairing. None: until interrupted.
        wait: False returns at once; `duet.wait()` blocks until connected.
        sctp: the data channel: ``auto``, ``stock`` (aiortc's own) or ``fast``; see
            docs/transport.md.

    Raises:
        PairingTimeout, PeerProofError, ConnectFailed, PartnerLeft, VersionMismatch, InvalidId,
        InputRequired, SignalingUnreachable, OriginMismatch, PeerIdentityChanged, IdentityInUse,
        IdentityFileUnsafe: see `duet_p2p.errors`.
    """
    end = _deadline(timeout)
    lobby = Lobby(
        "scientist",
        prompts := Prompts(is_on=logging, end=end),
        identity=identity,
        partner=partner,
        ice_servers=_ice_servers(ice_servers),
        sctp=sctp,
    )
    own_id = lobby.key.id
    compiler.preload()  # while the two find each other
    try:
        if loopback:
            meeting = None
            session_id = lobby.bridge.call(
                find_owner(_loopback_name(loopback), own_id, timeout=_left(end))
            )
        else:
            meeting = scientist_meeting_point(network_url, url)
            session_id = named_session(target_id, credential_exchanger, own_id)
            if not session_id:
                session_id, sent = prompts.ask_session()
                meeting = scientist_meeting_point(network_url, url, sent)

        async def build() -> None:
            signaling = (
                ScientistFolder(lobby.key, session_id)
                if meeting is None
                else WebSocketSignaling(meeting.url, lobby.key)
            )
            await lobby.prepare(signaling, meeting=meeting, partner_id=session_id)

        lobby.bridge.call(build())
        session = ScientistDuet(
            lobby.bridge,
            lobby.session,
            lobby.handshake,
            id=own_id,
            peer=session_id,
            on_close=lobby.close,
        )
        session._client.shows_progress = logging
        lobby.session.on_state = lobby.watch(lobby.session.on_state)
    except BaseException:
        lobby.close()
        raise
    _close_when_collected(session, lobby, None)
    try:
        left = _left(end)
        lobby.bridge.call(lobby.start(), left)
        prompts.scientist_started(own_id, meeting.text if meeting else "")
        if on_id is not None:
            on_id(own_id)
        if wait:
            session.wait(_left(end))
    except BaseException:
        session.close()
        raise
    return session


def duet(
    target_id: str | None = None,
    logging: bool = True,
    network_url: str = "",
    loopback: bool | str = False,
    **options: Any,
) -> OwnerDuet | ScientistDuet:
    """Joins if a session ID is given, an empty one too, else launches; options as there."""
    options |= {"logging": logging, "network_url": network_url, "loopback": loopback}
    return launch_duet(**options) if target_id is None else join_duet(target_id, **options)


def get_root_data_path() -> Path:
    """The directory that remote data sets may read by default, ``DUET_HOME/data``."""
    path = home() / "data"
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def load(library: str) -> None:
    """Checks that an optional library is offered; loads nothing.

    Raises:
        NotAllowed: it is not part of this version.
    """
    if library not in ("torch", "torchvision", "python"):
        raise NotAllowed(
            f"{library!r} is not offered by this version; torch, torchvision and python are."
        )


class _Logger:
    """The original's `sy.logger`: attaches handlers to the standard ``duet_p2p`` logger."""

    def __init__(self) -> None:
        self._handlers: dict[int, standard_logging.Handler] = {}
        self._numbers = itertools.count(1)

    def add(self, sink: Any, level: str | int = "INFO") -> int:
        """Sends records to a path or an open stream; the number is for `remove`."""
        handler: standard_logging.Handler
        if isinstance(sink, str | Path):
            handler = standard_logging.FileHandler(sink)
        else:
            handler = standard_logging.StreamHandler(sink)
        handler.setLevel(level)
        handler.setFormatter(standard_logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        target = standard_logging.getLogger("duet_p2p")
        target.addHandler(handler)
        if target.getEffectiveLevel() > handler.level:
            target.setLevel(handler.level)
        number = next(self._numbers)
        self._handlers[number] = handler
        return number

    def remove(self, number: int | None = None) -> None:
        """Takes one handler off, or all.

        Raises:
            ValueError: there is no handler of that number.
        """
        if number is not None and number not in self._handlers:
            raise ValueError(f"no handler has the number {number}")
        for key in [number] if number is not None else list(self._handlers):
            handler = self._handlers.pop(key)
            standard_logging.getLogger("duet_p2p").removeHandler(handler)
            handler.close()


logger = _Logger()


async def _on_loop(call: Callable[[], Any]) -> Any:
    return call()


def _close_when_collected(session: Any, lobby: Lobby, service: Service | None) -> None:
    """A session that nobody holds any more, or that is open when Python ends, is closed.

    The collector runs wherever it likes, also on the session's own loop or under somebody's lock,
    so that case gets a thread. At the end of Python no thread can be started any more. There, the
    order counts: exit handlers run last in, first out, so this one before the bridge's own.
    """

    def collect() -> None:
        atexit.unregister(shut)
        threading.Thread(target=shut, name="duet closing", daemon=True).start()

    def shut() -> None:
        if service is not None and not lobby.bridge.is_closed:
            with contextlib.suppress(SessionClosed, TimeoutError):
                lobby.bridge.call(_end(lobby, service), numbers.OWNER_CLOSE_SECONDS)
        lobby.close()

    finalizer = weakref.finalize(session, collect)
    finalizer.atexit = False
    atexit.register(shut)

    def forget() -> None:
        finalizer.detach()
        atexit.unregister(shut)

    lobby.on_closed = forget


async def _with_console(lobby: Lobby, service: Service, log: AuditLog | None) -> Console:
    console = Console(service, lobby.session, lobby.key.id, audit=log)
    lobby.closers.append(console.close)
    await console.listen()
    return console


async def _end(lobby: Lobby, service: Service) -> None:
    await service.farewell()
    await lobby.session.close()
    await service.close()


def _open_audit(audit: bool | str | Path, lobby: Lobby, prompts: Prompts) -> AuditLog | None:
    if audit is False:
        return None
    path = audit_path() if audit is True else Path(audit).expanduser().absolute()

    def trouble(text: str) -> None:
        lobby.bridge.callback_thread.tell(prompts.say, text)

    return AuditLog(AuditFile(path), lobby.key, on_trouble=trouble)


def _deadline(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout


def _left(end: float | None) -> float | None:
    if end is None:
        return None
    left = end - time.monotonic()
    if left <= 0:
        raise PairingTimeout()
    return left


def _loopback_name(loopback: bool | str) -> str | None:
    return loopback if isinstance(loopback, str) else None


def _loopback_line(loopback: bool | str) -> str:
    return f"loopback={loopback!r}"


def _data_dirs(given: Mapping[str, str | Path] | None) -> Mapping[str, str | Path]:
    return {"": get_root_data_path()} if given is None else given


def _ice_servers(given: Sequence[dict[str, Any]] | None) -> Sequence[dict[str, Any]] | None:
    """The argument, else ``DUET_ICE_SERVERS`` (JSON), else None: the server's."""
    import json

    text = os.environ.get("DUET_ICE_SERVERS")
    if given is not None or not text:
        return given
    found = json.loads(text)
    if not isinstance(found, list):
        raise ValueError("DUET_ICE_SERVERS is a JSON list of RTCIceServer objects")
    return found
