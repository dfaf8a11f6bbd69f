// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Evaluation, MAX_STATEMENTS } from '../src/evaluation.js';
import { ExpressionError, parseScript } from '../src/expression.js';
import { FakePointer, FakeSession, worldOf } from './fake_session.js';

const pause = () => Promise.resolve();

/** @param {string} source @param {FakeSession} [session] @param {Map<string, any>} [names] */
async function ran(source, session = new FakeSession(), names = new Map()) {
  const evaluation = new Evaluation(worldOf(session), names);
  const outcomes = await evaluation.run(parseScript(source), source, pause);
  return { session, names, outcomes, evaluation, calls: session.calls, value: outcomes.at(-1)?.value };
}

/** @type {Record<string, string[]>} */
const CALLS = {
  'ages.float().mean()': ['ages.float()', 'ages.float().mean()'],
  'torch.histc(ages.float(), 10)': ['ages.float()', 'torch.histc(ages.float(), 10)'],
  '(x - y) ** 2': ['x.__sub__(y)', 'x.__sub__(y).__pow__(2)'],
  '2 - x': ['x.__rsub__(2)'],
  '3 < x': ['x.__gt__(3)'],
  'x >= 3': ['x.__ge__(3)'],
  '1 == x': ['x.__eq__(1)'],
  '-x': ['x.__neg__()'],
  '~x': ['x.__invert__()'],
  'x @ y': ['x.__matmul__(y)'],
  'x[0:3]': ['x.__getitem__(slice(0, 3, None))'],
  'x[:, -1]': ['x.__getitem__((slice(None, None, None), -1))'],
  'x[x > 2]': ['x.__gt__(2)', 'x.__getitem__(x.__gt__(2))'],
  'x.mean(dim=0, keepdim=True)': ['x.mean(dim=0, keepdim=true)'],
  'x.T': ['x.T'],
  'x.grad.data': ['x.grad', 'x.grad.data'],
  'torch.nn.functional.relu(x)': ['torch.nn.functional.relu(x)'],
  'duet.torch.histc(x)': ['torch.histc(x)'],
  'duet.store[1].mean()': ['x.mean()'],
  'duet.store["ages"].mean()': ['ages.mean()'],
  'duet.store[-1].mean()': ['y.mean()'],
  'torch.zeros(2, 1, dtype=torch.float)': ['torch.zeros(2, 1, dtype=torch.float32)'],
  'x + 1.0': ['x.__add__(1.0)'],
  'x + 2 / 2': ['x.__add__(1.0)'],
  'x + 4 // 3': ['x.__add__(1)'],
  'x + torch.pi': [`x.__add__(${Math.PI})`],
  'x.mean((0, 1))': ['x.mean((0, 1))'],
  'x.mean([0, None, "a", True])': ['x.mean([0, None, "a", true])'],
  'w = x\nw.data = y': ['x.data = y'],
  'w = x\nw.grad = None': ['x.grad = None'],
  'w = x\nw[0] = 5': ['x.__setitem__(0, 5)'],
  'w = x\nw -= 0.5 * y': ['y.__rmul__(0.5)', 'x.__isub__(y.__rmul__(0.5))'],
  'n = 1\nn += 2\nx + n': ['x.__add__(3)'],
  'for i in range(2, 8, 3):\n    x + i': ['x.__add__(2)', 'x.__add__(5)'],
  'for i in range(3, 0, -2):\n    x + i': ['x.__add__(3)', 'x.__add__(1)'],
  'for i in range(0):\n    x + i': [],
  'l = []\nfor i in range(2):\n    l.append(x + i)\ntorch.stack(l)': ['x.__add__(0)', 'x.__add__(1)', 'torch.stack([x.__add__(0), x.__add__(1)])'],
  'l = [x, y]\nl[-1].mean()': ['y.mean()'],
  'o = torch.optim.SGD([x], lr=0.1)\no.step()': ['torch.optim.SGD([x], lr=0.1)', 'torch.optim.SGD([x], lr=0.1).step()'],
};

for (const [source, calls] of Object.entries(CALLS)) {
  test(`runs ${JSON.stringify(source)}`, async () => assert.deepEqual((await ran(source)).calls, calls));
}

/** @type {[string, any][]} */
const LOCAL = [
  ['1 + 2 * 3', 7], ['7 // 2', 3], ['-7 // 2', -4], ['-7 % 3', 2], ['2 ** 10', 1024], ['0 - 0', 0],
  ['1 < 2', true], ['1 == 1.0', true], ['2 ** 80', 2n ** 80n], ['~5', -6], ['5 & 3', 1], ['1 << 4', 16],
  ['True + True', 2], ['"a"', 'a'], ['-0', 0],
];
for (const [source, value] of LOCAL) {
  test(`works out ${source} on this side, as Python does`, async () => assert.deepEqual((await ran(source)).value, value));
}

