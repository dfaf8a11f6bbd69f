// @ts-check
/**
 * The line where expressions are typed: Enter runs, completion below it, history in it.
 *
 * The list of completions is a listbox that the text field points into (`aria-activedescendant`):
 * the focus never leaves the field. Nothing is chosen until an arrow key chose it, so Enter and Tab
 * do what they always do.
 */

import { byId, element, set, write } from './element.js';
import { isOpen } from './expression.js';

/** @typedef {import('./vocabulary.js').Completions} Completions */

const INDENT = '    ';

export class Line {
  /**
   * @param {object} page
   * @param {(source: string) => void} page.run
   * @param {(source: string, caret: number) => Completions|null} page.complete
   * @param {() => string[]} page.history
   * @param {() => boolean} page.isRunning then the button ends the script
   */
  constructor({ run, complete, history, isRunning }) {
    this.field = /** @type {HTMLTextAreaElement} */ (byId('source'));
    this.list = byId('completions');
    this.run = run;
    this.complete = complete;
    this.history = history;
    this.isRunning = isRunning;
    /** @type {Completions|null} */
    this.completions = null;
    this.chosen = -1;
    this.place = -1; // in the history; -1: what is being typed
    this.draft = '';
    this.field.addEventListener('input', () => this.#typed());
    this.field.addEventListener('keydown', (event) => this.#key(event));
    this.field.addEventListener('blur', () => this.#close());
    this.list.addEventListener('mousedown', (event) => event.preventDefault());
    byId('line').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#submit();
    });
  }

  /** Puts a text at the caret, with a space where two words would touch. @param {string} text */
  insert(text) {
    const { selectionStart: from, selectionEnd: to, value } = this.field;
    const glue = /[\p{L}\p{N}_)\]]$/u.test(value.slice(0, from)) ? ' ' : '';
    this.field.setRangeText(glue + text, from, to, 'end');
    this.#changed();
    this.field.focus();
  }

  /** @param {string} text */
  fill(text) {
    this.field.value = text;
    this.#changed();
    this.field.focus();
    this.field.setSelectionRange(text.length, text.length);
  }

  /** Gives a text back, unless something else was typed meanwhile. @param {string} text */
  restore(text) {
    if (this.field.value !== '') return;
    this.field.value = text;
    this.#changed();
  }

  clear() {
    this.field.value = '';
    this.place = -1;
    this.draft = '';
    this.#changed();
  }

  #changed() {
    // Lines of text, for browsers without field-sizing
    this.field.rows = Math.min(16, this.field.value.split('\n').length);
    byId('mistake').replaceChildren();
    this.#close();
  }

  #typed() {
    this.#changed();
    this.place = -1;
    this.#open();
  }

  #submit() {
    const source = this.field.value.trimEnd();
    if (source.trim() === '' && !this.isRunning()) return;
    this.#close();
    this.run(source);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.isComposing) return;
    const { key } = event;
    if (this.completions) {
      if (key === 'ArrowDown' || key === 'ArrowUp') return this.#choose(event, key === 'ArrowDown' ? 1 : -1);
      if (key === 'Escape') return this.#done(event, () => this.#close());
      if ((key === 'Enter' || key === 'Tab') && this.chosen >= 0) return this.#done(event, () => this.#accept(this.chosen));
    }
    if (key === ' ' && event.ctrlKey) return this.#done(event, () => this.#open());
    if (key === 'Enter') return this.#enter(event);
    if (key === 'ArrowUp' && this.#isOnFirstLine()) return this.#recall(event, 1);
    if (key === 'ArrowDown' && this.#isOnLastLine() && this.place >= 0) return this.#recall(event, -1);
    return undefined;
  }

  /** @param {Event} event @param {() => void} action */
  #done(event, action) {
    event.preventDefault();
    action();
  }

  /** @param {KeyboardEvent} event */
  #enter(event) {
    const { value, selectionStart: caret, selectionEnd } = this.field;
    const isForced = event.ctrlKey || event.metaKey;
    const isAtEnd = caret === selectionEnd && value.slice(caret).trim() === '';
    if (!isForced && (event.shiftKey || !isAtEnd && value.includes('\n') || isOpen(value.slice(0, caret)))) {
      event.preventDefault();
      const line = value.slice(value.lastIndexOf('\n', caret - 1) + 1, caret);
      const indent = /^ */.exec(line)?.[0] ?? '';
      this.field.setRangeText(`\n${indent}${/:\s*$/.test(line) ? INDENT : ''}`, caret, selectionEnd, 'end');
      this.#changed();
      return;
    }
    event.preventDefault();
    if (!this.isRunning()) this.#submit();
  }

  #isOnFirstLine() {
    return !this.field.value.slice(0, this.field.selectionStart).includes('\n');
  }

  #isOnLastLine() {
    return !this.field.value.slice(this.field.selectionEnd).includes('\n');
  }

  /** @param {Event} event @param {number} step */
  #recall(event, step) {
    const history = this.history();
    const place = this.place + step;
    if (place >= history.length || place < -1) return;
    event.preventDefault();
    if (this.place === -1) this.draft = this.field.value;
    this.place = place;
    this.field.value = place < 0 ? this.draft : history[history.length - 1 - place] ?? '';
    this.#changed();
    const end = step > 0 ? 0 : this.field.value.length;
    this.field.setSelectionRange(end, end);
  }

  #open() {
    if (this.field.selectionStart !== this.field.selectionEnd) return;
    const found = this.complete(this.field.value, this.field.selectionStart);
    if (found === null) return;
    this.completions = found;
    this.chosen = -1;
    this.list.replaceChildren(...found.items.map(({ text, detail }, i) => element('li', {
      id: `completion-${i}`, role: 'option', 'aria-selected': 'false', onclick: () => this.#accept(i),
    }, element('code', {}, text), element('span', { class: 'detail' }, detail))));
    this.list.hidden = false;
    write(byId('announce'), `${found.items.length} completions, arrow down to choose`);
  }

  #close() {
    this.completions = null;
    this.chosen = -1;
    this.list.hidden = true;
    set(this.field, { 'aria-activedescendant': null });
  }

  /** @param {Event} event @param {number} step */
  #choose(event, step) {
    event.preventDefault();
    const count = this.completions?.items.length ?? 0;
    this.chosen = this.chosen < 0 ? (step > 0 ? 0 : count - 1) : (this.chosen + step + count) % count;
    [...this.list.children].forEach((option, i) => set(option, { 'aria-selected': i === this.chosen ? 'true' : 'false' }));
    set(this.field, { 'aria-activedescendant': `completion-${this.chosen}` });
    this.list.children[this.chosen]?.scrollIntoView({ block: 'nearest' });
  }

  /** @param {number} i */
  #accept(i) {
    const { completions } = this;
    const item = completions?.items[i];
    if (!completions || !item) return;
    this.field.setRangeText(item.text, completions.from, completions.to, 'end');
    this.#changed();
    this.field.focus();
  }
}
