// @ts-check
/** Wires the page: events of the document and of the session in, actions out, one drawing after. */

import { Desk } from './desk.js';
import { byId } from './element.js';
import { DuetError } from './errors.js';
import { example } from './example.js';
import { grouped, parse, textOf } from './ids.js';
import { Line } from './line.js';
import { Dtype, Float, Pointer, Session, Slice, Tuple } from './session.js';
import { pasted } from './pasted.js';
import { recallPage, rememberPage } from './page_memory.js';
import { initial, logText, reduce } from './state.js';
import { SURFACE, denied, resolve } from './surface.js';
import { checkUrl, isLoopbackHost } from './urls.js';
import { draw, drawConnect, drawRun, sentence } from './view.js';
import { Vocabulary, storeNames } from './vocabulary.js';
import { mistakeElements } from './workbench.js';

/** @typedef {import('./state.js').State} State */

const COPIED_MS = 2000;
const STATUS_MS = 1000;
const BACKLOG = 2000; // commands of a script that are sent and not executed
const vocabulary = new Vocabulary(SURFACE);
const DEFAULT_SERVER = 'http://127.0.0.1:8765';

/** @type {State} */
let state = initial();
/** @type {State|null} */
let drawn = null;
let isDue = false;
/** @type {Session|null} */
let session = null;
/** @type {Desk|null} */
let desk = null;
/** Of the page before a reload, until the session goes on; then of this one. @type {import('./page_memory.js').Work|null} */
let work = null;
let isFull = false;

/** @param {{type: string} & Record<string, any>} action */
function dispatch(action) {
  state = reduce(state, action);
  if (isDue) return;
  isDue = true;
  queueMicrotask(redraw);
}

function redraw() {
  isDue = false;
  const now = state;
  draw(now, drawn, grouped);
  drawConnect(now);
  drawRun(now);
  drawn = now;
}

/** @param {string} kind @param {string} text @param {number} [at] */
const log = (kind, text, at = Date.now()) => dispatch({ type: 'log', at, kind, text });

/** Whether a reload is to join again by itself. */
const isJoined = () => session !== null && state.link.state !== 'closed';

/** @param {boolean} isOn see `isJoined` */
function keep(isOn) {
  if (desk !== null) work = { notes: desk.notes(), entries: state.entries, log: state.log };
  const lost = rememberPage({
    code: state.code.text, server: state.server.text, isJoined: isOn, history: state.history, work: isOn ? work : null,
  });
  if (lost !== '' && !isFull) log('page', lost === 'all' ? 'The browser keeps nothing for this page: a reload starts anew.' : 'There is too much here for the browser to keep: a reload would lose the results.');
  isFull = lost !== '';
}

// pairing

/** @param {string} text @param {{isFinal: boolean, isFromLink?: boolean}} how */
function enterCode(text, { isFinal, isFromLink = false }) {
  const found = parse(text, 'owner');
  const isOwn = 'code' in found && found.code === 'role' && parse(text, 'scientist');
  const itself = isOwn && 'id' in isOwn && isOwn.id === state.clientId;
  const problem = itself ? 'That is your own ID.' : 'code' in found ? textOf(found, 'session ID') : '';
  dispatch({ type: 'code', text, found, sentence: problem, isFinal, isFromLink });
}

/** What was typed or pasted into the field: of a whole line or link its ID stays there. @param {HTMLInputElement} code @param {boolean} isFinal */
function takeCode(code, isFinal) {
  const { code: text, server } = pasted(code.value);
  if (text !== code.value) code.value = text;
  if (server !== null) {
    /** @type {HTMLInputElement} */ (byId('server')).value = server;
    /** @type {HTMLDetailsElement} */ (byId('advanced')).open = true; // it is another one now: to be seen
    enterServer(server);
  }
  enterCode(text, { isFinal: isFinal || server !== null });
}

/** @param {string} text */
function enterServer(text) {
  let problem = '';
  try {
    checkUrl(text);
  } catch (error) {
    if (!(error instanceof DuetError)) throw error;
    problem = error.message;
  }
  dispatch({ type: 'server', text, problem });
}

function enterFragment() {
  let text = location.hash.slice(1);
  try {
    text = decodeURIComponent(text);
  } catch (error) {
    if (!(error instanceof URIError)) throw error; // what is no text is no ID: the field says so
  }
  if (text === '') return false;
  const code = /** @type {HTMLInputElement} */ (byId('code'));
  code.value = text;
  enterCode(text, { isFinal: true, isFromLink: true });
  return true;
}

