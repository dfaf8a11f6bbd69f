// @ts-check
/**
 * The client side of the signalling server: one socket that mends itself.
 *
 * The server is trusted with nothing. It is still checked that it calls itself by the address that
 * was given: a registration is signed for that address, so another server cannot use it.
 */

import { registerInput } from './bodies.js';
import { b64decode, b64encode, randomBytes } from './bytes.js';
import { DuetError, protocolError } from './errors.js';
import { NotJson, parseObject } from './json.js';
import * as limits from './limits.js';
import { checkUrl, isLoopbackHost, isPrivateHost, usableIceServers } from './urls.js';

/** @typedef {import('./author.js').Signer} Signer */
/** @typedef {{to: string, body: Uint8Array, isJoin: boolean, at: number}} Post */

const SUBPROTOCOL = 'duet.v1';

const REMEDY = 'Check its address, that it runs, and that it allows this page.';
const LOCAL_REMEDY =
  'It would be on this machine. If the owner works here, start their session first; if not, enter the server that you both use under “Advanced”.';

/** Codes of a close that end the client, and what they mean. @type {Record<number, () => DuetError>} */
const FATAL = {
  1009: () => protocolError('The signalling server refused a frame that is too big.'),
  4000: () => new DuetError('SessionReplaced', 'This client ID was registered again elsewhere.', 'Use one tab, or a new identity.'),
  4001: () => protocolError('The signalling server did not accept the proof of the registration.'),
  4002: () => protocolError('The signalling server refused a frame.'),
};

export class Signaling {
  /**
   * @param {string} url
   * @param {Signer} key
   * @param {object} callbacks
   * @param {(from: string, body: Uint8Array) => void} callbacks.onMessage
   * @param {(event: 'registered'|'online') => void} callbacks.onEvent
   * @param {(error: DuetError) => void} callbacks.onEnd it will not come back by itself
   */
  constructor(url, key, { onMessage, onEvent, onEnd }) {
    this.url = checkUrl(url);
    const host = new URL(this.url).hostname;
    this.isLocal = isLoopbackHost(host);
    this.isPrivate = isPrivateHost(host);
    this.key = key;
    this.onMessage = onMessage;
    this.onEvent = onEvent;
    this.onEnd = onEnd;
    /** @type {RTCIceServer[]} */
    this.iceServers = [];
    this.iceExpires = false;
    this.isRegistered = false;
    this.isLinked = false;
    this.isResting = false;
    this.isClosed = false;
    this.wasRegistered = false;
    /** @type {WebSocket|null} */
    this.socket = null;
    /** @type {Post[]} */
    this.posts = [];
    this.holdUntil = 0;
    this.hurryUntil = 0;
    this.backoff = limits.BACKOFF_SECONDS;
    this.registeredAt = 0;
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    this.timer = undefined;
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    this.patience = undefined;
    /** @type {(() => void)[]} */
    this.iceWaiters = [];
  }

  start() {
    this.connect();
  }

  /** Queues one body; of too many the oldest is lost. Ends a rest. @param {string} to @param {Uint8Array} body @param {boolean} isJoin */
  post(to, body, isJoin) {
    if (this.isClosed) return;
    this.posts.push({ to, body, isJoin, at: Date.now() });
    while (this.posts.length > limits.SIGNALING_POSTS) this.posts.shift();
    this.isResting = false;
    if (this.socket === null && this.timer === undefined) this.connect();
    else this.flush();
  }

  /** While an open session is lost, tries again at least every 3 s. @param {boolean} on */
  hurry(on) {
    this.hurryUntil = on ? Date.now() + limits.RECONNECT_HASTE_SECONDS * 1000 : 0;
    if (on && this.socket === null && !this.isClosed) {
      clearTimeout(this.timer);
      this.connect();
    }
  }

  /** Closes the socket without `bye`, so that links stay; the next post opens it again. */
  rest() {
    this.isResting = true;
    this.socket?.close(1000);
  }

