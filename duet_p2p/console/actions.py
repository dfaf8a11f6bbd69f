"""What the owner does on the page, done on the desk; on the loop, so a busy kernel does not matter.

A decision counts only for exactly the facts that the page showed: it names the request by its id
and repeats the digest of what was displayed. Whatever moved between the display and the click, the
click decides about that or about nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from duet_p2p import limits
from duet_p2p.console.messages import (
    Accept,
    AddRule,
    Deny,
    FindRows,
    Look,
    Message,
    Preview,
    Remove,
    Resume,
)
from duet_p2p.console.rules import Meaning, handler_of, meaning_of
from duet_p2p.console.views import Views, digest_of
from duet_p2p.engine.departure import in_memory
from duet_p2p.errors import DuetError, NotAllowed, RequestClosed, SessionClosed
from duet_p2p.objects.words import clean_text
from duet_p2p.owner.audit_view import AuditView, exported
from duet_p2p.owner.handlers import Handler
from duet_p2p.owner.policy import ACCEPT
from duet_p2p.owner.requests import Record
from duet_p2p.owner.service import Service
from duet_p2p.surface.values import unpack

__all__ = ["Actions"]

Reply = dict[str, Any]


class Actions:
    """Answers a page's messages.

    Args:
        service: of the session.
        views: the session's; names sources.
        session_id: the owner's ID.
        audit: the log, or None where nothing is kept.
    """

    def __init__(
        self, service: Service, views: Views, session_id: str, audit: AuditView | None = None
    ) -> None:
        self._service = service
        self._desk = service.desk
        self._views = views
        self._session_id = session_id
        self._audit = audit
        self._take: dict[type, Callable[[Any], Reply]] = {
            Accept: self._accept,
            Deny: self._deny,
            Preview: self._preview,
            AddRule: self._add,
            Remove: self._remove,
            Resume: self._resume,
        }

    async def answer(self, message: Message) -> Reply:
        """Does what was asked; what cannot be done is an answer too.

        Returns:
            ``ok`` and ``text``, and what the kind of question adds.
        """
        try:
            if isinstance(message, Look):
                return await self._look(message)
            if isinstance(message, FindRows):
                return await asyncio.to_thread(self._rows, message)
            if not self._service.is_open:
                raise SessionClosed("The session is over; nothing was changed.")
            return self._take[type(message)](message)
        except DuetError as error:
            return {"ok": False, "text": clean_text(str(error), 1_000)}
        except TimeoutError:
            return {"ok": False, "text": "The engine does not answer at the moment. Try again."}

    # decisions

    def _accept(self, message: Accept) -> Reply:
        record = self._shown(message.request, message.digest)
        self._desk.accept(record.call, always=message.always)
        always = ", and from now on always; the rule is in the list" if message.always else ""
        return {"ok": True, "text": f"Accepted{always}."}

    def _deny(self, message: Deny) -> Reply:
        record = self._shown(message.request, message.digest)
        self._desk.deny(record.call, message.reason)
        return {"ok": True, "text": "Denied."}

    async def _look(self, message: Look) -> Reply:
        call = self._shown(message.request, message.digest).call
        record = await self._desk.look(call)
        assert record.facts is not None
        text = record.facts.failed or record.text
        if not text and record.has_value:
            text = repr(unpack(record.value, in_memory(record.data)))
        return {"ok": True, "text": "", "value": clean_text(text, limits.CONSOLE_VALUE_CHARS)}

    def _shown(self, request: str, digest: str) -> Record:
        record = self._desk.book.find(int(request, 16))
        if record is None or record.facts is None:
            raise RequestClosed(f"There is no request {request} any more; nothing was changed.")
        if digest_of(record) != digest:
            raise RequestClosed("This is not what the page showed; nothing was changed.")
        return record

    # rules

    def _preview(self, message: Preview) -> Reply:
        handler = handler_of(message.rule, self._desk)
        meaning = self._meaning(handler)
        taken = [
            record.id
            for record in self._desk.book.pending()
            if not self._desk.policy.against(handler, self._desk.case(record.call))
        ]
        replaced = [
            old for old in self._desk.policy.handlers() if old.conditions == handler.conditions
        ]
        return {
            "ok": True,
            "text": "",
            "lines": list(meaning.lines),
            "warnings": list(meaning.warnings),
            "digest": meaning.digest,
            "takes": taken,
            "replaces": bool(replaced),
        }

    def _add(self, message: AddRule) -> Reply:
        handler = handler_of(message.rule, self._desk)
        if self._meaning(handler).digest != message.digest:
            raise NotAllowed("This rule now means something else than was shown. Read it again.")
        try:
            self._desk.add_handler(handler)
        except ValueError as error:
            raise NotAllowed(str(error)) from error
        verb = "accepts" if handler.action == ACCEPT else "denies"
        return {"ok": True, "text": f"The rule is in force and {verb} from now on."}

    def _meaning(self, handler: Handler) -> Meaning:
        return meaning_of(
            handler,
            min_records=self._desk.policy.min_records,
            source_name=self._views.names.of,
        )

    def _remove(self, message: Remove) -> Reply:
        for handler in self._desk.policy.handlers():
            if handler.id == message.handler:
                self._desk.remove_handler(handler)
                return {"ok": True, "text": "The rule was removed. What waits goes on waiting."}
        raise RequestClosed("This rule is not in force any more.")

    def _resume(self, message: Resume) -> Reply:
        if not self._service.resume():
            raise RequestClosed("The session is not suspended.")
        return {"ok": True, "text": "The scientist can go on."}

    # the log, in a thread

    def _rows(self, message: FindRows) -> Reply:
        if self._audit is None:
            raise NotAllowed("This session keeps no audit log: it was started with audit=False.")
        rows = self._audit.find(
            message.text,
            kind=message.kind,
            session="" if message.all_sessions else self._session_id,
            before=message.before,
            limit=limits.CONSOLE_AUDIT_ROWS,
        )
        shown = [exported(row) for row in rows]
        if not message.whole:
            shown = [{k: row[k] for k in ("number", "time", "kind", "facts")} for row in shown]
        return {
            "ok": True,
            "text": "",
            "rows": shown,
            "more": len(rows) == limits.CONSOLE_AUDIT_ROWS,
        }
