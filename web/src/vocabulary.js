// @ts-check
/**
 * What may be called, by name (surface.json, made from the owner's own table): completion and
 * "did you mean". Nothing here decides anything: the owner's side looks every name up again.
 */

import { RESERVED, isIdentifier } from './expression.js';

/** @typedef {{kind: string, params?: string[]}} Offered */
/** @typedef {{tags: string[]}} Tagged */
/**
 * @typedef {{text: string, detail: string}} Completion
 * @typedef {{from: number, to: number, items: Completion[]}} Completions
 */

const MAX_COMPLETIONS = 8;
const FIRST_TYPE = 'torch.Tensor'; // what a pointer is taken for where its type is not known

export class Vocabulary {
  /** @param {Record<string, Offered>} names canonical name to what it is */
  constructor(names) {
    /** @type {Map<string, Map<string, Offered>>} */
    this.places = new Map();
    for (const [name, offered] of Object.entries(names)) {
      const dot = name.lastIndexOf('.');
      this.#place(name.slice(0, dot)).set(name.slice(dot + 1), offered);
      for (let at = name.indexOf('.'); at > 0 && at < dot; at = name.indexOf('.', at + 1)) {
        const inner = name.slice(at + 1, name.indexOf('.', at + 1));
        const place = this.#place(name.slice(0, at));
        if (!place.has(inner)) place.set(inner, { kind: 'place' });
      }
    }
  }

  /** @param {string} name */
  #place(name) {
    let place = this.places.get(name);
    if (!place) this.places.set(name, place = new Map());
    return place;
  }

  /** @param {string} place */
  names(place) {
    return [...(this.places.get(place)?.keys() ?? [])]
      .filter((name) => !name.startsWith('_') && !name.endsWith('='));
  }

  /** @param {string} name */
  has(name) {
    const dot = name.lastIndexOf('.');
    return this.places.get(name.slice(0, dot))?.has(name.slice(dot + 1)) ?? false;
  }

  /** Whether names stand below this one, as below torch.nn. @param {string} name */
  isPlace(name) {
    return this.places.has(name);
  }

  /** @param {string} place @param {string} name */
  #detail(place, name) {
    const offered = this.places.get(place)?.get(name);
    if (!offered) return '';
    if (offered.params) return `(${offered.params.join(', ')})`;
    return offered.kind === 'place' ? 'module' : offered.kind;
  }

  /**
   * What may stand at the caret.
   * @param {string} source text up to the end
   * @param {number} caret
   * @param {string[]} names that are defined: results and shared objects
   * @returns {Completions|null} null where nothing fits
   */
  complete(source, caret, names) {
    const before = source.slice(0, caret);
    const typed = /[\p{L}_][\p{L}\p{N}_]*$/u.exec(before)?.[0] ?? '';
    const from = caret - typed.length;
    const isMember = source[from - 1] === '.';
    if (!isMember && typed === '') return null;
    if (/["'#]/.test(before.slice(before.lastIndexOf('\n') + 1).replaceAll(/"[^"]*"|'[^']*'/g, ''))) {
      return null; // inside a string or a comment
    }
    let pool;
    if (isMember) {
      const path = /((?:duet\.)?torch(?:\.[\p{L}\p{N}_]+)*)\.$/u.exec(before.slice(0, from))?.[1];
      const place = path && /(^|[^\p{L}\p{N}_.)\]])$/u.test(before.slice(0, from - 1 - path.length))
        ? path.replace('duet.', '') : FIRST_TYPE;
      if (place !== FIRST_TYPE && this.has(place) && !this.isPlace(place)) return null;
      pool = this.names(place).map((text) => ({ text, detail: this.#detail(place, text) }));
    } else {
      pool = [...new Set([...names, 'torch', 'duet'])].map((text) => (
        { text, detail: text === 'torch' || text === 'duet' ? 'module' : 'name' }));
    }
    const lower = typed.toLowerCase();
    const items = pool
      .filter(({ text }) => text !== typed && text.toLowerCase().startsWith(lower))
      .sort((a, b) => a.text.length - b.text.length || a.text.localeCompare(b.text))
      .slice(0, MAX_COMPLETIONS);
    return items.length ? { from, to: caret, items } : null;
  }
}

/**
 * The candidate that was probably meant, null if none is near.
 * @param {string} word
 * @param {Iterable<string>} candidates
 */
export function nearest(word, candidates) {
  let best = null;
  let least = Math.max(1, Math.floor(word.length / 3)) + 1;
  for (const candidate of candidates) {
    if (Math.abs(candidate.length - word.length) >= least) continue;
    const distance = distanceOf(word.toLowerCase(), candidate.toLowerCase());
    if (distance < least && candidate !== word) {
      least = distance;
      best = candidate;
    }
  }
  return best;
}

/** Edits from one word to another; a swap of neighbours is one. @param {string} a @param {string} b */
function distanceOf(a, b) {
  /** @type {number[]} */
  let older = [];
  /** @type {number[]} */
  let old = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i += 1) {
    const row = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const at = (/** @type {number[]} */ of, /** @type {number} */ k) => of[k] ?? Infinity;
      row[j] = Math.min(at(old, j) + 1, at(row, j - 1) + 1, at(old, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        row[j] = Math.min(at(row, j), at(older, j - 2) + 1);
      }
    }
    [older, old] = [old, row];
  }
  return old[b.length] ?? Infinity;
}

/**
 * What a shared object is called in expressions: a tag of its own that is a name, else its place.
 * A tag cannot stand in for a word of the language: the owner's words never change what is meant.
 * @param {Tagged[]} entries
 * @returns {string[]}
 */
export function storeNames(entries) {
  /** @type {Map<string, number>} */
  const uses = new Map();
  for (const { tags } of entries) {
    for (const tag of new Set(tags)) uses.set(tag, (uses.get(tag) ?? 0) + 1);
  }
  return entries.map(({ tags }, place) => tags.find((tag) => (
    uses.get(tag) === 1 && isIdentifier(tag) && !tag.startsWith('_') && !RESERVED.has(tag)
  )) ?? `duet.store[${place}]`);
}
