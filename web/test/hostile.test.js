// @ts-check
/** What an owner could send to reach what every object inherits, or further than a page can count. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { factsText } from '../src/console/audit.js';
import { headline, listed, shown } from '../src/console/text.js';
import { DuetError } from '../src/errors.js';
import { NotJson, parseObject } from '../src/json.js';
import { decodeFrame, decodeMessage } from '../src/messages.js';
import { write } from '../src/msgpack.js';
import { cleaned } from '../src/state.js';
import { decodeValue, Dict, encodeValue } from '../src/wire.js';

const INHERITED = Object.getOwnPropertyNames(Object.prototype);

/** Reads or refuses, with one kind of error. @param {() => unknown} reads */
function readOrRefused(reads) {
  try {
    reads();
  } catch (error) {
    assert.ok(error instanceof DuetError, String(error));
  }
}

for (const name of INHERITED) {
  test(`"${name}" is no tag of a value, of a message or of a group`, () => {
    for (const payload of [null, [], [1], 'x', new Map([[name, 1]]), new Uint8Array(2)]) {
      assert.throws(() => decodeValue(write(new Map([[name, payload]]))), DuetError);
      for (const message of [[name, payload], [name, name, payload], [0, name, payload], [name]]) {
        assert.throws(() => decodeMessage(write(message)), DuetError);
        assert.throws(() => decodeFrame(write([1, ...message])), DuetError);
      }
    }
  });

  test(`a dict may have "${name}" as a key, and changes no object by it`, () => {
    const before = JSON.stringify(Object.getOwnPropertyNames(Object.prototype));
    const dict = decodeValue(encodeValue(new Dict([[name, new Dict([['polluted', 1]])]])));
    assert.ok(dict instanceof Dict && dict.pairs[0]?.[0] === name);
    assert.equal(JSON.stringify(Object.getOwnPropertyNames(Object.prototype)), before);
    assert.equal(/** @type {any} */ ({}).polluted, undefined);
    const fields = parseObject(`{"${name}": {"polluted": 1}}`);
    assert.equal(Object.getPrototypeOf(fields), null);
    assert.equal(/** @type {any} */ ({}).polluted, undefined);
  });
}

test('what lies deeper than the limit is refused', () => {
  for (const depth of [33, 1_000, 100_000]) {
    assert.throws(() => decodeValue(new Uint8Array([...new Uint8Array(depth).fill(0x91), 0xc0])), DuetError);
    assert.throws(() => parseObject(`${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`), NotJson);
  }
});

test('ints that no number holds stay ints, and others are refused', () => {
  for (const value of [2n ** 53n, 2n ** 63n - 1n, -(2n ** 63n)]) {
    assert.equal(decodeValue(write(value)), value);
  }
  for (const bytes of [[0xcf, ...new Uint8Array(8).fill(0xff)], [0xdd, 0xff, 0xff, 0xff, 0xff], [0xdf, 0xff, 0xff, 0xff, 0xff]]) {
    readOrRefused(() => decodeValue(new Uint8Array(bytes)));
    readOrRefused(() => decodeFrame(new Uint8Array(bytes)));
  }
});

test('bytes of any kind are read or refused with one kind of error', () => {
  let state = 12345;
  const next = () => (state = (state * 1103515245 + 12345) & 0x7fffffff) >> 16;
  for (let round = 0; round < 20_000; round += 1) {
    const bytes = Uint8Array.from({ length: 1 + (next() % 24) }, () => next() & 0xff);
    readOrRefused(() => decodeValue(bytes));
    readOrRefused(() => decodeMessage(bytes));
    readOrRefused(() => decodeFrame(bytes));
  }
});

// the same texts as in Python: what people look at has nothing in it that cannot be seen

/** @type {Record<string, string>} */
const TEXTS = JSON.parse(readFileSync(new URL('../../tests/data/hostile_strings.json', import.meta.url), 'utf8'));
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/u;

for (const [name, text] of Object.entries(TEXTS)) {
  test(`a text with ${name} is short, and all of it can be seen`, () => {
    const source = /** @type {any} */ ({ name: text });
    const request = /** @type {any} */ ({ kind: 'verbatim', elements: 1, records: 1, sources: [source], failed: '', refusal: '' });
    const fact = factsText(JSON.stringify({ name: text, [text]: text }));
    for (const made of [shown(text, 100), cleaned(text, 100), listed([text]), headline(request, 10), shown(fact, 100)]) {
      assert.doesNotMatch(made, UNSEEN);
      assert.ok(made.length < 1_000, `${made.length} characters`);
    }
  });
}
