// @ts-check
/**
 * The part of msgpack that this protocol uses, strictly: the shortest head for each length and each
 * int, maps of texts without a key twice, no extension types, no bytes behind the end.
 *
 * Usual readers give one number type. Here an int and a float that looks whole are different values,
 * for Python and for what is signed or asked with them, so a float is a `Float` until the edge.
 */

import { isWellFormed, textOfBytes, utf8 } from './bytes.js';
import { protocolError } from './errors.js';

/** A float, also one that looks whole. */
export class Float {
  /** @param {number} value */
  constructor(value) {
    this.value = value;
  }
}

/** Ints are numbers where these are exact, else bigints. @typedef {null|boolean|number|bigint|string|Float|Bytes|RawArray|RawMap} Raw */
/** @typedef {import('./bytes.js').Bytes} Bytes */
/** @typedef {Raw[]} RawArray */
/** @typedef {{size: number, get(key: string): Raw|undefined, [Symbol.iterator](): Iterator<[string, Raw]>}} RawMap */

/** @typedef {{arrayItems: number, mapItems: number, stringBytes: number, depth: number}} Limits */

class Writer {
  constructor() {
    this.bytes = new Uint8Array(256);
    this.view = new DataView(this.bytes.buffer);
    this.at = 0;
  }

  /** @param {number} count */
  room(count) {
    if (this.at + count > this.bytes.length) {
      const grown = new Uint8Array(Math.max(2 * this.bytes.length, this.at + count));
      grown.set(this.bytes);
      this.bytes = grown;
      this.view = new DataView(grown.buffer);
    }
    const at = this.at;
    this.at += count;
    return at;
  }

  /** @param {number} head @param {number} width in bytes @param {number|bigint} value */
  head(head, width, value) {
    const at = this.room(1 + width);
    this.view.setUint8(at, head);
    if (width === 1) this.view.setUint8(at + 1, Number(value));
    else if (width === 2) this.view.setUint16(at + 1, Number(value));
    else if (width === 4) this.view.setUint32(at + 1, Number(value));
    else if (width === 8) this.view.setBigUint64(at + 1, BigInt.asUintN(64, BigInt(value)));
  }

  /** @param {Uint8Array} bytes */
  raw(bytes) {
    const at = this.room(bytes.length); // before `this.bytes`, which it may replace
    this.bytes.set(bytes, at);
  }

  /** @param {number|bigint} value */
  int(value) {
    if (value >= 0) {
      if (value < 0x80) this.head(Number(value), 0, 0);
      else if (value < 0x100) this.head(0xcc, 1, value);
      else if (value < 0x10000) this.head(0xcd, 2, value);
      else if (value < 0x100000000) this.head(0xce, 4, value);
      else this.head(0xcf, 8, value);
    } else if (value >= -0x20) this.head(Number(value) & 0xff, 0, 0);
    else if (value >= -0x80) this.head(0xd0, 1, Number(value) & 0xff);
    else if (value >= -0x8000) this.head(0xd1, 2, Number(value) & 0xffff);
    else if (value >= -0x80000000) this.head(0xd2, 4, Number(value) >>> 0);
    else this.head(0xd3, 8, value);
  }

  /** @param {number} count @param {number} fix @param {number} fixed @param {number} h8 0: there is none @param {number} h16 */
  length(count, fix, fixed, h8, h16) {
    if (count < fixed) this.head(fix | count, 0, 0);
    else if (h8 && count < 0x100) this.head(h8, 1, count);
    else if (count < 0x10000) this.head(h16, 2, count);
    else this.head(h16 + 1, 4, count);
  }

  /** @param {Raw} value */
  value(value) {
    if (value === null) this.head(0xc0, 0, 0);
    else if (value === false) this.head(0xc2, 0, 0);
    else if (value === true) this.head(0xc3, 0, 0);
    else if (typeof value === 'bigint' || typeof value === 'number') {
      if (typeof value === 'number' ? !Number.isSafeInteger(value) : BigInt.asIntN(64, value) !== value)
        throw new RangeError(`${value} is not an int of 64 bits`);
      this.int(value);
    } else if (typeof value === 'string') {
      if (!isWellFormed(value)) throw new RangeError('a text with half a character');
      const bytes = utf8(value);
      this.length(bytes.length, 0xa0, 32, 0xd9, 0xda);
      this.raw(bytes);
    } else if (value instanceof Float) {
      const at = this.room(9);
      this.view.setUint8(at, 0xcb);
      this.view.setFloat64(at + 1, value.value);
    } else if (value instanceof Uint8Array) {
      this.length(value.length, 0, 0, 0xc4, 0xc5);
      this.raw(value);
    } else if (Array.isArray(value)) {
      this.length(value.length, 0x90, 16, 0, 0xdc);
      for (const item of value) this.value(item);
    } else {
      this.length(value.size, 0x80, 16, 0, 0xde);
      for (const [key, item] of value) {
        this.value(key);
        this.value(item);
      }
    }
  }
}

/** The bytes of a value. @param {Raw} value @returns {import('./bytes.js').Bytes} */
export function write(value) {
  const writer = new Writer();
  writer.value(value);
  return writer.bytes.slice(0, writer.at);
}

/** The head of an array, whose items follow as they are. @param {number} count */
export function arrayHead(count) {
  const writer = new Writer();
  writer.length(count, 0x90, 16, 0, 0xdc);
  return writer.bytes.slice(0, writer.at);
}

