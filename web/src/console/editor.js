// @ts-check
/** The rule editor: fields on the one side, what the rule will do in words on the other. */

import { h } from './dom.js';
import { EMPTY, fromRequest, toRule } from './draft.js';
import { kindName, listed, shown } from './text.js';

/** @typedef {import('./draft.js').Draft} Draft */
/** @typedef {import('./messages.js').Answer} Answer */
/** @typedef {import('./messages.js').Rule} Rule */
/** @typedef {import('./messages.js').RequestView} RequestView */
/** @typedef {import('./state.js').State} State */

const PAUSE = 150;
const KINDS = ['metadata', 'aggregate', 'model', 'per_record', 'verbatim'];

export class Editor {
  /**
   * @param {HTMLDialogElement} dialog
   * @param {(question: Record<string, any>) => Promise<Answer>} ask
   * @param {(answer: Answer) => void} done
   */
  constructor(dialog, ask, done) {
    this.dialog = dialog;
    this.ask = ask;
    this.done = done;
    /** @type {Draft} */
    this.draft = EMPTY;
    /** The draft as it was last explained, with the digest of the explanation. @type {{rule: string, digest: string} | null} */
    this.explained = null;
    this.timer = 0;
    this.round = 0;
    this.names = /** @type {Record<string, string>} */ ({});
  }

  /** @param {State} state @param {RequestView | null} request */
  open(state, request) {
    this.draft = request ? fromRequest(request, state.session?.min_records ?? 10) : { ...EMPTY };
    this.explained = null;
    this.names = Object.fromEntries(state.requests.map((waiting) => [waiting.id, waiting.name || 'without a name']));
    /** @type {Map<number, string>} */
    const sources = new Map((request?.sources ?? []).map((source) => [source.id, source.name]));
    for (const object of state.objects) if (object.mine) sources.set(object.id, object.tags[0] ?? object.key.slice(0, 8));
    this.build(request, sources);
    this.dialog.showModal();
    this.explain();
  }

  /** @param {RequestView | null} request @param {Map<number, string>} sources */
  build(request, sources) {
    const draft = this.draft;
    this.words = h('ul', { class: 'words' });
    this.takes = h('p', { class: 'soft' });
    this.problems = h('ul', { class: 'problems' });
    this.add = h('button', { type: 'submit', class: 'main', disabled: true }, 'Add this rule');
    const form = h(
      'form',
      { class: 'editor', oninput: () => this.changed(), onchange: () => this.changed(), onsubmit: (/** @type {Event} */ e) => { e.preventDefault(); void this.send(); } },
      h('h2', { id: 'editor-title' }, request ? 'A rule from this request' : 'A new rule'),
      h(
        'div',
        { class: 'two' },
        h(
          'div',
          { class: 'fields' },
          h('fieldset', {}, h('legend', {}, 'The rule'), h('div', { class: 'choices' }, radio('action', 'accept', 'accepts', draft.action === 'accept'), radio('action', 'deny', 'denies', draft.action === 'deny'))),
          text('name', 'Requests named', draft.name, { placeholder: 'any name', maxlength: 100 }),
          h('fieldset', {}, h('legend', {}, 'Kinds of values'), h('div', { class: 'choices' }, ...KINDS.map((kind) => check('kinds', kindName(kind), draft.kinds.includes(kind), kind))), h('p', { class: 'soft' }, 'None ticked: any kind; a rule that accepts by name or tags takes sizes, types and aggregates only.')),
          h('div', { class: 'half' }, h('div', {}, text('numbers', 'Numbers in each, at most', draft.numbers, { inputmode: 'numeric' }), check('anyNumbers', 'any count', draft.anyNumbers)), text('records', 'Records, at least', draft.records, { inputmode: 'numeric' })),
          sources.size ? h('fieldset', {}, h('legend', {}, 'Your objects'), h('div', { class: 'choices' }, ...[...sources].map(([id, name]) => check('sources', shown(name, 60), draft.sources.includes(id), String(id)))), h('p', { class: 'soft' }, 'A rule that accepts: made from nothing but these. One that denies: whatever depends on one of them. None ticked: any.')) : null,
          request ? check('alike', draft.action === 'accept' ? 'only this very computation: recipe, sources, kind, type and shape' : 'only this very recipe', draft.alike) : null,
          h('div', { class: 'half' }, h('div', {}, text('uses', 'Decisions at most', draft.uses, { inputmode: 'numeric' }), check('anyUses', 'no limit, for models too', draft.anyUses)), text('minutes', 'Ends after minutes', draft.minutes, { inputmode: 'numeric' })),
          h(
            'details',
            { open: draft.injected !== '' || !draft.dropout },
            h('summary', {}, 'More conditions'),
            h(
              'div',
              { class: 'fields' },
              h('div', {}, check('withTags', 'only objects with exactly these tags', draft.withTags), text('tags', 'Tags, with commas between; none: objects without tags', draft.tags, {})),
              h('label', { class: 'field' }, 'Scientist’s tensors met the data along its records', select('injected', [['', 'as usual'], ['no', 'not allowed'], ['yes', 'allowed']], draft.injected)),
              check('dropout', 'also where a dropout fell on the records', draft.dropout),
              text('quota', 'Numbers in all; then it denies', draft.quota, { inputmode: 'numeric' }),
              check('seen', 'only what matches an earlier decision by hand', draft.seen),
              check('print', 'print each value on my screen', draft.print),
              check('log', 'write each value into my log', draft.log),
            ),
          ),
        ),
        h(
          'div',
          { class: 'meaning' },
          h('h3', {}, 'What it will do'),
          this.words,
          this.takes,
          h('div', { role: 'alert' }, this.problems),
          h('div', { class: 'actions' }, this.add, h('button', { type: 'button', class: 'quiet', onclick: () => this.dialog.close() }, 'Cancel')),
        ),
      ),
    );
    this.dialog.replaceChildren(form);
    this.form = form;
  }

