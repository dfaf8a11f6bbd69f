"""The session's random numbers, kept apart from those of the process that the engine runs in.

torch has one default generator per device and process. The session's state is swapped in around
each batch of commands and out again, so a scientist's `manual_seed` never seeds the owner's own
work, and the owner's own draws never move the session's. In a process of the engine's own nobody
else draws, so there it is swapped in once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from duet_p2p.surface.shapes import GENERATOR

__all__ = ["SessionRandom"]


class SessionRandom:
    """States of the default generators as the session left them.

    Args:
        is_alone: the process is the session's own.
    """

    def __init__(self, *, is_alone: bool = False) -> None:
        self._is_alone, self._is_in = is_alone, False
        fresh = torch.Generator()
        fresh.seed()
        self._cpu = fresh.get_state()
        self._cuda: list[torch.Tensor] | None = None
        self._has_cuda: bool | None = None

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """The default generators are the session's within this block."""
        with GENERATOR:
            if self._is_in:
                yield
                return
            if self._has_cuda is None:  # which asks the environment each time
                self._has_cuda = torch.cuda.is_available()
            has_cuda = self._has_cuda
            cpu = torch.get_rng_state()
            cuda = torch.cuda.get_rng_state_all() if has_cuda else []
            torch.set_rng_state(self._cpu)
            if has_cuda and self._cuda is not None:
                torch.cuda.set_rng_state_all(self._cuda)
            if self._is_alone:
                self._is_in = True
                yield
                return
            try:
                yield
            finally:
                self._cpu = torch.get_rng_state()
                torch.set_rng_state(cpu)
                if has_cuda:
                    self._cuda = torch.cuda.get_rng_state_all()
                    torch.cuda.set_rng_state_all(cuda)
