// @ts-check
/** The audit log: search, older rows, export. */

import { byId, h, keep } from './dom.js';
import { counted, number, shown } from './text.js';

/** @typedef {import('./messages.js').Answer} Answer */
/** @typedef {import('./messages.js').AuditRow} AuditRow */

const PAUSE = 200;
/** What a person looks for first; the rest follows as it stands. */
const FIRST = [
  'what', 'source_names', 'name', 'reason', 'status', 'why', 'how', 'said', 'state', 'value_kind', 'elements', 'min_records',
];
const EXPORTED = 100_000;
const KINDS = ['', 'request', 'decision', 'release', 'recipe', 'repeat', 'refusal', 'handler', 'share', 'drop', 'session', 'peer', 'engine', 'fault'];

export class AuditPart {
  /**
   * @param {(question: Record<string, any>) => Promise<Answer>} ask
   */
  constructor(ask) {
    this.ask = ask;
    /** @type {AuditRow[]} */
    this.rows = [];
    this.timer = 0;
    this.round = 0;
    const kind = byId('audit-kind');
    kind.append(...KINDS.map((name) => h('option', { value: name }, name || 'all')));
    const form = byId('audit-form');
    form.addEventListener('submit', (event) => event.preventDefault());
    form.addEventListener('input', () => this.soon());
    form.addEventListener('change', () => this.soon());
    byId('audit-more').addEventListener('click', () => void this.find(false));
    byId('audit-export').addEventListener('click', () => void this.export());
  }

  /** Reads again after a pause; something changed, or something else is wanted. */
  soon() {
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => void this.find(true), PAUSE);
  }

  /** @param {number} before @param {boolean} whole */
  question(before, whole) {
    return {
      t: 'audit',
      text: /** @type {HTMLInputElement} */ (byId('audit-text')).value,
      kind: /** @type {HTMLSelectElement} */ (byId('audit-kind')).value,
      all_sessions: /** @type {HTMLInputElement} */ (byId('audit-all')).checked,
      before,
      whole,
    };
  }

  /** @param {boolean} fresh from the newest row on */
  async find(fresh) {
    this.round += 1;
    const round = this.round;
    const last = this.rows[this.rows.length - 1];
    const answer = await this.ask(this.question(fresh || !last ? 0 : last.number, false));
    if (round !== this.round) return;
    const found = answer.rows ?? [];
    this.rows = fresh ? found : [...this.rows, ...found];
    byId('audit-note').textContent = answer.ok ? noteOf(this.rows.length, answer.more === true) : shown(answer.text, 500);
    byId('audit-more').hidden = !answer.more;
    keep(byId('audit-rows'), this.rows, (row) => String(row.number), rowNode, () => {});
  }

  async export() {
    byId('audit-note').textContent = 'Collecting…';
    /** @type {string[]} */
    const lines = [];
    let before = 0;
    while (lines.length < EXPORTED) {
      const answer = await this.ask(this.question(before, true));
      if (!answer.ok) {
        byId('audit-note').textContent = shown(answer.text, 500);
        return;
      }
      const found = answer.rows ?? [];
      lines.push(...found.map((row) => JSON.stringify(row)));
      const last = found[found.length - 1];
      if (!answer.more || !last) break;
      before = last.number;
    }
    const url = URL.createObjectURL(new Blob(lines.reverse().map((line) => `${line}\n`), { type: 'application/x-ndjson' }));
    h('a', { href: url, download: 'duet-audit.jsonl' }).click();
    URL.revokeObjectURL(url);
    const cut = lines.length >= EXPORTED ? ' Older rows: duet audit export FILE.' : '';
    byId('audit-note').textContent = `${counted(lines.length, 'row')} exported, oldest first.${cut}`;
  }
}

/** @param {number} count @param {boolean} more */
function noteOf(count, more) {
  return count === 0 ? 'No row fits.' : `${counted(count, 'row')}, newest first${more ? '; there are more' : ''}.`;
}

/** @param {AuditRow} row */
function rowNode(row) {
  return h(
    'li',
    { class: 'audit-row' },
    h('span', { class: 'soft number' }, number(row.number)),
    h('time', { class: 'soft', datetime: row.time }, localTime(row.time)),
    h('span', { class: 'kind' }, shown(row.kind, 32)),
    h('span', { class: 'what' }, h('bdi', {}, shown(factsText(row.facts), 600))),
  );
}

/** @param {string} time */
function localTime(time) {
  const moment = new Date(time);
  return Number.isNaN(moment.getTime()) ? shown(time, 40) : moment.toLocaleString('sv-SE');
}

/** Names and values of a row, what is empty left out. @param {string} facts JSON */
export function factsText(facts) {
  /** @type {unknown} */
  let value;
  try {
    value = JSON.parse(facts);
  } catch {
    return facts; // somebody changed it; `duet audit verify` says so
  }
  if (typeof value !== 'object' || value === null) return facts;
  const empty = (/** @type {unknown} */ part) => part === '' || part === null || part === false || (typeof part === 'object' && Object.keys(part).length === 0);
  const rank = (/** @type {string} */ name) => (FIRST.indexOf(name) + FIRST.length + 1) % (FIRST.length + 1);
  return Object.entries(value)
    .filter(([name, part]) => name !== 'hmac' && !empty(part))
    .sort(([a], [b]) => rank(a) - rank(b))
    .map(([name, part]) => `${name}: ${typeof part === 'string' ? part : JSON.stringify(part)}`)
    .join(' · ');
}
