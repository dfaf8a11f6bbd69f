// @ts-check
/**
 * Messages and frames. The table below is that of docs/protocol.md: each message is [tag, field, …],
 * a frame is [first_seq, message, …]. A field has one rule for both directions.
 */

import { concat } from './bytes.js';
import { protocolError } from './errors.js';
import * as limits from './limits.js';
import { arrayHead, Float, write } from './msgpack.js';
import { Blob, flag, guarded, intIn, objectId, pack, readRaw, unpack, Unsendable } from './wire.js';

/** @typedef {import('./bytes.js').Bytes} Bytes */
/** @typedef {import('./msgpack.js').Raw} Raw */
/** @typedef {{kind: string, [field: string]: any}} Message */
/** @typedef {{pack: (value: any) => Raw, unpack: (raw: Raw) => any}} Field */

const INT_MAX = 2n ** 63n - 1n;

/** @param {string} why @returns {never} */
function refuse(why) {
  throw new Unsendable(why);
}

/** @param {(value: any) => any} check @returns {Field} */
const same = (check) => ({ pack: check, unpack: check });
const id = same(objectId);
const positive = same((value) => intIn(value, 1, INT_MAX));
const count = same((value) => intIn(value, 0, INT_MAX));
const times = same((value) => intIn(value, 0, 65_536));
const bool = same(flag);
/** @type {Field} */
const value = { pack: (item) => pack(item), unpack: (raw) => unpack(raw) };

/** @param {number} most in characters, as Python counts them */
const text = (most) =>
  same((item) => {
    if (typeof item !== 'string' || (item.length > most && [...item].length > most)) return refuse(`not a text of at most ${most} characters`);
    return item;
  });
/** @param {...string} choices */
const oneOf = (...choices) => same((item) => (choices.includes(item) ? item : refuse(`none of ${choices.join(', ')}`)));
/** @param {...number} sizes */
const bytes = (...sizes) =>
  same((item) => (item instanceof Uint8Array && sizes.includes(item.length) ? item : refuse('bytes of the wrong size')));
/** @type {Field} */
const seconds = {
  pack: (item) => (Number.isFinite(item) && item >= 0 ? new Float(item) : refuse('not a duration')),
  unpack: (raw) => (raw instanceof Float && Number.isFinite(raw.value) && raw.value >= 0 ? raw.value : refuse('not a duration')),
};
/** @param {Field} field @returns {Field} */
const optional = (field) => ({
  pack: (item) => (item === null ? null : field.pack(item)),
  unpack: (raw) => (raw === null ? null : field.unpack(raw)),
});
/** @param {Field} field @param {number} [most] @returns {Field} */
const many = (field, most = limits.ARRAY_ITEMS) => {
  /** @param {any} items @returns {any[]} */
  const checked = (items) => (Array.isArray(items) && items.length <= most ? items : refuse(`not a list of at most ${most}`));
  return { pack: (items) => checked(items).map(field.pack), unpack: (raw) => checked(raw).map(field.unpack) };
};
/** A Map <-> an array of pairs. @param {Field} key @param {Field} item @returns {Field} */
const pairs = (key, item) => ({
  pack: (map) =>
    map instanceof Map && map.size <= limits.ARRAY_ITEMS
      ? [...map].map(([name, content]) => [key.pack(name), item.pack(content)])
      : refuse('not a map'),
  unpack: (raw) => {
    if (!Array.isArray(raw) || raw.length > limits.ARRAY_ITEMS) return refuse('not a list of pairs');
    const map = new Map();
    for (const pair of raw) {
      if (!Array.isArray(pair) || pair.length !== 2) return refuse('not a list of pairs');
      const name = key.unpack(pair[0] ?? null);
      if (map.has(name)) refuse('a key twice');
      map.set(name, item.unpack(pair[1] ?? null));
    }
    return map;
  },
});
/** The fields of a class inside of a message. @param {Record<string, Field>} fields @param {(parts: any) => any} [make] @returns {Field} */
const nested = (fields, make = (parts) => parts) => ({
  pack: (item) => Object.entries(fields).map(([name, field]) => field.pack(item[name])),
  unpack: (raw) => make(unpackFields(fields, raw, 0)),
});

