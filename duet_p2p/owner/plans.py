"""`duet.plans`: the recorded steps of a session, with what an owner must read before allowing one.

Digest and listing are made here, in the owner's process, from the commands as they were decoded;
the engine works the digest out by itself as well. Nothing that the scientist says of a plan counts.

A plan is kept as its messages: decoded, its commands can take sixty times as much memory. More than
the engine takes of those in use are not kept at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

from duet_p2p import limits
from duet_p2p.errors import DuetError
from duet_p2p.objects import cards
from duet_p2p.objects.words import clean_line
from duet_p2p.owner.request_view import Caller
from duet_p2p.surface.plan import check, digest_of, is_part, joined, listing_of
from duet_p2p.wire.codec import decode_message, encode_message
from duet_p2p.wire.messages import DefinePlan

__all__ = ["OwnerPlans", "PlanBook", "SharedPlan"]


@dataclass(slots=True, eq=False)
class SharedPlan:
    """One plan, of either side."""

    id: int
    name: str
    """The scientist's word for it, cleaned."""
    digest: str
    """SHA-256 over its commands, for `duet.requests.allow_plan`."""
    parts: tuple[bytes, ...] = field(repr=False)
    """The messages that defined it."""
    commands: int
    outputs: int
    """How many values each run gives."""
    runs: int = 0
    """How many times it ran, failed runs included."""
    is_deleted: bool = False
    """The scientist gave it up; it is kept for reading."""
    describe: Callable[[int], str] = field(default=str, repr=False)
    """Says in words what an object is, by id."""

    @property
    def definition(self) -> DefinePlan:
        """The whole of it, read anew each time."""
        parts = (decode_message(part) for part in self.parts)
        return joined([part for part in parts if isinstance(part, DefinePlan)])

    @property
    def nbytes(self) -> int:
        """Of its messages."""
        return sum(map(len, self.parts))

    def listing(self) -> str:
        """The commands as torch code; what it captures is named at the top."""
        definition = self.definition
        named = {n: self.describe(id) for n, id in enumerate(definition.captures, 1)}
        return listing_of(definition, named)

    def _repr_html_(self) -> str:
        facts = {
            "name": self.name,
            "commands": self.commands,
            "outputs": self.outputs,
            "runs": self.runs,
            "digest": self.digest,
        }
        state = "given up" if self.is_deleted else ""
        return cards.card("Recorded plan", facts, state=state, code=self.listing())


class PlanBook:
    """The plans of one session; lives on the loop.

    Args:
        describe: says in words what an object is, by id.
    """

    def __init__(self, describe: Callable[[int], str]) -> None:
        self._plans: dict[int, SharedPlan] = {}
        self._parts: list[DefinePlan] = []
        self._encoded: list[bytes] = []  # the same
        self._nbytes = 0  # of the parts
        self._describe = describe

    def define(self, part: DefinePlan) -> SharedPlan | None:
        """A message of the scientist that defines a plan; the plan when it is whole and could run.

        Args:
            part: as it was decoded.
        """
        is_other = bool(self._parts) and self._parts[0].plan != part.plan
        if not self._parts:
            self._encoded, self._nbytes = [], 0
        encoded = encode_message(part)
        # each part is counted once: there may be as many as a plan has bytes
        self._nbytes += len(encoded)
        if is_other or not is_part(part) or self._nbytes > limits.PLAN_BYTES:
            self._parts = []
            return None  # the engine refuses it as well
        self._parts.append(part)
        self._encoded.append(encoded)
        if not part.is_last:
            return None
        parts, self._parts = self._parts, []
        return self._keep(part.plan, parts, tuple(self._encoded))

    def share(self, parts: Sequence[DefinePlan], id: int) -> SharedPlan | None:
        """The messages of a plan of the owner's; those of the scientist's go on as they are."""
        return self._keep(id, parts, tuple(map(encode_message, parts)))

    def _keep(
        self, id: int, parts: Sequence[DefinePlan], encoded: tuple[bytes, ...]
    ) -> SharedPlan | None:
        if id in self._plans and not self._plans[id].is_deleted:
            return None
        if not self._has_room(sum(len(p.steps) for p in parts), sum(map(len, encoded))):
            return None  # the engine refuses this one, too
        try:
            whole = joined(parts)
            check(whole)
        except (DuetError, ValueError):
            return None
        plan = SharedPlan(
            id,
            clean_line(whole.name, limits.NAME_CHARS),
            digest_of(whole),
            encoded,
            len(whole.steps),
            len(whole.outputs),
            describe=self._describe,
        )
        self._plans.pop(id, None)
        self._plans[id] = plan
        self._trim()
        return plan

    def _has_room(self, commands: int, nbytes: int) -> bool:
        """Whether the engine may take one more plan, of so many commands and bytes."""
        used = [plan for plan in self._plans.values() if not plan.is_deleted]
        return (
            len(used) < limits.PLANS
            and commands + sum(plan.commands for plan in used) <= limits.PLANS_STEPS
            and nbytes + sum(plan.nbytes for plan in used) <= limits.PLANS_BYTES
        )

    def ran(self, ident: int, times: int) -> None:
        """So many runs were asked for."""
        plan = self._plans.get(ident)
        if plan is not None and not plan.is_deleted:
            plan.runs += times

    def delete(self, ids: tuple[int, ...]) -> None:
        """These ids are dead."""
        for ident in ids:
            plan = self._plans.get(ident)
            if plan is not None:
                plan.is_deleted = True

    def drop_theirs(self) -> None:
        """The engine is another one: the scientist's plans are gone with the old one."""
        self._parts = []
        self.delete(tuple(ident for ident in self._plans if ident > 0))

    def all(self) -> tuple[SharedPlan, ...]:
        """Oldest first."""
        return tuple(self._plans.values())

    def _trim(self) -> None:
        """What was given up is kept as long as there is room."""
        gone = [plan for plan in self._plans.values() if plan.is_deleted]
        while gone and (
            len(self._plans) > limits.PLANS
            or sum(plan.nbytes for plan in self._plans.values()) > limits.PLANS_BYTES
        ):
            del self._plans[gone.pop(0).id]


