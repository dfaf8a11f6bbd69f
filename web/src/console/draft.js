// @ts-check
/** A rule while it is being written: what stands in the fields, and the rule that it makes. */

/** @typedef {import('./messages.js').RequestView} RequestView */
/** @typedef {import('./messages.js').Rule} Rule */

/**
 * @typedef {{
 *   action: 'accept' | 'deny', name: string, withTags: boolean, tags: string, kinds: string[],
 *   numbers: string, anyNumbers: boolean, records: string, sources: number[], alike: boolean,
 *   request: string, injected: '' | 'yes' | 'no', dropout: boolean, uses: string, anyUses: boolean, quota: string,
 *   minutes: string, seen: boolean, print: boolean, log: boolean,
 * }} Draft
 */

/** @type {Draft} */
export const EMPTY = {
  action: 'accept',
  name: '',
  withTags: false,
  tags: '',
  kinds: [],
  numbers: '',
  anyNumbers: false,
  records: '',
  sources: [],
  alike: false,
  request: '',
  injected: '',
  dropout: true,
  uses: '',
  anyUses: false,
  quota: '',
  minutes: '',
  seen: false,
  print: false,
  log: false,
};

const RAW = new Set(['per_record', 'verbatim']);

/**
 * A rule for later requests like this one: its name, kind, size and sources. What names single
 * records makes a rule that denies; to accept such things always, a person has to change it.
 * @param {RequestView} request
 * @param {number} guard the session's smallest group
 * @returns {Draft}
 */
export function fromRequest(request, guard) {
  const denies = RAW.has(request.kind) || request.failed !== '' || request.refusal !== '';
  /** @type {Draft} */
  const draft = { ...EMPTY, request: request.id, name: request.name };
  if (denies) return { ...draft, action: 'deny' };
  return {
    ...draft,
    kinds: [request.kind],
    numbers: String(request.elements),
    records: request.kind !== 'metadata' && request.records < guard ? String(request.records) : '',
    sources: request.sources.map((source) => source.id),
    injected: request.injected ? 'yes' : '',
  };
}

/**
 * The rule, and what is wrong with the fields.
 * @param {Draft} draft
 * @returns {{rule: Rule | null, problems: string[]}}
 */
export function toRule(draft) {
  /** @type {string[]} */
  const problems = [];
  /** @param {string} text @param {string} what @param {number} least */
  const whole = (text, what, least = 0) => {
    const trimmed = text.trim();
    if (trimmed === '') return undefined;
    const value = Number(trimmed);
    if (/^\d{1,15}$/.test(trimmed) && value >= least) return value;
    problems.push(`${what}: a whole number of at least ${least}.`);
    return undefined;
  };
  /** @type {Rule} */
  const rule = { action: draft.action };
  if (draft.name.trim()) rule.name = draft.name.trim();
  if (draft.withTags) rule.tags = [...new Set(draft.tags.split(',').map((tag) => tag.trim()).filter(Boolean))];
  if (draft.kinds.length) rule.kinds = draft.kinds;
  const numbers = whole(draft.numbers, 'Numbers in each');
  if (draft.anyNumbers) rule.max_elements = null;
  else if (numbers !== undefined) rule.max_elements = numbers;
  const records = whole(draft.records, 'Records behind each');
  if (records !== undefined) rule.min_records = records;
  if (draft.sources.length) rule.sources = draft.sources;
  if (draft.alike && draft.request) rule.like = draft.request;
  if (draft.injected) rule.allow_injected = draft.injected === 'yes';
  if (!draft.dropout) rule.allow_dropout = false;
  const uses = whole(draft.uses, 'Decisions');
  if (draft.anyUses) rule.max_uses = null;
  else if (uses !== undefined) rule.max_uses = uses;
  const quota = whole(draft.quota, 'Numbers in all');
  if (quota !== undefined) rule.element_quota = quota;
  const minutes = whole(draft.minutes, 'Minutes', 1);
  if (minutes !== undefined) rule.seconds = 60 * minutes;
  if (draft.seen) rule.seen_only = true;
  if (draft.print) rule.print_local = true;
  if (draft.log) rule.log_local = true;
  return { rule: problems.length ? null : rule, problems };
}
