"""One request in full, as text: everything that somebody needs to decide about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from duet_p2p import limits
from duet_p2p.engine.facts import OPAQUE
from duet_p2p.engine.messages import Facts
from duet_p2p.objects.words import clean_line, clean_text
from duet_p2p.owner.binding import always_text
from duet_p2p.owner.policy import Look
from duet_p2p.owner.totals import Released

__all__ = [
    "MODEL_WARNING",
    "Shown",
    "full_text",
    "records_text",
    "rows_text",
    "rows_texts",
    "tagged_texts",
    "training_text",
    "what_text",
]

MODEL_WARNING: Final = "A model can contain exact records of the data that it was trained on."
_LINE_CHARS: Final = 300


class Shown(Protocol):
    """What the text needs of a request."""

    @property
    def id(self) -> str:
        """16 hex digits."""
        ...

    @property
    def name(self) -> str:
        """The scientist's word."""
        ...

    @property
    def request_description(self) -> str:
        """The scientist's reason."""
        ...

    @property
    def requester(self) -> str:
        """ID of the scientist."""
        ...

    @property
    def status(self) -> object:
        """Where it stands."""
        ...

    @property
    def source_tags(self) -> list[list[str]]:
        """All tags of each source."""
        ...

    @property
    def rows(self) -> list[str]:
        """Which records of each source are behind it."""
        ...

    @property
    def why(self) -> str:
        """Why it waits, or who decided."""
        ...


def records_text(facts: Facts) -> str:
    """How many records are behind a number, and how the data was met."""
    count = facts.min_records
    met = "something public (a mask, weights, random numbers) met"
    if facts.injected and count > 1:  # else it would read as a group of so many
        return f"{met} at least {count:,} records: it may have left one of them per number"
    text = f"at least {count:,} record{'s' * (count != 1)} per number"
    if not count:
        text = "no record is behind it"
    if facts.injected:
        return f"{text}; {met} the records"
    return text + "; a dropout by the scientist's seed leaves some out" * facts.dropout


def tagged_texts(sources: Iterable[str], tags: Iterable[Iterable[str]]) -> list[str]:
    """Each source by its name and by what else it is tagged with."""
    found = []
    for name, every in zip(sources, tags, strict=True):
        others = ", ".join(tag for tag in every if tag != name)
        found.append(f"{name}, also tagged {others}" if others else name)
    return found


def rows_text(rows: str, records: str) -> str:
    """Which records of a source are behind the value, and of how many, where that can be told."""
    return f"{rows} of {records}" if records and rows != OPAQUE else rows


def rows_texts(sources: Iterable[str], rows: Iterable[str]) -> list[str]:
    """Which records of each source are behind the value, a line for each."""
    return [f"{name}: {text}" for name, text in zip(sources, rows, strict=False)]


def training_text(facts: Facts) -> list[str]:
    """How a model was trained, with what has to be known of each; empty for anything else."""
    is_model = facts.kind == "model" or facts.training
    return [*facts.training, MODEL_WARNING] if is_model else []


def what_text(facts: Facts) -> str:
    """One line; the recipe of what an optimizer changed ends where it was first made."""
    text = clean_line(facts.summary, _LINE_CHARS) or facts.type
    steps = [line for line in facts.training if line.startswith("trained ")]
    return ", then ".join((text, *steps))


def full_text(
    request: Shown,
    facts: Facts,
    sources: Sequence[str],
    released: Iterable[Released],
    looks: Iterable[Look],
) -> str:
    """The request in full. Name and reason are the scientist's words, and were cleaned."""
    shape = "" if facts.shape is None else f", shape {tuple(facts.shape)}"
    lines = [
        f"Request {request.id}: {request.status}",
        f"  name        {request.name!r} (the scientist's word)",
        f"  reason      {request.request_description!r} (the scientist's word)",
        f"  from        {request.requester}",
    ]
    if facts.failed:
        lines.append(f"  FAILED      {clean_line(facts.failed, _LINE_CHARS)}")
    else:
        lines.append(f"  what        {what_text(facts)}")
        lines.append(
            f"  value       {facts.kind}: {facts.type}{shape}, {facts.elements:,} "
            f"number{'s' * (facts.elements != 1)}, {facts.nbytes:,} bytes"
        )
        if facts.charge > facts.elements:
            lines.append(
                f"  quota       its size is private: it counts as {facts.charge:,} numbers"
            )
    lines.append(f"  records     {records_text(facts)}")
    for name, before in zip(tagged_texts(sources, request.source_tags), released, strict=False):
        lines.append(f"  depends on  {clean_line(name, _LINE_CHARS)} (released before: {before})")
    rows = rows_texts(sources, request.rows)
    lines += [f"  rows        {clean_line(text, _LINE_CHARS)}" for text in rows]
    lines += [f"  model       {line}" for line in training_text(facts)]
    if always := always_text(facts):
        lines.append(f"  always      {clean_line(always, limits.ALWAYS_CHARS)}")
    lines.append(f"  why         {request.why}")
    lines += [f"  handler     {look}" for look in looks]
    if facts.recipe:
        lines.append("  recipe")
        text = clean_text(facts.recipe, limits.RECIPE_CHARS)  # what can be bound is shown
        lines += [f"    {line}" for line in text.splitlines()]
    return "\n".join(lines)
