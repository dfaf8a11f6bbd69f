// @ts-check
/** A request for the release of one value: what the owner reads, and how it stands. */

import { DuetError } from './errors.js';

/** @typedef {'waiting'|'released'|'denied'|'expired'|'failed'|'withdrawn'} RequestState */
/**
 * @typedef {{call: number, object: number, seq: number, name: string, reason: string, state: RequestState,
 *   ownerReason: string, askedAt: number, answeredAt: number|null}} Kept what a reload needs of one; never a value
 */

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
    /** Why the value of a released one is not here, after a reload; else empty. */
    this.missing = '';
    /** Number of the command that asked. */
    this.seq = 0;
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

  /** One of the page before a reload. @param {import('./client.js').Client} client @param {import('./pointer.js').Pointer} pointer @param {Kept} kept */
  static of(client, pointer, kept) {
    const request = new Request(client, pointer, kept.call, kept.name, kept.reason);
    const { seq, state, ownerReason, askedAt, answeredAt } = kept;
    Object.assign(request, { seq, state, ownerReason, askedAt, answeredAt });
    if (state === 'released') request.missing = NOT_KEPT;
    if (state !== 'waiting') request.finish(request);
    return request;
  }

  /** @param {boolean} isArriving its value was released and is under way @returns {Kept} */
  kept(isArriving) {
    const { call, seq, name, reason, ownerReason, askedAt, answeredAt } = this;
    return { call, object: this.pointer.id, seq, name, reason, state: isArriving ? 'released' : this.state, ownerReason, askedAt, answeredAt };
  }

  /** Gets a value that was released before the page was reloaded; nobody is asked. */
  async fetchAgain() {
    this.missing = NOT_KEPT;
    if (!this.pointer.isGone) {
      this.missing = 'Fetching what was released…';
      try {
        this.value = await this.pointer.get();
        this.missing = '';
      } catch (error) {
        if (!(error instanceof DuetError)) throw error;
        this.missing = `${NOT_KEPT} ${error.message} Ask again.`;
      }
    }
    this.client.changed(this);
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

const NOT_KEPT = 'It was released; a page keeps no values over a reload.';
