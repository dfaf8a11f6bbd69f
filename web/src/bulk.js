// @ts-check
/**
 * Blobs on channel 2: kind u8 | transfer u64 | offset u64 | total u64 | bytes, big-endian.
 *
 * A sender sends `BULK_EARLY_BYTES` of a transfer by itself and the rest when the receiver says GO,
 * so a receiver never holds more than `BULK_BUFFER_BYTES` that nobody declared to it. This client
 * receives released values of any size, and sends only small tensors, which fit into that part.
 */

import { concat } from './bytes.js';
import { BULK } from './channel.js';
import { connectionLost, DuetError, protocolError } from './errors.js';
import * as limits from './limits.js';

/** @typedef {import('./bytes.js').Bytes} Bytes */

const CHUNK = 1;
const CANCEL = 2;
const GO = 3;
const REFUSE = 4;
const HEADER_BYTES = 25;
const CHUNK_BYTES = limits.MESSAGE_MAX_BYTES - HEADER_BYTES;

class Transfer {
  constructor() {
    /** @type {number|null} known from the declaration or the first chunk */
    this.total = null;
    this.received = 0;
    this.isDeclared = false;
    this.hasBegun = false;
    this.isCancelled = false;
    /** @type {Uint8Array[]} */
    this.early = [];
    /** @type {Bytes|null} */
    this.into = null;
    /** @type {(bytes: Bytes) => void} */
    this.resolve = () => {};
    /** @type {(error: DuetError) => void} */
    this.reject = () => {};
  }
}

/** @param {number} kind @param {number} transfer @param {number} [offset] @param {number} [total] */
export function header(kind, transfer, offset = 0, total = 0) {
  const bytes = new Uint8Array(HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, kind);
  view.setBigUint64(1, BigInt(transfer));
  view.setBigUint64(9, BigInt(offset));
  view.setBigUint64(17, BigInt(total));
  return bytes;
}

/** @param {Uint8Array} data */
function readHeader(data) {
  if (data.length < HEADER_BYTES) throw protocolError('A message of a transfer has no header.');
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const kind = view.getUint8(0);
  const [transfer, offset, total] = [1, 9, 17].map((at) => Number(view.getBigUint64(at)));
  if (transfer === undefined || offset === undefined || total === undefined || kind < CHUNK || kind > REFUSE)
    throw protocolError('A message of a transfer has no header.');
  if (![transfer, offset, total].every(Number.isSafeInteger)) throw protocolError('A transfer is too long.');
  if (kind !== CHUNK && (data.length !== HEADER_BYTES || offset > 0 || total > 0))
    throw protocolError('A message of a transfer has bytes that it may not have.');
  return { kind, transfer, offset, total };
}

/** What a transfer of some bytes counts for while there is no GO. @param {number} size */
function charge(size) {
  return Math.max(Math.min(size, limits.BULK_EARLY_BYTES), limits.BULK_CHARGE_BYTES);
}

/** Both directions; outlives an association. */
export class Bulk {
  /** @param {(transfer: number) => void} onComplete all of a declared transfer is here */
  constructor(onComplete) {
    this.onComplete = onComplete;
    /** @type {((channel: number, data: Uint8Array) => void)|null} */
    this.send = null;
    /** @type {Map<number, Transfer>} */
    this.incoming = new Map();
    /** @type {Map<number, {bytes: Uint8Array, seq: number}>} sent, and not complete there */
    this.outgoing = new Map();
    this.newest = 0;
  }

  /** Uses an association, the first or a new one; what nobody declared is forgotten. @param {(channel: number, data: Uint8Array) => void} send */
  attach(send) {
    this.send = send;
    for (const [id, transfer] of this.incoming) {
      transfer.hasBegun = false;
      if (!transfer.isDeclared && !transfer.isCancelled) this.incoming.delete(id);
    }
  }

  /** For `Resume`: bytes that are here of each declared transfer that is not complete. @returns {Map<number, number>} */
  pending() {
    return new Map([...this.incoming].filter(([, { isDeclared }]) => isDeclared).map(([id, { received }]) => [id, received]));
  }

  /** The bytes of a transfer that a message declared. @param {import('./wire.js').Blob} blob @returns {Promise<Bytes>} */
  expect({ transfer: id, nbytes }) {
    if (nbytes > limits.UPLOAD_BYTES) throw protocolError('A value is too large for this page.');
    const transfer = this.incoming.get(id) ?? new Transfer();
    if (transfer.isDeclared || (transfer.total !== null && transfer.total !== nbytes))
      throw protocolError('A transfer was declared twice, or with another size.');
    if (transfer.isCancelled) {
      this.incoming.delete(id);
      return Promise.reject(givenUp());
    }
    this.incoming.set(id, transfer);
    transfer.isDeclared = true;
    transfer.total = nbytes;
    /** @type {Promise<Bytes>} */
    const whole = new Promise((resolve, reject) => {
      transfer.resolve = resolve;
      transfer.reject = reject;
    });
    whole.catch(() => {}); // whoever waits hears of it; perhaps nobody does any more
    transfer.received = 0;
    if (transfer.hasBegun) this.say(GO, id);
    for (const part of transfer.early.splice(0)) this.write(id, transfer, part);
    return whole;
  }

  /** Takes one message of channel 2. @param {Uint8Array} data @throws {DuetError} ProtocolError */
  feed(data) {
    const { kind, transfer, offset, total } = readHeader(data);
    if (kind === CHUNK) this.take(transfer, offset, total, data.subarray(HEADER_BYTES));
    else if (kind === CANCEL) this.giveUp(transfer);
    else if (kind === REFUSE) {
      this.outgoing.delete(transfer);
      this.say(CANCEL, transfer);
    } // GO: what this side sends was sent without it
  }

