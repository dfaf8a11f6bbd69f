// @ts-check
/**
 * The closed set of values <-> what msgpack writes. Everything that is not a plain value is a map of
 * exactly one pair, {tag: payload}; `UNPACK` is all there is. What one direction refuses the other
 * refuses too, and nothing is written in two ways.
 */

import { isWellFormed, toHex, utf8 } from './bytes.js';
import { DuetError, protocolError } from './errors.js';
import * as limits from './limits.js';
import { Float, read, write } from './msgpack.js';

export { Float };

/** @typedef {import('./bytes.js').Bytes} Bytes */
/** @typedef {import('./msgpack.js').Raw} Raw */

export class Complex {
  /** @param {number} re @param {number} im */
  constructor(re, im) {
    this.re = re;
    this.im = im;
  }
}

export class Tuple {
  /** @param {unknown[]} items */
  constructor(items) {
    this.items = items;
  }
}

/** A set; its items have no order, none equals another. */
export class PySet {
  /** @param {unknown[]} items */
  constructor(items) {
    this.items = items;
  }
}

export class Range {
  /** @param {number|bigint} start @param {number|bigint} stop @param {number|bigint} step */
  constructor(start, stop, step) {
    this.start = start;
    this.stop = stop;
    this.step = step;
  }
}

/** A dict, or an OrderedDict; any value that Python can hash is a key. */
export class Dict {
  /** @param {[unknown, unknown][]} pairs @param {boolean} [isOrdered] */
  constructor(pairs, isOrdered = false) {
    this.pairs = pairs;
    this.isOrdered = isOrdered;
  }
}

export class Slice {
  /** @param {unknown} [start] @param {unknown} [stop] @param {unknown} [step] */
  constructor(start = null, stop = null, step = null) {
    this.start = start;
    this.stop = stop;
    this.step = step;
  }
}

export const ELLIPSIS = Object.freeze({ toString: () => '...' });

/** An object in the owner's engine. */
export class Ref {
  /** @param {number} id */
  constructor(id) {
    this.id = id;
  }
}

/** Where a tensor's bytes lie in the blob that its message announces. */
export class Span {
  /** @param {number} offset @param {number} nbytes */
  constructor(offset, nbytes) {
    this.offset = offset;
    this.nbytes = nbytes;
  }
}

/** A dense tensor as it travels: contiguous little-endian bytes, or a place in a blob. */
export class TensorData {
  /** @param {string} dtype @param {number[]} shape @param {Bytes|Span} data @param {boolean} [requiresGrad] */
  constructor(dtype, shape, data, requiresGrad = false) {
    this.dtype = dtype;
    this.shape = shape;
    this.data = data;
    this.requiresGrad = requiresGrad;
  }
}

/** Bytes that travel in chunks on the bulk channel. */
export class Blob {
  /** @param {number} transfer @param {number} nbytes */
  constructor(transfer, nbytes) {
    this.transfer = transfer;
    this.nbytes = nbytes;
  }
}

export class Size {
  /** @param {(number|bigint)[]} dims */
  constructor(dims) {
    this.dims = dims;
  }
}

class Named {
  /** @param {string} name */
  constructor(name) {
    this.name = name;
  }
}
export class Dtype extends Named {}
export class Device extends Named {}
export class Layout extends Named {}
export class MemoryFormat extends Named {}

const NAMED = { y: Dtype, v: Device, a: Layout, m: MemoryFormat };
const INT_MAX = 2n ** 63n - 1n;
const INT_MIN = -(2n ** 63n);
const WORD_CHARS = 64;

/** Our own value cannot be sent; theirs is a ProtocolError. */
export class Unsendable extends Error {}

/** @param {string} why @returns {never} */
function refuse(why) {
  throw new Unsendable(why);
}

/** The bytes of a value that stands alone. @param {unknown} value */
export function encodeValue(value) {
  return write(pack(value));
}

/** The value of these bytes. @param {Uint8Array} bytes */
export function decodeValue(bytes) {
  return guarded(() => unpack(readRaw(bytes)));
}

/** @param {Uint8Array} bytes */
export function readRaw(bytes) {
  return read(bytes, {
    arrayItems: limits.PAIR_ITEMS,
    mapItems: 1,
    stringBytes: limits.STRING_BYTES,
    depth: 4 * limits.VALUE_DEPTH + 8, // a value's own depth is counted in `enter`; tags and pairs are between
  });
}

