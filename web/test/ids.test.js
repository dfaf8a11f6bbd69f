// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { concat, fromHex, toHex, b64decode, b64encode } from '../src/bytes.js';
import { ALPHABET, checkPub, grouped, idOf, isId, KeyRefused, makeId, parse, textOf } from '../src/ids.js';
import { PAIRING } from './vectors.js';

for (const [name, { role, pub, wire_pub: wirePub, id }] of Object.entries(/** @type {any} */ (PAIRING.identities))) {
  test(`the key of ${name} has this ID`, async () => {
    assert.equal(await makeId(role, fromHex(pub)), id);
    assert.equal(await idOf(role, b64decode(wirePub)), id);
    assert.equal(isId(id, role), true);
  });
}

for (const { input, role, result, id, note } of PAIRING.normalisation) {
  test(`an ID typed as it is in "${note}" gives ${result}`, () => {
    const parsed = parse(input, role);
    if (result === 'ok') assert.deepEqual(parsed, { id });
    else assert.equal(/** @type {any} */ (parsed).code, result);
  });
}

for (const [why, keys] of Object.entries(/** @type {any} */ (PAIRING.rejected_public_keys))) {
  test(`keys are refused: ${why}`, () => {
    for (const key of keys) {
      const hex = typeof key === 'string' ? key : key.pub;
      assert.throws(() => checkPub(concat(Uint8Array.of(1), fromHex(hex))), KeyRefused, hex);
    }
  });
}

test('every single error and every swap of neighbours is found', () => {
  const { id } = PAIRING.identities.owner;
  for (let at = 0; at < 32; at++) {
    for (const other of ALPHABET) {
      if (other === id[at]) continue;
      assert.ok('code' in parse(id.slice(0, at) + other + id.slice(at + 1), 'owner'));
    }
    const swapped = id.slice(0, at) + (id[at + 1] ?? '') + id[at] + id.slice(at + 2);
    if (at < 31 && swapped !== id) assert.ok('code' in parse(swapped, 'owner'), swapped);
  }
});

test('a person reads what is wrong', () => {
  const { id: session } = PAIRING.identities.owner;
  const { id: client } = PAIRING.identities.scientist;
  const told = (/** @type {string} */ text) => textOf(/** @type {any} */ (parse(text, 'owner')), 'session ID');
  assert.equal(grouped(session), 'SGX2-NCYH-G6RX-HHGM-FG3G-D2RP-Q8KD-AEZ0');
  assert.equal(told(session.slice(1)), 'Not a session ID: 31 of 32 characters.');
  assert.equal(told('SGX2U'), 'Not a session ID: character 5 cannot occur in one.');
  assert.equal(told(`${session.slice(0, 31)}1`), 'Not a session ID: a character is wrong or two are swapped. Compare and try again.');
  assert.equal(told(client), "That is a client ID (it starts with C); your partner's session ID starts with S.");
});

test('base64url has one text for each value', () => {
  assert.equal(b64encode(Uint8Array.of(255, 254)), '__4');
  assert.equal(toHex(b64decode('__4')), 'fffe');
  for (const text of ['__5', '__4=', 'a', '+/8', ' __4', '__4\n']) assert.throws(() => b64decode(text), RangeError, text);
});
