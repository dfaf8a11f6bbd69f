// @ts-check
/** An owner that signs with the keys of the vectors, and what it answers to a join. */

import { encodeBody, parseBody, confirmInput, signedInput, transcriptHash } from '../src/bodies.js';
import { concat, fromHex, utf8 } from '../src/bytes.js';
import { idOf } from '../src/ids.js';
import { Pairing } from '../src/pairing.js';
import { encodeProof } from '../src/proofs.js';
import { PAIRING } from './vectors.js';

/** @typedef {import('../src/bytes.js').Bytes} Bytes */

const PKCS8 = fromHex('302e020100300506032b657004220420');
export const CAPS = utf8('{"v":1,"sw":"test","max_msg":65536,"ops":"00","conf":1}');
export const FINGERPRINT = fromHex('f0'.repeat(32));
export const OWN_FINGERPRINT = fromHex('e0'.repeat(32));
export const PLAIN = PAIRING.sdp[0];

/** @param {any} identity */
export async function signer({ seed, pub, role }) {
  const wirePub = concat(Uint8Array.of(1), fromHex(pub));
  const key = await crypto.subtle.importKey('pkcs8', concat(PKCS8, fromHex(seed)), 'Ed25519', false, ['sign']);
  return {
    id: await idOf(role, wirePub),
    pub: wirePub,
    sign: async (/** @type {Bytes} */ message) => new Uint8Array(await crypto.subtle.sign('Ed25519', key, message)),
  };
}

export const owner = await signer(PAIRING.identities.owner);
export const otherOwner = await signer(PAIRING.identities.owner_b);
export const scientist = await signer(PAIRING.identities.scientist);

/** @returns {import('../src/sdp.js').Description} */
export function ownHalf() {
  return {
    ufrag: 'abcd',
    pwd: 'p'.repeat(24),
    fingerprint: OWN_FINGERPRINT,
    setup: 'active',
    candidates: [],
    mid: '0',
    sctpPort: 5000,
    maxMessageSize: 65_536,
  };
}

/** A scientist that has begun to join. @param {object} [options] */
export async function joining(options = {}) {
  const machine = new Pairing({ key: scientist, caps: CAPS, sessionId: owner.id, loopback: false, unixOffset: 0, ...options });
  await machine.begin(100);
  const join = posted(machine);
  return { machine, join };
}

/** The last body that a machine wants to post. @param {Pairing} machine @returns {any} */
export function posted(machine) {
  const bodies = machine.takeEffects().flatMap((effect) => (effect.kind === 'post' ? [effect.body] : []));
  return bodies.length === 0 ? null : parseBody(bodies.at(-1) ?? new Uint8Array(0));
}

/** The owner's offer to a join. @param {any} join @param {object} [changes] @param {{sign: (message: Bytes) => Promise<Bytes>}} [key] */
export async function offerTo(join, changes = {}, key = owner) {
  const unsigned = {
    kind: 'offer',
    role: 'owner',
    session_id: owner.id,
    client_id: scientist.id,
    pub: owner.pub,
    own_nonce: fromHex('0a'.repeat(16)),
    peer_nonce: join.nonce,
    attempt: join.attempt,
    fp: FINGERPRINT,
    setup: 'actpass',
    sdp: PLAIN.sdp,
    caps: CAPS,
    sig: new Uint8Array(64),
    ...changes,
  };
  const sig = await key.sign(await signedInput(/** @type {any} */ (unsigned)));
  return /** @type {any} */ ({ ...unsigned, sig });
}

/** The owner's confirm over three messages. @param {any[]} messages @param {object} [changes] @param {{sign: (message: Bytes) => Promise<Bytes>}} [key] */
export async function confirmOf(messages, changes = {}, key = owner) {
  const th = await transcriptHash(...(await Promise.all(messages.map(signedInput))));
  const fields = { role: 'owner', th, audit_head: new Uint8Array(0), ...changes };
  return encodeProof({ t: 'confirm', ...fields, sig: await key.sign(confirmInput(fields)) });
}

/** A scientist whose confirm went out. */
export async function confirming() {
  const { machine, join } = await joining();
  const offer = await offerTo(join);
  await machine.received(owner.id, encodeBody(offer), 101);
  await machine.gathered(1, ownHalf(), 102);
  const answer = posted(machine);
  await machine.connected(1, FINGERPRINT, 103);
  return { machine, messages: [join, offer, answer] };
}

/** A scientist with an open link. */
export async function open() {
  const { machine, messages } = await confirming();
  await machine.frame(1, 0, await confirmOf(messages), 104);
  const th = await transcriptHash(...(await Promise.all(messages.map(signedInput))));
  await machine.frame(1, 0, encodeProof({ t: 'ready', th }), 105);
  const effects = machine.takeEffects();
  return { machine, messages, effects, th };
}
