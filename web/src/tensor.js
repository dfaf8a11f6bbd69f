// @ts-check
/** Tensors in the page: a dtype, a shape and typed numbers. */

import { concat } from './bytes.js';
import { protocolError } from './errors.js';
import { Span, TensorData, Unsendable } from './wire.js';

/** @typedef {Float32Array|Float64Array|Int8Array|Uint8Array|Int16Array|Int32Array|BigInt64Array|Uint16Array|Uint32Array|BigUint64Array} Numbers */
/** @typedef {number|bigint|boolean|string} Scalar */

/** @type {Record<string, {size: number, make: (bytes: ArrayBuffer) => Numbers, parts?: number}>} */
const DTYPES = {
  float32: { size: 4, make: (bytes) => new Float32Array(bytes) },
  float64: { size: 8, make: (bytes) => new Float64Array(bytes) },
  float16: { size: 2, make: (bytes) => Float32Array.from(new Uint16Array(bytes), halfToFloat) },
  bfloat16: { size: 2, make: (bytes) => Float32Array.from(new Uint16Array(bytes), brainToFloat) },
  int8: { size: 1, make: (bytes) => new Int8Array(bytes) },
  uint8: { size: 1, make: (bytes) => new Uint8Array(bytes) },
  bool: { size: 1, make: (bytes) => new Uint8Array(bytes).map((byte) => (byte === 0 ? 0 : 1)) },
  int16: { size: 2, make: (bytes) => new Int16Array(bytes) },
  uint16: { size: 2, make: (bytes) => new Uint16Array(bytes) },
  int32: { size: 4, make: (bytes) => new Int32Array(bytes) },
  uint32: { size: 4, make: (bytes) => new Uint32Array(bytes) },
  int64: { size: 8, make: (bytes) => new BigInt64Array(bytes) },
  uint64: { size: 8, make: (bytes) => new BigUint64Array(bytes) },
  complex64: { size: 8, make: (bytes) => new Float32Array(bytes), parts: 2 },
  complex128: { size: 16, make: (bytes) => new Float64Array(bytes), parts: 2 },
};
/** Those that a page can send: their numbers are their bytes. */
const SENT = ['float32', 'float64', 'int8', 'uint8', 'bool', 'int16', 'uint16', 'int32', 'uint32', 'int64', 'uint64'];

/** Typed arrays have the machine's byte order, the wire has little-endian. */
const IS_LITTLE = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

export class Tensor {
  /**
   * @param {string} dtype as in torch, without the prefix
   * @param {number[]} shape
   * @param {Numbers} data in row-major order; of a complex tensor real and imaginary part in turn,
   *   of the 16-bit floats their values as float32
   */
  constructor(dtype, shape, data) {
    const kind = DTYPES[dtype];
    if (kind === undefined) throw new TypeError(`unknown dtype ${dtype}`);
    if (data.length !== numel(shape) * (kind.parts ?? 1)) throw new RangeError(`${data.length} numbers do not fit the shape ${shape}`);
    this.dtype = dtype;
    this.shape = shape;
    this.data = data;
  }

  /** A tensor of nested arrays; float32 unless all are ints (int64) or booleans. @param {any} nested @param {string} [dtype] */
  static from(nested, dtype) {
    /** @type {number[]} */
    const shape = [];
    for (let level = nested; Array.isArray(level); level = level[0]) shape.push(level.length);
    const flat = Array.isArray(nested) ? nested.flat(Infinity) : [nested];
    const isBool = flat.length > 0 && flat.every((item) => typeof item === 'boolean');
    const isInt = flat.length > 0 && flat.every((item) => typeof item === 'bigint' || Number.isInteger(item));
    const chosen = dtype ?? (isBool ? 'bool' : isInt ? 'int64' : 'float32');
    const kind = DTYPES[chosen];
    if (kind === undefined || !SENT.includes(chosen)) throw new TypeError(`a page cannot make a tensor of ${chosen}`);
    const data = kind.make(new ArrayBuffer(flat.length * kind.size));
    const isBig = data instanceof BigInt64Array || data instanceof BigUint64Array;
    flat.forEach((item, index) => {
      /** @type {any} */ (data)[index] = isBig ? BigInt(item) : Number(item);
    });
    return new Tensor(chosen, shape, data);
  }

  /**
   * The tensor that a message carries.
   *
   * @param {TensorData} wire
   * @param {Uint8Array|null} blob
   */
  static ofWire({ dtype, shape, data }, blob) {
    const kind = Object.hasOwn(DTYPES, dtype) ? DTYPES[dtype] : undefined;
    if (kind === undefined) throw protocolError(`A tensor of a dtype that this page does not know: ${dtype}.`);
    const count = numel(shape);
    /** @type {Uint8Array} */
    let bytes;
    if (data instanceof Span) {
      if (blob === null || data.offset + data.nbytes > blob.length) throw protocolError('A tensor lies outside of its blob.');
      bytes = blob.subarray(data.offset, data.offset + data.nbytes);
    } else bytes = data;
    if (bytes.length !== count * kind.size) throw protocolError("A tensor's bytes do not fit its shape.");
    const own = bytes.slice();
    if (!IS_LITTLE) swap(own, kind.size / (kind.parts ?? 1));
    return new Tensor(dtype, shape, kind.make(/** @type {ArrayBuffer} */ (own.buffer)));
  }

  /** The bytes of this tensor, little-endian. */
  bytes() {
    if (!SENT.includes(this.dtype)) throw new Unsendable(`a page cannot send a tensor of ${this.dtype}`);
    const bytes = concat(new Uint8Array(this.data.buffer, this.data.byteOffset, this.data.byteLength));
    if (!IS_LITTLE) swap(bytes, this.data.BYTES_PER_ELEMENT);
    return bytes;
  }

  /** Its one element. @returns {Scalar} */
  scalar() {
    if (numel(this.shape) !== 1) throw new RangeError('only a tensor of one element is a scalar');
    return this.element(0);
  }

  /** As arrays inside arrays; a tensor without dimensions is its element. @returns {any} */
  toNested() {
    const build = (/** @type {number} */ dim, /** @type {number} */ offset) => {
      const length = this.shape[dim];
      if (length === undefined) return this.element(offset);
      const step = numel(this.shape.slice(dim + 1));
      /** @type {any[]} */
      const items = Array.from({ length }, (_, index) => build(dim + 1, offset + index * step));
      return items;
    };
    return build(0, 0);
  }

  /** @param {number} index @returns {Scalar} */
  element(index) {
    if (this.dtype.startsWith('complex')) {
      const [re = 0, im = 0] = [this.data[2 * index], this.data[2 * index + 1]];
      return `${re}${im < 0 ? '' : '+'}${im}j`;
    }
    const item = this.data[index] ?? 0;
    if (this.dtype === 'bool') return item === 1;
    return typeof item === 'bigint' && Number.isSafeInteger(Number(item)) ? Number(item) : item;
  }
}

/** @param {number[]} shape */
export function numel(shape) {
  return shape.reduce((product, dim) => product * dim, 1);
}

/** @param {number} bits */
function halfToFloat(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 0x1f) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** @param {number} bits */
function brainToFloat(bits) {
  const view = new DataView(new ArrayBuffer(4));
  view.setUint32(0, bits << 16);
  return view.getFloat32(0);
}

/** @param {Uint8Array} bytes @param {number} width */
function swap(bytes, width) {
  for (let at = 0; at < bytes.length; at += width) bytes.subarray(at, at + width).reverse();
}
