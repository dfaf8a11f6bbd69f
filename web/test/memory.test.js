// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Client } from '../src/client.js';
import { factsOf, Recollection } from '../src/memory.js';

const OWNER = 'SGX2NCYHG6RXHHGMFG3GD2RPQ8KDAEZ0';
const SHARED = { id: -1, tags: ['x'], description: '', type: 'torch.Tensor', shape: [3], dtype: 'float32', length: 3 };

/** A client whose commands are recorded, numbered from `first`. @param {number} [first] */
function opened(first = 1) {
  /** @type {any[]} */
  const posted = [];
  const client = new Client(OWNER, /** @type {any} */ ({
    post: (/** @type {any} */ message) => first + posted.push(message) - 1,
    tell: () => {},
    ready: () => {},
  }));
  client.entries.set(SHARED.id, SHARED);
  return { client, posted };
}

/** What is left of a page that holds three results and asked for two of them. */
function left() {
  const { client } = opened();
  const x = client.pointer(SHARED);
  const [a, b, c] = [1, 2, 3].map((n) => x.call('__add__', [n])); // commands 1, 2, 3
  if (!a || !b || !c) throw new Error('no pointers');
  const [first, second] = [a.request({ name: 'first' }), b.request({ name: 'second' })]; // 4, 5
  return { client, a, b, c, first, second };
}

/** @param {import('../src/client.js').Client} client @param {number} acked @param {boolean} [isLeaving] @returns {any} */
function written(client, acked, isLeaving = true) {
  return JSON.parse(JSON.stringify({ newestId: client.newestId, ...factsOf(client, isLeaving, acked) }));
}

/** @param {any[]} pointers */
const adopting = (...pointers) => pointers.map(({ id, type }) => ({ id, type, tags: [], shape: null, dtype: null, length: null, element: null, failed: null }));

test('pointers that the page wants go on; the owner forgets the others', () => {
  const { client, a, b, c } = left();
  const after = opened(6);
  const pointers = new Recollection(after.client, written(client, 5), adopting(a, c)).complete(5);
  assert.deepEqual([...pointers.keys()], [a.id, c.id]);
  assert.deepEqual(after.posted, [{ kind: 'Del', ids: [b.id] }]);
  const made = pointers.get(a.id)?.call('__add__', [1]);
  assert.equal(made?.id, c.id + 1); // an id is never given twice
});

test('what was not sent is not there, and nothing is said of it to the owner', () => {
  const { client, a, b, c, first, second } = left();
  const after = opened(5);
  const pointers = new Recollection(after.client, written(client, 2), adopting(a, b, c)).complete(2);
  assert.equal(pointers.get(b.id)?.isGone, false);
  assert.match(String(pointers.get(c.id)?.failed), /before this was sent/);
  assert.throws(() => pointers.get(c.id)?.call('__add__', [1]), /was deleted/);
  assert.deepEqual(after.posted, []);
  assert.deepEqual(after.client.requests.map(({ state }) => state), ['failed', 'failed']);
  assert.deepEqual([first, second].map(({ state }) => state), ['waiting', 'waiting']);
});

test('an answer that comes after the reload ends its request', () => {
  const { client, a, second } = left();
  const after = opened(6);
  new Recollection(after.client, written(client, 5), adopting(a)).complete(5);
  void after.client.receive({ kind: 'Denied', call: second.call, reason: 'no' });
  assert.deepEqual(after.client.requests.map(({ name, state, ownerReason }) => [name, state, ownerReason]), [['first', 'waiting', ''], ['second', 'denied', 'no']]);
});

test('a value is not kept: it is fetched again, or said to be gone', async () => {
  const { client, a, b, first, second } = left();
  for (const { call } of [first, second]) await client.receive({ kind: 'Value', call, value: 0.4142135, blob: null });
  assert.equal(first.value, 0.4142135);
  const facts = written(client, 5);
  assert.ok(!JSON.stringify(facts).includes('4142135'));
  const after = opened(6);
  new Recollection(after.client, facts, adopting(a)).complete(5);
  const [again, gone] = after.client.requests;
  assert.match(gone?.missing ?? '', /keeps no values over a reload/);
  const get = after.posted.find(({ kind }) => kind === 'Get');
  assert.equal(get.id, a.id);
  await after.client.receive({ kind: 'Value', call: get.call, value: 0.4142135, blob: null });
  await Promise.resolve();
  assert.deepEqual([again?.value, again?.missing], [0.4142135, '']);
  assert.equal(after.posted.filter(({ kind }) => kind === 'Get').length, 1);
  assert.ok(b.id > 0);
});

test('a value whose bytes were under way counts as released', () => {
  const { client, first } = left();
  client.arriving.add(first.call);
  assert.equal(written(client, 5).requests[0].state, 'released');
});

test('after an end without warning requests are there and results are not', () => {
  const { client, a } = left();
  const after = opened(6);
  const pointers = new Recollection(after.client, written(client, 5, false), adopting(a)).complete(5);
  assert.match(String(pointers.get(a.id)?.failed), /not kept/);
  assert.deepEqual(after.client.requests.map(({ state }) => state), ['waiting', 'waiting']);
  assert.deepEqual(after.posted, []);
});

test('a get that waits ends when the engine is restarted', async () => {
  const { client, a } = left();
  const got = a.get();
  void client.receive({ kind: 'EngineRestarted', epoch: 1, reason: 'killed' });
  await assert.rejects(got, /engine was restarted/);
});
