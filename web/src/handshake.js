// @ts-check
/**
 * The shell of pairing: runs the machine until a verified link is open, and keeps running.
 *
 * Everything that happens goes through one queue, because the machine waits for WebCrypto: the next
 * event is looked at when the last one has been dealt with, frames of the partner included.
 */

import { CTL, Channels } from './channel.js';
import { DuetError, protocolError } from './errors.js';
import * as limits from './limits.js';
import { Pairing } from './pairing.js';
import { parseProof } from './proofs.js';
import { Signaling } from './signaling.js';

/** @typedef {import('./pairing_states.js').Effect} Effect */
/** @typedef {import('./bytes.js').Bytes} Bytes */
/**
 * @typedef {object} Listener
 * @property {(channels: Channels, facts: {caps: Record<string, unknown>, head: Bytes}) => void} onLink
 * @property {(channels: Channels, channel: number, data: Uint8Array) => void} onFrame
 * @property {(channels: Channels, error: DuetError) => void} onLost
 * @property {(error: DuetError) => void} onEnded the pairing is over, and nothing more will happen by itself
 * @property {(event: Progress) => void} onProgress
 */
/** @typedef {{kind: 'registered'|'offered'|'path'|'channel'|'noAnswerYet'} | {kind: 'attemptFailed', error: DuetError} | {kind: 'rejected', count: number}} Progress */

class Run {
  /** @param {number} number @param {Channels} channels */
  constructor(number, channels) {
    this.number = number;
    this.channels = channels;
    this.isOpen = false;
    /** @type {[number, Uint8Array][]} */
    this.early = [];
    this.earlyBytes = 0;
  }
}

export class Handshake {
  /**
   * @param {object} options
   * @param {import('./author.js').Signer} options.key
   * @param {Bytes} options.caps
   * @param {string} options.sessionId
   * @param {string} options.url
   * @param {RTCIceServer[]} [options.iceServers] in place of those that the server hands out
   * @param {Listener} options.listener
   */
  constructor({ key, caps, sessionId, url, iceServers, listener }) {
    this.sessionId = sessionId;
    this.listener = listener;
    this.iceServers = iceServers;
    this.isClosed = false;
    /** @type {Map<number, Run>} */
    this.runs = new Map();
    /** @type {Promise<void>} */
    this.tail = Promise.resolve();
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    this.timer = undefined;
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    this.rest = undefined;
    this.signaling = new Signaling(url, key, {
      onMessage: (from, body) => this.enqueue(() => this.machine.received(from, body, clock())),
      onEvent: (event) => {
        if (event === 'registered') listener.onProgress({ kind: 'registered' });
        this.enqueue(() => this.machine.relayIsBack(clock()));
      },
      onEnd: (error) => this.signalingEnded(error),
    });
    const unixOffset = Date.now() / 1000 - clock();
    this.machine = new Pairing({ key, caps, sessionId, loopback: this.signaling.isLocal, unixOffset });
    this.onNetwork = () => this.signaling.hurry(this.machine.retry.hurries(clock()));
  }

  start() {
    globalThis.addEventListener?.('online', this.onNetwork);
    this.signaling.start();
    this.enqueue(() => this.machine.begin(clock()));
  }

  /** The session gives a link up: the partner is silent, or left, or broke the protocol. @param {Channels} channels @param {DuetError} error */
  linkLost(channels, error) {
    for (const run of this.runs.values()) {
      if (run.channels === channels) this.enqueue(() => this.machine.lost(run.number, error, clock()));
    }
  }

  /** Ends; a partner without a link gets a signed goodbye. @param {string} reason @returns {Promise<void>} */
  async close(reason) {
    if (this.isClosed) return;
    globalThis.removeEventListener?.('online', this.onNetwork);
    await this.enqueue(() => this.machine.close(reason, clock()));
    this.isClosed = true;
    clearTimeout(this.timer);
    clearTimeout(this.rest);
    for (const number of [...this.runs.keys()]) this.closeRun(number);
    this.signaling.close(true);
  }

  // the queue

  /** @param {() => Promise<void>} event @returns {Promise<void>} */
  enqueue(event) {
    this.tail = this.tail
      .then(async () => {
        if (this.isClosed) return;
        await event();
        this.perform();
      })
      .catch((error) => this.broke(error));
    return this.tail;
  }

  /** A mistake of ours: nothing more can be trusted to be in order. @param {unknown} error */
  broke(error) {
    console.error(error);
    const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    this.finish(new DuetError('ConnectFailed', `The page failed while pairing: ${text}.`, 'Reload the page.'));
  }

  /** @param {DuetError} error */
  finish(error) {
    if (this.isClosed) return;
    this.isClosed = true;
    clearTimeout(this.timer);
    clearTimeout(this.rest);
    globalThis.removeEventListener?.('online', this.onNetwork);
    for (const number of [...this.runs.keys()]) this.closeRun(number);
    this.signaling.close(true);
    this.listener.onEnded(error);
  }

  setTimer() {
    clearTimeout(this.timer);
    const at = this.machine.nextTick();
    if (this.isClosed || at === Infinity) return;
    this.timer = setTimeout(() => this.enqueue(() => this.tick()), Math.max(5, (at - clock()) * 1000));
  }

