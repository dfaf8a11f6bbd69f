"""Messages that a peer's own code would never send, on either association."""

from duet_p2p.transport.sctp.transport import FastSctpTransport
from duet_p2p.transport.webrtc import WebRtcPeer


async def inject(peer: WebRtcPeer, stream: int, kind: int, data: bytes) -> None:
    """Sends one message past the channels."""
    if isinstance(peer._sctp, FastSctpTransport):
        peer._sctp._association.send(stream, kind, data)
        peer._sctp._wake()
    else:
        await peer._sctp._send(stream, kind, data)
