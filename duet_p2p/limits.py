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
JOIN_RENEW_SECONDS: Final = 60.0  # a join that brought no offer gets a new attempt number
RETRY_SECONDS: Final = 1.0  # pause after a failed attempt, grows by JOIN_RESEND_FACTOR
RECONNECT_MAX_SECONDS: Final = 3.0  # cap of both timers while an open link is lost …
RECONNECT_HASTE_SECONDS: Final = 300.0  # … for this long
NO_ANSWER_SECONDS: Final = 60.0  # without an offer, until the scientist is told what to check
LINK_EARLY_BYTES: Final = 4 * 1024 * 1024  # frames of a verified partner that wait for the session
ICE_REFRESH_SECONDS: Final = 2.0  # for fresh TURN credentials; then the old ones are tried
MDNS_NAMES: Final = 8  # looked up for one description
MDNS_SECONDS: Final = 1.0
FILE_LOCK_SECONDS: Final = 10.0  # another process reads, changes and writes one of the files
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
FRAME_HEADER_BYTES: Final = 12  # array header 3, number 9
FRAME_MESSAGES: Final = 4_096  # in one frame
FRAME_FLUSH_SECONDS: Final = 0.002
UNREAD_BYTES: Final = 512  # an operation of more is read in the owner's process too
VALUE_DEPTH: Final = 32
ARRAY_ITEMS: Final = 4_096
PAIR_ITEMS: Final = 65_536
ALIKE_KEYS: Final = 64  # of a dict or a set, with the same hash: Python compares them all
VALUE_MAX_BYTES: Final = 16 * 1024 * 1024  # an encoded value that stands alone, as in a blob
STRING_BYTES: Final = 1024 * 1024  # one str (in UTF-8) or bytes inside a value
INT_BYTES: Final = 4_096  # one int beyond 64 bits
TENSOR_DIMS: Final = 64  # torch's own limit
NAME_CHARS: Final = 256  # names of operations, types, dtypes, tags, keys
MESSAGE_TEXT_CHARS: Final = 4_096  # descriptions and texts of errors
PLAN_TIMES: Final = 65_536  # runs of a plan in one message
INLINE_TENSOR_BYTES: Final = 8_192  # above it a tensor travels in chunks
COPY_BYTES: Final = 1024**2  # a piece of a copy, after which what is there may leave
COPY_MEANWHILE_BYTES: Final = 2 * 1024**2  # from here on an upload leaves while it is copied
UPLOAD_IN_PLACE_BYTES: Final = 32 * 1024**2  # from here on `send` waits and makes no copy
AUTO_UPLOAD_BYTES: Final = 65_536  # a local tensor among the arguments; above it: .send()

# window (protocol/window.py)
WINDOW_COMMANDS: Final = 8_192  # unsettled commands in flight
WINDOW_BYTES: Final = 8 * 1024 * 1024
ACK_EVERY_COMMANDS: Final = 32
ACK_SECONDS: Final = 0.05  # what is settled by then needs none
SETTLED_SECONDS: Final = 0.05  # tick on which Settled is sent, so that it is no clock
WINDOW_SLACK: Final = 2  # times the window, before a side that overruns it is cut off
WINDOW_WAIT_SECONDS: Final = 60.0  # a full window on a lost link, until the caller gets an error

# transport (transport/)
STUN_SECONDS: Final = 2.0  # a STUN server that has not answered by then is not waited for
RELAY_RELEASE_SECONDS: Final = 1.0  # for a TURN server to confirm that a relay is given up
CONSENT_RETRANSMISSIONS: Final = 2  # of a check of consent, after 0.5 and 1.5 s; lost at 3.5 s
LINGER_SECONDS: Final = 0.25  # after close, for messages on channel 0 to arrive
FEED_BYTES: Final = 65_536  # handed to SCTP at once; the rest waits, sorted by channel
UNSENT_DATAGRAM_BYTES: Final = 16 * 1024 * 1024  # that wait for the kernel; twice a window
UNSENT_MESSAGES: Final = 65_536  # that wait so in one association, before it is given up; more
UNSENT_BYTES: Final = 32 * 1024 * 1024  # (of one channel) than windows and chunks can make
EARLY_FRAMES: Final = 16  # received before somebody listens
EARLY_BYTES: Final = 128 * 1024
UNREAD_PACKETS: Final = 1_024  # datagrams from anybody, before DTLS reads them
REMOTE_ADDRESSES: Final = 128  # of the partner, told or found out; it tells at most 32
UDP_BUFFER_BYTES: Final = 2 * 1024 * 1024  # asked of the kernel for each socket
SLOW_START_BYTES: Final = 128 * 1_160  # stock SCTP's window grows by small steps from there on
SCTP_HELD_BYTES: Final = 2 * 1024 * 1024  # fragments that are no whole message yet

