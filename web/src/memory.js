// @ts-check
/**
 * What a tab remembers of its session, so that a reload goes on with it: numbers, names and how
 * requests stand. Never a value: what was released is fetched from the owner's side again.
 */

import * as limits from './limits.js';
import { Pointer } from './pointer.js';
import { Request } from './request.js';

/** @typedef {import('./client.js').Client} Client */
/** @typedef {import('./client.js').StoreEntry} StoreEntry */
/** @typedef {import('./request.js').Kept} Kept */
/** @typedef {{id: number, type: string, tags: string[], shape: number[]|null, dtype: string|null, length: number|null, element: string|null, failed: string|null}} PointerFacts */
/**
 * @typedef {object} Facts
 * @property {string} sessionId
 * @property {string} clientId
 * @property {string} epoch of the owner
 * @property {number} received answers that are here
 * @property {number} newestId
 * @property {number[]} alive objects that the page held when it was left; none if it ended without warning
 * @property {[number, number][]} doubtful numbers of commands that may not have arrived, with what they made
 * @property {number} lostBelow
 * @property {StoreEntry[]} store
 * @property {Kept[]} requests oldest first
 */

const KEY = 'duet-session';
const REQUESTS = 256; // that a reload shows again

const UNSENT = 'The page was reloaded before this was sent.';
const GONE = 'This result was not kept over the reload.';

/** @param {Facts} facts @throws {DOMException} the browser has no room, or keeps nothing */
export function remember(facts) {
  sessionStorage.setItem(KEY, JSON.stringify(facts));
}

/** What this tab remembers of a session, if it was this one. @param {string} sessionId @param {string} clientId @returns {Facts|null} */
export function recall(sessionId, clientId) {
  const text = globalThis.sessionStorage?.getItem(KEY);
  if (!text) return null;
  const facts = JSON.parse(text); // this page's own words
  return facts.sessionId === sessionId && facts.clientId === clientId ? facts : null;
}

export function forget() {
  globalThis.sessionStorage?.removeItem(KEY);
}

/** What of a client a reload needs. @param {Client} client @param {boolean} isLeaving @param {number} acked commands that surely arrived */
export function factsOf(client, isLeaving, acked) {
  return {
    alive: isLeaving ? [...client.alive].slice(-limits.ARRAY_ITEMS) : [],
    doubtful: isLeaving
      ? [...client.commands].flatMap(([seq, { id }]) => (seq > acked && id !== null ? [/** @type {[number, number]} */ ([seq, id])] : []))
      : [],
    lostBelow: client.lostBelow,
    store: client.store,
    requests: client.requests.slice(-REQUESTS).map((request) => request.kept(client.arriving.has(request.call))),
  };
}

/** A session that goes on after a reload: takes up pointers and requests of the page before. */
export class Recollection {
  /**
   * Requests are here at once: their answers may come with the first frame.
   *
   * @param {Client} client
   * @param {Facts} facts
   * @param {PointerFacts[]} adopted pointers that the page still wants
   */
  constructor(client, facts, adopted) {
    this.client = client;
    this.facts = facts;
    this.adopted = adopted;
    client.newestId = facts.newestId;
    client.lostBelow = facts.lostBelow;
    client.entries = new Map(facts.store.map((entry) => [entry.id, entry]));
    client.requests = facts.requests.map((kept) => Request.of(client, this.#pointerOf(kept.object), kept));
    for (const request of client.requests) client.awaitAnswer(request);
  }

  /** A pointer of a request until it is known whether its object is there. @param {number} id */
  #pointerOf(id) {
    const entry = this.client.entries.get(id);
    if (entry !== undefined) return this.client.pointer(entry);
    const pointer = new Pointer(this.client, id, 'python.Any');
    pointer.isGone = true;
    return pointer;
  }

  /**
   * The owner's side said how many commands it has.
   *
   * @param {number} seq
   * @returns {Map<number, Pointer>} what was adopted
   */
  complete(seq) {
    const { client, facts } = this;
    const unsent = new Set(facts.doubtful.filter(([number]) => number > seq).map(([, id]) => id));
    const alive = new Set(facts.alive.filter((id) => !unsent.has(id)));
    /** @type {Map<number, Pointer>} */
    const pointers = new Map();
    for (const { id, type, failed, ...known } of this.adopted) {
      if (id <= 0 || pointers.has(id)) continue;
      const pointer = new Pointer(client, id, type, known);
      pointers.set(id, pointer);
      pointer.failed = failed;
      if (alive.delete(id)) client.track(pointer);
      else {
        pointer.isGone = true;
        pointer.failed ??= unsent.has(id) ? UNSENT : GONE;
      }
    }
    if (alive.size > 0) client.post({ kind: 'Del', ids: [...alive] });
    this.#requests(seq, pointers);
    return pointers;
  }

  /** @param {number} seq @param {Map<number, Pointer>} pointers */
  #requests(seq, pointers) {
    /** @type {Set<number>} the newest request of an object shows its value */
    const fetched = new Set();
    for (const request of this.client.requests.toReversed()) {
      request.pointer = pointers.get(request.pointer.id) ?? request.pointer;
      if (request.state === 'waiting' && request.seq > seq) {
        this.client.calls.delete(request.call);
        request.close('failed', `${UNSENT} Ask again.`);
      } else if (request.state === 'released' && !fetched.has(request.pointer.id)) {
        fetched.add(request.pointer.id);
        void request.fetchAgain();
      }
    }
  }
}
