// @ts-check
/**
 * One association: an RTCPeerConnection that answers a rebuilt offer, with three negotiated channels.
 *
 * What arrives before somebody listens waits, within limits. A peer that is closed says nothing more.
 */

import { sha256 } from './bytes.js';
import { connectionLost, DuetError, protocolError } from './errors.js';
import * as limits from './limits.js';
import { ownDescription } from './sdp.js';

/** @typedef {import('./bytes.js').Bytes} Bytes */

export const CTL = 0;
export const OPS = 1;
export const BULK = 2;
const LABELS = ['duet-ctl', 'duet-ops', 'duet-bulk'];
const LOW_WATER = 65_536;

export class Channels {
  /**
   * @param {object} options
   * @param {RTCIceServer[]} options.iceServers
   * @param {boolean} options.loopback
   * @param {(channel: number, data: Uint8Array) => void} options.onFrame
   * @param {(error: DuetError) => void} options.onClosed at most once; not after `close`
   */
  constructor({ iceServers, loopback, onFrame, onClosed }) {
    this.loopback = loopback;
    this.onFrame = onFrame;
    this.onClosed = onClosed;
    this.isListening = false;
    this.isClosed = false;
    this.iceServers = iceServers;
    this.sent = 0;
    this.received = 0;
    /** @type {[number, Uint8Array][]} */
    this.early = [];
    this.earlyBytes = 0;
    this.wasConnected = false;
    this.connection = new RTCPeerConnection({ iceServers, bundlePolicy: 'max-bundle' });
    this.connection.ondatachannel = () => this.fail(protocolError('The partner opened a channel by itself.'));
    this.channels = LABELS.map((label, id) => {
      const channel = this.connection.createDataChannel(label, { negotiated: true, id, ordered: true });
      channel.binaryType = 'arraybuffer';
      channel.bufferedAmountLowThreshold = LOW_WATER;
      channel.onmessage = (event) => this.take(id, event.data);
      channel.onclose = () => this.fail(connectionLost());
      return channel;
    });
    this.connection.onconnectionstatechange = () => this.stateChanged();
  }

  /**
   * Takes the rebuilt offer; gives this side's own half once its candidates are known.
   *
   * @param {string} offer
   * @returns {Promise<import('./sdp.js').Description>}
   */
  async answer(offer) {
    const connection = this.connection;
    await connection.setRemoteDescription({ type: 'offer', sdp: offer });
    await connection.setLocalDescription(await connection.createAnswer());
    await this.gathered();
    return ownDescription(connection.localDescription?.sdp ?? '', this.loopback);
  }

  /** @returns {Promise<void>} */
  gathered() {
    const connection = this.connection;
    return new Promise((resolve) => {
      if (connection.iceGatheringState === 'complete') return resolve();
      setTimeout(resolve, limits.GATHER_SECONDS * 1000);
      connection.onicegatheringstatechange = () => {
        if (connection.iceGatheringState === 'complete') resolve();
      };
    });
  }

  /** Resolves when all three channels are open; the deadline is the machine's. @returns {Promise<void>} */
  opened() {
    return new Promise((resolve) => {
      const look = () => {
        if (this.channels.every((channel) => channel.readyState === 'open')) resolve();
      };
      for (const channel of this.channels) channel.addEventListener('open', look);
      look();
    });
  }

  /** SHA-256 of the certificate that the partner really used; null where the browser does not show it. @returns {Promise<Bytes|null>} */
  async certificate() {
    const transport = /** @type {RTCDtlsTransport & {getRemoteCertificates?: () => ArrayBuffer[]}|undefined} */ (
      this.connection.sctp?.transport
    );
    if (transport?.getRemoteCertificates === undefined) return null;
    const [first] = transport.getRemoteCertificates();
    return first === undefined ? new Uint8Array(0) : sha256(new Uint8Array(first));
  }

  /** From now on frames are handed over, those that waited first. */
  listen() {
    this.isListening = true;
    for (const [channel, data] of this.early.splice(0)) this.onFrame(channel, data);
  }

  /** @param {number} channel @param {Uint8Array} data */
  send(channel, data) {
    const open = this.channels[channel];
    if (this.isClosed || open?.readyState !== 'open') throw connectionLost();
    open.send(/** @type {Bytes} */ (data));
    this.sent += data.length;
  }

