// @ts-check
/**
 * The JSON bodies that travel through the relay, and what is signed in them: a closed schema for
 * each kind. Exact keys, types and lengths; whatever differs is not a message.
 */

import { b64decode, b64encode, concat, lp, sha256, signatureInput, textOfBytes, u64, utf8 } from './bytes.js';
import { isId } from './ids.js';
import { NotJson, parseObject } from './json.js';
import { CAPS_MAX_BYTES } from './limits.js';

/** @typedef {import('./bytes.js').Bytes} Bytes */
/** @typedef {{kind: 'join', session_id: string, client_id: string, pub: Bytes, nonce: Bytes, attempt: number, caps: Bytes, sig: Bytes}} Join */
/** @typedef {{kind: 'offer'|'answer', role: string, session_id: string, client_id: string, pub: Bytes, own_nonce: Bytes, peer_nonce: Bytes, attempt: number, fp: Bytes, setup: string, sdp: string, caps: Bytes, sig: Bytes}} Sdp */
/** @typedef {{kind: 'bye', role: string, session_id: string, client_id: string, pub: Bytes, th: Bytes, reason: string, sig: Bytes}} Bye */
/** @typedef {Join|Sdp|Bye} Body */

export const BYE_REASONS = ['closed', 'version', 'shutdown', 'replaced', 'error'];

/** @param {unknown} value @param {number} least @param {number} most */
function binary(value, least, most) {
  if (typeof value !== 'string') throw new RangeError('not a string');
  const bytes = b64decode(value);
  if (bytes.length < least || bytes.length > most) throw new RangeError('length');
  return bytes;
}

/** @param {...string} allowed */
const oneOf = (...allowed) => (/** @type {unknown} */ value) => {
  if (typeof value !== 'string' || !allowed.includes(value)) throw new RangeError('value');
  return value;
};
/** @param {number} count */
const exactly = (count) => (/** @type {unknown} */ value) => binary(value, count, count);
/** @param {import('./ids.js').Role} role */
const id = (role) => (/** @type {unknown} */ value) => {
  if (!isId(value, role)) throw new RangeError('not an ID');
  return value;
};
/** @param {unknown} value */
const attempt = (value) => {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) throw new RangeError('attempt');
  return value;
};
/** @param {unknown} value */
const ascii = (value) => {
  if (typeof value !== 'string' || !/^[\x00-\x7f]*$/.test(value)) throw new RangeError('not ASCII');
  return value;
};
/** @param {unknown} value */
const caps = (value) => binary(value, 2, CAPS_MAX_BYTES);

const SDP = {
  role: oneOf('owner', 'scientist'),
  session_id: id('owner'),
  client_id: id('scientist'),
  pub: exactly(33),
  own_nonce: exactly(16),
  peer_nonce: exactly(16),
  attempt,
  fp: exactly(32),
  setup: oneOf('actpass', 'active', 'passive'),
  sdp: ascii,
  caps,
  sig: exactly(64),
};

/** @type {Record<string, Record<string, (value: unknown) => unknown>>} */
const SCHEMAS = {
  join: {
    session_id: id('owner'),
    client_id: id('scientist'),
    pub: exactly(33),
    nonce: exactly(16),
    attempt,
    caps,
    sig: exactly(64),
  },
  offer: SDP,
  answer: SDP,
  bye: {
    role: oneOf('owner', 'scientist'),
    session_id: id('owner'),
    client_id: id('scientist'),
    pub: exactly(33),
    th: exactly(32),
    reason: oneOf(...BYE_REASONS),
    sig: exactly(64),
  },
};

/** The message in a body, or null where it is none. @param {Uint8Array} bytes @returns {Body|null} */
export function parseBody(bytes) {
  try {
    const fields = parseObject(textOfBytes(bytes));
    const kind = fields.kind;
    const schema = typeof kind === 'string' && Object.hasOwn(SCHEMAS, kind) ? SCHEMAS[kind] : undefined;
    if (schema === undefined || Object.keys(fields).length !== Object.keys(schema).length + 1) return null;
    /** @type {Record<string, unknown>} */
    const message = { kind };
    for (const [name, check] of Object.entries(schema)) {
      if (!(name in fields)) return null;
      message[name] = check(fields[name]);
    }
    const role = kind === 'offer' ? 'owner' : kind === 'answer' ? 'scientist' : message.role;
    if (message.role !== role) return null;
    return /** @type {Body} */ (/** @type {unknown} */ (message));
  } catch (error) {
    if (error instanceof NotJson || error instanceof RangeError || error instanceof TypeError) return null;
    throw error;
  }
}

/** @param {Body} message @returns {Bytes} */
export function encodeBody(message) {
  const texts = Object.entries(message).map(([name, value]) => [
    name,
    value instanceof Uint8Array ? b64encode(value) : value,
  ]);
  return utf8(JSON.stringify(Object.fromEntries(texts)));
}

/** The capabilities in these bytes, or null. @param {Uint8Array} bytes @returns {Record<string, unknown>|null} */
export function parseCaps(bytes) {
  try {
    const fields = parseObject(textOfBytes(bytes));
    for (const name of ['v', 'max_msg', 'conf']) if (!Number.isSafeInteger(fields[name])) return null;
    for (const name of ['sw', 'ops']) if (typeof fields[name] !== 'string') return null;
    return fields;
  } catch (error) {
    if (error instanceof NotJson || error instanceof TypeError) return null;
    throw error;
  }
}

// what is signed

/** @param {{origin: string, challenge: Bytes, id: string, role: string}} fields */
export function registerInput({ origin, challenge, id: own, role }) {
  return signatureInput('duet/reg/v1', origin, challenge, own, role);
}

/** @param {Join|Sdp|Bye} message @returns {Promise<Bytes>} */
export async function signedInput(message) {
  switch (message.kind) {
    case 'join':
      return signatureInput(
        'duet/join/v1', message.session_id, message.client_id,
        message.pub, message.nonce, u64(message.attempt), await sha256(message.caps),
      );
    case 'bye':
      return signatureInput('duet/bye/v1', message.role, message.th, message.reason);
    default:
      return signatureInput(
        'duet/sdp/v1', message.kind, message.role, message.session_id, message.client_id,
        message.pub, message.own_nonce, message.peer_nonce, u64(message.attempt), message.fp,
        message.setup, await sha256(utf8(message.sdp)), await sha256(message.caps),
      );
  }
}

/** @param {{role: string, th: Uint8Array, audit_head: Uint8Array}} fields */
export function confirmInput({ role, th, audit_head: head }) {
  return signatureInput('duet/confirm/v1', role, th, head);
}

/** The hash over the join, or the join and the offer, or these and the answer. @param {...Uint8Array} inputs */
export function transcriptHash(...inputs) {
  return sha256(concat(utf8('duet/th/v1\0'), ...inputs.map(lp)));
}
