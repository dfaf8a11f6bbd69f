"""What public facts refuse before a command runs: objects, bytes, and time that values decide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch

from duet_p2p.engine.arguments import Arguments, is_private, spec_of
from duet_p2p.engine.axes import ELEMENTWISE, base_name
from duet_p2p.engine.charges import bound_of, charge
from duet_p2p.engine.judge import OF_LISTS
from duet_p2p.engine.lineage import Lineage, is_atomic, reach
from duet_p2p.engine.pacing import Pacing, is_timed_by_values
from duet_p2p.engine.room import Held, Room
from duet_p2p.engine.store import Slot
from duet_p2p.errors import QuotaExceeded
from duet_p2p.limits import TIMED_PER_MINUTE
from duet_p2p.surface import shapes
from duet_p2p.surface.table import Rule
from duet_p2p.surface.values import logical_numbers

__all__ = ["Admission", "Limits", "SizeRefused"]


_NUMBER_BYTES: Final = 8  # until its type is known


@dataclass(frozen=True, slots=True)
class Limits:
    """Quotas of the session that hold for commands, see limits.py."""

    objects: int
    stored_bytes: int
    result_bytes: int
    upload_bytes: int
    timed_per_minute: int = TIMED_PER_MINUTE


class SizeRefused(Exception):
    """A command cannot run: its shapes do not fit, or a quota is used up.

    Attributes:
        error: what is told.
        is_public: it follows from public facts.
    """

    def __init__(self, error: Exception, *, is_public: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.is_public = is_public


class Admission:
    """The quotas of one session, and what is known about the command that runs.

    Attributes:
        spec: what its results will be, where that is public before it runs; None elsewhere.
        is_inferred: the shapes of its results followed from those of its arguments.
        bound: most numbers in a result whose size is hidden; 0: none is.
        is_timed: private values decide how long it takes.
        has_hidden: private values decided how much memory is in use, now or before.
    """

    def __init__(self, lineage: Lineage, limits: Limits) -> None:
        self._lineage = lineage
        self.limits = limits
        self.room = Room(lineage, objects=limits.objects, nbytes=limits.stored_bytes)
        self.pacing = Pacing(limits.timed_per_minute)
        self.is_inferred = True
        self.bound = 0
        self.is_timed = self.has_hidden = False
        self.spec: Any = None

    @property
    def is_plain(self) -> bool:
        """Nothing about the command's size or time is out of the ordinary."""
        return self.is_inferred and not self.bound and not self.is_timed

    def configure(self, limits: Limits) -> None:
        """Other quotas from the next command on; what was counted stays counted."""
        self.limits, self.pacing.most = limits, limits.timed_per_minute
        self.room.objects, self.room.nbytes = limits.objects, limits.stored_bytes

    def admit_size(
        self, rule: Rule, given: Arguments, mode: str, held: Held, *, is_met: bool
    ) -> None:
        """The same shape inference as on the scientist's side, before anything is allocated.

        Args:
            rule: of the name.
            given: the arguments.
            mode: of gradients.
            held: the objects that there are.
            is_met: private values take part.

        Raises:
            SizeRefused: it cannot run.
        """
        self.is_inferred, self.bound, self.is_timed, self.spec = True, 0, False, None
        is_public = given.item is not None or given.has_public_facts(self._lineage)
        if not rule.name.startswith("python."):
            _admit_parts(given, is_public=is_public)
        if given.item is None and (rule.shape == "none" or rule.form in ("constructor", "setter")):
            return
        try:
            spec = given.item or shapes.infer(
                rule.name,
                tuple([spec_of(value) for value in self._indices(rule, given)]),
                {key: spec_of(value) for key, value in given.kwargs.items()},
                mode,
            )
        except Exception as error:
            if is_met and not is_public and _keeps_form(rule, given, self._lineage):
                self.spec = _without_numbers(rule, given, mode)
            raise SizeRefused(error, is_public=is_public) from None
        self.is_inferred = spec is not shapes.UNKNOWN
        if self.is_inferred and (is_public or _keeps_form(rule, given, self._lineage)):
            self.spec = spec
        nbytes = shapes.result_bytes(spec) if self.is_inferred else 0
        if nbytes > self.limits.result_bytes:
            refusal = QuotaExceeded(
                f"{rule.name} would make {nbytes} bytes, {self.limits.result_bytes} allowed "
                "(result_bytes)"
            )
            raise SizeRefused(refusal, is_public=is_public)
        is_hidden = is_met and (not self.is_inferred or rule.shape == "dynamic" or not is_public)
        if is_hidden:
            self.has_hidden = True
            self.bound = bound_of(rule, given, self._lineage)
            nbytes = self.bound * _NUMBER_BYTES
        try:
            self.room.admit_bytes(held, nbytes)
        except QuotaExceeded as error:
            # what a hidden size counts for is a public fact
            raise SizeRefused(error, is_public=is_public or bool(self.bound)) from None

    def _indices(self, rule: Rule, given: Arguments) -> tuple[Any, ...]:
        """The positional arguments, with numbers in place of each public mask of one axis.

        How many features a mask of the scientist's own chooses is as public as the mask. Only masks
        beside other parts of an index: one that stands alone chooses records.
        """
        args = given.args
        if rule.short != "__getitem__" or len(args) != 2 or type(args[1]) is not tuple:
            return args
        return (args[0], tuple([self._numbers(part) for part in args[1]]))

    def _numbers(self, part: Any) -> Any:
        if isinstance(part, list) and part and all(type(value) is bool for value in part):
            return [place for place, value in enumerate(part) if value]
        is_mask = isinstance(part, torch.Tensor) and part.dtype is torch.bool and part.ndim == 1
        if not is_mask or is_private(self._lineage.label(part)) or self._lineage.hidden(part):
            return part
        return part.nonzero()[:, 0]

    def pass_nothing(self) -> None:
        """A command without results, of which nothing private decides how long it takes."""
        self.is_inferred, self.bound, self.is_timed, self.spec = True, 0, False, None

    def count_made(self, nbytes: int) -> None:
        """A public result whose size was not known before it was there.

        Raises:
            QuotaExceeded: it has more bytes than one result may have.
        """
        if nbytes > self.limits.result_bytes:
            most = self.limits.result_bytes
            raise QuotaExceeded(f"a result of {nbytes} bytes, {most} allowed (result_bytes)")
        self.room.add(nbytes)

    def charge(self, result: Any, *, is_met: bool) -> None:
        """Results of hidden size count for their bound, public ones of unknown size as they are.

        Raises:
            QuotaExceeded: the latter are larger than allowed.
        """
        if is_atomic(result) or not (self.bound or not (self.is_inferred or is_met)):
            return
        tensors = [part for part in reach(result) if isinstance(part, torch.Tensor)]
        if self.bound:
            charge(tensors, self.bound, self._lineage)
        else:
            self.count_made(sum(t.numel() * t.element_size() for t in tensors))

    def admit_again(self, spec: Any, nbytes: int, held: Held) -> bool:
        """Whether there is room for a command whose size is known from an earlier one.

        Args:
            spec: of its result.
            nbytes: of its result.
            held: the objects that there are.
        """
        self.is_inferred, self.bound, self.is_timed, self.spec = True, 0, False, spec
        if nbytes > self.limits.result_bytes:
            return False
        try:
            self.room.admit_bytes(held, nbytes)
        except QuotaExceeded:
            return False
        return True

    def admit_stretch(self, largest: int, nbytes: int, most: int, held: Held) -> bool:
        """Whether there is room for plain commands whose sizes are known, with nothing to count.

        Args:
            largest: bytes of the largest result.
            nbytes: of all results.
            most: how many results are there at once.
            held: the objects that there are.
        """
        if len(held) + most > self.room.objects or largest > self.limits.result_bytes:
            return False
        return self.room.take(nbytes)

    def admit_time(self, rule: Rule, given: Arguments, *, is_container: bool) -> None:
        """A call on private values is about to run.

        Raises:
            QuotaExceeded: there were too many of a time that values decide.
        """
        makes_tensors = "tensor" in rule.result or rule.result == "self"
        if (makes_tensors and not self.is_inferred) or is_timed_by_values(
            rule, given, self._lineage, is_container
        ):
            self.is_timed = self.has_hidden = True
            self.pacing.take()


