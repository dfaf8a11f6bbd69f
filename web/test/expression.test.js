// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ExpressionError, isOpen, parseExpression, parseScript, pointed } from '../src/expression.js';

/** A tree as text with every bracket. @param {any} node @returns {string} */
function lisp(node) {
  switch (node.kind) {
    case 'number': return node.isFloat && Number.isInteger(node.value) ? `${node.value}.0` : String(node.value);
    case 'string': return JSON.stringify(node.value);
    case 'constant': return String(node.value);
    case 'name': return node.name;
    case 'list': return `[${node.items.map(lisp).join(' ')}]`;
    case 'tuple': return `(tuple${node.items.map((/** @type {any} */ n) => ` ${lisp(n)}`).join('')})`;
    case 'attribute': return `${lisp(node.of)}.${node.name}`;
    case 'subscript': return `${lisp(node.of)}[${lisp(node.key)}]`;
    case 'slice': return [node.start, node.stop, node.step].map((part) => (part ? lisp(part) : '')).join(':');
    case 'unary': return `(${node.op} ${lisp(node.of)})`;
    case 'binary': return `(${node.op} ${lisp(node.left)} ${lisp(node.right)})`;
    default: return `${lisp(node.of)}(${[...node.args.map(lisp), ...node.kwargs.map((/** @type {any} */ k) => `${k.name}=${lisp(k.value)}`)].join(' ')})`;
  }
}

const TREES = {
  'ages.float().mean()': 'ages.float().mean()',
  'torch.histc(ages.float(), 10)': 'torch.histc(ages.float() 10)',
  '(a - b) ** 2': '(** (- a b) 2)',
  'a - b - c': '(- (- a b) c)',
  'a + b * c': '(+ a (* b c))',
  'a * b + c': '(+ (* a b) c)',
  '-x ** 2': '(- (** x 2))',
  '2 ** -x': '(** 2 (- x))',
  '2 ** 3 ** 2': '(** 2 (** 3 2))',
  '-x.mean()': '(- x.mean())',
  '~a & b': '(& (~ a) b)',
  'a < b': '(< a b)',
  '(a < b) & (b < c)': '(& (< a b) (< b c))',
  'a | b ^ c & d': '(| a (^ b (& c d)))',
  'x @ w + b': '(+ (@ x w) b)',
  'a // b % c': '(% (// a b) c)',
  'x[0]': 'x[0]',
  'x[0:3]': 'x[0:3:]',
  'x[::2]': 'x[::2]',
  'x[-1:]': 'x[(- 1)::]',
  'x[:, 1]': 'x[(tuple :: 1)]',
  'x[1,]': 'x[(tuple 1)]',
  'x[a > 3]': 'x[(> a 3)]',
  'f(x, dim=0, keepdim=True)': 'f(x dim=0 keepdim=true)',
  'f(x,)': 'f(x)',
  '[1, 2.0, -3]': '[1 2.0 (- 3)]',
  '[]': '[]',
  '()': '(tuple)',
  '(1,)': '(tuple 1)',
  '(1, 2)': '(tuple 1 2)',
  '(1)': '1',
  'None': 'null',
  '"a\\n\\"b"': '"a\\n\\"b"',
  "'text'": '"text"',
  '1_000': '1000',
  '1e-3': '0.001',
  '.5': '0.5',
  '3.': '3.0',
  '99999999999999999999': '99999999999999999999',
  'größe.sum()': 'größe.sum()',
  'f(a,\n  b)': 'f(a b)',
  'a + b # note': '(+ a b)',
};

for (const [source, tree] of Object.entries(TREES)) {
  test(`reads ${JSON.stringify(source)}`, () => assert.equal(lisp(parseExpression(source)), tree));
}

