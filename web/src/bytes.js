// @ts-check
/** Bytes: hex, base64url, and the length-prefixed fields that are hashed and signed. */

/** @typedef {Uint8Array<ArrayBuffer>} Bytes */

const encoder = new TextEncoder();
const strictDecoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** @param {string} text @returns {Bytes} */
export function utf8(text) {
  return encoder.encode(text);
}

/** The text of UTF-8 bytes; throws a TypeError for anything else. @param {Uint8Array} bytes */
export function textOfBytes(bytes) {
  return strictDecoder.decode(bytes);
}

/** Whether a string can be UTF-8, that is, has no lone surrogate. @param {string} text */
export function isWellFormed(text) {
  return !/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/.test(text);
}

/** @param {...Uint8Array} parts @returns {Bytes} */
export function concat(...parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Whether two byte strings are equal, without a hint at where they differ. @param {Uint8Array} one @param {Uint8Array} other */
export function equal(one, other) {
  if (one.length !== other.length) return false;
  let different = 0;
  for (let i = 0; i < one.length; i++) different |= (one[i] ?? 0) ^ (other[i] ?? 0);
  return different === 0;
}

/** @param {Uint8Array} bytes */
export function toHex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** @param {string} hex @returns {Bytes} */
export function fromHex(hex) {
  if (!/^(?:[0-9a-f]{2})*$/i.test(hex)) throw new RangeError('not hex');
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

/** Base64url without padding. @param {Uint8Array} bytes */
export function b64encode(bytes) {
  let binary = '';
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '');
}

/** The bytes of base64url without padding; one text only is accepted for each value. @param {string} text @returns {Bytes} */
export function b64decode(text) {
  if (!/^[A-Za-z0-9_-]*$/.test(text) || text.length % 4 === 1) throw new RangeError('not base64url');
  const binary = atob(text.replaceAll('-', '+').replaceAll('_', '/'));
  const bytes = Uint8Array.from(binary, (c) => c.charCodeAt(0));
  if (b64encode(bytes) !== text) throw new RangeError('not canonical base64url');
  return bytes;
}

/** An integer as 8 bytes, big-endian. @param {number} value @returns {Bytes} */
export function u64(value) {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value));
  return bytes;
}

/** A field with its length before it. @param {Uint8Array} value @returns {Bytes} */
export function lp(value) {
  const head = new Uint8Array(4);
  new DataView(head.buffer).setUint32(0, value.length);
  return concat(head, value);
}

/** What is signed or hashed for a label. @param {string} label @param {...(Uint8Array|string)} fields */
export function signatureInput(label, ...fields) {
  const parts = fields.map((field) => lp(typeof field === 'string' ? utf8(field) : field));
  return concat(utf8(label), new Uint8Array(1), ...parts);
}

/** @param {Bytes} bytes @returns {Promise<Bytes>} */
export async function sha256(bytes) {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
}

/** Bytes from the system's generator. @param {number} count @returns {Bytes} */
export function randomBytes(count) {
  return crypto.getRandomValues(new Uint8Array(count));
}
