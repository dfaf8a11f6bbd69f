"""Every size, count and time limit of duet_p2p, with its unit in the name or the comment.

Limits of the signalling server are in signaling_server/limits.py.
"""

from __future__ import annotations

from typing import Final

# pairing (protocol/pairing.py)
GATHER_SECONDS: Final = 5.0  # ICE candidates of one attempt
CONNECT_SECONDS: Final = 20.0  # from offer to open channels; aiortc alone gives up after 64
CONFIRM_SECONDS: Final = 10.0  # channel 0 open until confirm, and again until ready
CONFIRM_MAX_BYTES: Final = 1024  # a confirm or ready frame
JOIN_RESEND_SECONDS: Final = 2.0  # first repeat of a join or an answer
JOIN_RESEND_FACTOR: Final = 1.5
JOIN_RESEND_MAX_SECONDS: Final = 30.0
HELD_CLIENTS: Final = 16  # joins kept while nobody is expected yet
HELD_SECONDS: Final = 600.0
HELD_NEW_PER_MINUTE: Final = 10
BAD_PROOFS: Final = 5  # rejected offers or answers within one wait
FAILED_ATTEMPTS: Final = 3  # in a row, after an accepted offer
SDP_MAX_BYTES: Final = 16_384
CAPS_MAX_BYTES: Final = 2_048
CANDIDATES: Final = 32

# wire (wire/)
MESSAGE_MAX_BYTES: Final = 65_536  # a whole message on any channel, header included
FRAME_MAX_BYTES: Final = 16_384  # a frame of commands; larger ones are split
FRAME_FLUSH_SECONDS: Final = 0.002
VALUE_DEPTH: Final = 32
ARRAY_ITEMS: Final = 4_096
PAIR_ITEMS: Final = 65_536
INLINE_TENSOR_BYTES: Final = 8_192  # above it a tensor travels in chunks
AUTO_UPLOAD_BYTES: Final = 65_536  # a local tensor among the arguments; above it: .send()

# window (protocol/window.py)
WINDOW_COMMANDS: Final = 8_192  # unsettled commands in flight
WINDOW_BYTES: Final = 8 * 1024 * 1024
ACK_EVERY_COMMANDS: Final = 32
ACK_SECONDS: Final = 0.02

# bulk (session/bulk.py)
TRANSFERS: Final = 4  # at once, each direction
BULK_BUFFER_BYTES: Final = 1024 * 1024  # queued on the channel before the sender waits

# life
PING_SECONDS: Final = 2.0
PEER_LOST_SECONDS: Final = 10.0

# engine (engine/), each an owner's option of launch_duet(limits=…)
OBJECTS: Final = 1_000_000  # in one session's store
STORED_BYTES: Final = 4 * 1024**3  # logical bytes of the scientist's objects
RESULT_BYTES: Final = 1024**3  # logical bytes of one result, checked before it runs
UPLOAD_BYTES: Final = 1024**3  # one transfer
OPEN_REQUESTS: Final = 256

# release (owner/)
MIN_RECORDS: Final = 10  # the guard's smallest group
GUARDED_NUMBERS_PER_SOURCE: Final = 1_000  # by handlers on labels, per session
REQUEST_NAME_CHARS: Final = 100
REQUEST_REASON_CHARS: Final = 1_000
PRINTED_VALUE_CHARS: Final = 1_000