/** Text, place of the mistake, words of the sentence or its hint. @type {[string, number, RegExp][]} */
const MISTAKES = [
  ['a +', 3, /missing/],
  ['a b', 2, /“b” cannot stand here/],
  ['(a', 0, /never closed/],
  ['a)', 1, /closes nothing/],
  ['[a)', 2, /does not close/],
  ['f(a', 1, /never closed/],
  ['x[]', 1, /index is missing/],
  ['a < b < c', 6, /two values at a time.*\(a < b\) & \(b < c\)/],
  ['a and b', 2, /“and” is not offered.*&/],
  ['not a', 0, /“not”/],
  ['a if b else c', 2, /torch\.where/],
  ['lambda: 1', 0, /“lambda”/],
  ['import os', 0, /“import”/],
  ['with torch.no_grad():\n    a', 0, /detach/],
  ['def f():\n    1', 0, /“def”/],
  ['while a:\n    b', 0, /range/],
  ['f(a=1, 2)', 7, /without a name come first/],
  ['f(a=1, a=2)', 7, /given twice/],
  ['f(*a)', 2, /without “\*”/],
  ['a.__class__', 2, /start with “_”/],
  ['a._x', 2, /start with “_”/],
  ['a.', 2, /name is expected/],
  ['2x', 0, /not a number/],
  ['1.2.3', 0, /not a number/],
  ['007', 0, /does not start with 0/],
  ['"abc', 0, /never ends/],
  ['"a\\q"', 2, /known in a string/],
  ['f"x"', 0, /no prefix/],
  ['{1: 2}', 0, /Dicts/],
  ['a = b = c', 6, /one name/],
  ['1 = a', 0, /cannot be assigned/],
  ['torch = 1', 0, /its own meaning/],
  ['_ = 1', 0, /its own meaning/],
  ['a; b', 1, /One statement a line/],
  ['a $ b', 2, /“\$” cannot stand here/],
  ['for i in x:\n    a', 9, /range/],
  ['for i in range(3)\n    a', 17, /“:” is expected/],
  ['for i in range(3):\na', 0, /indented/],
  ['for i in range(1, 2, 3, 4):\n    a', 14, /one, two or three/],
  ['  a', 0, /indented/],
  ['for i in range(3):\n        a\n    b', 29, /indented like no line/],
  ['\ta', 0, /spaces, not tabs/],
];

for (const [source, at, words] of MISTAKES) {
  test(`says what is wrong with ${JSON.stringify(source)}`, () => {
    assert.throws(() => parseScript(source), (error) => {
      assert.ok(error instanceof ExpressionError);
      assert.match(`${error.message} ${error.hint}`, words);
      assert.equal(error.at, at);
      return true;
    });
  });
}

test('a script is its statements, blocks inside', () => {
  const script = parseScript('# first\nw = 1\n\nfor i in range(50):\n    a = w\n\n    # note\n    for j in range(2): b\n    w.data = a\nc');
  assert.deepEqual(script.map(({ kind }) => kind), ['assign', 'for', 'expression']);
  const loop = script[1];
  assert.ok(loop?.kind === 'for');
  assert.deepEqual(loop.body.map(({ kind }) => kind), ['assign', 'for', 'assign']);
});

test('an empty text has no statements', () => {
  for (const source of ['', '\n\n', '  # only a note\n']) assert.deepEqual(parseScript(source), []);
});

test('nesting and length are bounded', () => {
  assert.throws(() => parseScript('('.repeat(500) + ')'.repeat(500)), /nested too deeply/);
  assert.throws(() => parseScript(`${'-'.repeat(500)}x`), /nested too deeply/);
  assert.throws(() => parseScript('a'.repeat(20_001)), /longer than/);
  const loops = Array.from({ length: 100 }, (_, i) => `${' '.repeat(i)}for i in range(2):\n`).join('');
  assert.throws(() => parseScript(`${loops}${' '.repeat(100)}a`), /nested too deeply/);
});

test('long chains of operators and methods are no nesting', () => {
  assert.equal(parseScript(Array.from({ length: 500 }, () => 'a').join(' + ')).length, 1);
  assert.equal(parseScript(`a${'.sum()'.repeat(500)}`).length, 1);
});

test('a mistake points at its line', () => {
  const source = 'a = 1\nb = a +* 2';
  try {
    parseScript(source);
    assert.fail('it parsed');
  } catch (error) {
    assert.ok(error instanceof ExpressionError);
    const { line, caret, lineNumber, column } = pointed(error, source);
    assert.deepEqual([line, caret, lineNumber, column], ['b = a +* 2', '       ^', 2, 8]);
  }
});

test('random texts are read or refused with a place inside them', () => {
  const parts = ['a', 'f', '(', ')', '[', ']', ',', '.', '+', '**', '=', ':', '1', '2.5', '"s"', ' ', '\n', '    ', 'for', 'in', 'range', '-', '#', '\\', '"', 'é', '🙂'];
  let seed = 7;
  const random = () => (seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648) / 2_147_483_648;
  for (let round = 0; round < 5000; round += 1) {
    const source = Array.from({ length: 1 + Math.floor(random() * 12) }, () => parts[Math.floor(random() * parts.length)]).join('');
    try {
      parseScript(source);
    } catch (error) {
      assert.ok(error instanceof ExpressionError, `${JSON.stringify(source)}: ${error}`);
      assert.ok(error.at >= 0 && error.at <= source.length, JSON.stringify(source));
    }
  }
});

test('Enter makes a new line where the text goes on', () => {
  for (const source of ['for i in range(3):', 'f(a,', 'for i in range(3):\n    a', '[1,']) assert.ok(isOpen(source), source);
  for (const source of ['a', 'f(a)', 'for i in range(3):\n    a\n', 'for i in range(3):\n    a\n    ', 'a +']) assert.ok(!isOpen(source), source);
});