async function connect() {
  if (state.code.id === null || session !== null) return;
  dispatch({ type: 'connect' });
  keep(true);
  log('pairing', `Joining ${grouped(state.code.id)} through ${state.server.text}`);
  const opened = new Session({ sessionId: state.code.id, url: checkUrl(state.server.text), adopted: work?.notes.pointers ?? [] });
  session = opened;
  listen(opened);
  try {
    await opened.connect();
  } catch (error) {
    if (session !== opened) return; // stopped by the user, or replaced
    session = work = null;
    keep(false);
    const message = error instanceof Error ? error.message : String(error);
    const remedy = error instanceof DuetError ? error.remedy : '';
    dispatch({ type: 'refused', message, remedy });
    log('pairing', `${message} ${remedy}`);
    return;
  }
  if (session !== opened) return;
  desk = new Desk(opened, {
    vocabulary, kinds: { Dtype, Float, Slice, Tuple },
    isPointer: (value) => value instanceof Pointer,
    assign,
    dispatch: (action) => (action.type === 'log' ? log(action.kind, action.text) : dispatch(action)),
  });
  showStore(opened);
  if (work !== null) takeUp(opened, work);
  dispatch({ type: 'open' });
  keep(true);
  queueMicrotask(() => byId('source').focus());
}

/** The tab was reloaded: its work goes on, if the session does. @param {Session} opened @param {import('./page_memory.js').Work} before */
function takeUp(opened, before) {
  if (opened.restored === null) {
    log('page', 'This is a new session: results and requests of before the reload are gone.');
    return;
  }
  dispatch({ type: 'again', entries: before.entries, log: before.log });
  desk?.takeUp(before.notes);
  log('page', 'The page was reloaded: results and requests are here again.');
}

/** Sets a property on the owner's side: `w.data = …`. @param {Pointer} pointer @param {string} name @param {any} value */
function assign(pointer, name, value) {
  const found = resolve(pointer.type, `${name}=`);
  if (found === null) throw denied(`${pointer.type}.${name} = …`);
  pointer.client.run(found.name, [pointer, value], {});
}

/** @param {Session} of */
function showStore(of) {
  dispatch({ type: 'store', entries: of.store, names: storeNames(of.store) });
}

/** @param {Session} of */
function listen(of) {
  /** @param {string} type @param {(detail: any) => void} action */
  const on = (type, action) => of.addEventListener(type, (/** @type {Event} */ event) => {
    if (session === of) action(/** @type {CustomEvent} */ (event).detail);
  });
  on('stage', (detail) => dispatch({ type: 'stage', ...detail }));
  on('state', (detail) => {
    dispatch({ type: 'link', ...detail });
    if (detail.state === 'closed') ended();
  });
  on('store', () => showStore(of));
  on('request', (request) => {
    desk?.changed(request);
    if (request.state !== 'waiting') {
      log('request', `${request.name || desk?.textOf(request) || 'A request'}: ${request.state}${request.ownerReason ? `, ${request.ownerReason}` : ''}`);
      byId('announce').textContent = `Request ${request.name}: ${request.state}`;
    }
  });
  on('failure', (failure) => {
    desk?.failed(failure);
    log('failure', `${failure.op}: ${failure.text}`);
  });
  on('log', ({ at, kind, text }) => {
    if (kind !== 'command') log(kind, text, at); // a script has thousands, its entry counts them
  });
}

/** The session is over; the workbench stays to be read. */
function ended() {
  desk?.close();
  keep(false);
}

async function stop() {
  const running = session;
  if (state.isWorkbench && (running === null || state.link.state === 'closed')) {
    session = null;
    desk = work = null;
    dispatch({ type: 'leave' });
    byId('content').focus();
    return;
  }
  if (!running) return;
  log('pairing', 'Stopped');
  desk?.close();
  keep(false);
  session = work = null;
  dispatch(state.isWorkbench
    ? { type: 'link', state: 'closed', reason: 'You stopped the session. What was released stays here until you leave.' }
    : { type: 'leave' });
  await running.close();
}

/** @param {HTMLElement} button */
async function copy(button) {
  const shown = grouped(state.clientId);
  await navigator.clipboard.writeText(button.dataset['copies'] === 'id' ? state.clientId : sentence(state, shown));
  const use = button.querySelector('use');
  const words = button.querySelector('span');
  if (!use || !words) return;
  const before = words.textContent;
  if (button.classList.contains('copied')) return;
  use.setAttribute('href', '#icon-tick');
  words.textContent = 'Copied';
  button.classList.add('copied');
  byId('announce').textContent = 'Copied';
  setTimeout(() => {
    use.setAttribute('href', '#icon-copy');
    words.textContent = before;
    button.classList.remove('copied');
  }, COPIED_MS);
}

// workbench

/** Lets the page draw; waits while the owner's side is far behind, so that a script can be ended. */
async function pause() {
  do {
    await new Promise((resolve) => { setTimeout(resolve, 0); });
  } while (session !== null && session.outgoing.pending > BACKLOG && desk?.running?.isStopped === false);
}

/** @param {string} source */
function run(source) {
  if (desk === null) return;
  if (desk.running) {
    desk.stop();
    return;
  }
  const mistake = Desk.mistakeIn(source);
  if (mistake) {
    byId('mistake').replaceChildren(...mistakeElements(mistake));
    return;
  }
  line.clear();
  void desk.run(source, pause).then((isDone) => {
    keep(isJoined());
    if (!isDone) line.restore(source); // to be mended
  });
}