  /** Fresh credentials, or the newest known ones where the server does not answer in time. */
  async refreshIce() {
    if (this.iceExpires && this.isRegistered) {
      this.send({ t: 'ice' });
      await new Promise((resolve) => {
        this.iceWaiters.push(() => resolve(undefined));
        setTimeout(resolve, limits.SIGNALING_ICE_SECONDS * 1000);
      });
    }
    return this.iceServers;
  }

  /** @param {boolean} forget */
  close(forget) {
    if (this.isClosed) return;
    this.flush();
    if (forget && this.isRegistered) this.send({ t: 'bye' });
    this.isClosed = true;
    clearTimeout(this.timer);
    clearTimeout(this.patience);
    this.socket?.close(1000);
    this.socket = null;
  }

  // the life of a socket

  connect() {
    this.timer = undefined;
    const socket = new WebSocket(`${this.url.replace(/^http/, 'ws')}/v1/ws`, SUBPROTOCOL);
    this.socket = socket;
    let queue = Promise.resolve();
    socket.onmessage = (event) => {
      queue = queue.then(() => this.take(socket, event.data)).catch((error) => this.fail(socket, error));
    };
    socket.onclose = (event) => this.closed(socket, event.code, event.reason);
    clearTimeout(this.patience);
    this.patience = setTimeout(() => {
      if (!this.isRegistered) this.drop(socket);
    }, 2 * limits.SIGNALING_CONNECT_SECONDS * 1000);
  }

  /** @param {WebSocket} socket @param {unknown} data */
  async take(socket, data) {
    if (socket !== this.socket) return;
    if (typeof data !== 'string' || data.length > limits.SIGNALING_FRAME_BYTES) throw this.broken();
    const frame = parseObject(data);
    switch (frame.t) {
      case 'hello':
        return this.register(socket, frame);
      case 'registered':
        return this.registered(frame);
      case 'signal':
      case 'join':
        return this.takeBody(frame);
      case 'ack':
        this.isLinked ||= frame.status !== 'accepted';
        return;
      case 'peer':
        this.isLinked = true;
        if (frame.event === 'online') this.onEvent('online');
        return;
      case 'ice':
        return this.takeIce(frame);
      case 'drain':
        this.backoff = Math.min(Math.max(Number(frame.after_ms) || 0, 0) / 1000, limits.BACKOFF_MAX_SECONDS) || limits.BACKOFF_SECONDS;
        return this.drop(socket);
      case 'error':
        if (frame.code === 'rate') this.hold(Number(frame.retry_after) || 1);
        return;
      default: // of a later version
    }
  }

  /** @param {WebSocket} socket @param {import('./json.js').JsonObject} hello */
  async register(socket, hello) {
    if (hello.v !== 1) throw protocolError(`${this.url} is no Duet signalling server.`);
    if (hello.origin !== this.url) {
      throw new DuetError(
        'OriginMismatch',
        `The signalling server at ${this.url} calls itself ${hello.origin}.`,
        'Use that address if it is the one you meant, or another server.',
      );
    }
    const challenge = typeof hello.challenge === 'string' ? b64decode(hello.challenge) : new Uint8Array(0);
    if (challenge.length !== 32) throw protocolError(`${this.url} sent no proper challenge.`);
    const { id, pub } = this.key;
    const sig = await this.key.sign(registerInput({ origin: this.url, challenge, id, role: 'scientist' }));
    if (socket !== this.socket) return;
    this.send({ t: 'register', v: 1, id, role: 'scientist', pub: b64encode(pub), sig: b64encode(sig) });
  }

  /** @param {import('./json.js').JsonObject} frame */
  registered(frame) {
    clearTimeout(this.patience);
    this.isRegistered = this.wasRegistered = true;
    this.registeredAt = Date.now();
    this.takeIce(frame);
    this.onEvent('registered');
    this.flush();
  }

  /** @param {import('./json.js').JsonObject} frame */
  takeBody(frame) {
    if (typeof frame.from !== 'string' || typeof frame.body !== 'string') throw this.broken();
    this.isLinked ||= frame.t === 'signal';
    let body;
    try {
      body = b64decode(frame.body);
    } catch {
      return; // an untrusted relay sent it: the handshake repeats what matters
    }
    this.onMessage(frame.from, body);
  }

