// @ts-check
/**
 * The scientist's side of pairing: one attempt after the other until a link is open.
 *
 * No I/O and no clock: the shell (handshake.js) passes `now`, reports what happened to its peers and
 * performs the effects. Only hashing and signing wait, because a browser has them in no other way;
 * so each method is async, and the shell must not call the next one before the last one is done.
 *
 * A join, an offer or a half-open attempt never touches the live slot: only an association on which
 * both keys were proved takes it over. What may happen when is in pairing_states.js.
 */

import { Author } from './author.js';
import { parseBody, parseCaps, signedInput } from './bodies.js';
import { equal, randomBytes } from './bytes.js';
import { connectionLost, DuetError, otherVersion, partnerLeft, proofError, protocolError } from './errors.js';
import { Exchange, NO_PEER } from './exchange.js';
import * as limits from './limits.js';
import { cellOf, LIVE, SCIENTIST } from './pairing_states.js';
import { Partner } from './partner.js';
import { encodeProof, parseProof } from './proofs.js';
import { Retry } from './retry.js';
import { buildSdp, parseSdp, SdpError } from './sdp.js';

/** @typedef {import('./bytes.js').Bytes} Bytes */
/** @typedef {import('./bodies.js').Sdp} Sdp */
/** @typedef {import('./bodies.js').Bye} Bye */
/** @typedef {import('./sdp.js').Description} Description */
/** @typedef {import('./pairing_states.js').Effect} Effect */
/** @typedef {import('./pairing_states.js').Event} Event */
/** @typedef {import('./pairing_states.js').Live} Live */
/** @typedef {import('./pairing_states.js').LiveEvent} LiveEvent */
/** @typedef {import('./pairing_states.js').State} State */
/** @typedef {import('./author.js').Signer} Signer */

const NOT_CONFIRMED = 'The partner did not confirm in time.';

export class Pairing {
  /**
   * @param {object} options
   * @param {Signer} options.key
   * @param {Bytes} options.caps the exact bytes that are signed
   * @param {string} options.sessionId that a person passed on
   * @param {boolean} options.loopback let loopback candidates through
   * @param {number} options.unixOffset Unix time minus the clock that gives `now`, in seconds
   * @param {(count: number) => Bytes} [options.random]
   */
  constructor({ key, caps, sessionId, loopback, unixOffset, random = randomBytes }) {
    this.key = key;
    this.sessionId = sessionId;
    this.loopback = loopback;
    /** @type {State} */
    this.state = 'idle';
    /** @type {Live} */
    this.liveState = 'none';
    /** @type {Exchange|null} */
    this.live = null;
    /** Messages that changed nothing. */
    this.dropped = 0;
    /** Offers and certificates in the partner's name that failed verification, in this wait. */
    this.rejected = 0;
    this.isClosed = false;
    /** @type {Effect[]} */
    this.effects = [];
    this.unixOffset = unixOffset;
    this.random = random;
    /** @type {Exchange|null} */
    this.exchange = null;
    this.attempt = 0;
    this.peers = 0;
    /** @type {Bytes} */
    this.joinBody = new Uint8Array(0);
    /** @type {Bytes} */
    this.offerBody = new Uint8Array(0);
    /** @type {Bytes} */
    this.answerBody = new Uint8Array(0);
    this.author = new Author(key, caps, sessionId);
    this.partner = new Partner(sessionId, key.id);
    this.retry = new Retry();
    /** @type {number|null} */
    this.askAt = null;
    this.openedAt = 0;
    this.liveDeadline = 0;
  }

  // what the shell reports

  takeEffects() {
    const effects = this.effects;
    this.effects = [];
    return effects;
  }

  /** Starts to join. @param {number} now */
  async begin(now) {
    this.askAt = now + limits.NO_ANSWER_SECONDS;
    await this.fire('begin', now);
  }

  /** This side registered again, or the partner came online: repeat at once. @param {number} now */
  async relayIsBack(now) {
    this.retry.hasten();
    await this.fire('resend', now);
  }

