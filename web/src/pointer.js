// @ts-check
/** Pointers: what a page has of objects in the owner's process. Nothing here waits for the network. */

import { DuetError } from './errors.js';
import { denied, find, resolve } from './surface.js';

/** @typedef {Record<string, unknown>} Kwargs */

export class Pointer {
  /**
   * @param {import('./client.js').Client} client
   * @param {number} id
   * @param {string} type
   * @param {{tags?: string[], shape?: number[]|null, dtype?: string|null, length?: number|null, element?: string|null}} [facts]
   */
  constructor(client, id, type, facts = {}) {
    this.client = client;
    this.id = id;
    this.type = type;
    this.tags = facts.tags ?? [];
    this.shape = facts.shape ?? null;
    this.dtype = facts.dtype ?? null;
    this.length = facts.length ?? null;
    /** The type of its elements, where it is a container and that is known. */
    this.element = facts.element ?? null;
    /** Why it has no value, where a command failed for a public reason. @type {string|null} */
    this.failed = null;
    this.isGone = false;
  }

  /**
   * Calls a method on the owner's side: 'mean', '__add__', '__getitem__', …
   *
   * @param {string} method
   * @param {unknown[]} [args] see `Client.wire` for what travels
   * @param {Kwargs} [kwargs]
   * @returns {Pointer} to the result; of a method that changes its object and gives nothing, this one
   * @throws {DuetError} NotAllowed, PointerDeleted
   */
  call(method, args = [], kwargs = {}) {
    const found = resolve(this.type, method);
    if (found === null || found.rule.kind === 'property') throw denied(`${this.type}.${method}`);
    return this.client.run(found.name, [this, ...args], kwargs);
  }

  /** @param {string} name @returns {Pointer} */
  property(name) {
    const found = resolve(this.type, name);
    if (found === null || found.rule.kind !== 'property') throw denied(`${this.type}.${name}`);
    return this.client.run(found.name, [this], {});
  }

  /**
   * Asks the owner for the value as it is at this place in the program.
   *
   * @param {{name?: string, reason?: string, timeoutSeconds?: number|null}} [options] null: until
   *   somebody decides; 0: the owner's handlers only
   */
  request({ name = '', reason = '', timeoutSeconds = null } = {}) {
    return this.client.request(this, name, reason, timeoutSeconds);
  }

  /** The value, if it is public or was released already; asks nobody. @returns {Promise<any>} */
  get() {
    return this.client.get(this);
  }

  /** The owner's side may forget this object. One that the owner shared stays there. */
  drop() {
    if (this.isGone) return;
    this.isGone = true;
    this.client.forget(this.id);
  }

  /** What a pointer is worth in the page: its name, never a value. */
  toString() {
    const shape = this.shape === null ? '' : ` [${this.shape.join(', ')}]`;
    return `<pointer ${this.id} ${this.type}${shape}${this.tags.length ? ` #${this.tags.join(' #')}` : ''}>`;
  }
}

/** The functions of the owner's torch: `session.torch.call('histc', [pointer, 10])`. */
export class Namespace {
  /** @param {import('./client.js').Client} client @param {string} prefix */
  constructor(client, prefix) {
    this.client = client;
    this.prefix = prefix;
  }

  /** @param {string} name below this place: 'histc', 'nn.functional.relu' @param {unknown[]} [args] @param {Kwargs} [kwargs] @returns {Pointer} */
  call(name, args = [], kwargs = {}) {
    const found = find(`${this.prefix}.${name}`);
    if (found === null || found.rule.kind !== 'function') {
      // a name that torch has as a function too, torch.mean, may be listed as a method only
      const method = find(`torch.Tensor.${name}`);
      if (this.prefix !== 'torch' || method === null || method.rule.kind !== 'method' || !(args[0] instanceof Pointer)) throw denied(`${this.prefix}.${name}`);
      return this.client.run(method.name, args, kwargs);
    }
    return this.client.run(found.name, args, kwargs);
  }

  /** A place below this one: `session.torch.under('nn.functional')`. @param {string} name */
  under(name) {
    return new Namespace(this.client, `${this.prefix}.${name}`);
  }
}

/** @param {Pointer} pointer */
export function checkAlive(pointer) {
  if (pointer.isGone) throw new DuetError('PointerDeleted', 'This object was deleted.', 'Make it again.');
}