# the fast association (transport/sctp/); the constants of RFC 9260 section 16 where it has them
SCTP_PACKET_BYTES: Final = 1_188  # fits 1,280 bytes of IPv6 with UDP and DTLS around it
SCTP_PROBE_SIZES: Final = (1_400, 1_328, 1_252)  # tried on a path: Ethernet, tunnels, more tunnels
SCTP_PROBES: Final = 3  # of one size, until it is believed not to pass
SCTP_PROBE_SECONDS: Final = 1.0  # for an answer to a probe, at least
SCTP_PROBE_AGAIN_SECONDS: Final = 600.0  # until larger packets than were found are tried again
SCTP_NARROW_EXPIRIES: Final = 2  # timeouts in a row, then large packets are not believed in
SCTP_PACKET_MAX_BYTES: Final = (
    16_000  # on loopback, if both sides are ours; a DTLS record ends at 16 KiB
)
SCTP_WINDOW_BYTES: Final = 1024 * 1024  # fragments that wait for earlier ones
SCTP_STREAMS: Final = 65_535
SCTP_RTO_INITIAL_SECONDS: Final = 1.0
SCTP_RTO_MIN_SECONDS: Final = 0.2
SCTP_RTO_MAX_SECONDS: Final = 4.0  # ICE looks after dead paths, and a session waits for 10 s
SCTP_INIT_ATTEMPTS: Final = 8
SCTP_EXPIRIES: Final = 10  # timeouts in a row, then the other side is gone
SCTP_COOKIE_SECONDS: Final = 60.0
SCTP_ACK_SECONDS: Final = 0.01  # until a lone packet is acknowledged
SCTP_HEARTBEAT_SECONDS: Final = 15.0  # without a packet of the other side
SCTP_INITIAL_PACKETS: Final = 10  # congestion window at the start
SCTP_INITIAL_LARGE_PACKETS: Final = 16  # of those of loopback: what a transfer sends before a GO
SCTP_BURST_PACKETS: Final = 64  # sent at once on a path that loses nothing
SCTP_BURST_MIN_PACKETS: Final = 8
SCTP_CONGESTION_MAX_BYTES: Final = 8 * 1024 * 1024

# bulk (session/bulk.py)
TRANSFERS: Final = 4  # at once, each direction
BULK_BUFFER_BYTES: Final = 1024 * 1024  # queued on the channel before the sender waits
BULK_MESSAGE_BYTES: Final = 4 * (SCTP_PACKET_MAX_BYTES - 28)  # four packets, without a small fifth
BULK_TURN_CHUNKS: Final = 4  # of one transfer in one turn of the loop, if it is the only one
BULK_EARLY_BYTES: Final = 262_144  # of a transfer, before it is wanted; all: TRANSFERS times
BULK_EARLY_WIDE_BYTES: Final = 1024 * 1024  # the same, from who was told that it may be so much
BULK_CHARGE_BYTES: Final = 4_096  # what a small transfer counts for, until it is wanted
DEFLATE_BLOCK_BYTES: Final = 262_144  # of a value, in one compressed chunk
DEFLATE_FROM_BYTES: Final = 65_536  # smaller transfers are never compressed
DEFLATE_SAMPLES: Final = 4  # parts of a value that tell whether to compress it
DEFLATE_SAMPLE_BYTES: Final = 8_192  # each
DEFLATE_PATH_RATE: Final = 150e6  # bytes a second that a path may have until it is measured
BULK_REFUSED: Final = 1_024  # transfers that were given up before they were declared or begun
BULK_UNANSWERED: Final = 32_768  # that were refused and go on; twice what a window declares