class Reader {
  /** @param {Uint8Array} bytes @param {Limits} limits */
  constructor(bytes, limits) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.limits = limits;
    this.at = 0;
  }

  /** @param {number} count */
  skip(count) {
    const at = this.at;
    if (count > this.bytes.length - at) throw protocolError('Not msgpack: it ends too early.');
    this.at += count;
    return at;
  }

  /** A length or an unsigned int, which must need its width. @param {number} width @param {number} least */
  count(width, least) {
    const at = this.skip(width);
    const value = width === 1 ? this.view.getUint8(at) : width === 2 ? this.view.getUint16(at) : this.view.getUint32(at);
    if (value < least) throw protocolError('Not msgpack of this protocol: a length in too many bytes.');
    return value;
  }

  /** @param {number} count */
  text(count) {
    if (count > this.limits.stringBytes) throw protocolError('Not msgpack of this protocol: a text is too long.');
    const at = this.skip(count);
    try {
      return textOfBytes(this.bytes.subarray(at, at + count));
    } catch {
      throw protocolError('Not msgpack of this protocol: a text is not UTF-8.');
    }
  }

  /** @param {number} count */
  binary(count) {
    if (count > this.limits.stringBytes) throw protocolError('Not msgpack of this protocol: bytes are too long.');
    const at = this.skip(count);
    return this.bytes.slice(at, at + count);
  }

  /** @param {number} count @param {number} most @param {number} depth @param {number} each heads per item */
  enter(count, most, depth, each) {
    if (count > most || depth > this.limits.depth || count * each > this.bytes.length - this.at)
      throw protocolError('Not msgpack of this protocol: too many items.');
  }

  /** @param {number} count @param {number} depth @returns {Raw[]} */
  array(count, depth) {
    this.enter(count, this.limits.arrayItems, depth, 1);
    const items = [];
    for (let i = 0; i < count; i++) items.push(this.value(depth));
    return items;
  }

  /** @param {number} count @param {number} depth @returns {Map<string, Raw>} */
  map(count, depth) {
    this.enter(count, this.limits.mapItems, depth, 2);
    const map = new Map();
    for (let i = 0; i < count; i++) {
      const key = this.value(depth);
      if (typeof key !== 'string' || map.has(key)) throw protocolError('Not msgpack of this protocol: a key.');
      map.set(key, this.value(depth));
    }
    return map;
  }

  /** @param {bigint} value @param {bigint} least @param {bigint} most that would fit into less */
  wide(value, least, most) {
    if (value >= least && value <= most) throw protocolError('Not msgpack of this protocol: an int in too many bytes.');
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : value;
  }

  /** @param {number} value @param {number} most that would fit into less, and below 0 */
  negative(value, most) {
    if (value >= most) throw protocolError('Not msgpack of this protocol: an int in too many bytes.');
    return value;
  }

  /** @param {number} [depth] @returns {Raw} */
  value(depth = 0) {
    const head = this.view.getUint8(this.skip(1));
    if (head < 0x80) return head;
    if (head < 0x90) return this.map(head & 0x0f, depth + 1);
    if (head < 0xa0) return this.array(head & 0x0f, depth + 1);
    if (head < 0xc0) return this.text(head & 0x1f);
    if (head >= 0xe0) return head - 0x100;
    switch (head) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: return this.binary(this.count(1, 0));
      case 0xc5: return this.binary(this.count(2, 0x100));
      case 0xc6: return this.binary(this.count(4, 0x10000));
      case 0xcb: return new Float(this.view.getFloat64(this.skip(8)));
      case 0xcc: return this.count(1, 0x80);
      case 0xcd: return this.count(2, 0x100);
      case 0xce: return this.count(4, 0x10000);
      case 0xcf: return this.wide(this.view.getBigUint64(this.skip(8)), 0n, 0xffffffffn);
      case 0xd0: return this.negative(this.view.getInt8(this.skip(1)), -0x20);
      case 0xd1: return this.negative(this.view.getInt16(this.skip(2)), -0x80);
      case 0xd2: return this.negative(this.view.getInt32(this.skip(4)), -0x8000);
      case 0xd3: return this.wide(this.view.getBigInt64(this.skip(8)), -0x80000000n, 2n ** 63n);
      case 0xd9: return this.text(this.count(1, 32));
      case 0xda: return this.text(this.count(2, 0x100));
      case 0xdb: return this.text(this.count(4, 0x10000));
      case 0xdc: return this.array(this.count(2, 16), depth + 1);
      case 0xdd: return this.array(this.count(4, 0x10000), depth + 1);
      case 0xde: return this.map(this.count(2, 16), depth + 1);
      case 0xdf: return this.map(this.count(4, 0x10000), depth + 1);
      default: throw protocolError('Not msgpack of this protocol: a type that is not used.');
    }
  }
}

/**
 * The one value of these bytes.
 *
 * @param {Uint8Array} bytes
 * @param {Limits} limits
 * @returns {Raw}
 * @throws {import('./errors.js').DuetError} ProtocolError, whatever is wrong
 */
export function read(bytes, limits) {
  const reader = new Reader(bytes, limits);
  const value = reader.value();
  if (reader.at !== bytes.length) throw protocolError('Not msgpack of this protocol: bytes behind the end.');
  return value;
}
