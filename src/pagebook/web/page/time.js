// Time: the model's tape, which plays, pauses, steps and rewinds, with a panel to drive the model; of a guest that runs,
// what changed in the last minutes.  The operations and the step are in the link, and every other view shows that step.

import { ask, latest } from "./api.js";
import { pteBits } from "./bits.js";
import { button, count, el, fill, onChange } from "./dom.js";
import { filling, ofRole } from "./paint.js";

const PACES = [["900", "slow"], ["180", "quick"], ["sentence", "a sentence at a time"]]; // milliseconds a step
const SENTENCE = 1500; // milliseconds
const BEFORE = 6; // steps listed before the one that is done
const AFTER = 4;
const NEAR = 512; // frames drawn around the one that changed
const COLUMNS = 64;
const FIRST_LINES = 8; // of one change, before the rest is opened
const LONGEST = 380; // letters of operations that a link can hold
const USUAL = { bytes: "4096", va: "0x1000", byte: "0x2a", status: "0" };

export function timeView(page) {
  return page.machine.tape ? new Tape(page) : changesView(page);
}

/** What changed in a guest, the newest first. */
function changesView(page) {
  const { live } = page.machine;
  const head = el("p", { class: "lead", role: "status" });
  const list = el("ol", { class: "changes", tabindex: "0", "aria-label": "What changed, the newest first" });
  const element = el("section", { class: "time", "aria-label": "Time" }, el("h2", {}, "What changed"), head, list);
  const asking = latest();

  async function show() {
    if (!live) return fill(head, "This is one moment that somebody kept: it has no before and no after. What differs between two such files, pagebook diff says.");
    const found = await asking("changes");
    if (!found) return undefined;
    const told = found.changes.length ? `${count(found.changes.length, "change")} seen` : "Nothing has changed";
    head.textContent = `${told}; this guest was first looked at ${ago(found.since)}. A change is kept for five minutes; what comes and goes between two looks is not seen.`;
    const shown = new Map([...list.children].map((one) => [one.dataset.generation, one]));
    fill(list, found.changes.map((one) => {
      const item = shown.get(String(one.generation)) ?? change(one);
      item.querySelector(".age").textContent = ago(one.age);
      return item;
    }));
    return undefined;
  }
  return { element, show, refresh: show };
}

function change(one) {
  return el("li", { "data-generation": one.generation }, el("span", { class: "age dim" }),
    el("ul", {}, one.lines.slice(0, FIRST_LINES).map(lineOf)),
    one.lines.length > FIRST_LINES ? el("details", {}, el("summary", {}, count(one.lines.length - FIRST_LINES, "more line")), el("ul", {}, one.lines.slice(FIRST_LINES).map(lineOf))) : null);
}

function lineOf(line) {
  return el("li", {}, line.map(([words, style]) => (style ? el("span", { class: style }, words) : words)));
}

function ago(seconds) {
  if (seconds < 1.5) return "just now";
  return seconds < 90 ? `${Math.round(seconds)} s ago` : `${Math.round(seconds / 60)} min ago`;
}

class Tape {
  constructor(page) {
    this.page = page;
    this.asking = latest();
    this.askingSteps = latest();
    this.askingNear = latest();
    this.now = 0;
    const stopping = (words, name, click) => button(words, name, () => { this.stop(); click(); });
    this.playing = el("button", { type: "button", class: "main", id: "play", click: () => this.play() }, "▶ Play");
    this.pace = el("select", { id: "pace" }, PACES.map(([value, words]) => el("option", { value }, words)));
    this.pace.value = "180";
    this.scrub = el("input", { type: "range", id: "scrub", min: "0", max: "0", "aria-label": "The step that was done last", input: () => { this.stop(); this.to(Number(this.scrub.value)); } });
    this.where = el("p", { class: "where", id: "where", role: "status", "aria-live": "polite" });
    this.near = el("canvas", { class: "near", role: "img", "aria-label": "The frames around the one that changed" });
    this.nearSaid = el("p", { class: "hint" });
    this.bits = el("div", {});
    this.ways = el("p", { class: "places" });
    this.steps = el("ol", { class: "tape-steps", "aria-label": "Steps" });
    this.story = el("ol", { class: "story", tabindex: "0", "aria-label": "The story" });
    this.pid = el("select", { id: "pid" });
    this.operations = el("div", { class: "operations" });
    this.outcome = el("p", { class: "outcome", role: "status", "aria-live": "polite" });
    this.element = el("section", { class: "time", "aria-label": "Time" },
      el("h2", {}, "What the kernel did, a step at a time"),
      el("div", { class: "steps transport", role: "group", "aria-label": "The tape" },
        stopping("|◀", "To the start", () => this.to(0)), stopping("◀◀", "A sentence back", () => this.sentence(-1)), stopping("◀", "A step back", () => this.step(-1)),
        this.playing, stopping("▶", "A step on", () => this.step(1)), stopping("▶▶", "A sentence on", () => this.sentence(1)), stopping("▶|", "To the end", () => this.to(this.tape.steps)),
        el("label", {}, "Pace ", this.pace)),
      this.scrub, this.where,
      el("div", { class: "time-parts" },
        el("div", { class: "done" }, this.near, this.nearSaid, el("h3", {}, "Steps"), this.steps, this.bits, this.ways),
        el("div", {}, el("h3", {}, "The story"), this.story),
        el("div", { class: "drive" }, el("h3", {}, "Drive the kernel"), el("p", {}, el("label", {}, "Process ", this.pid), " ",
          stopping("Take the last back", "Take the last operation back", () => this.back()), " ", stopping("Start anew", "The boot alone again", () => this.anew())),
        this.outcome, this.operations)),
      el("p", { class: "hint" }, "Left and right step, Page Up and Page Down go by sentences, Home and End to the ends, the space bar plays. Book, Spaces, Walk and Checks show the step that you leave here."));
    this.tape = null;
    this.listening = (event) => this.key(event);
    document.addEventListener("keydown", this.listening);
  }

