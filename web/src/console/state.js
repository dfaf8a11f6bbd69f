// @ts-check
/**
 * What the page knows, as one value, and how each event changes it. Nothing here touches the page.
 *
 * A request can be decided by its button half a second after it appeared, moved or changed, not
 * earlier: `armedAt` says when. What changes all the time (how much was released) does not count.
 */

/** @typedef {import('./messages.js').RequestView} RequestView */
/** @typedef {import('./messages.js').DecidedView} DecidedView */
/** @typedef {import('./messages.js').HandlerView} HandlerView */
/** @typedef {import('./messages.js').ObjectView} ObjectView */
/** @typedef {import('./messages.js').TransferView} TransferView */
/** @typedef {import('./messages.js').SessionView} SessionView */
/** @typedef {import('./messages.js').SectionChange} SectionChange */

/**
 * @typedef {{
 *   phase: 'connecting' | 'open' | 'lost' | 'over',
 *   endText: string,
 *   session: SessionView | null,
 *   requests: RequestView[],
 *   decided: DecidedView[],
 *   handlers: HandlerView[],
 *   objects: ObjectView[],
 *   transfers: TransferView[],
 *   selected: string | null,
 *   armedAt: Record<string, number>,
 *   asked: Record<string, string>,
 * }} State
 *
 * @typedef {{type: 'welcome'}
 *   | {type: 'change', sections: Record<string, SectionChange>, at: number}
 *   | {type: 'select', id: string, at: number}
 *   | {type: 'step', by: number}
 *   | {type: 'asked', id: string, what: string}
 *   | {type: 'answered', id: string}
 *   | {type: 'lost'}
 *   | {type: 'end', text: string}} Event
 */

/** Milliseconds for which a changed row cannot be clicked. */
export const GUARD = 500;

/** @type {State} */
export const FIRST = {
  phase: 'connecting',
  endText: '',
  session: null,
  requests: [],
  decided: [],
  handlers: [],
  objects: [],
  transfers: [],
  selected: null,
  armedAt: {},
  asked: {},
};

/**
 * @param {State} state
 * @param {Event} event
 * @returns {State}
 */
export function reduce(state, event) {
  if (state.phase === 'over' && event.type !== 'select' && event.type !== 'step') return state;
  switch (event.type) {
    case 'welcome':
      return { ...FIRST, phase: 'open', selected: state.selected };
    case 'change':
      return changed(state, event.sections, event.at);
    case 'select':
      if (!state.requests.some((request) => request.id === event.id)) return state;
      // What was clicked opens under the pointer: a second click of a double click decides nothing.
      return { ...state, selected: event.id, armedAt: { ...state.armedAt, [event.id]: event.at + GUARD } };
    case 'step':
      return { ...state, selected: stepped(state.requests, state.selected, event.by) };
    case 'asked':
      return { ...state, asked: { ...state.asked, [event.id]: event.what } };
    case 'answered': {
      const { [event.id]: _, ...asked } = state.asked;
      return { ...state, asked };
    }
    case 'lost':
      return { ...state, phase: 'lost', asked: {} };
    case 'end':
      return { ...state, phase: 'over', endText: event.text, asked: {} };
  }
}

/**
 * Whether a decision about this request or rule counts now.
 * @param {State} state
 * @param {string} id
 * @param {number} now
 */
export function isArmed(state, id, now) {
  return state.phase === 'open' && !(id in state.asked) && now >= (state.armedAt[id] ?? Infinity);
}

/** @param {State} state @param {Record<string, SectionChange>} sections @param {number} at */
function changed(state, sections, at) {
  const next = { ...state };
  if (sections.session?.set.session) next.session = sections.session.set.session;
  next.requests = /** @type {RequestView[]} */ (merged(state.requests, sections.requests, byArrival));
  next.decided = /** @type {DecidedView[]} */ (merged(state.decided, sections.decided, () => 0));
  next.handlers = /** @type {HandlerView[]} */ (merged(state.handlers, sections.handlers, byOrder));
  next.objects = /** @type {ObjectView[]} */ (merged(state.objects, sections.objects, byOrder));
  next.transfers = /** @type {TransferView[]} */ (merged(state.transfers, sections.transfers, () => 0));
  const moved = bannerOf(state.session) !== bannerOf(next.session);
  next.armedAt = {
    ...armed(state, state.requests, next.requests, signature, moved, at),
    ...armed(state, state.handlers, next.handlers, (rule) => rule.id, moved, at),
  };
  const here = new Set(next.requests.map((request) => request.id));
  next.asked = Object.fromEntries(Object.entries(state.asked).filter(([id]) => here.has(id) || id.length > 16));
  next.selected = selectedAfter(state, next.requests);
  return next;
}

/**
 * @template {{id: string | number}} T
 * @param {T[]} old
 * @param {SectionChange | undefined} change
 * @param {(a: T, b: T) => number} order
 * @returns {T[]}
 */
function merged(old, change, order) {
  if (!change) return old;
  const gone = new Set(change.gone);
  const entries = new Map(old.filter((entry) => !gone.has(String(entry.id))).map((entry) => [String(entry.id), entry]));
  for (const [key, entry] of Object.entries(change.set)) entries.set(key, entry);
  return [...entries.values()].sort(order);
}

/** @param {RequestView} a @param {RequestView} b */
function byArrival(a, b) {
  return a.arrived - b.arrived || (a.id < b.id ? -1 : 1);
}

/** @param {{order: number}} a @param {{order: number}} b */
function byOrder(a, b) {
  return a.order - b.order;
}

/** What must stand still for a decision: facts, and texts that move what is below. @param {RequestView} request */
function signature(request) {
  return JSON.stringify([request.digest, request.why, request.looks, request.fixed]);
}

/** @param {SessionView | null} session */
function bannerOf(session) {
  return session === null ? '' : `${session.open} ${session.suspended} ${session.state}`;
}

/**
 * When each row can be decided: everything from the first row on that is not what it was there.
 * @template {{id: string}} T
 * @param {State} state
 * @param {T[]} old
 * @param {T[]} now
 * @param {(entry: T) => string} sign
 * @param {boolean} allMoved
 * @param {number} at
 */
function armed(state, old, now, sign, allMoved, at) {
  /** @type {Record<string, number>} */
  const times = {};
  let moved = allMoved;
  now.forEach((entry, index) => {
    const before = old[index];
    moved ||= !before || before.id !== entry.id || (before !== entry && sign(before) !== sign(entry));
    times[entry.id] = moved ? at + GUARD : (state.armedAt[entry.id] ?? at + GUARD);
  });
  return times;
}

/** The same request, or the one that took the place of one that is gone. @param {State} state @param {RequestView[]} now */
function selectedAfter(state, now) {
  if (now.some((request) => request.id === state.selected)) return state.selected;
  const index = state.requests.findIndex((request) => request.id === state.selected);
  return nearest(now, index);
}

/** @param {RequestView[]} requests @param {string | null} selected @param {number} by */
function stepped(requests, selected, by) {
  const index = requests.findIndex((request) => request.id === selected);
  return nearest(requests, index < 0 ? 0 : index + by);
}

/** @param {RequestView[]} requests @param {number} index */
function nearest(requests, index) {
  return requests[Math.min(Math.max(index, 0), requests.length - 1)]?.id ?? null;
}
