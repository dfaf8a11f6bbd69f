"""IDs, keys and signature inputs of pairing: the part of the protocol that every party shares.

An ID is 32 characters of Crockford base32: a type character, 145 bits of the hash of a public key,
and two check symbols of a Reed-Solomon code over GF(32), which find every error of one or two
characters and every swap of neighbours. Since the ID is a hash of the key, whoever received an ID
from a person can check every signature in its owner's name, and needs no third party for it.

Keys are checked before they are used: common libraries accept signatures under small-order keys
that nobody's private key made, and encodings that are not canonical would give one key two IDs.

This file imports nothing of duet_p2p: the signalling server runs without it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import Final, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

__all__ = [
    "ALG_ED25519",
    "ALPHABET",
    "ID_LENGTH",
    "IdError",
    "KeyRefused",
    "Role",
    "b64decode",
    "b64encode",
    "check_pub",
    "format_id",
    "id_of",
    "is_id",
    "lp",
    "make_id",
    "parse_id",
    "register_input",
    "role_of",
    "signature_input",
    "u64",
    "verify",
]

Role = Literal["owner", "scientist"]

ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
ID_LENGTH: Final = 32
ALG_ED25519: Final = 1  # 2 is reserved for P-256

_VALUE: Final = {c: i for i, c in enumerate(ALPHABET)}
_TYPE: Final[dict[str, str]] = {"owner": "S", "scientist": "C"}
_ROLE: Final[dict[str, Role]] = {"S": "owner", "C": "scientist"}
_SPACE: Final = " \t\r\n"
_HASHED_SYMBOLS: Final = 29  # of 5 bits: 145 of the 256 bits of the hash
_FIELD: Final = 0b100101  # x^5 + x^2 + 1
_PRIME: Final = 2**255 - 19

_SMALL_ORDER: Final = frozenset(
    bytes.fromhex(y + end)
    for y, ends in {
        "00" * 31: ("00", "80"),
        "01" + "00" * 30: ("00", "80"),
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc": ("05", "85"),
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03": ("7a", "fa"),
        "ec" + "ff" * 30: ("7f", "ff"),
    }.items()
    for end in ends
)


class IdError(ValueError):
    """A text is not an ID of the wanted role.

    Attributes:
        code: ``charset``, ``length``, ``checksum`` or ``role``.
        position: for ``charset``, the place of the wrong character, from 1, separators not
            counted; otherwise 0.
        length: for ``length``, how many characters there are; otherwise 0.
        type_char: for ``role``, the first character that the text has; otherwise "".
    """

    def __init__(
        self, code: str, *, position: int = 0, length: int = 0, type_char: str = ""
    ) -> None:
        super().__init__(code)
        self.code = code
        self.position = position
        self.length = length
        self.type_char = type_char


class KeyRefused(ValueError):
    """A public key is not one that this protocol uses."""


# ids


def _times_alpha(value: int) -> int:
    value <<= 1
    return value ^ _FIELD if value & 32 else value


def _syndromes(symbols: list[int]) -> tuple[int, int]:
    """s0 and s1 over the first 31 symbols at most; a 32nd counts in s0 only."""
    s0 = s1 = 0
    for value in symbols:
        s0 ^= value
    for value in reversed(symbols[:31]):  # Horner's rule
        s1 = _times_alpha(s1) ^ value
    return s0, s1


def make_id(role: Role, key: bytes) -> str:
    """The ID of a raw 32-byte Ed25519 key in a role."""
    text = b"duet/id/v1\0" + role.encode() + b"\0" + bytes([ALG_ED25519]) + key
    bits = int.from_bytes(hashlib.sha256(text).digest(), "big") >> (256 - 5 * _HASHED_SYMBOLS)
    symbols = [_VALUE[_TYPE[role]]]
    symbols += [(bits >> 5 * i) & 31 for i in range(_HASHED_SYMBOLS - 1, -1, -1)]
    s0, s1 = _syndromes(symbols)
    c30 = _times_alpha(s1)
    return "".join(ALPHABET[i] for i in [*symbols, c30, s0 ^ c30])


def id_of(role: Role, pub: bytes) -> str:
    """The ID of a key as it stands on the wire, algorithm byte first.

    Raises:
        KeyRefused: see `check_pub`.
    """
    return make_id(role, check_pub(pub))


def parse_id(text: str, role: Role) -> str:
    """The canonical ID that a person typed or pasted in any usual spelling.

    Raises:
        IdError: the first of its codes that applies.
    """
    text = text.strip(_SPACE)
    symbols: list[int] = []
    if not text.isascii():  # before anything else, or upper-casing could make ASCII of it
        letters = [c for c in text if c not in _SPACE + "-"]
        raise IdError("charset", position=next(i for i, c in enumerate(letters, 1) if c > "\x7f"))
    for character in text:
        if character in _SPACE or character == "-":
            continue
        upper = character.upper()
        value = _VALUE.get("1" if upper in "IL" else "0" if upper == "O" else upper)
        if value is None:
            raise IdError("charset", position=len(symbols) + 1)
        symbols.append(value)
    if len(symbols) != ID_LENGTH:
        raise IdError("length", length=len(symbols))
    if _syndromes(symbols) != (0, 0):
        raise IdError("checksum")
    parsed = "".join(ALPHABET[value] for value in symbols)
    if parsed[0] != _TYPE[role]:
        raise IdError("role", type_char=parsed[0])
    return parsed


def role_of(text: str) -> Role | None:
    """The role of a canonical ID, or None where `text` is not a canonical ID of any role."""
    role = _ROLE.get(text[:1])
    return role if role is not None and is_id(text, role) else None


def is_id(text: str, role: Role) -> bool:
    """Whether `text` is an ID of this role in its canonical spelling, as messages carry it."""
    try:
        return parse_id(text, role) == text
    except IdError:
        return False


def format_id(text: str) -> str:
    """A canonical ID for people: eight groups of four."""
    return "-".join(text[i : i + 4] for i in range(0, ID_LENGTH, 4))


# keys and signatures


def check_pub(pub: bytes) -> bytes:
    """The raw 32-byte key of a public key as it stands on the wire, 33 bytes.

    Raises:
        KeyRefused: another algorithm, a wrong length, not canonical, or of small order.
    """
    if len(pub) != 33 or pub[0] != ALG_ED25519:
        raise KeyRefused("not an Ed25519 key of 33 bytes")
    key = pub[1:]
    if int.from_bytes(key, "little") & (2**255 - 1) >= _PRIME:
        raise KeyRefused("the key is not canonical")
    if key in _SMALL_ORDER:
        raise KeyRefused("the key is of small order")
    return key


def lp(value: bytes) -> bytes:
    """A value with its length before it, 4 bytes, big-endian."""
    return len(value).to_bytes(4, "big") + value


def u64(value: int) -> bytes:
    """An integer as 8 bytes, big-endian."""
    return value.to_bytes(8, "big")


def signature_input(label: str, *fields: bytes | str) -> bytes:
    """The bytes that are signed or hashed for a label: unambiguous, no two messages share them."""
    parts = [label.encode(), b"\0"]
    parts += [lp(field.encode() if isinstance(field, str) else field) for field in fields]
    return b"".join(parts)


def register_input(origin: str, challenge: bytes, id: str, role: str) -> bytes:
    """What proves to a signalling server at `origin` that a socket belongs to `id`."""
    return signature_input("duet/reg/v1", origin, challenge, id, role)


def verify(pub: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the owner of a 33-byte key signed these bytes; False for refused keys too."""
    if len(signature) != 64:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(check_pub(pub)).verify(signature, message)
    except (KeyRefused, InvalidSignature, ValueError):
        return False
    return True


# base64url without padding


_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]*", re.ASCII)


def b64encode(value: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def b64decode(text: str) -> bytes:
    """The bytes of base64url without padding; exactly one text is accepted for each value.

    Raises:
        ValueError: another alphabet, padding, a wrong length, or spare bits that are not zero.
    """
    if not _BASE64URL.fullmatch(text) or len(text) % 4 == 1:
        raise ValueError("not base64url")
    try:
        value = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise ValueError("not base64url") from error
    if b64encode(value) != text:
        raise ValueError("not canonical base64url")
    return value
