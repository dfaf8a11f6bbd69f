// @ts-check
/** Elements from values. Text goes in as text nodes only; nothing here parses HTML. */

import { shown } from './text.js';

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, any>} [properties] attributes, and listeners as `onclick` and so on
 * @param {...(Node | string | null | false | undefined)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : String(value));
  }
  node.append(.../** @type {(Node | string)[]} */ (children.filter((child) => child || child === '')));
  return node;
}

/** The scientist's own words: isolated, so that no direction of writing leaks out. @param {string} text @param {number} max */
export function theirs(text, max) {
  return h('bdi', { class: 'theirs' }, shown(text, max));
}

/** @param {string} id @returns {HTMLElement} */
export function byId(id) {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`no element #${id}`);
  return found;
}

/**
 * Children by key, in order. A node that stays is not moved, so focus and scrolling stay where they
 * are. `make` is called for new keys, `update` for all.
 * @template T
 * @param {HTMLElement} parent
 * @param {T[]} entries
 * @param {(entry: T) => string} keyOf
 * @param {(entry: T) => HTMLElement} make
 * @param {(node: HTMLElement, entry: T) => void} update
 */
export function keep(parent, entries, keyOf, make, update) {
  const wanted = new Set(entries.map(keyOf));
  /** @type {Map<string, HTMLElement>} */
  const have = new Map();
  for (const child of /** @type {HTMLElement[]} */ ([...parent.children])) {
    const key = child.dataset.key ?? '';
    if (wanted.has(key)) have.set(key, child);
    else child.remove();
  }
  let cursor = parent.firstElementChild;
  for (const entry of entries) {
    const key = keyOf(entry);
    let node = have.get(key);
    if (!node) {
      node = make(entry);
      node.dataset.key = key;
    }
    if (node === cursor) cursor = cursor.nextElementSibling;
    else parent.insertBefore(node, cursor);
    update(node, entry);
  }
}

/** Replaces a node's content if it is about something else than before. @param {HTMLElement} node @param {string} about @param {() => (Node | string)[]} make */
export function fill(node, about, make) {
  if (node.dataset.about === about) return;
  const focused = /** @type {HTMLElement | null} */ (node.contains(document.activeElement) ? document.activeElement : null);
  const mark = focused?.dataset.mark;
  const open = new Set([...node.querySelectorAll('details[open]')].map((part) => /** @type {HTMLElement} */ (part).dataset.part));
  node.dataset.about = about;
  node.replaceChildren(...make());
  for (const part of /** @type {HTMLDetailsElement[]} */ ([...node.querySelectorAll('details')])) {
    if (open.has(part.dataset.part)) part.open = true;
  }
  if (mark) /** @type {HTMLElement | null} */ (node.querySelector(`[data-mark="${mark}"]`))?.focus();
}