class OwnerPlans:
    """A sequence of plans, oldest first; also by digest or the beginning of one.

    A scientist can give a plan up and define another one under its id, which would move into the
    row that was read. So a position means the row that this process last gave or showed, as one of
    `duet.requests` does. The beginning of a digest names none if a plan that is gone began so, too:
    two that begin alike are found in seconds.
    """

    def __init__(self, book: PlanBook, caller: Caller) -> None:
        self._book = book
        self._caller = caller
        self._shown: list[SharedPlan] = []
        self._digests: set[str] = set()  # that were given or shown

    def _all(self) -> tuple[SharedPlan, ...]:
        return self._caller.read(self._book.all)

    def _listed(self) -> tuple[SharedPlan, ...]:
        plans = self._all()
        self._shown = list(plans)
        self._digests.update(plan.digest for plan in plans)
        return plans

    def _in_row(self, row: int) -> SharedPlan:
        rows = self._shown + [plan for plan in self._all() if plan not in self._shown]
        plan = self._shown[row] if row < 0 and self._shown else rows[row]
        self._shown += rows[len(self._shown) : rows.index(plan) + 1]
        self._digests.add(plan.digest)
        return plan

    @overload
    def __getitem__(self, key: int | str) -> SharedPlan: ...
    @overload
    def __getitem__(self, key: slice) -> tuple[SharedPlan, ...]: ...
    def __getitem__(self, key: int | str | slice) -> Any:
        if isinstance(key, int):
            return self._in_row(key)
        if isinstance(key, slice):
            return self._listed()[key]
        plans = {plan.digest: plan for plan in self._all()}
        known = {d for d in (*plans, *self._digests) if len(key) >= 5 and d.startswith(key)}
        if len(known) > 1:
            raise KeyError(f"several plans have the digest {key!r}, or had it: say all of it")
        if not known & plans.keys():
            raise KeyError(f"no plan has the digest {key!r}")
        (digest,) = known
        self._digests.add(digest)
        return plans[digest]

    def __len__(self) -> int:
        return len(self._all())

    def __iter__(self) -> Iterator[SharedPlan]:
        return iter(self._listed())

    def __repr__(self) -> str:
        lines = [
            f"[{n}] {p.name!r}: {p.digest[:12]}…, {p.commands} commands, "
            f"{p.outputs} outputs, {p.runs} runs{', given up' if p.is_deleted else ''}"
            for n, p in enumerate(self._listed())
        ]
        return "\n".join(lines) or "No plans."

    def _repr_html_(self) -> str:
        columns = ("", "name", "commands", "outputs", "runs", "digest")
        rows = [
            (f"[{n}]", p.name, p.commands, p.outputs, p.runs, p.digest)
            for n, p in enumerate(self._listed())
        ]
        return cards.table("Recorded plans", columns, rows, empty="No plans.")
