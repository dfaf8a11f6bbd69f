// @ts-check
/**
 * The work on one open session: runs what was typed, keeps the pointers and requests behind the
 * chips, and tells the page's state of every change. Knows no document.
 */

import { Evaluation } from './evaluation.js';
import { ExpressionError, parseScript, pointed } from './expression.js';
import { factsOf, packed, unpacked } from './notes.js';
import { shown, valueText } from './numbers.js';

/** @typedef {import('./vocabulary.js').Vocabulary} Vocabulary */
/** @typedef {import('./evaluation.js').Outcome} Outcome */
/** @typedef {(action: {type: string} & Record<string, any>) => void} Dispatch */
/** @typedef {import('./notes.js').Notes} Notes */

const FACTS_AFTER = [150, 600, 2000, 6000]; // ms: when to look again at what is known of a result

export class Desk {
  /**
   * @param {any} session an open Session
   * @param {object} page
   * @param {Vocabulary} page.vocabulary
   * @param {any} page.kinds the classes of values that travel
   * @param {(value: any) => boolean} page.isPointer
   * @param {(pointer: any, name: string, value: any) => void} page.assign sets a property
   * @param {Dispatch} page.dispatch
   */
  constructor(session, { vocabulary, kinds, isPointer, assign, dispatch }) {
    this.session = session;
    this.dispatch = dispatch;
    this.isPointer = isPointer;
    /** @type {Map<string, any>} */
    this.names = new Map();
    /** @type {Map<string, {pointer: any, text: string}>} */
    this.chips = new Map();
    /** @type {Map<string, any>} */
    this.requests = new Map();
    /** @type {Map<string, string>} chip of each request */
    this.chipOf = new Map();
    /** @type {Evaluation|null} */
    this.running = null;
    this.entries = 0;
    this.isClosed = false;
    this.world = {
      get store() {
        return session.store;
      },
      pointer: (/** @type {any} */ entry) => session.pointer(entry),
      torch: session.torch,
      isPointer,
      assign,
      kinds,
      vocabulary,
    };
  }

  /** Names that the line can complete. */
  known() {
    return new Evaluation(this.world, this.names).known();
  }

  /** The mistake of a text that cannot be parsed, null if it can. @param {string} source */
  static mistakeIn(source) {
    try {
      parseScript(source);
      return null;
    } catch (error) {
      if (error instanceof ExpressionError) return pointed(error, source);
      throw error;
    }
  }

  /**
   * Runs a script; what came of it is told as actions.
   * @param {string} source
   * @param {() => Promise<void>} pause
   * @returns {Promise<boolean>} whether it ran to its end
   */
  async run(source, pause) {
    if (this.running) return false;
    const id = this.entries += 1;
    this.dispatch({ type: 'run', id, source });
    const evaluation = new Evaluation(this.world, this.names);
    this.running = evaluation;
    let mistake = null;
    /** @type {Outcome[]} */
    let outcomes = [];
    try {
      outcomes = await evaluation.run(parseScript(source), source, async () => {
        this.dispatch({ type: 'progress', id, statements: evaluation.statements });
        await pause();
      });
    } catch (error) {
      if (!(error instanceof ExpressionError)) throw error;
      if (!evaluation.isStopped) mistake = pointed(error, source);
      outcomes = [...evaluation.outcomes.values()];
    } finally {
      this.running = null;
    }
    const chips = outcomes.map((outcome, i) => this.#chip(`${id}-${i}`, outcome)).filter((chip) => chip !== null);
    this.dispatch({ type: 'ran', id, chips, mistake, statements: evaluation.statements, isStopped: evaluation.isStopped });
    this.dispatch({ type: 'log', kind: mistake ? 'mistake' : 'run', text: mistake ? `${firstLine(source)}: ${mistake.message}` : `Ran ${firstLine(source)}` });
    for (const ms of FACTS_AFTER) setTimeout(() => this.#refresh(chips.map(({ key }) => key)), ms);
    return mistake === null;
  }

  /** Ends a running script before its next statement. */
  stop() {
    this.running?.stop();
  }

  /** @param {string} key @param {Outcome} outcome */
  #chip(key, { name, text, value }) {
    if (this.isPointer(value)) {
      if (value.type === 'python.NoneType') return null;
      this.chips.set(key, { pointer: value, text });
      return { key, name, text, ...shapeOf(value), local: null, failure: value.failed ?? '', view: '' };
    }
    return { key, name, text, type: '', shape: null, dtype: null, local: localText(value), failure: '', view: '' };
  }

  /** @param {string[]} keys */
  #refresh(keys) {
    if (this.isClosed) return;
    for (const key of keys) {
      const chip = this.chips.get(key);
      if (chip) this.dispatch({ type: 'facts', chip: key, facts: shapeOf(chip.pointer) });
    }
  }

  /**
   * @param {string} key of the chip
   * @param {{name: string, reason: string, timeoutSeconds: number|null}} asked
   */
  ask(key, asked) {
    const chip = this.chips.get(key);
    if (!chip) return;
    const request = chip.pointer.request(asked);
    this.requests.set(String(request.id), request);
    this.chipOf.set(String(request.id), key);
    this.changed(request);
    this.dispatch({ type: 'log', kind: 'request', text: `Asked for ${asked.name || chip.text}${asked.reason ? `: ${asked.reason}` : ''}` });
  }

