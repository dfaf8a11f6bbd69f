// @ts-check
/**
 * Draws the state: the bar, the pairing screen, and what both screens share.
 *
 * Every function looks only at the parts of the state that changed (`state.x !== old.x`), and
 * changes elements in place, so focus, selection and scrolling stay as they are.
 */

import { byId, element, icon, keyed, set, write } from './element.js';
import { qrCode } from './qr.js';
import { badge, canConnect, canStop } from './state.js';
import { drawWorkbench } from './workbench.js';

/** @typedef {import('./state.js').State} State */
/** @typedef {import('./state.js').Stage} Stage */

/** @type {Record<string, {name: string, doing: string, done: string, waiting: string}>} */
const STAGE_TEXT = {
  code: { name: 'Code', waiting: 'The session ID is complete', doing: 'Checking the ID…', done: 'The ID has no typo' },
  signalling: {
    name: 'Signalling', waiting: 'The server introduces you', doing: 'Reaching the server…', done: 'The server knows you',
  },
  path: { name: 'Network path', waiting: 'From here to the owner', doing: 'Looking for a path…', done: 'A path was found' },
  channel: { name: 'Encrypted channel', waiting: 'Nobody between can read it', doing: 'Shaking hands…', done: 'Encrypted end to end' },
  verified: { name: 'Verified', waiting: 'Both prove their IDs', doing: 'Proving both IDs…', done: 'Both IDs are proved' },
};
/** @type {Record<string, string>} */
const STAGE_ICON = { waiting: '', doing: 'dots', done: 'tick', failed: 'cross' };
const CODE_NOTE = 'It starts with S. The whole line that the owner’s notebook prints will do, too.';
const SERVER_NOTE = 'It introduces the two of you and can read nothing. Both must use the same one.';

/**
 * @param {State} state
 * @param {State|null} old what is drawn already
 * @param {(id: string) => string} grouped
 */
export function draw(state, old, grouped) {
  if (state.link !== old?.link) drawBadge(state);
  if (state.code !== old?.code || state.server !== old?.server) drawFields(state);
  if (state.clientId !== old?.clientId || state.server !== old?.server) drawIdentity(state, grouped);
  if (state.stages !== old?.stages) drawSteps(state.stages);
  if (state.failure !== old?.failure || state.stages !== old?.stages) drawFailure(state);
  if (state.served !== old?.served) drawServed(state);
  if (state.isWorkbench !== old?.isWorkbench) {
    byId('pairing').hidden = state.isWorkbench;
    byId('workbench').hidden = !state.isWorkbench;
  }
  if (state.link.partner !== old?.link.partner) byId('partner').replaceChildren(...groups(grouped(state.link.partner)));
  drawTitle(state);
  if (state.isWorkbench) drawWorkbench(state, old?.isWorkbench ? old : null);
}

/** An ID in its groups; the joints are there for copying and for ears. @param {string} text @returns {Node[]} */
function groups(text) {
  return text.split('-').flatMap((group, i) => (i === 0
    ? [element('span', {}, group)]
    : [element('span', {}, element('span', { class: 'joint' }, '-'), group)]));
}

/** @param {State} state */
function drawBadge(state) {
  const { shape, words } = badge(state);
  const place = byId('badge');
  set(place, { 'data-state': state.link.state, 'data-shape': shape });
  const use = place.querySelector('use');
  if (use) set(use, { href: `#icon-${shape}` });
  const span = place.querySelector('span');
  if (span) write(span, words);
  const stop = /** @type {HTMLButtonElement} */ (byId('stop'));
  stop.disabled = !canStop(state) && !state.isWorkbench;
  const label = state.isWorkbench && !canStop(state) ? 'Leave' : 'Stop';
  if (stop.lastChild && stop.lastChild.textContent !== label) stop.lastChild.textContent = label;
  const isLost = state.link.state === 'closed' || state.link.state === 'reconnecting';
  write(byId('link-note'), isLost ? state.link.reason || (state.link.state === 'closed'
    ? 'The session is closed. What was released stays here until you leave.'
    : 'The connection was lost. It comes back by itself.') : '');
}

/** @param {State} state */
function drawTitle(state) {
  const waiting = state.requests.filter((request) => request.state === 'waiting').length;
  const title = state.isWorkbench ? (waiting ? `(${waiting}) Duet` : 'Duet') : 'Pair · Duet';
  if (document.title !== title) document.title = title;
}

/** @param {State} state */
function drawFields(state) {
  const code = /** @type {HTMLInputElement} */ (byId('code'));
  const server = /** @type {HTMLInputElement} */ (byId('server'));
  if (code.value !== state.code.text && document.activeElement !== code) code.value = state.code.text;
  if (server.value !== state.server.text && document.activeElement !== server) server.value = state.server.text;
  set(code, { 'aria-invalid': state.code.problem !== '' ? 'true' : null });
  set(server, { 'aria-invalid': state.server.problem !== '' ? 'true' : null });
  note(byId('code-note'), state.code.problem, state.code.id !== null,
    state.code.hint || (state.code.id !== null ? 'This is a complete session ID.' : CODE_NOTE));
  note(byId('server-note'), state.server.problem, false, SERVER_NOTE);
}

