// @ts-check
/** Texts for people: what the scientist wrote made harmless, numbers, and what a request means. */

/** @typedef {import('./messages.js').RequestView} RequestView */
/** @typedef {import('./messages.js').HandlerView} HandlerView */

// Controls, formats (bidi overrides, zero width), surrogates, private, unassigned, line separators.
const INVISIBLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/gu;
const STACKED = /(\p{M}{3})\p{M}+/gu;

/**
 * A text of the other side as it may be shown: nothing invisible, not too long.
 * @param {string} text
 * @param {number} max characters
 * @param {boolean} [lines] keep line breaks and tabs
 */
export function shown(text, max, lines = false) {
  const characters = Array.from(text.slice(0, 2 * max + 2));
  const cut = characters.length > max || text.length > 2 * max + 2;
  const kept = cut ? characters.slice(0, max - 1).join('') + '…' : text;
  return kept.replace(INVISIBLE, (c) => (lines && (c === '\n' || c === '\t') ? c : escaped(c))).replace(STACKED, '$1');
}

/** @param {string} character */
function escaped(character) {
  return `\\u${(character.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`;
}

/** @param {number} value */
export function number(value) {
  return value.toLocaleString('en-US');
}

/** @param {number} count @param {string} noun */
export function counted(count, noun) {
  return `${number(count)} ${noun}${count === 1 ? '' : 's'}`;
}

/** @param {number} count of bytes */
export function bytes(count) {
  const units = ['kB', 'MB', 'GB', 'TB'];
  if (count < 1000) return counted(count, 'byte');
  let value = count;
  let unit = -1;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/** @param {number} seconds */
export function span(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  if (whole < 86_400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return counted(Math.floor(whole / 86_400), 'day');
}

/** @param {number[] | null} shape */
export function dimensions(shape) {
  if (shape === null) return '';
  return shape.length === 0 ? 'a single value' : shape.map(number).join(' × ');
}

/** An id in groups of four, as both sides print it. @param {string} id */
export function grouped(id) {
  return (id.match(/.{1,4}/g) ?? []).join('-');
}

/** @type {Record<string, string>} */
const KIND_NAMES = {
  public: 'public',
  metadata: 'size or type',
  aggregate: 'aggregate',
  model: 'model',
  per_record: 'single records',
  verbatim: 'raw data',
};

/** Short word for a kind. @param {string} kind */
export function kindName(kind) {
  return KIND_NAMES[kind] ?? kind;
}

/** Names in quotation marks, joined. @param {string[]} names */
export function listed(names) {
  const quoted = names.slice(0, 6).map((name) => `“${shown(name, 60)}”`);
  if (names.length > 6) quoted.push(`${names.length - 6} more`);
  if (quoted.length < 2) return quoted.join('');
  return `${quoted.slice(0, -1).join(', ')} and ${quoted[quoted.length - 1]}`;
}

/**
 * What accepting would tell, in one sentence.
 * @param {RequestView} request
 * @param {number} guard the session's smallest group
 */
export function headline(request, guard) {
  const numbers = counted(request.elements, 'number');
  const from = request.sources.length ? ` ${listed(request.sources.map((source) => source.name))}` : ' your data';
  if (request.refusal) return `This cannot be released: ${request.refusal}.`;
  if (request.failed) return 'A computation that failed. Accepting tells the scientist the text of the failure.';
  switch (request.kind) {
    case 'metadata':
      return `A size or a type of${from}. It depends on no record’s value.`;
    case 'aggregate':
      // a mask can leave one record of any number of them
      if (request.injected) return `${numbers} computed over records of${from}. Something of the scientist’s was mixed in: it may have left one record.`;
      return request.records >= guard
        ? `${numbers} computed over at least ${counted(request.records, 'record')} of${from}.`
        : `${numbers} computed over as few as ${counted(request.records, 'record')} of${from}.`;
    case 'model':
      return `A trained model: ${numbers} learned from${from}. It can contain exact records.`;
    case 'per_record':
      return `${numbers} that may each be about a single record of${from}.`;
    case 'verbatim':
      return `Raw data: ${numbers} copied from${from}.`;
    default:
      return `${numbers} that depend on none of your data.`;
  }
}

/**
 * How carefully to look: `calm`, `care` or `high`. It colours the card and never hides anything.
 * @param {RequestView} request
 * @param {number} guard
 */
export function weight(request, guard) {
  if (request.failed || request.kind === 'per_record' || request.kind === 'verbatim') return 'high';
  if (request.kind === 'model' || request.injected) return 'care';
  if (request.kind === 'aggregate' && request.records < guard) return 'care';
  return 'calm';
}

/** What of a rule is used up. @param {HandlerView} rule @param {number} now seconds since 1970 */
export function usage(rule, now) {
  const parts = [rule.uses === 0 ? 'not used yet' : `used ${counted(rule.uses, 'time')}`];
  if (rule.uses_left !== null) parts.push(`${counted(rule.uses_left, 'use')} left`);
  if (rule.quota !== null && rule.quota_left !== null) {
    parts.push(`${number(rule.quota_left)} of ${counted(rule.quota, 'number')} left`);
  }
  if (rule.ends !== null) parts.push(`ends in ${span(rule.ends - now)}`);
  return parts.join(' · ');
}

/** The browser tab's title. @param {number} waiting */
export function title(waiting) {
  return waiting > 0 ? `(${waiting}) Duet` : 'Duet';
}
