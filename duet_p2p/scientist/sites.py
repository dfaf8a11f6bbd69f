"""Where in the scientist's own code a command was issued.

A command is executed long after the line that made it has been left, so the line is remembered with
the command's number. Remembering must cost next to nothing: a code object and a line number now,
the file's text only when an error is shown.
"""

from __future__ import annotations

import dis
import linecache
import os
import sys
from collections import OrderedDict
from types import CodeType, FrameType
from typing import Final

import torch

from duet_p2p.limits import CALL_SITES

__all__ = ["CallSites", "Site", "current", "is_result_used", "raised_at", "shown"]

Site = tuple[CodeType, int]

_HERE: Final = os.path.dirname(os.path.abspath(__file__))
_OWN: Final = (
    _HERE + os.sep,
    os.path.join(os.path.dirname(_HERE), "objects") + os.sep,
    os.path.join(os.path.dirname(_HERE), "methods.py"),
    os.path.dirname(os.path.abspath(str(torch.__file__))) + os.sep,
)
"""Our code and torch's: a frame in there is not the scientist's line."""

_DROPPED: Final = frozenset({"POP_TOP", "PRINT_EXPR"})
_PRINT: Final = 1
"""``INTRINSIC_PRINT`` of CPython's Include/internal/pycore_intrinsics.h, once PRINT_EXPR."""

_is_internal: dict[int, tuple[CodeType, bool]] = {}


def current(inner: int = 1) -> Site | None:
    """The innermost frame that is neither ours nor torch's; None where there is none.

    Args:
        inner: how many of the innermost frames are known to be ours, this one included.
    """
    frame = _outside(sys._getframe(inner))
    return None if frame is None else (frame.f_code, frame.f_lineno)


def is_result_used() -> bool:
    """Whether the scientist's line does something with what the call there gives.

    It does in ``y = x.add_(1)`` and ``x += 1``, not in the statement ``x.add_(1)``; nor where a
    notebook only shows it.
    """
    frame = _outside(sys._getframe(1))
    if frame is None:
        return True
    behind = (i for i in dis.get_instructions(frame.f_code) if i.offset > frame.f_lasti)
    following = next(behind, None)
    if following is None:
        return True
    is_shown = following.opname == "CALL_INTRINSIC_1" and following.arg == _PRINT
    return not is_shown and following.opname not in _DROPPED


def _outside(frame: FrameType | None) -> FrameType | None:
    while frame is not None:
        code = frame.f_code
        # by the code's identity: its own hash goes over all that it holds
        known = _is_internal.get(id(code))
        if known is None or known[0] is not code:
            known = _is_internal[id(code)] = (code, code.co_filename.startswith(_OWN))
        if not known[1]:
            return frame
        frame = frame.f_back
    return None


def raised_at(error: BaseException) -> Site | None:
    """The innermost line of an error's way that is neither ours nor torch's."""
    found, trace = None, error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if not code.co_filename.startswith(_OWN):
            found = code, trace.tb_lineno
        trace = trace.tb_next
    return found


def shown(site: Site | None) -> str:
    """``file:line   source``, or "" where there is no site."""
    if site is None:
        return ""
    code, line = site
    source = linecache.getline(code.co_filename, line).strip()
    return f"{os.path.basename(code.co_filename)}:{line}   {source}".rstrip()


class CallSites:
    """Sequence number of a command to its line, for the newest commands.

    They outlive the settlement of a command: a failure that private values caused is told with the
    decision on a request, which may come much later.
    """

    def __init__(self, kept: int = CALL_SITES) -> None:
        self._kept = kept
        self._sites: OrderedDict[int, Site] = OrderedDict()

    def note(self, seq: int, inner: int = 2) -> None:
        """Remembers the caller's line for this command; `inner` as for `current`."""
        site = current(inner)
        if site is not None:
            self._sites[seq] = site
            if len(self._sites) > self._kept:
                self._sites.popitem(last=False)

    def text(self, seq: int) -> str:
        """``file:line   source`` of a command, or "" when it is not known any more."""
        return shown(self._sites.get(seq))
