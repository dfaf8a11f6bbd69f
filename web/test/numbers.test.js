// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  binned, described, extent, imageSize, pixels, series, shown, tableOf, ticks, valueText, viewsOf,
} from '../src/numbers.js';
import { Float, Tuple } from './fake_session.js';

/** @param {number[]} shape @param {number[]} [data] */
function tensor(shape, data) {
  const count = shape.reduce((a, b) => a * b, 1);
  return { dtype: 'float32', shape, data: Float32Array.from(data ?? Array.from({ length: count }, (_, i) => i)) };
}

test('one number is a value, whatever it came as', () => {
  for (const value of [3, 3n, true, 'text', null, new Float(3), tensor([]), tensor([1])]) assert.deepEqual(viewsOf(value), ['value']);
});

test('the views fit the shape, the best one first', () => {
  assert.equal(viewsOf(tensor([200]))[0], 'line');
  assert.ok(viewsOf(tensor([200])).includes('histogram'));
  assert.equal(viewsOf(tensor([3]))[0], 'table');
  assert.equal(viewsOf(tensor([10]), 'torch.histc(ages.float(), 10)')[0], 'bars');
  assert.equal(viewsOf(tensor([28, 28]))[0], 'image');
  assert.equal(viewsOf(tensor([1, 1, 28, 28]))[0], 'image');
  assert.equal(viewsOf(tensor([3, 32, 32]))[0], 'image');
  assert.equal(viewsOf(tensor([4, 3]))[0], 'table');
  assert.deepEqual(viewsOf(tensor([2, 2, 2, 2])), ['table', 'histogram']);
  assert.equal(viewsOf([1, 2, 3, 4, 5])[0], 'line');
  assert.deepEqual(viewsOf(['a', 1]), ['value']);
});

test('lists and tuples of numbers are series', () => {
  assert.deepEqual(series([1, 2.5, 3n]), { shape: [3], numbers: [1, 2.5, 3] });
  assert.deepEqual(series([[1, 2], [3, 4]]), { shape: [2, 2], numbers: [1, 2, 3, 4] });
  assert.deepEqual(series(new Tuple([new Float(1), 2])), { shape: [2], numbers: [1, 2] });
  assert.equal(series([[1, 2], [3]]), null);
  assert.equal(series([]), null);
  assert.equal(series('abc'), null);
});

test('values as text, as Python says them', () => {
  assert.equal(valueText(46.833333333), '46.8333');
  assert.equal(valueText(true), 'True');
  assert.equal(valueText(null), 'None');
  assert.equal(valueText('plain'), 'plain');
  assert.equal(valueText(['a', [1, 2]]), '["a", [1, 2]]');
  assert.equal(valueText(new Map([['k', 1]])), '{"k": 1}');
  assert.equal(valueText(tensor([2], [1, 2])), '[1, 2]');
  assert.ok(valueText(Array.from({ length: 100_000 }, () => 1)).length <= 20_001);
});

test('numbers for people', () => {
  assert.deepEqual([0, -3, 1e-9, 123456.789, 1e20, NaN, Infinity, -Infinity, 0.1 + 0.2, 12345678].map(shown),
    ['0', '−3', '1.0000e−9', '123457', '1.00000e+20', 'nan', 'inf', '−inf', '0.3', '12345678']);
});

test('ticks are round and cover the range', () => {
  assert.deepEqual(ticks(0, 10, 5), [0, 2, 4, 6, 8, 10]);
  assert.deepEqual(ticks(-1, 1, 4), [-1, -0.5, 0, 0.5, 1]);
  assert.deepEqual(ticks(0.1, 0.3, 4), [0.1, 0.15, 0.2, 0.25, 0.3]);
  assert.deepEqual(ticks(5, 5), [5]);
  assert.ok(ticks(0, 1e-300).length < 50);
});

test('a histogram counts every finite value once', () => {
  const { counts } = binned([0, 1, 2, 3, 10, NaN, Infinity], 5);
  assert.deepEqual(counts, [2, 2, 0, 0, 1]);
  assert.deepEqual(binned([4, 4, 4], 3).counts, [3, 0, 0]);
});

test('pictures are read by their shape', () => {
  assert.deepEqual(imageSize([28, 28]), { height: 28, width: 28, channels: 1, isPlanar: true });
  assert.deepEqual(imageSize([3, 4, 5]), { height: 4, width: 5, channels: 3, isPlanar: true });
  assert.deepEqual(imageSize([4, 5, 3]), { height: 4, width: 5, channels: 3, isPlanar: false });
  for (const shape of [[5], [2, 3, 4, 5], [1, 9], [5000, 5000], [7, 4, 5]]) assert.equal(imageSize(shape), null, String(shape));
  assert.deepEqual([...(pixels([0, 1, 2, 4], [2, 2])?.data ?? [])].filter((_, i) => i % 4 === 0), [0, 64, 128, 255]);
  assert.deepEqual([...(pixels([0, 0, 0, 0], [2, 2])?.data ?? [])].slice(0, 4), [0, 0, 0, 255]);
});

test('a table is cut to what people read', () => {
  const { rows, columns, cells, isCut } = tableOf({ shape: [500, 100], numbers: Array.from({ length: 50_000 }, (_, i) => i) });
  assert.deepEqual([rows, columns, cells.length, cells[0]?.length, isCut], [500, 100, 200, 40, true]);
  assert.equal(cells[1]?.[0], '100');
});

test('the text alternative says the facts of a picture', () => {
  assert.equal(described('Line', [1, 3, 2]), 'Line of 3 values: first 1, last 2, least 1, most 3, mean 2.');
  assert.match(described('Line', [NaN]), /none of them finite/);
  assert.deepEqual(extent([NaN, 2]), { least: 2, most: 2, mean: 2, count: 1 });
});