  /** @param {import('./json.js').JsonObject} frame */
  takeIce(frame) {
    this.iceServers = usableIceServers(frame.ice, this.isPrivate);
    this.iceExpires = typeof frame.ice_expires === 'number';
    for (const wake of this.iceWaiters.splice(0)) wake();
  }

  /** @param {number} seconds */
  hold(seconds) {
    const pause = Math.min(Math.max(seconds, 0), limits.BACKOFF_MAX_SECONDS) * 1000;
    this.holdUntil = Date.now() + pause;
    setTimeout(() => this.flush(), pause);
  }

  flush() {
    while (this.isRegistered && Date.now() >= this.holdUntil) {
      const post = this.posts.shift();
      if (post === undefined) return;
      if (Date.now() - post.at > limits.SIGNALING_POST_SECONDS * 1000) continue;
      const mid = b64encode(randomBytes(9));
      this.send({ t: post.isJoin ? 'join' : 'signal', to: post.to, mid, body: b64encode(post.body) });
    }
  }

  /** @param {object} frame */
  send(frame) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(frame));
  }

  // its end

  /** @param {WebSocket} socket @param {unknown} error */
  fail(socket, error) {
    if (socket !== this.socket) return;
    const known = error instanceof DuetError ? error : error instanceof NotJson || error instanceof RangeError ? this.broken() : null;
    if (known === null) throw error;
    this.end(known);
  }

  broken() {
    return protocolError(`${this.url} sent a frame that is not of the protocol.`);
  }

  /** @param {DuetError} error */
  end(error) {
    if (this.isClosed) return;
    this.close(false);
    this.onEnd(error);
  }

  /** Gives a socket up and comes back later. @param {WebSocket} socket */
  drop(socket) {
    if (socket !== this.socket) return;
    socket.onclose = null;
    socket.close(1000);
    this.closed(socket, 1006, '');
  }

  /** @param {WebSocket} socket @param {number} code @param {string} reason */
  closed(socket, code, reason) {
    if (socket !== this.socket || this.isClosed) return;
    clearTimeout(this.patience);
    const lived = this.isRegistered ? Date.now() - this.registeredAt : 0;
    this.socket = null;
    this.isRegistered = false;
    for (const wake of this.iceWaiters.splice(0)) wake();
    const fatal = FATAL[code];
    if (fatal !== undefined) return this.end(fatal());
    if (code === 4004 && this.isLinked) this.isResting = true;
    else if (code === 4004) return this.end(new DuetError('SessionExpired', 'The signalling server forgot this client ID.', 'Connect again.'));
    if (!this.wasRegistered) {
      return this.end(
        new DuetError('SignalingUnreachable', `The signalling server ${this.url} cannot be used.`, this.isLocal ? LOCAL_REMEDY : REMEDY),
      );
    }
    if (this.isResting) return;
    if (lived > limits.BACKOFF_RESET_SECONDS * 1000) this.backoff = limits.BACKOFF_SECONDS;
    this.comeBack(code, reason);
  }

  /** @param {number} code @param {string} reason */
  comeBack(code, reason) {
    const asked = Math.min(Number(/^retry_after=(\d{1,6})$/.exec(reason)?.[1] ?? 0), limits.RETRY_AFTER_MAX_SECONDS);
    let wait = this.backoff * (0.5 + Math.random());
    if (Date.now() < this.hurryUntil) wait = Math.min(wait, limits.BACKOFF_HURRIED_SECONDS);
    if (code === 1013) wait = Math.max(wait, limits.BACKOFF_OVERLOAD_SECONDS);
    if (code === 4003) wait = Math.max(wait, asked);
    this.backoff = Math.min(this.backoff * limits.BACKOFF_FACTOR, limits.BACKOFF_MAX_SECONDS);
    this.timer = setTimeout(() => this.connect(), wait * 1000);
  }
}