  /** Bytes that wait to leave on a channel. @param {number} channel */
  buffered(channel) {
    return this.channels[channel]?.bufferedAmount ?? 0;
  }

  /** Resolves when a channel has room again, or is closed. @param {number} channel @returns {Promise<void>} */
  drained(channel) {
    const open = this.channels[channel];
    if (open === undefined || open.readyState !== 'open' || open.bufferedAmount <= LOW_WATER) return Promise.resolve();
    return new Promise((resolve) => {
      open.addEventListener('bufferedamountlow', () => resolve(), { once: true });
      open.addEventListener('close', () => resolve(), { once: true });
    });
  }

  /** The way the packets take, and the seconds of ICE's last check. @returns {Promise<{path: 'direct'|'relayed'|null, rtt: number|null}>} */
  async path() {
    if (this.isClosed) return { path: null, rtt: null };
    const report = await this.connection.getStats();
    /** @type {Map<string, any>} */
    const rows = new Map();
    report.forEach((row) => rows.set(row.id, row));
    for (const row of rows.values()) {
      if (row.type !== 'candidate-pair' || !row.nominated || row.state !== 'succeeded') continue;
      const kinds = [rows.get(row.localCandidateId)?.candidateType, rows.get(row.remoteCandidateId)?.candidateType];
      return { path: kinds.includes('relay') ? 'relayed' : 'direct', rtt: row.currentRoundTripTime ?? null };
    }
    return { path: null, rtt: null };
  }

  /** Why no association came about, as far as the browser tells. @returns {Promise<DuetError>} */
  async failure() {
    const state = this.connection.iceConnectionState;
    if (state === 'connected' || state === 'completed')
      return new DuetError('ConnectFailed', 'A path was found, but the encrypted handshake failed.', 'Try again; if it stays so, use another network.');
    const hasTurn = this.iceServers.some(({ urls }) => [urls].flat().some((url) => url.startsWith('turn')));
    if (hasTurn && !(await this.hasRelay()))
      return new DuetError('ConnectFailed', 'The TURN server gave no relay address: it cannot be reached, or it refused the credentials.', 'Ask the host of the signalling server.');
    if (!/^a=candidate:\S+ \d+ udp /im.test(this.connection.localDescription?.sdp ?? ''))
      return new DuetError(
        'ConnectFailed',
        'Your browser has no address that the owner could reach: your network, or a setting of the browser, blocks UDP.',
        'Ask the host of the signalling server for TURN, or try another network or browser.',
      );
    return new DuetError(
      'ConnectFailed',
      'No direct path between the two networks.',
      hasTurn ? 'Your network may block UDP.' : 'Ask the host of the signalling server for TURN.',
    );
  }

  async hasRelay() {
    let found = false;
    (await this.connection.getStats()).forEach((row) => {
      found ||= row.type === 'local-candidate' && row.candidateType === 'relay';
    });
    return found;
  }

  close() {
    if (this.isClosed) return;
    this.isClosed = true;
    this.early = [];
    this.connection.close();
  }

  /** @param {number} channel @param {unknown} data */
  take(channel, data) {
    if (this.isClosed) return;
    if (!(data instanceof ArrayBuffer) || data.byteLength > limits.MESSAGE_MAX_BYTES) {
      this.fail(protocolError('The partner sent something that is no message.'));
      return;
    }
    this.received += data.byteLength;
    const bytes = new Uint8Array(data);
    if (this.isListening) this.onFrame(channel, bytes);
    else {
      this.early.push([channel, bytes]);
      this.earlyBytes += bytes.length;
      if (this.early.length > limits.EARLY_FRAMES || this.earlyBytes > limits.EARLY_BYTES)
        this.fail(protocolError('The partner sent too much before it was verified.'));
    }
  }

  stateChanged() {
    const state = this.connection.connectionState;
    if (state === 'connected') this.wasConnected = true;
    else if (state === 'closed' || (state === 'failed' && this.wasConnected)) this.fail(connectionLost());
    else if (state === 'failed') void this.failure().then((error) => this.fail(error));
  }

  /** @param {DuetError} error */
  fail(error) {
    if (this.isClosed) return;
    this.close();
    this.onClosed(error);
  }
}
