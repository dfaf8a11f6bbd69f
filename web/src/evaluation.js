// @ts-check
/**
 * Runs the tree of a script: statement by statement, each operation one command on pointers.
 *
 * Only what the tree can hold is ever done, and only through the session's own doors: a name is
 * looked up in the results, then among the shared objects; a method is called on a pointer; a
 * function is called below `torch`. Numbers, texts and lists are local values with Python's rules.
 */

import { ExpressionError } from './expression.js';
import { nearest, storeNames } from './vocabulary.js';

/** @typedef {import('./expression.js').Node} Node */
/** @typedef {import('./expression.js').Statement} Statement */
/** @typedef {import('./expression.js').Span} Span */
/** @typedef {any} Value a pointer or a local value */

export const MAX_STATEMENTS = 20_000; // of one run, loops counted
const STATEMENTS_PER_PAUSE = 40; // so that the page stays alive in a long loop
const MAX_LIST = 10_000; // elements of one local list

const METHODS = new Map(Object.entries({
  '+': 'add', '-': 'sub', '*': 'mul', '/': 'truediv', '//': 'floordiv', '%': 'mod', '**': 'pow',
  '@': 'matmul', '&': 'and', '|': 'or', '^': 'xor', '<<': 'lshift', '>>': 'rshift',
}));
const COMPARE = new Map(Object.entries({
  '==': ['eq', 'eq'], '!=': ['ne', 'ne'], '<': ['lt', 'gt'], '<=': ['le', 'ge'],
  '>': ['gt', 'lt'], '>=': ['ge', 'le'],
}));
const UNARY = new Map(Object.entries({ '-': '__neg__', '+': '__pos__', '~': '__invert__' }));
const NEEDS_VALUE = new Set(['numpy', 'tolist', 'cpu_value']);
const BUILTINS = new Set([
  'print', 'len', 'float', 'int', 'bool', 'str', 'list', 'sum', 'max', 'min', 'abs', 'round', 'type',
]);
/** @type {Record<string, number>} */
const CONSTANTS = { pi: Math.PI, e: Math.E, inf: Infinity, nan: NaN };
const DTYPES = new Set([
  'float', 'float16', 'float32', 'float64', 'double', 'half', 'bfloat16', 'int', 'int8', 'int16',
  'int32', 'int64', 'long', 'short', 'uint8', 'bool', 'complex64', 'complex128',
]);
/** @type {Record<string, string>} */
const DTYPE_ALIASES = {
  float: 'float32', double: 'float64', half: 'float16', int: 'int32', long: 'int64', short: 'int16',
};

/** A place below torch, torch.nn.functional for example. Local: it never travels. */
class Place {
  /** @param {string} path "" for torch itself */
  constructor(path) {
    this.path = path;
  }

  get shown() {
    return this.path ? `torch.${this.path}` : 'torch';
  }
}
const DUET = Symbol('duet');
const STORE = Symbol('duet.store');

/**
 * @typedef {object} World what an evaluation may touch
 * @property {{tags: string[]}[]} store
 * @property {(entry: any) => Value} pointer
 * @property {{call: (name: string, args: Value[], kwargs: Record<string, Value>) => Value}} torch
 * @property {(value: Value) => boolean} isPointer
 * @property {(pointer: Value, name: string, value: Value) => void} assign sets a property
 * @property {{Float: any, Tuple: any, Slice: any, Dtype: any}} kinds
 * @property {import('./vocabulary.js').Vocabulary} vocabulary
 */

/**
 * @typedef {{name: string|null, text: string, value: Value}} Outcome
 */

export class Evaluation {
  /**
   * @param {World} world
   * @param {Map<string, Value>} names results by name; changed by assignments
   */
  constructor(world, names) {
    this.world = world;
    this.names = names;
    this.statements = 0;
    this.isStopped = false;
    /** The object that the last call changed: the call gave nothing new. @type {Value} */
    this.changed = null;
    /** @type {Map<string, Outcome>} */
    this.outcomes = new Map();
  }

  /** Ends the run before its next statement. */
  stop() {
    this.isStopped = true;
  }

