// @ts-check
/** One attempt of pairing: the messages so far and the hashes that follow from them. */

import { transcriptHash } from './bodies.js';

/** @typedef {import('./bytes.js').Bytes} Bytes */
/** @typedef {import('./bodies.js').Join} Join */
/** @typedef {import('./bodies.js').Sdp} Sdp */
/** @typedef {import('./sdp.js').Description} Description */

export const NO_PEER = 0;

export class Exchange {
  /** @param {Join} join @param {Bytes} joinInput */
  constructor(join, joinInput) {
    this.peer = NO_PEER;
    this.join = join;
    this.inputs = [joinInput];
    /** @type {Bytes[]} the hashes of the join, of join and offer, of all three */
    this.hashes = [];
    this.deadline = Infinity;
    /** @type {Sdp|null} */
    this.offer = null;
    /** @type {Description|null} */
    this.remote = null;
    /** @type {Record<string, unknown>} */
    this.caps = {};
    /** @type {Bytes} */
    this.head = new Uint8Array(0);
    this.isAnswered = false;
    this.isConfirmed = false;
  }

  /** @param {Bytes} [input] */
  async extend(input) {
    if (input !== undefined) this.inputs.push(input);
    this.hashes.push(await transcriptHash(...this.inputs));
  }

  /** The newest hash; the transcript hash as soon as there is an answer. @returns {Bytes} */
  get th() {
    return this.hashes.at(-1) ?? new Uint8Array(0);
  }
}