  /** A peer's own half is known. @param {number} peer @param {Description} own @param {number} now */
  async gathered(peer, own, now) {
    const exchange = this.exchangeOf(peer);
    if (exchange === null || exchange.offer === null || this.state !== 'answering' || exchange.isAnswered) return;
    const { input, body } = await this.author.answer(exchange.join, exchange.offer, own);
    this.answerBody = body;
    exchange.isAnswered = true;
    await exchange.extend(input);
    this.effects.push({ kind: 'post', body: this.answerBody, isJoin: false });
    this.retry.restart(now);
  }

  /**
   * The channels of a peer are open.
   *
   * @param {number} peer
   * @param {Bytes|null} certificate SHA-256 of the partner's; null where the browser does not show
   *   it: then its own check against the rebuilt text, which has one fingerprint, is what there is
   * @param {number} now
   */
  async connected(peer, certificate, now) {
    const exchange = this.exchangeOf(peer);
    if (exchange === null || exchange.remote === null || !exchange.isAnswered) return;
    const matches = certificate === null || equal(exchange.remote.fingerprint, certificate);
    await this.fire(matches ? 'channelOpen' : 'certDiffers', now);
  }

  /** A half-open peer could not gather or connect, or broke. @param {number} peer @param {DuetError} error @param {number} now */
  async failed(peer, error, now) {
    if (this.exchangeOf(peer) !== null) await this.fire('failed', now, { error });
  }

  /** Something came that may not come before the partner is verified. @param {number} peer @param {number} now */
  async intruded(peer, now) {
    if (this.exchangeOf(peer) !== null) await this.fire('intrusion', now);
  }

  /** A peer ended by itself, or the session gave it up. @param {number} peer @param {DuetError} error @param {number} now */
  async lost(peer, error, now) {
    if (this.live !== null && peer === this.live.peer) await this.fireLive('gone', error, now);
    else if (error.code === 'ProtocolError') await this.intruded(peer, now);
    else await this.failed(peer, error, now);
  }

  /** A frame came on a connected peer; of the open one, only proofs need to be told. @param {number} peer @param {number} channel @param {Uint8Array} data @param {number} now */
  async frame(peer, channel, data, now) {
    if (this.live !== null && peer === this.live.peer) {
      if (channel === 0) await this.liveFrame(data, now);
      return;
    }
    const exchange = this.exchangeOf(peer);
    if (exchange === null) return;
    const right = channel === 0 && (await this.partner.confirmed(exchange, data));
    await this.fire(right ? 'confirm' : 'intrusion', now);
  }

  /** Whether the partner's key was proved on this peer. @param {number} peer */
  isVerified(peer) {
    return this.live !== null && this.live.peer === peer;
  }

  /** Time has passed. @param {number} now */
  async tick(now) {
    if (this.liveState === 'verified' && now >= this.liveDeadline)
      await this.fireLive('notReady', new DuetError('ConfirmFailed', NOT_CONFIRMED), now);
    const exchange = this.exchange;
    if (this.state === 'joining') {
      if (this.askAt !== null && now >= this.askAt) {
        this.askAt = null;
        this.effects.push({ kind: 'noAnswerYet' });
      }
      if (now >= this.retry.renewAt) await this.newAttempt(now, 0);
      else if (now >= this.retry.nextSend) await this.fire('resend', now);
    } else if (exchange !== null && now >= exchange.deadline) {
      const error =
        this.state === 'confirming'
          ? new DuetError('ConfirmFailed', NOT_CONFIRMED)
          : new DuetError('ConnectFailed', 'No connection came about in time.', NO_PATH);
      await this.fire('failed', now, { error });
    } else if (this.state === 'answering' && now >= this.retry.nextSend) await this.fire('resend', now);
  }

  /** When `tick` is to be called at the latest; Infinity: never. */
  nextTick() {
    let at = this.liveState === 'verified' ? this.liveDeadline : Infinity;
    if (this.state === 'joining') at = Math.min(at, this.retry.nextSend, this.retry.renewAt, this.askAt ?? Infinity);
    else if (this.state !== 'idle' && this.exchange !== null) {
      at = Math.min(at, this.exchange.deadline);
      if (this.state === 'answering') at = Math.min(at, this.retry.nextSend);
    }
    return at;
  }

