"""The first two frames each way on a new association: confirm, then ready.

Both are msgpack maps with exactly their keys. Nothing else is read on an association before a
valid confirm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgpack

from duet_p2p import limits
from duet_p2p.protocol.transcript import confirm_input
from duet_p2p.wire.pairs import unique

__all__ = ["Confirm", "ProofError", "Ready", "is_proof", "parse_proof"]


class ProofError(ValueError):
    """A frame is neither a confirm nor a ready."""


@dataclass(frozen=True, slots=True)
class Confirm:
    """Proves a key on this association."""

    role: str
    th: bytes
    """The transcript hash, 32 bytes."""
    audit_head: bytes
    """Head of the owner's audit chain, 32 bytes, or nothing."""
    sig: bytes

    def signed(self) -> bytes:
        """The bytes under `sig`."""
        return confirm_input(role=self.role, th=self.th, audit_head=self.audit_head)

    def encode(self) -> bytes:
        """The frame."""
        return _pack(
            {
                "t": "confirm",
                "role": self.role,
                "th": self.th,
                "audit_head": self.audit_head,
                "sig": self.sig,
            }
        )


@dataclass(frozen=True, slots=True)
class Ready:
    """The sender has checked the other's confirm; frames on the other channels may follow."""

    th: bytes

    def encode(self) -> bytes:
        """The frame."""
        return _pack({"t": "ready", "th": self.th})


def parse_proof(data: bytes) -> Confirm | Ready:
    """The proof in a frame.

    Raises:
        ProofError: too long, duplicate or other keys, other types, bytes after it.
    """
    if len(data) > limits.CONFIRM_MAX_BYTES:
        raise ProofError("too long")
    try:
        fields = msgpack.unpackb(
            data, raw=False, strict_map_key=True, object_pairs_hook=unique, max_ext_len=0
        )
    except (ValueError, RecursionError) as error:  # msgpack's own errors are ValueErrors
        raise ProofError("not msgpack") from error
    if not isinstance(fields, dict):
        raise ProofError("not a map")
    kind = fields.pop("t", None)
    th = fields.pop("th", None)
    if not isinstance(th, bytes) or len(th) != 32:
        raise ProofError("th")
    if kind == "ready" and not fields:
        return Ready(th)
    if kind != "confirm" or fields.keys() != {"role", "audit_head", "sig"}:
        raise ProofError("keys")
    role, head, sig = fields["role"], fields["audit_head"], fields["sig"]
    if role not in ("owner", "scientist"):
        raise ProofError("role")
    if not isinstance(head, bytes) or len(head) not in (0, 32):
        raise ProofError("audit_head")
    if not isinstance(sig, bytes) or len(sig) != 64:
        raise ProofError("sig")
    return Confirm(role, th, head, sig)


def is_proof(data: bytes) -> bool:
    """Whether a frame on channel 0 is a confirm or a ready; quick for all others."""
    if not data or data[0] not in (0x82, 0x85):  # maps of two and of five entries
        return False
    try:
        parse_proof(data)
    except ProofError:
        return False
    return True


def _pack(fields: dict[str, Any]) -> bytes:
    packed: bytes = msgpack.packb(fields, use_bin_type=True)
    return packed
