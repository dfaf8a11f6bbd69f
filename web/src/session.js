// @ts-check
/**
 * The one door of this client library: a scientist's session with one owner.
 *
 * It carries frames between an association and the windows, keeps the time, and remembers in this
 * tab what a reload needs to go on: how many answers were received, the owner's epoch, the store.
 */

import { Association } from './association.js';
import { b64decode, b64encode, utf8 } from './bytes.js';
import { Bulk } from './bulk.js';
import { BULK } from './channel.js';
import { Client } from './client.js';
import { connectionLost, DuetError, partnerLeft, protocolError } from './errors.js';
import { clock, Handshake } from './handshake.js';
import { parse, textOf } from './ids.js';
import { tabKey } from './keys.js';
import * as limits from './limits.js';
import * as memory from './memory.js';
import { encodeMessage } from './messages.js';
import { Incoming, Outgoing } from './window.js';
import { Stages } from './stages.js';
import { DIGEST } from './surface.js';
import { checkUrl } from './urls.js';
import { VERSION } from './version.js';

export { DuetError } from './errors.js';
export { Pointer } from './pointer.js';
export { Request } from './request.js';
export { Tensor } from './tensor.js';
export { Complex, Dtype, Float, Range, Slice, Tuple } from './wire.js';

/** @typedef {import('./client.js').StoreEntry} StoreEntry */
/** @typedef {import('./channel.js').Channels} Channels */
/** @typedef {'idle'|'connecting'|'open'|'reconnecting'|'closed'} State */

const STATUS_MS = 2_000;
const ID_BLOCK = 1_024; // ids that a page may use after it last wrote down its newest one

/** @type {Promise<import('./keys.js').Key>|null} one for the whole page */
let ownKey = null;

export class Session extends EventTarget {
  /**
   * Nothing starts yet.
   *
   * @param {object} options
   * @param {string} options.sessionId that the owner passed on, in any spelling
   * @param {string} options.url of the signalling server
   * @param {import('./keys.js').Key} [options.keys] default: this tab's
   * @param {RTCIceServer[]} [options.iceServers] in place of those that the server hands out
   * @param {memory.PointerFacts[]} [options.adopted] pointers that this page had before it was reloaded
   *   and wants to go on with; the owner's side forgets the others. They are in `restored` then
   * @throws {DuetError} InvalidId, SignalingUnreachable
   */
  constructor({ sessionId, url, keys, iceServers, adopted = [] }) {
    super();
    const parsed = parse(sessionId, 'owner');
    if (!('id' in parsed)) throw new DuetError('InvalidId', textOf(parsed, 'session ID'));
    this.sessionId = parsed.id;
    this.url = checkUrl(url);
    this.clientId = keys?.id ?? '';
    this.keys = keys;
    this.iceServers = iceServers;
    /** @type {State} */
    this.state = 'idle';
    /** @type {'direct'|'relayed'|null} */
    this.path = null;
    /** @type {number|null} */
    this.iceRtt = null;
    this.sentBefore = 0;
    this.receivedBefore = 0;
    this.outgoing = new Outgoing();
    this.incoming = new Incoming();
    /** @type {import('./bytes.js').Bytes} */
    this.epoch = new Uint8Array(0);
    /** @type {Channels|null} */
    this.channels = null;
    /** @type {Association|null} */
    this.association = null;
    /** @type {Handshake|null} */
    this.handshake = null;
    this.stages = new Stages((event, detail) => this.tell(event, detail), (kind, text) => this.log(kind, text));
    this.adopted = adopted;
    /** @type {memory.Recollection|null} */
    this.recollection = null;
    /** Pointers of the page before a reload, once the session goes on; null: it began with this page. @type {Map<number, import('./pointer.js').Pointer>|null} */
    this.restored = null;
    this.idsKept = 0;
    this.isPumpDue = false;
    this.lostAt = 0;
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    this.timer = undefined;
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    this.flushTimer = undefined;
    /** @type {ReturnType<typeof setInterval>|undefined} */
    this.statusTimer = undefined;
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    this.giveUpTimer = undefined;
    /** @type {Promise<void>|null} */
    this.connecting = null;
    /** @type {() => void} */
    this.resolve = () => {};
    /** @type {(error: DuetError) => void} */
    this.reject = () => {};
    this.bulk = new Bulk((transfer) => {
      this.association?.complete(transfer);
      this.pumpSoon();
    });
    this.client = new Client(this.sessionId, {
      post: (message) => this.post(message),
      announce: (bytes) => this.bulk.announce(bytes),
      declared: (transfer, seq) => this.bulk.declared(transfer, seq),
      expect: (blob) => this.bulk.expect(blob),
      tell: (event, detail) => {
        if (event === 'request') this.keep(false);
        if (event === 'log') this.log('engine', detail);
        else this.tell(event, detail);
      },
      ready: () => this.resolve(),
      fail: (error) => this.break(error),
    });
    this.onHide = () => {
      this.pump();
      this.keep(true);
    };
  }

