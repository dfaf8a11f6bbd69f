// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { packed, unpacked } from '../src/notes.js';
import { Float, FakePointer, FakeSession, Tuple } from './fake_session.js';

const session = new FakeSession();
const isPointer = (/** @type {any} */ value) => value instanceof FakePointer;
const kinds = { Float };

/** @param {any} value */
function overAReload(value) {
  const pointers = new Map();
  const kept = packed(value, isPointer, (pointer) => pointers.set(pointer.id, pointer));
  return kept === null ? null : unpacked(JSON.parse(JSON.stringify(kept)), (id) => pointers.get(id), kinds);
}

test('what was typed comes back as it was', () => {
  for (const value of [0, -7, 2.5, Infinity, -Infinity, 2n ** 70n, true, null, '', 'text', [], [1, ['a', null]], new Float(2)])
    assert.deepEqual(overAReload(value), value);
  assert.ok(Number.isNaN(overAReload(NaN)));
});

test('a list of pointers comes back with the same pointers', () => {
  const pointer = session.made('x');
  const [again, three] = overAReload([pointer, 3]);
  assert.equal(again, pointer);
  assert.equal(three, 3);
});

test('a kind that is not kept is left out whole, and so is a list with it', () => {
  assert.equal(overAReload(new Tuple([1])), null);
  assert.equal(overAReload([1, new Tuple([1])]), null);
});

test('a list is not there any more if one of its pointers is not', () => {
  const kept = packed([session.made('x'), 1], isPointer, () => {});
  assert.equal(unpacked(kept, () => undefined, kinds), undefined);
  assert.equal(unpacked(kept, () => ({ isGone: true }), kinds), undefined);
});