  /** Ends for good; a partner without a link is told through the relay. @param {string} reason @param {number} now */
  async close(reason, now) {
    if (this.live !== null && this.liveState === 'verified') await this.postBye(this.live.th, reason);
    await this.fire('close', now, { reason });
    this.isClosed = true;
  }

  // what the relay hands over; nothing about it is believed

  /** @param {string} from @param {Uint8Array} body @param {number} now */
  async received(from, body, now) {
    if (this.isClosed) return;
    const message = parseBody(body);
    if (message?.kind === 'bye') await this.receivedBye(from, message, now);
    else if (message?.kind === 'offer') await this.receivedOffer(from, message, body, now);
    else this.dropped += 1;
  }

  /** @param {string} from @param {Sdp} offer @param {Uint8Array} body @param {number} now */
  async receivedOffer(from, offer, body, now) {
    const exchange = this.exchange;
    if (exchange === null || this.state === 'idle' || from !== this.sessionId) {
      this.dropped += 1;
      return;
    }
    if (equal(body, this.offerBody)) {
      await this.fire('offerSame', now);
      return;
    }
    const caps = parseCaps(offer.caps);
    const input = await signedInput(offer);
    if (caps === null || !(await this.partner.made(offer, input))) {
      await this.fire('offerBad', now);
      return;
    }
    const { nonce, attempt } = exchange.join;
    if (!equal(offer.peer_nonce, nonce) || offer.attempt !== attempt) {
      this.dropped += 1; // proved, but made for an earlier join: late, or replayed
      return;
    }
    if (caps.v !== 1 || caps.conf !== 1) {
      await this.fire('version', now, { offer, input });
      return;
    }
    /** @type {Description} */
    let remote;
    try {
      remote = parseSdp(offer.sdp, { kind: 'offer', fp: offer.fp, setup: offer.setup, loopback: this.loopback });
    } catch (error) {
      if (!(error instanceof SdpError)) throw error;
      await this.fire('offerBad', now);
      return;
    }
    await this.fire('offer', now, { offer, input, remote, caps, body });
  }

  /** @param {string} from @param {Bye} bye @param {number} now */
  async receivedBye(from, bye, now) {
    if (this.live !== null && (await this.partner.left(this.live, bye, 2))) {
      await this.fireLive('gone', partnerLeft(bye.reason), now);
    } else if (this.exchange !== null && from === this.sessionId && (await this.partner.left(this.exchange, bye, 0))) {
      await this.fire('bye', now, { reason: bye.reason });
    } else this.dropped += 1;
  }

  // the attempt

  /**
   * @param {Event} event
   * @param {number} now
   * @param {{offer?: Sdp, input?: Bytes, remote?: Description, caps?: Record<string, unknown>, body?: Uint8Array, error?: DuetError, reason?: string, pause?: number}} [facts]
   */
  async fire(event, now, facts = {}) {
    const cell = cellOf(SCIENTIST[event], this.state, event);
    if (cell === null) {
      if (event !== 'resend') this.dropped += 1;
      return;
    }
    const exchange = this.exchange;
    this.state = cell.to;
    switch (cell.act) {
      case 'join':
        return this.newAttempt(now, facts.pause ?? 0);
      case 'repeatJoin':
        return this.repeatJoin(now);
      case 'repeatAnswer':
        if (this.answerBody.length > 0) this.effects.push({ kind: 'post', body: this.answerBody, isJoin: false });
        return this.retry.postpone(now);
      case 'answer':
        return this.accept(facts, now);
      case 'reject':
        if (this.countRejected()) this.stop();
        return;
      case 'refuseVersion':
        await exchange?.extend(facts.input);
        await this.postBye(exchange?.th ?? new Uint8Array(0), 'version');
        return this.endWait(otherVersion());
      case 'confirm':
        return this.sendConfirm(now);
      case 'verify':
        return this.verified(now);
      case 'dropImposter':
        if (this.countRejected()) return this.stop();
        return this.newAttempt(now, this.retry.pause(now));
      case 'dropIntruder':
        return this.attemptFailed(new DuetError('ConfirmFailed', 'Something else came before the confirm.'), now);
      case 'fail':
        return this.attemptFailed(facts.error ?? new DuetError('ConnectFailed', 'No connection came about.'), now);
      case 'seeOff':
        return this.endWait(facts.reason === 'version' ? otherVersion() : partnerLeft(facts.reason ?? ''));
      case 'leave':
        return this.leave(facts.reason ?? 'closed');
      default:
        throw new Error(`unknown action ${cell.act}`);
    }
  }

