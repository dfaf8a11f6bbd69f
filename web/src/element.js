// @ts-check
/**
 * Elements of the document, made and kept. Text goes in as text only, there is no way to markup.
 *
 * `keyed` keeps the element of each item as long as its key lives and moves as little as possible,
 * so the focus stays where it is when a list grows or loses a row.
 */

const SVG = 'http://www.w3.org/2000/svg';

/** @typedef {string|number|boolean|null|undefined|((event: any) => void)} Attribute */

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, Attribute>} [attributes] `onclick` and its like are listeners; true, false
 *   and null switch an attribute
 * @param {...(Node|string|null)} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  set(made, attributes);
  made.append(...children.filter((child) => child !== null));
  return made;
}

/**
 * @param {string} tag
 * @param {Record<string, Attribute>} [attributes]
 * @param {...(Node|string)} children
 */
export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  set(made, attributes);
  made.append(...children);
  return made;
}

/** An element of index.html. @param {string} id */
export function byId(id) {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`index.html has no #${id}`);
  return found;
}

/** An icon of the sprite in index.html. @param {string} name */
export function icon(name) {
  return svg('svg', { class: 'icon', 'aria-hidden': 'true' }, svg('use', { href: `#icon-${name}` }));
}

/** Words of the other side: isolated, whatever their direction. @param {string} text */
export const foreign = (text) => element('bdi', {}, text);

/** @param {Element} target @param {Record<string, Attribute>} attributes */
export function set(target, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') target.addEventListener(name.slice(2), value);
    else if (value === false || value === null || value === undefined) target.removeAttribute(name);
    else if (target.getAttribute(name) !== String(value === true ? '' : value)) {
      target.setAttribute(name, value === true ? '' : String(value));
    }
  }
}

/** Changes a text only if it is another one: a live region then says nothing twice. @param {Element} target @param {string} text */
export function write(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

/**
 * Makes the children of `parent` stand for `items`, in their order.
 * @template T
 * @param {Element} parent
 * @param {T[]} items
 * @param {(item: T) => string} keyOf
 * @param {(item: T) => Element} make called once for each key
 * @param {(node: any, item: T) => void} update called when the item is not the same as before
 * @param {(a: T, b: T) => boolean} isSame
 */
export function keyed(parent, items, keyOf, make, update, isSame = Object.is) {
  const kept = /** @type {Map<string, {node: Element, item: T}>} */ (KEPT.get(parent) ?? new Map());
  const next = new Map();
  for (const item of items) {
    const key = keyOf(item);
    const old = kept.get(key);
    const node = old?.node ?? make(item);
    if (!old || !isSame(old.item, item)) update(node, item);
    next.set(key, { node, item });
  }
  for (const [key, { node }] of kept) if (!next.has(key)) node.remove();
  let place = parent.firstElementChild;
  for (const { node } of next.values()) {
    if (place !== null && node === place) place = place.nextElementSibling;
    else parent.insertBefore(node, place);
  }
  KEPT.set(parent, next);
}

/** @type {WeakMap<Element, Map<string, any>>} */
const KEPT = new WeakMap();
