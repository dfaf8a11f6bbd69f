// @ts-check
/** Sizes, counts and times of the protocol; the same numbers as duet_p2p/limits.py, a test compares. */

/** Bytes of one message of a channel, headers included. */
export const MESSAGE_MAX_BYTES = 65_536;
/** Bytes of a frame of several messages. */
export const FRAME_MAX_BYTES = 16_384;
/** Bytes reserved for a frame's own head. */
export const FRAME_HEADER_BYTES = 12;
export const FRAME_MESSAGES = 4_096;
export const FRAME_FLUSH_SECONDS = 0.002;
export const VALUE_DEPTH = 32;
export const ARRAY_ITEMS = 4_096;
export const PAIR_ITEMS = 65_536;
export const STRING_BYTES = 1_048_576;
export const INT_BYTES = 4_096;
export const TENSOR_DIMS = 64;
export const INLINE_TENSOR_BYTES = 8_192;
export const AUTO_UPLOAD_BYTES = 65_536;
export const NAME_CHARS = 256;
export const MESSAGE_TEXT_CHARS = 4_096;
export const REQUEST_NAME_CHARS = 100;
export const REQUEST_REASON_CHARS = 1_000;
/** Bytes of one blob of the owner that this page takes into memory. */
export const UPLOAD_BYTES = 1_073_741_824;

export const WINDOW_COMMANDS = 8_192;
export const WINDOW_BYTES = 8_388_608;
export const ACK_EVERY_COMMANDS = 32;
export const ACK_SECONDS = 0.05;
export const PING_SECONDS = 2;
export const PEER_LOST_SECONDS = 10;
export const CLOSE_SECONDS = 1;
export const RESUME_SECONDS = 300;
export const SIGNALING_REST_SECONDS = 60;

export const TRANSFERS = 4;
export const BULK_BUFFER_BYTES = 1_048_576;
export const BULK_EARLY_BYTES = 262_144;
export const BULK_CHARGE_BYTES = 4_096;
export const BULK_REFUSED = 1_024;

export const GATHER_SECONDS = 5;
export const CONNECT_SECONDS = 20;
export const CONFIRM_SECONDS = 10;
export const CONFIRM_MAX_BYTES = 1_024;
export const JOIN_RESEND_SECONDS = 2;
export const JOIN_RESEND_FACTOR = 1.5;
export const JOIN_RESEND_MAX_SECONDS = 30;
export const JOIN_RENEW_SECONDS = 60;
export const RETRY_SECONDS = 1;
export const RECONNECT_MAX_SECONDS = 3;
export const RECONNECT_HASTE_SECONDS = 300;
export const NO_ANSWER_SECONDS = 60;
export const BAD_PROOFS = 5;
export const FAILED_ATTEMPTS = 3;
export const SDP_MAX_BYTES = 16_384;
export const CAPS_MAX_BYTES = 2_048;
export const CANDIDATES = 32;
/** Frames, and their bytes, that wait while a certificate is compared. */
export const EARLY_FRAMES = 16;
export const EARLY_BYTES = 131_072;
/** Bytes of a verified partner that wait for its `ready`. */
export const LINK_EARLY_BYTES = 4_194_304;

export const SIGNALING_CONNECT_SECONDS = 10;
export const SIGNALING_ICE_SECONDS = 5;
export const SIGNALING_FRAME_BYTES = 131_072;
export const SIGNALING_POSTS = 16;
export const SIGNALING_POST_SECONDS = 60;
export const BACKOFF_SECONDS = 1;
export const BACKOFF_FACTOR = 1.5;
export const BACKOFF_MAX_SECONDS = 60;
export const BACKOFF_HURRIED_SECONDS = 3;
export const BACKOFF_OVERLOAD_SECONDS = 10;
export const BACKOFF_RESET_SECONDS = 10;
export const RETRY_AFTER_MAX_SECONDS = 3_600;
