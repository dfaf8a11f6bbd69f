// @ts-check
/** The requests that wait: one row each, the selected one open with all its facts. */

import { byId, fill, h, keep, theirs } from './dom.js';
import { bytes, counted, dimensions, grouped, headline, kindName, number, shown, span, weight } from './text.js';

/** @typedef {import('./messages.js').RequestView} RequestView */
/** @typedef {import('./messages.js').SourceView} SourceView */
/** @typedef {import('./state.js').State} State */

/**
 * @typedef {{
 *   select: (id: string) => void,
 *   accept: (id: string, always: boolean) => void,
 *   deny: (id: string, reason: string) => void,
 *   rule: (id: string) => void,
 *   look: (id: string) => Promise<string>,
 * }} Doing
 */

/**
 * @param {State} state
 * @param {Doing} doing
 */
export function drawCards(state, doing) {
  const guard = state.session?.min_records ?? 10;
  byId('nothing').hidden = state.requests.length > 0;
  byId('waiting-title').textContent = state.requests.length ? `Waiting for you (${state.requests.length})` : 'Waiting for you';
  keep(
    byId('cards'),
    state.requests,
    (request) => request.id,
    (request) => emptyCard(request, doing),
    (card, request) => updateCard(card, request, state, guard),
  );
}

/** @param {HTMLElement} card @param {string} name @returns {any} */
function part(card, name) {
  return card.querySelector(`[data-part="${name}"]`);
}

/** @param {RequestView} request @param {Doing} doing */
function emptyCard(request, doing) {
  const id = request.id;
  const value = h('div', { 'data-part': 'value', class: 'value', hidden: true });
  const reason = h('input', { type: 'text', maxlength: 1000, autocomplete: 'off', id: `reason-${id}` });
  const back = () => {
    denial.hidden = true;
    actions.hidden = false;
  };
  const denial = h(
    'form',
    {
      class: 'denial',
      'data-part': 'denial',
      hidden: true,
      onsubmit: (/** @type {Event} */ event) => {
        event.preventDefault();
        doing.deny(id, reason.value);
      },
      onkeydown: (/** @type {KeyboardEvent} */ event) => {
        if (event.key !== 'Escape') return;
        back();
        part(card, 'open').focus();
      },
    },
    h('label', { for: `reason-${id}` }, 'Reason, told to the scientist (may be empty)'),
    reason,
    h('button', { class: 'bad', 'data-act': 'deny-now' }, 'Deny'),
    h('button', { type: 'button', class: 'quiet', onclick: back }, 'Back'),
  );
  const always = h(
    'div',
    { class: 'always', 'data-part': 'always', hidden: true },
    h('p', {}, 'Accept this, and from now on without asking whatever has the same recipe, sources, kind, type and shape over at least as many records. It becomes a rule that you can remove.'),
    h('button', { type: 'button', class: 'main', 'data-act': 'always-now', onclick: () => doing.accept(id, true) }, 'Accept always'),
    h('button', { type: 'button', class: 'quiet', onclick: () => { always.hidden = true; actions.hidden = false; } }, 'Back'),
  );
  const actions = h(
    'div',
    { class: 'actions', 'data-part': 'actions' },
    h('button', { type: 'button', class: 'main', 'data-act': 'accept', onclick: () => doing.accept(id, false) }, 'Accept'),
    h('button', { type: 'button', class: 'bad', 'data-act': 'deny', onclick: () => openDenial(card) }, 'Deny…'),
    h('button', { type: 'button', class: 'quiet', 'data-act': 'always', onclick: () => { always.hidden = false; actions.hidden = true; } }, 'Accept always…'),
    h('button', { type: 'button', class: 'quiet', 'data-act': 'rule', onclick: () => doing.rule(id) }, 'Make a rule…'),
    h('button', {
      type: 'button',
      class: 'quiet',
      'data-act': 'look',
      onclick: async () => {
        const text = await doing.look(id);
        value.hidden = false;
        value.replaceChildren(
          h('p', { class: 'soft' }, 'The value, shown to you only:'),
          h('pre', { class: 'code', tabindex: '0', 'aria-label': 'The value' }, h('code', {}, shown(text, 1000, true))),
        );
      },
    }, 'Show me the value'),
  );
  const card = h(
    'li',
    { class: 'card' },
    h(
      'button',
      { type: 'button', class: 'summary', 'data-part': 'open', 'aria-expanded': 'false', onclick: () => doing.select(id) },
      h('span', { class: 'row' }, h('span', { 'data-part': 'kind', class: 'kind' }), h('span', { 'data-part': 'name', class: 'name' }), h('span', { 'data-part': 'said', class: 'said soft' }), h('span', { 'data-part': 'age', class: 'age soft' })),
      h('span', { 'data-part': 'headline', class: 'headline' }),
    ),
    h('div', { 'data-part': 'detail', class: 'detail', hidden: true }, h('div', { 'data-part': 'facts' }), value, actions, denial, always),
  );
  return card;
}

