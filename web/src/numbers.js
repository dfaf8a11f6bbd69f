// @ts-check
/**
 * A released value as plain numbers and texts, and which views suit it. No document here.
 *
 * Values: number, bigint, boolean, string, null, Array, Map and Tensor (`dtype`, `shape`, `data`).
 */

/** @typedef {'value'|'table'|'line'|'bars'|'histogram'|'image'} View */

export const TABLE_ROWS = 200;
export const TABLE_COLUMNS = 40;
export const IMAGE_SIDE = 1024; // pixels
const BINS = 20;
const TEXT_LENGTH = 20_000;

/** @param {any} value */
export const isTensor = (value) => (
  typeof value === 'object' && value !== null && Array.isArray(value.shape) && 'data' in value);

/**
 * @param {any} value
 * @returns {number|null} a number of this side, null if it is none
 */
function numberOf(value) {
  if (typeof value === 'number') return value;
  if (typeof value === 'bigint') return Number(value);
  if (typeof value === 'boolean') return Number(value);
  if (isTensor(value) && value.data.length === 1) return Number(value.data[0]);
  if (typeof value === 'object' && value !== null && typeof value.value === 'number') return value.value;
  return null;
}

/**
 * The shape and the numbers of a tensor or of a list of numbers; null for anything else.
 * @param {any} value
 * @returns {{shape: number[], numbers: number[]}|null}
 */
export function series(value) {
  if (isTensor(value)) return { shape: value.shape, numbers: Array.from(value.data, Number) };
  const items = Array.isArray(value) ? value : Array.isArray(value?.items) ? value.items : null;
  if (items === null || items.length === 0) return null;
  const numbers = items.map(numberOf);
  if (numbers.every((/** @type {number|null} */ n) => n !== null)) return { shape: [items.length], numbers };
  const rows = items.map(series);
  if (!rows.every((/** @type {any} */ row) => row !== null && row.shape.length === 1 && row.shape[0] === rows[0].shape[0])) return null;
  return { shape: [rows.length, rows[0].shape[0]], numbers: rows.flatMap((/** @type {any} */ row) => row.numbers) };
}

/** Whether an expression gives counts, so that bars are its picture. @param {string} text */
export const isCounts = (text) => /\b(histc|bincount)\(/.test(text);

/**
 * The views of a value, the best one first. The text of the expression tells counts from values.
 * @param {any} value
 * @param {string} text
 * @returns {View[]}
 */
export function viewsOf(value, text = '') {
  const found = series(value);
  if (found === null || found.numbers.length <= 1) return ['value'];
  const { shape, numbers } = found;
  const wide = shape.filter((n) => n > 1);
  if (wide.length <= 1) {
    /** @type {View[]} */
    const views = ['line', 'bars', 'table'];
    if (numbers.length > BINS) views.splice(1, 1, 'histogram');
    if (isCounts(text)) return ['bars', 'line', 'table'];
    return numbers.length > 3 ? views : ['table', 'bars'];
  }
  if (imageSize(shape)) return ['table', 'image', 'histogram'].sort((a, b) => rank(a, shape) - rank(b, shape)).map((v) => /** @type {View} */ (v));
  return ['table', 'histogram'];
}

/** @param {string} view @param {number[]} shape */
function rank(view, shape) {
  const size = imageSize(shape);
  const isPicture = size !== null && size.height >= 8 && size.width >= 8;
  return view === 'image' ? (isPicture ? 0 : 2) : view === 'table' ? 1 : 3;
}

/**
 * How a shape is read as a picture: H × W, C × H × W or H × W × C, leading ones dropped.
 * @param {number[]} shape
 * @returns {{height: number, width: number, channels: number, isPlanar: boolean}|null}
 */
export function imageSize(shape) {
  let sizes = shape;
  while (sizes.length > 2 && sizes[0] === 1) sizes = sizes.slice(1);
  let channels = 1;
  let isPlanar = true;
  let [height = 0, width = 0] = sizes;
  if (sizes.length === 3 && sizes[0] === 3) [channels = 3, height = 0, width = 0] = sizes;
  else if (sizes.length === 3 && (sizes[2] === 3 || sizes[2] === 1)) {
    [height = 0, width = 0, channels = 1] = sizes;
    isPlanar = false;
  } else if (sizes.length !== 2) return null;
  const isFit = height > 1 && width > 1 && height <= IMAGE_SIDE && width <= IMAGE_SIDE;
  return isFit ? { height, width, channels, isPlanar } : null;
}

/**
 * Pixels of a picture, RGBA. The range of the values is stretched to black and white.
 * @param {number[]} numbers
 * @param {number[]} shape
 */
export function pixels(numbers, shape) {
  const size = imageSize(shape);
  if (size === null) return null;
  const { height, width, channels, isPlanar } = size;
  const { least, most } = extent(numbers);
  const span = most - least || 1;
  const data = new Uint8ClampedArray(height * width * 4);
  for (let i = 0; i < height * width; i += 1) {
    for (let c = 0; c < 3; c += 1) {
      const channel = channels === 1 ? 0 : c;
      const place = isPlanar ? channel * height * width + i : i * channels + channel;
      data[i * 4 + c] = (((numbers[place] ?? least) - least) / span) * 255;
    }
    data[i * 4 + 3] = 255;
  }
  return { height, width, data };
}

/** @param {number[]} numbers */
export function extent(numbers) {
  let least = Infinity;
  let most = -Infinity;
  let sum = 0;
  let count = 0;
  for (const n of numbers) {
    if (!Number.isFinite(n)) continue;
    if (n < least) least = n;
    if (n > most) most = n;
    sum += n;
    count += 1;
  }
  return count ? { least, most, mean: sum / count, count } : { least: 0, most: 0, mean: NaN, count };
}

/**
 * Counts of equal bins over the range of the values.
 * @param {number[]} numbers
 * @param {number} bins
 */
export function binned(numbers, bins = BINS) {
  const { least, most } = extent(numbers);
  const width = (most - least) / bins || 1;
  const counts = Array.from({ length: bins }, () => 0);
  for (const n of numbers) {
    const bin = Math.min(bins - 1, Math.floor((n - least) / width));
    if (Number.isFinite(n)) counts[bin] = (counts[bin] ?? 0) + 1;
  }
  return { counts, least, most: least + width * bins, width };
}

/**
 * Round marks that cover a range: steps of 1, 2 or 5 times a power of ten.
 * @param {number} least
 * @param {number} most
 * @param {number} about how many
 */
export function ticks(least, most, about = 5) {
  if (!(most > least)) return [least];
  const rough = (most - least) / about;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough) ?? rough;
  const first = Math.ceil(least / step - 1e-9);
  const last = Math.floor(most / step + 1e-9);
  const found = [];
  for (let i = first; i <= last && found.length < 50; i += 1) found.push(Number((i * step).toPrecision(12)));
  return found;
}

