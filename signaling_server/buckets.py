"""Token buckets, and the guard against guessing IDs. No clock: `now` is passed in.

What is remembered is bounded: the least recently used source goes first. An attacker who can use
more sources than that is not held by any limit per source.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from signaling_server.limits import BLOCK_SECONDS

__all__ = ["Bucket", "Buckets", "LookupGuard"]

_MINUTE = 60.0


class Bucket:
    """Holds up to `burst` tokens and gains `per_minute`; starts full."""

    __slots__ = ("_at", "_tokens")

    def __init__(self, burst: float, now: float) -> None:
        self._tokens = float(burst)
        self._at = now

    def take(self, per_minute: float, burst: float, now: float) -> float:
        """Takes one token: 0.0, or the seconds until there is one, and nothing is taken."""
        elapsed = max(0.0, now - self._at)
        self._tokens = min(float(burst), self._tokens + elapsed * per_minute / _MINUTE)
        self._at = max(self._at, now)
        if self._tokens >= 1.0 - 1e-9:
            self._tokens -= 1.0
            return 0.0
        return (1.0 - self._tokens) * _MINUTE / per_minute


class Buckets:
    """A bucket per key, at most `entries` of them."""

    def __init__(self, entries: int) -> None:
        self._entries = entries
        self._buckets: OrderedDict[tuple[str, str], Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, scope: str, key: str, per_minute: float, burst: float, now: float) -> float:
        """Takes one token of the bucket of (scope, key); see `Bucket.take`."""
        bucket = self._buckets.get((scope, key))
        if bucket is None:
            bucket = self._buckets[scope, key] = Bucket(burst, now)
            if len(self._buckets) > self._entries:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end((scope, key))
        return bucket.take(per_minute, burst, now)


@dataclass(slots=True)
class _Guesses:
    recent: dict[str, float] = field(default_factory=dict)
    """Unknown IDs and when this source first asked for each of them."""
    strikes: int = 0
    until: float = 0.0


class LookupGuard:
    """Blocks sources that ask for many different unknown IDs: 60 s first, doubling each time.

    The same ID asked for again is a partner that has not started yet, not a guess.
    """

    def __init__(self, failures: int, block_max: float, entries: int) -> None:
        self._failures = failures
        self._block_max = block_max
        self._entries = entries
        self._sources: OrderedDict[str, _Guesses] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sources)

    def blocked(self, source: str, now: float) -> float:
        """Seconds for which this source is still blocked, or 0.0."""
        guesses = self._sources.get(source)
        return max(0.0, guesses.until - now) if guesses else 0.0

    def failed(self, source: str, id: str, now: float) -> None:
        """This source asked for an ID that nobody has."""
        guesses = self._sources.get(source)
        if guesses is None:
            guesses = self._sources[source] = _Guesses()
            if len(self._sources) > self._entries:
                self._sources.popitem(last=False)
        else:
            self._sources.move_to_end(source)
        if guesses.strikes and now - guesses.until > self._block_max:
            guesses.strikes = 0
        guesses.recent = {k: at for k, at in guesses.recent.items() if now - at < _MINUTE}
        guesses.recent.setdefault(id, now)
        if len(guesses.recent) >= self._failures:
            guesses.recent.clear()
            # The exponent is capped because a float power overflows long before an int does.
            block = min(self._block_max, BLOCK_SECONDS * 2.0 ** min(guesses.strikes, 16))
            guesses.until = now + block
            guesses.strikes += 1
