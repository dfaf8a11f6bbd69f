// @ts-check
/** Draws the workbench: shared objects, results, requests, activity. */

import { byId, element, foreign, icon, keyed, set, write } from './element.js';
import { series, viewsOf } from './numbers.js';
import { plot } from './plots.js';
import { requestOf, shapeText } from './state.js';

/** @typedef {import('./state.js').State} State */
/** @typedef {import('./state.js').Chip} Chip */
/** @typedef {import('./state.js').Entry} Entry */
/** @typedef {import('./state.js').Asked} Asked */

/** @type {Record<string, {icon: string, words: string}>} */
const STATES = {
  waiting: { icon: 'clock', words: 'Waiting for the owner' },
  released: { icon: 'tick', words: 'Released' },
  denied: { icon: 'cross', words: 'Denied' },
  expired: { icon: 'clock', words: 'Expired' },
  failed: { icon: 'triangle', words: 'Failed' },
  withdrawn: { icon: 'ring', words: 'Withdrawn' },
};
/** @type {Record<string, string>} */
const VIEW_NAMES = { value: 'Value', table: 'Table', line: 'Line', bars: 'Bars', histogram: 'Histogram', image: 'Image' };
const LOG_SHOWN = 200;
const SHARED_SHOWN = 200;

/** What a click on a part of the workbench means; `main.js` listens for it. @param {string} type @param {Record<string, any>} detail */
function tell(type, detail) {
  document.dispatchEvent(new CustomEvent(`duet-${type}`, { detail }));
}

/** @param {State} state @param {State|null} old */
export function drawWorkbench(state, old) {
  if (state.store !== old?.store) drawShared(state);
  if (state.entries !== old?.entries || state.asking !== old?.asking || state.requests !== old?.requests) drawEntries(state);
  if (state.requests !== old?.requests) drawRequests(state);
  if (state.log !== old?.log) drawLog(state);
}

/** @param {State} state */
function drawShared({ store }) {
  write(byId('shared-count'), store.length > SHARED_SHOWN ? `${SHARED_SHOWN} of ${store.length}` : store.length ? String(store.length) : '');
  byId('shared-empty').hidden = store.length > 0;
  keyed(byId('shared'), store.slice(0, SHARED_SHOWN), (entry) => entry.id, () => {
    const button = element('button', { type: 'button', class: 'tile' });
    button.addEventListener('click', () => tell('insert', { text: button.dataset['name'] }));
    return element('li', {}, button);
  }, (node, entry) => {
    const button = node.firstElementChild;
    button.dataset.name = entry.name;
    const tags = entry.tags.filter((tag) => tag !== entry.name);
    button.replaceChildren(
      element('span', { class: 'name' }, foreign(entry.name)),
      element('span', { class: 'facts' }, shapeText(entry), ...(entry.shape === null && entry.type === 'torch.Tensor' ? ['shape not public'] : []).map((t) => `, ${t}`)),
      ...(entry.description ? [element('span', { class: 'about' }, foreign(entry.description))] : []),
      ...(tags.length ? [element('span', { class: 'tags' }, ...tags.map((tag) => element('span', { class: 'tag' }, foreign(tag))))] : []),
      element('span', { class: 'hidden' }, 'Put this name into the expression'),
    );
  });
}

/** @param {State} state */
function drawEntries(state) {
  byId('entries-empty').hidden = state.entries.length > 0;
  /** @type {Row[]} */
  const rows = state.entries.toReversed().map((entry) => ({
    entry,
    asking: entry.chips.some(({ key }) => key === state.asking) ? state.asking : null,
    requests: entry.chips.map(({ key }) => requestOf(state, key)),
  }));
  keyed(byId('entries'), rows, ({ entry }) => String(entry.id), ({ entry }) => {
    const remove = element('button', { type: 'button', class: 'quiet small only-icon', 'aria-label': 'Remove from the list', onclick: () => tell('clear', { id: entry.id }) }, icon('cross'));
    return element('li', { class: 'card entry' },
      element('div', { class: 'source' }, element('pre', { tabindex: '0', 'aria-label': 'Source' }, element('code', {}, entry.source)), remove),
      element('div', { class: 'told' }),
      element('div', { class: 'mistake', role: 'alert' }),
      element('div', { class: 'chips' }));
  }, (node, { entry, asking, requests }) => {
    const [, told, mistake, chips] = node.children;
    const words = toldOf(entry);
    write(told, [words, entry.note].filter((text) => text !== '').join(' '));
    told.classList.toggle('bad', entry.note !== '');
    told.hidden = told.textContent === '';
    mistake.hidden = entry.mistake === null;
    if (entry.mistake && !mistake.hasChildNodes()) mistake.append(...mistakeElements(entry.mistake));
    const items = entry.chips.map((chip, i) => ({ chip, isAsking: chip.key === asking, request: requests[i] ?? null }));
    keyed(chips, items, ({ chip }) => chip.key, ({ chip }) => makeChip(chip), updateChip, isSameChip);
  }, isSameRow);
}

/** @typedef {{entry: Entry, asking: string|null, requests: (Asked|null)[]}} Row */
/** @typedef {{chip: Chip, isAsking: boolean, request: Asked|null}} Shown */

