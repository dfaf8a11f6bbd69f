// @ts-check
/** A text as a QR code: one path of an SVG, black on the page's white tile in both themes. */

import { encode } from '../vendor/uqr.js';
import { svg } from './element.js';

/**
 * @param {string} text capital letters and digits make the smallest code
 * @param {string} label what the picture is, for people who do not see it
 */
export function qrCode(text, label) {
  const { data, size } = encode(text, { ecc: 'M', border: 2 });
  let path = '';
  data.forEach((row, y) => row.forEach((isDark, x) => {
    if (isDark) path += `M${x} ${y}h1v1h-1z`;
  }));
  return svg('svg', { viewBox: `0 0 ${size} ${size}`, role: 'img', 'aria-label': label, 'shape-rendering': 'crispEdges' },
    svg('path', { d: path, fill: 'currentColor' }));
}
