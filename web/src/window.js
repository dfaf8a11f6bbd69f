// @ts-check
/** Numbers: what makes every command and answer arrive exactly once and in order, over reconnects. */

import { DuetError, protocolError } from './errors.js';
import * as limits from './limits.js';
import { frames } from './messages.js';

/** Our commands, until the owner has executed them. */
export class Outgoing {
  constructor() {
    this.nextSeq = 1;
    /** The last number that went into a frame of the present association. */
    this.sent = 0;
    this.acked = 0;
    this.settled = 0;
    /** @type {Uint8Array[]} acked + 1 … */
    this.kept = [];
    /** @type {number[]} bytes of settled + 1 … sent at some time */
    this.sizes = [];
    this.bytes = 0;
    this.isAdopted = false;
  }

  /** Commands that wait or are under way. */
  get pending() {
    return this.nextSeq - 1 - this.settled;
  }

  /** Numbers a command and keeps it. @param {Uint8Array} message */
  push(message) {
    this.kept.push(message);
    return this.nextSeq++;
  }

  /** Frames of what was not sent on this association, as far as the window has room. @returns {Uint8Array[]} */
  takeFrames() {
    const first = this.sent + 1;
    /** @type {Uint8Array[]} */
    const taken = [];
    for (let seq = first; seq < this.nextSeq; seq++) {
      const message = this.kept[seq - this.acked - 1];
      if (message === undefined) throw new Error('a command that is not kept');
      if (seq > this.settled + this.sizes.length) {
        const full = this.sizes.length >= limits.WINDOW_COMMANDS || this.bytes + message.length > limits.WINDOW_BYTES;
        if (full && this.sizes.length > 0) break;
        this.sizes.push(message.length);
        this.bytes += message.length;
      }
      taken.push(message);
    }
    this.sent += taken.length;
    return frames(first, taken);
  }

  /** The owner has received everything up to `seq`. @param {number} seq */
  ack(seq) {
    if (seq > this.sent) throw protocolError(`Message ${seq} was acknowledged before it was sent.`);
    if (seq <= this.acked) return;
    this.kept.splice(0, seq - this.acked);
    this.acked = seq;
  }

  /** The owner has executed everything up to `seq`. @param {number} seq */
  settle(seq) {
    this.ack(seq);
    const landed = Math.max(0, seq - this.settled);
    for (const size of this.sizes.splice(0, landed)) this.bytes -= size;
    this.settled += landed;
  }

  /** On a new association the owner says that it has everything up to `seq`. @param {number} seq */
  rewind(seq) {
    if (this.isAdopted) this.adopt(seq);
    if (seq < this.acked || seq >= this.nextSeq) throw restarted();
    this.sent = this.nextSeq - 1;
    this.ack(seq);
    this.sent = seq;
  }

  /** After a reload only the owner knows how many commands there were; those made since follow on. @param {number} seq */
  adopt(seq) {
    this.isAdopted = false;
    this.nextSeq += seq;
    this.sent = this.acked = this.settled = seq;
  }
}

/** The owner's answers. */
export class Incoming {
  constructor() {
    this.received = 0;
    this.acked = 0;
    this.ackAt = Infinity;
  }

  /** Takes a frame; gives how many of its messages are here already. @param {number} first @param {number} count @param {number} now */
  take(first, count, now) {
    if (first > this.received + 1) throw protocolError(`Message ${first} came after message ${this.received}.`);
    if (this.ackAt === Infinity) this.ackAt = now + limits.ACK_SECONDS;
    const old = Math.min(count, this.received + 1 - first);
    this.received = Math.max(this.received, first + count - 1);
    return old;
  }

  /** @param {number} now */
  isAckDue(now) {
    return this.ackAt !== Infinity && (this.received - this.acked >= limits.ACK_EVERY_COMMANDS || now >= this.ackAt);
  }

  /** The number to acknowledge with; it counts as done. */
  ack() {
    this.acked = this.received;
    this.ackAt = Infinity;
    return this.received;
  }
}

export function restarted() {
  return new DuetError('SessionLost', 'The partner was started again; this session cannot go on.', 'Connect again, with the new session ID.');
}
