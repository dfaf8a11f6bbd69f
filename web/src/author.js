// @ts-check
/** What this client signs in one session: join, answer, confirm and goodbye. */

import { confirmInput, encodeBody, signedInput } from './bodies.js';
import { encodeProof } from './proofs.js';
import { buildSdp } from './sdp.js';

/** @typedef {import('./bytes.js').Bytes} Bytes */
/** @typedef {import('./bodies.js').Join} Join */
/** @typedef {import('./bodies.js').Sdp} Sdp */
/** @typedef {import('./bodies.js').Bye} Bye */
/** @typedef {import('./sdp.js').Description} Description */
/** @typedef {{id: string, pub: Bytes, sign: (message: Bytes) => Promise<Bytes>}} Signer */
/** @template M @typedef {{message: M, input: Bytes, body: Bytes}} Signed the input is what was signed */

const UNSIGNED = new Uint8Array(64);

export class Author {
  /** @param {Signer} key @param {Bytes} caps @param {string} sessionId */
  constructor(key, caps, sessionId) {
    this.key = key;
    this.caps = caps;
    this.sessionId = sessionId;
  }

  get #names() {
    return { session_id: this.sessionId, client_id: this.key.id, pub: this.key.pub };
  }

  /** @param {Bytes} nonce @param {number} attempt @returns {Promise<Signed<Join>>} */
  join(nonce, attempt) {
    return this.#signed(/** @type {Join} */ ({ kind: 'join', ...this.#names, nonce, attempt, caps: this.caps, sig: UNSIGNED }));
  }

  /** @param {Join} join @param {Sdp} offer @param {Description} own @returns {Promise<Signed<Sdp>>} */
  answer(join, offer, own) {
    return this.#signed(/** @type {Sdp} */ ({
      kind: 'answer',
      role: 'scientist',
      ...this.#names,
      own_nonce: join.nonce,
      peer_nonce: offer.own_nonce,
      attempt: join.attempt,
      fp: own.fingerprint,
      setup: own.setup,
      sdp: buildSdp(own),
      caps: this.caps,
      sig: UNSIGNED,
    }));
  }

  /** @param {Bytes} th @param {string} reason @returns {Promise<Signed<Bye>>} */
  bye(th, reason) {
    return this.#signed(/** @type {Bye} */ ({ kind: 'bye', role: 'scientist', ...this.#names, th, reason, sig: UNSIGNED }));
  }

  /** The frame that proves the key on a channel. @param {Bytes} th */
  async confirm(th) {
    const fields = { role: 'scientist', th, audit_head: new Uint8Array(0) };
    return encodeProof({ t: 'confirm', ...fields, sig: await this.key.sign(confirmInput(fields)) });
  }

  /** @template {Join|Sdp|Bye} M @param {M} unsigned @returns {Promise<Signed<M>>} */
  async #signed(unsigned) {
    const input = await signedInput(unsigned);
    const message = { ...unsigned, sig: await this.key.sign(input) };
    return { message, input, body: encodeBody(message) };
  }
}
