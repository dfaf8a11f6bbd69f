// @ts-check
/** A session that records what is called on it, for node tests only: no network, no owner. */

import { Vocabulary } from '../src/vocabulary.js';

export class Float { constructor(/** @type {number} */ value) { this.value = value; } }
export class Tuple { constructor(/** @type {any[]} */ items) { this.items = items; } }
export class Slice { constructor(/** @type {any} */ start, /** @type {any} */ stop, /** @type {any} */ step) { Object.assign(this, { start, stop, step }); } }
export class Dtype { constructor(/** @type {string} */ name) { this.name = name; } }

/** What is here of the vocabulary: enough for the tests. */
export const vocabulary = new Vocabulary({
  'torch.histc': { kind: 'function', params: ['input', 'bins', 'min', 'max'] },
  'torch.histogram': { kind: 'function', params: ['input', 'bins'] },
  'torch.zeros': { kind: 'function' },
  'torch.stack': { kind: 'function', params: ['tensors', 'dim'] },
  'torch.nn.functional.relu': { kind: 'function' },
  'torch.optim.SGD': { kind: 'function', params: ['params', 'lr'] },
  'torch.optim.Optimizer.step': { kind: 'method' },
  'torch.Tensor.float': { kind: 'method' },
  'torch.Tensor.mean': { kind: 'method', params: ['dim', 'keepdim'] },
  'torch.Tensor.median': { kind: 'method' },
  'torch.Tensor.backward': { kind: 'method' },
  'torch.Tensor.grad': { kind: 'property' },
  'torch.Tensor.data': { kind: 'property' },
  'torch.Tensor.T': { kind: 'property' },
  'torch.Tensor.__add__': { kind: 'method' },
});

export class FakePointer {
  /** @param {FakeSession} session @param {string} text @param {string} [type] */
  constructor(session, text, type = 'torch.Tensor') {
    this.session = session;
    this.id = session.pointers += 1;
    this.text = text;
    this.type = type;
    /** @type {number[]|null} */
    this.shape = null;
    /** @type {string|null} */
    this.dtype = null;
    /** @type {string|null} */
    this.failed = null;
    this.isDropped = false;
  }

  /** @param {string} method @param {any[]} args @param {Record<string, any>} kwargs */
  call(method, args, kwargs) {
    if (method === 'refused') throw new Error('torch.Tensor.refused is not offered.');
    const made = this.session.made(`${this.text}.${method}(${shown(args, kwargs)})`);
    return ['backward', 'step', '__setitem__', '__isub__'].includes(method) ? this : made;
  }

  /** @param {string} name */
  property(name) {
    return this.session.made(`${this.text}.${name}`);
  }

  /** @param {string} name @param {any} value */
  set(name, value) {
    this.session.calls.push(`${this.text}.${name} = ${shown([value], {})}`);
  }

  /** @param {any} asked */
  request(asked) {
    const request = {
      id: `r${this.session.asked.length}`, state: 'waiting', value: undefined, ownerReason: '', askedAt: 1,
      answeredAt: null, ...asked, withdraw: () => { request.state = 'withdrawn'; },
    };
    this.session.asked.push(request);
    return request;
  }

  drop() {
    this.isDropped = true;
  }
}

export class FakeSession {
  constructor() {
    this.pointers = 0;
    /** @type {string[]} */
    this.calls = [];
    /** @type {any[]} */
    this.asked = [];
    this.store = [
      { id: 'a', tags: ['ages'], description: 'Ages', type: 'torch.Tensor', shape: [6], dtype: 'int64' },
      { id: 'b', tags: ['x', 'shared'], description: '', type: 'torch.Tensor', shape: [4], dtype: 'float32' },
      { id: 'c', tags: ['y', 'shared'], description: '', type: 'torch.Tensor', shape: [4], dtype: 'float32' },
    ];
    this.torch = {
      /** @param {string} name @param {any[]} args @param {Record<string, any>} kwargs */
      call: (name, args, kwargs) => this.made(`torch.${name}(${shown(args, kwargs)})`, name === 'optim.SGD' ? 'torch.optim.SGD' : 'torch.Tensor'),
    };
  }

  /** @param {string} text @param {string} [type] */
  made(text, type) {
    this.calls.push(text);
    return new FakePointer(this, text, type);
  }

  /** @param {{tags: string[]}} entry */
  pointer(entry) {
    return new FakePointer(this, entry.tags[0] ?? '');
  }
}

/** @param {any[]} args @param {Record<string, any>} kwargs */
function shown(args, kwargs) {
  return [...args.map(text), ...Object.entries(kwargs).map(([name, value]) => `${name}=${text(value)}`)].join(', ');
}

/** @param {any} value @returns {string} */
function text(value) {
  if (value instanceof FakePointer) return value.text;
  if (value instanceof Float) return Number.isInteger(value.value) ? value.value.toFixed(1) : String(value.value);
  if (value instanceof Dtype) return `torch.${value.name}`;
  if (value instanceof Tuple) return `(${value.items.map(text).join(', ')})`;
  if (value instanceof Slice) {
    const { start, stop, step } = /** @type {any} */ (value);
    return `slice(${[start, stop, step].map(text).join(', ')})`;
  }
  if (Array.isArray(value)) return `[${value.map(text).join(', ')}]`;
  if (value === null) return 'None';
  return typeof value === 'string' ? JSON.stringify(value) : String(value);
}

/** @param {FakeSession} session */
export function worldOf(session) {
  return {
    store: session.store,
    pointer: (/** @type {any} */ entry) => session.pointer(entry),
    torch: session.torch,
    isPointer: (/** @type {any} */ value) => value instanceof FakePointer,
    assign: (/** @type {any} */ pointer, /** @type {string} */ name, /** @type {any} */ value) => pointer.set(name, value),
    kinds: { Float, Tuple, Slice, Dtype },
    vocabulary,
  };
}
