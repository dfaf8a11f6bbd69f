// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { pasted } from '../src/pasted.js';

const ID = 'SGX2NCYHG6RXHHGMFG3GD2RPQ8KDAEZ0';

test('the line of the owner gives the ID and the server that it names', () => {
  assert.deepEqual(pasted(`duet = sy.join_duet("${ID}")`), { code: ID, server: null });
  assert.deepEqual(pasted(`    duet = sy.join_duet('${ID}', network_url='http://192.168.1.20:8765')\n`), {
    code: ID, server: 'http://192.168.1.20:8765',
  });
  assert.deepEqual(pasted(`sy.join_duet( "${ID}" , url = "https://sig.example.org" )`), { code: ID, server: 'https://sig.example.org' });
});

test('a link gives its fragment, and no server', () => {
  assert.deepEqual(pasted(` https://duet.example.org/page/#${ID}\n`), { code: ID, server: null });
});

test('anything else is itself', () => {
  for (const text of [ID, '', 'join_duet(', 'https://duet.example.org/', 'sy.join_duet(target_id)', `${ID}#x`]) {
    assert.deepEqual(pasted(text), { code: text, server: null });
  }
});
