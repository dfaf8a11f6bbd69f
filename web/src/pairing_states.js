// @ts-check
/**
 * The states of the scientist's side of pairing, what may happen in each, and what follows. The tables
 * are those of duet_p2p/protocol/pairing.py.
 */

/** @typedef {import('./bytes.js').Bytes} Bytes */
/** @typedef {import('./errors.js').DuetError} DuetError */

/** @typedef {'idle'|'joining'|'answering'|'confirming'} State */
/** @typedef {'begin'|'resend'|'offer'|'offerSame'|'offerBad'|'version'|'channelOpen'|'certDiffers'|'confirm'|'intrusion'|'failed'|'bye'|'close'} Event */
/** @typedef {'none'|'verified'|'open'} Live */
/** @typedef {'verified'|'ready'|'notReady'|'proofAgain'|'gone'} LiveEvent */
/** @template S @typedef {{act: string, to: S}|null} Cell what to do, then the new state; null: dropped and counted */

/**
 * What the shell is to do, in order.
 *
 * @typedef {{kind: 'post', body: Bytes, isJoin: boolean}
 *   | {kind: 'makePeer', peer: number, offer: string}
 *   | {kind: 'sendProof', peer: number, data: Bytes}
 *   | {kind: 'closePeer', peer: number}
 *   | {kind: 'linkOpened', peer: number, caps: Record<string, unknown>, head: Bytes}
 *   | {kind: 'linkClosed', peer: number, wasOpen: boolean, error: DuetError}
 *   | {kind: 'attemptFailed', error: DuetError}
 *   | {kind: 'rejected', count: number}
 *   | {kind: 'noAnswerYet'}
 *   | {kind: 'offered'}
 *   | {kind: 'ended', error: DuetError}} Effect
 */

/** @template {string} S @param {string} act @param {S} to @returns {Cell<S>} */
const step = (act, to) => ({ act, to });
const DROP = null;

/** A pair that is not listed cannot happen in a correct shell. @type {Record<Event, Partial<Record<State, Cell<State>>>>} */
export const SCIENTIST = {
  begin: { idle: step('join', 'joining'), joining: DROP, answering: DROP, confirming: DROP },
  resend: {
    idle: DROP,
    joining: step('repeatJoin', 'joining'),
    answering: step('repeatAnswer', 'answering'),
    confirming: DROP,
  },
  offer: { idle: DROP, joining: step('answer', 'answering'), answering: DROP, confirming: DROP },
  offerSame: { idle: DROP, joining: DROP, answering: step('repeatAnswer', 'answering'), confirming: DROP },
  offerBad: { idle: DROP, joining: step('reject', 'joining'), answering: step('reject', 'answering'), confirming: DROP },
  version: { idle: DROP, joining: step('refuseVersion', 'idle'), answering: DROP, confirming: DROP },
  channelOpen: { answering: step('confirm', 'confirming') },
  certDiffers: { answering: step('dropImposter', 'joining') },
  confirm: { confirming: step('verify', 'idle') },
  intrusion: { answering: step('dropIntruder', 'joining'), confirming: step('dropIntruder', 'joining') },
  failed: { idle: DROP, joining: DROP, answering: step('fail', 'joining'), confirming: step('fail', 'joining') },
  bye: { idle: DROP, joining: step('seeOff', 'idle'), answering: step('seeOff', 'idle'), confirming: step('seeOff', 'idle') },
  close: { idle: DROP, joining: step('leave', 'idle'), answering: step('leave', 'idle'), confirming: step('leave', 'idle') },
};

/** @type {Record<LiveEvent, Partial<Record<Live, Cell<Live>>>>} */
export const LIVE = {
  verified: { none: step('take', 'verified'), verified: step('replace', 'verified'), open: step('replace', 'verified') },
  ready: { verified: step('open', 'open') },
  notReady: { verified: step('end', 'none') },
  proofAgain: { open: step('end', 'none') },
  gone: { none: DROP, verified: step('end', 'none'), open: step('end', 'none') },
};

/** @template {string} S @param {Partial<Record<S, Cell<S>>>} row @param {S} state @param {string} event @returns {Cell<S>} */
export function cellOf(row, state, event) {
  const cell = row[state];
  if (cell === undefined) throw new Error(`${event} cannot happen in ${state}`);
  return cell;
}
