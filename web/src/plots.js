// @ts-check
/** A released value as an element: text, table, line, bars, histogram or picture. */

import { element, svg } from './element.js';
import {
  binned, described, extent, isCounts, pixels, series, shown, tableOf, ticks, valueText,
} from './numbers.js';

/** @typedef {import('./numbers.js').View} View */

const WIDTH = 480;
const HEIGHT = 240;
const LEFT = 56;
const RIGHT = 12;
const TOP = 12;
const BOTTOM = 40;
const MAX_POINTS = 2000; // of a line; more are thinned

/**
 * @param {any} value
 * @param {View} view
 * @param {string} name what it is called, for the text alternative
 * @param {string} text the expression that gave it
 * @returns {Element}
 */
export function plot(value, view, name, text) {
  const found = series(value);
  if (found === null || view === 'value') return valueElement(value);
  const { shape, numbers } = found;
  if (view === 'table') return table(found, name);
  if (view === 'line') return line(numbers, name);
  if (view === 'bars') return bars(numbers, name, isCounts(text));
  if (view === 'histogram') return histogram(numbers, name);
  return picture(numbers, shape, name) ?? table(found, name);
}

/** @param {any} value */
function valueElement(value) {
  const text = valueText(value);
  return element('p', { class: text.length > 24 ? 'value long' : 'value' }, element('bdi', {}, text));
}

/** @param {{shape: number[], numbers: number[]}} found @param {string} name */
function table(found, name) {
  const { rows, columns, cells, isCut } = tableOf(found);
  const head = element('tr', {}, element('th', { scope: 'col' }, 'Row'),
    ...(cells[0] ?? []).map((_, c) => element('th', { scope: 'col' }, columns === 1 ? 'Value' : String(c))));
  const body = cells.map((row, r) => element('tr', {}, element('th', { scope: 'row' }, String(r)),
    ...row.map((text) => element('td', {}, text))));
  const caption = isCut ? `${name}, the first ${cells.length} of ${rows} rows and ${cells[0]?.length ?? 0} of ${columns} columns`
    : `${name}, ${rows} × ${columns}`;
  return element('div', { class: 'table', tabindex: '0', role: 'region', 'aria-label': `Table of ${name}` },
    element('table', {}, element('caption', {}, caption), element('thead', {}, head), element('tbody', {}, ...body)));
}

/**
 * A frame with axes and the marks inside.
 * @param {{label: string, x: [number, number], y: [number, number], xLabel: string, yLabel: string,
 *   marks: (x: (n: number) => number, y: (n: number) => number) => Element[]}} what
 */