  /** @param {{offer?: Sdp, input?: Bytes, remote?: Description, caps?: Record<string, unknown>, body?: Uint8Array}} facts @param {number} now */
  async accept({ offer, input, remote, caps, body }, now) {
    const exchange = this.exchange;
    if (exchange === null || !offer || !input || !remote || !caps || !body) throw new Error('an offer without its facts');
    this.peers += 1;
    exchange.peer = this.peers;
    exchange.offer = offer;
    exchange.remote = remote;
    exchange.caps = caps;
    exchange.deadline = now + limits.CONNECT_SECONDS;
    await exchange.extend(input);
    this.offerBody = body.slice();
    this.answerBody = new Uint8Array(0);
    this.retry.restart(now);
    this.effects.push({ kind: 'offered' }, { kind: 'makePeer', peer: exchange.peer, offer: buildSdp(remote) });
  }

  /** @param {number} now @param {number} pause */
  async newAttempt(now, pause) {
    this.closePeer();
    this.attempt = Math.max(this.attempt + 1, Math.floor((now + this.unixOffset) * 1000));
    const { message: join, input, body } = await this.author.join(this.random(16), this.attempt);
    this.joinBody = body;
    this.exchange = new Exchange(join, input);
    await this.exchange.extend();
    this.offerBody = this.answerBody = new Uint8Array(0);
    this.retry.begin(now, pause);
    if (pause === 0) this.repeatJoin(now);
  }

  /** @param {number} now */
  repeatJoin(now) {
    if (now < this.retry.notBefore) return;
    this.effects.push({ kind: 'post', body: this.joinBody, isJoin: true });
    this.retry.postpone(now);
  }

  /** @param {DuetError} error @param {number} now */
  async attemptFailed(error, now) {
    if (this.mayRetry(error)) await this.newAttempt(now, this.retry.pause(now));
  }

  /** Counts a failed attempt after an accepted offer; the third in a row ends the wait. @param {DuetError} error */
  mayRetry(error) {
    this.retry.failures += 1;
    if (this.retry.failures < limits.FAILED_ATTEMPTS) {
      this.effects.push({ kind: 'attemptFailed', error });
      return true;
    }
    this.endWait(error.code === 'ConnectFailed' ? error : new DuetError('ConnectFailed', error.message, error.remedy));
    return false;
  }

  /** Whether this failed proof is the one that ends the wait. */
  countRejected() {
    if (this.liveState !== 'none') {
      this.dropped += 1;
      return false; // a relay shall not be able to end a live session
    }
    this.rejected += 1;
    this.effects.push({ kind: 'rejected', count: this.rejected });
    if (this.rejected < limits.BAD_PROOFS) return false;
    this.effects.push({ kind: 'ended', error: proofError() });
    return true;
  }

  /** @param {DuetError} error */
  endWait(error) {
    this.effects.push({ kind: 'ended', error });
    this.stop();
  }

  stop() {
    this.closePeer();
    this.exchange = null;
    this.retry.failures = 0;
    this.state = 'idle';
  }

  /** @param {string} reason */
  async leave(reason) {
    const exchange = this.exchange;
    if (exchange !== null) {
      // the owner surely has the offer, which is its own; the answer may be on its way
      const th = exchange.isConfirmed ? exchange.th : exchange.hashes.slice(0, 2).at(-1);
      await this.postBye(th ?? exchange.th, reason);
    }
    this.stop();
  }

