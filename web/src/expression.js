// @ts-check
/**
 * The language of the workbench: a small part of Python, from text to a closed tree.
 *
 * A Pratt parser: each operator has a binding power, and `expression(power)` reads on while the
 * next operator binds tighter. The tree has only the kinds below; nothing in it is ever run as
 * code, `evaluation.js` walks it. What is not in the language says so in a sentence at its place.
 */

import { ExpressionError, tokens } from './tokens.js';

export { ExpressionError };

/** @typedef {import('./tokens.js').Token} Token */
/**
 * @typedef {{at: number, end: number}} Span
 * @typedef {Span & (
 *   {kind: 'number', value: number|bigint, isFloat: boolean} |
 *   {kind: 'string', value: string} |
 *   {kind: 'constant', value: boolean|null} |
 *   {kind: 'name', name: string} |
 *   {kind: 'list', items: Node[]} |
 *   {kind: 'tuple', items: Node[]} |
 *   {kind: 'attribute', of: Node, name: string, nameAt: number} |
 *   {kind: 'call', of: Node, args: Node[], kwargs: {name: string, value: Node}[]} |
 *   {kind: 'subscript', of: Node, key: Node} |
 *   {kind: 'slice', start: Node|null, stop: Node|null, step: Node|null} |
 *   {kind: 'unary', op: string, of: Node} |
 *   {kind: 'binary', op: string, left: Node, right: Node}
 * )} Node
 * @typedef {Span & (
 *   {kind: 'expression', value: Node} |
 *   {kind: 'assign', target: Node, op: string, value: Node} |
 *   {kind: 'for', name: string, args: Node[], body: Statement[]}
 * )} Statement
 */

const MAX_DEPTH = 64; // of brackets, blocks and operators in each other
const UNARY_POWER = 80;
const POSTFIX_POWER = 100;

/** Binding power of what stands between two operands, as in Python. @type {Map<string, number>} */
const BINARY = new Map([
  ...['==', '!=', '<', '<=', '>', '>='].map((op) => /** @type {[string, number]} */ ([op, 10])),
  ['|', 20], ['^', 30], ['&', 40], ['<<', 50], ['>>', 50], ['+', 60], ['-', 60],
  ['*', 70], ['/', 70], ['//', 70], ['%', 70], ['@', 70], ['**', 90],
]);
const COMPARE_POWER = 10;
const ASSIGN = ['=', '+=', '-=', '*=', '/=', '//=', '%=', '**=', '@=', '&=', '|=', '^='];

const LANGUAGE = 'The workbench has expressions, names, and “for … in range(…)”.';
/** Python's words that mean something else here: what to do instead. @type {Record<string, string>} */
const INSTEAD = {
  and: 'Write (a > 1) & (b > 1).',
  or: 'Write (a > 1) | (b > 1).',
  not: 'Write ~(a > 1).',
  in: 'Write (a == 3).any().',
  is: 'Write ==.',
  if: 'The value is on the owner’s side. Use torch.where(condition, a, b).',
  else: 'The value is on the owner’s side. Use torch.where(condition, a, b).',
  while: 'Use for … in range(…).',
  with: 'Use .detach(), or w.data = … in place of torch.no_grad().',
  import: 'torch is here already.',
  from: 'torch is here already.',
  del: 'Use the button on the result.',
  lambda: LANGUAGE, def: LANGUAGE, class: LANGUAGE, return: LANGUAGE, try: LANGUAGE,
  async: LANGUAGE, await: LANGUAGE, yield: LANGUAGE, global: LANGUAGE, nonlocal: LANGUAGE,
  pass: LANGUAGE, break: LANGUAGE, continue: LANGUAGE, raise: LANGUAGE, assert: LANGUAGE,
  except: LANGUAGE, finally: LANGUAGE, elif: LANGUAGE, as: LANGUAGE,
};
const CONSTANTS = new Map(/** @type {[string, boolean|null][]} */ ([
  ['True', true], ['False', false], ['None', null],
]));

/** Names that nobody can give to a result, and that no tag of an owner stands for. */
export const RESERVED = new Set([
  ...Object.keys(INSTEAD), ...CONSTANTS.keys(), 'for', 'range', 'torch', 'duet', '_',
]);

/** @param {string} text */
export const isIdentifier = (text) => /^[\p{L}_][\p{L}\p{N}_]*$/u.test(text);

/**
 * The statements of a script.
 * @param {string} source
 * @returns {Statement[]}
 */
