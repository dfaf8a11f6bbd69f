// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { confirmInput, encodeBody, parseBody, registerInput, signedInput, transcriptHash } from '../src/bodies.js';
import { fromHex, toHex, utf8 } from '../src/bytes.js';
import { DuetError } from '../src/errors.js';
import { verify } from '../src/keys.js';
import { LIVE, SCIENTIST } from '../src/pairing_states.js';
import { encodeProof, parseProof } from '../src/proofs.js';
import { confirming, confirmOf, FINGERPRINT, joining, offerTo, open, otherOwner, owner, ownHalf, PLAIN, posted, scientist, signer } from './pairing_kit.js';
import { PAIRING } from './vectors.js';

const BINARY = ['pub', 'nonce', 'own_nonce', 'peer_nonce', 'fp', 'th', 'audit_head', 'challenge'];

/** The input of a signature vector. @param {any} vector */
async function inputOf({ label, fields }) {
  /** @type {any} */
  const ready = {};
  for (const [name, value] of Object.entries(fields)) {
    ready[name] = name === 'caps' ? utf8(/** @type {string} */ (value)) : BINARY.includes(name) ? fromHex(/** @type {string} */ (value)) : value;
  }
  if (label === 'duet/reg/v1') return registerInput(ready);
  if (label === 'duet/confirm/v1') return confirmInput(ready);
  const kinds = /** @type {Record<string, string>} */ ({ 'duet/join/v1': 'join', 'duet/bye/v1': 'bye' });
  return signedInput({ kind: kinds[label] ?? ready.kind, ...ready });
}

for (const vector of PAIRING.signatures) {
  test(`the input and the signature of ${vector.name} are these`, async () => {
    const input = await inputOf(vector);
    assert.equal(toHex(input), vector.input);
    const key = await signer(PAIRING.identities[vector.signer]);
    assert.equal(toHex(await key.sign(input)), vector.sig);
    assert.equal(await verify(key.pub, input, fromHex(vector.sig)), true);
  });
}

test('the transcript hashes are these', async () => {
  const inputs = ['join', 'offer', 'answer'].map((name) => fromHex(PAIRING.signatures.find((/** @type {any} */ v) => v.name === name).input));
  for (const [count, name] of [[1, 'th_join'], [2, 'th_join_offer'], [3, 'th']])
    assert.equal(toHex(await transcriptHash(...inputs.slice(0, Number(count)))), PAIRING.transcript[String(name)]);
});

for (const { name, pub, input, sig } of PAIRING.must_not_verify) {
  test(`a signature does not verify: ${name}`, async () => {
    const key = pub.length === 66 ? fromHex(pub) : fromHex(`01${pub}`);
    assert.equal(await verify(key, fromHex(input), fromHex(sig)), false);
  });
}

// bodies

test('a body with other keys, types or lengths is none', async () => {
  const { join } = await joining();
  const good = JSON.parse(new TextDecoder().decode(encodeBody(join)));
  assert.deepEqual(parseBody(utf8(JSON.stringify(good))), join);
  const changes = [{ kind: 'nothing' }, { kind: '__proto__' }, { nonce: 'AAAA' }, { attempt: -1 }, { attempt: 1.5 }, { attempt: '1' }, { attempt: 2 ** 53 }, { pub: `${good.pub}=` }, { extra: 1 }, { client_id: owner.id }, { session_id: good.session_id.toLowerCase() }];
  for (const change of changes) assert.equal(parseBody(utf8(JSON.stringify({ ...good, ...change }))), null, JSON.stringify(change));
  const { sig: _, ...without } = good;
  const text = JSON.stringify(good);
  const texts = [JSON.stringify(without), text.replace('{', '{"attempt":1,'), `${text} x`, `[${text}]`, text.replace(/"attempt":\d+/, '"attempt":NaN'), '', 'null'];
  for (const other of texts) assert.equal(parseBody(utf8(other)), null, other);
  assert.equal(parseBody(Uint8Array.of(0xff, 0xfe)), null);
});

// offers

