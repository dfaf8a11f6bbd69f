"""`sy.lib`, as in the original: the Python wrappers are `sy.lib.python`."""

from __future__ import annotations

from duet_p2p.objects import python

__all__ = ["python"]