# life
PING_SECONDS: Final = 2.0
PEER_LOST_SECONDS: Final = 10.0
LOST_GRACE_SECONDS: Final = 5.0  # a wait without a deadline goes on for so long after a loss
RESUME_SECONDS: Final = 300.0  # a lost partner may come back; then the session ends
SIGNALING_REST_SECONDS: Final = 60.0  # after open, a scientist leaves the signalling server
LOBBY_CLOSE_SECONDS: Final = 20.0  # everything of one session, taken down
BRIDGE_SECONDS: Final = 5.0  # for the loop's thread, and the callbacks', to start or to end
CANCEL_SECONDS: Final = 1.0  # for a cancelled coroutine to clean up
CLOSE_SECONDS: Final = 1.0  # for the last commands to be acknowledged, and again for Bye to leave

# signalling client (transport/signaling.py)
SIGNALING_CONNECT_SECONDS: Final = 10.0  # connecting, and again registering
SIGNALING_CLOSE_SECONDS: Final = 3.0
SIGNALING_ICE_SECONDS: Final = 5.0  # for an answer with fresh credentials
SIGNALING_HEARTBEAT_SECONDS: Final = 25.0  # where a server does not say its own
SIGNALING_FRAME_BYTES: Final = 131_072  # from the server, which allows itself 65,536
SIGNALING_POSTS: Final = 16  # queued while there is no socket; the oldest goes
SIGNALING_POST_SECONDS: Final = 60.0  # older ones are not sent any more
SIGNALING_HURRY_SECONDS: Final = 300.0  # of a lost session, with the shorter backoff
BACKOFF_SECONDS: Final = 1.0  # first pause, +-50 %
BACKOFF_FACTOR: Final = 1.5
BACKOFF_MAX_SECONDS: Final = 60.0
BACKOFF_HURRIED_SECONDS: Final = 3.0
BACKOFF_OVERLOAD_SECONDS: Final = 10.0
BACKOFF_RESET_SECONDS: Final = 10.0  # a socket that lived so long starts the backoff again
RETRY_AFTER_MAX_SECONDS: Final = 3600.0  # what a server may ask for

# loopback folder (transport/folder.py)
FOLDER_POLL_SECONDS: Final = 0.01  # while pairing
FOLDER_IDLE_POLL_SECONDS: Final = 0.5
FOLDER_MESSAGE_BYTES: Final = 65_536
FOLDER_MESSAGES: Final = 16  # waiting in one direction
FOLDER_STALE_SECONDS: Final = 60.0  # an unfinished folder or file of a dead process