/** Shows the field for a reason. @param {HTMLElement} card */
export function openDenial(card) {
  part(card, 'denial').hidden = false;
  part(card, 'actions').hidden = true;
  part(card, 'always').hidden = true;
  part(card, 'denial').querySelector('input').focus();
}

/** @param {HTMLElement} card @param {RequestView} request @param {State} state @param {number} guard */
function updateCard(card, request, state, guard) {
  const isOpen = request.id === state.selected;
  card.dataset.weight = weight(request, guard);
  card.classList.toggle('selected', isOpen);
  card.setAttribute('aria-busy', String(request.id in state.asked));
  part(card, 'open').setAttribute('aria-expanded', String(isOpen));
  part(card, 'detail').hidden = !isOpen;
  fill(part(card, 'kind'), request.kind + request.failed, () => [request.failed ? 'failed' : kindName(request.kind)]);
  fill(part(card, 'name'), request.name, () => [request.name ? theirs(request.name, 100) : 'without a name']);
  fill(part(card, 'said'), request.reason, () => (request.reason ? [theirs(request.reason, 60)] : []));
  fill(part(card, 'headline'), JSON.stringify([request.sources.map((s) => s.name), guard]), () => [headline(request, guard)]);
  const always = /** @type {HTMLButtonElement} */ (card.querySelector('[data-act="always"]'));
  always.disabled = request.fixed !== '';
  always.title = request.fixed;
  for (const act of ['accept', 'always-now']) {
    /** @type {HTMLButtonElement} */ (card.querySelector(`[data-act="${act}"]`)).disabled = request.refusal !== '' || state.phase !== 'open';
  }
  // What is not seen is not built: a training loop may have two hundred requests waiting.
  if (isOpen) fill(part(card, 'facts'), JSON.stringify(request), () => factsOf(request, guard));
}

/** @param {RequestView} request @param {number} guard @returns {Node[]} */
function factsOf(request, guard) {
  /** @type {Node[]} */
  const nodes = [];
  nodes.push(
    h('blockquote', { class: 'reason', tabindex: '0', 'aria-label': 'What the scientist wrote' }, request.reason ? theirs(request.reason, 1000) : h('span', { class: 'soft' }, 'No reason was given.'), h('footer', { class: 'soft' }, 'the scientist’s own words')),
  );
  if (request.failed) {
    nodes.push(h('p', { class: 'soft' }, 'What failed, with values that may be private:'), h('pre', { class: 'code', tabindex: '0', 'aria-label': 'The failure' }, h('code', {}, shown(request.failed, 4096, true))));
  }
  nodes.push(
    h(
      'dl',
      { class: 'facts' },
      ...(request.summary && !request.failed ? pair('What it is', h('span', { 'data-part': 'summary' }, shown(request.summary, 500), request.training.length ? ', then trained' : '')) : []),
      ...pair('Would leave', leaves(request)),
      ...pair('Made from', request.sources.length ? request.sources.map((source) => h('div', {}, ...sourceWords(source))) : 'none of your objects'),
      ...pair('Records', records(request, guard)),
      ...(request.training.length ? pair('Training', training(request.training)) : []),
      ...pair('Mixed in', mixedIn(request)),
      ...pair('Released before', before(request.sources)),
      ...pair('Waits because', shown(request.why, 500)),
    ),
  );
  if (request.recipe) {
    nodes.push(
      h('p', { class: 'label' }, 'How it was computed'),
      h('pre', { class: 'code', tabindex: '0', 'aria-label': 'Recipe' }, h('code', {}, shown(request.recipe, 8000, true))),
    );
  }
  nodes.push(more(request));
  return nodes;
}

