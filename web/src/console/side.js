// @ts-check
/** Everything beside the requests: banners, rules, objects, connection, transfers, decisions. */

import { pair, tagList } from './cards.js';
import { byId, fill, h, keep, theirs } from './dom.js';
import { bytes, counted, dimensions, grouped, kindName, number, shown, usage } from './text.js';

/** @typedef {import('./state.js').State} State */
/** @typedef {import('./messages.js').HandlerView} HandlerView */
/** @typedef {import('./messages.js').DecidedView} DecidedView */
/** @typedef {import('./messages.js').ObjectView} ObjectView */
/** @typedef {import('./messages.js').TransferView} TransferView */
/** @typedef {{remove: (id: string) => void, resume: () => void}} SideDoing */

/** @param {State} state @param {SideDoing} doing @param {number} now */
export function drawSide(state, doing, now) {
  drawBadge(state);
  drawBanners(state, doing);
  drawRules(state, doing, now);
  drawObjects(state);
  drawPartner(state);
  drawTransfers(state);
  drawDecided(state);
}

/** @param {State} state @returns {{text: string, state: string}} */
export function badgeOf(state) {
  if (state.phase === 'connecting') return { text: 'Connecting to your session', state: 'connecting' };
  if (state.phase === 'lost') return { text: 'Lost your session, trying again', state: 'lost' };
  if (state.phase === 'over' || state.session?.state === 'closed') return { text: 'Session over', state: 'closed' };
  const session = state.session;
  if (!session || session.state === 'connecting') return { text: 'Waiting for the scientist', state: 'connecting' };
  if (session.state === 'lost') return { text: 'Scientist lost, may come back', state: 'lost' };
  const path = session.path === 'relayed' ? 'relayed' : 'directly';
  const rtt = session.rtt === null ? '' : ` · ${session.rtt < 10 ? session.rtt.toFixed(1) : Math.round(session.rtt)} ms`;
  return { text: `Scientist connected ${path}${rtt}`, state: 'open' };
}

/** @param {State} state */
function drawBadge(state) {
  const badge = badgeOf(state);
  const node = byId('badge');
  node.dataset.state = badge.state;
  const text = byId('badge-text');
  if (text.textContent !== badge.text) text.textContent = badge.text;
}

/** @param {State} state @param {SideDoing} doing */
function drawBanners(state, doing) {
  const session = state.session;
  /** @type {{key: string, level: string, text: string, button?: Node}[]} */
  const banners = [];
  if (state.phase === 'over') banners.push({ key: 'over', level: 'bad', text: state.endText });
  else if (state.phase === 'lost') banners.push({ key: 'lost', level: 'care', text: 'The connection to your own process was lost. Trying again; until then nothing can be decided here.' });
  else if (session?.state === 'closed') banners.push({ key: 'closed', level: 'care', text: `The session with the scientist is over. ${shown(session.why, 500)}` });
  if (session && state.phase === 'open' && session.open) {
    banners.push({ key: 'open', level: 'bad', text: 'OPEN: a rule accepts everything. Any value, your raw data included, leaves without asking you until you remove that rule.' });
  }
  if (session?.suspended && state.phase === 'open') {
    banners.push({
      key: 'suspended',
      level: 'bad',
      text: `SUSPENDED: the engine ended while it worked on your data. That may itself tell something about the data, so the scientist waits for you. ${shown(session.failure, 500)}`,
      button: h('button', { type: 'button', class: 'quiet', onclick: doing.resume }, 'Let the scientist go on'),
    });
  }
  if (session && !['on', 'off'].includes(session.audit)) {
    banners.push({ key: 'audit', level: 'bad', text: `${shown(session.audit, 600)}` });
  }
  keep(
    byId('banners'),
    banners,
    (banner) => banner.key + banner.text,
    (banner) => h('div', { class: `banner ${banner.level}`, role: 'alert' }, h('p', {}, banner.text), banner.button),
    () => {},
  );
}

