// One access, typed or of a trap that a kernel printed, step by step: the bits of the address come apart into indices,
// each step reads an entry, and the verdict says which bit decided.  The link holds the access and the step.

import { latest } from "./api.js";
import { pteBits } from "./bits.js";
import { button, count, el, fill, onChange, pasted } from "./dom.js";
import { figure } from "./figure.js";

const ACCESSES = ["load", "store", "fetch", "amo"];
const PRIVILEGES = [["", "usual"], ["U", "user"], ["S", "supervisor"], ["M", "machine"]];
const TICKS = [["sum", "SUM: S may use U pages"], ["mxr", "MXR: X pages can be read"], ["svade", "Svade: A and D are software's"], ["svnapot", "Svnapot: 64 KiB pages"], ["svpbmt", "Svpbmt: memory types"], ["svrsw60t59b", "Svrsw60t59b: two more bits for software"]];
const PRINTED = "usertrap(): unexpected scause 0xf pid=3\n            sepc=0xc stval=0x2fb0";
const TOLD = { pid: "The pid", code: "The instruction", not: "Not", also: "Also", but: "But", then: "What next", why: "Why", likely: "Usually" };
const PACE = 1200; // milliseconds a step, when it plays

export function walkView(page) {
  return new Walk(page);
}

class Walk {
  constructor(page) {
    this.page = page;
    this.asking = latest();
    const choice = (name, options, change = () => this.submit()) => el("select", { id: `walk-${name}`, change }, options.map(([value, words]) => el("option", { value }, words)));
    const tick = (name, words) => el("label", { class: "tick" }, el("input", { type: "checkbox", id: `walk-${name}`, change: () => this.submit() }), words);
    this.space = choice("space", [], () => { this.priv.value = ""; this.submit(); }); // another space has another privilege
    this.va = el("input", { id: "walk-va", type: "text", placeholder: "0x1000", maxlength: "24", spellcheck: "false", autocomplete: "off" });
    this.access = choice("access", ACCESSES.map((name) => [name, name]));
    this.priv = choice("priv", PRIVILEGES);
    this.size = choice("size", ["", "1", "2", "4", "8"].map((number) => [number, number || "usual"]));
    this.more = el("details", {}, el("summary", {}, "SUM, MXR, extensions"), TICKS.map(([name, words]) => tick(name, words)));
    const label = (words, field) => el("label", {}, el("span", {}, words), field);
    this.form = el("form", { class: "access", submit: (event) => { event.preventDefault(); this.submit(); } },
      label("Space", this.space), label("Address", this.va), label("Access", this.access), label("Privilege", this.priv), label("Bytes", this.size),
      this.more,
      el("button", { type: "submit", class: "main" }, "Walk"));
    this.lines = el("textarea", { id: "walk-trap", rows: "3", spellcheck: "false", placeholder: PRINTED });
    this.crash = el("details", { class: "crash" }, el("summary", {}, "A crash? Paste what the kernel printed"),
      el("form", { submit: (event) => { event.preventDefault(); this.explain(); } },
        el("label", {}, el("span", { class: "hidden" }, "What the kernel printed"), this.lines), el("button", { type: "submit", class: "main" }, "Explain")));
    this.told = el("div", { class: "verdict-box", id: "told", role: "status" });
    this.back = button("◀ Back", "A step back", () => this.step(-1));
    this.on = button("Step ▶", "A step on", () => this.step(1));
    this.playing = button("Play", "Play all steps", () => this.play());
    this.where = el("output", { class: "where" });
    this.steps = el("div", { class: "steps", role: "group", "aria-label": "Steps" },
      button("Start", "To the start", () => this.to(0)), this.back, this.on, button("End", "To the end", () => this.to(this.last)), this.playing, this.where);
    this.bits = el("div", { class: "groups" });
    this.path = el("ol", { class: "path", "aria-label": "The path through the tables" });
    this.verdict = el("div", { class: "verdict-box", id: "verdict", role: "status", "aria-live": "polite" });
    this.shown = el("div", { class: "shown", tabindex: "0", "aria-label": "The walk; arrow keys step", keydown: (event) => this.key(event) }, this.steps, this.bits, this.path, this.verdict);
    this.element = el("section", { class: "walk", "aria-label": "Walk" }, el("h2", {}, "An access, step by step"), this.crash, this.form, this.told, this.shown);
    this.last = 0;
  }

  close() {
    clearInterval(this.timer);
  }

