// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  LOG_LINES, badge, canConnect, canStop, cleaned, initial, logText, reduce, requestOf, shapeText,
} from '../src/state.js';

/** @typedef {import('../src/state.js').State} State */

const ID = 'SGX2NCYHG6RXHHGMFG3GD2RPQ8KDAEZ0';

/** @param {...({type: string} & Record<string, any>)} actions */
function after(...actions) {
  return actions.reduce((state, action) => reduce(Object.freeze(state), action), initial());
}
const code = (/** @type {any} */ found, more = {}) => ({ type: 'code', text: 'x', found, sentence: 'What is wrong.', isFinal: false, ...more });
const ready = [{ type: 'identity', clientId: 'C1' }, code({ id: ID }), { type: 'server', text: 'http://127.0.0.1:8765' }];
const chip = { key: '1-0', name: 'm', text: 'ages.mean()', type: 'python.Any', shape: null, dtype: null, local: null, failure: '', view: '' };
const ran = [{ type: 'run', id: 1, source: 'm = ages.mean()' }, { type: 'ran', id: 1, chips: [chip], statements: 1 }];
const request = { id: 'r1', chip: '1-0', text: 'ages.mean()', name: 'mean', reason: 'to know', state: 'waiting', ownerReason: '', askedAt: 5, answeredAt: null, value: undefined };

test('a complete ID has neither problem nor hint', () => {
  assert.deepEqual(after(code({ id: ID })).code, { text: 'x', id: ID, problem: '', hint: '', isFromLink: false });
});

test('who is still typing sees a count, not a mistake', () => {
  const { problem, hint } = after(code({ code: 'length', length: 12 })).code;
  assert.deepEqual([problem, hint], ['', '12 of 32 characters']);
});

test('who has finished sees the mistake', () => {
  assert.equal(after(code({ code: 'length', length: 12 }, { isFinal: true })).code.problem, 'What is wrong.');
  assert.equal(after(code({ code: 'length', length: 33 })).code.problem, 'What is wrong.');
});

test('a wrong character, a wrong check and a wrong kind show at once', () => {
  for (const kind of ['charset', 'checksum', 'role']) assert.equal(after(code({ code: kind })).code.problem, 'What is wrong.');
});

test('an empty field is no mistake', () => {
  assert.equal(after(code({ code: 'length', length: 0 }, { text: ' ', isFinal: true })).code.problem, '');
});

test('connecting needs an ID, a server and a key, and only one attempt at a time', () => {
  assert.ok(canConnect(after(...ready)));
  assert.ok(!canConnect(after(...ready.slice(1))));
  assert.ok(!canConnect(after(...ready, code({ code: 'checksum' }))));
  assert.ok(!canConnect(after(...ready, { type: 'server', text: 'x', problem: 'no' })));
  assert.ok(!canConnect(after(...ready, { type: 'connect' })));
  assert.ok(canConnect(after(...ready, { type: 'connect' }, { type: 'refused', message: 'no' })));
  assert.ok(!canConnect(after(...ready, { type: 'connect' }, { type: 'open' })));
});

test('a stage ends the stages before it', () => {
  const { stages } = after({ type: 'connect' }, { type: 'stage', stage: 'code', state: 'doing' }, { type: 'stage', stage: 'path', state: 'doing', ms: 3 });
  assert.deepEqual(stages.map(({ state }) => state), ['done', 'done', 'doing', 'waiting', 'waiting']);
});

test('a failed stage keeps its message and its remedy', () => {
  const state = after({ type: 'connect' }, { type: 'stage', stage: 'path', state: 'failed', ms: 20_000, message: 'No direct path.', remedy: 'Ask for TURN.' }, { type: 'refused', message: 'No direct path.', remedy: 'Ask for TURN.' });
  assert.equal(state.stages[2]?.remedy, 'Ask for TURN.');
  assert.equal(state.failure, 'No direct path. Ask for TURN.');
  assert.equal(state.link.state, 'closed');
});

test('a refusal without a failed stage marks the one that was doing', () => {
  const state = after({ type: 'connect' }, { type: 'stage', stage: 'code', state: 'done', ms: 1 }, { type: 'stage', stage: 'signalling', state: 'doing' }, { type: 'refused', message: 'The server cannot be reached.' });
  assert.deepEqual(state.stages.map(({ state: s }) => s), ['done', 'failed', 'waiting', 'waiting', 'waiting']);
});

