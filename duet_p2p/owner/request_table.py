"""A listing of requests: the columns of `duet.requests.pandas`, and rows as text and as HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from duet_p2p.objects import cards

if TYPE_CHECKING:
    from duet_p2p.owner.request_view import OwnerRequest

__all__ = ["COLUMNS", "as_html", "as_text", "row_of"]

COLUMNS: Final = (
    "Name",
    "Requested Object's tags",
    "Reason",
    "Request ID",
    "Requested Object's ID",
    "Requested Object's type",
    "Kind",
    "Elements",
    "Records",
    "Injected",
    "Sources",
    "Waiting since",
    "Bytes",
    "What",
    "Released before",
    "Why",
    "Requester",
    "Shape",
    "Rows",
    "Training",
    "Recipe",
    "Handlers",
    "Source tags",
)
"""The first six are those of the original, for programs written for it."""


def row_of(request: OwnerRequest) -> tuple[Any, ...]:
    """One row of the table, in the order of `COLUMNS`."""
    return (
        request.name,
        request.object_tags,
        request.request_description,
        request.id,
        request.object_id,
        request.object_type,
        request.kind,
        request.elements,
        request.min_records,
        request.injected,
        request.sources,
        request.arrived,
        request.nbytes,
        request.summary,
        [str(before) for before in request.released_before],
        request.why,
        request.requester,
        request.shape,
        request.rows,
        request.model_lines,
        request.recipe,
        [str(look) for look in request.looks()],
        request.source_tags,
    )


def as_text(requests: list[OwnerRequest]) -> str:
    """One line for each."""
    return "\n".join(f"[{n}] {request!r}" for n, request in enumerate(requests)) or "No requests."


def as_html(requests: list[OwnerRequest]) -> str:
    """A row for each."""
    columns = ("", "name", "reason", "kind", "numbers", "records", "sources", "why it waits", "id")
    rows = [
        (f"[{n}]", r.name, r.reason, r.kind, r.elements, r.min_records, r.sources, r.why, r.id)
        for n, r in enumerate(requests)
    ]
    return cards.table("Requests", columns, rows, empty="No requests.")