function frame({ label, x, y, xLabel, yLabel, marks }) {
  const [x0, x1] = x;
  const [y0, y1] = y;
  const atX = (/** @type {number} */ n) => LEFT + ((n - x0) / (x1 - x0 || 1)) * (WIDTH - LEFT - RIGHT);
  const atY = (/** @type {number} */ n) => HEIGHT - BOTTOM - ((n - y0) / (y1 - y0 || 1)) * (HEIGHT - TOP - BOTTOM);
  const round = (/** @type {number} */ n) => n.toFixed(1);
  const rows = ticks(y0, y1, 4).flatMap((n) => [
    svg('line', { class: 'grid', x1: LEFT, x2: WIDTH - RIGHT, y1: round(atY(n)), y2: round(atY(n)) }),
    svg('text', { class: 'tick', x: LEFT - 8, y: round(atY(n) + 4), 'text-anchor': 'end' }, shown(n)),
  ]);
  const columns = ticks(x0, x1, 5).map((n) => (
    svg('text', { class: 'tick', x: round(atX(n)), y: HEIGHT - BOTTOM + 18, 'text-anchor': 'middle' }, shown(n))));
  return svg('svg', { class: 'plot', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img', 'aria-label': label },
    ...rows,
    ...marks(atX, atY),
    svg('line', { class: 'axis', x1: LEFT, x2: WIDTH - RIGHT, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM }),
    ...columns,
    svg('text', { class: 'label', x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 5, 'text-anchor': 'middle' }, xLabel),
    svg('text', { class: 'label', x: 0, y: 0, 'text-anchor': 'middle', transform: `translate(12 ${(HEIGHT - BOTTOM) / 2}) rotate(-90)` }, yLabel));
}

/** @param {number} least @param {number} most @returns {[number, number]} */
function padded(least, most) {
  if (least === most) return [least - 0.5, most + 0.5];
  const room = (most - least) * 0.05;
  return [least >= 0 && least < (most - least) * 0.4 ? 0 : least - room, most + room];
}

/** @param {number[]} numbers @param {string} name */
function line(numbers, name) {
  const { least, most } = extent(numbers);
  const every = Math.ceil(numbers.length / MAX_POINTS);
  return frame({
    label: described(`Line chart of ${name},`, numbers).replace(', of', ','),
    x: [0, Math.max(1, numbers.length - 1)],
    y: padded(least, most),
    xLabel: 'index',
    yLabel: 'value',
    marks: (x, y) => {
      let path = '';
      let pen = 'M';
      numbers.forEach((n, i) => {
        if (i % every && i !== numbers.length - 1) return;
        if (!Number.isFinite(n)) {
          pen = 'M';
          return;
        }
        path += `${pen}${x(i).toFixed(1)} ${y(n).toFixed(1)}`;
        pen = 'L';
      });
      const dots = numbers.length > 24 ? [] : numbers.flatMap((n, i) => (
        Number.isFinite(n) ? [svg('circle', { class: 'dot', cx: x(i).toFixed(1), cy: y(n).toFixed(1), r: 3 })] : []));
      return [svg('path', { class: 'line', d: path }), ...dots];
    },
  });
}

/** @param {number[]} numbers @param {string} name @param {boolean} areCounts */
function bars(numbers, name, areCounts) {
  const { least, most } = extent(numbers);
  /** @type {[number, number]} */
  const y = [Math.min(0, least), Math.max(0, most * 1.05, least < 0 ? 0 : 1e-12)];
  return frame({
    label: described(`Bar chart of ${name},`, numbers).replace(', of', ','),
    x: [-0.5, numbers.length - 0.5],
    y,
    xLabel: areCounts ? 'bin' : 'index',
    yLabel: areCounts ? 'count' : 'value',
    marks: (x, toY) => numbers.flatMap((n, i) => (Number.isFinite(n) ? [bar(x(i - 0.46), x(i + 0.46), toY(0), toY(n))] : [])),
  });
}

/** @param {number[]} numbers @param {string} name */
function histogram(numbers, name) {
  const { counts, least, most, width } = binned(numbers);
  return frame({
    label: described(`Histogram of ${name},`, numbers).replace(', of', ','),
    x: [least, most],
    y: [0, Math.max(...counts) * 1.05],
    xLabel: 'value',
    yLabel: 'count',
    marks: (x, y) => counts.map((n, i) => bar(x(least + width * (i + 0.04)), x(least + width * (i + 0.96)), y(0), y(n))),
  });
}

/** @param {number} x0 @param {number} x1 @param {number} y0 @param {number} y1 */
function bar(x0, x1, y0, y1) {
  return svg('rect', {
    class: 'bar', x: x0.toFixed(1), width: Math.max(0.5, x1 - x0).toFixed(1),
    y: Math.min(y0, y1).toFixed(1), height: Math.abs(y1 - y0).toFixed(1),
  });
}

/** @param {number[]} numbers @param {number[]} shape @param {string} name */
function picture(numbers, shape, name) {
  const made = pixels(numbers, shape);
  if (made === null) return null;
  const canvas = element('canvas', {
    class: 'picture', width: made.width, height: made.height, role: 'img',
    'aria-label': described(`Picture of ${name}, ${made.height} × ${made.width} pixels,`, numbers).replace(', of', ','),
  });
  const context = canvas.getContext('2d');
  if (context === null) return null;
  context.putImageData(new ImageData(made.data, made.width, made.height), 0, 0);
  const { least, most } = extent(numbers);
  return element('figure', {}, canvas,
    element('figcaption', {}, `black ${shown(least)}, white ${shown(most)}`));
}
