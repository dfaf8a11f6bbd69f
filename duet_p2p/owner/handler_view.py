"""`duet.requests.handlers` and the calls that add and remove them, for the user's thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, cast

from duet_p2p.errors import NotAllowed
from duet_p2p.objects import cards
from duet_p2p.owner.binding import Binding
from duet_p2p.owner.desk import Desk
from duet_p2p.owner.handlers import (
    ACTIONS,
    UNSET,
    Conditions,
    Handler,
    Unset,
    normal_name,
    tag_filter,
)
from duet_p2p.owner.handles import Handle
from duet_p2p.owner.plan_terms import PlanTerms
from duet_p2p.owner.request_view import Caller, OwnerRequest, RequestList, ValueReader
from duet_p2p.owner.rule_checks import kinds_of, listed

__all__ = ["HANDLER_COLUMNS", "HandlerList", "OwnerRequests"]

HANDLER_COLUMNS: Final = (
    "tags",
    "ID",
    "action",
    "remaining time (s):",
    "name",
    "conditions",
    "uses",
    "quota left",
)
"""The first four are those of the original, the odd colon included."""


class HandlerList:
    """The handlers in force, in order of adding.

    They end by themselves, too, so a position means the row of the listing that this process last
    showed, as one of `duet.requests` does: else another rule would be removed than was read.
    """

    def __init__(self, desk: Desk, caller: Caller) -> None:
        self._desk = desk
        self._caller = caller
        self._shown: list[Handler] = []

    @property
    def handlers(self) -> list[Handler]:
        """All of them as a list."""
        self._shown = self.in_force()
        return list(self._shown)

    def in_force(self) -> list[Handler]:
        """The same, which shows nobody anything."""
        return list(self._caller.read(self._desk.policy.handlers))

    @property
    def pandas(self) -> Any:
        """A `pandas.DataFrame` with the columns of `HANDLER_COLUMNS`."""
        from duet_p2p.objects.frame import frame_of

        now = self._caller.read(self._desk.now)
        rows = [
            (
                h.tags,
                h.id,
                h.action,
                h.remaining(now),
                h.name,
                h.conditions.described_conditions(),
                h.uses,
                h.quota_left,
            )
            for h in self.handlers
        ]
        return frame_of(rows, HANDLER_COLUMNS)

    def find(self, key: int | str | Handler) -> Handler:
        """A handler by position, name, tag, id (or at least 5 characters of it), or itself.

        Raises:
            KeyError, IndexError: there is none, or more than one fits.
        """
        handlers = self.in_force()
        if isinstance(key, Handler):
            if key not in handlers:
                raise KeyError("this handler is not in force any more")
            return key
        if isinstance(key, int) and not isinstance(key, bool):
            return self._in_row(key, handlers)
        if not isinstance(key, str):
            raise TypeError(f"a handler is named by position, name, tag or id, not by {key!r}")
        found = [h for h in handlers if h.name == normal_name(key)]
        found = found or [h for h in handlers if key in (h.tags or ())]
        found = found or [h for h in handlers if len(key) >= 5 and h.id.startswith(key)]
        if len(found) != 1:
            known = ", ".join(repr(h) for h in found or handlers) or "none"
            word = "several handlers fit" if found else "no handler fits"
            raise KeyError(f"{word} {key!r}: {known}")
        return found[0]

    def _in_row(self, row: int, handlers: list[Handler]) -> Handler:
        rows = self._shown + [handler for handler in handlers if handler not in self._shown]
        if not -len(rows) <= row < len(rows):
            raise IndexError(f"there are {len(rows)} handlers, none at {row}")
        handler = self._shown[row] if row < 0 and self._shown else rows[row]
        if handler not in handlers:
            raise KeyError(
                f"the handler in row {row} of the listing that was shown is not in force any more; "
                "look at duet.requests.handlers again"
            )
        return handler

    def __getitem__(self, key: int | str) -> Handler:
        return self.find(key)

    def __len__(self) -> int:
        return len(self.in_force())

    def __iter__(self) -> Iterator[Handler]:
        return iter(self.handlers)

    def __repr__(self) -> str:
        return "\n".join(f"[{i}] {h!r}" for i, h in enumerate(self)) or "No handlers."

    def _repr_html_(self) -> str:
        columns = ("", "action", "name", "tags", "conditions", "uses", "quota left", "id")
        rows = [
            (
                *(f"[{n}]", "accept everything (OPEN)" if h.is_open else h.action, h.name, h.tags),
                *(h.conditions.described_conditions(), h.uses, h.quota_left, h.id[:8]),
            )
            for n, h in enumerate(self)
        ]
        return cards.table("Handlers", columns, rows, empty="No handlers.")


class OwnerRequests(RequestList):
    """`duet.requests`: what waits, and the rules that answer by themselves."""

    def __init__(
        self,
        desk: Desk,
        caller: Caller,
        reader: ValueReader,
        *,
        resolve_source: Callable[[Any], int],
    ) -> None:
        super().__init__(desk, caller, reader)
        self.handlers = HandlerList(desk, caller)
        self._resolve_source = resolve_source

    def add_handler(
        self,
        action: str,
        print_local: bool = False,
        log_local: bool = False,
        tags: Iterable[str] | None = None,
        timeout_secs: float = -1,
        element_quota: int | None = None,
        *,
        name: str | None = None,
        kinds: Iterable[str] | Unset = UNSET,
        max_elements: int | Unset | None = UNSET,
        min_records: int | Unset = UNSET,
        sources: Iterable[Any] | Unset = UNSET,
        recipe: str | OwnerRequest | Unset = UNSET,
        allow_injected: bool | Unset = UNSET,
        allow_dropout: bool | Unset = UNSET,
        max_uses: int | Unset | None = UNSET,
        seen_only: bool = False,
    ) -> Handler:
        """Adds a rule and applies it at once to what waits.

        An accept handler with `name` or `tags` looks at words that the scientist chose, so it is
        guarded: one number per release, kinds public, metadata and aggregate over at least
        ``min_records`` records, nothing injected, at most 1,000 numbers per source and session.
        Widen it in words: ``kinds={"model"}, max_elements=None``. What the guard stops waits for
        you. A guard limits number and form of what leaves, not what can be worked out from it:
        the scientist chooses the model's weights, so "a loss" can be any question about a batch.

        What is said are conditions: a rule takes the values that all of them hold of. So one that
        *denies* ``min_records=10`` denies what comes from 10 records and leaves single ones; it
        says so when it is added.

        Args:
            action: ``accept`` or ``deny``. Deny goes first. ``accept`` with nothing else accepts
                everything.
            print_local: print name, reason and value here, also for deny.
            log_local: the same into the logger ``duet_p2p.owner``.
            tags: the set of the object's tags equals this set; None or [] does not filter,
                ``[""]`` stands for no tags.
            timeout_secs: life of the handler in seconds; -1: as long as the session.
            element_quota: numbers that it may release in all; a request beyond it is denied.
            name: equals the request's name, both stripped and lower-cased.
            kinds: kinds of values (release.md 2).
            max_elements: most numbers in one release; None: any number. What private values may
                have made so small is denied with it.
            min_records: least number of records behind each number. Of an accept handler that
                leaves what is injected, too: a mask can leave one record of any number of them.
            sources: tags, ids or handles. To be accepted a value depends on no other object; to be
                denied it is enough that it depends on one of them.
            recipe: a request: what `accept(always=True)` would bind to it. A text: exactly this
                `request.recipe`; an accept handler is then guarded as one with a name is.
            allow_injected: whether public tensors may have met the data along its records. Not
                said, a handler with `name`, `tags` or `min_records` leaves such values.
            allow_dropout: False: leave what a dropout fell on, whose masks follow from the
                scientist's seed and can be searched until few records are left. Losses of a
                network with dropout in training, and what is computed with its weights later.
            max_uses: how many times it may decide; a model leaves once unless said otherwise.
            seen_only: take only what matches an earlier decision by hand; of accepted values only
                those that could have been accepted always.

        Returns:
            The handler. It replaces an earlier one with the same filters and conditions.

        Raises:
            TypeError: what has to be a text or a list is none.
            ValueError: a value that does not exist or makes no sense, an empty list too.
            KeyError, IndexError: no object, or more than one, is called like one of `sources`.
            NotAllowed: a request that nothing can be bound to.
        """
        if name is not None and not isinstance(name, str):
            raise TypeError(f"name is a text, not {name!r}")
        recipe, binding = _bound(action, recipe)
        found = self._source_ids(sources)
        conditions = Conditions(
            name=None if name is None else normal_name(name),
            tags=tag_filter(tags),
            kinds=kinds_of(kinds),
            max_elements=max_elements,
            min_records=min_records,
            sources=found,
            source_names=self._named(found),
            recipe=recipe,
            allow_injected=allow_injected,
            allow_dropout=allow_dropout,
            max_uses=max_uses,
            seen_only=seen_only,
            binding=binding,
        )
        handler = Handler(
            action=action,
            conditions=conditions,
            print_local=print_local,
            log_local=log_local,
            element_quota=element_quota,
            timeout_secs=timeout_secs,
        )
        self._caller.run(self._desk.add_handler, handler)
        return handler

    def remove_handler(
        self, key: int | str | Handler | None = None, *args: Any, **options: Any
    ) -> None:
        """Takes one handler off.

        Args:
            key: position, name, tag, id or the handler. Left out, or an action, the handler is
                found by the options it was made with, as in 0.3:
                ``remove_handler(name="loss", action="deny")``.
            *args: further options in the order of `add_handler`, as in 0.3.
            **options: options of `add_handler`; those that are left out are not compared.

        Raises:
            KeyError: there is none, or more than one fits.
        """
        is_form_of_03 = key is None or (key in ACTIONS and (bool(args) or bool(options)))
        if is_form_of_03:
            handler = self._by_options(cast("str | None", key), args, options)
        elif args or options:
            raise TypeError("name the handler either by a key or by its options")
        else:
            handler = self.handlers.find(cast("int | str | Handler", key))
        self._caller.run(self._desk.remove_handler, handler)

    def clear_handlers(self) -> None:
        """Takes all handlers off; what waits goes on waiting."""
        self._caller.run(self._desk.clear_handlers)

    def allow_plan(
        self,
        digest: str,
        *,
        outputs: Iterable[int] | int,
        max_runs: int,
        sources: Iterable[Any] | Unset = UNSET,
    ) -> Handler:
        """Allows outputs of one recorded plan, for a number of runs. Read its listing first.

            print(duet.plans[0].listing())
            duet.requests.allow_plan(duet.plans[0].digest, outputs=[0], max_runs=1000)

        The digest binds the commands. Data and groups are bound as `accept(always=True)` binds
        them, by the requests for outputs of this plan that wait and that this process last showed,
        so that nothing that came since says over which data; name `sources` where there is none.
        Only values that name no single record leave (public, metadata, aggregate, model, over at
        least ``min_records`` records, nothing injected), and only while nothing wrote them since
        the run. First weights, masks and other contents that the scientist chose are those of what
        was shown, or else of the first output that leaves.

        Args:
            digest: all of it, 64 hex digits.
            outputs: positions of the outputs that may leave.
            max_runs: of so many runs; a list over n runs counts as n.
            sources: the objects that the outputs may depend on: tags, ids or handles.

        Returns:
            The handler, in place of an earlier one for this plan; `remove_handler` takes it off.

        Raises:
            NotAllowed: nothing that waits was shown, which would say over which data, and `sources`
                is not given.
            ValueError: no digest, no output, or no number of runs.
        """
        chosen = _checked_outputs(digest, outputs, max_runs)
        outputs_of = self._caller.run(self._desk.outputs_of_plan, digest)
        shown = [record.facts for record in outputs_of if record in self._positions.shown]
        seen = [f for f in shown if f and f.plan_output in chosen and not f.failed]
        given = self._source_ids(sources)
        if isinstance(given, Unset):
            if not seen:
                raise NotAllowed(
                    "No output of this plan that you have seen waits for a decision, so nothing "
                    "says over which data it runs: look at duet.requests when the first one is "
                    "there, or name the data, sources=[…]."
                )
            given = frozenset(source for facts in seen for source in facts.sources)
        terms = PlanTerms(digest, chosen, max_runs, given, source_names=self._named(given))
        for facts in seen:
            terms.bind(facts)
        for old in self.handlers.in_force():
            if old.conditions.plan is not None and old.conditions.plan.digest == digest:
                self._caller.run(self._desk.remove_handler, old)
        handler = Handler("accept", Conditions(plan=terms, max_uses=None))
        self._caller.run(self._desk.add_handler, handler)
        return handler

    def _by_options(
        self, action: str | None, args: tuple[Any, ...], options: dict[str, Any]
    ) -> Handler:
        order = ("print_local", "log_local", "tags", "timeout_secs", "element_quota")
        wanted = dict(zip(order, args, strict=False)) | options
        if action is not None:
            wanted["action"] = action
        if not wanted:
            raise TypeError("say which handler: a key, or the options it was made with")
        if wanted.get("name") is not None:
            wanted["name"] = normal_name(wanted["name"])
        if "tags" in wanted:
            given = tag_filter(wanted["tags"])
            wanted["tags"] = None if given is None else sorted(given)
        if wanted.get("kinds") is not None:
            wanted["kinds"] = kinds_of(wanted["kinds"])
        if wanted.get("sources") is not None:
            wanted["sources"] = self._source_ids(wanted["sources"])
        found = [
            h
            for h in self.handlers.in_force()
            if all(h[name] == value for name, value in wanted.items())
        ]
        if len(found) != 1:
            word = "several handlers were" if found else "no handler was"
            raise KeyError(f"{word} made with {wanted}")
        return found[0]

    def _source_ids(self, sources: Iterable[Any] | Unset) -> frozenset[int] | Unset:
        if isinstance(sources, Unset):
            return UNSET
        given = [sources] if isinstance(sources, str | int | Handle) else sources
        what = "an object of yours or a list of them: tags, ids or handles"
        return frozenset(map(self._resolve_source, listed("sources", given, what)))

    def _named(self, sources: frozenset[int] | Unset) -> frozenset[str] | None:
        if isinstance(sources, Unset):
            return None
        return frozenset(self._reader.source_name(source) for source in sources)


def _bound(
    action: str, recipe: str | OwnerRequest | Unset
) -> tuple[str | Unset, Binding | None]:  # fmt: skip
    """What a rule compares the recipe with, as a text or as what a request is bound to.

    Raises:
        NotAllowed: a request that nothing can be bound to.
    """
    if not isinstance(recipe, OwnerRequest):
        return recipe, None
    if action == "accept":
        return UNSET, recipe.bind()
    if not recipe.recipe:
        raise NotAllowed("This request has no recipe that a rule could name.")
    return recipe.recipe, None


def _checked_outputs(digest: str, outputs: Iterable[int] | int, max_runs: int) -> frozenset[int]:
    """The outputs; raises `ValueError` for what is no digest, no output or no number of runs."""
    if (
        not isinstance(digest, str)
        or len(digest) != 64
        or not set(digest) <= set("0123456789abcdef")
    ):
        raise ValueError("a digest has 64 hex digits: duet.plans[…].digest")
    given = [outputs] if isinstance(outputs, int) else outputs
    chosen = list(given) if isinstance(given, Iterable) else []
    if not chosen or any(type(output) is not int or output < 0 for output in chosen):
        raise ValueError("outputs= is a list of positions, counted from 0")
    if type(max_runs) is not int or max_runs < 1:
        raise ValueError(f"max_runs is a number of at least 1, not {max_runs!r}")
    return frozenset(chosen)