  /** Time has passed. An attempt whose time is over fails for what the browser knows of it: of TURN, for example. */
  async tick() {
    const now = clock();
    const { exchange, state } = this.machine;
    const run = exchange === null ? undefined : this.runs.get(exchange.peer);
    if (exchange !== null && run !== undefined && state === 'answering' && now >= exchange.deadline)
      await this.machine.failed(run.number, await run.channels.failure(), now);
    await this.machine.tick(now);
  }

  /** @param {DuetError} error */
  signalingEnded(error) {
    // a link goes on without the server; a wait cannot
    if (this.machine.liveState !== 'open') this.finish(error);
  }

  // effects

  perform() {
    for (const effect of this.machine.takeEffects()) this.performOne(effect);
    this.setTimer();
  }

  /** @param {Effect} effect */
  performOne(effect) {
    switch (effect.kind) {
      case 'post':
        clearTimeout(this.rest);
        return this.signaling.post(this.sessionId, effect.body, effect.isJoin);
      case 'makePeer':
        void this.connect(effect.peer, effect.offer);
        return;
      case 'sendProof':
        return this.sendProof(effect.peer, effect.data);
      case 'closePeer':
        return this.closeRun(effect.peer);
      case 'linkOpened':
        return this.opened(effect);
      case 'linkClosed':
        return this.linkClosed(effect);
      case 'ended':
        return this.finish(effect.error);
      default:
        this.listener.onProgress(effect);
    }
  }

  /** Works on one peer; whatever breaks it ends the attempt, not the session. @param {number} number @param {string} offer */
  async connect(number, offer) {
    const iceServers = this.iceServers ?? (await this.signaling.refreshIce());
    const channels = new Channels({
      iceServers,
      loopback: this.signaling.isLocal,
      onFrame: (channel, data) => this.enqueue(() => this.frame(run, channel, data)),
      onClosed: (error) => this.enqueue(() => this.lost(run, error)),
    });
    const run = new Run(number, channels);
    if (this.isClosed || this.machine.exchangeOf(number) === null) return channels.close();
    this.runs.set(number, run);
    channels.connection.addEventListener('iceconnectionstatechange', () => {
      const state = channels.connection.iceConnectionState;
      if (state === 'connected' && this.runs.has(number)) this.listener.onProgress({ kind: 'path' });
    });
    try {
      const own = await channels.answer(offer);
      await this.enqueue(() => this.machine.gathered(number, own, clock()));
      await channels.opened();
      const certificate = await channels.certificate();
      await this.enqueue(async () => {
        await this.machine.connected(number, certificate, clock());
        this.perform(); // our confirm leaves before anything of the partner's is looked at
        if (!this.runs.has(number)) return;
        this.listener.onProgress({ kind: 'channel' });
        channels.listen();
      });
    } catch (error) {
      const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
      const failure = new DuetError('ConnectFailed', `The browser could not connect (${text}).`, 'Try again.');
      await this.enqueue(() => this.machine.failed(number, failure, clock()));
    }
  }

  /** @param {Run} run @param {number} channel @param {Uint8Array} data */
  async frame(run, channel, data) {
    if (this.runs.get(run.number) !== run) return; // closed while this was on its way
    if (run.isOpen) {
      if (channel === CTL && parseProof(data) !== null) await this.machine.frame(run.number, channel, data, clock());
      else this.listener.onFrame(run.channels, channel, data);
    } else if (this.machine.isVerified(run.number) && channel !== CTL) {
      run.early.push([channel, data]); // `ready` is on its way on channel 0 and may be overtaken
      run.earlyBytes += data.length;
      if (run.earlyBytes > limits.LINK_EARLY_BYTES)
        await this.machine.lost(run.number, protocolError('The partner sent too much at once.'), clock());
    } else await this.machine.frame(run.number, channel, data, clock());
  }

  /** @param {Run} run @param {DuetError} error */
  async lost(run, error) {
    if (this.runs.get(run.number) === run) await this.machine.lost(run.number, error, clock());
  }

  /** @param {number} number @param {Bytes} data */
  sendProof(number, data) {
    try {
      this.runs.get(number)?.channels.send(CTL, data);
    } catch (error) {
      if (!(error instanceof DuetError)) throw error; // closed: its own event follows
    }
  }

  /** @param {Extract<Effect, {kind: 'linkOpened'}>} effect */
  opened({ peer, caps, head }) {
    const run = this.runs.get(peer);
    if (run === undefined) return;
    run.isOpen = true;
    this.signaling.hurry(false);
    clearTimeout(this.rest);
    this.rest = setTimeout(() => this.signaling.rest(), limits.SIGNALING_REST_SECONDS * 1000);
    this.listener.onLink(run.channels, { caps, head });
    for (const [channel, data] of run.early.splice(0)) this.listener.onFrame(run.channels, channel, data);
  }

  /** @param {Extract<Effect, {kind: 'linkClosed'}>} effect */
  linkClosed({ peer, wasOpen, error }) {
    const run = this.runs.get(peer);
    this.closeRun(peer);
    if (error.code === 'ConnectionLost') this.signaling.hurry(true);
    if (run !== undefined && wasOpen) this.listener.onLost(run.channels, error);
  }

  /** @param {number} number */
  closeRun(number) {
    const run = this.runs.get(number);
    this.runs.delete(number);
    run?.channels.close();
  }
}

/** Seconds of a clock that never goes back. */
export function clock() {
  return performance.now() / 1000;
}