  /** @param {number} id @param {number} offset @param {number} total @param {Uint8Array} part */
  take(id, offset, total, part) {
    const transfer = this.incoming.get(id) ?? new Transfer();
    if (transfer.isCancelled) throw protocolError('A transfer went on after its end.');
    if (offset !== transfer.received || offset + part.length > total || (part.length === 0) !== (total === 0))
      throw protocolError('A chunk does not follow the one before.');
    if (transfer.total !== null && transfer.total !== total) throw protocolError('A transfer changed its size.');
    if (!transfer.hasBegun) this.begin(id, transfer, total);
    if (transfer.isDeclared) this.write(id, transfer, part);
    else if (transfer.received + part.length > limits.BULK_EARLY_BYTES) throw protocolError('More of a transfer came than may come undeclared.');
    else {
      transfer.received += part.length;
      transfer.early.push(part.slice());
    }
  }

  /** @param {number} id @param {Transfer} transfer @param {number} total */
  begin(id, transfer, total) {
    transfer.hasBegun = true;
    transfer.total = total;
    this.incoming.set(id, transfer);
    const begun = [...this.incoming.values()].filter(({ hasBegun }) => hasBegun);
    if (begun.filter((found) => found.received < (found.total ?? 0)).length > limits.TRANSFERS) throw protocolError('Too many transfers at once.');
    if (transfer.isDeclared) {
      this.say(GO, id);
      return;
    }
    const undeclared = begun.filter(({ isDeclared }) => !isDeclared);
    if (undeclared.reduce((sum, found) => sum + charge(found.total ?? 0), 0) > limits.BULK_BUFFER_BYTES)
      throw protocolError('Too much came without a declaration.');
  }

  /** @param {number} id @param {Transfer} transfer @param {Uint8Array} part */
  write(id, transfer, part) {
    const total = transfer.total ?? 0;
    transfer.into ??= new Uint8Array(total);
    transfer.into.set(part, transfer.received);
    transfer.received += part.length;
    if (transfer.received < total) return;
    this.incoming.delete(id);
    this.onComplete(id);
    transfer.resolve(transfer.into);
  }

  /** @param {number} id */
  giveUp(id) {
    const transfer = this.incoming.get(id);
    this.incoming.delete(id);
    if (transfer?.isDeclared) {
      transfer.reject(givenUp());
      return;
    }
    // its declaration may still be on its way, on the other channel
    const cancelled = new Transfer();
    cancelled.isCancelled = true;
    this.incoming.set(id, cancelled);
    if ([...this.incoming.values()].filter((found) => found.isCancelled).length > limits.BULK_REFUSED)
      throw protocolError('Too many transfers were given up.');
  }

  /** The session is over. @param {DuetError} error */
  close(error) {
    for (const transfer of this.incoming.values()) transfer.reject(error);
    this.incoming.clear();
    this.outgoing.clear();
    this.send = null;
  }

  // out: small tensors only, see above

  /** The id for the `Blob` of the message that declares these bytes. @param {Uint8Array} bytes */
  announce(bytes) {
    if (bytes.length > limits.AUTO_UPLOAD_BYTES) throw new DuetError('TensorTooLarge', `A tensor of ${bytes.length} bytes is too large to send from a page.`, `At most ${limits.AUTO_UPLOAD_BYTES} bytes.`);
    this.newest += 1;
    this.outgoing.set(this.newest, { bytes, seq: Infinity });
    return this.newest;
  }

  /** The message that declares a transfer has this number; the bytes follow if there is an association. @param {number} id @param {number} seq */
  declared(id, seq) {
    const transfer = this.outgoing.get(id);
    if (transfer === undefined) return;
    transfer.seq = seq;
    if (this.send !== null) this.sendAll(id, transfer.bytes, 0);
  }

  /** The owner has or refused all of one of ours. @param {number} id */
  completed(id) {
    this.outgoing.delete(id);
  }

  /** The owner said what it has: commands up to `seq`, and parts of some transfers. @param {number} seq @param {Map<number, number>} pending */
  resume(seq, pending) {
    for (const [id, transfer] of [...this.outgoing]) {
      const offset = pending.get(id);
      if (offset === undefined && transfer.seq <= seq) this.outgoing.delete(id);
      else if ((offset ?? 0) > transfer.bytes.length) throw protocolError('The partner has more of a transfer than was declared.');
      else this.sendAll(id, transfer.bytes, offset ?? 0);
    }
  }

  /** @param {number} id @param {Uint8Array} bytes @param {number} start */
  sendAll(id, bytes, start) {
    if (start === bytes.length && start > 0) return;
    let offset = start;
    do {
      const part = bytes.subarray(offset, offset + CHUNK_BYTES);
      this.post(concat(header(CHUNK, id, offset, bytes.length), part));
      offset += part.length;
    } while (offset < bytes.length);
  }

  /** @param {number} kind @param {number} id */
  say(kind, id) {
    this.post(header(kind, id));
  }

  /** @param {Uint8Array} data */
  post(data) {
    try {
      this.send?.(BULK, data);
    } catch (error) {
      if (!(error instanceof DuetError)) throw error; // the association's end has its own event
    }
  }
}

function givenUp() {
  return connectionLost('The partner gave up sending this value.');
}