export function parseScript(source) {
  return new Parser(source).script();
}

/**
 * The tree of one expression.
 * @param {string} source
 * @returns {Node}
 */
export function parseExpression(source) {
  const statements = parseScript(source);
  const [only] = statements;
  if (statements.length !== 1 || only?.kind !== 'expression') {
    throw new ExpressionError('One expression is expected here.', 0, source.length);
  }
  return only.value;
}

/**
 * Whether a text needs more lines, or may get them: Enter then makes a new line.
 * @param {string} source
 */
export function isOpen(source) {
  const lines = source.split('\n');
  const last = lines.at(-1) ?? '';
  if (/:\s*(#.*)?$/.test(last) || (lines.length > 1 && /^\s+\S/.test(last))) return true;
  try {
    tokens(source);
    return false;
  } catch (error) {
    return error instanceof ExpressionError && error.message.endsWith('is never closed.');
  }
}

/**
 * A mistake as lines for people: the line of the text, a caret under the place, the sentence.
 * @param {ExpressionError} error
 * @param {string} source
 */
export function pointed(error, source) {
  const at = Math.min(error.at, source.length);
  const start = source.lastIndexOf('\n', at - 1) + 1;
  const stop = source.indexOf('\n', at);
  const line = source.slice(start, stop < 0 ? source.length : stop);
  const column = at - start;
  const width = Math.max(1, Math.min(error.end, start + line.length) - at);
  return {
    line,
    caret: ' '.repeat(column) + '^'.repeat(width),
    lineNumber: source.slice(0, start).split('\n').length,
    column: column + 1,
    message: error.message,
    hint: error.hint,
  };
}

class Parser {
  /** @param {string} source */
  constructor(source) {
    this.source = source;
    this.tokens = tokens(source);
    this.place = 0;
    this.depth = 0;
  }

  /** The token that is read next; the last one is `end`. @returns {Token} */
  get token() {
    return /** @type {Token} */ (this.tokens[this.place]);
  }

  next() {
    const { token } = this;
    if (this.place < this.tokens.length - 1) this.place += 1;
    return token;
  }

  /** @param {string} text */
  is(text) {
    return this.token.text === text && (this.token.kind === 'op' || this.token.kind === 'name');
  }

  /** @param {string} text */
  accept(text) {
    return this.is(text) ? this.next() : null;
  }

  /** @param {string} text @param {string} sentence */
  expect(text, sentence) {
    const token = this.accept(text);
    if (token === null) throw this.wrong(this.token, sentence);
    return token;
  }

  /**
   * @param {Token} token
   * @param {string} [sentence]
   */
  wrong(token, sentence) {
    if (token.kind === 'name' && Object.hasOwn(INSTEAD, token.text)) {
      return new ExpressionError(`“${token.text}” is not offered here.`, token.at, token.end,
        INSTEAD[token.text]);
    }
    if (sentence) return new ExpressionError(sentence, token.at, token.end);
    if (token.kind === 'newline' || token.kind === 'end') {
      return new ExpressionError('Something is missing here.', token.at, token.at + 1);
    }
    if (token.kind === 'indent') {
      return new ExpressionError('This line is indented, but no block begins above it.', token.at, token.end);
    }
    return new ExpressionError(`“${token.text}” cannot stand here.`, token.at, token.end);
  }

  /** @param {number} at */
  deeper(at) {
    this.depth += 1;
    if (this.depth > MAX_DEPTH) throw new ExpressionError('This is nested too deeply.', at);
  }

  // statements

  script() {
    /** @type {Statement[]} */
    const found = [];
    while (this.token.kind !== 'end') found.push(this.statement());
    return found;
  }

  /** @returns {Statement} */
  statement() {
    if (this.is('for')) return this.loop();
    const value = this.tupleOrExpression();
    const op = this.token.kind === 'op' && ASSIGN.includes(this.token.text) ? this.next() : null;
    if (op === null) {
      this.endOfLine();
      return { kind: 'expression', value, at: value.at, end: value.end };
    }
    this.checkTarget(value, op);
    const right = this.tupleOrExpression();
    if (this.is('=')) {
      throw new ExpressionError('Only one name can be set at a time.', this.token.at, this.token.end);
    }
    this.endOfLine();
    return { kind: 'assign', target: value, op: op.text, value: right, at: value.at, end: right.end };
  }

  /** @param {Node} target @param {Token} op */
  checkTarget(target, op) {
    if (target.kind === 'name') {
      if (!RESERVED.has(target.name)) return;
      throw new ExpressionError(`“${target.name}” has its own meaning here.`, target.at, target.end,
        'Take another name.');
    }
    if (target.kind === 'subscript' && op.text === '=') return;
    if (target.kind === 'attribute' && op.text === '=') return;
    const hint = op.text === '=' ? 'To compare, write ==.' : 'Write x = x + … in full.';
    throw new ExpressionError('This cannot be assigned to.', target.at, target.end, hint);
  }

  endOfLine() {
    if (this.token.kind === 'newline') this.next();
    else if (this.is(';')) {
      throw new ExpressionError('One statement a line, without “;”.', this.token.at);
    } else if (this.token.kind !== 'end') throw this.wrong(this.token);
  }

  /** @returns {Statement} */
  loop() {
    const first = this.next();
    const name = this.next();
    if (name.kind !== 'name' || RESERVED.has(name.text)) {
      throw this.wrong(name, 'A name for the number is expected here, as in “for i in range(10):”.');
    }
    this.expect('in', '“in range(…)” is expected here.');
    this.expect('range', 'Loops run over range(…) only.');
    const bracket = this.expect('(', '“(” is expected here, as in range(10).');
    const { args, kwargs } = this.arguments();
    if (args.length < 1 || args.length > 3 || kwargs.length) {
      throw new ExpressionError('range takes one, two or three numbers.', bracket.at, this.token.at);
    }
    this.expect(':', '“:” is expected here.');
    this.deeper(first.at);
    const body = this.block(first);
    this.depth -= 1;
    const end = body.at(-1)?.end ?? first.end;
    return { kind: 'for', name: name.text, args, body, at: first.at, end };
  }

  /** @param {Token} first */
  block(first) {
    if (this.token.kind !== 'newline') return [this.statement()];
    this.next();
    if (/** @type {string} */ (this.token.kind) !== 'indent') {
      throw new ExpressionError('The lines of the loop must be indented below it.', first.at, first.end,
        'Put four spaces in front of them.');
    }
    this.next();
    /** @type {Statement[]} */
    const body = [];
    while (/** @type {string} */ (this.token.kind) !== 'dedent') body.push(this.statement());
    this.next();
    return body;
  }

  // expressions

  /** @returns {Node} */
  tupleOrExpression() {
    const first = this.expression(0);
    if (!this.is(',')) return first;
    const items = [first];
    while (this.accept(',')) {
      if (this.token.kind === 'newline' || this.token.kind === 'end' || this.is('=')) break;
      items.push(this.expression(0));
    }
    return { kind: 'tuple', items, at: first.at, end: items.at(-1)?.end ?? first.end };
  }

  /**
   * @param {number} power only operators that bind tighter are taken
   * @returns {Node}
   */
  expression(power) {
    this.deeper(this.token.at);
    let left = this.operand();
    for (;;) {
      const token = this.token;
      if (token.kind === 'name') {
        if (Object.hasOwn(INSTEAD, token.text)) throw this.wrong(token);
        break;
      }
      if (token.kind !== 'op') break;
      if (token.text === '(' || token.text === '[' || token.text === '.') {
        if (POSTFIX_POWER <= power) break;
        left = this.postfix(left);
        continue;
      }
      const binding = BINARY.get(token.text);
      if (binding === undefined || binding <= power) break;
      this.next();
      // "**" reads its right side first: 2 ** 3 ** 2 is 2 ** 9, and 2 ** -1 is allowed
      const right = this.expression(token.text === '**' ? UNARY_POWER - 1 : binding);
      if (binding === COMPARE_POWER && BINARY.get(this.token.text) === COMPARE_POWER) {
        throw new ExpressionError('Compare two values at a time.', this.token.at, this.token.end,
          'Write (a < b) & (b < c).');
      }
      left = { kind: 'binary', op: token.text, left, right, at: left.at, end: right.end };
    }
    this.depth -= 1;
    return left;
  }

  /** @returns {Node} */
  operand() {
    const token = this.next();
    const { at, end } = token;
    switch (token.kind) {
      case 'int':
      case 'float':
        return {
          kind: 'number', value: /** @type {number|bigint} */ (token.value),
          isFloat: token.kind === 'float', at, end,
        };
      case 'string':
        return { kind: 'string', value: String(token.value), at, end };
      case 'name':
        return this.word(token);
      case 'op':
        break;
      default:
        throw this.wrong(token);
    }
    if (token.text === '-' || token.text === '+' || token.text === '~') {
      const of = this.expression(UNARY_POWER);
      return { kind: 'unary', op: token.text, of, at, end: of.end };
    }
    if (token.text === '(') return this.round(at);
    if (token.text === '[') {
      const items = this.items(']');
      return { kind: 'list', items, at, end: this.next().end };
    }
    if (token.text === '{') {
      throw new ExpressionError('Dicts and sets are not offered here.', at, end, 'Use a list: [1, 2].');
    }
    throw this.wrong(token);
  }

  /** @param {Token} token @returns {Node} */
  word({ kind, text, at, end }) {
    const constant = CONSTANTS.get(text);
    if (constant !== undefined) return { kind: 'constant', value: constant, at, end };
    if (Object.hasOwn(INSTEAD, text) || text === 'for') throw this.wrong({ kind, text, at, end });
    return { kind: 'name', name: text, at, end };
  }

  /** @param {number} at @returns {Node} */
  round(at) {
    if (this.is(')')) return { kind: 'tuple', items: [], at, end: this.next().end };
    const first = this.expression(0);
    if (!this.is(',')) {
      const { end } = this.expect(')', '“)” or an operator is expected here.');
      return { ...first, at, end };
    }
    this.next();
    const items = [first, ...this.items(')')];
    return { kind: 'tuple', items, at, end: this.next().end };
  }

  /** @param {string} close @returns {Node[]} */
  items(close) {
    const found = [];
    while (!this.is(close)) {
      found.push(this.expression(0));
      if (!this.is(close)) this.expect(',', `“,” or “${close}” is expected here.`);
    }
    return found;
  }

  /** @param {Node} of @returns {Node} */
  postfix(of) {
    const token = this.next();
    if (token.text === '.') {
      const name = this.next();
      if (name.kind !== 'name') throw this.wrong(name, 'A name is expected behind the “.”.');
      if (name.text.startsWith('_')) {
        throw new ExpressionError('Names that start with “_” cannot be reached.', name.at, name.end);
      }
      return { kind: 'attribute', of, name: name.text, nameAt: name.at, at: of.at, end: name.end };
    }
    if (token.text === '(') {
      const { args, kwargs, end } = this.arguments();
      return { kind: 'call', of, args, kwargs, at: of.at, end };
    }
    const key = this.key(token.at);
    return { kind: 'subscript', of, key, at: of.at, end: this.next().end };
  }

  /** @returns {{args: Node[], kwargs: {name: string, value: Node}[], end: number}} */
  arguments() {
    const args = [];
    /** @type {{name: string, value: Node}[]} */
    const kwargs = [];
    while (!this.is(')')) {
      const token = this.token;
      if (token.text === '*' || token.text === '**') {
        throw new ExpressionError('Arguments are given one by one, without “*”.', token.at, token.end);
      }
      const value = this.expression(0);
      if (this.is('=') && value.kind === 'name') {
        this.next();
        if (kwargs.some(({ name }) => name === value.name)) {
          throw new ExpressionError(`“${value.name}” is given twice.`, value.at, value.end);
        }
        kwargs.push({ name: value.name, value: this.expression(0) });
      } else if (kwargs.length) {
        throw new ExpressionError('Arguments without a name come first.', value.at, value.end);
      } else args.push(value);
      if (!this.is(')')) this.expect(',', '“,” or “)” is expected here.');
    }
    return { args, kwargs, end: this.next().end };
  }

  /** @param {number} at @returns {Node} */
  key(at) {
    if (this.is(']')) throw new ExpressionError('An index is missing here.', at, at + 2);
    const items = [];
    let isTuple = false;
    while (!this.is(']')) {
      items.push(this.sliceOrExpression());
      if (this.is(']')) break;
      this.expect(',', '“,”, “:” or “]” is expected here.');
      isTuple = true;
    }
    const [first] = items;
    if (!isTuple && first) return first;
    return { kind: 'tuple', items, at: first?.at ?? at, end: items.at(-1)?.end ?? at };
  }

  /** @returns {Node} */
  sliceOrExpression() {
    const at = this.token.at;
    const part = () => (this.is(':') || this.is(']') || this.is(',') ? null : this.expression(0));
    const start = part();
    if (!this.is(':')) return /** @type {Node} */ (start ?? this.expression(0));
    this.next();
    const stop = part();
    const step = this.accept(':') ? part() : null;
    return { kind: 'slice', start, stop, step, at, end: this.token.at };
  }
}
