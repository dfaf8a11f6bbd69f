// @ts-check
/** The socket to the owner's process: the token first, then questions with numbers, and pictures. */

import { endOf } from './messages.js';

/** @typedef {import('./messages.js').FromOwner} FromOwner */
/** @typedef {import('./messages.js').Answer} Answer */

const KEPT = 'duet console token';
const TRIES = [500, 1000, 2000, 4000];

/**
 * The token of this page, once: from the address, which forgets it, else from before a reload.
 * @returns {string}
 */
export function takeToken() {
  const fromAddress = location.hash.slice(1);
  const token = fromAddress || sessionStorage.getItem(KEPT) || '';
  sessionStorage.removeItem(KEPT);
  if (fromAddress) history.replaceState(null, '', location.pathname);
  return token;
}

export class Link {
  /**
   * @param {string} token
   * @param {{message: (message: FromOwner) => void, lost: () => void, end: (text: string) => void}} listener
   */
  constructor(token, listener) {
    this.token = token;
    this.listener = listener;
    this.count = 0;
    this.tries = 0;
    /** @type {Map<number, (answer: Answer) => void>} */
    this.waiting = new Map();
    /** @type {WebSocket | null} */
    this.socket = null;
    this.isOver = false;
    this.connect();
  }

  connect() {
    if (!this.token) {
      this.over(endOf(4001));
      return;
    }
    const socket = new WebSocket(`ws://${location.host}/socket`);
    this.socket = socket;
    socket.addEventListener('open', () => socket.send(JSON.stringify({ t: 'hello', token: this.token })));
    socket.addEventListener('message', (event) => this.take(JSON.parse(event.data)));
    socket.addEventListener('close', (event) => this.closed(event.code));
  }

  /** @param {FromOwner} message */
  take(message) {
    if (message.t === 'welcome') {
      this.tries = 0;
      this.token = message.token;
      sessionStorage.setItem(KEPT, message.token);
    } else if (message.t === 'answer') {
      const answer = this.waiting.get(message.n);
      this.waiting.delete(message.n);
      answer?.(message);
      return;
    } else if (message.t === 'end') {
      this.over(message.text);
    }
    this.listener.message(message);
  }

  /** @param {number} code */
  closed(code) {
    for (const answer of this.waiting.values()) answer({ ok: false, text: 'The connection to your session was lost; look again.' });
    this.waiting.clear();
    if (this.isOver) return;
    const end = endOf(code);
    if (end) this.over(end);
    else if (this.tries < TRIES.length) {
      this.listener.lost();
      setTimeout(() => this.connect(), TRIES[this.tries]);
      this.tries += 1;
    } else this.over('Your session’s process does not answer any more. It has ended, or it hangs.');
  }

  /** @param {string} text */
  over(text) {
    if (this.isOver) return;
    this.isOver = true;
    sessionStorage.removeItem(KEPT);
    this.listener.end(text);
  }

  /**
   * @param {Record<string, any>} question with its type in `t`
   * @returns {Promise<Answer>}
   */
  ask(question) {
    if (this.socket?.readyState !== WebSocket.OPEN) {
      return Promise.resolve({ ok: false, text: 'There is no connection to your session.' });
    }
    this.count += 1;
    const n = this.count;
    // A field that was cut in the middle of a character would end the connection.
    const whole = (/** @type {string} */ _, /** @type {any} */ value) => (typeof value === 'string' ? value.replace(/\p{Cs}/gu, '') : value);
    this.socket.send(JSON.stringify({ ...question, n }, whole));
    return new Promise((resolve) => this.waiting.set(n, resolve));
  }
}