test('an offer of the session ID that was told is answered, once, and the same bytes again get the same answer', async () => {
  const { machine, join } = await joining();
  assert.equal(join.client_id, scientist.id);
  const body = encodeBody(await offerTo(join));
  await machine.received(owner.id, body, 101);
  const [offered, made] = machine.takeEffects();
  assert.deepEqual([offered?.kind, made?.kind], ['offered', 'makePeer']);
  assert.equal(/** @type {any} */ (made).offer, PLAIN.rebuilt);
  await machine.gathered(1, ownHalf(), 102);
  const answer = posted(machine);
  assert.equal(answer.kind, 'answer');
  assert.equal(await verify(scientist.pub, await signedInput(answer), answer.sig), true);
  await machine.received(owner.id, body, 103);
  assert.deepEqual(posted(machine), answer);
  await machine.received(owner.id, encodeBody(await offerTo(join, { own_nonce: fromHex('0c'.repeat(16)) })), 104);
  assert.deepEqual(machine.takeEffects(), []);
});

/** @type {Record<string, [object, any?]>} */
const BAD = {
  "another key's signature": [{}, otherOwner],
  "another owner's key": [{ pub: otherOwner.pub }, otherOwner],
  'another session': [{ session_id: otherOwner.id }],
  'another client': [{ client_id: 'CW1WAP4K5412C5NA66R0MAN113V5GYQ5' }],
  'another fingerprint than its SDP': [{ fp: fromHex('f1'.repeat(32)) }],
  'another setup than its SDP': [{ setup: 'active' }],
  'a second fingerprint': [{ sdp: PLAIN.sdp.replace(/(a=fingerprint[^\r]*\r\n)/, '$1$1') }],
  'a second media section': [{ sdp: `${PLAIN.sdp}m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n` }],
  'capabilities that are none': [{ caps: utf8('{}') }],
};
for (const [why, [changes, key]] of Object.entries(BAD)) {
  test(`an offer is a bad proof, and no peer is made: ${why}`, async () => {
    const { machine, join } = await joining();
    await machine.received(owner.id, encodeBody(await offerTo(join, changes, key)), 101);
    assert.deepEqual(machine.takeEffects(), [{ kind: 'rejected', count: 1 }]);
    assert.equal(machine.state, 'joining');
  });
}

test('every signed field of an offer is under its signature', async () => {
  const { machine, join } = await joining();
  const good = await offerTo(join);
  const others = {
    own_nonce: fromHex('0b'.repeat(16)), peer_nonce: fromHex('0b'.repeat(16)), attempt: join.attempt + 1,
    fp: fromHex('f2'.repeat(32)), setup: 'passive', sdp: PLAIN.sdp.replace('ice-ufrag:', 'ice-ufrag:x'), caps: utf8('{"v":1,"sw":"x","max_msg":1,"ops":"","conf":1}'),
  };
  let rejected = 0;
  for (const [name, value] of Object.entries(others).slice(0, 4)) {
    await machine.received(owner.id, encodeBody({ ...good, [name]: value }), 101);
    rejected += 1;
    assert.equal(machine.rejected, rejected, name);
  }
  machine.rejected = 0;
  for (const [name, value] of Object.entries(others).slice(4)) {
    await machine.received(owner.id, encodeBody({ ...good, [name]: value }), 101);
    assert.equal(machine.state, 'joining', name);
  }
  assert.equal(machine.rejected, 3);
});

test('a late offer and a message of another sender change nothing', async () => {
  const { machine, join } = await joining();
  for (const change of [{ peer_nonce: fromHex('00'.repeat(16)) }, { attempt: join.attempt - 1 }])
    await machine.received(owner.id, encodeBody(await offerTo(join, change)), 101);
  await machine.received(otherOwner.id, encodeBody(await offerTo(join)), 101);
  await machine.received(owner.id, encodeBody(join), 101);
  await machine.received(owner.id, utf8('{}'), 101);
  assert.deepEqual([machine.takeEffects(), machine.dropped, machine.rejected], [[], 5, 0]);
});

test('the fifth bad proof ends the wait', async () => {
  const { machine, join } = await joining();
  for (let i = 0; i < 5; i++) await machine.received(owner.id, encodeBody(await offerTo(join, { own_nonce: fromHex(`0${i}`.repeat(16)) }, otherOwner)), 101);
  const end = machine.takeEffects().at(-1);
  assert.equal(end?.kind === 'ended' && end.error.code, 'PeerProofError');
  assert.equal(machine.state, 'idle');
});