test('an unknown stage changes nothing, an unknown action is an error', () => {
  const state = after({ type: 'connect' });
  assert.equal(reduce(state, { type: 'stage', stage: 'magic', state: 'done' }), state);
  assert.throws(() => reduce(state, { type: 'toString' }), /no such action/);
});

test('trying again starts the stages anew', () => {
  const state = after(...ready, { type: 'connect' }, { type: 'stage', stage: 'path', state: 'failed' }, { type: 'refused', message: 'no' }, { type: 'connect' });
  assert.deepEqual(new Set(state.stages.map(({ state: s }) => s)), new Set(['waiting']));
  assert.equal(state.failure, '');
});

/** @type {[Partial<State['link']>, string, string][]} */
const BADGES = [
  [{ state: 'idle' }, 'ring', 'Not connected'],
  [{ state: 'connecting' }, 'dots', 'Connecting'],
  [{ state: 'open', path: 'direct', rttMs: 12.4 }, 'disc', 'Verified · direct · 12 ms'],
  [{ state: 'open', path: 'relayed', rttMs: 80 }, 'square', 'Verified · relayed · 80 ms'],
  [{ state: 'open', path: null, rttMs: null }, 'disc', 'Verified'],
  [{ state: 'open', path: 'direct', rttMs: 0.2 }, 'disc', 'Verified · direct · 1 ms'],
  [{ state: 'reconnecting' }, 'triangle', 'Reconnecting'],
  [{ state: 'closed' }, 'cross', 'Closed'],
];
for (const [link, shape, words] of BADGES) {
  test(`the badge says ${words} with its own shape`, () => {
    assert.deepEqual(badge({ ...initial(), isWorkbench: true, link: { ...initial().link, ...link } }), { shape, words });
  });
}

test('an attempt that failed is not called a session that closed', () => {
  assert.equal(badge(after({ type: 'connect' }, { type: 'refused', message: 'no' })).words, 'Could not connect');
});

test('stop is there while something runs', () => {
  assert.ok(!canStop(initial()));
  for (const state of ['connecting', 'open', 'reconnecting']) assert.ok(canStop(after({ type: 'link', state })), state);
  assert.ok(!canStop(after({ type: 'link', state: 'closed' })));
});

test('words of the owner are cut and hold no control or direction characters', () => {
  assert.equal(cleaned('a\u202eb\u0000c\nd\u2066'), 'a b c d');
  assert.equal(cleaned('x'.repeat(50), 10), `${'x'.repeat(9)}…`);
  assert.equal(cleaned(null), '');
  assert.equal(cleaned('🙂'.repeat(20), 10), `${'🙂'.repeat(9)}…`);
  assert.ok(cleaned('y'.repeat(1e6)).length <= 600);
});

test('the store is cleaned and keeps its order and its names', () => {
  const entries = [{ id: 1, tags: ['ages\u202e', ...Array.from({ length: 30 }, (_, i) => `t${i}`)], description: 'z'.repeat(5000), type: 'torch.Tensor', shape: [6], dtype: 'int64' }];
  const [entry] = after({ type: 'store', entries, names: ['ages'] }).store;
  assert.deepEqual([entry?.tags[0], entry?.tags.length, entry?.description.length, entry?.name, entry?.shape], ['ages', 12, 600, 'ages', [6]]);
});

test('a run is an entry, its results are chips, its mistake stays with it', () => {
  const [entry] = after(...ran).entries;
  assert.deepEqual([entry?.state, entry?.chips.length, entry?.statements], ['done', 1, 1]);
  const mistake = { line: 'a', caret: '^', lineNumber: 1, message: 'no', hint: '' };
  const failed = after(ran[0] ?? { type: '' }, { type: 'ran', id: 1, chips: [], mistake }).entries[0];
  assert.deepEqual([failed?.state, failed?.mistake], ['failed', mistake]);
  assert.equal(after(ran[0] ?? { type: '' }, { type: 'ran', id: 1, chips: [], isStopped: true }).entries[0]?.state, 'stopped');
});

test('history has each text once, the latest last', () => {
  const runs = ['a', 'b', 'a'].map((source, id) => ({ type: 'run', id, source }));
  assert.deepEqual(after(...runs).history, ['b', 'a']);
});

