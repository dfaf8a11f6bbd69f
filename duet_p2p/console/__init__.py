"""The owner's console: a page on this machine that talks to the owner's own process.

    page ── WebSocket, 127.0.0.1 only ──→ server ──→ actions ──→ desk, policy   (decisions)
                                              ←── board ←── watchers            (what is shown)
    duet console ── Unix socket, same user only ──→ door ──→ console.open()

All of it runs on the session's I/O thread, so it works while the notebook's kernel is busy.
"""