/** @param {Row} a @param {Row} b */
const isSameRow = (a, b) => a.entry === b.entry && a.asking === b.asking
  && a.requests.length === b.requests.length && a.requests.every((request, i) => request === b.requests[i]);
/** @param {Shown} a @param {Shown} b */
const isSameChip = (a, b) => a.chip === b.chip && a.isAsking === b.isAsking && a.request === b.request;

/** @param {Entry} entry */
function toldOf(entry) {
  const count = `${entry.statements} statement${entry.statements === 1 ? '' : 's'}`;
  if (entry.state === 'running') return entry.statements ? `Running, ${count} sent…` : 'Running…';
  if (entry.state === 'stopped') return `Stopped after ${count}.`;
  if (entry.state === 'failed') return entry.statements > 1 ? `Ended at statement ${entry.statements}.` : '';
  return entry.chips.length === 0 ? 'Done. Nothing to show.' : entry.statements > 1 ? `${count} sent to the owner’s machine.` : '';
}

/** @param {import('./state.js').Mistake} mistake @returns {Node[]} */
export function mistakeElements({ line, caret, lineNumber, message, hint }) {
  return [
    element('pre', { 'aria-hidden': 'true' }, `${line}\n`, element('span', { class: 'caret' }, caret)),
    element('p', {}, element('span', { class: 'hidden' }, `Line ${lineNumber}: `), foreign(message), hint ? ` ${hint}` : ''),
  ];
}

/** @param {Chip} chip */
function makeChip({ key, name, text }) {
  const label = name ?? text;
  const insert = element('button', { type: 'button', class: 'name', title: 'Put it into the expression', onclick: () => tell('insert', { text: name ?? `(${text})` }) }, foreign(label));
  return element('div', { class: 'chip', 'data-chip': key },
    element('div', { class: 'row' },
      element('div', { class: 'pointer' }, insert, element('span', { class: 'facts' })),
      element('span', { class: 'state' }),
      element('button', { type: 'button', class: 'small ask-button', onclick: () => tell('ask', { chip: key }) }, 'Request'),
      element('button', { type: 'button', class: 'quiet small only-icon', 'aria-label': `Drop ${label}`, title: 'Drop: the owner’s machine forgets it', onclick: () => tell('drop', { chip: key }) }, icon('cross'))),
    element('div', { class: 'form' }),
    element('p', { class: 'why' }),
    element('div', { class: 'views', role: 'group', 'aria-label': `View of ${label}` }),
    element('div', { class: 'result' }));
}

/** @param {any} node @param {Shown} shown */
function updateChip(node, { chip, isAsking, request }) {
  const [row, form, why, views, result] = node.children;
  const [pointer, state, button] = row.children;
  const facts = chip.local ?? shapeText(chip);
  write(pointer.lastElementChild, chip.name !== null && chip.text !== chip.name ? `${shortened(chip.text)} · ${facts}` : facts);
  const now = chip.failure ? 'failed' : request?.state ?? '';
  set(state, { 'data-state': now });
  if (state.dataset.shown !== now) {
    state.dataset.shown = now;
    state.replaceChildren(...(now ? [icon(STATES[now]?.icon ?? 'ring'), STATES[now]?.words ?? now] : []));
  }
  state.hidden = now === '';
  button.hidden = chip.local !== null || chip.failure !== '' || request?.state === 'waiting';
  write(button, request && request.state !== 'waiting' ? 'Ask again' : 'Request');
  set(button, { 'aria-expanded': isAsking ? 'true' : 'false' });
  if (!isAsking) form.replaceChildren();
  else if (!form.hasChildNodes()) form.append(askForm(chip));
  const words = chip.failure || reasonOf(request);
  if (why.textContent !== words) why.replaceChildren(...(words ? [foreign(words)] : []));
  why.hidden = words === '';
  drawResult(chip, request, views, result);
}

/** @param {string} text */
const shortened = (text) => (text.length > 80 ? `${text.slice(0, 79)}…` : text).replaceAll(/\s+/g, ' ');

/** @param {Asked|null} request */
function reasonOf(request) {
  if (!request) return '';
  if (request.state === 'denied') return request.ownerReason ? `The owner’s reason: ${request.ownerReason}` : 'The owner gave no reason.';
  if (request.state === 'expired') return 'Nobody decided in time.';
  if (request.state === 'failed') return request.ownerReason || 'It was computed from an operation that failed.';
  return '';
}

