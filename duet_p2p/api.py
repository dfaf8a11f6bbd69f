"""`launch_duet` and `join_duet`: from two programs to two connected sessions.

The order of the first four parameters is the original's. Everything that can be refused without a
partner is refused before anything is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from duet_p2p import limits as numbers
from duet_p2p.engine.host import Host, ProcessHost, ThreadHost
from duet_p2p.errors import NotAllowed
from duet_p2p.identity.files import home
from duet_p2p.invitation import Invitation
from duet_p2p.lifetime import close_when_collected
from duet_p2p.opening import OwnerOpening, ScientistOpening
from duet_p2p.owner.duet import OwnerDuet
from duet_p2p.prompts import CredentialExchanger
from duet_p2p.scientist.duet import ScientistDuet
from duet_p2p.surface import compiler
from duet_p2p.transport.sctp.choice import SctpClass

__all__ = ["duet", "get_root_data_path", "join_duet", "launch_duet", "load"]

_HOSTS: Final[dict[str, Callable[[], Host]]] = {"process": ProcessHost, "thread": ThreadHost}


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
    make_host = _HOSTS.get(engine)
    if make_host is None:
        raise ValueError(f"engine is 'process' or 'thread', not {engine!r}")
    opening = OwnerOpening(
        logging=logging,
        timeout=timeout,
        identity=identity,
        partner=partner,
        ice_servers=ice_servers,
        sctp=sctp,
    )
    own_id = opening.lobby.key.id
    with opening.building():
        opening.open_audit(audit)
        invitation = Invitation(client_id, credential_exchanger, own_id, is_needed=not loopback)
        opening.meet(invitation, loopback, network_url, url, host)
        service = opening.serve(
            make_host,
            data_dirs=_data_dirs(data_dirs),
            limits=limits,
            min_records=min_records,
            logging=logging,
        )
        session = opening.make_duet(service, shapes)
    close_when_collected(session, opening.lobby, service)
    with opening.pairing(session):
        opening.start(on_id)
        opening.invite(invitation, may_ask=wait)
        if wait:
            session.wait(opening.left())
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
    opening = ScientistOpening(
        logging=logging,
        timeout=timeout,
        identity=identity,
        partner=partner,
        ice_servers=ice_servers,
        sctp=sctp,
    )
    compiler.preload()  # while the two find each other
    with opening.building():
        session_id = opening.meet(target_id, credential_exchanger, loopback, network_url, url)
        session = opening.make_duet(session_id)
        session._client.shows_progress = logging
    close_when_collected(session, opening.lobby, None)
    with opening.pairing(session):
        opening.start(on_id)
        if wait:
            session.wait(opening.left())
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


def _data_dirs(given: Mapping[str, str | Path] | None) -> Mapping[str, str | Path]:
    return {"": get_root_data_path()} if given is None else given
