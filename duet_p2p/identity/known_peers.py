"""The partners that a user's folder remembers, by their full IDs.

A label is the user's own word for a partner and never comes from the wire. If it stood for another
ID before, that is a hard stop before anything is sent: either the partner made a new identity, or
somebody else answers in the partner's place, and only people can tell which.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from duet_p2p.errors import IdentityFileUnsafe, InvalidId, PeerIdentityChanged
from duet_p2p.identity.files import home, locked, read_private, write_private
from signaling_server.ids import (
    ALG_ED25519,
    IdError,
    KeyRefused,
    b64decode,
    b64encode,
    format_id,
    id_of,
    is_id,
    parse_id,
)

__all__ = ["KnownPeer", "KnownPeers"]

_VERSION: Final = 1
_ROLES: Final = ("owner", "scientist")
_SCOPES: Final = ("session", "always")
_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "id": (str,),
    "alg": (int,),
    "pub": (str,),
    "role": (str,),
    "label": (str, type(None)),
    "scope": (str,),
    "first_seen": (int,),
    "last_seen": (int,),
    "last_attempt": (int,),
    "owner_session": (str, type(None)),
    "audit_head": (str,),
}


@dataclass(frozen=True, slots=True)
class KnownPeer:
    """One remembered partner."""

    id: str
    pub: bytes
    """33 bytes."""
    role: str
    """The partner's: ``owner`` or ``scientist``."""
    label: str | None
    scope: str
    """``session``: accepted without typing in the launch that paired it; ``always``: in any."""
    first_seen: int
    """Unix time, seconds."""
    last_seen: int
    last_attempt: int
    """Of the newest attempt that led to a link; -1 where that is not known."""
    owner_session: str | None
    """The owner's ID in the newest session with this partner."""
    audit_head: bytes
    """Head of the owner's audit chain as it was told last, 32 bytes or nothing."""
    others: Mapping[str, Any] = field(default_factory=dict)
    """Keys of later releases, kept."""


