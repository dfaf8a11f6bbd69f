"""Whom an owner lets in: named before anything starts, or once a partner can join.

An ID in an argument or in the environment is known at once. What runs a user's code, and the
prompt, wait until the session's own ID can be told and a partner can join.
"""

from __future__ import annotations

from typing import Any

from duet_p2p.prompts import CredentialExchanger, Prompts, named_clients

__all__ = ["Invitation"]


class Invitation:
    """The partners of one launch.

    Args:
        client_id: an ID, a list of them, a callable that takes the own ID, or nothing.
        exchanger: the original's hook, or None.
        own_id: the session's.
        is_needed: False where a partner comes without: over loopback.

    Attributes:
        clients: the IDs that were named so far.

    Raises:
        InvalidId: one of the IDs is none.
    """

    def __init__(
        self,
        client_id: Any,
        exchanger: CredentialExchanger | None,
        own_id: str,
        *,
        is_needed: bool,
    ) -> None:
        self._client_id = client_id
        self._exchanger = exchanger
        self._own_id = own_id
        self._is_needed = is_needed
        self._is_code = callable(client_id) or (not client_id and exchanger is not None)
        is_known = is_needed and not self._is_code
        self.clients: list[str] = named_clients(client_id, None, own_id) if is_known else []

    @property
    def is_open(self) -> bool:
        """Whether a partner is still to be named."""
        return self._is_needed and not self.clients

    def ask(self, prompts: Prompts, *, may_ask: bool) -> list[str]:
        """The IDs that the user's code names, else the one that is typed.

        Args:
            prompts: for the typing.
            may_ask: False types nothing; then there may be no ID.

        Raises:
            InvalidId: the code gave something else.
            InputRequired: there is no input.
            PairingTimeout: nothing was typed in time.
        """
        if self._is_code:
            self.clients = named_clients(self._client_id, self._exchanger, self._own_id)
        if may_ask and not self.clients:
            self.clients = [prompts.ask_client(self._own_id)]
        return self.clients
