"""How a part of the demo runs in a process of its own: it ends quietly at any interrupt.

Until `play` is called, while torch is being imported, an interrupt ends the process at once; from
then on it is Python's KeyboardInterrupt, so that a session says goodbye.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import Final

__all__ = ["START", "play"]

START: Final = (
    # built in, so that it is there before Ctrl-C can meet an import
    "import _signal; _signal.signal(_signal.SIGINT, _signal.SIG_DFL); "
    "_signal.pthread_sigmask(_signal.SIG_UNBLOCK, {_signal.SIGINT}); import runpy, sys; "
    "name = sys.argv.pop(1); runpy.run_module(name, run_name='__main__', alter_sys=True)"
)
"""Code for ``python -c``: runs the module that the first argument names.

Whoever starts it blocks SIGINT for it, so that one which comes earlier waits for this code.
"""


def play(main: Callable[[], None]) -> None:
    """Runs a part; exit code 130 after an interrupt, as a shell expects."""
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        main()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # once is enough
        sys.exit(130)