/** @param {State} state @param {SideDoing} doing @param {number} now */
function drawRules(state, doing, now) {
  byId('no-rules').hidden = state.handlers.length > 0;
  keep(
    byId('rules'),
    state.handlers,
    (rule) => rule.id,
    (rule) =>
      h(
        'li',
        { class: `rule ${rule.action}${rule.is_open ? ' wide' : ''}` },
        h('p', { class: 'said' }, h('span', { class: 'kind' }, rule.is_open ? 'OPEN' : rule.action), ' ', shown(rule.lines[0] ?? '', 400)),
        rule.lines.length > 1 || rule.warnings.length
          ? h('details', {}, h('summary', {}, 'What it does'), h('ul', {}, ...rule.lines.slice(1).map((line) => h('li', {}, shown(line, 500))), ...rule.warnings.map((line) => h('li', { class: 'care' }, shown(line, 500)))))
          : null,
        h('p', { class: 'foot' }, h('span', { class: 'soft', 'data-part': 'usage' }), h('button', { type: 'button', class: 'quiet small', 'data-act': 'remove', 'aria-label': `Remove the rule: ${shown(rule.lines[0] ?? '', 100)}`, onclick: () => doing.remove(rule.id) }, 'Remove')),
      ),
    (node, rule) => {
      const text = usage(rule, now);
      const part = /** @type {HTMLElement} */ (node.querySelector('[data-part="usage"]'));
      if (part.textContent !== text) part.textContent = text;
    },
  );
}

/** @param {State} state */
function drawObjects(state) {
  byId('no-objects').hidden = state.objects.length > 0;
  keep(
    byId('objects'),
    state.objects,
    (object) => String(object.id),
    () => h('li', { class: 'object' }),
    (node, object) => fill(node, JSON.stringify(object), () => objectWords(object)),
  );
}

/** @param {ObjectView} object @returns {(Node | string)[]} */
function objectWords(object) {
  const form = [shown(object.type, 100), dimensions(object.shape), object.dtype ?? '', object.bytes ? bytes(object.bytes) : ''].filter(Boolean).join(', ');
  return [
    h('p', {}, ...(object.tags.length ? tagList(object.tags) : [h('code', {}, object.key.slice(0, 8)), ' ']), object.mine ? '' : h('span', { class: 'soft' }, 'sent by the scientist '), object.listed ? '' : h('span', { class: 'soft' }, 'not listed')),
    h('p', { class: 'soft' }, form),
    object.description ? h('p', {}, theirs(object.description, 300)) : '',
  ];
}

/** @param {State} state */
function drawPartner(state) {
  const session = state.session;
  fill(byId('partner'), JSON.stringify(session), () =>
    session === null
      ? []
      : [
          ...pair('Scientist', session.peer ? [h('code', {}, grouped(session.peer)), ' ', h('span', { class: 'ok' }, 'verified')] : 'nobody yet'),
          ...pair('You', h('code', {}, grouped(session.id))),
          ...pair('Path', session.state === 'open' ? `${session.path}${session.rtt === null ? '' : `, round trip ${session.rtt} ms`}` : session.state),
          ...pair('Operations', number(session.operations)),
          ...pair('Audit log', shown(session.audit, 300)),
        ],
  );
}

/** @param {State} state */
function drawTransfers(state) {
  byId('transfers-part').hidden = state.transfers.length === 0;
  keep(
    byId('transfers'),
    state.transfers,
    (transfer) => transfer.id,
    (transfer) => h('li', { class: 'transfer' }, h('p', { 'data-part': 'text' }), h('progress', { max: 1, value: 0, 'aria-label': transfer.out ? 'Sent' : 'Received' })),
    (node, transfer) => {
      /** @type {HTMLProgressElement} */ (node.querySelector('progress')).value = transfer.bytes ? transfer.done / transfer.bytes : 0;
      const text = `${transfer.out ? 'to' : 'from'} the scientist: ${bytes(transfer.done)} of ${bytes(transfer.bytes)}`;
      /** @type {HTMLElement} */ (node.querySelector('[data-part="text"]')).textContent = text;
    },
  );
}

/** @param {State} state */
function drawDecided(state) {
  byId('decided-part').hidden = state.decided.length === 0;
  const newest = [...state.decided].reverse().slice(0, 12);
  keep(
    byId('decided'),
    newest,
    (decided) => decided.id,
    (decided) => h('li', { class: `done ${decided.status.toLowerCase()}` }, ...decidedWords(decided)),
    () => {},
  );
}

/** @param {DecidedView} decided @returns {(Node | string)[]} */
function decidedWords(decided) {
  return [
    h('span', { class: 'status' }, decided.status),
    h('span', {}, decided.name ? theirs(decided.name, 100) : 'without a name', ' ', h('span', { class: 'soft' }, decided.kind ? `${kindName(decided.kind)}, ${counted(decided.elements, 'number')}` : '')),
    h('span', { class: 'soft why' }, shown(decided.why, 300), decided.answer ? `: ${shown(decided.answer, 300)}` : ''),
  ];
}
