"""From the arguments of `launch_duet` or `join_duet` to a session that can be returned.

An opening makes the lasting parts in order; nothing is sent before `start`. What fails on the way
leaves nothing behind: no thread, no engine, no server, no identity that is still in use.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from duet_p2p import limits as numbers
from duet_p2p.console.console import Console
from duet_p2p.engine.host import Host
from duet_p2p.errors import PairingTimeout, SessionClosed
from duet_p2p.identity.keys import Role, format_id
from duet_p2p.invitation import Invitation
from duet_p2p.lobby import Lobby
from duet_p2p.meeting import MeetingPoint, owner_meeting_point, scientist_meeting_point
from duet_p2p.owner.audit import AuditLog
from duet_p2p.owner.audit_file import AuditFile, audit_path
from duet_p2p.owner.duet import OwnerDuet, start_service
from duet_p2p.owner.service import Service
from duet_p2p.prompts import CredentialExchanger, Prompts, join_arguments, named_session
from duet_p2p.scientist.duet import ScientistDuet
from duet_p2p.transport.base import Signaling
from duet_p2p.transport.folder import OwnerFolder, ScientistFolder, find_owner
from duet_p2p.transport.sctp.choice import SctpClass
from duet_p2p.transport.signaling import WebSocketSignaling

__all__ = ["Opening", "OwnerOpening", "ScientistOpening"]


class Opening:
    """What both sides go through; everything here runs in the caller's thread.

    Args:
        logging: whether lines are printed.
        timeout: seconds for all of it, or None.
        identity: name of a stored key, or None for a fresh one.
        partner: the user's own label for the partner, or None.
        ice_servers: the argument; None takes ``DUET_ICE_SERVERS``, else the server's.
        sctp: which data channel to use.

    Raises:
        ValueError, IdentityInUse, IdentityFileUnsafe: see `Lobby`.
    """

    role: ClassVar[Role]

    def __init__(
        self,
        *,
        logging: bool,
        timeout: float | None,
        identity: str | None,
        partner: str | None,
        ice_servers: Sequence[dict[str, Any]] | None,
        sctp: SctpClass,
    ) -> None:
        self._end = None if timeout is None else time.monotonic() + timeout
        self.prompts = Prompts(is_on=logging, end=self._end)
        self.lobby = Lobby(
            self.role,
            self.prompts,
            identity=identity,
            partner=partner,
            ice_servers=_ice_servers(ice_servers),
            sctp=sctp,
        )

    def left(self) -> float | None:
        """Seconds until the timeout, None without one; raises `PairingTimeout` after it."""
        if self._end is None:
            return None
        left = self._end - time.monotonic()
        if left <= 0:
            raise PairingTimeout()
        return left

    @contextlib.contextmanager
    def building(self) -> Iterator[None]:
        """Until there is a session, a failure takes down what was made so far."""
        try:
            yield
        except BaseException:
            self._take_down()
            raise

    @contextlib.contextmanager
    def pairing(self, session: OwnerDuet | ScientistDuet) -> Iterator[None]:
        """Until the session is returned, a failure closes it."""
        try:
            yield
        except BaseException:
            session.close()
            raise

    def start(self, on_id: Callable[[str], object] | None) -> None:
        """Begins to look for the partner, and tells the own ID."""
        left = self.left()
        self.lobby.bridge.call(self.lobby.start(), left)
        self._say_started()
        if on_id is not None:
            on_id(self.lobby.key.id)

    def _say_started(self) -> None:
        raise NotImplementedError

    def _take_down(self) -> None:
        self.lobby.close()


class OwnerOpening(Opening):
    """The owner's: log, way to the partner, service and engine, console. Arguments as above."""

    role = "owner"
    _log: AuditLog | None = None
    _service: Service | None = None
    _where = _join_arguments = ""

    def open_audit(self, audit: bool | str | Path) -> None:
        """Opens the log: in its usual place, in the file of that path, or none.

        Raises:
            AuditUnavailable: it cannot be written.
        """
        if audit is False:
            return
        path = audit_path() if audit is True else Path(audit).expanduser().absolute()
        tell = self.lobby.bridge.callback_thread.tell
        self._log = AuditLog(
            AuditFile(path), self.lobby.key, on_trouble=partial(tell, self.prompts.say)
        )

    def meet(
        self,
        invitation: Invitation,
        loopback: bool | str,
        network_url: str,
        url: str,
        host: str | None,
    ) -> None:
        """Makes the way on which a partner will come; a server in this process starts here.

        Raises:
            ValueError, SignalingUnreachable: see `owner_meeting_point`.
            PeerIdentityChanged: the label stood for another ID.
        """
        if loopback:
            meeting = None
            self._where, self._join_arguments = "none needed, loopback", f"loopback={loopback!r}"
        else:
            meeting = owner_meeting_point(network_url, url, host)
            self._where = meeting.text
            self._join_arguments = join_arguments(self.lobby.key.id, meeting.url_to_send)
        self.lobby.bridge.call(self._prepare(meeting, _name(loopback), invitation))

    async def _prepare(
        self, meeting: MeetingPoint | None, name: str | None, invitation: Invitation
    ) -> None:
        lobby = self.lobby
        signaling: Signaling
        if meeting is None:
            signaling = OwnerFolder(lobby.key, name, on_client=lobby.expect)
        else:
            find_again = lobby.find_server_again if meeting.is_borrowed else None
            signaling = WebSocketSignaling(meeting.url, lobby.key, find_again=find_again)
        await lobby.prepare(
            signaling,
            meeting=meeting,
            expected=invitation.clients,
            prompt_open=invitation.is_open,
            audit_head=self._log.head if self._log is not None else bytes,
        )

    def serve(
        self,
        make_host: Callable[[], Host],
        *,
        data_dirs: Mapping[str, str | Path],
        limits: Mapping[str, int] | None,
        min_records: int,
        logging: bool,
    ) -> Service:
        """The service, with an engine that starts meanwhile; raises what `start_service` does."""
        lobby = self.lobby
        host: Host = lobby.bridge.call(_on_loop(make_host))
        start = partial(
            start_service,
            lobby.session,
            host,
            callback_thread=lobby.bridge.callback_thread,
            session_id=lobby.key.id,
            data_dirs=data_dirs,
            limits=limits,
            min_records=min_records,
            logging=logging,
            journal=self._log,
        )
        self._service = lobby.bridge.call(self._watched(start))
        return self._service

    async def _watched(self, start: Callable[[], Coroutine[Any, Any, Service]]) -> Service:
        service = await start()
        # in the same turn of the loop: an engine that fails at once ends the pairing too
        self.lobby.session.on_state = self.lobby.watch(self.lobby.session.on_state)
        return service

    def make_duet(self, service: Service, shapes: str) -> OwnerDuet:
        """The owner's facade, and the page beside it, which starts when somebody opens it.

        Raises:
            ValueError: there are no such `shapes`.
        """
        lobby = self.lobby
        return OwnerDuet(
            lobby.bridge,
            lobby.session,
            lobby.handshake,
            service,
            session_id=lobby.key.id,
            shapes=shapes,
            forget=lobby.forget,
            on_close=lobby.close,
            audit=self._log,
            console=lobby.bridge.call(self._make_console(service)),
            say=self.prompts.say,
        )

    async def _make_console(self, service: Service) -> Console:
        console = Console(service, self.lobby.session, self.lobby.key.id, audit=self._log)
        self.lobby.closers.append(console.close)
        await console.listen()
        return console

    def invite(self, invitation: Invitation, *, may_ask: bool) -> None:
        """Admits the partners that are named now, or says whom the session waits for.

        Args:
            invitation: of this launch.
            may_ask: whether an ID may be typed.

        Raises:
            PeerIdentityChanged: the label stood for another ID.
            InvalidId, InputRequired, PairingTimeout: see `Invitation.ask`.
        """
        if invitation.is_open:
            clients = invitation.ask(self.prompts, may_ask=may_ask)
            for named in clients:
                self.lobby.check_label(named)
                self.lobby.bridge.call(_on_loop(partial(self.lobby.expect, named)))
            if clients:
                self.lobby.bridge.call(_on_loop(self.lobby.handshake.close_prompt))
                self.prompts.say("Connecting...")
        elif may_ask and invitation.clients:
            self.prompts.say("Waiting for " + ", ".join(map(format_id, invitation.clients)) + "...")

    def _say_started(self) -> None:
        self.prompts.owner_started(self.lobby.key.id, self._where, self._join_arguments)

    def _take_down(self) -> None:
        try:
            with contextlib.suppress(SessionClosed, TimeoutError):
                if self._service is not None:
                    self.lobby.bridge.call(self._service.close(), numbers.OWNER_CLOSE_SECONDS)
                elif self._log is not None:
                    self.lobby.bridge.call(self._log.finish(), numbers.AUDIT_CLOSE_SECONDS)
        finally:
            super()._take_down()