test('facts that come later change only their chip, and nothing if they are known', () => {
  const state = after(...ran);
  const next = reduce(state, { type: 'facts', chip: '1-0', facts: { type: 'torch.Tensor', shape: [], dtype: 'float32' } });
  assert.deepEqual(next.entries[0]?.chips[0]?.shape, []);
  const again = reduce(next, { type: 'facts', chip: '1-0', facts: { type: 'torch.Tensor', shape: [], dtype: 'float32' } });
  assert.equal(again.entries[0]?.chips[0], next.entries[0]?.chips[0]);
});

test('a request goes its way and keeps what it was', () => {
  const asked = after(...ran, { type: 'ask', chip: '1-0' }, { type: 'request', request });
  assert.equal(asked.asking, null);
  const released = reduce(asked, { type: 'request', request: { ...request, state: 'released', value: 46.8, answeredAt: 9 } });
  assert.equal(released.requests.length, 1);
  assert.deepEqual([requestOf(released, '1-0')?.state, requestOf(released, '1-0')?.value, requestOf(released, '1-0')?.reason], ['released', 46.8, 'to know']);
});

test('denied, expired, failed and withdrawn requests stay listed, with the owner’s words', () => {
  for (const state of ['denied', 'expired', 'failed', 'withdrawn']) {
    const { requests } = after(...ran, { type: 'request', request }, { type: 'request', request: { ...request, state, ownerReason: 'too\u202e small' } });
    assert.deepEqual([requests[0]?.state, requests[0]?.ownerReason], [state, 'too small']);
  }
});

test('a chip shows its newest request', () => {
  const state = after(...ran, { type: 'request', request: { ...request, state: 'denied' } }, { type: 'request', request: { ...request, id: 'r2' } });
  assert.equal(requestOf(state, '1-0')?.id, 'r2');
  assert.equal(requestOf(state, '9-9'), null);
});

test('an answer does not close a form that is open for another chip', () => {
  const state = after(...ran, { type: 'request', request }, { type: 'ask', chip: '2-0' }, { type: 'request', request: { ...request, state: 'denied' } });
  assert.equal(state.asking, '2-0');
});

test('a dropped chip is gone, and an entry without chips with it', () => {
  assert.deepEqual(after(...ran, { type: 'drop', chip: '1-0' }).entries, []);
  assert.equal(after(...ran, { type: 'drop', chip: '7-7' }).entries.length, 1);
});

test('the log is bounded and can be written as text', () => {
  const many = Array.from({ length: LOG_LINES + 50 }, (_, at) => ({ type: 'log', at, kind: 'run', text: `line ${at}` }));
  const { log } = after(...many);
  assert.equal(log.length, LOG_LINES);
  assert.equal(log.at(-1)?.text, `line ${LOG_LINES + 49}`);
  assert.equal(logText([{ at: 0, kind: 'run', text: 'a' }]), '1970-01-01T00:00:00.000Z  run         a\n');
});

test('leaving forgets the work and keeps the IDs and the log', () => {
  const state = after(...ready, ...ran, { type: 'log', at: 1, kind: 'run', text: 'a' }, { type: 'open' }, { type: 'leave' });
  assert.deepEqual([state.isWorkbench, state.entries, state.requests, state.clientId, state.code.id, state.log.length], [false, [], [], 'C1', ID, 1]);
});

test('shapes in words', () => {
  assert.equal(shapeText({ shape: [4, 3], dtype: 'torch.float32', type: 'torch.Tensor' }), '4 × 3, float32');
  assert.equal(shapeText({ shape: [6], dtype: 'int64', type: 'torch.Tensor' }), '6 values, int64');
  assert.equal(shapeText({ shape: [], dtype: 'float32', type: 'torch.Tensor' }), 'one number, float32');
  assert.equal(shapeText({ shape: null, dtype: null, type: 'torch.optim.SGD' }), 'SGD');
});

test('a script that ran while the page was reloaded is stopped, and the log goes on', () => {
  const before = [{ type: 'run', id: 1, source: 'x' }, { type: 'log', at: 1, kind: 'run', text: 'old' }].reduce(reduce, initial());
  const after = [{ type: 'log', at: 2, kind: 'page', text: 'new' }, { type: 'again', entries: before.entries, log: before.log }].reduce(reduce, initial());
  assert.deepEqual(after.entries.map(({ state, note }) => [state, note]), [['stopped', 'The page was reloaded while this ran.']]);
  assert.deepEqual(after.log.map(({ text }) => text), ['old', 'new']);
});
