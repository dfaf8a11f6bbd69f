// @ts-check
/**
 * One open association of a session, from its first `Resume` to its end. Frames go in, events come
 * out, what is to be sent waits in `takeFrames`; the windows belong to the session and outlive it.
 */

import { equal } from './bytes.js';
import { CTL, OPS } from './channel.js';
import { protocolError } from './errors.js';
import * as limits from './limits.js';
import { decodeFrame, encodeMessage, frames } from './messages.js';
import { restarted } from './window.js';

/** @typedef {import('./messages.js').Message} Message */
/** @typedef {import('./bytes.js').Bytes} Bytes */
/**
 * @typedef {{kind: 'received', seq: number, message: Message}
 *   | {kind: 'resumed', seq: number, epoch: Bytes, transfers: Map<number, number>}
 *   | {kind: 'settled', seq: number}
 *   | {kind: 'completed', transfer: number}
 *   | {kind: 'left', reason: string}} Event
 */

export class Association {
  /**
   * @param {object} options
   * @param {import('./window.js').Outgoing} options.outgoing
   * @param {import('./window.js').Incoming} options.incoming
   * @param {Bytes} options.epoch of the owner; empty where it was never met
   * @param {Map<number, number>} options.transfers incomplete ones of the owner: id to bytes here
   * @param {number} options.now
   */
  constructor({ outgoing, incoming, epoch, transfers, now }) {
    /** @type {'opening'|'open'|'over'} */
    this.state = 'opening';
    this.outgoing = outgoing;
    this.incoming = incoming;
    this.epoch = epoch;
    /** Seconds of the last ping, there and back. @type {number|null} */
    this.rtt = null;
    /** @type {Message[]} */
    this.life = [{ kind: 'Resume', seq: incoming.received, epoch, transfers }];
    /** @type {number|null} */
    this.pong = null;
    this.pings = 0;
    this.pingSent = now;
    this.pingAt = now + limits.PING_SECONDS;
    this.heard = now;
  }

  /** Something arrived on a channel that is not read here. @param {number} now */
  hear(now) {
    this.heard = now;
  }

  /** Takes a frame of channel 0. @param {number} channel @param {Uint8Array} data @param {number} now @returns {Event[]} @throws {import('./errors.js').DuetError} */
  receive(channel, data, now) {
    if (this.state === 'over') return [];
    this.heard = now;
    const { first, group, messages } = decodeFrame(data);
    if (channel !== CTL || group === 1) throw protocolError(`${messages[0]?.kind} went the wrong way.`);
    if (group === 2) return this.receiveNumbered(first, messages, now);
    /** @type {Event[]} */
    const events = [];
    for (const message of messages) {
      events.push(...this.receiveLife(message, now));
      if (message.kind === 'Bye') break;
    }
    return events;
  }

  /** @param {number} first @param {Message[]} messages @param {number} now @returns {Event[]} */
  receiveNumbered(first, messages, now) {
    if (this.state === 'opening') throw protocolError('Resume did not come first.');
    const old = this.incoming.take(first, messages.length, now);
    return messages.slice(old).map((message, index) => ({ kind: 'received', seq: first + old + index, message }));
  }

  /** @param {Message} message @param {number} now @returns {Event[]} */
  receiveLife(message, now) {
    if (message.kind === 'Bye') {
      this.state = 'over';
      return [{ kind: 'left', reason: message.reason }];
    }
    if ((message.kind === 'Resume') !== (this.state === 'opening')) throw protocolError('Resume comes first on an association, and once.');
    switch (message.kind) {
      case 'Resume':
        return this.resume(message);
      case 'Ack':
        this.outgoing.ack(message.seq);
        return [];
      case 'Settled':
        this.outgoing.settle(message.seq);
        return [{ kind: 'settled', seq: message.seq }];
      case 'Complete':
        return [{ kind: 'completed', transfer: message.transfer }];
      case 'Ping':
        this.pong = message.token; // one answer is enough for any number of pings at once
        return [];
      default:
        return this.receivePong(message.token, now);
    }
  }

  /** @param {number} token @param {number} now @returns {Event[]} */
  receivePong(token, now) {
    if (token < 1 || token > this.pings) throw protocolError('A Pong without a Ping.');
    if (token === this.pings) this.rtt = now - this.pingSent;
    return [];
  }

  /** @param {Message} message @returns {Event[]} */
  resume(message) {
    if (message.epoch.length === 0) throw protocolError('An owner has an epoch.');
    if (this.epoch.length > 0 && !equal(this.epoch, message.epoch)) throw restarted();
    this.outgoing.rewind(message.seq);
    this.epoch = message.epoch;
    this.state = 'open';
    return [{ kind: 'resumed', seq: message.seq, epoch: message.epoch, transfers: message.transfers }];
  }

  // out

  /** All bytes of a transfer of the owner are here. @param {number} transfer */
  complete(transfer) {
    this.life.push({ kind: 'Complete', transfer });
  }

  /** Says `Bye` after everything else; nothing is received any more. @param {string} reason */
  leave(reason) {
    if (this.state === 'over') return;
    this.state = 'over';
    this.life.push({ kind: 'Bye', reason });
  }

  /** What is to be sent now, in order. @param {number} now @returns {[number, Uint8Array][]} */
  takeFrames(now) {
    const wasOpen = this.state === 'open';
    if (this.state !== 'over') this.addDue(now);
    const life = this.life.splice(0).map(encodeMessage);
    /** @type {[number, Uint8Array][]} */
    const result = frames(0, life).map((frame) => [CTL, frame]);
    if (wasOpen) for (const frame of this.outgoing.takeFrames()) result.push([OPS, frame]);
    return result;
  }

  /** @param {number} now */
  addDue(now) {
    if (this.pong !== null) {
      this.life.push({ kind: 'Pong', token: this.pong });
      this.pong = null;
    }
    if (now >= this.pingAt) {
      this.pings += 1;
      this.pingSent = now;
      this.pingAt = now + limits.PING_SECONDS;
      this.life.push({ kind: 'Ping', token: this.pings });
    }
    if (this.incoming.isAckDue(now)) this.life.push({ kind: 'Ack', seq: this.incoming.ack() });
  }

  /** Whether nothing was heard for too long. @param {number} now */
  isSilent(now) {
    return this.state !== 'over' && now - this.heard >= limits.PEER_LOST_SECONDS;
  }

  /** When `isSilent` and `takeFrames` are to be called next, if nothing happens before. */
  nextTick() {
    return Math.min(this.heard + limits.PEER_LOST_SECONDS, this.pingAt, this.incoming.ackAt);
  }
}
