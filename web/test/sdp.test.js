// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { fromHex } from '../src/bytes.js';
import { buildSdp, isUsableAddress, ownDescription, parseSdp, SdpError } from '../src/sdp.js';
import { PAIRING } from './vectors.js';

/** @param {any} given @param {string} [text] */
function read({ sdp, kind, fp, setup, loopback }, text = sdp) {
  return parseSdp(text, { kind, fp: fromHex(fp), setup, loopback });
}

/** @param {string} code */
const breaks = (code) => (/** @type {unknown} */ error) => error instanceof SdpError && error.code === code;

for (const given of PAIRING.sdp) {
  test(`an SDP with ${given.name} gives ${given.result}`, () => {
    if (given.result !== 'ok') assert.throws(() => read(given), breaks(given.result));
    else {
      assert.equal(buildSdp(read(given)), given.rebuilt);
      assert.equal(buildSdp(read(given, given.rebuilt)), given.rebuilt);
    }
  });
}

test('a text of the largest size is read, and one byte more is refused', () => {
  const [plain] = PAIRING.sdp;
  for (const { bytes, result } of PAIRING.sdp_size) {
    const room = bytes - plain.sdp.length;
    const lines = Math.floor(room / 100) - 1;
    const padding = `a=x:${'y'.repeat(94)}\r\n`.repeat(lines) + `a=x:${'y'.repeat(94 + (room % 100))}\r\n`;
    assert.equal(plain.sdp.length + padding.length, bytes);
    if (result === 'ok') assert.equal(buildSdp(read(plain, plain.sdp + padding)), plain.rebuilt);
    else assert.throws(() => read(plain, plain.sdp + padding), breaks(result));
  }
});

test('addresses that would aim checks at this machine or at special services are not used', () => {
  const never = ['0.0.0.0', '169.254.1.1', '224.0.0.1', '255.255.255.255', '::', '::1.2.3.4', 'fe80::1', 'febf::1', 'ff02::1'];
  for (const address of [...never, '::ffff:10.0.0.1', '64:ff9b::1', '64:ff9b::a00:1', '010.0.0.1', '1.2.3', '1.2.3.4.5', 'fe80::1%1', 'example.org', '1::2::3', ':::', '12345::', '1:2:3:4:5:6:7:8:9', ''])
    assert.equal(isUsableAddress(address, true), false, address);
  for (const address of ['10.0.0.1', '192.168.1.1', '2001:db8::1', '64:ff9b:1::1', '1:2:3:4:5:6:7:8', '::2:3:4:5:6:7:8', 'fd00::1'])
    assert.equal(isUsableAddress(address, false), true, address);
  for (const address of ['127.0.0.1', '127.255.0.1', '::1']) {
    assert.equal(isUsableAddress(address, true), true);
    assert.equal(isUsableAddress(address, false), false);
  }
});

test("a browser's own answer is cut down to what the other side accepts", () => {
  const candidates = Array.from({ length: 40 }, (_, i) => `a=candidate:${i} 1 udp 2113937151 192.168.7.${i + 1} 50000 typ host generation 0 network-cost 999`);
  const text = [
    ...['v=0', 'o=- 4611731400430051336 2 IN IP4 127.0.0.1', 's=-', 't=0 0', 'a=group:BUNDLE 0', 'a=extmap-allow-mixed', 'a=msid-semantic: WMS'],
    ...['m=application 50000 UDP/DTLS/SCTP webrtc-datachannel', 'c=IN IP4 192.168.7.1', 'a=candidate:9 1 tcp 1518280447 192.168.7.1 9 typ host tcptype active generation 0'],
    ...candidates,
    ...['a=ice-ufrag:abcd', `a=ice-pwd:${'p'.repeat(24)}`, 'a=ice-options:trickle', `a=fingerprint:sha-256 ${'AB:'.repeat(31)}AB`, 'a=setup:active', 'a=mid:0', 'a=sctp-port:5000', 'a=max-message-size:262144', ''],
  ].join('\r\n');
  const own = ownDescription(text, false);
  assert.equal(own.candidates.length, 32);
  assert.equal(own.maxMessageSize, 65_536);
  assert.equal(buildSdp(parseSdp(buildSdp(own), { kind: 'answer', fp: own.fingerprint, setup: 'active', loopback: false })), buildSdp(own));
  assert.doesNotMatch(buildSdp(own), /tcp|trickle|generation/);
});
