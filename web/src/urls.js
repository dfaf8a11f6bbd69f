// @ts-check
/** Addresses of signalling servers, in the one spelling that both sides sign. */

import { DuetError } from './errors.js';
import { isUsableAddress } from './sdp.js';

/** @param {string} url @param {string} why */
function unusable(url, why) {
  return new DuetError('SignalingUnreachable', `The address ${url} cannot be used: ${why}.`, 'An address looks like https://sig.example.org.');
}

/**
 * The canonical URL of a signalling server: https://sig.example.org/duet.
 *
 * @param {string} text
 * @throws {DuetError} SignalingUnreachable
 */
export function checkUrl(text) {
  const trimmed = text.trim();
  /** @type {URL} */
  let url;
  try {
    url = new URL(trimmed.replace(/^ws/i, 'http'));
  } catch {
    throw unusable(trimmed, 'it is not a URL');
  }
  if (!/^[\x21-\x5b\x5d-\x7e]+$/.test(trimmed) || !/^(?:https?|wss?):\/\//i.test(trimmed)) throw unusable(trimmed, 'it is not an address');
  if (url.username || url.password) throw unusable(trimmed, 'it has a user name or password');
  if (url.search || url.hash) throw unusable(trimmed, 'it has a query or a fragment');
  const path = url.pathname.replace(/\/+$/, '');
  if (path.includes('//')) throw unusable(trimmed, 'its path is not plain');
  const checked = `${url.protocol}//${url.host}${path}`;
  if (url.protocol === 'http:' && !isPrivateHost(url.hostname))
    throw unusable(checked, 'plain http shows IDs and addresses on the way; use https');
  return checked;
}

/** Whether a host is this machine. @param {string} host */
export function isLoopbackHost(host) {
  const bare = host.replace(/^\[|\]$/g, '').replace(/\.$/, '').toLowerCase();
  if (bare === 'localhost' || bare.endsWith('.localhost')) return true;
  return !isUsableAddress(bare, false) && isUsableAddress(bare, true);
}

/** Whether a host is this machine, or a private or link-local address literal. @param {string} host */
export function isPrivateHost(host) {
  const bare = host.replace(/^\[|\]$/g, '');
  if (isLoopbackHost(host)) return true;
  if (/^(?:10|192\.168|169\.254|172\.(?:1[6-9]|2\d|3[01]))\.[\d.]+$/.test(bare)) return true;
  return /^(?:f[cd]|fe[89ab])[0-9a-f]*:/i.test(bare);
}

const ICE_SERVERS = 8;
const ICE_URLS = 4;

/**
 * The entries of a relay's list that a page gives to ICE: nothing at this machine or its network,
 * unless the relay itself is there.
 *
 * @param {unknown} offered
 * @param {boolean} allowPrivate
 * @returns {RTCIceServer[]}
 */
export function usableIceServers(offered, allowPrivate) {
  if (!Array.isArray(offered)) return [];
  /** @type {RTCIceServer[]} */
  const servers = [];
  for (const entry of offered) {
    const { urls, username, credential } = Object(entry);
    const listed = (Array.isArray(urls) ? urls : [urls]).filter((url) => isUsableIce(url, allowPrivate)).slice(0, ICE_URLS);
    if (listed.length === 0) continue;
    servers.push({
      urls: listed,
      ...(typeof username === 'string' ? { username } : {}),
      ...(typeof credential === 'string' ? { credential } : {}),
    });
  }
  return servers.slice(0, ICE_SERVERS);
}

/** @param {unknown} url @param {boolean} allowPrivate */
function isUsableIce(url, allowPrivate) {
  if (typeof url !== 'string') return false;
  const found = /^(?:stun|turns?):(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::\d{1,5})?(?:\?transport=(?:udp|tcp))?$/.exec(url);
  return found?.[1] !== undefined && (allowPrivate || !isPrivateHost(found[1]));
}