test('an owner of another version is told so, under a signature', async () => {
  const { machine, join } = await joining();
  const offer = await offerTo(join, { caps: utf8('{"v":2,"sw":"x","max_msg":1,"ops":"","conf":1}') });
  await machine.received(owner.id, encodeBody(offer), 101);
  const [post, end] = machine.takeEffects();
  const bye = /** @type {any} */ (parseBody(/** @type {any} */ (post).body));
  assert.equal(bye.reason, 'version');
  assert.equal(toHex(bye.th), toHex(await transcriptHash(await signedInput(join), await signedInput(offer))));
  assert.equal(await verify(scientist.pub, await signedInput(bye), bye.sig), true);
  assert.equal(/** @type {any} */ (end).error.code, 'VersionMismatch');
});

// proofs

test("the owner's confirm and ready open the link; ours is signed over the same transcript", async () => {
  const { machine, effects, th } = await open();
  const proofs = effects.flatMap((effect) => (effect.kind === 'sendProof' ? [parseProof(effect.data)] : []));
  const [confirm, ready] = /** @type {any[]} */ (proofs);
  assert.equal(await verify(scientist.pub, confirmInput({ role: 'scientist', th, audit_head: new Uint8Array(0) }), confirm.sig), true);
  assert.deepEqual(ready, { t: 'ready', th });
  assert.equal(effects.at(-1)?.kind, 'linkOpened');
  assert.equal(machine.liveState, 'open');
});

test('a certificate that is not the signed one closes the peer and counts as a bad proof', async () => {
  const { machine, join } = await joining();
  await machine.received(owner.id, encodeBody(await offerTo(join)), 101);
  await machine.gathered(1, ownHalf(), 102);
  machine.takeEffects();
  await machine.connected(1, fromHex('f1'.repeat(32)), 103);
  assert.deepEqual(machine.takeEffects().map(({ kind }) => kind), ['rejected', 'closePeer']);
  assert.deepEqual([machine.rejected, machine.state], [1, 'joining']);
});

/** @type {Record<string, (messages: any[]) => Promise<[number, Uint8Array]>>} */
const INTRUSIONS = {
  "another key's confirm": async (messages) => [0, await confirmOf(messages, {}, otherOwner)],
  'a confirm over another transcript': async (messages) => [0, await confirmOf(messages, { th: new Uint8Array(32) })],
  'a confirm over a part of it': async (messages) => [0, await confirmOf(messages.slice(0, 2))],
  'our own confirm': async (messages) => [0, await confirmOf(messages, { role: 'scientist' }, scientist)],
  'a ready first': async (messages) => [0, encodeProof({ t: 'ready', th: await transcriptHash(...(await Promise.all(messages.map(signedInput)))) })],
  'an operation': async () => [0, fromHex('92009240' + '01')],
  'a confirm on another channel': async (messages) => [1, await confirmOf(messages)],
  'bytes after a confirm': async (messages) => [0, new Uint8Array([...(await confirmOf(messages)), 0])],
  nothing: async () => [0, new Uint8Array(0)],
};
for (const [why, make] of Object.entries(INTRUSIONS)) {
  test(`before the partner is verified the peer is closed: ${why}`, async () => {
    const { machine, messages } = await confirming();
    machine.takeEffects();
    await machine.frame(1, ...(await make(messages)), 104);
    const kinds = machine.takeEffects().map(({ kind }) => kind);
    assert.deepEqual(kinds, ['attemptFailed', 'closePeer']);
    assert.deepEqual([machine.state, machine.liveState], ['joining', 'none']);
  });
}

test('a second proof closes an open link, and other frames are none of its business', async () => {
  const { machine, messages, th } = await open();
  await machine.frame(1, 0, fromHex('920092420' + '1'), 106);
  assert.deepEqual(machine.takeEffects(), []);
  for (const again of [await confirmOf(messages), encodeProof({ t: 'ready', th })]) {
    const { machine: fresh } = await open();
    await fresh.frame(1, 0, again, 106);
    assert.deepEqual(fresh.takeEffects().map(({ kind }) => kind), ['linkClosed', 'ended']);
  }
});

// life

test('a join, an offer and a foreign bye do not touch an open link', async () => {
  const { machine, messages } = await open();
  await machine.received(owner.id, encodeBody(messages[1]), 107);
  await machine.received(owner.id, encodeBody(messages[0]), 107);
  assert.deepEqual([machine.takeEffects(), machine.liveState], [[], 'open']);
});