  /** @param {Bytes} th @param {string} reason */
  async postBye(th, reason) {
    const { body } = await this.author.bye(th, reason);
    this.effects.push({ kind: 'post', body, isJoin: false });
  }

  closePeer() {
    if (this.exchange !== null && this.exchange.peer !== NO_PEER) {
      this.effects.push({ kind: 'closePeer', peer: this.exchange.peer });
      this.exchange.peer = NO_PEER;
    }
  }

  /** @param {number} peer */
  exchangeOf(peer) {
    return this.exchange !== null && peer !== NO_PEER && this.exchange.peer === peer ? this.exchange : null;
  }

  // proofs and the live slot

  /** @param {number} now */
  async sendConfirm(now) {
    const exchange = this.exchange;
    if (exchange === null) throw new Error('a confirm without an exchange');
    this.effects.push({ kind: 'sendProof', peer: exchange.peer, data: await this.author.confirm(exchange.th) });
    exchange.isConfirmed = true;
    exchange.deadline = now + limits.CONFIRM_SECONDS;
  }

  /** @param {number} now */
  async verified(now) {
    const exchange = this.exchange;
    if (exchange === null) throw new Error('verified without an exchange');
    this.exchange = null;
    await this.fireLive('verified', connectionLost('A newer connection took over.'), now);
    this.live = exchange;
    this.liveDeadline = now + limits.CONFIRM_SECONDS;
    this.effects.push({ kind: 'sendProof', peer: exchange.peer, data: encodeProof({ t: 'ready', th: exchange.th }) });
  }

  /** @param {Uint8Array} data @param {number} now */
  async liveFrame(data, now) {
    const proof = parseProof(data);
    if (this.liveState === 'open') {
      if (proof === null) return;
      await this.fireLive('proofAgain', protocolError('The partner sent a second confirm; the link was closed.'), now);
    } else if (proof?.t === 'ready' && this.live !== null && equal(proof.th, this.live.th)) {
      await this.fireLive('ready', connectionLost(), now);
    } else {
      await this.fireLive('notReady', new DuetError('ConfirmFailed', 'Something else came before the ready.'), now);
    }
  }

  /** @param {LiveEvent} event @param {DuetError} error @param {number} now */
  async fireLive(event, error, now) {
    const cell = cellOf(LIVE[event], this.liveState, event);
    if (cell === null) {
      this.dropped += 1;
      return;
    }
    const wasOpen = this.liveState === 'open';
    this.liveState = cell.to;
    const live = this.live;
    if (cell.act === 'take' || live === null) return;
    if (cell.act === 'open') {
      this.rejected = this.retry.failures = 0;
      this.openedAt = now;
      this.retry.lostAt = this.askAt = null;
      this.effects.push({ kind: 'linkOpened', peer: live.peer, caps: live.caps, head: live.head });
      return;
    }
    this.effects.push({ kind: 'linkClosed', peer: live.peer, wasOpen, error });
    this.live = null;
    if (cell.act === 'end') await this.liveGone(error, wasOpen, now);
  }

  /** Rejoins after a loss; whatever else ended a link was said on purpose. @param {DuetError} error @param {boolean} wasOpen @param {number} now */
  async liveGone(error, wasOpen, now) {
    if (wasOpen && error.code !== 'ConnectionLost') this.effects.push({ kind: 'ended', error });
    else if (wasOpen) {
      // a link that dies as soon as it is open, again and again, must not become a storm
      const isShort = now - this.openedAt < limits.CONFIRM_SECONDS;
      this.retry.shortLinks = isShort ? this.retry.shortLinks + 1 : 0;
      this.retry.lostAt = now;
      this.askAt = now + limits.NO_ANSWER_SECONDS;
      await this.fire('begin', now, { pause: this.retry.shortLinks > 1 ? this.retry.pause(now) : 0 });
    } else if (this.mayRetry(error)) await this.fire('begin', now, { pause: this.retry.pause(now) });
  }
}

const NO_PATH = 'No direct path between the two networks. Ask the host of the signalling server for TURN.';
