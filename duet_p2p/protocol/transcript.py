"""What the two sides sign and hash while they pair.

Bytes are signed, never re-serialised JSON: every input is a label and length-prefixed fields, so
no two different messages share one. The transcript hash covers the join, the offer and the answer
with both sides' capabilities; whoever confirms it has seen the same three messages.
"""

from __future__ import annotations

import hashlib

from signaling_server.ids import lp, signature_input, u64

__all__ = ["bye_input", "confirm_input", "join_input", "sdp_input", "transcript_hash"]


def join_input(
    *, session_id: str, client_id: str, pub: bytes, nonce: bytes, attempt: int, caps: bytes
) -> bytes:
    """What a scientist signs to ask for a session."""
    return signature_input(
        "duet/join/v1", session_id, client_id, pub, nonce, u64(attempt), _sha256(caps)
    )


def sdp_input(
    *,
    kind: str,
    role: str,
    session_id: str,
    client_id: str,
    pub: bytes,
    own_nonce: bytes,
    peer_nonce: bytes,
    attempt: int,
    fp: bytes,
    setup: str,
    sdp: str,
    caps: bytes,
) -> bytes:
    """What the sender of an offer or an answer signs; `pub`, `fp` and `caps` are its own."""
    return signature_input(
        "duet/sdp/v1",
        kind,
        role,
        session_id,
        client_id,
        pub,
        own_nonce,
        peer_nonce,
        u64(attempt),
        fp,
        setup,
        _sha256(sdp.encode()),
        _sha256(caps),
    )


def transcript_hash(*inputs: bytes) -> bytes:
    """The hash over the join, or the join and the offer, or these and the answer."""
    return _sha256(b"duet/th/v1\0" + b"".join(lp(part) for part in inputs))


def confirm_input(*, role: str, th: bytes, audit_head: bytes) -> bytes:
    """What each side signs as the first thing on a new association."""
    return signature_input("duet/confirm/v1", role, th, audit_head)


def bye_input(*, role: str, th: bytes, reason: str) -> bytes:
    """What a side signs that leaves without an association to say so on."""
    return signature_input("duet/bye/v1", role, th, reason)


def _sha256(value: bytes) -> bytes:
    return hashlib.sha256(value).digest()