  /**
   * Runs a script.
   * @param {Statement[]} statements
   * @param {string} source
   * @param {() => Promise<void>} pause lets the page draw
   * @returns {Promise<Outcome[]>} what was named, and the value of a last line without a name
   */
  async run(statements, source, pause) {
    this.outcomes.clear();
    const last = statements[statements.length - 1];
    for (const statement of statements) {
      const value = await this.#statement(statement, source, pause);
      const isNew = value !== undefined && value !== null && value !== this.changed;
      if (statement === last && statement.kind === 'expression' && isNew) {
        this.outcomes.set('', { name: null, text: source.slice(statement.at, statement.end), value });
        this.names.set('_', value);
      }
    }
    return [...this.outcomes.values()];
  }

  /**
   * @param {Statement} statement
   * @param {string} source
   * @param {() => Promise<void>} pause
   * @returns {Promise<Value>}
   */
  async #statement(statement, source, pause) {
    this.statements += 1;
    if (this.statements > MAX_STATEMENTS) {
      throw new ExpressionError(`A run ends after ${MAX_STATEMENTS} statements.`, statement.at, statement.end);
    }
    if (this.statements % STATEMENTS_PER_PAUSE === 0) await pause();
    if (this.isStopped) throw new ExpressionError('Stopped here.', statement.at, statement.end);
    this.changed = null;
    if (statement.kind === 'expression') return this.value(statement.value);
    if (statement.kind === 'assign') return this.#assign(statement, source);
    for (const i of this.#range(statement)) {
      this.names.set(statement.name, i);
      for (const inner of statement.body) await this.#statement(inner, source, pause);
    }
    return undefined;
  }

  /** @param {Extract<Statement, {kind: 'for'}>} loop */
  #range(loop) {
    const numbers = loop.args.map((arg) => {
      const value = this.value(arg);
      if (!Number.isInteger(value)) {
        throw new ExpressionError('range takes whole numbers of this side.', arg.at, arg.end,
          this.world.isPointer(value) ? 'Request the value first.' : '');
      }
      return /** @type {number} */ (value);
    });
    const [first = 0, second, step = 1] = numbers;
    const start = second === undefined ? 0 : first;
    const stop = second ?? first;
    if (step === 0) throw new ExpressionError('The step of range is not 0.', loop.at, loop.args.at(-1)?.end);
    const count = Math.max(0, Math.ceil((stop - start) / step));
    if (count > MAX_STATEMENTS) {
      throw new ExpressionError(`A loop has at most ${MAX_STATEMENTS} rounds.`, loop.at, loop.end);
    }
    return Array.from({ length: count }, (_, i) => start + i * step);
  }

  /** @param {Extract<Statement, {kind: 'assign'}>} statement @param {string} source */
  #assign({ target, op, value: node, at, end }, source) {
    let value = this.value(node);
    if (op !== '=') value = this.#inPlace(op.slice(0, -1), this.value(target), value, { at, end });
    if (target.kind === 'name') {
      this.names.set(target.name, value);
      this.outcomes.delete(target.name);
      const text = source.slice(node.at, node.end);
      this.outcomes.set(target.name, { name: target.name, text, value });
      return;
    }
    if (target.kind !== 'attribute' && target.kind !== 'subscript') return;
    const object = this.#pointer(target.of, 'Only parts of remote objects can be set.');
    this.#at(target, () => {
      if (target.kind === 'attribute') this.world.assign(object, target.name, value);
      else object.call('__setitem__', [this.value(target.key), value], {});
    });
  }

  /** @param {string} op @param {Value} left @param {Value} right @param {Span} span */
  #inPlace(op, left, right, span) {
    if (!this.world.isPointer(left)) return this.#binary(op, left, right, span);
    return this.#at(span, () => left.call(`__i${METHODS.get(op)}__`, [right], {}));
  }

  /** @param {Node} node @param {string} sentence */
  #pointer(node, sentence) {
    const value = this.value(node);
    if (!this.world.isPointer(value)) throw new ExpressionError(sentence, node.at, node.end);
    return value;
  }

  /**
   * The client's own refusals get the place of what was refused.
   * @template T
   * @param {Span} span
   * @param {() => T} action
   */
  #at(span, action) {
    try {
      return action();
    } catch (error) {
      if (error instanceof ExpressionError) throw error;
      const message = error instanceof Error ? error.message : String(error);
      throw new ExpressionError(message, span.at, span.end);
    }
  }

  /**
   * The value of an expression.
   * @param {Node} node
   * @returns {Value}
   */
  value(node) {
    switch (node.kind) {
      case 'number': return node.isFloat ? new this.world.kinds.Float(Number(node.value)) : node.value;
      case 'string': return node.value;
      case 'constant': return node.value;
      case 'list': return this.#items(node);
      case 'tuple': return new this.world.kinds.Tuple(this.#items(node));
      case 'slice': return this.#slice(node);
      case 'name': return this.#name(node);
      case 'attribute': return this.#attribute(node);
      case 'call': return this.#call(node);
      case 'subscript': return this.#subscript(node);
      case 'unary': return this.#unary(node);
      case 'binary': return this.#binary(node.op, this.value(node.left), this.value(node.right), node);
    }
  }

  /** @param {Extract<Node, {kind: 'list'|'tuple'}>} node */
  #items(node) {
    return node.items.map((item) => this.#travels(item));
  }

  /** A value that can be an argument: places below torch cannot. @param {Node} node */
  #travels(node) {
    const value = this.value(node);
    if (value instanceof Place || typeof value === 'symbol') {
      throw new ExpressionError('A function or a module cannot be an argument.', node.at, node.end,
        'Functions do not travel.');
    }
    return value;
  }

  /** @param {Extract<Node, {kind: 'slice'}>} node */
  #slice({ start, stop, step }) {
    const part = (/** @type {Node|null} */ of) => (of === null ? null : this.#travels(of));
    return new this.world.kinds.Slice(part(start), part(stop), part(step));
  }

  /** Names that are defined, for completion and for "did you mean". */
  known() {
    return [...this.names.keys(), ...storeNames(this.world.store).filter((n) => !n.includes('.')), 'torch', 'duet'];
  }

  /** @param {Extract<Node, {kind: 'name'}>} node */
  #name({ name, at, end }) {
    if (name === 'torch') return new Place('');
    if (name === 'duet') return DUET;
    if (this.names.has(name)) return this.names.get(name);
    const place = storeNames(this.world.store).indexOf(name);
    if (place >= 0) return this.world.pointer(this.world.store[place]);
    if (BUILTINS.has(name)) {
      throw new ExpressionError(`“${name}” needs the value, which is on the owner’s side.`, at, end,
        'Request the result, or use a method: x.sum(), x.float(), x.abs().');
    }
    if (this.world.store.some(({ tags }) => tags.includes(name))) {
      throw new ExpressionError(`“${name}” is a tag of several objects.`, at, end,
        'Take one by its place: duet.store[0].');
    }
    const near = nearest(name, this.known());
    throw new ExpressionError(`There is no “${name}” here.`, at, end, near ? `Did you mean ${near}?` : '');
  }

  /** @param {Extract<Node, {kind: 'attribute'}>} node */
  #attribute(node) {
    const of = this.value(node.of);
    const span = { at: node.nameAt, end: node.end };
    if (of === DUET) {
      if (node.name === 'torch') return new Place('');
      if (node.name === 'store') return STORE;
      throw new ExpressionError(`duet has no “${node.name}” here.`, span.at, span.end,
        'There are duet.store and duet.torch.');
    }
    if (of instanceof Place) return this.#below(of, node.name, span);
    if (!this.world.isPointer(of)) {
      throw new ExpressionError(`This has no “${node.name}”.`, span.at, span.end);
    }
    this.#checkMember(of, node.name, span);
    return this.#at(span, () => of.property(node.name));
  }

  /** @param {Place} place @param {string} name @param {Span} span */
  #below(place, name, span) {
    if (place.path === '') {
      if (Object.hasOwn(CONSTANTS, name)) return new this.world.kinds.Float(CONSTANTS[name]);
      if (DTYPES.has(name)) return new this.world.kinds.Dtype(DTYPE_ALIASES[name] ?? name);
    }
    const { vocabulary } = this.world;
    const full = `${place.shown}.${name}`;
    const isMethod = place.path === '' && vocabulary.has(`torch.Tensor.${name}`); // torch.mean(x) is x.mean()
    if (vocabulary.has(full) || vocabulary.isPlace(full) || isMethod) return new Place(full.slice('torch.'.length));
    const near = nearest(name, vocabulary.names(place.shown));
    throw new ExpressionError(`${place.shown} has no “${name}” that is offered.`, span.at, span.end,
      near ? `Did you mean ${near}?` : '');
  }

  /** @param {Value} pointer @param {string} name @param {Span} span */
  #checkMember(pointer, name, span) {
    if (NEEDS_VALUE.has(name)) {
      throw new ExpressionError(`“${name}” needs the value, which is on the owner’s side.`, span.at, span.end,
        'Request the result.');
    }
    if (pointer.type !== 'torch.Tensor' || this.world.vocabulary.has(`torch.Tensor.${name}`)) return;
    const near = nearest(name, this.world.vocabulary.names('torch.Tensor'));
    throw new ExpressionError(`A tensor has no “${name}” that is offered.`, span.at, span.end,
      near ? `Did you mean ${near}?` : '');
  }

  /** @param {Extract<Node, {kind: 'call'}>} node */
  #call(node) {
    const given = () => ({
      args: node.args.map((arg) => this.#travels(arg)),
      kwargs: Object.fromEntries(node.kwargs.map(({ name, value }) => [name, this.#travels(value)])),
    });
    const { of } = node;
    if (of.kind === 'attribute') {
      const object = this.value(of.of);
      const span = { at: of.nameAt, end: of.end };
      if (this.world.isPointer(object)) {
        this.#checkMember(object, of.name, span);
        const { args, kwargs } = given();
        const result = this.#at(span, () => object.call(of.name, args, kwargs));
        this.changed = result === object ? object : null;
        return result;
      }
      if (Array.isArray(object)) return this.#listMethod(object, of.name, given().args, span);
    }
    const callee = this.value(of);
    if (callee instanceof Place && callee.path) {
      const { args, kwargs } = given();
      return this.#at(of, () => this.world.torch.call(callee.path, args, kwargs));
    }
    if (this.world.isPointer(callee)) {
      const { args, kwargs } = given();
      return this.#at(of, () => callee.call('__call__', args, kwargs));
    }
    throw new ExpressionError('This cannot be called.', of.at, of.end);
  }

  /** @param {Value[]} list @param {string} name @param {Value[]} args @param {Span} span */
  #listMethod(list, name, args, span) {
    if (name !== 'append' || args.length !== 1) {
      throw new ExpressionError('A list of this side has .append(x) only.', span.at, span.end,
        'torch.stack(list) makes a tensor of it.');
    }
    if (list.length >= MAX_LIST) {
      throw new ExpressionError(`A list has at most ${MAX_LIST} elements.`, span.at, span.end);
    }
    list.push(args[0]);
    return null;
  }

  /** @param {Extract<Node, {kind: 'subscript'}>} node */
  #subscript(node) {
    const of = this.value(node.of);
    const key = this.#travels(node.key);
    if (of === STORE) return this.world.pointer(this.#stored(key, node));
    if (this.world.isPointer(of)) return this.#at(node, () => of.call('__getitem__', [key], {}));
    if (Array.isArray(of) && Number.isInteger(key)) {
      const item = of.at(/** @type {number} */ (key));
      if (item !== undefined) return item;
      throw new ExpressionError(`The list has ${of.length} elements.`, node.key.at, node.key.end);
    }
    throw new ExpressionError('This cannot be indexed.', node.at, node.end);
  }

  /** @param {Value} key @param {Extract<Node, {kind: 'subscript'}>} node */
  #stored(key, { key: { at, end } }) {
    const { store } = this.world;
    const found = typeof key === 'string'
      ? store.filter(({ tags }) => tags.includes(key))
      : [Number.isInteger(key) ? store.at(/** @type {number} */ (key)) : undefined];
    if (found.length === 1 && found[0]) return found[0];
    if (found.length > 1) throw new ExpressionError('Several objects have this tag.', at, end, 'Take one by its place.');
    throw new ExpressionError('The store has no such object.', at, end);
  }

  /** @param {Extract<Node, {kind: 'unary'}>} node */
  #unary(node) {
    const value = this.value(node.of);
    if (this.world.isPointer(value)) {
      return this.#at(node, () => value.call(/** @type {string} */ (UNARY.get(node.op)), [], {}));
    }
    const { Float } = this.world.kinds;
    const number = this.#number(value, node);
    if (node.op === '~') {
      if (value instanceof Float) throw new ExpressionError('“~” takes a whole number.', node.at, node.end);
      return typeof number === 'bigint' ? ~number : -number - 1;
    }
    if (node.op === '+') return value;
    if (value instanceof Float) return new Float(-Number(number));
    return number === 0 ? 0 : -number;
  }

  /** @param {string} op @param {Value} left @param {Value} right @param {Span} span */
  #binary(op, left, right, span) {
    const compare = COMPARE.get(op);
    const method = METHODS.get(op);
    for (const side of [left, right]) {
      if (side instanceof Place || typeof side === 'symbol') {
        throw new ExpressionError('A module is no value.', span.at, span.end);
      }
    }
    if (this.world.isPointer(left)) {
      return this.#at(span, () => left.call(`__${compare ? compare[0] : method}__`, [right], {}));
    }
    if (this.world.isPointer(right)) {
      return this.#at(span, () => right.call(compare ? `__${compare[1]}__` : `__r${method}__`, [left], {}));
    }
    const { Float } = this.world.kinds;
    const isFloat = left instanceof Float || right instanceof Float;
    const a = this.#number(left, span);
    const b = this.#number(right, span);
    if (compare) return compared(op, a, b);
    if (!isFloat && op !== '/' && !(op === '**' && b < 0)) return this.#whole(op, BigInt(a), BigInt(b), span);
    return new Float(this.#real(op, Number(a), Number(b), span));
  }

  /** @param {Value} value @param {Span} span @returns {number|bigint} */
  #number(value, span) {
    if (value instanceof this.world.kinds.Float) return Number(value.value);
    if (typeof value === 'number' || typeof value === 'bigint') return value;
    if (typeof value === 'boolean') return Number(value);
    throw new ExpressionError('This needs numbers or remote objects.', span.at, span.end);
  }

  /** @param {string} op @param {bigint} a @param {bigint} b @param {Span} span */
  #whole(op, a, b, span) {
    if ((op === '//' || op === '%') && b === 0n) throw new ExpressionError('Division by zero.', span.at, span.end);
    if (['**', '<<', '>>'].includes(op) && (b > 1024n || b < 0n)) {
      throw new ExpressionError('This number would be too large.', span.at, span.end);
    }
    const floor = () => a / b - (a % b !== 0n && (a < 0n) !== (b < 0n) ? 1n : 0n);
    /** @type {Record<string, () => bigint>} */
    const operations = {
      '+': () => a + b, '-': () => a - b, '*': () => a * b, '//': floor, '%': () => a - floor() * b,
      '**': () => a ** b, '&': () => a & b, '|': () => a | b, '^': () => a ^ b,
      '<<': () => a << b, '>>': () => a >> b,
    };
    const result = operations[op]?.();
    if (result === undefined) throw new ExpressionError(`“${op}” needs remote objects.`, span.at, span.end);
    const number = Number(result);
    return Number.isSafeInteger(number) ? number : result;
  }

  /** @param {string} op @param {number} a @param {number} b @param {Span} span */
  #real(op, a, b, span) {
    if ((op === '/' || op === '//' || op === '%') && b === 0) {
      throw new ExpressionError('Division by zero.', span.at, span.end);
    }
    /** @type {Record<string, () => number>} */
    const operations = {
      '+': () => a + b, '-': () => a - b, '*': () => a * b, '/': () => a / b, '**': () => a ** b,
      '//': () => Math.floor(a / b), '%': () => a - Math.floor(a / b) * b,
    };
    const result = operations[op]?.();
    if (result === undefined) throw new ExpressionError(`“${op}” needs whole numbers.`, span.at, span.end);
    return result;
  }
}

/** @param {string} op @param {number|bigint} a @param {number|bigint} b */
function compared(op, a, b) {
  switch (op) {
    case '==': return a == b; // eslint-disable-line eqeqeq -- 1 == 1n, as in Python
    case '!=': return a != b; // eslint-disable-line eqeqeq
    case '<': return a < b;
    case '<=': return a <= b;
    case '>': return a > b;
    default: return a >= b;
  }
}