/** What a reader does not understand is the partner's mistake, whatever broke on it. @template T @param {() => T} reading @returns {T} */
export function guarded(reading) {
  try {
    return reading();
  } catch (error) {
    if (error instanceof DuetError) throw error;
    if (error instanceof Unsendable || error instanceof RangeError) throw protocolError(`A message is malformed: ${error.message}.`);
    throw error;
  }
}

// leaves, the same rules in both directions

/** @param {number} depth @param {number} count @param {number} most */
function enter(depth, count, most) {
  if (depth >= limits.VALUE_DEPTH) refuse(`nested deeper than ${limits.VALUE_DEPTH}`);
  if (count > most) refuse(`${count} items, ${most} allowed`);
  return depth + 1;
}

/** @param {unknown} value @param {bigint|number} low @param {bigint|number} high @returns {number} */
export function intIn(value, low, high) {
  if ((typeof value !== 'bigint' && !Number.isSafeInteger(value)) || /** @type {number} */ (value) < low || /** @type {number} */ (value) > high)
    refuse('not an int in its range');
  return /** @type {number} */ (value); // a bigint past 2^53 works as an id in every place where ids are used
}
/** @param {unknown} value */
const count = (value) => intIn(value, 0, INT_MAX);
/** @param {unknown} value */
const positive = (value) => intIn(value, 1, INT_MAX);
/** @param {unknown} value */
const int64 = (value) => intIn(value, INT_MIN, INT_MAX);
/** @param {unknown} value */
export function objectId(value) {
  const id = intIn(value, -INT_MAX, INT_MAX);
  if (Number(id) === 0) refuse('0 is no id');
  return id;
}
/** @param {unknown} value @returns {boolean} */
export function flag(value) {
  return typeof value === 'boolean' ? value : refuse('not a bool');
}
/** @param {unknown} value @returns {number} */
const real = (value) => (value instanceof Float ? value.value : refuse('not a float'));
/** @param {unknown} value @returns {string} */
const word = (value) => (typeof value === 'string' && value.length > 0 && value.length <= WORD_CHARS ? value : refuse('not a short name'));
/** @param {unknown} value @returns {any[]} */
const dims = (value) => (Array.isArray(value) && value.length <= limits.TENSOR_DIMS ? value : refuse('not a shape'));
/** @param {unknown} value @param {number} length @returns {any[]} */
const list = (value, length) => (Array.isArray(value) && value.length === length ? value : refuse(`not a list of ${length}`));

/** @param {string} value */
function text(value) {
  if (!isWellFormed(value)) refuse('a text with half a character');
  if (value.length > limits.STRING_BYTES / 4 && utf8(value).length > limits.STRING_BYTES) refuse('a text is too long');
  return value;
}

// packing

/** What msgpack can write of a value of the closed set; throws Unsendable. @param {unknown} value @param {number} [depth] @returns {Raw} */
export function pack(value, depth = 0) {
  if (value === null || typeof value === 'boolean' || value instanceof Float) return value;
  if (typeof value === 'number') return Number.isSafeInteger(value) ? value : refuse(`${value} is not an int: wrap it in Float`);
  if (typeof value === 'bigint') return value >= INT_MIN && value <= INT_MAX ? value : one('i', bigBytes(value));
  if (typeof value === 'string') return text(value);
  if (value instanceof Uint8Array) return value.length <= limits.STRING_BYTES ? /** @type {Bytes} */ (value) : refuse('bytes are too long');
  if (Array.isArray(value)) return items(value, depth);
  if (value instanceof Ref) return one('r', objectId(value.id));
  if (value instanceof Tuple) return one('t', items(value.items, depth));
  if (value instanceof Slice) return one('l', items([value.start, value.stop, value.step], depth));
  if (value instanceof TensorData) return packTensor(value);
  if (value instanceof PySet) return one('s', items(distinct(value.items), depth));
  if (value instanceof Dict) return packDict(value, depth);
  if (value instanceof Range) return one('g', items([value.start, value.stop, value.step].map(step(value.step)), depth));
  if (value instanceof Complex) return one('c', [new Float(value.re), new Float(value.im)]);
  if (value instanceof Size) return one('z', dims(value.dims).map(int64));
  if (value instanceof Span) return one('p', [count(value.offset), count(value.nbytes)]);
  if (value instanceof Blob) return one('b', [positive(value.transfer), count(value.nbytes)]);
  if (value === ELLIPSIS) return one('e', null);
  for (const [tag, kind] of Object.entries(NAMED)) if (value instanceof kind) return one(tag, word(value.name));
  return refuse(`a value of type ${Object(value).constructor?.name ?? typeof value} cannot be sent`);
}

