// @ts-check
/**
 * Text of the workbench into tokens. Python's words and layout, as far as the language goes
 * (docs/web-workbench.md): indentation becomes `indent` and `dedent`, and inside brackets a new
 * line is only a space.
 */

export const MAX_SOURCE = 20_000; // characters of one script
const MAX_LITERAL = 400; // characters of one number

/**
 * @typedef {'name'|'int'|'float'|'string'|'op'|'newline'|'indent'|'dedent'|'end'} TokenKind
 * @typedef {{kind: TokenKind, text: string, at: number, end: number, value?: number|bigint|string}} Token
 */

/** A mistake in the text, with the place where it is. */
export class ExpressionError extends Error {
  /**
   * @param {string} message a sentence
   * @param {number} at place of the first wrong character
   * @param {number} [end] place behind the last one
   * @param {string} [hint] what to write instead
   */
  constructor(message, at, end = at + 1, hint = '') {
    super(message);
    this.name = 'ExpressionError';
    this.at = at;
    this.end = Math.max(end, at + 1);
    this.hint = hint;
  }
}

const OPERATORS = [
  '**=', '//=', '...', '**', '//', '<<', '>>', '<=', '>=', '==', '!=', '+=', '-=', '*=', '/=',
  '%=', '@=', '&=', '|=', '^=', '->', ':=', '+', '-', '*', '/', '%', '@', '&', '|', '^', '~',
  '<', '>', '=', '(', ')', '[', ']', '{', '}', ',', ':', '.', ';',
];
const OPENING = '([{';
const CLOSING = ')]}';
const ESCAPES = new Map([
  ['n', '\n'], ['t', '\t'], ['r', '\r'], ['\\', '\\'], ["'", "'"], ['"', '"'],
]);
const NUMBER = /(?:\d[\d_]*(?:\.[\d_]*)?|\.\d[\d_]*)(?:[eE][+-]?\d+)?/y;
const NAME = /[\p{L}_][\p{L}\p{N}_]*/uy;

/**
 * All tokens of a text, `end` last.
 * @param {string} source
 * @returns {Token[]}
 */
