// @ts-check
/** When a message of pairing is repeated and when the next attempt begins: soon at first, later and later. */

import * as limits from './limits.js';

export class Retry {
  constructor() {
    /** Attempts in a row that failed after an accepted offer. */
    this.failures = 0;
    /** Links in a row that broke as soon as they were open. */
    this.shortLinks = 0;
    this.notBefore = 0;
    this.nextSend = 0;
    this.interval = limits.JOIN_RESEND_SECONDS;
    this.renewAt = 0;
    /** When an open session was lost; null: none was. @type {number|null} */
    this.lostAt = null;
  }

  /** A new attempt begins after a pause. @param {number} now @param {number} pause */
  begin(now, pause) {
    this.interval = limits.JOIN_RESEND_SECONDS;
    this.notBefore = now + pause;
    this.renewAt = this.notBefore + limits.JOIN_RENEW_SECONDS;
    if (pause > 0) this.nextSend = this.notBefore;
  }

  /** From here on intervals are short again. */
  hasten() {
    this.interval = limits.JOIN_RESEND_SECONDS;
  }

  /** Another message is to be repeated now. @param {number} now */
  restart(now) {
    this.hasten();
    this.postpone(now);
  }

  /** @param {number} now */
  postpone(now) {
    this.nextSend = now + this.interval;
    const cap = this.hurries(now) ? limits.RECONNECT_MAX_SECONDS : limits.JOIN_RESEND_MAX_SECONDS;
    this.interval = Math.min(this.interval * limits.JOIN_RESEND_FACTOR, cap);
  }

  /** Seconds before the next attempt. @param {number} now */
  pause(now) {
    const tries = Math.min(this.failures + this.shortLinks, 16);
    const pause = Math.min(limits.RETRY_SECONDS * limits.JOIN_RESEND_FACTOR ** tries, limits.JOIN_RESEND_MAX_SECONDS);
    return this.hurries(now) ? Math.min(pause, limits.RECONNECT_MAX_SECONDS) : pause;
  }

  /** Whether a session that was open is waited for. @param {number} now */
  hurries(now) {
    return this.lostAt !== null && now < this.lostAt + limits.RECONNECT_HASTE_SECONDS;
  }
}