test('floats stay floats, also where they look whole', async () => {
  for (const [source, value] of /** @type {[string, number][]} */ ([['4 / 2', 2], ['1.0 + 1', 2], ['2 ** -1', 0.5], ['-3.0', -3], ['7.5 // 2', 3], ['-7.5 % 2', 0.5]])) {
    assert.equal((await ran(source)).value.value, value, source);
  }
});

/** @type {[string, number, RegExp][]} */
const MISTAKES = [
  ['agse.mean()', 0, /no “agse” here.*Did you mean ages\?/],
  ['ages.maen()', 5, /no “maen”.*Did you mean mean\?/],
  ['torch.histcc(ages)', 6, /no “histcc”.*Did you mean histc\?/],
  ['torch.load("x")', 6, /no “load”/],
  ['torch.optim.SDG([x])', 12, /Did you mean SGD\?/],
  ['shared.mean()', 0, /tag of several objects/],
  ['duet.store["shared"]', 11, /Several objects/],
  ['duet.store[9]', 11, /no such object/],
  ['duet.requests', 5, /duet has no/],
  ['float(ages)', 0, /owner’s side/],
  ['print(ages)', 0, /owner’s side/],
  ['ages.tolist()', 5, /owner’s side/],
  ['ages.numpy()', 5, /owner’s side/],
  ['x.mean(torch)', 7, /cannot be an argument/],
  ['x.mean(torch.zeros)', 7, /do not travel/],
  ['torch(x)', 0, /cannot be called/],
  ['1(x)', 0, /cannot be called/],
  ['x + torch', 0, /no value/],
  ['1 / 0', 0, /zero/],
  ['1 % 0', 0, /zero/],
  ['2 ** 99999', 0, /too large/],
  ['1 << 99999', 0, /too large/],
  ['"a" + 1', 0, /numbers or remote objects/],
  ['1.5 & 1', 0, /whole numbers/],
  ['(1).x', 0, /no “x”/],
  ['n = 1\nn.data = x', 6, /remote objects/],
  ['for i in range(x):\n    y', 15, /whole numbers.*Request/],
  ['for i in range(99999):\n    y', 0, /at most/],
  ['for i in range(0, 1, 0):\n    y', 0, /step/],
  ['l = []\nl.pop()', 9, /append/],
  ['l = [x]\nl[4]', 10, /1 elements/],
  ['x.refused()', 2, /no “refused”/],
];
for (const [source, at, words] of MISTAKES) {
  test(`refuses ${JSON.stringify(source)} at its place`, async () => {
    await assert.rejects(ran(source), (error) => {
      assert.ok(error instanceof ExpressionError, String(error));
      assert.match(`${error.message} ${error.hint}`, words);
      if (!['(1).x'].includes(source)) assert.equal(error.at, at);
      return true;
    });
  });
}

test('what the client refuses gets the place of the call', async () => {
  const session = new FakeSession();
  const names = new Map([['opt', new FakePointer(session, 'opt', 'torch.optim.SGD')]]);
  await assert.rejects(ran('opt.refused()', session, names), (error) => error instanceof ExpressionError && error.at === 4 && /not offered/.test(error.message));
});

test('names are results first, then shared objects; the owner cannot take the language’s words', async () => {
  const session = new FakeSession();
  session.store.push({ id: 'd', tags: ['torch'], description: '', type: 'torch.Tensor', shape: [1], dtype: 'int64' });
  const { calls } = await ran('ages = x\nages.mean()\ntorch.zeros(1)', session);
  assert.deepEqual(calls, ['x.mean()', 'torch.zeros(1)']);
});

test('_ is the last value that was not named', async () => {
  const names = new Map();
  const session = new FakeSession();
  await ran('ages.mean()', session, names);
  assert.deepEqual((await ran('_ + 1', session, names)).calls.at(-1), 'ages.mean().__add__(1)');
});

test('a script gives one outcome for each name, the latest, and its last value', async () => {
  const { outcomes } = await ran('a = x\nb = y\na = x + 1\nfor i in range(2):\n    b = b + 1\nb.mean()');
  assert.deepEqual(outcomes.map(({ name, text }) => [name, text]), [['a', 'x + 1'], ['b', 'b + 1'], [null, 'b.mean()']]);
});

test('what a failed script named stays', async () => {
  const names = new Map();
  await assert.rejects(ran('a = x\nnowhere', new FakeSession(), names));
  assert.ok(names.has('a'));
});

test('a run pauses, can be stopped, and ends by itself', async () => {
  const session = new FakeSession();
  const evaluation = new Evaluation(worldOf(session), new Map());
  const source = 'for i in range(1000):\n    x + i';
  let pauses = 0;
  await assert.rejects(evaluation.run(parseScript(source), source, async () => {
    pauses += 1;
    if (pauses === 3) evaluation.stop();
  }), /Stopped here/);
  assert.equal(pauses, 3);
  assert.ok(session.calls.length < 200);
  const endless = `for i in range(${MAX_STATEMENTS}):\n    for j in range(2):\n        1`;
  await assert.rejects(ran(endless), /A run ends after/);
});
