"""What left of each private source in this session, for the owner who decides about more of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from duet_p2p.engine.messages import Facts
from duet_p2p.limits import RELEASED_NEWEST
from duet_p2p.owner.guard import charged

__all__ = ["Released", "Totals"]


@dataclass(slots=True)
class Released:
    """Releases that depended on one source; repeats of the same content are not counted."""

    releases: int = 0
    numbers: int = 0
    newest: deque[int] = field(default_factory=lambda: deque(maxlen=RELEASED_NEWEST))
    """Calls of the last ones; the request book knows their names."""

    def __str__(self) -> str:
        if not self.releases:
            return "nothing yet"
        times = "once" if self.releases == 1 else f"{self.releases:,} times"
        return f"{times}, {self.numbers:,} number{'s' * (self.numbers != 1)} in all"


class Totals:
    """Counts by source id."""

    def __init__(self) -> None:
        self._by_source: dict[int, Released] = {}

    def __iter__(self) -> Iterator[tuple[int, Released]]:
        return iter(self._by_source.items())

    def add(self, call: int, facts: Facts) -> None:
        """A value left, asked for by this call."""
        for source in dict.fromkeys(facts.sources):
            found = self._by_source.setdefault(source, Released())
            found.releases += 1
            found.numbers += charged(facts) if facts.failed else facts.elements
            found.newest.append(call)

    def about(self, sources: Iterable[int]) -> list[Released]:
        """What left of these, in their order."""
        return [self._by_source.get(source, Released()) for source in sources]
