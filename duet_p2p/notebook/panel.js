// The panel's page side. Everything that comes from the kernel is set as text, never as markup;
// nothing is loaded from anywhere. Rows are kept by request id, so that focus, a reason that is
// being typed and a button under the finger stay where they are when others come and go.

const LOCK_MS = 500; // a row that is new or has moved takes no click for so long
const BUSY_MS = 1000; // no answer by then: the kernel is busy

const STATES = {
  connecting: ["○", "waiting for the partner"],
  open: ["●", "connected"],
  lost: ["◌", "reconnecting"],
  suspended: ["▲", "suspended: look at duet.errors, then duet.resume()"],
  closed: ["■", "closed"],
};

/** @param {string} tag @param {string} name @param {string} [text] */
function make(tag, name, text) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text !== undefined) element.textContent = text;
  return element;
}

/** Changes nothing where nothing changed: a text that is being selected stays selected. */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function grouped(id) {
  return (id.match(/.{1,4}/g) || ["—"]).join("-");
}

function size(bytes) {
  const units = ["B", "kB", "MB", "GB"];
  let step = 0;
  while (bytes >= 1000 && step < units.length - 1) {
    bytes /= 1000;
    step += 1;
  }
  return `${step ? bytes.toFixed(1) : bytes} ${units[step]}`;
}

class Row {
  constructor(request, side, send) {
    this.id = request.id;
    this.send = send;
    this.position = -1;
    this.lockedUntil = 0;
    this.element = make("li", "duet-request");
    this.element.dataset.request = request.id;
    const head = make("div", "duet-head");
    this.name = make("strong", "duet-name");
    this.state = make("span", "duet-tag");
    head.append(this.name, this.state);
    this.reason = make("blockquote", "duet-reason");
    this.facts = make("dl", "duet-facts");
    this.code = make("pre", "duet-code");
    this.why = make("p", "duet-why");
    this.element.append(head, this.reason, this.facts, this.code, this.why);
    if (side === "owner") this.addButtons();
    this.note = make("p", "duet-note");
    this.note.setAttribute("role", "status");
    this.element.append(this.note);
  }

  addButtons() {
    const bar = make("div", "duet-bar");
    this.accept = make("button", "duet-button duet-accept", "Accept once");
    this.deny = make("button", "duet-button duet-deny", "Deny");
    this.word = make("input", "duet-word");
    for (const button of [this.accept, this.deny]) button.type = "button";
    this.word.type = "text";
    this.word.maxLength = 1000;
    this.word.placeholder = "reason, told to the scientist";
    this.word.setAttribute("aria-label", "Reason for a denial, told to the scientist");
    this.accept.addEventListener("click", () => this.decide("accept"));
    this.deny.addEventListener("click", () => this.decide("deny"));
    bar.append(this.accept, this.deny, this.word);
    this.element.append(bar);
  }

  decide(type) {
    if (performance.now() < this.lockedUntil || this.accept.disabled) return;
    this.accept.disabled = this.deny.disabled = true;
    say(this.note, "Sent …");
    this.busy = setTimeout(() => {
      say(
        this.note,
        "The notebook is busy: this takes effect when its cell has ended. The console does not wait.",
      );
    }, BUSY_MS);
    const reason = type === "deny" ? this.word.value : "";
    this.send({ type, request: this.id, seen: this.seen, reason });
  }

  answered(text) {
    clearTimeout(this.busy);
    say(this.note, text);
    this.accept.disabled = this.deny.disabled = false;
  }

  show(request, position) {
    if (position !== this.position) {
      this.position = position;
      this.lockedUntil = performance.now() + LOCK_MS;
    }
    if (this.seen !== undefined && this.seen !== request.seen) {
      this.lockedUntil = performance.now() + LOCK_MS;
    }
    this.seen = request.seen;
    say(this.name, request.name || "a request without a name");
    say(this.state, request.state);
    this.state.dataset.state = request.state;
    say(this.reason, request.reason || "no reason given");
    say(this.code, request.code);
    this.code.hidden = !request.code;
    say(this.why, request.why ? `waits: ${request.why}` : "");
    this.why.hidden = !request.why;
    const facts = [...request.facts, ...request.around];
    const known = JSON.stringify(facts);
    if (known !== this.known) {
      this.known = known;
      this.facts.replaceChildren(
        ...facts.flatMap((fact) => [make("dt", "", fact.name), make("dd", "", fact.value)]),
      );
    }
  }
}

