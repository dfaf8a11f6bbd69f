// @ts-check
/**
 * The page's state and the only function that changes it. Pure: no clock, no network, no document.
 *
 * Pointers, requests and tensors themselves stay with main.js; here are plain facts about them, so
 * that every step of the page can be tested as data. Words of the other side are cut and cleaned
 * once, here, before anything shows them.
 */

/** @typedef {'waiting'|'doing'|'done'|'failed'} StageState */
/** @typedef {{stage: string, state: StageState, ms: number|null, message: string, remedy: string}} Stage */
/** @typedef {'waiting'|'released'|'denied'|'expired'|'failed'|'withdrawn'} RequestState */
/**
 * @typedef {{id: string, tags: string[], description: string, type: string, shape: number[]|null,
 *   dtype: string|null, name: string}} Shared
 * @typedef {{key: string, name: string|null, text: string, type: string, shape: number[]|null,
 *   dtype: string|null, local: string|null, failure: string, view: string}} Chip
 * @typedef {{line: string, caret: string, lineNumber: number, message: string, hint: string}} Mistake
 * @typedef {{id: number, source: string, state: 'running'|'done'|'failed'|'stopped', statements: number,
 *   note: string, chips: Chip[], mistake: Mistake|null}} Entry
 * @typedef {{id: string, chip: string, text: string, name: string, reason: string, state: RequestState,
 *   ownerReason: string, askedAt: number, answeredAt: number|null, value: any, missing: string}} Asked
 * @typedef {{at: number, kind: string, text: string}} LogLine
 */
/**
 * @typedef {object} State
 * @property {{text: string, id: string|null, problem: string, hint: string, isFromLink: boolean}} code
 * @property {{text: string, problem: string}} server
 * @property {string} clientId
 * @property {{origin: string, isOwnMachine: boolean}} served
 * @property {{state: 'idle'|'connecting'|'open'|'reconnecting'|'closed', path: string|null,
 *   rttMs: number|null, reason: string, partner: string}} link
 * @property {Stage[]} stages
 * @property {string} failure what ended the last attempt, with its remedy
 * @property {boolean} isWorkbench
 * @property {Shared[]} store
 * @property {Entry[]} entries newest last
 * @property {string|null} asking key of the chip whose request form is open
 * @property {Asked[]} requests newest last
 * @property {LogLine[]} log oldest first
 * @property {string[]} history oldest first
 */

export const STAGES = ['code', 'signalling', 'path', 'channel', 'verified'];
export const LOG_LINES = 1000;
export const ENTRIES = 200;
export const HISTORY = 200;
const TAG_LENGTH = 80;
const NOTE_LENGTH = 600;
const TAGS = 12; // shown of one object

/** @returns {State} */
export function initial() {
  return {
    code: { text: '', id: null, problem: '', hint: '', isFromLink: false },
    server: { text: '', problem: '' },
    clientId: '',
    served: { origin: '', isOwnMachine: false },
    link: { state: 'idle', path: null, rttMs: null, reason: '', partner: '' },
    stages: freshStages(),
    failure: '',
    isWorkbench: false,
    store: [],
    entries: [],
    asking: null,
    requests: [],
    log: [],
    history: [],
  };
}

/** @returns {Stage[]} */
function freshStages() {
  return STAGES.map((stage) => ({ stage, state: 'waiting', ms: null, message: '', remedy: '' }));
}

/**
 * Words of the other side, for showing: one line or a few, no control or direction characters.
 * @param {unknown} text
 * @param {number} length
 */
export function cleaned(text, length = NOTE_LENGTH) {
  const plain = String(text ?? '')
    .slice(0, length * 4)
    .replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Co}\p{Cn}\s]+/gu, ' ')
    .replaceAll(/(\p{M}{3})\p{M}+/gu, '$1')
    .trim();
  const characters = [...plain];
  return characters.length <= length ? plain : `${characters.slice(0, length - 1).join('')}…`;
}

