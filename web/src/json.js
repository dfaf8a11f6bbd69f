// @ts-check
/**
 * JSON from a relay: no key twice, bounded depth, finite numbers. `JSON.parse` keeps the last of two
 * equal keys in silence, and then two readers of one text may see two messages.
 */

/** @typedef {null|boolean|number|string|JsonArray|JsonObject} Json */
/** @typedef {Json[]} JsonArray */
/** @typedef {{[name: string]: Json}} JsonObject */

const SPACE = /[ \t\r\n]*/y;
const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const WORD = /true|false|null/y;

/** A text is not the one strict JSON object that was expected. */
export class NotJson extends Error {}

class Reader {
  /** @param {string} text @param {number} depth containers inside each other, at most */
  constructor(text, depth) {
    this.text = text;
    this.at = 0;
    this.depth = depth;
  }

  /** @param {RegExp} pattern sticky @returns {string|null} */
  take(pattern) {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text);
    if (found === null) return null;
    this.at += found[0].length;
    return found[0];
  }

  /** @param {string} mark */
  skip(mark) {
    this.take(SPACE);
    if (this.text[this.at] !== mark) return false;
    this.at += 1;
    return true;
  }

  /** @param {number} depth @returns {Json} */
  value(depth) {
    if (this.skip('{')) return this.object(depth + 1);
    if (this.skip('[')) return this.array(depth + 1);
    const leaf = this.take(STRING) ?? this.take(NUMBER) ?? this.take(WORD);
    if (leaf === null) throw new NotJson('not JSON');
    const value = JSON.parse(leaf);
    if (typeof value === 'number' && !Number.isFinite(value)) throw new NotJson('a number is too large');
    return value;
  }

  /** @param {number} depth @returns {JsonArray} */
  array(depth) {
    if (depth > this.depth) throw new NotJson('nested too deep');
    /** @type {JsonArray} */
    const items = [];
    if (this.skip(']')) return items;
    do items.push(this.value(depth));
    while (this.skip(','));
    if (!this.skip(']')) throw new NotJson('not JSON');
    return items;
  }

  /** @param {number} depth @returns {JsonObject} */
  object(depth) {
    if (depth > this.depth) throw new NotJson('nested too deep');
    /** @type {JsonObject} */
    const fields = Object.create(null);
    if (this.skip('}')) return fields;
    do {
      this.take(SPACE);
      const key = this.take(STRING);
      if (key === null || !this.skip(':')) throw new NotJson('not JSON');
      const name = JSON.parse(key);
      if (name in fields) throw new NotJson('a key occurs twice');
      fields[name] = this.value(depth);
    } while (this.skip(','));
    if (!this.skip('}')) throw new NotJson('not JSON');
    return fields;
  }
}

/** The one object of a text. @param {string} text @param {number} [depth] @returns {JsonObject} */
export function parseObject(text, depth = 8) {
  const reader = new Reader(text, depth);
  if (!reader.skip('{')) throw new NotJson('not an object');
  const fields = reader.object(1);
  reader.take(SPACE);
  if (reader.at !== text.length) throw new NotJson('more than one object');
  return fields;
}
