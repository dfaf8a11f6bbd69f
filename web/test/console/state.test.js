// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { FIRST, GUARD, isArmed, reduce } from '../../src/console/state.js';

/** @param {string} id @param {Partial<import('../../src/console/messages.js').RequestView>} more */
function request(id, more = {}) {
  return /** @type {import('../../src/console/messages.js').RequestView} */ ({
    id, digest: id, arrived: Number(id), ends: null, name: 'loss', reason: '', requester: '', object: '', tags: [],
    type: 'python.Float', dtype: null, shape: null, kind: 'aggregate', elements: 1, bytes: 8, sources: [],
    records: 64, injected: false, dropout: false, summary: '', training: [], charge: 1, recipe: '', failed: '', why: 'no handler', looks: [], fixed: '', always: '', refusal: '', ...more,
  });
}

/** @param {Record<string, any>} set @param {string[]} gone @param {number} at */
function requests(set, gone, at) {
  return /** @type {const} */ ({ type: 'change', sections: { requests: { set, gone } }, at });
}

/** @param {number} at @param {...string} ids */
function with_(at, ...ids) {
  const open = reduce(FIRST, { type: 'welcome' });
  return reduce(open, requests(Object.fromEntries(ids.map((id) => [id, request(id)])), [], at));
}

test('requests are listed by arrival and the first one is selected', () => {
  const state = with_(0, '3', '1', '2');
  assert.deepEqual(state.requests.map((r) => r.id), ['1', '2', '3']);
  assert.equal(state.selected, '1');
});

test('a new request cannot be decided for half a second, and then it can', () => {
  const state = with_(1000, '1');
  assert.equal(isArmed(state, '1', 1000 + GUARD - 1), false);
  assert.equal(isArmed(state, '1', 1000 + GUARD), true);
  assert.equal(isArmed(state, '2', 9999), false, 'what is not there is never decided');
});

test('what a removal moves up is guarded again, what stands above is not', () => {
  const state = reduce(with_(0, '1', '2', '3'), requests({}, ['2'], 5000));
  assert.equal(isArmed(state, '1', 5000), true);
  assert.equal(isArmed(state, '3', 5000), false);
  assert.equal(isArmed(state, '3', 5000 + GUARD), true);
});

test('other facts in the same place are guarded again, and so is all below', () => {
  const state = reduce(with_(0, '1', '2'), requests({ 1: request('1', { digest: 'other' }) }, [], 5000));
  assert.equal(isArmed(state, '1', 5001), false);
  assert.equal(isArmed(state, '2', 5001), false);
});

test('counts that grow while a model trains do not keep the buttons locked', () => {
  const source = { id: -1, name: 'd', tags: [], description: '', type: '', shape: null, rows: '', values: 7, numbers: 7, newest: [] };
  const state = reduce(with_(0, '1'), requests({ 1: request('1', { sources: [source] }) }, [], 5000));
  assert.equal(state.requests[0]?.sources[0]?.values, 7);
  assert.equal(isArmed(state, '1', 5000), true);
});

test('a banner that appears moves everything', () => {
  const session = { open: false, suspended: false, state: 'open' };
  const shown = reduce(with_(0, '1'), { type: 'change', sections: { session: { set: { session }, gone: [] } }, at: 1000 });
  const open = reduce(shown, { type: 'change', sections: { session: { set: { session: { ...session, open: true } }, gone: [] } }, at: 5000 });
  assert.equal(isArmed(open, '1', 5000 + GUARD - 1), false);
});

test('a click on a row guards what opens under the pointer, a key does not', () => {
  const state = with_(0, '1', '2');
  assert.equal(isArmed(reduce(state, { type: 'select', id: '2', at: 5000 }), '2', 5100), false);
  const stepped = reduce(state, { type: 'step', by: 1 });
  assert.equal(stepped.selected, '2');
  assert.equal(isArmed(stepped, '2', 5100), true);
});

test('the selection stays with its request, and goes to its neighbour when it is gone', () => {
  const state = reduce(with_(0, '2', '3'), { type: 'step', by: 1 });
  assert.equal(reduce(state, requests({ 1: request('1') }, [], 1)).selected, '3');
  assert.equal(reduce(state, requests({}, ['2'], 1)).selected, '3');
  assert.equal(reduce(state, requests({}, ['3'], 1)).selected, '2');
  assert.equal(reduce(state, requests({}, ['2', '3'], 1)).selected, null);
});

test('steps end at the ends', () => {
  const state = with_(0, '1', '2');
  assert.equal(reduce(state, { type: 'step', by: -1 }).selected, '1');
  assert.equal(reduce(reduce(state, { type: 'step', by: 1 }), { type: 'step', by: 1 }).selected, '2');
  assert.equal(reduce(FIRST, { type: 'step', by: 1 }).selected, null);
});

test('one question at a time about a request', () => {
  const asked = reduce(with_(0, '1'), { type: 'asked', id: '1', what: 'accept' });
  assert.equal(isArmed(asked, '1', 9999), false);
  assert.equal(isArmed(reduce(asked, { type: 'answered', id: '1' }), '1', 9999), true);
});

test('nothing can be decided while the process is away, and all is fresh when it is back', () => {
  const lost = reduce(with_(0, '1'), { type: 'lost' });
  assert.equal(isArmed(lost, '1', 9999), false);
  const back = reduce(lost, { type: 'welcome' });
  assert.deepEqual(back.requests, []);
});

test('the end is the end', () => {
  const over = reduce(with_(0, '1'), { type: 'end', text: 'closed' });
  assert.equal(over.endText, 'closed');
  assert.equal(isArmed(over, '1', 9999), false);
  assert.equal(reduce(over, { type: 'welcome' }).phase, 'over');
});
