// @ts-check
/** Wires socket, state and page together. */

import { AuditPart } from './audit.js';
import { drawAges, drawCards, openDenial } from './cards.js';
import { byId } from './dom.js';
import { Editor } from './editor.js';
import { actionOf } from './keys.js';
import { Link, takeToken } from './link.js';
import { drawSide } from './side.js';
import { FIRST, isArmed, reduce } from './state.js';
import { counted, shown, title } from './text.js';

/** @typedef {import('./messages.js').Answer} Answer */
/** @typedef {import('./state.js').Event} StateEvent */

let state = FIRST;
let noticeTimer = 0;

const link = new Link(takeToken(), {
  message: (message) => {
    if (message.t === 'welcome') dispatch({ type: 'welcome' });
    else if (message.t === 'change') dispatch({ type: 'change', sections: message.sections, at: performance.now() });
  },
  lost: () => dispatch({ type: 'lost' }),
  end: (text) => dispatch({ type: 'end', text }),
});
const ask = (/** @type {Record<string, any>} */ question) => link.ask(question);
const editor = new Editor(/** @type {HTMLDialogElement} */ (byId('editor')), ask, notice);
const audit = new AuditPart(ask);
const help = /** @type {HTMLDialogElement} */ (byId('help'));

/** @param {StateEvent} event */
function dispatch(event) {
  const before = state;
  state = reduce(state, event);
  if (state !== before) draw(before);
}

/** @param {typeof FIRST} before */
function draw(before) {
  const now = Date.now() / 1000;
  document.title = title(state.requests.length);
  document.body.dataset.phase = state.phase;
  const lost = focusedCard();
  drawCards(state, { select, accept, deny, rule, look });
  drawAges(state, now);
  drawSide(state, { remove, resume }, now);
  if (lost && !state.requests.some((request) => request.id === lost)) focusSelected();
  if (state.requests.length !== before.requests.length) {
    byId('spoken').textContent = state.requests.length ? `${counted(state.requests.length, 'request')} waiting` : 'Nothing waits';
  }
  if (!byId('audit').hidden && state.decided !== before.decided) audit.soon();
}

/** The request in whose row the focus is. */
function focusedCard() {
  return /** @type {HTMLElement | null} */ (document.activeElement?.closest('.card'))?.dataset.key ?? null;
}

function focusSelected() {
  const open = cardOf(state.selected)?.querySelector('.summary');
  /** @type {HTMLElement} */ (open ?? byId('waiting-title')).focus({ preventScroll: true });
}

/** @param {string | null} id @returns {HTMLElement | null} */
function cardOf(id) {
  return id === null ? null : byId('cards').querySelector(`[data-key="${id}"]`);
}

/** @param {string} id */
function requestOf(id) {
  return state.requests.find((request) => request.id === id);
}

// decisions

/** @param {string} id */
function select(id) {
  dispatch({ type: 'select', id, at: performance.now() });
}

/** @param {string} id @param {boolean} always */
function accept(id, always) {
  void decide(id, 'accept', { t: 'accept', always });
}

/** @param {string} id @param {string} reason */
function deny(id, reason) {
  void decide(id, 'deny', { t: 'deny', reason });
}

/** @param {string} id @param {string} what @param {Record<string, any>} question */
async function decide(id, what, question) {
  const request = requestOf(id);
  if (!request || !isArmed(state, id, performance.now())) return;
  dispatch({ type: 'asked', id, what });
  const answer = await link.ask({ ...question, request: id, digest: request.digest });
  dispatch({ type: 'answered', id });
  notice(answer.ok ? { ...answer, text: `“${shown(request.name || 'request', 60)}”: ${answer.text}` } : answer);
}

/** @param {string} id */
async function look(id) {
  const request = requestOf(id);
  if (!request) return 'This request is gone.';
  const answer = await link.ask({ t: 'look', request: id, digest: request.digest });
  return answer.ok ? (answer.value ?? '') : answer.text;
}

/** @param {string} id */
function rule(id) {
  const request = requestOf(id);
  if (request) editor.open(state, request);
}

/** @param {string} id */
async function remove(id) {
  if (!isArmed(state, id, performance.now())) return;
  dispatch({ type: 'asked', id, what: 'remove' });
  const answer = await link.ask({ t: 'remove', handler: id });
  dispatch({ type: 'answered', id });
  notice(answer);
}

async function resume() {
  notice(await link.ask({ t: 'resume' }));
}

/** Says what came of it, for a while. @param {Answer} answer */
function notice(answer) {
  const node = byId('notice');
  node.textContent = shown(answer.text, 500);
  node.dataset.ok = String(answer.ok);
  clearTimeout(noticeTimer);
  noticeTimer = window.setTimeout(() => {
    node.textContent = '';
  }, answer.ok ? 4000 : 12_000);
}

// views and keys

/** @param {boolean} isAudit */
function view(isAudit) {
  byId('live').hidden = isAudit;
  byId('audit').hidden = !isAudit;
  for (const [id, isOn] of /** @type {[string, boolean][]} */ ([['tab-live', !isAudit], ['tab-audit', isAudit]])) {
    if (isOn) byId(id).setAttribute('aria-current', 'page');
    else byId(id).removeAttribute('aria-current');
  }
  if (isAudit) void audit.find(true);
}

byId('tab-live').addEventListener('click', () => view(false));
byId('tab-audit').addEventListener('click', () => view(true));
byId('help-open').addEventListener('click', () => help.showModal());
byId('rule-new').addEventListener('click', () => editor.open(state, null));

/** @param {KeyboardEvent} event */
function isTyping(event) {
  const target = /** @type {HTMLElement} */ (event.target);
  return target.closest('input, textarea, select, [contenteditable]') !== null || document.querySelector('dialog[open]') !== null;
}

document.addEventListener('keydown', (event) => {
  const action = actionOf(event, isTyping(event));
  if (!action) return;
  event.preventDefault();
  if (action === 'help') {
    help.showModal();
    return;
  }
  if (!byId('audit').hidden) view(false);
  const id = state.selected;
  const card = cardOf(id);
  if (action === 'next' || action === 'previous') {
    dispatch({ type: 'step', by: action === 'next' ? 1 : -1 });
    focusSelected();
    cardOf(state.selected)?.scrollIntoView({ block: 'nearest' });
  } else if (id !== null && card !== null) {
    if (action === 'accept') accept(id, false);
    else if (action === 'rule') rule(id);
    else if (action === 'deny' && isArmed(state, id, performance.now())) openDenial(card);
  }
});

setInterval(() => {
  const now = Date.now() / 1000;
  drawAges(state, now);
  if (state.handlers.some((handler) => handler.ends !== null)) drawSide(state, { remove, resume }, now);
}, 1000);

draw(FIRST);