const name = text(limits.NAME_CHARS);
const reason = text(limits.REQUEST_REASON_CHARS);
const long = text(limits.MESSAGE_TEXT_CHARS);
const shape = many(count, limits.TENSOR_DIMS);
const mode = oneOf('g', 'n', 'i');
const blob = optional(nested({ transfer: positive, nbytes: count }, ({ transfer, nbytes }) => new Blob(transfer, nbytes)));
const call = { name, outs: many(positive), args: many(value), kwargs: pairs(name, value), mode };
const note = { tags: many(name), description: long, listed: bool };
const entry = nested({
  id,
  type: name,
  tags: many(name),
  description: long,
  shape: optional(shape),
  dtype: optional(name),
  length: optional(count),
  requires_grad: bool,
  keys: optional(many(name)),
  signature: value,
});

/** @type {Record<number, [string, Record<string, Field>]>} */
export const COMMANDS = {
  1: ['Op', call],
  2: ['Put', { outs: many(positive), values: many(value), blob, ...note }],
  3: ['Del', { ids: many(id) }],
  4: ['Note', { id, ...note }],
  5: ['Request', { call: positive, id, name: text(limits.REQUEST_NAME_CHARS), reason, limit_s: optional(seconds) }],
  6: ['Withdraw', { call: positive }],
  7: ['Get', { call: positive, id }],
  8: [
    'DefinePlan',
    {
      plan: positive,
      name,
      inputs: count,
      captures: many(id),
      steps: many(nested(call)),
      outputs: many(positive),
      is_last: bool,
      signature: value,
      ...note,
    },
  ],
  9: ['RunPlan', { plan: id, inputs: many(id), outs: many(positive), times }],
  10: ['RunClosure', { plan: id, optimizer: id, out: positive }],
};
/** @type {Record<number, [string, Record<string, Field>]>} */
export const ANSWERS = {
  32: ['StoreSnapshot', { entries: many(entry), epoch: bytes(16), settings: pairs(name, value) }],
  33: ['StoreChanged', { added: many(entry), removed: many(id) }],
  34: ['Meta', { id, type: name, shape: optional(shape), dtype: optional(name), length: optional(count), facts: pairs(name, value) }],
  35: ['Fail', { seq: count, op: name, code: name, text: long }],
  36: ['Value', { call: positive, value, blob }],
  37: ['Denied', { call: positive, reason }],
  38: ['Expired', { call: positive }],
  39: ['NotYours', { call: positive, state: oneOf('never', 'waiting', 'denied', 'expired', 'changed', 'unknown'), reason }],
  40: ['Failed', { call: positive, seq: count, op: name, code: name, text: long }],
  41: ['EngineRestarted', { epoch: bytes(16), reason }],
  48: ['AuditHead', { head: bytes(32), pub: bytes(33), signature: bytes(64) }],
  49: ['Suspended', { reason }],
};
/** @type {Record<number, [string, Record<string, Field>]>} */
export const LIFE = {
  64: ['Ack', { seq: count }],
  65: ['Settled', { seq: count }],
  66: ['Ping', { token: count }],
  67: ['Pong', { token: count }],
  68: ['Bye', { reason: oneOf('closed', 'shutdown', 'replaced', 'error') }],
  69: ['Resume', { seq: count, epoch: bytes(0, 16), transfers: pairs(count, count) }],
  70: ['Complete', { transfer: positive }],
};

const GROUPS = [LIFE, COMMANDS, ANSWERS];
/** @type {Map<string, [number, Record<string, Field>]>} */
const BY_KIND = new Map(GROUPS.flatMap((group) => Object.entries(group).map(([tag, [type, fields]]) => [type, [Number(tag), fields]])));