  close() {
    this.stop();
    document.removeEventListener("keydown", this.listening);
  }

  async show(state) {
    const ops = state.ops ?? "";
    if (!this.tape || ops !== this.ops) {
      const found = await this.asking("tape");
      if (!found) return undefined;
      this.tape = found;
      this.ops = ops;
      this.scrub.max = found.steps;
      this.marks = [...new Set([0, ...found.told.map((one) => one.steps), found.steps])].sort((a, b) => a - b);
      this.drawStory();
      this.drawPanel();
    }
    const asked = state.t === undefined ? this.tape.steps : Number(state.t);
    const now = Math.min(Math.max(Number.isInteger(asked) ? asked : 0, 0), this.tape.steps);
    const first = Math.max(now - BEFORE, 0);
    const found = await this.askingSteps("steps", { from: first, to: Math.min(now + AFTER, this.tape.steps) });
    if (!found) return undefined;
    this.now = now;
    this.scrub.value = now;
    this.drawSteps(found.steps);
    await this.drawNear(found.steps.find((one) => one.number === now - 1));
    return undefined;
  }

  async refresh() {
    return undefined; // the model moves only when somebody drives it
  }

  repaint() {
    this.paintNear();
  }

  drawSteps(steps) {
    const done = steps.find((one) => one.number === this.now - 1);
    const free = this.page.machine.roles.find((role) => role.name === "free").frames;
    const sentence = this.tape.told[this.tape.told.findIndex((one) => one.steps > this.now - 1)] ?? null;
    this.where.textContent = `Step ${this.now.toLocaleString("en")} of ${this.tape.steps.toLocaleString("en")}; ${count(free, "frame")} free${sentence && this.now ? `; in ${sentence.function}` : ""}`;
    this.scrub.setAttribute("aria-valuetext", done ? done.words : "nothing was done yet");
    fill(this.steps, steps.map((one) => el("li", { class: one.number === this.now - 1 ? "current" : one.number < this.now ? "past" : "future", "aria-current": one.number === this.now - 1 ? "step" : null, value: one.number + 1 },
      el("button", { type: "button", click: () => { this.stop(); this.to(one.number + 1); } }, el("span", { class: `kind ${one.kind}` }, one.kind), ` ${one.words}`))),
    steps.length ? null : el("li", { class: "dim" }, "Nothing was done yet."));
    [...this.story.querySelectorAll("li[data-steps]")].forEach((one) => {
      const current = sentence !== null && one.dataset.number === String(this.tape.told.indexOf(sentence));
      one.classList.toggle("current", current);
      if (current && (one.offsetTop < this.story.scrollTop || one.offsetTop + one.offsetHeight > this.story.scrollTop + this.story.clientHeight)) this.story.scrollTop = one.offsetTop - this.story.clientHeight / 3;
    });
    this.drawBits(done);
  }

  drawBits(done) {
    if (!done) { fill(this.bits); fill(this.ways); return; }
    onChange(this.bits, [done.before, done.after, done.number], () => {
      if (done.kind !== "pte") return fill(this.bits);
      const { places } = this.tape;
      return fill(this.bits, el("p", { class: "dim" }, `The PTE was ${done.before}, and is`), pteBits(done.after, places, this.page.machine.flags));
    });
    const known = this.page.machine.spaces.map((space) => space.name);
    const space = done.space && known.find((name) => name === done.space.split(" (")[0] || done.space.includes(`(pid ${this.pidOf(name)})`));
    fill(this.ways, el("a", { class: "button", href: this.page.link({ view: "book", sel: done.pa }) }, "This frame in the book"), " ",
      space ? el("a", { class: "button", href: this.page.link({ view: "spaces", space, va: done.va }) }, `The tables of ${space}`) : null);
  }

