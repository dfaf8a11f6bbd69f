// @ts-check
/** The vectors that Python's tests read too. */

import { readFileSync } from 'node:fs';

/** @param {string} name */
function load(name) {
  return JSON.parse(readFileSync(new URL(`../../tests/data/${name}.json`, import.meta.url), 'utf8'));
}

export const PAIRING = load('pairing_vectors');
export const WIRE = load('wire_vectors');