# engine (engine/), each an owner's option of launch_duet(limits=…)
OBJECTS: Final = 1_000_000  # in one session's store
STORED_BYTES: Final = 4 * 1024**3  # logical bytes of the scientist's objects
RESULT_BYTES: Final = 1024**3  # logical bytes of one result, checked before it runs
LOADER_FACTS_BYTES: Final = 32_768  # of what is told of a loader's batches; else nothing is
HIDDEN_NUMBERS: Final = 65_536  # that a result of hidden size counts for at least, if unbounded
UPLOAD_BYTES: Final = 1024**3  # one transfer
UPLOADS_BYTES: Final = 2 * 1024**3  # all transfers that are under way
DOWNLOADS_BYTES: Final = 2 * 1024**3  # all values that the scientist does not have yet
DOWNLOAD_FILES: Final = 512  # large ones among them; each is an open file
UPLOAD_FILES: Final = 64  # large uploads that are received ahead of the engine, a file each
COMMANDS_PER_SECOND: Final = 20_000  # and as many at once; faster ones wait
COMMAND_SECONDS: Final = 120  # wall time of one command, then the engine is ended; 0: no limit
RUN_SECONDS: Final = 3_600  # of one message: all runs of a plan, a step with all of its closure's
TIMED_PER_MINUTE: Final = 1_000  # operations on private data whose time depends on values
TIMED_SECONDS: Final = 60.0  # the minute of that
TIMED_TICK_SECONDS: Final = 0.25  # answers behind such an operation wait for it
CLOSED_READS: Final = 0  # 1: the engine reads no files but those of torch and the data directories
ENGINE_CPU_SECONDS: Final = 0  # of one engine, all threads together; 0: no limit
ENGINE_MEMORY_BYTES: Final = 0  # beyond torch's own; 0: three quarters of the machine's
ENGINE_RESERVE_BYTES: Final = 32 * 1024 * 1024  # above that, for what is no operation
ENGINE_LOG_BYTES: Final = 128 * 1024  # a minute, of what an engine writes to its terminal
ENGINE_STACK_BYTES: Final = 512 * 1024 * 1024  # 180 for each operation of a graph as it is deleted
ENGINE_KEPT_BYTES: Final = 256 * 1024 * 1024  # freed, and not given back to the kernel
ENGINE_MAPPED_BYTES: Final = 32 * 1024 * 1024  # larger blocks are mapped; the most of glibc
OPEN_REQUESTS: Final = 256
QUOTA_MAX: Final = 1 << 60  # of any of these; what is more fits no limit of the kernel
QUOTA_MAX_SECONDS: Final = 10 * 365 * 86_400  # of those that are times
ENGINE_MEMORY_MIN_BYTES: Final = 32 * 1024 * 1024  # for less it does not start everywhere
PLANS: Final = 256  # recorded steps that one session keeps
PLAN_STEPS: Final = 16_384  # commands of one plan
PLAN_PARTS: Final = 262_144  # values among the arguments of its commands, at any depth
PLANS_STEPS: Final = 65_536  # commands of all plans of a session
PLAN_BYTES: Final = 4 * 1024**2  # of one plan's messages, constants included
PLANS_BYTES: Final = 64 * 1024**2  # of all plans of a session
CLOSURE_RUNS: Final = 12_500  # of a closure in one step of an optimizer: LBFGS's max_eval
CLOSURE_ITERATIONS: Final = 10_000  # LBFGS's max_iter, and its history_size
RECIPE_STEPS: Final = 64  # operations shown of how a value was made
RECIPE_CHARS: Final = 8_000
FORESEEN_CHARS: Final = 800  # of the training that is accepted always: a line that can be read
ALWAYS_CHARS: Final = FORESEEN_CHARS + 200  # with the words around it
WRITERS: Final = 64  # forms of training steps behind one value; more cannot be bound
PIPE_FRAME_BYTES: Final = 512 * 1024**2  # a frame on the pipe to the engine, without its buffers
DEPARTURES: Final = 64  # frozen values that are in memory files; more are copied
DEPARTURE_SECONDS: Final = 30.0  # a file that leaves while it is written, without more bytes
DEPARTURE_LOOK_SECONDS: Final = 0.001  # between two looks whether there are
DEPARTURE_TURNS: Final = 100  # of the loop, with a look in each, before there is time between them
REST_SECONDS: Final = 0.003  # without a command, before an engine does what nobody waits for
SPARE_BYTES: Final = 16 * 1024**2  # at most, of the pages that are kept ready for a large value
SPARE_STEP_BYTES: Final = 1024**2  # of them, fetched without a look whether there is work
PIPE_SHORT_SECONDS: Final = 10.0  # without descriptors or memory to write; then the engine ends
PIPE_SHORT_LOOK_SECONDS: Final = 0.05  # between two tries
PIPE_MEMORY_FILE_BYTES: Final = 65_536  # buffers of this size go as memory files, not inline
ENGINE_START_SECONDS: Final = 120.0  # importing torch on a cold, slow disk
ENGINE_AGAIN_SECONDS: Final = 0.5  # between two tries where the system has no room for one
ENGINE_STOP_SECONDS: Final = 2.0  # asked nicely; then it is killed

