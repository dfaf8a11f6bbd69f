// @ts-check
/**
 * The SDP whitelist: check the signed text, parse it, and build it again from what was understood.
 * Only the rebuilt text reaches RTCPeerConnection, so no second media section, no second
 * fingerprint and no address that would aim this machine's checks at itself can pass.
 */

import { equal, fromHex, toHex } from './bytes.js';
import { CANDIDATES, MESSAGE_MAX_BYTES, SDP_MAX_BYTES } from './limits.js';

/** @typedef {import('./bytes.js').Bytes} Bytes */
/** @typedef {{foundation: string, priority: number, address: string, port: number, kind: string}} Candidate */
/** @typedef {{ufrag: string, pwd: string, fingerprint: Bytes, setup: string, candidates: Candidate[], mid: string, sctpPort: number, maxMessageSize: number}} Description */
/** @typedef {'size'|'charset'|'line'|'media'|'fingerprint'|'setup'|'candidates'} SdpCode */

const LINES = /^(?:[a-zA-Z]=[\x20-\x7e]*\r\n)+$/;
const MEDIA = /^m=application ([1-9][0-9]{0,4}) UDP\/DTLS\/SCTP webrtc-datachannel$/;
const FINGERPRINT = /^sha-256 ([0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){31})$/;
const UFRAG = /^[A-Za-z0-9+/]{4,256}$/;
const PWD = /^[A-Za-z0-9+/]{22,256}$/;
const MID = /^[A-Za-z0-9]{1,16}$/;
const PORT = /^[1-9][0-9]{0,4}$/;
const SIZE = /^[0-9]{1,18}$/;
const FOUNDATION = /^[A-Za-z0-9+/]{1,32}$/;
const PRIORITY = /^[0-9]{1,10}$/;
const MDNS = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\.local$/i;
const KINDS = ['host', 'srflx', 'prflx', 'relay'];

/** A session description breaks the whitelist. */
export class SdpError extends Error {
  /** @param {SdpCode} code */
  constructor(code) {
    super(code);
    this.code = code;
  }
}

/**
 * What a signed text says, restricted to what may be used.
 *
 * @param {string} text
 * @param {{kind: 'offer'|'answer', fp: Bytes, setup: string, loopback: boolean}} signed what was signed beside it
 * @returns {Description}
 * @throws {SdpError}
 */
export function parseSdp(text, { kind, fp, setup, loopback }) {
  if (new TextEncoder().encode(text).length > SDP_MAX_BYTES) throw new SdpError('size');
  if (!LINES.test(text)) throw new SdpError('charset');
  const lines = text.split('\r\n').slice(0, -1);
  checkLines(lines);
  const attributes = attributesOf(lines);
  const found = FINGERPRINT.exec(one(attributes, 'fingerprint', 'fingerprint'));
  if (found?.[1] === undefined || !equal(fromHex(found[1].replaceAll(':', '')), fp)) throw new SdpError('fingerprint');
  const setups = kind === 'offer' ? ['actpass'] : ['active', 'passive'];
  if (one(attributes, 'setup', 'setup') !== setup || !setups.includes(setup)) throw new SdpError('setup');
  const mid = matching(attributes, 'mid', MID);
  const groups = attributes.get('group') ?? [`BUNDLE ${mid}`];
  if (groups.length !== 1 || groups[0] !== `BUNDLE ${mid}`) throw new SdpError('line');
  const candidates = attributes.get('candidate') ?? [];
  if (candidates.length > CANDIDATES) throw new SdpError('candidates');
  return {
    ufrag: matching(attributes, 'ice-ufrag', UFRAG),
    pwd: matching(attributes, 'ice-pwd', PWD),
    fingerprint: fp,
    setup,
    candidates: candidates.map((value) => candidate(value, loopback)).filter((value) => value !== null),
    mid,
    sctpPort: port(matching(attributes, 'sctp-port', PORT)),
    maxMessageSize: messageSize(attributes),
  };
}