/** @param {RequestView} request */
function more(request) {
  return h(
    'details',
    { 'data-part': 'more' },
    h('summary', { 'data-mark': 'more' }, request.looks.length ? `Rules that looked (${request.looks.length}), and ids` : 'No rule looked; ids'),
    h(
      'dl',
      { class: 'facts' },
      ...request.looks.flatMap((look) => pair(look.action, [h('code', {}, shown(look.rule, 500)), ` — ${shown(look.why, 500)}`])),
      ...pair('Accept always', shown(request.fixed || `possible${request.always && `: ${request.always}`}`, 1100)),
      ...pair('Asked by', h('code', {}, grouped(request.requester))),
      ...pair('Request', h('code', {}, request.id)),
      ...pair('Object', [h('code', {}, request.object), request.tags.length ? ' ' : '', ...tagList(request.tags)]),
    ),
  );
}

/** @param {string} term @param {Node | string | (Node | string)[]} value */
export function pair(term, value) {
  return [h('dt', {}, term), h('dd', {}, ...(Array.isArray(value) ? value : [value]))];
}

/** @param {string[]} tags */
export function tagList(tags) {
  return tags.slice(0, 12).flatMap((tag) => [h('bdi', { class: 'tag' }, shown(tag, 60)), ' ']);
}

/** @param {RequestView} request */
function leaves(request) {
  if (request.failed) return 'the text of the failure';
  const form = [shown(request.type, 100), dimensions(request.shape), request.dtype ?? ''].filter(Boolean).join(', ');
  const hidden = request.charge > request.elements ? h('div', {}, `Its size is private: quotas count it as ${counted(request.charge, 'number')}.`) : '';
  return [h('strong', {}, counted(request.elements, 'number')), ` (${bytes(request.bytes)}): ${form}`, hidden];
}

/** @param {RequestView} request */
function mixedIn(request) {
  if (request.injected) return h('strong', { class: 'care' }, 'Something of the scientist’s (a mask, weights, an index) met your data along its records. It can single out a record.');
  if (request.dropout) return 'the masks of a dropout, by the scientist’s seed. A seed can be searched for masks that leave few records.';
  return 'nothing of the scientist’s along the records';
}

/** How it was trained, one line for each fact. @param {string[]} lines */
function training(lines) {
  return lines.map((line) => h('div', { 'data-part': 'training' }, shown(line, 300)));
}

/** @param {RequestView} request @param {number} guard */
function records(request, guard) {
  if (request.kind === 'metadata' || request.kind === 'public') return 'no record’s value is in it';
  const count = counted(request.records, 'record');
  if (request.kind === 'verbatim' || request.kind === 'per_record') return h('strong', { class: 'high' }, 'single records');
  if (request.kind === 'model') return `each step was computed over at least ${count}. The weights can contain exact records all the same.`;
  if (request.injected) return h('strong', { class: 'care' }, `${count} at least, but what was mixed in may have left one of them`);
  if (request.records >= guard) return [h('strong', {}, `at least ${number(request.records)}`), ' behind every number'];
  return h('strong', { class: 'care' }, `as few as ${count} behind a number; your limit for rules by name is ${number(guard)}`);
}

/** @param {SourceView} source @returns {(Node | string)[]} */
function sourceWords(source) {
  const about = [shown(source.type, 100), dimensions(source.shape)].filter(Boolean).join(', ');
  const others = source.tags.filter((tag) => tag !== source.name);
  return [
    h('bdi', { class: 'tag' }, shown(source.name, 80)),
    ' ',
    ...tagList(others),
    about ? `${about}` : 'not in the store any more, or a data set from a file',
    source.description ? ' — ' : '',
    source.description ? h('bdi', {}, shown(source.description, 200)) : '',
    h('div', { class: 'soft', 'data-part': 'rows' }, `which records: ${shown(source.rows, 200)}`),
  ];
}

/** @param {SourceView[]} sources */
function before(sources) {
  const left = sources.filter((source) => source.values > 0);
  if (left.length === 0) return 'nothing of these in this session';
  return left.map((source) =>
    h('div', {}, h('bdi', { class: 'tag' }, shown(source.name, 80)), ` ${counted(source.values, 'value')}, ${counted(source.numbers, 'number')}; last: `, ...source.newest.flatMap((name, index) => [index ? ', ' : '', theirs(name, 60)])),
  );
}

/** The times that go on by themselves. @param {State} state @param {number} now seconds since 1970 */
export function drawAges(state, now) {
  for (const request of state.requests) {
    const card = byId('cards').querySelector(`[data-key="${request.id}"]`);
    if (!card) continue;
    const waits = `${span(now - request.arrived)} ago`;
    const text = request.ends === null ? waits : `${waits}, ends in ${span(request.ends - now)}`;
    const age = /** @type {HTMLElement} */ (part(/** @type {HTMLElement} */ (card), 'age'));
    if (age.textContent !== text) age.textContent = text;
  }
}