/** @param {Record<string, Field>} fields @param {Raw} raw @param {number} skip */
function unpackFields(fields, raw, skip) {
  const entries = Object.entries(fields);
  if (!Array.isArray(raw) || raw.length !== entries.length + skip) return refuse('the wrong number of fields');
  /** @type {Record<string, unknown>} */
  const parts = {};
  entries.forEach(([field, rule], index) => {
    parts[field] = rule.unpack(raw[index + skip] ?? null);
  });
  return parts;
}

/** The bytes of a message; throws Unsendable where a field breaks its rule. @param {Message} message @returns {Bytes} */
export function encodeMessage(message) {
  const found = BY_KIND.get(message.kind);
  if (found === undefined) return refuse(`${message.kind} is not a message`);
  const [tag, fields] = found;
  const data = write([tag, ...Object.entries(fields).map(([field, rule]) => rule.pack(message[field]))]);
  const room = limits.MESSAGE_MAX_BYTES - limits.FRAME_HEADER_BYTES;
  if (data.length > room) refuse(`a command of ${data.length} bytes, ${room} allowed`);
  return data;
}

/** The message of these bytes. @param {Uint8Array} data @returns {Message} */
export function decodeMessage(data) {
  if (data.length > limits.MESSAGE_MAX_BYTES) throw protocolError('A message is too long.');
  return guarded(() => unpackMessage(readRaw(data))[1]);
}

/** @param {Raw} raw @returns {[number, Message]} the group and the message */
function unpackMessage(raw) {
  const tag = Array.isArray(raw) ? raw[0] : null;
  if (typeof tag !== 'number') return refuse('a message starts with its tag');
  const group = GROUPS.findIndex((table) => Object.hasOwn(table, tag));
  const found = GROUPS[group]?.[tag];
  if (found === undefined) return refuse(`unknown message ${tag}`);
  return [group, { kind: found[0], ...unpackFields(found[1], raw, 1) }];
}

/** Whether so many messages of so many bytes are one frame. @param {number} messages @param {number} nbytes */
function fits(messages, nbytes) {
  const room = messages === 1 ? limits.MESSAGE_MAX_BYTES : limits.FRAME_MAX_BYTES;
  return messages <= limits.FRAME_MESSAGES && nbytes <= room - limits.FRAME_HEADER_BYTES;
}

/** Frames of any number of encoded messages, each as full as it may be; first 0: they have no number. @param {number} first @param {Uint8Array[]} messages @returns {Bytes[]} */
export function frames(first, messages) {
  /** @type {Bytes[]} */
  const result = [];
  let start = 0;
  let nbytes = 0;
  const cut = (/** @type {number} */ end) =>
    result.push(concat(arrayHead(end - start + 1), write(first === 0 ? 0 : first + start), ...messages.slice(start, end)));
  messages.forEach((message, index) => {
    if (index > start && !fits(index - start + 1, nbytes + message.length)) {
      cut(index);
      start = index;
      nbytes = 0;
    }
    nbytes += message.length;
  });
  if (messages.length > 0) cut(messages.length);
  return result;
}

/** The number of the first message, and the messages; group 0 is life, 1 commands, 2 answers. @param {Uint8Array} data @returns {{first: number, group: number, messages: Message[]}} */
export function decodeFrame(data) {
  return guarded(() => {
    if (data.length > limits.MESSAGE_MAX_BYTES) refuse('a frame is too long');
    const raw = readRaw(data);
    if (!Array.isArray(raw) || raw.length < 2) return refuse('a frame has a number and messages');
    const [first, ...items] = raw;
    if (typeof first !== 'number' || first < 0) return refuse('a frame starts with a number');
    if (items.length > limits.FRAME_MESSAGES || (items.length > 1 && data.length > limits.FRAME_MAX_BYTES)) return refuse('a frame is too long');
    const found = items.map(unpackMessage);
    const group = found[0]?.[0] ?? 0;
    if (found.some(([other]) => other !== group) || (group === 0) !== (first === 0)) return refuse('a frame mixes messages with and without a number');
    return { first, group, messages: found.map(([, message]) => message) };
  });
}