class ScientistOpening(Opening):
    """The scientist's: the way to the owner. Arguments as above."""

    role = "scientist"
    _where = ""

    def meet(
        self,
        target_id: str,
        exchanger: CredentialExchanger | None,
        loopback: bool | str,
        network_url: str,
        url: str,
    ) -> str:
        """Finds out whose session it is, asks if need be, and makes the way there; its ID.

        Raises:
            ValueError: two different URLs.
            InvalidId, InputRequired: see `named_session` and `Prompts.ask_session`.
            PairingTimeout: no owner, or no ID, in time.
            PeerIdentityChanged: the label stood for another ID.
        """
        own_id = self.lobby.key.id
        meeting: MeetingPoint | None = None
        if loopback:
            search = find_owner(_name(loopback), own_id, timeout=self.left())
            session_id: str = self.lobby.bridge.call(search)
        else:
            meeting = scientist_meeting_point(network_url, url)
            session_id = named_session(target_id, exchanger, own_id)
            if not session_id:
                session_id, sent = self.prompts.ask_session()
                meeting = scientist_meeting_point(network_url, url, sent)
            self._where = meeting.text
        self.lobby.bridge.call(self._prepare(meeting, session_id))
        return session_id

    def make_duet(self, session_id: str) -> ScientistDuet:
        """The scientist's facade."""
        lobby = self.lobby
        duet = ScientistDuet(
            lobby.bridge,
            lobby.session,
            lobby.handshake,
            id=lobby.key.id,
            peer=session_id,
            on_close=lobby.close,
        )
        lobby.session.on_state = lobby.watch(lobby.session.on_state)
        return duet

    async def _prepare(self, meeting: MeetingPoint | None, session_id: str) -> None:
        signaling: Signaling
        if meeting is None:
            signaling = ScientistFolder(self.lobby.key, session_id)
        else:
            signaling = WebSocketSignaling(meeting.url, self.lobby.key)
        await self.lobby.prepare(signaling, meeting=meeting, partner_id=session_id)

    def _say_started(self) -> None:
        self.prompts.scientist_started(self.lobby.key.id, self._where)


def _name(loopback: bool | str) -> str | None:
    return loopback if isinstance(loopback, str) else None


async def _on_loop(call: Callable[[], Any]) -> Any:
    return call()


def _ice_servers(given: Sequence[dict[str, Any]] | None) -> Sequence[dict[str, Any]] | None:
    """The argument, else ``DUET_ICE_SERVERS`` (JSON), else None: the server's."""
    text = os.environ.get("DUET_ICE_SERVERS")
    if given is not None or not text:
        return given
    found = json.loads(text)
    if not isinstance(found, list):
        raise ValueError("DUET_ICE_SERVERS is a JSON list of RTCIceServer objects")
    return found