  changed() {
    if (this.add) this.add.disabled = true;
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => void this.explain(), PAUSE);
  }

  /** Reads the fields. @returns {Draft} */
  read() {
    const data = new FormData(this.form);
    const one = (/** @type {string} */ name) => String(data.get(name) ?? '');
    return {
      ...this.draft,
      action: one('action') === 'deny' ? 'deny' : 'accept',
      name: one('name'),
      withTags: data.has('withTags'),
      tags: one('tags'),
      kinds: data.getAll('kinds').map(String),
      numbers: one('numbers'),
      anyNumbers: data.has('anyNumbers'),
      records: one('records'),
      sources: data.getAll('sources').map(Number),
      alike: data.has('alike'),
      injected: /** @type {'' | 'yes' | 'no'} */ (one('injected')),
      dropout: data.has('dropout'),
      uses: one('uses'),
      anyUses: data.has('anyUses'),
      quota: one('quota'),
      minutes: one('minutes'),
      seen: data.has('seen'),
      print: data.has('print'),
      log: data.has('log'),
    };
  }

  async explain() {
    this.round += 1;
    const round = this.round;
    const { rule, problems } = toRule(this.read());
    if (!rule) {
      this.show(null, problems);
      return;
    }
    const answer = await this.ask({ t: 'preview', rule });
    if (round !== this.round || !this.dialog.open) return;
    this.show(answer, answer.ok ? [] : [answer.text]);
    this.explained = answer.ok && answer.digest ? { rule: JSON.stringify(rule), digest: answer.digest } : null;
    if (this.add) this.add.disabled = this.explained === null;
  }

  /** @param {Answer | null} answer @param {string[]} problems */
  show(answer, problems) {
    this.explained = null;
    this.words?.replaceChildren(
      ...(answer?.warnings ?? []).map((line) => h('li', { class: 'warning' }, shown(line, 500))),
      ...(answer?.lines ?? []).map((line) => h('li', {}, shown(line, 600))),
      ...(answer?.replaces ? [h('li', { class: 'care' }, 'It takes the place of a rule with the same conditions.')] : []),
    );
    const taken = (answer?.takes ?? []).map((id) => this.names[id] ?? id);
    if (this.takes) this.takes.textContent = !answer?.ok ? '' : taken.length ? `Of what waits now, it decides at once: ${listed(taken)}.` : 'It fits nothing that waits now.';
    this.problems?.replaceChildren(...problems.map((line) => h('li', {}, shown(line, 500))));
  }

  async send() {
    const { rule } = toRule(this.read());
    // Enter may come before the last change was explained: then there is nothing to add yet.
    if (!rule || this.explained?.rule !== JSON.stringify(rule)) return;
    if (this.add) this.add.disabled = true;
    const answer = await this.ask({ t: 'add', rule, digest: this.explained.digest });
    if (answer.ok) this.dialog.close();
    else this.show(null, [answer.text]);
    this.done(answer);
  }
}

/** @param {string} name @param {string} label @param {string} value @param {Record<string, any>} more */
function text(name, label, value, more) {
  return h('label', { class: 'field' }, label, h('input', { type: 'text', name, value, autocomplete: 'off', spellcheck: 'false', ...more }));
}

/** @param {string} name @param {string} label @param {boolean} checked @param {string} [value] */
function check(name, label, checked, value = 'on') {
  return h('label', { class: 'check' }, h('input', { type: 'checkbox', name, value, checked }), label);
}

/** @param {string} name @param {string} value @param {string} label @param {boolean} checked */
function radio(name, value, label, checked) {
  return h('label', { class: 'check' }, h('input', { type: 'radio', name, value, checked }), label);
}

/** @param {string} name @param {[string, string][]} options @param {string} value */
function select(name, options, value) {
  return h('select', { name }, ...options.map(([key, label]) => h('option', { value: key, selected: key === value }, label)));
}