def _keeps_form(rule: Rule, given: Arguments, lineage: Lineage) -> bool:
    """Whether no private number among the arguments, or in a list of theirs, changes the shape."""
    if any([slot.is_loose for slot in given.slots.values()]):
        return False
    is_list = rule.short in OF_LISTS and not is_private(given.structure(lineage))
    return is_list or base_name(rule.name) in ELEMENTWISE


def _without_numbers(rule: Rule, given: Arguments, mode: str) -> Any:
    """What such a call would give for other private numbers."""
    for number in (0, 1, 2):

        def other(slot: Slot, number: int = number) -> Any:
            value = slot.value
            if isinstance(value, list | tuple):
                return _with_numbers(value, number)
            is_chosen = is_private(slot.label) and type(value) in (bool, int, float)
            return type(value)(number) if is_chosen else value

        args, kwargs = given.remade(other)
        try:
            specs = {key: spec_of(value) for key, value in kwargs.items()}
            spec = shapes.infer(rule.name, tuple(map(spec_of, args)), specs, mode)
        except Exception:
            continue
        return None if spec is shapes.UNKNOWN else spec
    return None


def _with_numbers(value: Any, number: int) -> Any:
    """A list with this in the place of each number: of what type they are is all that counts."""
    if isinstance(value, list | tuple):
        return [_with_numbers(part, number) for part in value]
    return type(value)(number) if type(value) in (bool, int, float) else value


def _admit_parts(given: Arguments, *, is_public: bool) -> None:
    """Torch walks through a list once for each place where it stands, and so do we for its shapes.

    Raises:
        SizeRefused: it stands twice in one that stands twice in one, and so on.
    """
    for value in given.values():
        if isinstance(value, (list, tuple, dict)):
            try:
                logical_numbers(value)
            except ValueError as error:
                raise SizeRefused(error, is_public=is_public) from None