/**
 * A number for people: at most six digits that count, as Python writes inf and nan.
 * @param {number|bigint} n
 */
export function shown(n) {
  if (typeof n === 'bigint' || Number.isInteger(n)) {
    const text = String(n);
    return text.length > 15 ? Number(n).toExponential(5) : text.replace('-', '−');
  }
  if (Number.isNaN(n)) return 'nan';
  if (!Number.isFinite(n)) return n > 0 ? 'inf' : '−inf';
  const text = Math.abs(n) >= 1e6 || Math.abs(n) < 1e-4 ? n.toExponential(4) : String(Number(n.toPrecision(6)));
  return text.replaceAll('-', '−');
}

/**
 * A value as one text.
 * @param {any} value
 * @returns {string}
 */
export function valueText(value) {
  const text = plain(value, 0);
  return text.length > TEXT_LENGTH ? `${text.slice(0, TEXT_LENGTH)}…` : text;
}

/** @param {any} value @param {number} depth @returns {string} */
function plain(value, depth) {
  if (value === null || value === undefined) return 'None';
  if (value === true) return 'True';
  if (value === false) return 'False';
  if (typeof value === 'string') return depth ? JSON.stringify(value) : value;
  if (typeof value === 'number' || typeof value === 'bigint') return shown(value);
  if (depth > 6) return '…';
  if (isTensor(value)) {
    if (value.data.length === 1) return shown(Number(value.data[0]));
    return `[${Array.from(value.data.slice(0, 50), (n) => shown(Number(n))).join(', ')}${value.data.length > 50 ? ', …' : ''}]`;
  }
  const pairs = value instanceof Map ? [...value] : Array.isArray(value.pairs) ? value.pairs : null;
  if (pairs) {
    return `{${pairs.map((/** @type {any[]} */ [k, v]) => `${plain(k, depth + 1)}: ${plain(v, depth + 1)}`).join(', ')}}`;
  }
  const items = Array.isArray(value) ? value : Array.isArray(value.items) ? value.items : null;
  if (items) return `[${items.map((/** @type {any} */ item) => plain(item, depth + 1)).join(', ')}]`;
  const n = numberOf(value);
  return n === null ? String(value) : shown(n);
}

/**
 * Rows of a table, cut to what people read.
 * @param {{shape: number[], numbers: number[]}} found
 */
export function tableOf({ shape, numbers }) {
  const columns = shape.length < 2 ? 1 : shape.at(-1) ?? 1;
  const rows = columns ? numbers.length / columns : 0;
  const cells = [];
  for (let r = 0; r < Math.min(rows, TABLE_ROWS); r += 1) {
    cells.push(numbers.slice(r * columns, r * columns + Math.min(columns, TABLE_COLUMNS)).map(shown));
  }
  return { rows, columns, cells, isCut: rows > TABLE_ROWS || columns > TABLE_COLUMNS };
}

/**
 * One sentence about a series: the text alternative of its picture.
 * @param {string} what
 * @param {number[]} numbers
 */
export function described(what, numbers) {
  const { least, most, mean, count } = extent(numbers);
  if (!count) return `${what} of ${numbers.length} values, none of them finite.`;
  return `${what} of ${numbers.length} values: first ${shown(numbers[0] ?? NaN)}, last ${shown(numbers.at(-1) ?? NaN)}, `
    + `least ${shown(least)}, most ${shown(most)}, mean ${shown(mean)}.`;
}