/** @param {Chip} chip @param {Asked|null} request @param {any} views @param {any} result */
function drawResult(chip, request, views, result) {
  if (request?.state !== 'released') {
    views.replaceChildren();
    views.hidden = true;
    result.replaceChildren();
    delete result.dataset.shown;
    return;
  }
  if (request.missing) {
    views.hidden = true;
    result.replaceChildren(element('p', { class: 'missing' }, foreign(request.missing)));
    delete result.dataset.shown;
    return;
  }
  const offered = viewsOf(request.value, chip.text);
  const view = offered.find((one) => one === chip.view) ?? offered[0] ?? 'value';
  views.hidden = offered.length < 2;
  if (views.dataset.of !== request.id) {
    views.dataset.of = request.id;
    views.replaceChildren(...(offered.length < 2 ? [] : offered.map((one) => (
      element('button', { type: 'button', 'data-view': one, onclick: () => tell('view', { chip: chip.key, view: one }) }, VIEW_NAMES[one] ?? one)))));
  }
  for (const button of views.children) set(button, { 'aria-pressed': button.dataset.view === view ? 'true' : 'false' });
  const shown = `${request.id} ${view}`;
  if (result.dataset.shown === shown) return;
  result.dataset.shown = shown;
  result.replaceChildren(plot(request.value, view, chip.name ?? shortened(chip.text), chip.text));
}

/** The form that asks for a release. @param {Chip} chip */
function askForm(chip) {
  const id = `ask-${chip.key}`;
  const name = element('input', { id: `${id}-name`, name: 'name', maxlength: '80', autocomplete: 'off', value: chip.name ?? '' });
  const reason = element('input', { id: `${id}-reason`, name: 'reason', maxlength: '500', autocomplete: 'off' });
  const limit = element('select', { id: `${id}-limit`, name: 'limit' },
    element('option', { value: '' }, 'until decided'),
    element('option', { value: '60' }, '1 minute'),
    element('option', { value: '600' }, '10 minutes'));
  const form = element('form', { class: 'ask', 'aria-label': 'Ask the owner', onkeydown: (event) => {
    if (event.key === 'Escape') tell('ask', { chip: null, from: chip.key });
  } },
  element('div', {}, element('label', { for: reason.id }, 'Why you need it'), reason),
  element('div', { class: 'two' },
    element('div', {}, element('label', { for: name.id }, 'Name of the request'), name),
    element('div', {}, element('label', { for: limit.id }, 'Wait'), limit)),
  element('div', { class: 'actions' },
    element('button', { type: 'submit', class: 'primary small' }, 'Send request'),
    element('button', { type: 'button', class: 'quiet small', onclick: () => tell('ask', { chip: null, from: chip.key }) }, 'Cancel')));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    tell('request', {
      chip: chip.key, name: name.value.trim(), reason: reason.value.trim(),
      timeoutSeconds: limit.value === '' ? null : Number(limit.value),
    });
  });
  queueMicrotask(() => reason.focus());
  return form;
}

/** @param {State} state */
function drawRequests({ requests }) {
  const waiting = requests.filter((request) => request.state === 'waiting').length;
  write(byId('asked-count'), waiting ? `${waiting} waiting` : '');
  byId('requests-empty').hidden = requests.length > 0;
  keyed(byId('requests'), requests.toReversed(), ({ id }) => id, (request) => element('li', { class: 'card request', 'data-request': request.id },
    element('div', { class: 'head' },
      element('span', { class: request.name ? 'name' : 'name mono' }, element('bdi', {}, request.name || shortened(request.text))),
      element('time', { datetime: new Date(request.askedAt).toISOString() }, clock(request.askedAt))),
    element('code', {}, ...(request.name ? [element('bdi', {}, shortened(request.text))] : [])),
    element('p', { class: 'why' }, ...(request.reason ? ['“', element('bdi', {}, request.reason), '”'] : [])),
    element('span', { class: 'state', role: 'status' }),
    element('p', { class: 'why owner' }),
    element('div', { class: 'actions' },
      element('button', { type: 'button', class: 'small', onclick: () => tell('withdraw', { id: request.id }) }, 'Withdraw'),
      element('button', { type: 'button', class: 'quiet small', onclick: () => tell('show', { chip: request.chip }) }, 'Show result'))),
  (node, request) => {
    const [, , reason, state, owner, actions] = node.children;
    reason.hidden = request.reason === '';
    const known = STATES[request.state];
    set(state, { 'data-state': request.state });
    state.replaceChildren(icon(known?.icon ?? 'ring'), known?.words ?? request.state);
    const words = reasonOf(request);
    owner.replaceChildren(...(words ? [foreign(words)] : []));
    owner.hidden = words === '';
    const [withdraw, show] = actions.children;
    withdraw.hidden = request.state !== 'waiting';
    show.hidden = request.state !== 'released' || request.chip === '' || series(request.value) === null && request.value === undefined;
    actions.hidden = withdraw.hidden && show.hidden;
  });
}

/** @param {number} at */
const clock = (at) => new Date(at).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', second: '2-digit' });

/** @param {State} state */
function drawLog({ log }) {
  write(byId('log-count'), log.length ? String(log.length) : '');
  keyed(byId('log'), log.slice(-LOG_SHOWN).toReversed(), (line) => keyOf(line), ({ at, text }) => element('li', {},
    element('time', { datetime: new Date(at).toISOString() }, clock(at)), element('span', {}, foreign(text))), () => {});
}

/** @type {WeakMap<object, string>} */
const KEYS = new WeakMap();
let keys = 0;
/** @param {object} line */
function keyOf(line) {
  let key = KEYS.get(line);
  if (key === undefined) KEYS.set(line, key = String(keys += 1));
  return key;
}
