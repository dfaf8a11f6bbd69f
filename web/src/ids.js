// @ts-check
/**
 * IDs: 32 characters of Crockford base32 that are the hash of a public key, with two check symbols
 * of a Reed-Solomon code over GF(32). See docs/protocol.md; the vectors are the same as Python's.
 */

import { concat, sha256, toHex, utf8 } from './bytes.js';

/** @typedef {'owner'|'scientist'} Role */
/** @typedef {import('./bytes.js').Bytes} Bytes */
/**
 * @typedef {object} Problem
 * @property {'charset'|'length'|'checksum'|'role'} code
 * @property {number} [position] of the wrong character, from 1, separators not counted
 * @property {number} [length] how many characters there are
 * @property {string} [typeChar] for `role`: the first character that the text has
 */

export const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
export const ID_LENGTH = 32;
const ALG_ED25519 = 1;
const FIELD = 0b100101; // x^5 + x^2 + 1
const HASHED_SYMBOLS = 29;
const PRIME = 2n ** 255n - 19n;

/** @type {Record<Role, string>} */
const TYPE = { owner: 'S', scientist: 'C' };

const SMALL_ORDER = new Set(
  [
    ['00'.repeat(31), '00', '80'],
    ['01' + '00'.repeat(30), '00', '80'],
    ['26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc', '05', '85'],
    ['c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03', '7a', 'fa'],
    ['ec' + 'ff'.repeat(30), '7f', 'ff'],
  ].flatMap(([y, ...ends]) => ends.map((end) => `${y}${end}`)),
);

/** A public key is not one that this protocol uses. */
export class KeyRefused extends Error {}

/** @param {number} value */
function timesAlpha(value) {
  const doubled = value << 1;
  return doubled & 32 ? doubled ^ FIELD : doubled;
}

/** s0 and s1 over the first 31 symbols at most; a 32nd counts in s0 only. @param {number[]} symbols */
function syndromes(symbols) {
  const s0 = symbols.reduce((sum, value) => sum ^ value, 0);
  const s1 = symbols.slice(0, 31).reduceRight((sum, value) => timesAlpha(sum) ^ value, 0);
  return { s0, s1 };
}

/** The ID of a raw 32-byte key. @param {Role} role @param {Uint8Array} key */
export async function makeId(role, key) {
  const text = concat(utf8(`duet/id/v1\0${role}\0`), Uint8Array.of(ALG_ED25519), key);
  const bits = BigInt(`0x${toHex(await sha256(text))}`) >> BigInt(256 - 5 * HASHED_SYMBOLS);
  const symbols = [ALPHABET.indexOf(TYPE[role])];
  for (let i = HASHED_SYMBOLS - 1; i >= 0; i--) symbols.push(Number((bits >> BigInt(5 * i)) & 31n));
  const { s0, s1 } = syndromes(symbols);
  const c30 = timesAlpha(s1);
  return [...symbols, c30, s0 ^ c30].map((value) => ALPHABET[value]).join('');
}

/** The raw key of a public key as it stands on the wire, 33 bytes. @param {Bytes} pub @returns {Bytes} */
export function checkPub(pub) {
  if (pub.length !== 33 || pub[0] !== ALG_ED25519) throw new KeyRefused('not an Ed25519 key');
  const key = pub.slice(1);
  const y = BigInt(`0x${toHex(key.toReversed())}`) & (2n ** 255n - 1n);
  if (y >= PRIME) throw new KeyRefused('the key is not canonical');
  if (SMALL_ORDER.has(toHex(key))) throw new KeyRefused('the key is of small order');
  return key;
}

/** The ID of a key as it stands on the wire; throws KeyRefused. @param {Role} role @param {Bytes} pub */
export async function idOf(role, pub) {
  return makeId(role, checkPub(pub));
}

/**
 * The canonical ID that a person typed or pasted in any usual spelling, or what is wrong with it.
 *
 * @param {string} text
 * @param {Role} role
 * @returns {{id: string} | Problem}
 */
export function parse(text, role) {
  const stripped = text.replace(/^[ \t\r\n]+|[ \t\r\n]+$/g, '');
  const letters = Array.from(stripped).filter((c) => !' \t\r\n-'.includes(c));
  const foreign = letters.findIndex((c) => c > '\x7f');
  if (foreign >= 0) return { code: 'charset', position: foreign + 1 };
  /** @type {number[]} */
  const symbols = [];
  for (const letter of letters) {
    const upper = letter.toUpperCase();
    const value = ALPHABET.indexOf('IL'.includes(upper) ? '1' : upper === 'O' ? '0' : upper);
    if (value < 0) return { code: 'charset', position: symbols.length + 1 };
    symbols.push(value);
  }
  if (symbols.length !== ID_LENGTH) return { code: 'length', length: symbols.length };
  const { s0, s1 } = syndromes(symbols);
  if (s0 !== 0 || s1 !== 0) return { code: 'checksum' };
  const id = symbols.map((value) => ALPHABET[value]).join('');
  if (id[0] !== TYPE[role]) return { code: 'role', typeChar: id[0] ?? '' };
  return { id };
}

/** Whether a text is an ID of this role in its canonical spelling, as messages carry it. @param {unknown} text @param {Role} role */
export function isId(text, role) {
  if (typeof text !== 'string') return false;
  const parsed = parse(text, role);
  return 'id' in parsed && parsed.id === text;
}

/** An ID for people: eight groups of four. @param {string} id */
export function grouped(id) {
  return id.match(/.{1,4}/g)?.join('-') ?? '';
}

/**
 * What to tell a person about a text that is no ID of the wanted role.
 *
 * @param {Problem} problem
 * @param {'session ID'|'client ID'} what was wanted
 */
export function textOf(problem, what) {
  switch (problem.code) {
    case 'charset':
      return `Not a ${what}: character ${problem.position} cannot occur in one.`;
    case 'length':
      return `Not a ${what}: ${problem.length} of ${ID_LENGTH} characters.`;
    case 'checksum':
      return `Not a ${what}: a character is wrong or two are swapped. Compare and try again.`;
    case 'role': {
      const begins = what === 'session ID' ? 'S' : 'C';
      const other = problem.typeChar === 'S' ? 'a session ID' : problem.typeChar === 'C' ? 'a client ID' : 'not an ID';
      return `That is ${other} (it starts with ${problem.typeChar}); your partner's ${what} starts with ${begins}.`;
    }
  }
}
