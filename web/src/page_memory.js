// @ts-check
/** What the page of this tab keeps for a reload, in its session storage: no values, no keys. */

/** @typedef {{notes: import('./notes.js').Notes, entries: import('./state.js').Entry[], log: import('./state.js').LogLine[]}} Work */
/** @typedef {{code: string, server: string, isJoined: boolean, history: string[], work: Work|null}} PageFacts */

const KEY = 'duet.page';

/** @returns {Partial<PageFacts>} */
export function recallPage() {
  try {
    return Object(JSON.parse(sessionStorage.getItem(KEY) ?? '{}'));
  } catch {
    return {}; // not ours, or no storage: the page starts empty
  }
}

/** @param {PageFacts} facts @returns {''|'work'|'all'} what the browser has no room for */
export function rememberPage(facts) {
  if (stored(facts)) return '';
  return stored({ ...facts, work: null, history: [] }) ? 'work' : 'all';
}

/** @param {PageFacts} facts */
function stored(facts) {
  try {
    sessionStorage.setItem(KEY, JSON.stringify(facts));
    return true;
  } catch (error) {
    if (error instanceof DOMException) return false; // full, or forbidden by the user
    throw error;
  }
}