  async show(state) {
    const spaces = this.page.machine.spaces;
    if (!spaces.length) return fill(this.bits, "This machine has no address space that is known.");
    const query = this.query(state);
    const key = JSON.stringify(query);
    this.read(this.found && state.trap && key === this.key_ ? this.asked() : state);
    this.told.hidden = !state.trap;
    if (!(state.va || state.trap) || !this.found) this.shown.hidden = true;
    if (!(state.va || state.trap)) { this.crash.open = true; return undefined; }
    if (key !== this.key_) {
      this.key_ = null;
      const found = await this.asking(state.trap ? "fault" : "walk", query);
      if (!found) return undefined;
      this.key_ = key;
      if (state.trap) onChange(this.told, found, () => this.tell(found));
      this.found = state.trap ? found.access : found;
      onChange(this.shown, this.found, () => { if (this.found) this.draw(); });
      if (state.trap && this.found) this.read(this.asked());
      if (state.trap) this.crash.open = false;
    }
    this.shown.hidden = !this.found;
    if (!this.found) return undefined;
    const asked = this.page.state().step; // as it is by now
    const step = asked === undefined ? this.last : Number(asked) || 0;
    this.light(Math.min(Math.max(step, 0), this.last));
    return undefined;
  }

  /** Nothing is shown of what cannot be asked. */
  refuse() {
    this.key_ = null;
    this.told.hidden = this.shown.hidden = true;
  }

  async refresh(state) {
    this.key_ = null;
    await this.show(state);
  }

  /** The form as the state says. */
  read(state) {
    const names = this.page.machine.spaces.map((space) => space.name);
    if (this.space.options.length !== names.length || names.some((name, at) => this.space.options[at].value !== name)) {
      fill(this.space, names.map((name) => el("option", { value: name }, name)));
    }
    if (state.space && !names.includes(state.space)) this.space.append(el("option", { value: state.space }, state.space));
    this.space.value = state.space || names[0];
    if (document.activeElement !== this.va) this.va.value = state.va ?? "";
    this.access.value = ACCESSES.includes(state.access) ? state.access : "load";
    this.priv.value = ["U", "S", "M"].includes(state.priv) ? state.priv : "";
    this.size.value = ["1", "2", "4", "8"].includes(state.size) ? state.size : "";
    for (const [name] of TICKS) this.form.querySelector(`#walk-${name}`).checked = state[name] === "1";
    this.more.open ||= TICKS.some(([name]) => state[name] === "1");
  }

  query(state) {
    const { trap, space = this.page.machine.spaces[0].name, va, access, priv, size, sum, mxr, svade, svnapot, svpbmt, svrsw60t59b } = state;
    if (trap) return { trap, svade, svnapot, svpbmt, svrsw60t59b };
    return { space, va, access, priv, size, sum, mxr, svade, svnapot, svpbmt, svrsw60t59b };
  }

  submit() {
    const ticked = (name) => (this.form.querySelector(`#walk-${name}`).checked ? "1" : "");
    const ticks = Object.fromEntries(TICKS.map(([name]) => [name, ticked(name)]));
    const access = this.access.value === "load" ? "" : this.access.value;
    this.page.go({ view: "walk", space: this.space.value, va: this.va.value.trim(), access, priv: this.priv.value, size: this.size.value, ...ticks });
  }

  /** The access that a trap turned out to be, as a state. */
  asked() {
    const { space, va, access, priv } = this.found;
    return { ...this.page.state(), space, va, access, priv };
  }

  explain() {
    this.page.go({ view: "walk", trap: pasted(this.lines.value) });
  }

  /** What is told of a trap, before its walk. */
  tell(found) {
    const why = found.fits ? [{ label: "why", words: found.access.verdict }, ...found.access.likely.map((words) => ({ label: "likely", words }))] : [];
    this.lines.value ||= this.page.state().trap;
    fill(this.told, el("p", {}, found.printed),
      el("dl", { class: "facts" }, [...found.told, ...why].map(({ label, words, style }) => [el("dt", {}, TOLD[label] ?? label), el("dd", { class: style || null }, words)])));
  }

  /** Everything of the walk, each part hidden until its step. */
  draw() {
    const found = this.found;
    const parts = found.pages.flatMap((one, at) => one.steps.map((step) => ({ page: at, step })));
    this.last = parts.length + 1;
    this.drawBits();
    fill(this.path, parts.map(({ page, step }, number) => this.entry(page, step, number, parts.length)));
    const words = found.rule ? `Fault: ${found.verdict}` : found.verdict;
    const rest = [
      found.rule && found.rule.step ? ["Rule", `step ${found.rule.step} of the translation process in the privileged specification`] : null,
      Object.keys(found.decided).length ? ["Decided by", Object.entries(found.decided).map(([name, value]) => `${name} = ${value > 9 ? `0x${value.toString(16)}` : value}`).join(", ")] : null,
      found.hardware ? ["Hardware says", found.hardware] : null, found.xv6 ? ["xv6 says", found.xv6] : null,
      ["Place", found.place], ...found.likely.map((one) => ["Usually", one]),
    ].filter(Boolean);
    fill(this.verdict, el("p", { class: found.rule ? "bad" : "good" }, el("span", { "aria-hidden": "true" }, found.rule ? "✕ " : "✓ "), words),
      el("dl", { class: "facts" }, rest.map(([name, what]) => [el("dt", {}, name), el("dd", {}, what)])),
      found.pa ? el("a", { class: "button", href: this.page.link({ view: "book", sel: found.pa }) }, `${found.pa} in the book`) : null,
      " ", el("a", { class: "button", href: this.page.link({ view: "spaces", space: found.space, va: found.va }) }, "Its tables"),
      " ", figure("Draw this access", { of: "walk", ...this.query({ ...this.asked(), trap: "" }) }),
      " ", figure("Draw the page directories", { of: "directories", space: found.space, va: found.va }));
  }

