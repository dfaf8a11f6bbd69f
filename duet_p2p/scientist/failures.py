"""Commands that failed on the owner's side, told in terms of the scientist's own lines."""

from __future__ import annotations

from collections import deque

from duet_p2p.errors import RemoteError
from duet_p2p.scientist.sites import CallSites
from duet_p2p.wire.messages import Fail

__all__ = ["Failures"]

_KEPT = 256


class Failures:
    """The newest public failures, and the words for any failure.

    A failure raises nothing by itself: the program may never need the value. It is told when a
    value is asked for that was computed from it.
    """

    def __init__(self, sites: CallSites) -> None:
        self._sites = sites
        self._recent: deque[Fail] = deque(maxlen=_KEPT)

    def add(self, fail: Fail) -> None:
        """Keeps what the owner's side told about a command."""
        self._recent.append(fail)

    @property
    def recent(self) -> list[RemoteError]:
        """Public failures, oldest first."""
        return [self.error(fail.seq, fail.op, fail.code, fail.text) for fail in self._recent]

    def of_room(self) -> RemoteError | None:
        """The newest one for want of objects, of which the owner's side keeps nothing."""
        for fail in reversed(self._recent):
            if fail.code == "QuotaExceeded" and "(objects)" in fail.text:
                return self.error(fail.seq, fail.op, fail.code, fail.text)
        return None

    def error(self, seq: int, op: str, code: str, text: str) -> RemoteError:
        """The error that says what failed, where it was issued, and what is known of the cause."""
        site = self._sites.text(seq)
        lines = [f"{op or 'an operation'} failed on the owner's side"]
        if site:
            lines.append(f"  issued at {site}")
        if text:
            named = not code or text.startswith(f"{code}:")
            lines.append(f"  {text}" if named else f"  {code}: {text}")
        else:
            known = f"{code}; " if code else ""
            lines.append(f"  {known}the owner can see the full text in duet.errors")
        return RemoteError("\n".join(lines), op=op, code=code, call_site=site)