  /** The expression that a request asks for. @param {any} request */
  textOf(request) {
    return this.chips.get(this.chipOf.get(String(request.id)) ?? '')?.text ?? '';
  }

  /** A request that changed, ours or not. @param {any} request */
  changed(request) {
    const key = this.chipOf.get(String(request.id));
    if (key === undefined) return;
    const missing = request.state === 'released' ? request.missing ?? '' : '';
    this.dispatch({
      type: 'request',
      request: {
        id: String(request.id), chip: key, text: this.chips.get(key)?.text ?? '', name: request.name,
        reason: request.reason, state: request.state, ownerReason: request.ownerReason ?? '',
        askedAt: request.askedAt, answeredAt: request.answeredAt ?? null, value: request.value, missing,
      },
    });
  }

  /** A command that failed for a public reason. @param {{pointer: any, op: string, text: string}} failure */
  failed({ pointer, op, text }) {
    const keys = [...this.chips].filter(([, chip]) => pointer !== null && chip.pointer.id === pointer.id);
    for (const [key] of keys) this.dispatch({ type: 'failed', chip: key, text });
    // What has no chip was made on the way to one: the newest script says so
    if (keys.length === 0) this.dispatch({ type: 'told', id: this.entries, text: text || `${op} failed.` });
  }

  /** @param {string} id */
  withdraw(id) {
    this.requests.get(id)?.withdraw();
  }

  /** Forgets a result, here and on the owner's side unless something else still stands for it. @param {string} key */
  drop(key) {
    const chip = this.chips.get(key);
    this.chips.delete(key);
    this.dispatch({ type: 'drop', chip: key });
    if (!chip) return;
    for (const [id, of] of this.chipOf) {
      if (of === key && this.requests.get(id)?.state === 'waiting') this.withdraw(id);
    }
    if ([...this.chips.values()].some(({ pointer }) => pointer === chip.pointer)) return;
    for (const [name, value] of this.names) if (value === chip.pointer) this.names.delete(name);
    const isListed = [...this.names.values()].some((value) => Array.isArray(value) && value.includes(chip.pointer));
    const isShared = this.session.store.some((/** @type {any} */ entry) => entry.id === chip.pointer.id);
    if (!isListed && !isShared) chip.pointer.drop();
  }

  /** What a reload needs of this work: names and which result is which, never a value. @returns {Notes} */
  notes() {
    const pointers = new Map();
    const add = (/** @type {any} */ pointer) => pointers.set(pointer.id, factsOf(pointer));
    const names = [...this.names].flatMap(([name, value]) => {
      const kept = packed(value, this.isPointer, add);
      return kept === null ? [] : [/** @type {[string, any]} */ ([name, kept])];
    });
    const chips = [...this.chips].map(([key, { pointer, text }]) => {
      add(pointer);
      return /** @type {[string, number, string]} */ ([key, pointer.id, text]);
    });
    return { names, chips, asked: [...this.chipOf], entries: this.entries, pointers: [...pointers.values()] };
  }

  /** Takes up the work of the page before a reload. @param {Notes} notes */
  takeUp({ names, chips, asked, entries }) {
    this.entries = entries;
    const shared = new Map(this.session.store.map((/** @type {any} */ entry) => [entry.id, entry]));
    /** @type {Map<number, any>} one for each object, as before */
    const found = new Map(this.session.restored);
    const pointerOf = (/** @type {number} */ id) => {
      if (!found.has(id) && shared.has(id)) found.set(id, this.session.pointer(shared.get(id)));
      return found.get(id);
    };
    for (const [name, value] of names) {
      const made = unpacked(value, pointerOf, this.world.kinds);
      if (made !== undefined && !made?.isGone) this.names.set(name, made);
    }
    for (const [key, id, text] of chips) {
      const pointer = pointerOf(id);
      if (pointer !== undefined) this.chips.set(key, { pointer, text });
      if (pointer === undefined || pointer.failed)
        this.dispatch({ type: 'failed', chip: key, text: pointer?.failed ?? 'The owner took this object back.' });
    }
    const chipOf = new Map(asked);
    for (const request of this.session.requests) {
      this.requests.set(request.id, request);
      this.chipOf.set(request.id, chipOf.get(request.id) ?? '');
      this.changed(request);
    }
  }

  /** The session is over: nothing is refreshed any more. */
  close() {
    this.isClosed = true;
    this.stop();
  }
}

/** @param {any} pointer */
function shapeOf(pointer) {
  return { type: pointer.type ?? 'python.Any', shape: pointer.shape ?? null, dtype: pointer.dtype === null || pointer.dtype === undefined ? null : String(pointer.dtype) };
}

/** @param {any} value a value of this side */
function localText(value) {
  if (Array.isArray(value)) return `list of ${value.length} on this side`;
  if (typeof value === 'number' || typeof value === 'bigint') return `${shown(value)} on this side`;
  return `${valueText(value)} on this side`;
}

/** @param {string} source */
function firstLine(source) {
  const [first = '', ...more] = source.trim().split('\n');
  return more.length ? `${first} … (${more.length + 1} lines)` : first;
}