export function tokens(source) {
  if (source.length > MAX_SOURCE) {
    throw new ExpressionError(`The text is longer than ${MAX_SOURCE} characters.`, MAX_SOURCE);
  }
  /** @type {Token[]} */
  const found = [];
  /** @type {{text: string, at: number}[]} */
  const open = [];
  const indents = [0];
  let at = 0;
  let isLineStart = true;

  /** @param {TokenKind} kind @param {number} end @param {number|bigint|string} [value] */
  const take = (kind, end, value) => {
    found.push({ kind, text: source.slice(at, end), at, end, value });
    at = end;
  };

  while (at < source.length) {
    if (isLineStart && open.length === 0) {
      const start = at;
      while (source[at] === ' ' || source[at] === '\t') at += 1;
      const next = source[at];
      if (next === undefined) break;
      if (next !== '\n' && next !== '\r' && next !== '#') {
        const blanks = source.slice(start, at);
        if (blanks.includes('\t')) {
          throw new ExpressionError('Indent with spaces, not tabs.', start, at);
        }
        indent(blanks.length, start);
      }
      isLineStart = false;
      continue;
    }
    const c = source.charAt(at);
    if (c === '\n') {
      if (open.length === 0) {
        if (!['newline', 'indent', 'dedent', 'start'].includes(found.at(-1)?.kind ?? 'start')) {
          take('newline', at + 1);
        } else at += 1;
        isLineStart = true;
      } else at += 1;
    } else if (c === ' ' || c === '\t' || c === '\r' || c === '\u00a0') {
      at += 1;
    } else if (c === '#') {
      while (at < source.length && source[at] !== '\n') at += 1;
    } else if (c === '"' || c === "'") {
      take('string', ...string(source, at));
    } else if (/\d/.test(c) || (c === '.' && /\d/.test(source[at + 1] ?? ''))) {
      number();
    } else {
      NAME.lastIndex = at;
      const name = NAME.exec(source);
      if (name) {
        const end = NAME.lastIndex;
        if (/^[fFrRbBuU]{1,2}$/.test(name[0]) && (source[end] === '"' || source[end] === "'")) {
          throw new ExpressionError('Strings have no prefix here.', at, end, 'Write "text".');
        }
        take('name', end);
        continue;
      }
      const op = OPERATORS.find((text) => source.startsWith(text, at));
      if (op === undefined) {
        const shown = String.fromCodePoint(source.codePointAt(at) ?? 0);
        throw new ExpressionError(`“${shown}” cannot stand here.`, at, at + shown.length);
      }
      if (OPENING.includes(op)) open.push({ text: op, at });
      else if (CLOSING.includes(op)) close(op);
      take('op', at + op.length);
    }
  }
  const last = open.at(-1);
  if (last) {
    throw new ExpressionError(`This “${last.text}” is never closed.`, last.at);
  }
  if (!['newline', 'start'].includes(found.at(-1)?.kind ?? 'start')) take('newline', at);
  while (indents.length > 1) {
    indents.pop();
    take('dedent', at);
  }
  take('end', at);
  return found;

  /** @param {number} width @param {number} start */
  function indent(width, start) {
    const current = () => indents.at(-1) ?? 0;
    if (width > current()) {
      indents.push(width);
      found.push({ kind: 'indent', text: '', at: start, end: at });
    }
    while (width < current()) {
      indents.pop();
      found.push({ kind: 'dedent', text: '', at, end: at });
    }
    if (width !== current()) {
      throw new ExpressionError('This line is indented like no line above it.', start, at);
    }
  }

  /** @param {string} op */
  function close(op) {
    const last = open.pop();
    if (!last) throw new ExpressionError(`“${op}” closes nothing.`, at);
    if (OPENING.indexOf(last.text) !== CLOSING.indexOf(op)) {
      throw new ExpressionError(`“${op}” does not close “${last.text}”.`, at);
    }
  }

  function number() {
    NUMBER.lastIndex = at;
    const text = NUMBER.exec(source)?.[0] ?? source.charAt(at);
    const end = at + text.length;
    NAME.lastIndex = end;
    if (NAME.test(source) || /^\.\d/.test(source.slice(end, end + 2)) || text.length > MAX_LITERAL || /_$|__|_\./.test(text)) {
      const until = Math.max(NAME.lastIndex, end);
      throw new ExpressionError(`“${source.slice(at, until).slice(0, 40)}” is not a number.`, at, until);
    }
    const plain = text.replaceAll('_', '');
    if (/[.eE]/.test(plain)) take('float', end, Number(plain));
    else {
      if (/^0\d/.test(plain)) throw new ExpressionError('A number does not start with 0.', at, end);
      const value = Number(plain);
      take('int', end, Number.isSafeInteger(value) ? value : BigInt(plain));
    }
  }
}

/**
 * @param {string} source
 * @param {number} at
 * @returns {[number, string]} place behind the string, and its value
 */
function string(source, at) {
  const quote = source.charAt(at);
  if (source.startsWith(quote.repeat(3), at)) {
    throw new ExpressionError('Strings stand between single quotes.', at, at + 3, 'Write "text".');
  }
  let value = '';
  for (let i = at + 1; i < source.length && source[i] !== '\n'; i += 1) {
    const c = source[i];
    if (c === quote) return [i + 1, value];
    if (c !== '\\') {
      value += c;
      continue;
    }
    i += 1;
    const escaped = ESCAPES.get(source[i] ?? '');
    if (escaped === undefined) {
      throw new ExpressionError('Only \\n, \\t, \\r, \\\\ and \\" are known in a string.', i - 1, i + 1);
    }
    value += escaped;
  }
  throw new ExpressionError('This string never ends.', at);
}