/** The one text of a description. @param {Description} description */
export function buildSdp(description) {
  const lines = [
    'v=0',
    'o=- 1 1 IN IP4 0.0.0.0',
    's=-',
    't=0 0',
    `a=group:BUNDLE ${description.mid}`,
    'm=application 9 UDP/DTLS/SCTP webrtc-datachannel',
    'c=IN IP4 0.0.0.0',
    `a=mid:${description.mid}`,
    `a=ice-ufrag:${description.ufrag}`,
    `a=ice-pwd:${description.pwd}`,
    `a=fingerprint:sha-256 ${toHex(description.fingerprint).toUpperCase().match(/../g)?.join(':')}`,
    `a=setup:${description.setup}`,
    `a=sctp-port:${description.sctpPort}`,
    `a=max-message-size:${description.maxMessageSize}`,
  ];
  for (const { foundation, priority, address, port: at, kind } of description.candidates) {
    const line = `a=candidate:${foundation} 1 udp ${priority} ${address} ${at} typ ${kind}`;
    lines.push(kind === 'host' ? line : `${line} raddr 0.0.0.0 rport 0`);
  }
  if (description.candidates.length > 0) lines.push('a=end-of-candidates');
  return lines.map((line) => `${line}\r\n`).join('');
}

/**
 * This side's own half, from the text of its RTCPeerConnection.
 *
 * @param {string} text
 * @param {boolean} loopback
 * @returns {Description}
 */
export function ownDescription(text, loopback) {
  const found = /^a=fingerprint:sha-256 ([0-9A-Fa-f:]{95})\r$/m.exec(text);
  const setup = /^a=setup:(active|passive)\r$/m.exec(text)?.[1];
  if (found?.[1] === undefined || setup === undefined) throw new SdpError('line');
  // a browser of many networks offers more candidates than are allowed; the first ones matter most
  let left = CANDIDATES;
  const kept = text
    .split('\r\n')
    .filter((line) => !line.startsWith('a=candidate:') || (candidate(line.slice(12), loopback) !== null && left-- > 0));
  const fp = fromHex(found[1].replaceAll(':', ''));
  return parseSdp(kept.join('\r\n'), { kind: 'answer', fp, setup, loopback });
}

/** Whether an address is a name that a browser made to hide a local address. @param {string} address */
export function isMdnsName(address) {
  return MDNS.test(address);
}

/** Whether connectivity checks may be sent to this literal. @param {string} address @param {boolean} loopback */
export function isUsableAddress(address, loopback) {
  const four = ipv4(address);
  if (four !== null) {
    if (four[0] === 127) return loopback;
    return !(four[0] === 0 || (four[0] === 169 && four[1] === 254) || (four[0] ?? 255) >= 224);
  }
  const six = ipv6(address);
  if (six === null) return false;
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0] = six;
  const zeros = a === 0 && b === 0 && c === 0 && d === 0 && e === 0;
  if (zeros && f === 0 && g === 0 && h === 1) return loopback;
  if (zeros && (f === 0 || f === 0xffff)) return false; // ::/96 and IPv4-mapped
  if (a === 0x64 && b === 0xff9b && c === 0 && d === 0 && e === 0 && f === 0) return false;
  return !((a & 0xffc0) === 0xfe80 || (a & 0xff00) === 0xff00);
}

/** @param {string} text @returns {number[]|null} */
function ipv4(text) {
  const found = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (found === null) return null;
  const parts = found.slice(1);
  if (parts.some((part) => (part.length > 1 && part.startsWith('0')) || Number(part) > 255)) return null;
  return parts.map(Number);
}

