"""What a page shows to be let in: random, single-use, short-lived. No clock: `now` comes in."""

from __future__ import annotations

import hashlib
import math
import secrets

__all__ = ["Tokens"]

_BYTES = 32


class Tokens:
    """The tokens that are good at the moment; their hashes only."""

    def __init__(self) -> None:
        self._ends: dict[bytes, float] = {}

    def __len__(self) -> int:
        return len(self._ends)

    def issue(self, now: float, seconds: float = math.inf) -> str:
        """A fresh token that `take` accepts once, within so many seconds."""
        self._drop_old(now)
        token = secrets.token_urlsafe(_BYTES)
        self._ends[_hash(token)] = now + seconds
        return token

    def take(self, token: str, now: float) -> bool:
        """Uses a token up; False if it is none, was used, or is too old."""
        # Found by its hash: how long the search takes tells nothing about a token.
        end = self._ends.pop(_hash(token), -math.inf)
        self._drop_old(now)
        return now < end

    def shorten(self, token: str, end: float) -> None:
        """A token that was not used ends at `end`; on the clock of `now`."""
        key = _hash(token)
        if key in self._ends:
            self._ends[key] = min(self._ends[key], end)

    def _drop_old(self, now: float) -> None:
        self._ends = {key: end for key, end in self._ends.items() if now < end}


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