const line = new Line({
  run,
  complete: (source, caret) => vocabulary.complete(source, caret, desk?.known() ?? []),
  history: () => state.history,
  isRunning: () => desk?.running !== null && desk !== null,
});

/** @param {string} type @param {(detail: any) => void} action */
const when = (type, action) => document.addEventListener(`duet-${type}`, (event) => action(/** @type {CustomEvent} */ (event).detail));

function listenToDocument() {
  window.addEventListener('pagehide', () => keep(isJoined()));
  const code = /** @type {HTMLInputElement} */ (byId('code'));
  const server = /** @type {HTMLInputElement} */ (byId('server'));
  code.addEventListener('input', (event) => {
    const isPasted = ['insertFromPaste', 'insertFromDrop'].includes(/** @type {InputEvent} */ (event).inputType);
    takeCode(code, isPasted);
  });
  code.addEventListener('change', () => takeCode(code, true));
  server.addEventListener('input', () => enterServer(server.value));
  byId('join').addEventListener('submit', (event) => {
    event.preventDefault();
    takeCode(code, true);
    void connect();
  });
  byId('stop').addEventListener('click', () => void stop());
  for (const id of ['copy-id', 'copy-sentence']) byId(id).addEventListener('click', () => void copy(byId(id)));
  byId('example').addEventListener('click', () => line.fill(example(state.store)));
  byId('export-text').addEventListener('click', () => save('duet-activity.txt', 'text/plain', logText(state.log)));
  byId('export-json').addEventListener('click', () => save('duet-activity.json', 'application/json', `${JSON.stringify(state.log, null, 2)}\n`));
  window.addEventListener('hashchange', () => {
    if (!state.isWorkbench && state.link.state !== 'connecting') enterFragment();
  });
  when('insert', ({ text }) => line.insert(text));
  when('clear', ({ id }) => dispatch({ type: 'clear', id }));
  when('drop', ({ chip }) => desk?.drop(chip));
  when('view', ({ chip, view }) => dispatch({ type: 'view', chip, view }));
  when('withdraw', ({ id }) => desk?.withdraw(id));
  when('ask', ({ chip, from }) => {
    dispatch({ type: 'ask', chip: state.asking === chip ? null : chip });
    if (from) queueMicrotask(() => focusChip(from));
  });
  when('request', ({ chip, ...asked }) => {
    desk?.ask(chip, asked);
    queueMicrotask(() => focusChip(chip));
  });
  when('show', ({ chip }) => {
    const shown = document.querySelector(`[data-chip="${CSS.escape(chip)}"]`);
    shown?.scrollIntoView({ block: 'center' });
    focusChip(chip);
  });
}

/** Back to the chip whose form closed. @param {string} chip */
function focusChip(chip) {
  const name = document.querySelector(`[data-chip="${CSS.escape(chip)}"] .name`);
  if (name instanceof HTMLElement) name.focus();
}

/** @param {string} name @param {string} type @param {string} text */
function save(name, type, text) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function watchStatus() {
  setInterval(() => {
    if (session === null || state.link.state !== 'open') return;
    const { path, rttMs } = session.status();
    dispatch({ type: 'rtt', path, rttMs: rttMs === null ? null : Math.max(1, Math.round(rttMs)) });
  }, STATUS_MS);
}

/** What the one who serves the page says: the address of the signalling server. */
async function config() {
  const response = await fetch('config.json', { cache: 'no-store' });
  return response.ok ? Object(await response.json()) : {};
}

async function start() {
  dispatch({ type: 'served', origin: location.origin, isOwnMachine: isLoopbackHost(location.hostname) });
  listenToDocument();
  watchStatus();
  const before = recallPage();
  if (before.isJoined) work = before.work ?? null;
  if (Array.isArray(before.history)) state = { ...state, history: before.history.map(String) };
  const [settings, identity] = await Promise.all([config(), Session.identity()]);
  dispatch({ type: 'identity', clientId: identity.clientId });
  const server = before.server || settings.signalling || DEFAULT_SERVER;
  /** @type {HTMLInputElement} */ (byId('server')).value = server;
  enterServer(server);
  const code = /** @type {HTMLInputElement} */ (byId('code'));
  const isLinked = enterFragment();
  if (!isLinked && before.code && code.value === '') {
    code.value = before.code;
    enterCode(before.code, { isFinal: true });
  } else if (!isLinked && code.value !== '') enterCode(code.value, { isFinal: true });
  if (before.isJoined && state.code.id !== null) void connect();
  else if (!isLinked && state.code.text === '') code.focus();
}

void start().catch((error) => {
  dispatch({ type: 'refused', message: 'The page could not start.', remedy: error instanceof DuetError ? `${error.message} ${error.remedy}` : String(error) });
});
