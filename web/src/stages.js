// @ts-check
/** The five stages that a person watches: what each does, since when, and what helps where it fails. */

import { DuetError } from './errors.js';
import { clock } from './handshake.js';
import * as limits from './limits.js';

/** @typedef {'code'|'signalling'|'path'|'channel'|'verified'} Stage */

const NO_ANSWER =
  "No answer yet. Is the owner's session running, was your client ID entered there, and do both use the same server?";

export class Stages {
  /** @param {(event: 'stage', detail: any) => void} tell @param {(kind: string, text: string) => void} log */
  constructor(tell, log) {
    this.tell = tell;
    this.log = log;
    /** @type {Map<Stage, number>} when each began */
    this.begun = new Map();
  }

  /** The one that is under way. @returns {Stage|undefined} */
  get doing() {
    return [...this.begun.keys()].at(-1);
  }

  /** @param {Stage} stage @param {'doing'|'done'|'failed'} state @param {DuetError} [error] @param {string} [message] */
  set(stage, state, error, message) {
    const now = clock();
    if (state === 'doing' && !this.begun.has(stage)) this.begun.set(stage, now);
    const ms = Math.round((now - (this.begun.get(stage) ?? now)) * 1000);
    if (state !== 'doing') this.begun.delete(stage);
    const text = message ?? error?.message;
    this.tell('stage', { stage, state, ms, ...(text ? { message: text } : {}), ...(error?.remedy ? { remedy: error.remedy } : {}) });
  }

  /** @param {import('./handshake.js').Progress} progress @param {boolean} isOpen whether a session is open meanwhile */
  progress(progress, isOpen) {
    switch (progress.kind) {
      case 'registered':
        if (isOpen) return;
        this.set('signalling', 'done');
        this.set('path', 'doing', undefined, 'Waiting for the owner to enter your client ID.');
        return;
      case 'offered':
        this.set('path', 'doing', undefined, 'The owner answered; looking for a path.');
        return;
      case 'path':
        this.set('path', 'done');
        this.set('channel', 'doing');
        return;
      case 'channel':
        this.set('channel', 'done');
        this.set('verified', 'doing');
        return;
      case 'noAnswerYet':
        this.log('waiting', NO_ANSWER);
        this.set('path', 'doing', undefined, NO_ANSWER);
        return;
      case 'rejected':
        this.log('rejected', `A message in your partner's name failed verification (${progress.count} of ${limits.BAD_PROOFS}).`);
        return;
      case 'attemptFailed':
        this.set(this.doing ?? 'path', 'failed', progress.error);
        this.log('attempt', progress.error.message);
        this.set('path', 'doing', progress.error, `${progress.error.message} Trying again. ${progress.error.remedy}`.trimEnd()); // the reason stays to be read
    }
  }
}