# surface (surface/)
INT_BITS: Final = 65_536  # of a remote Python int; 8 KiB
TEXT_CHARS: Final = 1_000_000  # of a remote str or bytes
CONTAINER_ITEMS: Final = 1_000_000  # of a remote list, tuple, dict or set
COUNTED_PARTS: Final = 4_000_000  # of a value that is frozen; what stands in it twice counts twice
RESULT_PARTS: Final = 65_536  # tensors that one call takes another apart into
LOWRANK_ROUNDS: Final = 1_000  # niter of svd_lowrank, pca_lowrank and lobpcg
CHAINED_MATRICES: Final = 256  # of multi_dot and chain_matmul
CHAINED_SCHEDULERS: Final = 256  # in one another; what stands in it twice counts twice
GAMMA_TERMS: Final = 1_000  # p of mvlgamma, which makes p times its argument on the way
ROUND_DIGITS: Final = 4_096  # of round(); 10**digits is computed for an int
DATASET_BYTES: Final = 1024**3  # one file of a data set, unpacked
DATASET_CACHE: Final = 4  # data sets whose files one engine keeps in memory
LDL_PIVOTS: Final = 65_536  # looked at one by one before a solve
POLYNOMIAL_DEGREE: Final = 10_000  # of chebyshev_polynomial_t and its like, which loop that often
COMBINED_VALUES: Final = 16  # r of torch.combinations
IMAGE_SIDE: Final = 4_096  # pixels that a transform may make
SHAPES_CACHE: Final = 16_384  # results of shape inference
PRECEDENTS: Final = 4_096  # verdicts on operations that the engine remembers
HABITS: Final = 4_096  # kinds of calls whose results the scientist's side remembers
PRECEDENT_CHARS: Final = 64  # of a text among their arguments
SHAPES_REPLAY_ELEMENTS: Final = 4 * 1024**2  # inputs of a failed inference that run again for real
BLOB_ALIGNMENT: Final = 64  # bytes; tensors in a blob begin at multiples of it

# what notebooks show (objects/cards.py, notebook.py)
CARD_FIELD_CHARS: Final = 200  # of one field
CARD_CODE_CHARS: Final = 8_000  # of a recipe or a listing: all of a recipe
CARD_ROWS: Final = 50  # of a table
PANEL_REQUESTS: Final = 20  # with buttons; the rest is counted
PANEL_DECIDED: Final = 10  # newest decided requests on the scientist's panel
PANEL_TRANSFERS: Final = 5
PANEL_SECONDS: Final = 0.1  # changes that come within it are shown together
PANEL_PULSE_SECONDS: Final = 0.5  # how often what changes without an event is looked at

PROGRESS_BYTES: Final = 1024**2  # a smaller transfer has no bar
PROGRESS_SECONDS: Final = 1.0  # nothing is drawn before

# release (owner/)
MIN_RECORDS: Final = 10  # the guard's smallest group
GUARDED_NUMBERS_PER_SOURCE: Final = 1_000  # by handlers on labels, per session
REQUEST_NAME_CHARS: Final = 100
REQUEST_REASON_CHARS: Final = 1_000
PRINTED_VALUE_CHARS: Final = 1_000
PRINTED_WAITING: Final = 1_000  # of them, for a screen that takes none
COMPARED_TEXTS: Final = 256  # recipes and rows of tags that are kept as rules compare them
REMEMBERED_DECISIONS: Final = 256  # by hand, and denied recipes of one handler
REMEMBERED_OBJECTS: Final = 65_536  # what was asked about them: released, denied, …
REQUEST_LIMIT_SECONDS: Final = 10.0 * 365 * 86_400  # a longer limit is none
REQUEST_HISTORY: Final = 10_000  # decided requests that the owner can look up
REQUEST_HISTORY_BYTES: Final = 128 * 1024**2  # of them; most are texts of the scientist
REQUESTS: Final = 4_000_000  # decided ones of a session; their numbers are kept, 8 bytes each
RELEASED_NEWEST: Final = 3  # values of a source that the owner is reminded of
ENGINE_RESTARTS: Final = 5  # within ENGINE_RESTART_SECONDS, then the session ends
ENGINE_RESTART_SECONDS: Final = 60.0
LISTED_OBJECTS: Final = 10_000  # in one session's list for people
LISTED_BYTES: Final = 64 * 1024**2  # of the scientist's tags and descriptions in it
TAGS: Final = 64  # of one object
SHARE_SECONDS: Final = 600.0  # the owner's send, until the engine has a large object
OWNER_CLOSE_SECONDS: Final = 15.0  # a whole session, engine and goodbye included
OWNER_CALL_SECONDS: Final = 60.0  # the owner's own send or get, until the engine answers
ACCEPT_SECONDS: Final = 2.0  # accept() waits so long for a large value to be on its way
FAILURES: Final = 1_000  # kept for duet.errors