/** @type {Record<string, (state: State, action: any) => State>} */
const STEPS = {
  served: (state, { origin, isOwnMachine }) => ({ ...state, served: { origin, isOwnMachine } }),

  identity: (state, { clientId }) => ({ ...state, clientId }),

  // `found` is what ids.parse said, `sentence` the text of its problem
  code(state, { text, found, sentence, isFinal, isFromLink = false }) {
    const id = found.id ?? null;
    let problem = '';
    let hint = '';
    const length = found.length ?? 0;
    if (id === null && text.trim() !== '') {
      // Somebody who is still typing is not told that characters are missing.
      if (found.code === 'length' && length < 32 && !isFinal) hint = `${length} of 32 characters`;
      else problem = sentence;
    }
    return { ...state, code: { text, id, problem, hint, isFromLink } };
  },

  server: (state, { text, problem = '' }) => ({ ...state, server: { text, problem } }),

  connect: (state) => ({
    ...state,
    failure: '',
    stages: freshStages(),
    link: { ...initial().link, state: 'connecting', partner: state.code.id ?? '' },
  }),

  stage(state, { stage, state: now, ms = null, message = '', remedy = '' }) {
    const place = STAGES.indexOf(stage);
    if (place < 0) return state;
    const stages = state.stages.map((old, i) => {
      if (i === place) {
        return { stage, state: now, ms, message: cleaned(message), remedy: cleaned(remedy) };
      }
      // A stage cannot go on while an earlier one still does.
      return i < place && old.state !== 'done' && now !== 'failed' ? { ...old, state: /** @type {StageState} */ ('done') } : old;
    });
    return { ...state, stages };
  },

  refused(state, { message, remedy = '' }) {
    const failure = [cleaned(message), cleaned(remedy)].filter((text, i, all) => text && all.indexOf(text) === i).join(' ');
    const isShown = state.stages.some((stage) => stage.state === 'failed');
    const doing = state.stages.findIndex((stage) => stage.state !== 'done');
    const stages = isShown || doing < 0 ? state.stages : state.stages.map((stage, i) => (
      i === doing ? { ...stage, state: /** @type {StageState} */ ('failed'), message: cleaned(message), remedy: cleaned(remedy) } : stage));
    return { ...state, failure, stages, link: { ...state.link, state: 'closed', path: null, rttMs: null } };
  },

  open: (state) => ({ ...state, isWorkbench: true, failure: '' }),

  link: (state, { state: now, path = null, rttMs = null, reason = '' }) => ({
    ...state,
    link: { ...state.link, state: now, path, rttMs, reason: cleaned(reason) },
  }),

  rtt: (state, { path, rttMs }) => (
    state.link.path === path && state.link.rttMs === rttMs ? state
      : { ...state, link: { ...state.link, path, rttMs } }),

  // back to the first screen; what was computed is gone with the session
  leave: (state) => ({
    ...initial(), code: state.code, server: state.server, clientId: state.clientId, served: state.served,
    log: state.log, history: state.history,
  }),

  store: (state, { entries, names }) => ({
    ...state,
    store: entries.map((/** @type {any} */ entry, /** @type {number} */ i) => ({
      id: String(entry.id),
      tags: entry.tags.slice(0, TAGS).map((/** @type {string} */ tag) => cleaned(tag, TAG_LENGTH)),
      description: cleaned(entry.description),
      type: cleaned(entry.type, TAG_LENGTH),
      shape: entry.shape,
      dtype: entry.dtype === null ? null : cleaned(entry.dtype, TAG_LENGTH),
      name: names[i],
    })),
  }),

  run: (state, { id, source }) => ({
    ...state,
    entries: [...state.entries, { id, source, state: /** @type {const} */ ('running'), statements: 0, note: '', chips: [], mistake: null }].slice(-ENTRIES),
    history: [...state.history.filter((old) => old !== source), source].slice(-HISTORY),
  }),

  progress: (state, { id, statements }) => withEntry(state, id, (entry) => ({ ...entry, statements })),

  ran: (state, { id, chips, mistake = null, statements = 0, isStopped = false }) => withEntry(state, id, (entry) => ({
    ...entry, chips, mistake, statements,
    state: isStopped ? 'stopped' : mistake ? 'failed' : 'done',
  })),

  // the same tab after a reload: what was run and how it ended, without values
  again: (state, { entries, log }) => ({
    ...state,
    log: [...log, ...state.log].slice(-LOG_LINES),
    entries: entries.map((/** @type {Entry} */ entry) => (entry.state === 'running'
      ? { ...entry, state: /** @type {const} */ ('stopped'), note: 'The page was reloaded while this ran.' } : entry)),
  }),

  drop(state, { chip }) {
    return {
      ...state,
      asking: state.asking === chip ? null : state.asking,
      entries: state.entries
        .map((entry) => ({ ...entry, chips: entry.chips.filter(({ key }) => key !== chip) }))
        .filter((entry, i) => entry.chips.length || entry.state !== 'done' || !state.entries[i]?.chips.length),
    };
  },

  clear: (state, { id }) => ({ ...state, entries: state.entries.filter((entry) => entry.id !== id) }),

  // what failed on the owner's side between the results
  told: (state, { id, text }) => withEntry(state, id, (entry) => ({ ...entry, note: cleaned(text) })),

  // facts that came later: type and shape of a result
  facts: (state, { chip, facts }) => withChip(state, chip, (old) => (
    old.type === facts.type && old.dtype === facts.dtype && String(old.shape) === String(facts.shape) ? old : { ...old, ...facts })),

  failed: (state, { chip, text }) => withChip(state, chip, (old) => ({ ...old, failure: cleaned(text) })),

  view: (state, { chip, view }) => withChip(state, chip, (old) => ({ ...old, view })),

  ask: (state, { chip }) => ({ ...state, asking: chip }),

  request(state, { request }) {
    const known = state.requests.find(({ id }) => id === request.id);
    const next = {
      ...known, ...request,
      name: cleaned(request.name ?? known?.name, TAG_LENGTH),
      reason: cleaned(request.reason ?? known?.reason),
      ownerReason: cleaned(request.ownerReason ?? known?.ownerReason),
    };
    return {
      ...state,
      asking: !known && state.asking === next.chip ? null : state.asking,
      requests: known
        ? state.requests.map((old) => (old.id === next.id ? next : old))
        : [...state.requests, next],
    };
  },

  log: (state, { at, kind, text }) => ({
    ...state, log: [...state.log, { at, kind: cleaned(kind, 24), text: cleaned(text) }].slice(-LOG_LINES),
  }),
};