  pidOf(name) {
    return this.page.machine.spaces.find((space) => space.name === name)?.pid ?? "";
  }

  async drawNear(done) {
    const { parts, frames } = this.page.machine;
    if (done) this.frame = Number((BigInt(done.pa) - BigInt(parts[0].base)) / 4096n);
    else if (this.frame === undefined) this.frame = 0;
    const first = Math.min(Math.floor(this.frame / NEAR) * NEAR, Math.max(frames - NEAR, 0));
    const found = await this.askingNear("book", { from: first, to: Math.min(first + NEAR, frames), cells: NEAR });
    if (!found) return;
    this.nearCells = found;
    this.marked = done ? this.frame : null;
    this.paintNear();
  }

  paintNear() {
    const found = this.nearCells;
    if (!found || !this.near.clientWidth) return;
    const ratio = devicePixelRatio || 1;
    const width = this.near.clientWidth;
    const cell = width / COLUMNS;
    const height = Math.ceil(found.roles.length / COLUMNS) * cell;
    this.near.width = Math.round(width * ratio);
    this.near.height = Math.round(height * ratio);
    this.near.style.height = `${height}px`;
    const to = this.near.getContext("2d");
    to.scale(ratio, ratio);
    const names = this.page.machine.roles.map((role) => role.name);
    const place = (index) => [(index % COLUMNS) * cell, Math.floor(index / COLUMNS) * cell];
    found.roles.forEach((role, index) => {
      const [x, y] = place(index);
      to.fillStyle = filling(to, ofRole(names[role]));
      to.fillRect(x, y, cell - 1, cell - 1);
    });
    if (this.marked !== null) {
      const [x, y] = place(this.marked - found.first);
      to.strokeStyle = getComputedStyle(this.near).color;
      to.lineWidth = 3;
      to.strokeRect(x - 1, y - 1, cell + 1, cell + 1);
    }
    const base = BigInt(this.page.machine.parts[0].base) + BigInt(found.first) * 4096n;
    this.nearSaid.textContent = `${found.roles.length} frames from 0x${base.toString(16)}, coloured by role as in the book; the outlined one changed.`;
  }

  drawStory() {
    const items = [];
    let part = 0;
    this.tape.told.forEach((one, number) => {
      while (part < this.tape.parts.length && this.tape.parts[part].told <= number) items.push(this.partItem(this.tape.parts[part++]));
      items.push(el("li", { "data-steps": one.steps, "data-number": number },
        el("button", { type: "button", click: () => { this.stop(); this.to(one.steps); } }, el("strong", {}, one.function), ` ${one.text.replaceAll("->", "→")}`)));
    });
    while (part < this.tape.parts.length) items.push(this.partItem(this.tape.parts[part++]));
    fill(this.story, items);
  }

  partItem(part) {
    return el("li", { class: "part" }, el("code", {}, part.word), ` ${part.outcome}`);
  }

  drawPanel() {
    const { processes, operations, programs, parts } = this.tape;
    const before = this.pid.value;
    fill(this.pid, processes.filter((one) => !one.zombie).map((one) => el("option", { value: one.pid }, `${one.pid} ${one.name}, ${one.size} bytes`)));
    const last = processes.filter((one) => !one.zombie).at(-1);
    this.pid.value = [...this.pid.options].some((one) => one.value === before) ? before : String(last?.pid ?? "");
    const now = this.pid.selectedOptions[0]?.textContent;
    const gone = before && this.pid.value !== before && parts.length ? ` Process ${before} runs no more; ${now ? `the next is done by ${now.split(",")[0]}` : "no process is left"}.` : "";
    const outcome = parts.at(-1);
    fill(this.outcome, outcome ? [el("code", {}, outcome.word), ` ${outcome.outcome}.`, gone] : "The kernel has booted, and init has started a shell. What shall happen next?");
    this.outcome.classList.toggle("bad", Boolean(outcome?.ended));
    if (this.operations.childElementCount) return;
    fill(this.operations, operations.map((one) => {
      const fields = one.takes.map((what) => (what === "program"
        ? el("select", { "aria-label": `${one.name}: program` }, programs.map((name) => el("option", { value: name }, name)))
        : el("input", { type: "text", value: USUAL[what] ?? "", maxlength: "20", "aria-label": `${one.name}: ${what}`, spellcheck: "false", autocomplete: "off" })));
      return el("form", { class: "operation", "data-name": one.name, submit: (event) => { event.preventDefault(); this.drive(one.name, fields.map((field) => field.value.trim())); } },
        el("div", { class: "does" }, el("button", { type: "submit" }, one.name), one.takes.map((what, at) => el("label", {}, el("span", {}, what), fields[at]))),
        el("p", {}, one.idea));
    }));
  }

