// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { EMPTY, fromRequest, toRule } from '../../src/console/draft.js';
import { actionOf } from '../../src/console/keys.js';

/** @param {Record<string, any>} more */
function request(more) {
  return /** @type {import('../../src/console/messages.js').RequestView} */ ({
    id: '00000000000000ab', name: 'loss', kind: 'aggregate', elements: 1, records: 64, failed: '', refusal: '', injected: false, dropout: false,
    sources: [{ id: -1 }], ...more,
  });
}

test('an empty draft says nothing but its action', () => {
  assert.deepEqual(toRule(EMPTY), { rule: { action: 'accept' }, problems: [] });
});

test('a rule from a request takes what is like it and nothing wider', () => {
  assert.deepEqual(toRule(fromRequest(request({}), 10)).rule, {
    action: 'accept', name: 'loss', kinds: ['aggregate'], max_elements: 1, sources: [-1],
  });
  assert.equal(fromRequest(request({ records: 6 }), 10).records, '6');
  assert.equal(fromRequest(request({ injected: true }), 10).injected, 'yes');
});

test('a rule from what names single records denies', () => {
  for (const more of [{ kind: 'verbatim' }, { kind: 'per_record' }, { failed: 'x' }, { refusal: 'x' }]) {
    assert.deepEqual(toRule(fromRequest(request(more), 10)).rule, { action: 'deny', name: 'loss' });
  }
});

test('no limit is not the same as nothing said', () => {
  assert.equal(toRule({ ...EMPTY, anyNumbers: true, numbers: '3' }).rule?.max_elements, null);
  assert.equal('max_elements' in /** @type {object} */ (toRule(EMPTY).rule), false);
  assert.deepEqual(toRule({ ...EMPTY, withTags: true, tags: '' }).rule?.tags, []);
  assert.deepEqual(toRule({ ...EMPTY, withTags: true, tags: ' a, b,a ' }).rule?.tags, ['a', 'b']);
});

test('every field arrives', () => {
  const draft = { ...EMPTY, request: '00000000000000ab', alike: true, injected: /** @type {const} */ ('no'), dropout: false, uses: '3', quota: '0', minutes: '2', records: '20', seen: true, print: true, log: true };
  assert.deepEqual(toRule(draft).rule, {
    action: 'accept', min_records: 20, like: '00000000000000ab', allow_injected: false, allow_dropout: false, max_uses: 3, element_quota: 0, seconds: 120, seen_only: true, print_local: true, log_local: true,
  });
});

test('what is no whole number makes no rule', () => {
  for (const bad of ['-1', '1.5', 'x', '1e3', '9'.repeat(16)]) {
    const { rule, problems } = toRule({ ...EMPTY, numbers: bad });
    assert.equal(rule, null, bad);
    assert.equal(problems.length, 1);
  }
  assert.equal(toRule({ ...EMPTY, minutes: '0' }).rule, null);
});

test('keys act only outside of fields, without modifiers, and once', () => {
  const key = (/** @type {string} */ name, more = {}) => ({ key: name, ctrlKey: false, altKey: false, metaKey: false, repeat: false, ...more });
  assert.equal(actionOf(key('a'), false), 'accept');
  assert.equal(actionOf(key('D'), false), 'deny');
  assert.equal(actionOf(key('?'), false), 'help');
  assert.equal(actionOf(key('a'), true), '');
  assert.equal(actionOf(key('a', { ctrlKey: true }), false), '');
  assert.equal(actionOf(key('a', { repeat: true }), false), '', 'a held key accepts nothing more');
  assert.equal(actionOf(key('j', { repeat: true }), false), 'next');
  assert.equal(actionOf(key('x'), false), '');
});