/** @param {State} state @param {number} id @param {(entry: Entry) => Entry} change @returns {State} */
function withEntry(state, id, change) {
  return { ...state, entries: state.entries.map((entry) => (entry.id === id ? change(entry) : entry)) };
}

/** @param {State} state @param {string} key @param {(chip: Chip) => Chip} change @returns {State} */
function withChip(state, key, change) {
  return {
    ...state,
    entries: state.entries.map((entry) => (entry.chips.some((chip) => chip.key === key)
      ? { ...entry, chips: entry.chips.map((chip) => (chip.key === key ? change(chip) : chip)) }
      : entry)),
  };
}

/**
 * The state after an action. An action that is not in the table is a mistake of ours.
 * @param {State} state
 * @param {{type: string} & Record<string, any>} action
 * @returns {State}
 */
export function reduce(state, action) {
  const step = Object.hasOwn(STEPS, action.type) ? STEPS[action.type] : undefined;
  if (!step) throw new Error(`no such action: ${action.type}`);
  return step(state, action);
}

/** The request that a chip shows: its newest one. @param {State} state @param {string} chip */
export function requestOf(state, chip) {
  return state.requests.findLast((request) => request.chip === chip) ?? null;
}

/** The state of the connection in words, and the shape that stands for it. @param {State} state */
export function badge({ link, isWorkbench }) {
  const rtt = link.rttMs === null ? '' : ` · ${Math.max(1, Math.round(link.rttMs))} ms`;
  switch (link.state) {
    case 'idle': return { shape: 'ring', words: 'Not connected' };
    case 'connecting': return { shape: 'dots', words: 'Connecting' };
    case 'reconnecting': return { shape: 'triangle', words: 'Reconnecting' };
    case 'closed': return { shape: 'cross', words: isWorkbench ? 'Closed' : 'Could not connect' };
    default: return link.path === 'relayed'
      ? { shape: 'square', words: `Verified · relayed${rtt}` }
      : { shape: 'disc', words: `Verified${link.path ? ` · ${link.path}` : ''}${rtt}` };
  }
}

/** @param {State} state */
export const canConnect = (state) => (
  state.code.id !== null && state.server.problem === '' && state.clientId !== ''
  && (state.link.state === 'idle' || state.link.state === 'closed') && !state.isWorkbench);

/** @param {State} state */
export const canStop = ({ link }) => link.state !== 'idle' && link.state !== 'closed';

/** The log as text, one line each. @param {LogLine[]} log */
export function logText(log) {
  return log.map(({ at, kind, text }) => `${new Date(at).toISOString()}  ${kind.padEnd(10)}  ${text}\n`).join('');
}

/**
 * "4 × 3 float32", as far as it is known.
 * @param {{shape: number[]|null, dtype: string|null, type: string}} facts
 */
export function shapeText({ shape, dtype, type }) {
  const kind = type.replace(/^.*\./, '');
  if (shape === null) return dtype ? `${kind} ${dtype}` : kind;
  const size = shape.length === 0 ? 'one number' : shape.length === 1 ? `${shape[0]} value${shape[0] === 1 ? '' : 's'}` : shape.join(' × ');
  return dtype ? `${size}, ${dtype.replace('torch.', '')}` : size;
}