  /** Makes or loads this tab's key, so that a page can show the client ID at once. @returns {Promise<{clientId: string}>} */
  static async identity() {
    ownKey ??= tabKey();
    return { clientId: (await ownKey).id };
  }

  get torch() {
    return this.client.torch;
  }

  /** What the owner shares, at this moment. @returns {StoreEntry[]} */
  get store() {
    return this.client.store;
  }

  /** @returns {import('./request.js').Request[]} */
  get requests() {
    return this.client.requests;
  }

  /** @param {StoreEntry} entry */
  pointer(entry) {
    return this.client.pointer(entry);
  }

  status() {
    return {
      state: this.state,
      path: this.path,
      rttMs: this.rttMs,
      sent: this.sentBefore + (this.channels?.sent ?? 0),
      received: this.receivedBefore + (this.channels?.received ?? 0),
    };
  }

  /** Milliseconds to the partner and back. @returns {number|null} */
  get rttMs() {
    const seconds = this.association?.rtt ?? this.iceRtt;
    return seconds === null ? null : Math.round(seconds * 10_000) / 10;
  }

  /** Resolves when the session is verified and open; rejects with a DuetError. @returns {Promise<void>} */
  connect() {
    this.connecting ??= new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
      this.start().catch((error) => this.finish(error instanceof DuetError ? error : new DuetError('Unsupported', String(error))));
    });
    return this.connecting;
  }

  async start() {
    this.setState('connecting');
    this.stages.set('code', 'doing');
    if (this.keys === undefined) {
      ownKey ??= tabKey();
      this.keys = await ownKey;
    }
    this.clientId = this.keys.id;
    this.restore();
    this.stages.set('code', 'done');
    this.stages.set('signalling', 'doing');
    globalThis.addEventListener?.('pagehide', this.onHide);
    this.handshake = new Handshake({
      key: this.keys,
      caps: capabilities(),
      sessionId: this.sessionId,
      url: this.url,
      ...(this.iceServers === undefined ? {} : { iceServers: this.iceServers }),
      listener: {
        onLink: (channels) => this.attach(channels),
        onFrame: (channels, channel, data) => this.frame(channels, channel, data),
        onLost: (channels, error) => this.lost(channels, error),
        onEnded: (error) => this.finish(error),
        onProgress: (progress) => this.stages.progress(progress, this.state === 'open'),
      },
    });
    this.handshake.start();
  }

  /** Ends the session: what was sent is delivered, then the partner hears goodbye. @returns {Promise<void>} */
  async close() {
    if (this.state === 'closed') return;
    const deadline = clock() + limits.CLOSE_SECONDS;
    while (this.association?.state === 'open' && this.outgoing.nextSeq - 1 > this.outgoing.acked && clock() < deadline) {
      this.pump();
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    this.leave('closed');
    if (this.channels !== null) await Promise.race([this.channels.drained(0), new Promise((resolve) => setTimeout(resolve, 250))]);
    await this.handshake?.close('closed');
    this.finish(new DuetError('SessionClosed', 'This session was closed.'));
  }

  // commands

  /** @param {import('./messages.js').Message} message */
  post(message) {
    if (this.state === 'closed') throw new DuetError('SessionClosed', 'This session is over.', 'Connect again.');
    const seq = this.outgoing.push(encodeMessage(message));
    if (this.client.newestId >= this.idsKept) this.keep(false);
    if (message.kind === 'Request' || message.kind === 'Get' || message.kind === 'Withdraw') this.pumpSoon();
    else this.flushTimer ??= setTimeout(() => this.pump(), limits.FRAME_FLUSH_SECONDS * 1000);
    this.log('command', message.kind === 'Op' ? message.name : message.kind);
    return seq;
  }

  // associations

  /** @param {Channels} channels */
  attach(channels) {
    this.detach();
    this.channels = channels;
    this.bulk.attach((channel, data) => channels.send(channel, data));
    this.association = new Association({
      outgoing: this.outgoing,
      incoming: this.incoming,
      epoch: this.epoch,
      transfers: this.bulk.pending(),
      now: clock(),
    });
    this.pump();
  }

  detach() {
    this.sentBefore += this.channels?.sent ?? 0;
    this.receivedBefore += this.channels?.received ?? 0;
    this.channels = null;
    this.association = null;
    clearTimeout(this.timer);
  }

  /** @param {Channels} channels @param {number} channel @param {Uint8Array} data */
  frame(channels, channel, data) {
    const association = this.association;
    if (channels !== this.channels || association === null) return;
    try {
      if (channel === BULK) {
        association.hear(clock());
        this.bulk.feed(data);
      } else {
        for (const event of association.receive(channel, data, clock())) this.handle(event);
      }
      if (this.incoming.ackAt !== Infinity) this.keep(false); // before the owner hears that it arrived
      this.pumpSoon();
    } catch (error) {
      this.break(error instanceof DuetError ? error : protocolError(`The page failed on a message: ${error}.`));
    }
  }

  /** @param {import('./association.js').Event} event */
  handle(event) {
    switch (event.kind) {
      case 'received':
        void Promise.resolve(this.client.receive(event.message)).catch((error) => this.break(protocolError(String(error))));
        return;
      case 'resumed':
        return this.resumed(event);
      case 'completed':
        return this.bulk.completed(event.transfer);
      case 'left':
        return this.break(partnerLeft(event.reason));
      default: // settled: the window has room again
    }
  }

  /** @param {Extract<import('./association.js').Event, {kind: 'resumed'}>} event */
  resumed({ seq, epoch, transfers }) {
    this.epoch = epoch;
    this.bulk.resume(seq, transfers);
    clearTimeout(this.giveUpTimer);
    this.stages.set('verified', 'done');
    this.setState('open');
    this.keep(false);
    clearInterval(this.statusTimer);
    this.statusTimer = setInterval(() => void this.measure(), STATUS_MS);
    void this.measure();
    if (this.recollection !== null) {
      this.restored = this.recollection.complete(seq);
      this.recollection = null;
      this.client.storeChanged();
    }
  }

  /** The link is gone; the handshake joins again by itself. @param {Channels} channels @param {DuetError} error */
  lost(channels, error) {
    if (channels !== this.channels) return;
    this.detach();
    if (this.state === 'closed' || error.code !== 'ConnectionLost') return;
    this.path = null;
    this.log('lost', error.message);
    this.setState('reconnecting', error.message);
    this.stages.set('signalling', 'doing');
    clearTimeout(this.giveUpTimer);
    this.giveUpTimer = setTimeout(() => this.finish(connectionLost('The partner did not come back in time.')), limits.RESUME_SECONDS * 1000);
  }

  /** A rule was broken, or the partner left: the session is over. @param {DuetError} error */
  break(error) {
    if (this.state === 'closed') return;
    const { channels } = this;
    if (error.code !== 'PartnerLeft') this.leave('error');
    if (channels !== null) this.handshake?.linkLost(channels, error);
    this.finish(error);
  }

  /** @param {string} reason */
  leave(reason) {
    this.association?.leave(reason);
    this.pump();
  }

  /** @param {DuetError} error why it is over for good */
  finish(error) {
    if (this.state === 'closed') return;
    const doing = this.stages.doing;
    this.detach();
    for (const timer of [this.timer, this.flushTimer, this.giveUpTimer]) clearTimeout(timer);
    clearInterval(this.statusTimer);
    globalThis.removeEventListener?.('pagehide', this.onHide);
    this.path = null;
    this.bulk.close(error);
    this.client.close(error);
    memory.forget();
    if (doing !== undefined && error.code !== 'SessionClosed') this.stages.set(doing, 'failed', error);
    this.setState('closed', error.message);
    this.log('closed', error.message);
    void this.handshake?.close('closed');
    this.reject(error);
    this.connecting?.catch(() => {});
  }

  // out

  pumpSoon() {
    if (this.isPumpDue) return;
    this.isPumpDue = true;
    queueMicrotask(() => this.pump());
  }

  pump() {
    this.isPumpDue = false;
    clearTimeout(this.flushTimer);
    this.flushTimer = undefined;
    const { association, channels } = this;
    if (association === null || channels === null) return;
    const now = clock();
    if (association.isSilent(now)) {
      this.handshake?.linkLost(channels, connectionLost('Nothing was heard of the partner for too long.'));
      return;
    }
    try {
      for (const [channel, frame] of association.takeFrames(now)) channels.send(channel, frame);
    } catch (error) {
      if (!(error instanceof DuetError)) throw error;
      this.handshake?.linkLost(channels, error);
      return;
    }
    clearTimeout(this.timer);
    if (association.state !== 'over')
      this.timer = setTimeout(() => this.pump(), Math.max(5, (association.nextTick() - now) * 1000));
  }

  // what a reload needs

  /** @param {boolean} isLeaving */
  keep(isLeaving) {
    if (this.keys === undefined || this.epoch.length === 0 || this.state === 'closed') return;
    this.idsKept = this.client.newestId + ID_BLOCK;
    try {
      memory.remember({
        sessionId: this.sessionId,
        clientId: this.clientId,
        epoch: b64encode(this.epoch),
        received: this.incoming.received,
        newestId: isLeaving ? this.client.newestId : this.idsKept,
        ...memory.factsOf(this.client, isLeaving, this.outgoing.acked),
      });
    } catch (error) {
      this.log('storage', `This tab cannot remember the session for a reload (${error}).`);
    }
  }

  /** Takes up what this tab remembers of the same session. */
  restore() {
    const facts = memory.recall(this.sessionId, this.clientId);
    if (facts === null) return;
    this.epoch = b64decode(facts.epoch);
    this.incoming.received = this.incoming.acked = facts.received;
    this.outgoing.isAdopted = true;
    this.recollection = new memory.Recollection(this.client, facts, this.adopted);
  }

  // events

  /** @param {State} state @param {string} [reason] */
  setState(state, reason) {
    this.state = state;
    this.tell('state', { state, path: this.path, rttMs: this.rttMs, ...(reason ? { reason } : {}) });
  }

  async measure() {
    const { channels } = this;
    if (channels === null) return;
    const { path, rtt } = await channels.path();
    if (channels !== this.channels || this.state !== 'open') return;
    this.path = path;
    this.iceRtt = rtt;
    this.setState('open');
  }

  /** @param {string} kind @param {string} text */
  log(kind, text) {
    this.tell('log', { at: Date.now(), kind, text });
  }

  /** @param {string} event @param {any} detail */
  tell(event, detail) {
    this.dispatchEvent(new CustomEvent(event, { detail }));
  }
}

/** What this side can do, as the exact bytes that are signed. */
function capabilities() {
  return utf8(JSON.stringify({ v: 1, sw: `duet-web/${VERSION}`, max_msg: limits.MESSAGE_MAX_BYTES, ops: DIGEST, conf: 1 }));
}