/** @param {Element} place @param {string} problem @param {boolean} isGood @param {string} otherwise */
function note(place, problem, isGood, otherwise) {
  write(place, problem || otherwise);
  place.classList.toggle('bad', problem !== '');
  place.classList.toggle('good', problem === '' && isGood);
}

/** The sentence for the owner, with the server where it is not obvious. @param {State} state @param {string} shown */
export function sentence(state, shown) {
  const where = state.server.text && !/^https?:\/\/(localhost|127\.0\.0\.1)(:|\/|$)/.test(state.server.text)
    ? ` We both use the signalling server ${state.server.text}.` : '';
  return `My Duet client ID is ${shown}. Please enter it where Duet asks for your partner’s client ID.${where}`;
}

/** @param {State} state @param {(id: string) => string} grouped */
function drawIdentity(state, grouped) {
  if (state.clientId === '') return;
  const place = byId('client-id');
  const shown = grouped(state.clientId);
  if (place.textContent !== shown) {
    place.replaceChildren(...groups(shown));
    set(place, { 'aria-busy': null });
    byId('qr').replaceChildren(qrCode(state.clientId, 'QR code of your client ID'));
  }
  write(byId('sentence'), sentence(state, shown));
  for (const id of ['copy-id', 'copy-sentence']) /** @type {HTMLButtonElement} */ (byId(id)).disabled = false;
}

/** @param {Stage[]} stages */
function drawSteps(stages) {
  keyed(byId('steps'), stages, ({ stage }) => stage, ({ stage }) => element('li', { class: 'step', 'data-stage': stage },
    element('span', { class: 'mark', 'aria-hidden': 'true' }),
    element('span', { class: 'what' }, STAGE_TEXT[stage]?.name ?? stage, element('span', { class: 'hidden' })),
    element('span', { class: 'say' }),
    element('time', {}),
  ), (node, { stage, state, ms, message }) => {
    const text = STAGE_TEXT[stage];
    set(node, { 'data-state': state, 'aria-current': state === 'doing' ? 'step' : null });
    const [mark, what, say, time] = node.children;
    mark.replaceChildren(...(STAGE_ICON[state] ? [icon(STAGE_ICON[state] ?? '')] : []));
    write(what.lastChild, `, ${state}`);
    write(say, state === 'failed' ? message || 'This step failed' : state === 'doing' && message ? message : (state === 'waiting' ? text?.waiting : state === 'doing' ? text?.doing : text?.done) ?? '');
    write(time, ms === null || state === 'doing' || state === 'waiting' ? '' : duration(ms));
  });
}

/** @param {number} ms */
export function duration(ms) {
  return ms < 1000 ? `${Math.round(ms)} ms` : ms < 60_000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`;
}

/** @param {State} state */
function drawFailure({ failure, stages }) {
  const stage = stages.find((one) => one.state === 'failed');
  const message = stage?.message || failure;
  const place = byId('failure');
  if (message === '') {
    if (place.hasChildNodes()) place.replaceChildren();
    return;
  }
  const remedy = stage?.remedy && stage.remedy !== message ? stage.remedy : failure.replace(message, '').trim();
  const text = `${message} ${remedy}`.trim();
  if (place.textContent === text) return;
  place.replaceChildren(element('p', { class: 'alert' },
    element('strong', {}, element('bdi', {}, message)), ...(remedy ? [' ', element('bdi', {}, remedy)] : [])));
  place.scrollIntoView({ block: 'nearest' }); // on a phone it is below two cards
}

/** @param {State} state */
function drawServed({ served }) {
  write(byId('served'), served.origin === '' ? '' : served.isOwnMachine
    ? `This page was served by your own machine, at ${served.origin}.`
    : `This page was served by ${served.origin}. Whoever runs that server could change it: use it only if you trust them, or run “duet web” on your own machine.`);
}

/** The run button ends what runs. @param {State} state */
export function drawRun(state) {
  const isRunning = state.entries.at(-1)?.state === 'running';
  const button = byId('run');
  const words = isRunning ? 'End the script' : 'Run';
  if (button.lastChild && button.lastChild.textContent !== words) button.lastChild.textContent = words;
  const use = button.querySelector('use');
  if (use) set(use, { href: isRunning ? '#icon-stop' : '#icon-run' });
}

/** The connect button depends on several parts. @param {State} state */
export function drawConnect(state) {
  const button = /** @type {HTMLButtonElement} */ (byId('connect'));
  button.disabled = !canConnect(state);
  write(button, state.link.state === 'connecting' ? 'Connecting…' : state.failure ? 'Try again' : 'Connect');
  for (const id of ['code', 'server']) {
    /** @type {HTMLInputElement} */ (byId(id)).readOnly = state.link.state === 'connecting';
  }
}