class KnownPeers:
    """The file ``known_peers.json``; each call reads it, each change is written at once.

    Args:
        folder: default `home()`.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._path = (folder or home()) / "known_peers.json"

    def all(self) -> list[KnownPeer]:
        """Every remembered partner, in the order of the file.

        Raises:
            IdentityFileUnsafe: the file is damaged, or open to others.
        """
        return self._read()[0]

    def find(self, peer_id: str) -> KnownPeer | None:
        """The partner with this canonical ID."""
        return next((peer for peer in self.all() if peer.id == peer_id), None)

    def trusted(self, role: str) -> list[KnownPeer]:
        """Partners in this role that any session of this folder admits without typing."""
        return [peer for peer in self.all() if peer.role == role and peer.scope == "always"]

    def check_label(self, label: str, peer_id: str) -> None:
        """Refuses a label that stood for another ID. Call it before anything is sent.

        Raises:
            PeerIdentityChanged: with both IDs and the command that accepts the change.
        """
        _check_label(self.all(), label, peer_id)

    def record(
        self,
        *,
        peer_id: str,
        pub: bytes,
        role: str,
        now: float,
        attempt: int = -1,
        label: str | None = None,
        owner_session: str | None = None,
        audit_head: bytes = b"",
    ) -> KnownPeer:
        """Remembers a partner whose key was proved on an open link.

        Args:
            peer_id: canonical ID.
            pub: its key, 33 bytes.
            role: its role.
            now: Unix time.
            attempt: number of the attempt.
            label: the user's own word; None keeps the old one.
            owner_session: the owner's ID.
            audit_head: of the owner's audit chain; nothing keeps the old one.

        Raises:
            PeerIdentityChanged: see `check_label`.
        """
        with locked(self._path):
            peers, others = self._read()
            if label is not None:
                _check_label(peers, label, peer_id)
            old = next((peer for peer in peers if peer.id == peer_id), None)
            if old is None:
                old = KnownPeer(peer_id, pub, role, None, "session", int(now), 0, -1, None, b"")
                peers.append(old)
            new = replace(
                old,
                label=old.label if label is None else label,
                last_seen=int(now),
                last_attempt=max(old.last_attempt, attempt),
                owner_session=owner_session or old.owner_session,
                audit_head=audit_head or old.audit_head,
            )
            self._write([new if peer is old else peer for peer in peers], others)
        return new

    def forget(self, peer_id: str) -> None:
        """Forgets a partner; its label is free again.

        Raises:
            InvalidId: nobody with this ID is remembered.
        """
        wanted = _any_id(peer_id)
        with locked(self._path):
            peers, others = self._read()
            left = [peer for peer in peers if peer.id != wanted]
            if len(left) == len(peers):
                raise InvalidId("No remembered partner has this ID.", code="unknown")
            self._write(left, others)

    def trust(self, peer_id: str) -> None:
        """Admits a remembered partner to any session of this folder.

        Raises:
            InvalidId: nobody with this ID is remembered.
        """
        wanted = _any_id(peer_id)
        with locked(self._path):
            peers, others = self._read()
            if all(peer.id != wanted for peer in peers):
                raise InvalidId("No remembered partner has this ID.", code="unknown")
            self._write(
                [replace(p, scope="always") if p.id == wanted else p for p in peers], others
            )

    def _read(self) -> tuple[list[KnownPeer], dict[str, Any]]:
        try:
            data = read_private(self._path)
        except FileNotFoundError:
            return [], {}
        try:
            content = json.loads(data)
            if not isinstance(content, dict) or content.pop("v", None) != _VERSION:
                raise ValueError("version")
            entries = content.pop("peers")
            peers = [_decode(entry) for entry in entries]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            # Never an empty list: that would quietly forget whom a label stands for.
            raise IdentityFileUnsafe(
                f"{self._path} is damaged ({error}). Restore it, or start anew with: "
                f"rm {self._path}"
            ) from None
        return peers, content

    def _write(self, peers: list[KnownPeer], others: Mapping[str, Any]) -> None:
        content = {**others, "v": _VERSION, "peers": [_encode(peer) for peer in peers]}
        write_private(self._path, json.dumps(content, indent=1).encode() + b"\n")


def _check_label(peers: list[KnownPeer], label: str, peer_id: str) -> None:
    for peer in peers:
        if peer.label == label and peer.id != peer_id:
            raise PeerIdentityChanged(
                f"{label!r} stood for {format_id(peer.id)} before, and is to stand for "
                f"{format_id(peer_id)} now. Ask your partner in person. If the new ID is right, "
                f"forget the old one: duet peers forget {peer.id}"
            )


def _any_id(text: str) -> str:
    """A whole ID of either role, in any spelling."""
    try:
        return parse_id(text, "owner")
    except IdError as error:
        if error.code != "role":
            raise InvalidId(code=error.code) from None
    try:
        return parse_id(text, "scientist")
    except IdError as error:
        raise InvalidId(code=error.code) from None


def _decode(entry: dict[str, Any]) -> KnownPeer:
    for name, types in _TYPES.items():
        if type(entry[name]) not in types:
            raise ValueError(name)
    others = {name: value for name, value in entry.items() if name not in _TYPES}
    role, pub = entry["role"], b64decode(entry["pub"])
    if role not in _ROLES or entry["scope"] not in _SCOPES or not is_id(entry["id"], role):
        raise ValueError("role, scope or id")
    try:
        if entry["alg"] != ALG_ED25519 or id_of(role, pub) != entry["id"]:
            raise ValueError("the key is not that of the ID")
    except KeyRefused as error:
        raise ValueError(str(error)) from None
    return KnownPeer(
        id=entry["id"],
        pub=pub,
        role=role,
        label=entry["label"],
        scope=entry["scope"],
        first_seen=entry["first_seen"],
        last_seen=entry["last_seen"],
        last_attempt=entry["last_attempt"],
        owner_session=entry["owner_session"],
        audit_head=b64decode(entry["audit_head"]),
        others=others,
    )


def _encode(peer: KnownPeer) -> dict[str, Any]:
    return {
        **peer.others,
        "id": peer.id,
        "alg": ALG_ED25519,
        "pub": b64encode(peer.pub),
        "role": peer.role,
        "label": peer.label,
        "scope": peer.scope,
        "first_seen": peer.first_seen,
        "last_seen": peer.last_seen,
        "last_attempt": peer.last_attempt,
        "owner_session": peer.owner_session,
        "audit_head": b64encode(peer.audit_head),
    }
