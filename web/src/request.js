// @ts-check
/** A request for the release of one value: what the owner reads, and how it stands. */

import { DuetError } from './errors.js';

/** @typedef {'waiting'|'released'|'denied'|'expired'|'failed'|'withdrawn'} RequestState */

export class Request {
  /**
   * @param {import('./client.js').Client} client
   * @param {import('./pointer.js').Pointer} pointer
   * @param {number} call
   * @param {string} name
   * @param {string} reason
   */
  constructor(client, pointer, call, name, reason) {
    this.client = client;
    this.pointer = pointer;
    this.call = call;
    this.name = name;
    this.reason = reason;
    /** @type {RequestState} */
    this.state = 'waiting';
    /** Of a released request. @type {any} */
    this.value = undefined;
    /** The owner's words to a denial, or why there is no value. */
    this.ownerReason = '';
    this.askedAt = Date.now();
    /** @type {number|null} */
    this.answeredAt = null;
    /** @type {(request: Request) => void} */
    this.finish = () => {};
    /** Resolves with this request as soon as it does not wait any more. @type {Promise<Request>} */
    this.done = new Promise((resolve) => {
      this.finish = resolve;
    });
  }

  /** 16 hex digits; the owner sees the same. */
  get id() {
    return this.call.toString(16).padStart(16, '0');
  }

  /** Takes the request back. @throws {DuetError} RequestClosed */
  withdraw() {
    if (this.state !== 'waiting') throw new DuetError('RequestClosed', `The request ${this.name} is ${this.state} already.`);
    this.client.withdraw(this);
    this.close('withdrawn');
  }

  /** @param {RequestState} state @param {string} [ownerReason] @param {any} [value] */
  close(state, ownerReason = '', value = undefined) {
    if (this.state !== 'waiting') return;
    this.state = state;
    this.ownerReason = ownerReason;
    this.value = value;
    this.answeredAt = Date.now();
    this.finish(this);
    this.client.changed(this);
  }
}
