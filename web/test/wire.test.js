// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { encode } from '@msgpack/msgpack';

import { fromHex, toHex } from '../src/bytes.js';
import { DuetError } from '../src/errors.js';
import { decodeFrame, decodeMessage, encodeMessage, frames } from '../src/messages.js';
import { read, write } from '../src/msgpack.js';
import * as wire from '../src/wire.js';
import { WIRE } from './vectors.js';

/** @type {Record<string, (content: any) => unknown>} */
const MAKE = {
  int: (text) => (Number.isSafeInteger(Number(text)) ? Number(text) : BigInt(text)),
  float: (text) => new wire.Float(number(text)),
  bytes: fromHex,
  complex: ([re, im]) => new wire.Complex(number(re), number(im)),
  tuple: (items) => new wire.Tuple(items.map(made)),
  set: (items) => new wire.PySet(items.map(made)),
  range: (items) => new wire.Range(made(items[0]), made(items[1]), made(items[2])),
  slice: (items) => new wire.Slice(...items.map(made)),
  dict: (pairs) => new wire.Dict(pairs.map((/** @type {any[]} */ pair) => pair.map(made))),
  OrderedDict: (pairs) => new wire.Dict(pairs.map((/** @type {any[]} */ pair) => pair.map(made)), true),
  ellipsis: () => wire.ELLIPSIS,
  Size: (dims) => new wire.Size(dims.map(made)),
  TensorData: ([dtype, shape, data, grad]) => new wire.TensorData(dtype, shape.map(made), made(data), grad),
  Ref: ([id]) => new wire.Ref(made(id)),
  Span: ([offset, nbytes]) => new wire.Span(made(offset), made(nbytes)),
  Blob: ([transfer, nbytes]) => new wire.Blob(made(transfer), made(nbytes)),
  Dtype: ([name]) => new wire.Dtype(name),
  Device: ([name]) => new wire.Device(name),
  Layout: ([name]) => new wire.Layout(name),
  MemoryFormat: ([name]) => new wire.MemoryFormat(name),
};

/** @param {string} text as Python writes it */
function number(text) {
  return Number(text.replace('inf', 'Infinity').replace('nan', 'NaN'));
}

/** The value of its notation. @param {any} notation @returns {any} */
function made(notation) {
  if (notation === null || typeof notation !== 'object') return notation;
  if (Array.isArray(notation)) return notation.map(made);
  const [[kind, content] = ['', null]] = Object.entries(notation);
  return MAKE[kind]?.(content);
}

for (const { name, value, bytes } of WIRE.values) {
  test(`the value "${name}" has these bytes, and these bytes are that value`, () => {
    assert.equal(toHex(wire.encodeValue(made(value))), bytes);
    const again = wire.decodeValue(fromHex(bytes));
    assert.equal(toHex(wire.encodeValue(again)), bytes);
    assert.deepEqual(again, made(value));
  });
}

for (const { type, bytes } of WIRE.messages) {
  test(`a ${type} has these bytes`, () => {
    const message = decodeMessage(fromHex(bytes));
    assert.equal(message.kind, type);
    assert.equal(toHex(encodeMessage(message)), bytes);
  });
}

for (const { first, messages, frames: whole } of WIRE.frames) {
  test(`${messages.length} messages from ${first} are cut into these frames`, () => {
    assert.deepEqual(frames(first, messages.map(fromHex)).map(toHex), whole);
    const seen = whole.flatMap((/** @type {string} */ frame) => decodeFrame(fromHex(frame)).messages);
    assert.deepEqual(seen.map(encodeMessage).map(toHex), messages);
  });
}

/** @type {Record<string, (bytes: Uint8Array) => unknown>} */
const READERS = { value: wire.decodeValue, message: decodeMessage, frame: decodeFrame };
for (const { name, kind, bytes } of WIRE.refused) {
  test(`a ${kind} is refused: ${name}`, () => {
    assert.throws(() => READERS[kind]?.(fromHex(bytes)), isProtocolError);
  });
}

/** @param {unknown} error */
function isProtocolError(error) {
  return error instanceof DuetError && error.code === 'ProtocolError';
}

test('heads that are longer than needed are refused', () => {
  for (const hex of ['cc05', 'cd0005', 'ce00000005', 'cf0000000000000005', 'd0ff', 'd1ffff', 'd2ffffffff'])
    assert.throws(() => wire.decodeValue(fromHex(hex)), isProtocolError, hex);
  for (const hex of ['d3ffffffffffffffff', 'd90161', 'da000161', 'dc0001c0', 'c5000100', 'de0001a165c0', 'ca3f800000'])
    assert.throws(() => wire.decodeValue(fromHex(hex)), isProtocolError, hex);
});

test('any bytes give a value or a ProtocolError, and what is read is written as it was', () => {
  const random = generator(7);
  const seeds = WIRE.values.map((/** @type {any} */ { bytes }) => fromHex(bytes)).filter((/** @type {any} */ { length }) => length < 400);
  let readable = 0;
  for (let round = 0; round < 20_000; round++) {
    const bytes = seeds[Math.floor(random() * seeds.length)].slice();
    for (let flips = Math.floor(random() * 3); flips >= 0; flips--) bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
    try {
      const value = wire.decodeValue(bytes);
      readable += 1;
      assert.equal(toHex(wire.encodeValue(value)), toHex(bytes));
    } catch (error) {
      if (!isProtocolError(error) && !(error instanceof wire.Unsendable)) throw error;
    }
  }
  assert.ok(readable > 1_000, `${readable}`);
});

/** A small generator of numbers in [0, 1), the same in each run. @param {number} seed */
function generator(seed) {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

test('an independent writer gives the same bytes', () => {
  const value = ['text', -1, 65_536, 2 ** 31, null, true, 0.5, new Uint8Array(300), 'x'.repeat(40), Array(20).fill(1)];
  const own = value.map((item) => (item === 0.5 ? new wire.Float(0.5) : item));
  assert.equal(toHex(write(/** @type {any} */ (own))), toHex(encode(value)));
});

test('a list of the limit is read, and one past it is not', () => {
  const limits = { arrayItems: 3, mapItems: 1, stringBytes: 2, depth: 2 };
  assert.deepEqual(read(fromHex('93010203'), limits), [1, 2, 3]);
  for (const hex of ['9401020304', 'a3616161', '919190', 'c403000000']) assert.throws(() => read(fromHex(hex), limits), isProtocolError, hex);
});

test('what cannot be sent is our own mistake', () => {
  const values = [0.5, NaN, 2 ** 60, undefined, () => 1, Symbol('x'), '\ud800', new wire.Ref(0), new Map(), new wire.PySet([1, true]), 2n ** 40_000n];
  for (const value of values) assert.throws(() => wire.encodeValue(value), wire.Unsendable);
  assert.throws(() => encodeMessage({ kind: 'Nothing' }), wire.Unsendable);
  assert.throws(() => encodeMessage({ kind: 'Get', call: 0, id: 1 }), wire.Unsendable);
});