  drawBits() {
    const { va_shape: shape, va } = this.found;
    const value = BigInt(va);
    const groups = [];
    const used = shape.offset_bits + shape.index_bits * shape.levels;
    if (used < shape.xlen) groups.push(["rest", shape.xlen - 1, used, "copies of the top bit"]);
    for (let level = shape.levels - 1; level >= 0; level--) {
      const low = shape.offset_bits + level * shape.index_bits;
      groups.push([`level-${level}`, low + shape.index_bits - 1, low, `VPN[${level}]`]);
    }
    groups.push(["offset", shape.offset_bits - 1, 0, "offset"]);
    fill(this.bits, el("p", { class: "hidden" }, `The address ${va} in bits`), groups.map(([kind, high, low, words]) => {
      const number = value >> BigInt(low) & (1n << BigInt(high - low + 1)) - 1n;
      return el("div", { class: `group ${kind}`, "data-kind": kind },
        el("span", { class: "words" }, words),
        el("span", { class: "digits" }, number.toString(2).padStart(high - low + 1, "0")),
        el("span", { class: "number" }, kind === "offset" || kind === "rest" ? `0x${number.toString(16)}` : `index ${number}`));
    }));
  }

  entry(part, step, number, total) {
    const found = this.found;
    const decided = number === total - 1 && found.rule ? found.decided : {};
    const table = BigInt(step.pte_pa) - BigInt(step.index * found.va_shape.pte_bytes);
    const mark = el("span", { class: "mark" });
    mark.style.insetInlineStart = `${(step.index / 2 ** found.va_shape.index_bits) * 100}%`;
    const next = { table: `points to the table at ${step.pa}`, absent: "is absent: V is 0", leaf: `is a leaf: the page at ${step.pa}`, mapped: `is a leaf: the page at ${step.pa}` }[step.kind] ?? `is ${step.kind}`;
    return el("li", { class: "entry", "data-number": number + 1 },
      el("h3", {}, found.pages.length > 1 ? `Page ${part + 1}, level ${step.level}` : `Level ${step.level}`),
      el("p", {}, `The table at 0x${table.toString(16)}, entry ${step.index}: the PTE at `, el("a", { href: this.page.link({ view: "book", sel: step.pte_pa }) }, step.pte_pa)),
      el("div", { class: "ruler", "aria-hidden": "true" }, mark),
      pteBits(step.pte, found.places, this.page.machine.flags, decided),
      el("p", {}, el("code", {}, step.pte), ` ${next}`, step.rule ? el("strong", { class: "bad" }, ` and breaks ${step.rule}`) : ""));
  }

  /** Show what is known after so many steps. */
  light(step) {
    this.now = step;
    this.bits.classList.toggle("apart", step > 0);
    const entries = [...this.path.children];
    entries.forEach((one, at) => {
      one.hidden = at >= step;
      one.classList.toggle("lit", at === step - 1 && step < this.last);
    });
    const steps = this.found.pages.flatMap((one) => one.steps);
    const level = step > 0 && step <= steps.length ? `level-${steps[step - 1].level}` : step === this.last && this.found.pa ? "offset" : "";
    for (const group of this.bits.querySelectorAll(".group")) group.classList.toggle("lit", group.dataset.kind === level);
    this.verdict.hidden = step < this.last;
    this.back.disabled = step === 0;
    this.on.disabled = step === this.last;
    this.where.textContent = step === 0 ? `The address; ${count(this.last, "step")} to go` : step === this.last ? "The verdict" : `Step ${step} of ${this.last}`;
  }

  to(step) {
    this.page.go({ ...this.page.state(), step: Math.min(Math.max(step, 0), this.last) }, true);
  }

  /** From the step that was asked for last, be it shown or not: no key is lost. */
  step(by) {
    const asked = this.page.state().step;
    this.to((asked === undefined ? this.now : Number(asked) || 0) + by);
  }

  play() {
    clearInterval(this.timer);
    if (this.now >= this.last) this.to(0);
    this.timer = setInterval(() => {
      if (this.now >= this.last) clearInterval(this.timer);
      else this.step(1);
    }, PACE);
  }

  key(event) {
    if (event.target !== this.shown) return;
    const steps = { ArrowLeft: () => this.step(-1), ArrowRight: () => this.step(1), Home: () => this.to(0), End: () => this.to(this.last) };
    if (!(event.key in steps)) return;
    clearInterval(this.timer);
    event.preventDefault();
    steps[event.key]();
  }
}