# audit (owner/audit*.py)
AUDIT_BUSY_SECONDS: Final = 10.0  # another process writes to the same log
AUDIT_GATHER_SECONDS: Final = 1.0  # rows that nobody waits for are written together
AUDIT_HEAD_SECONDS: Final = 0.005  # behind a release, before the head that holds it is signed
AUDIT_LOOK_SECONDS: Final = 0.01  # the log's files are not looked for again within this
AUDIT_QUICK_SECONDS: Final = 0.002  # a group on the disk within this: the loop may write the next
AUDIT_ROOM_BYTES: Final = 4 << 20  # of the file that rows go to first; SQLite clears it at that
AUDIT_WAKE_SECONDS: Final = 0.05  # until the writer hears of one of them: answers go before
AUDIT_PENDING_ROWS: Final = 10_000  # kept while the disk refuses them; then they are counted only
AUDIT_ASKED_ROWS: Final = 100_000  # that a scientist caused, in a session; then a burst is one
AUDIT_WORDS_CHARS: Final = 16 * 1024**2  # names, reasons and recipes, in one session's rows
AUDIT_WHAT_CHARS: Final = 200  # what a request asks for, in its row, and the name of a source
AUDIT_NAMED_SOURCES: Final = 16  # of one value; the numbers of all are in the row
AUDIT_REPEATS: Final = 10_000  # of a session that have a row each; later ones are counted
AUDIT_MERGED_IDS: Final = 100  # requests named in one row of a burst
AUDIT_CLOSE_SECONDS: Final = 5.0  # for the last rows

# console (console/)
CONSOLE_TOKEN_SECONDS: Final = 60.0  # from the opening of a page, or its loss, until it is too late
CONSOLE_HELLO_SECONDS: Final = 5.0  # for a socket's first message
CONSOLE_CONNECTIONS: Final = 128  # from anybody; one that says nothing ends after that time, too
CONSOLE_STRANGERS: Final = 16  # sockets that have not shown a token
CONSOLE_PAGES: Final = 8  # sockets that have
CONSOLE_MESSAGE_BYTES: Final = 16_384  # from a page
CONSOLE_QUESTIONS: Final = 4  # of one page, that are answered at the same time
CONSOLE_PUSH_SECONDS: Final = 0.03  # changes that come within it are shown together
CONSOLE_PICTURE_SECONDS: Final = 0.02  # for what is new in a picture; the rest is in the next one
CONSOLE_CHANGE_CHARS: Final = 262_144  # of one message to a page; the rest is in the next one
CONSOLE_RESTS: Final = 4  # times what a picture took to be made, before the next is made
CONSOLE_GAUGE_SECONDS: Final = 1.0  # how often what changes by itself is looked at
CONSOLE_CLOSE_SECONDS: Final = 2.0  # for pages to hear of the end
CONSOLE_DECIDED: Final = 50  # newest decisions shown
CONSOLE_OBJECTS: Final = 500  # of the store, shown
CONSOLE_TRANSFERS: Final = 20  # shown
CONSOLE_VALUE_CHARS: Final = 1_000  # of a pending value, for the owner's eyes
CONSOLE_AUDIT_ROWS: Final = 200  # in one answer
CONSOLE_DOOR_BYTES: Final = 4_096  # a question or an answer at the door
CONSOLE_DOOR_SECONDS: Final = 10.0

# scientist (scientist/)
CALL_SITES: Final = 32_768  # newest commands whose line in the scientist's code is remembered
DEAD_IDS_PER_DELETE: Final = 32  # collected ids that go out without waiting for the next pause
DEAD_IDS_SECONDS: Final = 0.002  # or this long after the last deletion
DEAD_IDS_IDLE_SECONDS: Final = 1.0
ANSWER_SECONDS: Final = 20.0  # for what the owner's side answers without asking anybody
SPARE_SECONDS: Final = 1.0  # beyond a request's own limit, and a round trip
LENGTH_SECONDS: Final = 25.0  # the request that len() and iteration make
REQUEST_SECONDS: Final = 30.0  # ptr.request(block=True)
BATCHES_AHEAD: Final = 8  # next operations on a loader that were not executed yet
STEP_VARIANTS: Final = 32  # recordings that one step keeps; the oldest goes
SCIENTIST_CLOSE_SECONDS: Final = 5.0