/** The eight groups of an IPv6 literal without a zone. @param {string} text @returns {number[]|null} */
function ipv6(text) {
  if (!/^[0-9A-Fa-f:.]{2,45}$/.test(text) || !text.includes(':')) return null;
  let rest = text;
  const last = rest.slice(rest.lastIndexOf(':') + 1);
  if (last.includes('.')) {
    const four = ipv4(last);
    if (four === null) return null;
    const [a = 0, b = 0, c = 0, d = 0] = four;
    rest = rest.slice(0, -last.length) + `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
  }
  const halves = rest.split('::');
  if (halves.length > 2) return null;
  const groups = halves.map((half) => (half === '' ? [] : half.split(':')));
  if (groups.flat().some((group) => !/^[0-9A-Fa-f]{1,4}$/.test(group))) return null;
  const [front = [], back = []] = groups;
  const missing = 8 - front.length - back.length;
  if (halves.length === 1 ? missing !== 0 : missing < 1) return null;
  return [...front, ...Array(halves.length === 1 ? 0 : missing).fill('0'), ...back].map((group) => parseInt(group, 16));
}

/** @param {string[]} lines */
function checkLines(lines) {
  if (lines[0] !== 'v=0') throw new SdpError('line');
  /** @type {string[]} */
  const media = [];
  lines.forEach((line, number) => {
    const type = line[0] ?? '';
    if (!'vostcmab'.includes(type) || (type === 'v' && number > 0)) throw new SdpError('line');
    if (type === 'm') media.push(line);
  });
  const found = media.length === 1 ? MEDIA.exec(media[0] ?? '') : null;
  if (found === null || Number(found[1]) > 65535) throw new SdpError('media');
}

/** @param {string[]} lines @returns {Map<string, string[]>} */
function attributesOf(lines) {
  /** @type {Map<string, string[]>} */
  const attributes = new Map();
  for (const line of lines) {
    if (line[0] !== 'a') continue;
    const [name = '', ...rest] = line.slice(2).split(':');
    const values = attributes.get(name) ?? [];
    values.push(rest.join(':'));
    attributes.set(name, values);
  }
  if (attributes.has('ice-lite') || attributes.has('crypto')) throw new SdpError('line');
  return attributes;
}

/** @param {Map<string, string[]>} attributes @param {string} name @param {SdpCode} code */
function one(attributes, name, code) {
  const [value, ...others] = attributes.get(name) ?? [];
  if (value === undefined || others.length > 0) throw new SdpError(code);
  return value;
}

/** @param {Map<string, string[]>} attributes @param {string} name @param {RegExp} pattern */
function matching(attributes, name, pattern) {
  const value = one(attributes, name, 'line');
  if (!pattern.test(value)) throw new SdpError('line');
  return value;
}

/** @param {string} text */
function port(text) {
  if (Number(text) > 65535) throw new SdpError('line');
  return Number(text);
}

/** @param {Map<string, string[]>} attributes */
function messageSize(attributes) {
  if (!attributes.has('max-message-size')) return MESSAGE_MAX_BYTES;
  const size = Number(matching(attributes, 'max-message-size', SIZE));
  return Math.min(size || MESSAGE_MAX_BYTES, MESSAGE_MAX_BYTES);
}

/** The candidate of a line, or null where it is not to be used. @param {string} value @param {boolean} loopback @returns {Candidate|null} */
function candidate(value, loopback) {
  const parts = value.split(' ');
  if (parts.length < 8 || parts[6] !== 'typ') return null;
  const [foundation = '', component, transport = '', priority = '', address = '', at = '', , kind = ''] = parts;
  const usable =
    component === '1' &&
    transport.toLowerCase() === 'udp' &&
    KINDS.includes(kind) &&
    FOUNDATION.test(foundation) &&
    PRIORITY.test(priority) &&
    Number(priority) < 2 ** 32 &&
    PORT.test(at) &&
    Number(at) <= 65535 &&
    (isMdnsName(address) || isUsableAddress(address, loopback));
  return usable ? { foundation, priority: Number(priority), address, port: Number(at), kind } : null;
}
