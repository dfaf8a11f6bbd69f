"""What of a plan is played, and whether a run can be.

The longest row of a plan's commands that have short ways by their names is watched in an ordinary
run (rehearsal.py): what it finds at its beginning, how each command goes, what it leaves. A later
run that finds the same is played (stretch.py). A command that does not take its short way again and
again cuts the row.

To look at all that a stretch finds costs a good part of a small step. So there is the session's
`epoch`: it counts all that happens in an engine, but for deletions. If a plan was played from its
first command to its last one, nothing has happened since, and it runs on the very same objects, it
finds what its last run left. And once one such run was seen to find the same as its predecessor,
each later one does, since equal runs leave the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import torch

from duet_p2p.engine.call import RepeatedCall
from duet_p2p.engine.effects import Effects
from duet_p2p.engine.fingerprint import Fingerprint, fingerprint
from duet_p2p.engine.frame import Frame
from duet_p2p.engine.lineage import Lineage
from duet_p2p.engine.played import Command
from duet_p2p.engine.rehearsal import Rehearsal, can_be_played
from duet_p2p.engine.store import Slot
from duet_p2p.engine.stretch import Stage, Stretch
from duet_p2p.surface.plan import refs_of

__all__ = ["Score"]

_LEAST: Final = 3
"""Commands that are worth a look at all that they find."""
_CUT_AFTER: Final = 6
"""Rehearsals that ended at one command, since one was brought to its end."""
_PATIENCE: Final = 16
"""Runs in a row that were looked at in vain; then only each one in `_SELDOM` is."""
_SELDOM: Final = 32


class Score:
    """What is known about the runs of one plan.

    Args:
        calls: its commands.
        drops: of each one, the locals that nothing after it names.

    Attributes:
        begin: the place of the first command that can be played.
    """

    def __init__(self, calls: Sequence[RepeatedCall], drops: Sequence[tuple[int, ...]]) -> None:
        self._calls = tuple(calls)
        self._drops = tuple(drops)
        self._stops: Counter[int] = Counter()
        self._vain = 0
        self._stretch: Stretch | None = None
        self._rehearsal: Rehearsal | None = None
        self._asked: Callable[[], Command | None] | None = None
        self._is_settled = False  # a run was seen to find what its predecessor left
        self._last: tuple[int, tuple[int, ...]] = (-1, ())  # epoch after it, and its objects
        self._left: Fingerprint | None = None
        self.run = ""
        """Stands for the plan and all that it was given in the last run that was played."""
        self.begin = self._end = 0
        self._choose(_rows([can_be_played(call) for call in calls], 0))

    def _choose(self, rows: list[tuple[int, int]]) -> None:
        """Takes the longest row, if it is long enough."""
        self._stretch = self._rehearsal = self._left = None
        self._is_settled = False
        self.begin, self._end = max(rows, key=lambda row: row[1] - row[0], default=(-1, -1))
        if self._end - self.begin < _LEAST:
            self.begin = self._end = -1
        made: set[int] = set()
        named: dict[int, None] = {}
        for call in self._calls[self.begin : self._end] if self.begin >= 0 else ():
            for local in refs_of((call.op.args, call.op.kwargs)):
                if local not in made:
                    named[local] = None
            made.update(call.op.outs)
        self._named = tuple(named)

    def is_as_left(self, objects: tuple[int, ...], lineage: Lineage) -> bool:
        """Whether nothing has happened since the last run, on the same objects, was played."""
        return self._left is not None and self._last == (lineage.epoch, objects)

    def standing(
        self, objects: tuple[int, ...], lineage: Lineage, effects: Effects
    ) -> tuple[Stretch, Fingerprint] | None:
        """What any number of runs in a row are, and find; None if each is looked at by itself.

        `left` says that they are over.
        """
        stretch, found = self._stretch, self._left
        if stretch is None or found is None or not self._is_settled:
            return None
        if not self.is_as_left(objects, lineage) or len(stretch.rows) < len(self._calls):
            return None
        if not torch.is_grad_enabled() or torch.is_inference_mode_enabled():
            return None
        if not stretch.can_follow_itself(effects):
            return None
        self._left = self._rehearsal = self._asked = None
        lineage.epoch += 1
        return stretch, found

    def left(self, objects: tuple[int, ...], found: Fingerprint, lineage: Lineage) -> None:
        """Runs in a row are over, and left what the next one finds."""
        self._last, self._left = (lineage.epoch, objects), found

    def play(
        self, seq: int, objects: tuple[int, ...], run: str, frame: Frame, stage: Stage,
        lineage: Lineage, effects: Effects,
    ) -> tuple[int, RepeatedCall | None]:  # fmt: skip
        """Plays the stretch that begins here, as far as it can be; see `Stretch.play`.

        What is not played runs the ordinary way from here, and is watched.

        Args:
            seq: of the plan's run.
            objects: that it was given, each by the `uid` of its slot.
            run: stands for the plan and all that it was given.
            frame: the run's objects.
            stage: plays it.
            lineage: where labels are kept.
            effects: of the session.
        """
        self._rehearsal = self._asked = None
        if not torch.is_grad_enabled() or torch.is_inference_mode_enabled():
            return self.begin, None  # each command would have to be put into its own mode
        is_as_left = self.is_as_left(objects, lineage) and run == self.run
        found, self._left = self._left, None
        if not (is_as_left and self._is_settled):
            found = self._look(run, frame, lineage)
            if found is None:
                return self.begin, None
            if self._stretch is None or not self._stretch.finds(found):
                self._vain += 1
                ways = stage.short_ways
                self._rehearsal = Rehearsal(found, frame, run, ways, lineage, effects)
                return self.begin, None
            self._is_settled = self._is_settled or is_as_left
        assert self._stretch is not None and found is not None
        self._vain = 0
        lineage.epoch = epoch = lineage.epoch + 1
        number, call = self._stretch.play(seq, found, frame, stage, lineage, effects)
        if number == len(self._calls) and self.begin == 0 and lineage.epoch == epoch:
            self._last, self._left, self.run = (epoch, objects), found, run
        return number, call

    def _look(self, run: str, frame: Frame, lineage: Lineage) -> Fingerprint | None:
        if self._vain >= _PATIENCE and self._vain % _SELDOM:
            self._vain += 1
            return None
        slots: list[tuple[int, Slot]] = []
        for local in self._named:
            slot = frame.find(local)
            if slot is None:
                return None
            slots.append((local, slot))
        found = fingerprint(slots, run, lineage)
        if found is None:
            self._vain += 1
        return found

    # a run that is watched

    def before(self, number: int) -> None:
        """A command is about to run the ordinary way."""
        rehearsal = self._rehearsal
        if rehearsal is None:
            return
        self._asked = rehearsal.before(self._calls[number])
        if self._asked is None:
            self._stop(number)

    def after(self, number: int, *, has_failed: bool) -> None:
        """It has run; its result is still in the frame."""
        rehearsal, asked, self._asked = self._rehearsal, self._asked, None
        if rehearsal is None or asked is None:
            return
        command = None if has_failed else asked()
        if command is None:
            self._stop(number)
            return
        rehearsal.commands.append(command)
        if number + 1 == self._end:
            drops = self._drops[self.begin : self._end]
            self._stretch = Stretch(self.begin, rehearsal.commands, rehearsal.found, drops)
            self._rehearsal, self._is_settled = None, False
            self._stops.clear()

    def _stop(self, number: int) -> None:
        self._rehearsal = None
        self._stops[number] += 1
        if self._stops[number] == _CUT_AFTER:
            self._choose([(self.begin, number), (number + 1, self._end)])


def _rows(can: Sequence[bool], begin: int) -> list[tuple[int, int]]:
    """First place and place behind the last one of each row of commands."""
    rows: list[tuple[int, int]] = []
    for place, is_short in enumerate(can, begin):
        if is_short and rows and rows[-1][1] == place:
            rows[-1] = (rows[-1][0], place + 1)
        elif is_short:
            rows.append((place, place + 1))
    return rows