test('a signed bye over the whole transcript ends an open link; one over a part of it does not', async () => {
  const { machine, messages, th } = await open();
  const part = await transcriptHash(await signedInput(messages[0]));
  for (const [hash, ends] of /** @type {[any, boolean][]} */ ([[part, false], [th, true]])) {
    const unsigned = { kind: 'bye', role: 'owner', session_id: owner.id, client_id: scientist.id, pub: owner.pub, th: hash, reason: 'closed', sig: new Uint8Array(64) };
    const sig = await owner.sign(await signedInput(/** @type {any} */ (unsigned)));
    await machine.received(owner.id, encodeBody(/** @type {any} */ ({ ...unsigned, sig })), 108);
    const last = machine.takeEffects().at(-1);
    assert.equal(last?.kind === 'ended' && last.error.code, ends ? 'PartnerLeft' : false);
  }
});

test('after a loss it joins again by itself, with a new nonce and a higher attempt', async () => {
  const { machine, messages } = await open();
  await machine.lost(1, new DuetError('ConnectionLost', 'cut'), 200);
  const effects = machine.takeEffects();
  const join = /** @type {any} */ (effects.flatMap((effect) => (effect.kind === 'post' ? [parseBody(effect.body)] : []))[0]);
  assert.ok(join.attempt > messages[0].attempt);
  assert.notEqual(toHex(join.nonce), toHex(messages[0].nonce));
  assert.equal(machine.state, 'joining');
});

test('a join is repeated byte by byte, and gets a new attempt after a minute', async () => {
  const { machine, join } = await joining();
  let now = 100;
  const seen = [];
  while (now < 160) {
    now = Math.min(machine.nextTick(), 160);
    await machine.tick(now);
    seen.push(...machine.takeEffects());
  }
  const bodies = seen.flatMap((effect) => (effect.kind === 'post' ? [parseBody(effect.body)] : []));
  assert.ok(bodies.length >= 6 && bodies.length <= 9, `${bodies.length}`);
  assert.deepEqual(bodies[0], join);
  assert.ok(/** @type {any} */ (bodies.at(-1)).attempt > join.attempt);
  assert.ok(seen.some(({ kind }) => kind === 'noAnswerYet'));
});

test('the third attempt in a row that fails after an offer ends the wait', async () => {
  const { machine, join: first } = await joining();
  let join = first;
  let now = 101;
  for (let i = 1; i <= 3; i++) {
    await machine.received(owner.id, encodeBody(await offerTo(join)), now);
    now += 21;
    await machine.tick(now);
    const effects = machine.takeEffects();
    if (i === 3) {
      const end = effects.find(({ kind }) => kind === 'ended');
      assert.equal(/** @type {any} */ (end).error.code, 'ConnectFailed');
      break;
    }
    assert.ok(effects.some(({ kind }) => kind === 'attemptFailed'));
    now = machine.nextTick();
    await machine.tick(now);
    join = posted(machine);
  }
  assert.equal(machine.state, 'idle');
});

test('leaving says a signed goodbye over what the owner surely has', async () => {
  const { machine, messages } = await confirming();
  machine.takeEffects();
  await machine.close('closed', 110);
  const bye = posted(machine);
  assert.equal(toHex(bye.th), toHex(await transcriptHash(...(await Promise.all(messages.map(signedInput))))));
  assert.equal(await verify(scientist.pub, await signedInput(bye), bye.sig), true);
});

test('a browser that shows no certificate relies on its own check, and confirms', async () => {
  const { machine, join } = await joining();
  await machine.received(owner.id, encodeBody(await offerTo(join)), 101);
  await machine.gathered(1, ownHalf(), 102);
  await machine.connected(1, null, 103);
  assert.equal(machine.state, 'confirming');
  assert.ok(FINGERPRINT.length === 32);
});

test('the tables have a cell for each event that can come from outside, in each state', () => {
  const states = ['idle', 'joining', 'answering', 'confirming'];
  const outside = ['begin', 'resend', 'offer', 'offerSame', 'offerBad', 'version', 'failed', 'bye', 'close'];
  for (const event of outside) assert.deepEqual(Object.keys(/** @type {any} */ (SCIENTIST)[event]), states, event);
  assert.deepEqual(Object.keys(SCIENTIST.confirm), ['confirming']);
  assert.deepEqual(Object.keys(LIVE.gone), ['none', 'verified', 'open']);
});
