// @ts-check
/** The first two frames each way on a new association: confirm, then ready. */

import { DuetError } from './errors.js';
import { CONFIRM_MAX_BYTES } from './limits.js';
import { read, write } from './msgpack.js';

/** @typedef {import('./bytes.js').Bytes} Bytes */
/** @typedef {{t: 'confirm', role: string, th: Bytes, audit_head: Bytes, sig: Bytes}} Confirm */
/** @typedef {{t: 'ready', th: Bytes}} Ready */

const LIMITS = { arrayItems: 0, mapItems: 5, stringBytes: 64, depth: 1 };

/** @param {Confirm|Ready} proof */
export function encodeProof(proof) {
  return write(new Map(Object.entries(proof)));
}

/** @param {unknown} value @param {...number} sizes @returns {value is Bytes} */
function isBytes(value, ...sizes) {
  return value instanceof Uint8Array && sizes.includes(value.length);
}

/** The proof in a frame, or null. @param {Uint8Array} bytes @returns {Confirm|Ready|null} */
export function parseProof(bytes) {
  // maps of two and of five entries; quick for all other frames
  if (bytes.length > CONFIRM_MAX_BYTES || (bytes[0] !== 0x82 && bytes[0] !== 0x85)) return null;
  /** @type {unknown} */
  let fields;
  try {
    fields = read(bytes, LIMITS);
  } catch (error) {
    if (error instanceof DuetError) return null;
    throw error;
  }
  if (!(fields instanceof Map)) return null;
  const { t, th, role, audit_head: head, sig } = Object.fromEntries(fields);
  if (!isBytes(th, 32)) return null;
  if (t === 'ready' && fields.size === 2) return { t, th };
  if (t !== 'confirm' || fields.size !== 5) return null;
  if (role !== 'owner' && role !== 'scientist') return null;
  if (!isBytes(head, 0, 32) || !isBytes(sig, 64)) return null;
  return { t, role, th, audit_head: head, sig };
}
