// @ts-check
/**
 * The page's own key: Ed25519, not extractable, one per tab.
 *
 * Like Python's default it is fresh for each session. It lies in IndexedDB under a label of this
 * tab, so that a reload can rejoin; a Web Lock keeps a duplicated tab, which copies the label, from
 * using the same key at the same time: it gets a fresh one.
 */

import { concat, randomBytes, toHex } from './bytes.js';
import { DuetError } from './errors.js';
import { checkPub, idOf, KeyRefused } from './ids.js';

/** @typedef {import('./bytes.js').Bytes} Bytes */

const DATABASE = 'duet';
const STORE = 'keys';
const LABEL = 'duet-tab';
const LOCK_MS = 1_000; // a page that is being reloaded may hold the lock for a moment
const KEPT_DAYS = 7;

export class Key {
  /** @param {CryptoKey} privateKey @param {Bytes} pub 33 bytes @param {string} id */
  constructor(privateKey, pub, id) {
    this.role = /** @type {const} */ ('scientist');
    this.pub = pub;
    this.id = id;
    this.privateKey = privateKey;
  }

  /** @param {CryptoKeyPair} pair @returns {Promise<Key>} */
  static async of(pair) {
    const raw = new Uint8Array(await crypto.subtle.exportKey('raw', pair.publicKey));
    const pub = concat(Uint8Array.of(1), raw);
    return new Key(pair.privateKey, pub, await idOf('scientist', pub));
  }

  /** A key that is kept nowhere. @returns {Promise<Key>} */
  static async fresh() {
    return Key.of(await freshPair());
  }

  /** @param {Bytes} message @returns {Promise<Bytes>} */
  async sign(message) {
    return new Uint8Array(await crypto.subtle.sign('Ed25519', this.privateKey, message));
  }
}

/** Whether the owner of a 33-byte key signed these bytes; false for refused keys too. @param {Bytes} pub @param {Bytes} message @param {Bytes} signature */
export async function verify(pub, message, signature) {
  if (signature.length !== 64) return false;
  try {
    const key = await crypto.subtle.importKey('raw', checkPub(pub), 'Ed25519', false, ['verify']);
    return await crypto.subtle.verify('Ed25519', key, signature, message);
  } catch (error) {
    if (error instanceof KeyRefused || error instanceof DOMException) return false;
    throw error;
  }
}

/** This tab's key: the one of before a reload, or a new one. @returns {Promise<Key>} */
export async function tabKey() {
  const known = sessionStorage.getItem(LABEL);
  if (known !== null && (await lock(known))) {
    const pair = await load(known);
    if (pair !== undefined) return Key.of(pair);
  }
  const label = toHex(randomBytes(16));
  await lock(label);
  const pair = await freshPair();
  await save(label, pair);
  sessionStorage.setItem(LABEL, label);
  return Key.of(pair);
}

/** @returns {Promise<CryptoKeyPair>} */
async function freshPair() {
  try {
    const made = await crypto.subtle.generateKey('Ed25519', false, ['sign', 'verify']);
    return /** @type {CryptoKeyPair} */ (made);
  } catch (error) {
    throw new DuetError(
      'Unsupported',
      `This browser cannot make an Ed25519 key (${error instanceof Error ? error.name : error}).`,
      'Use a current browser, and open the page at https or at localhost.',
    );
  }
}

/** Holds the lock of a label until this page ends. @param {string} label @returns {Promise<boolean>} */
function lock(label) {
  return new Promise((resolve) => {
    const patience = AbortSignal.timeout(LOCK_MS);
    navigator.locks
      .request(`duet-key-${label}`, { signal: patience }, () => {
        resolve(true);
        return new Promise(() => {}); // until the page ends
      })
      .catch(() => resolve(false));
  });
}

/** @returns {Promise<IDBDatabase>} */
function open() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** @param {string} label @returns {Promise<CryptoKeyPair|undefined>} */
async function load(label) {
  const database = await open();
  try {
    return await new Promise((resolve, reject) => {
      const request = database.transaction(STORE).objectStore(STORE).get(label);
      request.onsuccess = () => resolve(request.result?.pair);
      request.onerror = () => reject(request.error);
    });
  } finally {
    database.close();
  }
}

/** Keeps a pair, and forgets those of tabs that are long gone. @param {string} label @param {CryptoKeyPair} pair @returns {Promise<void>} */
async function save(label, pair) {
  const database = await open();
  try {
    await new Promise((resolve, reject) => {
      const transaction = database.transaction(STORE, 'readwrite');
      const store = transaction.objectStore(STORE);
      store.put({ pair, made: Date.now() }, label);
      const oldest = Date.now() - KEPT_DAYS * 86_400_000;
      const cursor = store.openCursor();
      cursor.onsuccess = () => {
        if (cursor.result === null) return;
        if (!(cursor.result.value.made >= oldest)) cursor.result.delete();
        cursor.result.continue();
      };
      transaction.oncomplete = () => resolve(undefined);
      transaction.onerror = () => reject(transaction.error);
    });
  } finally {
    database.close();
  }
}
