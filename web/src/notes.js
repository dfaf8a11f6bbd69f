// @ts-check
/**
 * What the page writes down of the work on a session, for a reload of its tab: the results by name
 * and place, numbers that were typed, what was run. A released value is not in it.
 */

/** @typedef {import('./memory.js').PointerFacts} PointerFacts */
/** @typedef {{p: number}|{l: any[]}|{n: string}|{f: string}|{i: string}|{v: string|boolean|null}} Packed one key says what it is */
/**
 * @typedef {object} Notes
 * @property {[string, Packed][]} names
 * @property {[string, number, string][]} chips key, object, text
 * @property {[string, string][]} asked request and its chip
 * @property {number} entries how many scripts were run
 * @property {PointerFacts[]} pointers all that the above stand for
 */

/** @param {any} pointer @returns {PointerFacts} */
export function factsOf({ id, type, tags, shape, dtype, length, element, failed }) {
  return {
    id, type: type ?? 'python.Any', tags: tags ?? [], shape: shape ?? null, dtype: dtype ?? null, length: length ?? null,
    element: element ?? null, failed: failed ?? null,
  };
}

/**
 * A value of the language as JSON; null: it is of a kind that is not kept.
 *
 * @param {any} value
 * @param {(value: any) => boolean} isPointer
 * @param {(pointer: any) => void} add
 * @returns {Packed|null}
 */
export function packed(value, isPointer, add) {
  if (isPointer(value)) {
    add(value);
    return { p: value.id };
  }
  if (Array.isArray(value)) {
    const items = value.map((item) => packed(item, isPointer, add));
    return items.includes(null) ? null : { l: items };
  }
  if (typeof value === 'number') return { n: String(value) }; // JSON has no infinity
  if (typeof value === 'bigint') return { i: String(value) };
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return { v: value };
  return typeof value?.value === 'number' ? { f: String(value.value) } : null;
}

/**
 * @param {any} kept
 * @param {(id: number) => any} pointerOf undefined: it is not there any more
 * @param {any} kinds
 * @returns {any} undefined: something of it is not there any more
 */
export function unpacked(kept, pointerOf, kinds) {
  if ('p' in kept) return pointerOf(kept.p);
  if ('l' in kept) {
    const items = kept.l.map((/** @type {any} */ item) => unpacked(item, pointerOf, kinds));
    return items.some((/** @type {any} */ item) => item === undefined || item?.isGone) ? undefined : items;
  }
  if ('n' in kept) return Number(kept.n);
  if ('i' in kept) return BigInt(kept.i);
  if ('f' in kept) return new kinds.Float(Number(kept.f));
  return kept.v;
}