  /** Do something after all that was asked for before, so that no click is lost. */
  after(job) {
    this.stop();
    this.asked = (this.asked ?? Promise.resolve()).then(job).catch((error) => this.refused("this", error.message));
  }

  /** Do one operation more, and play it; where it cannot be done, say why, and stay. */
  drive(name, given) {
    const word = [name, this.pid.value, ...given].join(".");
    this.after(() => this.driven(name, word));
  }

  async driven(name, word) {
    this.stop();
    const ops = [this.ops, word].filter(Boolean).join(",");
    if (word.includes(",")) return this.refused(name, "numbers are written without a comma, as 4096 or 0x1000");
    if (ops.length > LONGEST) return this.refused(name, "the tape is full, for a link holds no more operations. Take some back, or start anew");
    fill(this.outcome, el("code", {}, word), " …");
    try {
      await ask("tape", { ops, t: "" });
    } catch (error) {
      return this.refused(name, error.message);
    }
    await this.goTo({ ops, t: this.tape.steps });
    this.play();
    return undefined;
  }

  /** Why an operation was not done, where its outcome would be. */
  refused(name, why) {
    fill(this.outcome, el("code", {}, name), ` was not done: ${why.replace(`${name}: `, "")}`);
    this.outcome.classList.add("bad");
    this.outcome.scrollIntoView({ block: "nearest" });
  }

  back() {
    this.after(() => this.boot((this.ops ?? "").split(",").slice(0, -1).join(",")));
  }

  anew() {
    this.after(() => this.boot(""));
  }

  /** Have these operations and no others after a new boot. */
  boot(ops) {
    fill(this.outcome, "The kernel boots …");
    return this.goTo({ ops, t: "" });
  }

  /** Have these operations and this step, and wait until they are shown. */
  async goTo(changes) {
    await this.page.goAndShow({ ...this.page.state(), view: "time", ...changes }, false);
    this.drawPanel();
  }

  to(number) {
    this.wanted = Math.min(Math.max(number, 0), this.tape.steps);
    if (!this.moving) this.move();
  }

  /** Go where was asked last, one question at a time, so that a scrub does not ask for every step it passes. */
  async move() {
    this.moving = true;
    while (this.wanted !== null && this.wanted !== this.now) {
      const wanted = this.wanted;
      await this.page.goAndShow({ ...this.page.state(), view: "time", t: wanted });
      if (this.now !== wanted && this.wanted === wanted) break; // something went wrong, and was said
    }
    this.wanted = null;
    this.moving = false;
  }

  step(by) {
    this.to((this.wanted ?? this.now) + by);
  }

  sentence(by) {
    const from = this.wanted ?? this.now;
    const found = by > 0 ? this.marks.find((mark) => mark > from) : this.marks.findLast((mark) => mark < from);
    if (found !== undefined) this.to(found);
  }

  stop() {
    clearTimeout(this.timer);
    this.timer = null;
    this.playing.textContent = "▶ Play";
  }

  play() {
    if (this.timer) return this.stop();
    this.playing.textContent = "❚❚ Pause";
    const tick = () => {
      const waiting = !this.tape || this.moving || (this.page.state().ops ?? "") !== this.ops;
      if (!waiting && this.now >= this.tape.steps) return this.stop();
      if (!waiting) { if (this.pace.value === "sentence") this.sentence(1); else this.step(1); }
      this.timer = setTimeout(tick, this.pace.value === "sentence" ? SENTENCE : Number(this.pace.value));
      return undefined;
    };
    if (this.tape && this.now >= this.tape.steps && (this.page.state().ops ?? "") === this.ops) this.to(0);
    this.timer = setTimeout(tick, 50);
    return undefined;
  }

  key(event) {
    const { tagName, type } = event.target;
    if (event.ctrlKey || event.metaKey || event.altKey || !this.tape || tagName === "SELECT" || (tagName === "INPUT" && type !== "range")) return;
    if (event.key === " " && /^(BUTTON|A)$/.test(tagName)) return;
    const moves = {
      ArrowLeft: () => this.step(-1), ArrowRight: () => this.step(1), PageUp: () => this.sentence(-1), PageDown: () => this.sentence(1),
      Home: () => this.to(0), End: () => this.to(this.tape.steps),
    };
    if (event.key === " ") this.play();
    else if (event.key in moves) { this.stop(); moves[event.key](); }
    else return;
    event.preventDefault();
  }
}