/** @param {string} tag @param {Raw} payload @returns {Raw} */
const one = (tag, payload) => new Map([[tag, payload]]);
/** @param {unknown[]} values @param {number} depth */
function items(values, depth) {
  const deeper = enter(depth, values.length, limits.ARRAY_ITEMS);
  return values.map((item) => pack(item, deeper));
}
/** @param {number|bigint} by */
const step = (by) => (/** @type {unknown} */ value) => (Number(by) === 0 ? refuse('a step of 0') : value);

/** @param {Dict} dict @param {number} depth */
function packDict(dict, depth) {
  const deeper = enter(depth, dict.pairs.length, limits.PAIR_ITEMS);
  distinct(dict.pairs.map(([key]) => key));
  return one(dict.isOrdered ? 'o' : 'd', dict.pairs.map(([key, value]) => [pack(key, deeper), pack(value, deeper)]));
}

/** @param {TensorData} tensor */
function packTensor({ dtype, shape, data, requiresGrad }) {
  if (data instanceof Uint8Array && data.length > limits.INLINE_TENSOR_BYTES) refuse('too many bytes inline');
  const packed = data instanceof Span ? [count(data.offset), count(data.nbytes)] : data;
  return one('x', [word(dtype), dims(shape).map(count), packed, flag(requiresGrad)]);
}

