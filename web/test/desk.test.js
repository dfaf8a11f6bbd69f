// @ts-check
import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';

import { Desk } from '../src/desk.js';
import { initial, reduce } from '../src/state.js';
import { FakePointer, FakeSession, vocabulary, worldOf } from './fake_session.js';

beforeEach(() => mock.timers.enable({ apis: ['setTimeout'] }));
afterEach(() => mock.timers.reset());

function opened() {
  const session = new FakeSession();
  const page = { state: initial() };
  const desk = new Desk(session, {
    vocabulary, kinds: worldOf(session).kinds, isPointer: (value) => value instanceof FakePointer,
    assign: worldOf(session).assign,
    dispatch: (action) => { page.state = reduce(page.state, { at: 0, ...action }); },
  });
  return { session, desk, page, run: (/** @type {string} */ source) => desk.run(source, () => Promise.resolve()) };
}

test('a named result can be used in the next run, and its chip shows its text', async () => {
  const { run, page, session } = opened();
  await run('m = ages.float().mean()');
  await run('m + 1');
  assert.equal(session.calls.at(-1), 'ages.float().mean().__add__(1)');
  assert.deepEqual(page.state.entries.map(({ chips }) => chips.map(({ name, text }) => [name, text])), [[['m', 'ages.float().mean()']], [[null, 'm + 1']]]);
});

test('a call that gives nothing has no chip', async () => {
  const { run, page } = opened();
  await run('x.backward()');
  assert.deepEqual(page.state.entries[0]?.chips, []);
});

test('values of this side say so and cannot be requested', async () => {
  const { run, page } = opened();
  await run('n = 2 * 3');
  assert.equal(page.state.entries[0]?.chips[0]?.local, '6 on this side');
});

test('a mistake is pointed at and does not end the desk', async () => {
  const { run, page } = opened();
  await run('m = agse.mean()');
  assert.equal(page.state.entries[0]?.mistake?.hint, 'Did you mean ages?');
  await run('ages.mean()');
  assert.equal(page.state.entries[1]?.state, 'done');
});

test('facts that the owner’s side tells later reach the chip', async () => {
  const { run, page, desk } = opened();
  await run('m = ages.mean()');
  Object.assign(desk.names.get('m'), { shape: [], dtype: 'float32' });
  mock.timers.tick(200);
  assert.deepEqual(page.state.entries[0]?.chips[0]?.shape, []);
});

test('a request is listed, changes, and can be withdrawn', async () => {
  const { run, page, desk, session } = opened();
  await run('ages.mean()');
  desk.ask('1-0', { name: 'mean', reason: 'to know', timeoutSeconds: null });
  assert.deepEqual(page.state.requests.map(({ state, text, name }) => [state, text, name]), [['waiting', 'ages.mean()', 'mean']]);
  Object.assign(session.asked[0], { state: 'denied', ownerReason: 'no' });
  desk.changed(session.asked[0]);
  assert.equal(page.state.requests[0]?.ownerReason, 'no');
  desk.ask('1-0', { name: 'again', reason: '', timeoutSeconds: 60 });
  desk.withdraw('r1');
  assert.equal(session.asked[1].state, 'withdrawn');
});

test('requests of somebody else’s pointers are not listed', () => {
  const { desk, page } = opened();
  desk.changed({ id: 'foreign', state: 'released' });
  assert.deepEqual(page.state.requests, []);
});

test('a failure shows at its chip', async () => {
  const { run, page, desk } = opened();
  await run('m = ages.mean()');
  desk.failed({ pointer: desk.names.get('m'), op: 'torch.Tensor.mean', text: 'wrong dtype' });
  assert.equal(page.state.entries[0]?.chips[0]?.failure, 'wrong dtype');
  desk.failed({ pointer: null, op: 'torch.Tensor.float', text: 'no memory' });
  assert.equal(page.state.entries[0]?.note, 'no memory');
});

test('dropping forgets the name, the object and its open request', async () => {
  const { run, page, desk, session } = opened();
  await run('m = ages.mean()');
  const pointer = desk.names.get('m');
  desk.ask('1-0', { name: '', reason: '', timeoutSeconds: null });
  desk.drop('1-0');
  assert.ok(pointer.isDropped);
  assert.ok(!desk.names.has('m'));
  assert.equal(session.asked[0].state, 'withdrawn');
  assert.deepEqual(page.state.entries, []);
});

test('dropping leaves alone what is still shown or in a list', async () => {
  const { run, desk } = opened();
  await run('m = ages.mean()\nkept = m');
  const pointer = desk.names.get('m');
  desk.drop('1-0');
  assert.ok(!pointer.isDropped);
  await run('n = ages.float()\nl = [n]');
  const listed = desk.names.get('n');
  desk.drop('2-0');
  assert.ok(!listed.isDropped);
});

test('only one script runs at a time, and a stopped one says so', async () => {
  const { desk, page } = opened();
  let pauses = 0;
  const running = desk.run('for i in range(500):\n    x + i', async () => {
    pauses += 1;
    await desk.run('y', () => Promise.resolve());
    if (pauses === 2) desk.stop();
  });
  await running;
  assert.equal(page.state.entries.length, 1);
  assert.equal(page.state.entries[0]?.state, 'stopped');
});

test('a reload takes up names, chips and requests, and forgets what is not there any more', async () => {
  const before = opened();
  await before.run('m = ages.float().mean()');
  await before.run('lost = ages.float()');
  await before.run('n = [m, 2.0, 7]');
  await before.run('s = ages');
  before.desk.ask('1-0', { name: 'mean', reason: 'why', timeoutSeconds: null });
  const notes = JSON.parse(JSON.stringify(before.desk.notes()));
  const pointerOf = (/** @type {string} */ name) => before.desk.names.get(name);

  const after = opened();
  const kept = Object.assign(after.session.made('kept'), { id: pointerOf('m').id });
  const gone = Object.assign(after.session.made('gone'), { id: pointerOf('lost').id, isGone: true, failed: 'It was not kept.' });
  Object.assign(after.session, {
    restored: new Map([[kept.id, kept], [gone.id, gone]]),
    requests: [{ ...before.session.asked[0], id: 'r0', state: 'released', missing: 'Fetching', value: undefined, name: 'mean' }],
  });
  after.page.state = reduce(after.page.state, { type: 'again', entries: before.page.state.entries, log: [] });
  after.desk.takeUp(notes);
  assert.equal(after.desk.names.get('m'), kept);
  assert.equal(after.desk.names.has('lost'), false);
  assert.deepEqual([after.desk.names.get('n')[0], after.desk.names.get('n')[1].value, after.desk.names.get('n')[2]], [kept, 2, 7]);
  const chips = after.page.state.entries.flatMap((entry) => entry.chips);
  assert.deepEqual(chips.map(({ name, failure }) => [name, failure]).slice(0, 2), [['m', ''], ['lost', 'It was not kept.']]);
  const [request] = after.page.state.requests;
  assert.deepEqual([request?.chip, request?.state, request?.missing, request?.text], ['1-0', 'released', 'Fetching', 'ages.float().mean()']);
  await after.run('m + 1');
  assert.equal(after.page.state.entries.at(-1)?.id, 5); // numbers go on, so that no chip is met twice
});
