"""The head of an owner's audit chain under the signature of the session's key.

Whoever keeps one can later ask the owner's log for it: a log whose end was cut off does not hold
that head any more. It says nothing about the content, since every row has a random salt.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Final

from duet_p2p.identity.keys import Key
from signaling_server import ids

__all__ = ["HEAD_BYTES", "PUB_BYTES", "SIGNATURE_BYTES", "SignedHead"]

HEAD_BYTES: Final = 32
PUB_BYTES: Final = 33
SIGNATURE_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class SignedHead:
    """One head; `str` gives a line for people to keep, `parse` reads it."""

    session_id: str
    """The owner's ID: a hash of `pub`."""
    pub: bytes
    head: bytes
    """Hash of the newest row when it was signed."""
    signature: bytes

    @classmethod
    def sign(cls, key: Key, head: bytes) -> SignedHead:
        """Signs a head with an owner's key."""
        return cls(key.id, key.pub, head, key.sign(_signed(key.id, head)))

    @classmethod
    def parse(cls, text: str) -> SignedHead:
        """Reads what `str` wrote.

        Raises:
            ValueError: it is not a head in that form.
        """
        session_id, _, packed = text.strip().partition(":")
        try:
            data = base64.urlsafe_b64decode(packed.encode())
        except ValueError as error:
            raise ValueError("this is no signed head of an audit log") from error
        if len(data) != PUB_BYTES + HEAD_BYTES + SIGNATURE_BYTES:
            raise ValueError("this is no signed head of an audit log")
        pub, rest = data[:PUB_BYTES], data[PUB_BYTES:]
        return cls(session_id, pub, rest[:HEAD_BYTES], rest[HEAD_BYTES:])

    @property
    def is_genuine(self) -> bool:
        """Whether the owner of that ID signed this head."""
        if not ids.verify(self.pub, _signed(self.session_id, self.head), self.signature):
            return False
        return self.session_id == ids.id_of("owner", self.pub)

    def __str__(self) -> str:
        packed = base64.urlsafe_b64encode(self.pub + self.head + self.signature).decode()
        return f"{self.session_id}:{packed}"


def _signed(session_id: str, head: bytes) -> bytes:
    return ids.signature_input("duet/audit-head/v1", session_id, head)
