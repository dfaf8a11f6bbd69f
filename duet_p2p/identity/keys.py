"""The key that stands behind an ID, and the ID that a person types.

The codec itself is signaling_server.ids; here are the private half of a key and the sentences that
a user reads when an ID is not one.
"""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from duet_p2p.errors import InvalidId
from signaling_server import ids
from signaling_server.ids import Role, format_id

__all__ = ["Key", "Role", "format_id", "parse_id"]

_NAME: Final[dict[str, str]] = {"owner": "session ID", "scientist": "client ID"}
_LETTER: Final[dict[str, str]] = {"owner": "S", "scientist": "C"}
_OTHER: Final[dict[str, Role]] = {"owner": "scientist", "scientist": "owner"}


class Key:
    """An Ed25519 key in a role, with its ID.

    Attributes:
        role: ``owner`` or ``scientist``.
        pub: the public key as it stands on the wire, 33 bytes.
        id: the canonical ID, 32 characters.
    """

    __slots__ = ("_private", "id", "pub", "role")

    def __init__(self, private: Ed25519PrivateKey, role: Role) -> None:
        raw = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self._private = private
        self.role: Role = role
        self.pub = bytes([ids.ALG_ED25519]) + raw
        self.id = ids.id_of(role, self.pub)

    @classmethod
    def fresh(cls, role: Role) -> Key:
        """A new key that exists in this process only."""
        return cls(Ed25519PrivateKey.generate(), role)

    @classmethod
    def from_seed(cls, seed: bytes, role: Role) -> Key:
        """The key of a 32-byte private seed."""
        return cls(Ed25519PrivateKey.from_private_bytes(seed), role)

    @classmethod
    def from_pem(cls, pem: bytes, role: Role) -> Key:
        """The key of an unencrypted PKCS#8 text.

        Raises:
            ValueError: it is not an Ed25519 key in that form.
        """
        try:
            private = load_pem_private_key(pem, password=None)
        except TypeError as error:  # an encrypted key
            raise ValueError("the key is encrypted") from error
        if not isinstance(private, Ed25519PrivateKey):
            raise ValueError("not an Ed25519 key")
        return cls(private, role)

    def to_pem(self) -> bytes:
        """The private key as unencrypted PKCS#8 text."""
        return self._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def sign(self, message: bytes) -> bytes:
        """A signature of 64 bytes."""
        return self._private.sign(message)

    def __repr__(self) -> str:
        return f"<{self.role} key of {format_id(self.id)}>"


def parse_id(text: str, role: Role, *, own_id: str = "") -> str:
    """The canonical ID of a partner in `role`, from what a person typed.

    Args:
        text: what was typed, in any usual spelling.
        role: the partner's role.
        own_id: the reader's own ID, for a better sentence when that was typed.

    Raises:
        InvalidId: with a sentence for the person and a code for programs.
    """
    try:
        return ids.parse_id(text, role)
    except ids.IdError as error:
        raise InvalidId(_sentence(error, text, role, own_id), code=error.code) from None


def _sentence(error: ids.IdError, text: str, role: Role, own_id: str) -> str:
    name, letter, other = _NAME[role], _LETTER[role], _OTHER[role]
    match error.code:
        case "charset":
            return f"Not a {name}: character {error.position} cannot occur in one."
        case "length":
            return f"Not a {name}: {error.length} of {ids.ID_LENGTH} characters."
        case "checksum":
            return f"Not a {name}: a character is wrong or two are swapped. Compare and try again."
    if error.type_char != _LETTER[other]:
        return f"Not a {name}: your partner's {name} starts with {letter}."
    if own_id and ids.parse_id(text, other) == own_id:
        return "That is your own ID."
    return (
        f"That is a {_NAME[other]} (it starts with {_LETTER[other]}); "
        f"your partner's {name} starts with {letter}."
    )
