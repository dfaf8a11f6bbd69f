// @ts-check
/**
 * No script of a page or of the panel turns a text into markup, code or an address. What was found
 * harmless is listed with its line, so a new one is looked at before it is there.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const SCRIPTS = [
  ...readdirSync(`${ROOT}/web/src`, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.js')).map((name) => `web/src/${name}`),
  'duet_p2p/notebook/panel.js',
];
const PAGES = ['web/index.html', 'web/console.html'];

/** What parses a text as HTML, as a script or as a style. */
const PARSED = new RegExp([
  'innerHTML', 'outerHTML', 'insertAdjacentHTML', 'setHTML', 'parseHTML', 'createContextualFragment', 'DOMParser',
  'srcdoc', 'document\\.write', 'execCommand', 'cssText', 'insertRule', 'javascript:', '\\beval\\b', 'Function\\(',
  '\\bset(Timeout|Interval)\\(\\s*[\'"`]', '\\bimport\\(', 'importScripts', 'new (Shared)?Worker',
].join('|'));

/** What leads somewhere, by an attribute or by hand. */
const LEADS = /\b(href|src|srcset|formaction|formAction|ping|poster)\b\s*(:(?!:)|=(?!=|>))|\bwindow\.open\b|\blocation(\.href)?\s*=(?!=)|\blocation\.(assign|replace)\b/;

const HARMLESS = new Set([
  "return svg('svg', { class: 'icon', 'aria-hidden': 'true' }, svg('use', { href: `#icon-${name}` }));",
  'if (use) set(use, { href: `#icon-${shape}` });',
  "if (use) set(use, { href: isRunning ? '#icon-stop' : '#icon-run' });",
  'link.href = URL.createObjectURL(new Blob([text], { type }));',
  "h('a', { href: url, download: 'duet-audit.jsonl' }).click();",
]);

/** The lines of a script without its comments. @param {string} name */
function linesOf(name) {
  const code = readFileSync(`${ROOT}/${name}`, 'utf8').replaceAll(/\/\*[^]*?\*\//g, '');
  return code.split('\n').map((line) => line.replace(/(^|\s)\/\/ .*$/, '').trim());
}

test('there are scripts to look at', () => {
  assert.ok(SCRIPTS.length > 40 && SCRIPTS.includes('web/src/console/cards.js'));
});

for (const name of SCRIPTS) {
  test(`${name} makes no markup, no code and no address of a text`, () => {
    for (const line of linesOf(name)) {
      assert.doesNotMatch(line, PARSED);
      if (LEADS.test(line) && !HARMLESS.has(line)) assert.fail(`this leads somewhere: ${line}`);
    }
  });
}

for (const name of PAGES) {
  test(`${name} has no script but files of its own, and no listener in an attribute`, () => {
    const page = readFileSync(`${ROOT}/${name}`, 'utf8');
    for (const [, attributes, body] of page.matchAll(/<script\b([^>]*)>([^]*?)<\/script>/g)) {
      assert.equal(body?.trim(), '');
      assert.match(attributes ?? '', /\bsrc="\.?\/?src\/[a-z/]+\.js"/);
    }
    assert.doesNotMatch(page, /<[^>]*\son[a-z]+\s*=|"javascript:|<iframe|<object|<embed|<base|\sstyle=/i);
  });
}