function render({ model, el }) {
  const root = make("section", "duet-panel");
  root.setAttribute("aria-label", "Duet session");
  const head = make("header", "duet-top");
  const title = make("strong", "duet-title");
  const badge = make("span", "duet-badge");
  badge.setAttribute("role", "status");
  const shape = make("span", "duet-shape");
  shape.setAttribute("aria-hidden", "true");
  const words = make("span", "duet-words");
  badge.append(shape, words);
  const open = make("button", "duet-button duet-console", "Open the console");
  open.type = "button";
  head.append(title, badge, open);
  const ids = make("p", "duet-ids");
  const warning = make(
    "p",
    "duet-open",
    "OPEN: a handler accepts everything. Any value, your raw data included, is given to your partner without asking you. To end this: duet.requests.clear_handlers()",
  );
  warning.setAttribute("role", "alert");
  const waiting = make("h4", "duet-waiting");
  waiting.setAttribute("aria-live", "polite");
  const list = make("ul", "duet-requests");
  const more = make("p", "duet-more");
  const transfers = make("div", "duet-transfers");
  const counts = make("p", "duet-counts");
  const note = make("p", "duet-note");
  note.setAttribute("role", "status");
  root.append(head, ids, warning, waiting, list, more, transfers, counts, note);
  el.append(root);

  const rows = new Map();
  const send = (message) => model.send(message);
  open.addEventListener("click", () => send({ type: "console" }));

  function place(requests, side) {
    const wanted = new Set(requests.map((request) => request.id));
    for (const [id, row] of rows) {
      if (!wanted.has(id)) {
        clearTimeout(row.busy);
        row.element.remove();
        rows.delete(id);
      }
    }
    requests.forEach((request, position) => {
      let row = rows.get(request.id);
      if (!row) {
        row = new Row(request, side, send);
        rows.set(request.id, row);
      }
      row.show(request, position);
      if (list.children[position] !== row.element) {
        list.insertBefore(row.element, list.children[position] || null);
      }
    });
  }

  function showTransfers(moving) {
    while (transfers.children.length > moving.length) transfers.lastChild.remove();
    moving.forEach((transfer, number) => {
      let line = transfers.children[number];
      if (!line) {
        line = make("label", "duet-transfer");
        line.append(make("span", ""), make("progress", ""));
        transfers.append(line);
      }
      const [text, bar] = line.children;
      const way = transfer.way === "out" ? "sending" : "receiving";
      say(text, `${way} ${size(transfer.done)} of ${size(transfer.total)}`);
      bar.max = Math.max(1, transfer.total);
      bar.value = transfer.done;
    });
  }

  function update() {
    const now = model.get("snapshot");
    const [mark, state] = STATES[now.state] || STATES.closed;
    say(title, now.side === "owner" ? "Duet · owner" : "Duet · scientist");
    say(shape, mark);
    say(words, now.state === "open" && now.path ? `${state}, ${now.path}` : state);
    badge.dataset.state = now.state;
    const partner = now.side === "owner" ? "scientist" : "owner";
    say(ids, now.partner ? `${partner} ${grouped(now.partner)}` : `you ${grouped(now.id)}`);
    warning.hidden = !now.is_open_to_all;
    open.hidden = !now.has_console;
    const pending = now.requests.filter((request) => request.state === "Pending").length + now.more;
    say(waiting, pending === 1 ? "1 request waits" : `${pending || "No"} requests wait`);
    place(now.requests, now.side);
    say(more, now.more ? `… and ${now.more} more: duet.requests` : "");
    more.hidden = !now.more;
    showTransfers(now.transfers);
    say(counts, now.counts.map((fact) => `${fact.name} ${fact.value}`).join(" · "));
  }

  function answered(answer) {
    const row = rows.get(answer.request);
    if (row && row.accept) row.answered(answer.text);
    else say(note, answer.text);
  }

  model.on("change:snapshot", update);
  model.on("msg:custom", answered);
  update();
  return () => {
    model.off("change:snapshot", update);
    model.off("msg:custom", answered);
    for (const row of rows.values()) clearTimeout(row.busy);
  };
}

export default { render };
