// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { nearest, storeNames } from '../src/vocabulary.js';
import { vocabulary } from './fake_session.js';

/** @param {string} source @param {string[]} [names] */
const completed = (source, names = ['ages', 'age_mean']) => vocabulary.complete(source, source.length, names)?.items.map(({ text }) => text);

test('completes names, methods and functions', () => {
  assert.deepEqual(completed('ag'), ['ages', 'age_mean']);
  assert.deepEqual(completed('ages.me'), ['mean', 'median']);
  assert.deepEqual(completed('ages.float().me'), ['mean', 'median']);
  assert.deepEqual(completed('(a + b).me'), ['mean', 'median']);
  assert.deepEqual(completed('torch.his'), ['histc', 'histogram']);
  assert.deepEqual(completed('duet.torch.his'), ['histc', 'histogram']);
  assert.deepEqual(completed('x = torch.nn.func'), ['functional']);
  assert.deepEqual(completed('torch.optim.S'), ['SGD']);
  assert.deepEqual(completed('tor'), ['torch']);
});

test('completes nothing in strings, in comments, before a word and where a word is whole', () => {
  for (const source of ['"ag', "f('ages.me", '# ag', 'ages + ', '', 'ages.mean', '3.me']) {
    assert.equal(completed(source, ['ages'])?.length ? source : undefined, source === '3.me' ? source : undefined);
  }
});

test('says where the completion goes', () => {
  const source = 'torch.his + 1';
  assert.deepEqual(vocabulary.complete(source, 9, [])?.from, 6);
  assert.deepEqual(vocabulary.complete(source, 9, [])?.to, 9);
});

test('shows parameters', () => {
  assert.equal(vocabulary.complete('torch.histc', 9, [])?.items[0]?.detail, '(input, bins, min, max)');
});

test('private names and setters are never offered', () => {
  assert.ok(!vocabulary.names('torch.Tensor').some((name) => name.startsWith('_') || name.endsWith('=')));
});

test('the nearest word, or none', () => {
  assert.equal(nearest('maen', ['mean', 'median', 'max']), 'mean');
  assert.equal(nearest('histcc', ['histc', 'hist']), 'histc');
  assert.equal(nearest('ags', ['ages']), 'ages');
  assert.equal(nearest('banana', ['mean', 'max']), null);
  assert.equal(nearest('x', ['y', 'zz']), 'y');
});

test('a shared object is called by a tag of its own that is a name', () => {
  const named = (/** @type {string[][]} */ ...tags) => storeNames(tags.map((one) => ({ tags: one })));
  assert.deepEqual(named(['ages'], ['x', 'shared'], ['shared', 'y']), ['ages', 'x', 'y']);
  assert.deepEqual(named(['same'], ['same']), ['duet.store[0]', 'duet.store[1]']);
  assert.deepEqual(named(['my data'], ['2020'], []), ['duet.store[0]', 'duet.store[1]', 'duet.store[2]']);
  assert.deepEqual(named(['torch'], ['_private'], ['for'], ['duet'], ['None']), [0, 1, 2, 3, 4].map((i) => `duet.store[${i}]`));
  assert.deepEqual(named(['a', 'a']), ['a']);
});
