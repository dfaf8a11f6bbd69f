// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { factsText } from '../../src/console/audit.js';
import { bytes, counted, dimensions, grouped, headline, shown, span, title, usage, weight } from '../../src/console/text.js';

/** @param {Record<string, any>} more */
function request(more) {
  return /** @type {import('../../src/console/messages.js').RequestView} */ ({
    kind: 'aggregate', elements: 1, records: 64, sources: [{ name: 'digits' }], failed: '', refusal: '', injected: false, dropout: false, ...more,
  });
}

test('what cannot be seen is written out', () => {
  assert.equal(shown('a\u202Eb\u0000c\u200Bd', 100), 'a\\u202eb\\u0000c\\u200bd');
  assert.equal(shown('\u001b[31mred', 100), '\\u001b[31mred');
  assert.equal(shown('one\ntwo', 100), 'one\\u000atwo');
  assert.equal(shown('one\ntwo', 100, true), 'one\ntwo');
  assert.equal(shown('<b>שלום</b>', 100), '<b>שלום</b>', 'letters of any script stay');
});

test('long texts and stacked marks are cut', () => {
  assert.equal(Array.from(shown('x'.repeat(10_000), 100)).length, 100);
  assert.equal(shown('x'.repeat(100), 100).length, 100);
  assert.equal(Array.from(shown('😀'.repeat(200), 10)).length, 10);
  assert.equal(shown(`z${'\u0301'.repeat(50)}`, 100), 'z\u0301\u0301\u0301');
});

test('numbers, sizes and times read well', () => {
  assert.equal(counted(1, 'number'), '1 number');
  assert.equal(counted(1200, 'number'), '1,200 numbers');
  assert.equal(bytes(1), '1 byte');
  assert.equal(bytes(4800), '4.8 kB');
  assert.equal(bytes(999_999), '1.0 MB');
  assert.equal(span(59.4), '59 s');
  assert.equal(span(3700), '1 h 1 min');
  assert.equal(span(-3), '0 s');
  assert.equal(dimensions([64, 3]), '64 × 3');
  assert.equal(dimensions([]), 'a single value');
  assert.equal(grouped('ABCD1234'), 'ABCD-1234');
  assert.equal(title(0), 'Duet');
  assert.equal(title(2), '(2) Duet');
});

test('the headline names what would leave, and how many records are behind it', () => {
  assert.match(headline(request({}), 10), /^1 number computed over at least 64 records of “digits”/);
  assert.match(headline(request({ records: 3 }), 10), /as few as 3 records/);
  assert.match(headline(request({ injected: true }), 10), /was mixed in: it may have left one record/);
  assert.doesNotMatch(headline(request({ injected: true }), 10), /64/);
  assert.match(headline(request({ kind: 'verbatim', elements: 600 }), 10), /^Raw data: 600 numbers copied/);
  assert.match(headline(request({ kind: 'model', elements: 9 }), 10), /can contain exact records/);
  assert.match(headline(request({ failed: 'boom' }), 10), /failed/);
  assert.match(headline(request({ refusal: 'objects of this kind stay' }), 10), /cannot be released/);
});

test('only what names no single record is calm', () => {
  assert.equal(weight(request({}), 10), 'calm');
  assert.equal(weight(request({ kind: 'metadata', records: 1 }), 10), 'calm');
  assert.equal(weight(request({ records: 9 }), 10), 'care');
  assert.equal(weight(request({ injected: true }), 10), 'care');
  assert.equal(weight(request({ kind: 'model' }), 10), 'care');
  for (const kind of ['per_record', 'verbatim']) assert.equal(weight(request({ kind }), 10), 'high');
  assert.equal(weight(request({ failed: 'x' }), 10), 'high');
});

test('a rule says what is left of it', () => {
  const rule = /** @type {any} */ ({ uses: 3, uses_left: 7, quota: 100, quota_left: 88, ends: 160 });
  assert.equal(usage(rule, 100), 'used 3 times · 7 uses left · 88 of 100 numbers left · ends in 1 min');
  assert.equal(usage({ ...rule, uses: 0, uses_left: null, quota: null, ends: null }, 0), 'not used yet');
});

test('a row of the log starts with what people look for, and keeps what was tampered with', () => {
  assert.equal(factsText('{"elements":1,"hmac":"00","name":"loss","failed":false}'), 'name: loss · elements: 1');
  assert.equal(factsText('not json'), 'not json');
});
