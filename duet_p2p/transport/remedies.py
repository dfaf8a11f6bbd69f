"""What a user is told when no connection could be made: one sentence per cause."""

from __future__ import annotations

from duet_p2p.errors import ConnectFailed

__all__ = ["connect_failed"]

NO_ADDRESS = (
    "This machine has no network address. For two processes on it, use loopback=True on both sides."
)
NO_TURN = "Relayed connections only were asked for, but no TURN server is configured."
NO_RELAY = (
    "The TURN server gave no relay address: it cannot be reached, or it refused the credentials."
)
NO_PATH = "No direct path between the two networks. Ask the host of the signalling server for TURN."
NO_RELAYED_PATH = (
    "No path between the two networks, not even through the TURN server. Ask the host of the"
    " signalling server whether it relays for both."
)
NO_HANDSHAKE = "A path was found, but the encrypted handshake failed."
NO_CHANNEL = "A path was found and encrypted, but the channels did not open. Try again."
NO_CONFIRM = "The partner ended the connection before it was confirmed. Try again."


def connect_failed(
    stage: str, *, asks_relay: bool, has_relay: bool, relay_only: bool
) -> ConnectFailed:
    """The error for a stage, with the remedy that fits.

    Args:
        stage: ``gathering``, ``ice``, ``dtls``, ``channel`` or ``open``, which counts as
            ``channel`` in the error.
        asks_relay: Whether a TURN server is configured.
        has_relay: Whether it gave a relay address.
        relay_only: Whether other paths were ruled out.
    """
    if stage == "open":
        stage, remedy = "channel", NO_CONFIRM
    elif stage == "dtls":
        remedy = NO_HANDSHAKE
    elif stage == "channel":
        remedy = NO_CHANNEL
    elif asks_relay and not has_relay:
        # aioice raises nothing for an expired secret; the candidate is just missing.
        remedy = NO_RELAY
    elif relay_only and not asks_relay:
        remedy = NO_TURN
    elif stage == "gathering":
        remedy = NO_ADDRESS
    else:
        remedy = NO_RELAYED_PATH if has_relay else NO_PATH
    return ConnectFailed(stage=stage, remedy=remedy)