/** Two's complement, big-endian, as few bytes as possible. @param {bigint} value */
function bigBytes(value) {
  const bits = (value >= 0n ? value : ~value).toString(2).length + 1;
  const size = Math.ceil(bits / 8);
  if (size > limits.INT_BYTES) refuse('an int is too long');
  const hex = BigInt.asUintN(8 * size, value).toString(16).padStart(2 * size, '0');
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

// unpacking

/** @type {Record<string, (payload: Raw, depth: number) => unknown>} */
const UNPACK = {
  i: (payload) => unpackBig(payload),
  c: (payload) => new Complex(real(list(payload, 2)[0]), real(list(payload, 2)[1])),
  t: (payload, depth) => new Tuple(unpackItems(payload, depth)),
  s: (payload, depth) => new PySet(distinct(unpackItems(payload, depth))),
  g: (payload, depth) => unpackRange(unpackItems(list(payload, 3), depth)),
  d: (payload, depth) => unpackDict(payload, depth, false),
  o: (payload, depth) => unpackDict(payload, depth, true),
  l: (payload, depth) => new Slice(...unpackItems(list(payload, 3), depth)),
  e: (payload) => (payload === null ? ELLIPSIS : refuse('an ellipsis carries nothing')),
  r: (payload) => new Ref(objectId(payload)),
  x: (payload) => unpackTensor(list(payload, 4)),
  p: (payload) => unpackSpan(payload),
  b: (payload) => new Blob(positive(list(payload, 2)[0]), count(list(payload, 2)[1])),
  z: (payload) => new Size(dims(payload).map(int64)),
  ...Object.fromEntries(Object.entries(NAMED).map(([tag, kind]) => [tag, (/** @type {Raw} */ payload) => new kind(word(payload))])),
};

/** The value of what msgpack read; throws Unsendable. @param {Raw} raw @param {number} [depth] @returns {unknown} */
export function unpack(raw, depth = 0) {
  if (raw === null || typeof raw !== 'object' || raw instanceof Float || raw instanceof Uint8Array)
    return typeof raw === 'bigint' && raw > INT_MAX ? refuse('not an int of 64 bits') : raw;
  if (Array.isArray(raw)) return unpackItems(raw, depth);
  const [pair, ...others] = raw;
  if (pair === undefined || others.length > 0 || !Object.hasOwn(UNPACK, pair[0])) return refuse('unknown tag');
  return UNPACK[pair[0]]?.(pair[1], depth);
}

/** @param {Raw} raw @param {number} depth */
function unpackItems(raw, depth) {
  if (!Array.isArray(raw)) return refuse('not a list of items');
  const deeper = enter(depth, raw.length, limits.ARRAY_ITEMS);
  return raw.map((item) => unpack(item, deeper));
}

/** @param {Raw} raw */
function unpackBig(raw) {
  if (!(raw instanceof Uint8Array) || raw.length > limits.INT_BYTES || raw.length === 0) return refuse('not a big int');
  const value = BigInt.asIntN(8 * raw.length, BigInt(`0x${toHex(raw)}`));
  if ((value >= INT_MIN && value <= INT_MAX) || bigBytes(value).length !== raw.length) refuse('a big int in more bytes than it needs');
  return value;
}

/** @param {unknown[]} parts */
function unpackRange([start, stop, by]) {
  for (const part of [start, stop, by])
    if (typeof part !== 'bigint' && typeof part !== 'number') refuse('a range has ints');
  if (Number(by) === 0) refuse('a step of 0');
  return new Range(/** @type {number} */ (start), /** @type {number} */ (stop), /** @type {number} */ (by));
}

/** @param {Raw} raw @param {number} depth @param {boolean} isOrdered */
function unpackDict(raw, depth, isOrdered) {
  if (!Array.isArray(raw)) return refuse('not a list of pairs');
  const deeper = enter(depth, raw.length, limits.PAIR_ITEMS);
  /** @type {[unknown, unknown][]} */
  const pairs = raw.map((pair) => [unpack(list(pair, 2)[0], deeper), unpack(list(pair, 2)[1], deeper)]);
  distinct(pairs.map(([key]) => key));
  return new Dict(pairs, isOrdered);
}

/** @param {Raw} raw */
function unpackSpan(raw) {
  const [offset, nbytes] = list(raw, 2);
  return new Span(count(offset), count(nbytes));
}

/** @param {any[]} parts */
function unpackTensor([dtype, shape, data, requiresGrad]) {
  const content = Array.isArray(data) ? unpackSpan(data) : data;
  if (!(content instanceof Span) && !(content instanceof Uint8Array && content.length <= limits.INLINE_TENSOR_BYTES))
    return refuse('not the bytes of a small tensor');
  return new TensorData(word(dtype), dims(shape).map(count), /** @type {Bytes|Span} */ (content), flag(requiresGrad));
}

// equality, as Python has it: 1, 1.0 and True are one key

/** @template {unknown[]} T @param {T} values @returns {T} */
function distinct(values) {
  const keys = new Set(values.map(keyOf));
  if (keys.size !== values.length) refuse('two equal keys or items');
  return values;
}

/** A text that two values share if and only if they are equal. @param {unknown} value @returns {string|symbol} */
function keyOf(value) {
  const key = keyText(value);
  return key.includes('NaN') ? Symbol(key) : key; // equal to nothing, not to itself either
}

/** @param {unknown} value @returns {string} */
function keyText(value) {
  if (value === null) return 'n';
  if (value === true) return '#1';
  if (value === false) return '#0';
  if (typeof value === 'number' || typeof value === 'bigint') return `#${BigInt(value)}`;
  if (value instanceof Float) return numberKey(value.value);
  if (value instanceof Complex) return value.im === 0 ? numberKey(value.re) : `c${value.re},${value.im}`;
  if (typeof value === 'string') return `s${JSON.stringify(value).replaceAll('NaN', 'N\\aN')}`;
  if (value instanceof Uint8Array) return `b${toHex(value)}`;
  if (value instanceof Tuple) return `t(${value.items.map(keyText).join()})`;
  if (value instanceof Range) return rangeKey(value);
  if (value instanceof Ref) return `r${value.id}`;
  if (value instanceof Size) return `z${value.dims.join()}`;
  if (value instanceof Span) return `p${value.offset},${value.nbytes}`;
  if (value instanceof Blob) return `b(${value.transfer},${value.nbytes})`;
  if (value === ELLIPSIS) return 'e';
  if (value instanceof Named) return `${value.constructor.name}${JSON.stringify(value.name)}`;
  if (value instanceof TensorData) {
    const data = value.data instanceof Span ? keyText(value.data) : toHex(value.data);
    return `x${JSON.stringify(value.dtype)}(${value.shape.join()})${data},${value.requiresGrad}`;
  }
  return refuse('a key that has no hash');
}

/** @param {number} value */
function numberKey(value) {
  return Number.isInteger(value) ? `#${BigInt(value)}` : `f${value}`;
}

/** Ranges are equal if they give the same numbers. @param {Range} range */
function rangeKey({ start, stop, step: by }) {
  const [a, b, c] = [BigInt(start), BigInt(stop), BigInt(by)];
  const length = c > 0n ? (b - a + c - 1n) / c : (a - b - c - 1n) / -c;
  if (length <= 0n) return 'g0';
  return length === 1n ? `g1,${a}` : `g${length},${a},${c}`;
}
