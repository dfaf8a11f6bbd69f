// @ts-check
/** The owner that a person named by a session ID: what it signed for this client, and what it did not. */

import { confirmInput, signedInput } from './bodies.js';
import { equal } from './bytes.js';
import { idOf, KeyRefused } from './ids.js';
import { verify } from './keys.js';
import { parseProof } from './proofs.js';

/** @typedef {import('./bytes.js').Bytes} Bytes */
/** @typedef {import('./bodies.js').Sdp} Sdp */
/** @typedef {import('./bodies.js').Bye} Bye */
/** @typedef {import('./exchange.js').Exchange} Exchange */

export class Partner {
  /** @param {string} sessionId of the owner @param {string} clientId of this side */
  constructor(sessionId, clientId) {
    this.sessionId = sessionId;
    this.clientId = clientId;
  }

  /** Whether the owner of the session ID made this offer for this client. @param {Sdp} offer @param {Bytes} input */
  async made(offer, input) {
    if (offer.session_id !== this.sessionId || offer.client_id !== this.clientId) return false;
    return (await this.has(offer.pub)) && verify(offer.pub, input, offer.sig);
  }

  /** Whether the session ID is the hash of this key. @param {Bytes} pub */
  async has(pub) {
    try {
      return (await idOf('owner', pub)) === this.sessionId;
    } catch (error) {
      if (error instanceof KeyRefused) return false;
      throw error;
    }
  }

  /** Whether it said goodbye in this exchange. @param {Exchange} exchange @param {Bye} bye @param {number} from index of the first hash that counts */
  async left(exchange, bye, from) {
    return (
      exchange.hashes.slice(from).some((hash) => equal(hash, bye.th)) &&
      bye.role === 'owner' &&
      bye.session_id === this.sessionId &&
      bye.client_id === this.clientId &&
      (await this.has(bye.pub)) &&
      verify(bye.pub, await signedInput(bye), bye.sig)
    );
  }

  /** Whether a frame is its valid confirm of this very exchange. @param {Exchange} exchange @param {Uint8Array} data */
  async confirmed(exchange, data) {
    const proof = parseProof(data);
    if (proof?.t !== 'confirm' || proof.role !== 'owner' || exchange.offer === null) return false;
    if (!equal(proof.th, exchange.th)) return false;
    if (!(await verify(exchange.offer.pub, confirmInput(proof), proof.sig))) return false;
    exchange.head = proof.audit_head;
    return true;
  }
}
