"""What carries bytes: a joined pair in memory, WebRTC, the way to the signalling server."""
