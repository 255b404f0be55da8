// The book of memory: a canvas with a cell for each frame or run of frames, from all of RAM down to one frame.
// One number is the zoom: how many frames a row has, as a power of two.  The first frame shown is an address in the link.
// A folded book leaves out most of each long run of free frames; a band says so in their place.

import { latest } from "./api.js";
import { button, count, el, fill, onChange, sized } from "./dom.js";
import { figure } from "./figure.js";
import { frameCard } from "./frame.js";
import { ofOwner, ofRole, ofUnowned, swatch } from "./paint.js";
import { PAGE, Parts } from "./parts.js";
import { Sheet, cleared } from "./sheet.js";

const LEAST_CELL = 8; // CSS pixels
const TALLEST = 96;
const STRIP = 26; // height of the strip that shows all of RAM
const MOST_CELLS = 8192;
const ALL = "all"; // the row of the largest cells with which all of RAM is seen
const NOBODY = -1; // as the owner of a cell, and what the server says for several
const SEVERAL = -2;
const UNOWNED = -3; // the kind of what nobody owns and has role 0; others are below
const NOTCH = 40; // pixels that the wheel rolls before it counts
const HOVER = 90; // milliseconds before a frame that is pointed at is asked for

export function bookView(page) {
  return new Book(page);
}

class Book {
  constructor(page) {
    this.page = page;
    this.asking = latest();
    this.askingStrip = latest();
    this.askingFrame = latest();
    this.strip = el("canvas", { class: "strip", "aria-hidden": "true", click: (event) => this.jump(event) });
    this.canvas = el("canvas", {
      class: "cells", tabindex: "0", role: "application", "aria-label": "The book of memory", "aria-describedby": "book-keys book-said",
      wheel: (event) => this.wheel(event), click: (event) => this.choose(event), dblclick: (event) => this.zoom(-2, this.at(event)),
      pointermove: (event) => this.point(event), pointerleave: () => this.unpoint(), keydown: (event) => this.key(event),
    });
    this.sheets = el("div", {}, this.canvas);
    this.said = el("p", { id: "book-said", class: "said", role: "status", "aria-live": "polite" });
    this.legend = el("ul", { class: "legend", "aria-label": "What the colours mean" });
    this.card = el("aside", { class: "card", "aria-label": "The frame" });
    this.by = el("select", { id: "by", change: () => this.go({ by: this.by.value }) },
      el("option", { value: "role" }, "role"), el("option", { value: "owner" }, "owner"));
    this.fold = el("input", { type: "checkbox", id: "fold", change: () => this.foldOrNot() });
    this.folding = el("label", { class: "tick" }, this.fold, "Fold free memory");
    this.scale = el("output", { class: "scale" });
    this.element = el("section", { class: "book", "aria-label": "Book" },
      el("div", { class: "leaf" },
        el("div", { class: "controls" },
          button("−", "Zoom out", () => this.zoom(1)), button("+", "Zoom in", () => this.zoom(-1)),
          button("All of RAM", "Show all of RAM", () => this.go({ row: ALL, at: "" })),
          button("▲", "Back a screen", () => this.turn(-1)), button("▼", "On a screen", () => this.turn(1)),
          el("label", {}, "Colour by ", this.by), this.folding, this.scale),
        this.strip, this.sheets, this.said,
        el("p", { id: "book-keys", class: "hint" }, "Arrow keys choose a cell, Enter unfolds a band, + and − zoom, Page Up and Page Down turn, 0 shows all of RAM. The wheel zooms, with Shift it turns."),
        this.legend, el("p", {}, figure("Draw all of memory by role", { of: "memory" }))),
      this.card);
    this.cells = null;
    this.selectedWord = null;
    this.leaf = this.element.querySelector(".leaf");
    this.watching = new ResizeObserver(() => {
      if (this.plan && this.leaf.clientWidth !== this.plan.width) this.show(this.page.state()).catch(() => null);
    });
    this.watching.observe(this.leaf);
  }

  close() {
    this.watching.disconnect();
    clearTimeout(this.waiting);
  }

  /** The fold that a cell is of, or undefined. */
  foldOf(index) {
    return this.parts.foldAt(this.frameOf(index));
  }

  /** Whether the book is folded: unless the link says not to, or names a frame that would not be seen. */
  isFolded({ fold, sel }) {
    return fold !== "no" && this.folds && !this.isFoldedAway(sel);
  }

  /** Whether a word names a frame that a folded book does not show. */
  isFoldedAway(word) {
    const whole = new Parts(this.page.machine.parts);
    const number = whole.parse(word);
    return number !== null && !new Parts(this.page.machine.folded).isShown(whole.address(number));
  }

  /** Fold or unfold, as the box says; what is folded away is chosen no more. */
  foldOrNot() {
    const { sel } = this.page.state();
    if (!this.fold.checked) this.go({ fold: "no", row: ALL, at: "" });
    else this.go({ fold: "", row: ALL, at: "", sel: this.isFoldedAway(sel) ? "" : sel });
  }

  /** Whether anything of this machine can be folded. */
  get folds() {
    return this.page.machine.folded.length !== this.page.machine.parts.length;
  }

  go(changes, replace = false) {
    const state = { ...this.page.state(), view: "book", ...changes };
    this.page.go(state, replace);
  }

  /** How the state is laid out at this size: columns, frames of a cell, cell size, rows, first frame. */
  lay(state) {
    const width = Math.max(this.leaf.clientWidth, 200);
    const height = Math.max(Math.min(innerWidth < 700 ? innerHeight * 0.45 : innerHeight - 310, 1400), 240);
    const folded = this.isFolded(state);
    this.parts = new Parts(folded ? this.page.machine.folded : this.page.machine.parts);
    const { frames } = this.parts;
    const most = Math.floor(Math.log2(width / LEAST_CELL));
    const fits = (bits) => {
      const across = 2 ** Math.min(bits, most);
      const down = Math.ceil(frames / 2 ** bits);
      return down * Math.min(width / across, TALLEST) <= height && down * across <= MOST_CELLS;
    };
    let largest = 0; // the row of the largest cells with which all of RAM is seen
    while (!fits(largest)) largest++;
    const asked = state.row === undefined ? (state.sel ? Math.min(largest, most - 1) : largest) : Number(state.row);
    const row = Math.min(Math.max(Number.isInteger(asked) ? asked : largest, 0), largest);
    const columnBits = Math.min(row, most);
    const columns = 2 ** columnBits;
    const cell = width / columns;
    const tall = Math.min(cell, TALLEST);
    const rows = Math.max(Math.min(Math.floor(height / tall), Math.ceil(frames / 2 ** row), Math.floor(MOST_CELLS / columns)), 1);
    const selected = this.parts.parse(state.sel);
    let first = this.parts.parse(state.at);
    if (first === null) first = selected === null ? 0 : selected - Math.floor(rows / 2) * 2 ** row;
    const last = Math.max(Math.ceil(frames / 2 ** row) - rows, 0);
    first = Math.min(Math.max(Math.floor(first / 2 ** row), 0), last) * 2 ** row;
    return { folded, width, row, largest, columns, shift: row - columnBits, cell, tall, rows, first, selected };
  }

  async show(state) {
    this.by.value = state.by === "owner" ? "owner" : "role";
    const plan = this.lay(state);
    const key = [plan.folded, plan.first, plan.row, plan.rows, plan.columns].join();
    this.plan = plan;
    this.folding.hidden = !this.folds && !this.page.machine.live; // a guest may have something to fold at its next look
    this.fold.disabled = !this.folds;
    this.folding.title = this.folds ? "" : "There is nothing to fold now; what a guest gave back is folded a minute later";
    this.fold.checked = this.folds ? plan.folded : state.fold !== "no";
    if (!this.page.machine.frames) return fill(this.said, "This machine has no memory that can be shown.");
    if (key !== this.key_ || !this.cells) {
      const found = await this.asking("book", {
        from: plan.first, to: plan.first + plan.rows * 2 ** plan.row, cells: plan.rows * plan.columns, folded: plan.folded ? "1" : "",
      });
      if (!found) return undefined;
      if (this.key_) fill(this.said); // what was pointed at is elsewhere now
      this.cells = found;
      this.parts = new Parts(found.parts);
      this.key_ = key;
    }
    this.keepHeight(plan);
    this.shownPlan = plan;
    await this.showStrip(plan);
    this.repaint();
    if (state.sel !== this.selectedWord) {
      clearTimeout(this.waiting);
      await this.showFrame(state.sel);
    }
    this.selectedWord = state.sel;
    return undefined;
  }

  /** As a guest that is followed takes memory and gives it back, what is below the cells goes down and not up again. */
  keepHeight({ width, rows, tall }) {
    this.height = this.page.machine.live && width === this.heightAt ? Math.max(this.height, rows * tall) : rows * tall;
    this.heightAt = width;
    this.sheets.style.minHeight = `${this.height}px`;
  }

  /** No frame is shown where the link names none. */
  refuse() {
    this.selectedWord = null;
    this.showFrame("");
  }

  async refresh(state) {
    this.key_ = this.stripKey = null;
    this.selectedWord = null;
    await this.show(state);
  }

  async showStrip(plan) {
    const cells = Math.min(Math.floor(plan.width / 3), 600);
    const key = String(cells);
    if (key === this.stripKey) return;
    const found = await this.askingStrip("book", { cells });
    if (!found) return;
    this.stripCells = found;
    this.stripKey = key;
  }

  /** The roles' names by number. */
  get roles() {
    return this.page.machine.roles.map((role) => role.name);
  }

  /** The name of the space that a cell is all of, or nothing. */
  ownerOf(index) {
    return this.page.machine.spaces[this.cells.owners[index]]?.name ?? "";
  }

  /** A number for what each cell is painted as: its role, or its owner and, where it has none, its role once more. */
  kinds({ roles, owners }) {
    return this.by.value === "owner" ? owners.map((owner, at) => (owner === NOBODY ? UNOWNED - roles[at] : owner)) : roles;
  }

  /** Colour and pattern of a kind. */
  look(kind) {
    if (this.by.value !== "owner") return ofRole(this.roles[kind]);
    return kind <= UNOWNED ? ofUnowned(this.roles[UNOWNED - kind]) : ofOwner(kind);
  }

  /** Paint with the next frame, once however often it is asked for. */
  repaint() {
    this.painting ??= requestAnimationFrame(() => {
      this.painting = null;
      this.paint();
    });
  }

  paint() {
    if (!this.cells || !this.shownPlan) return;
    this.paintStrip();
    new Sheet(this.canvas, this.shownPlan, {
      cells: this.cells, parts: this.parts, kinds: this.kinds(this.cells), byOwner: this.by.value === "owner", roles: this.roles,
      look: (kind) => this.look(kind), ownerOf: (index) => this.ownerOf(index),
    }).paint();
    this.showLegend();
    const { row, shift, first } = this.shownPlan;
    this.scale.textContent = `${shift ? `a cell is ${count(2 ** shift, "frame")}, ${sized(2n ** BigInt(shift) * PAGE)}` : "a cell is a frame"}; a row is ${sized(2n ** BigInt(row) * PAGE)}; from 0x${this.parts.address(first).toString(16)}${this.parts.folds().length ? "; folded" : ""}`;
  }

  paintStrip() {
    const { width, first, rows, row } = this.shownPlan;
    const cells = this.stripCells;
    if (!cells) return;
    const to = cleared(this.strip, width, STRIP);
    const step = (2 ** cells.shift / cells.frames) * width;
    const colours = new Map();
    this.kinds(cells).forEach((kind, index) => {
      if (!colours.has(kind)) colours.set(kind, this.look(kind)[0]);
      to.fillStyle = colours.get(kind);
      to.fillRect(index * step, 4, step + 0.5, STRIP - 8);
    });
    const whole = new Parts(cells.parts);
    const share = (number) => whole.number(this.parts.address(number)) / cells.frames;
    const last = Math.min(first + rows * 2 ** row, this.parts.frames) - 1;
    const left = share(first) * width;
    const wide = Math.max(share(last) * width - left, 4);
    to.strokeStyle = getComputedStyle(this.strip).color;
    to.lineWidth = 2;
    to.strokeRect(Math.min(left, width - wide) + 1, 1, wide - 2, STRIP - 2);
  }

  showLegend() {
    const machine = this.page.machine;
    const entries = this.by.value === "role"
      ? machine.roles.filter((role) => role.frames).map((role) => [ofRole(role.name), `${role.name} `, role.frames.toLocaleString("en")])
      : [...new Set(this.kinds(this.cells))].sort((one, other) => (one < 0) - (other < 0) || Math.abs(one) - Math.abs(other)).slice(0, 40).map((kind) =>
        [this.look(kind), kind <= UNOWNED ? this.roles[UNOWNED - kind] : kind === SEVERAL ? "several" : machine.spaces[kind]?.name ?? "?", ""]);
    onChange(this.legend, entries, () => fill(this.legend, entries.map(([look, name, number]) =>
      el("li", {}, swatch(look), name, el("span", { class: "dim" }, number)))));
  }

  /** The index of the cell at the pointer, or null. */
  at(event) {
    const plan = this.shownPlan;
    if (!plan || !this.cells) return null;
    const column = Math.floor(event.offsetX / plan.cell);
    const index = Math.floor(event.offsetY / plan.tall) * plan.columns + column;
    return column >= 0 && column < plan.columns && index >= 0 && index < this.cells.roles.length ? index : null;
  }

  frameOf(index) {
    return Math.min(this.cells.first + index * 2 ** this.shownPlan.shift, this.parts.frames - 1);
  }

  describe(index) {
    const { shift } = this.shownPlan;
    const fold = this.foldOf(index);
    if (fold) return `${count(fold.all, "free frame")} from 0x${fold.base.toString(16)} to 0x${(fold.base + BigInt(fold.all) * PAGE).toString(16)}, folded; choose them to see each`;
    const owner = this.ownerOf(index);
    const whose = owner && ` of ${owner}`;
    const pa = `0x${this.parts.address(this.frameOf(index)).toString(16)}`;
    if (!shift) return `${pa}: ${this.roles[this.cells.roles[index]]}${whose}`;
    const others = this.roles.filter((_, role) => this.cells.present[index] >> role & 1 && role !== this.cells.roles[index]);
    return `A cell of ${2 ** shift} frames from ${pa}: ${others.length ? "mostly " : ""}${this.roles[this.cells.roles[index]]}${whose}${others.length ? `; also ${others.join(", ")}` : ""}`;
  }

  point(event) {
    const place = `${event.clientX} ${event.clientY}`;
    if (place === this.place) return; // the page moved, and not the hand
    this.place = place;
    const index = this.at(event);
    if (index === null) return;
    fill(this.said, this.describe(index));
    clearTimeout(this.waiting);
    if (!this.shownPlan.shift && !this.foldOf(index) && event.pointerType === "mouse") {
      const word = `0x${this.parts.address(this.frameOf(index)).toString(16)}`;
      this.waiting = setTimeout(() => this.showFrame(word, true).catch(() => null), HOVER);
    }
  }

  unpoint() {
    this.place = "";
    fill(this.said);
    clearTimeout(this.waiting);
    if (this.pointed) this.showFrame(this.page.state().sel).catch(() => null);
  }

  choose(event) {
    const index = this.at(event);
    const fold = index === null ? null : this.foldOf(index);
    if (fold) this.unfold(fold.base);
    else if (index !== null) this.select(this.frameOf(index));
  }

  unfold(pa) {
    this.go({ fold: "no", row: "", at: "", sel: `0x${pa.toString(16)}` });
  }

  /** The first number from `from` on that is in this column of a line. */
  under(from, column, line) {
    return from + (column - from % line + line) % line;
  }

  select(number) {
    const { first, rows, row } = this.plan;
    const bounded = Math.min(Math.max(number, 0), this.parts.frames - 1);
    let at = first;
    const line = 2 ** row;
    if (bounded < at) at = Math.floor(bounded / line) * line;
    if (bounded >= at + rows * line) at = (Math.floor(bounded / line) - rows + 1) * line;
    const fold = this.plan.folded || !this.folds ? "" : "no"; // the book does not fold under the hand
    this.go({ sel: `0x${this.parts.address(bounded).toString(16)}`, at: this.word(at), row, fold }, true);
  }

  word(number) {
    const pa = this.parts.address(Math.min(Math.max(number, 0), this.parts.frames - 1));
    return pa === null ? "" : `0x${pa.toString(16)}`;
  }

  /** Change the frames of a row by powers of two, and keep the frame at a cell where it is on the screen. */
  zoom(by, index = null) {
    const plan = this.plan; // what was asked for last, be it shown or not: no key is lost
    if (!this.shownPlan) return;
    const row = Math.min(Math.max(plan.row + by, 0), plan.largest);
    if (row === plan.row) return;
    const seen = plan.selected !== null && plan.selected >= plan.first && plan.selected < plan.first + plan.rows * 2 ** plan.row;
    const focus = index !== null ? this.frameOf(index) : seen ? plan.selected : plan.first + Math.floor(plan.rows / 2) * 2 ** plan.row;
    const share = index !== null ? Math.floor(index / this.shownPlan.columns) / this.shownPlan.rows : 0.5;
    const next = this.lay({ ...this.page.state(), row: String(row), at: "" });
    const at = Math.floor(focus / 2 ** row) - Math.floor(share * next.rows);
    this.go({ row, at: this.word(Math.max(at, 0) * 2 ** row) }, true);
  }

  turn(by, lines = null) {
    const { first, rows, row } = this.plan;
    this.go({ at: this.word(first + by * (lines ?? rows) * 2 ** row), row }, true);
  }

  /** The wheel zooms about the pointer; with Shift it turns the pages. */
  wheel(event) {
    if (!this.shownPlan) return;
    event.preventDefault();
    this.rolled = (this.rolled ?? 0) + (event.deltaY || event.deltaX);
    if (Math.abs(this.rolled) < NOTCH) return;
    if (event.shiftKey) this.turn(Math.sign(this.rolled), Math.max(Math.round(Math.abs(this.rolled) / this.shownPlan.tall), 1));
    else this.zoom(Math.sign(this.rolled), this.at(event));
    this.rolled = 0;
  }

  jump(event) {
    const { row, rows, columns, largest } = this.shownPlan;
    const { parts, frames } = this.stripCells;
    const pa = new Parts(parts).address(Math.min(Math.floor((event.offsetX / this.strip.clientWidth) * frames), frames - 1));
    if (!this.parts.isShown(pa)) return this.unfold(pa);
    const zoomed = row === largest ? Math.min(row, Math.floor(Math.log2(columns))) : row;
    return this.go({ row: zoomed, at: this.word(this.parts.number(pa) - Math.floor(rows / 2) * 2 ** zoomed) });
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.shownPlan) return;
    const { columns, shift, selected, first, row, rows } = this.plan;
    const cell = 2 ** shift;
    const from = selected ?? first;
    const fold = selected === null ? undefined : this.parts.foldAt(selected); // a band is one step of an arrow key
    const moves = { ArrowLeft: -cell, ArrowRight: cell, ArrowUp: -cell * columns, ArrowDown: cell * columns };
    const line = cell * columns;
    const beside = (from % line + line) % line; // the column is kept
    if (event.key === "ArrowDown" && fold) this.select(this.under(fold.first + fold.frames, beside, line));
    else if (event.key === "ArrowUp" && fold) this.select(this.under(fold.first, beside, line) - line);
    else if (event.key in moves && fold) this.select(moves[event.key] < 0 ? fold.first - 1 : fold.first + fold.frames);
    else if (event.key in moves) this.select(selected === null ? first : from + moves[event.key]);
    else if (event.key === "Enter" && fold) this.unfold(this.parts.address(selected));
    else if (event.key === "+" || event.key === "=") this.zoom(-1);
    else if (event.key === "-") this.zoom(1);
    else if (event.key === "0") this.go({ row: ALL, at: "" }, true);
    else if (event.key === "Home") this.select(0);
    else if (event.key === "End") this.select(this.parts.frames - 1);
    else if (event.key === "PageUp") this.select(from - rows * 2 ** row);
    else if (event.key === "PageDown") this.select(from + rows * 2 ** row);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  showBand({ base, all }) {
    this.card.drawnFrom = null;
    fill(this.card, el("h2", {}, count(all, "free frame")),
      el("p", {}, `All from 0x${base.toString(16)} to 0x${(base + BigInt(all) * PAGE).toString(16)} are free, and folded into the band. Enter, or a click on it, unfolds them.`));
  }

  async showFrame(word, pointed = false) {
    this.pointed = pointed;
    if (!word) {
      this.card.drawnFrom = null;
      return fill(this.card, el("h2", {}, "A frame"), el("p", {}, "Point at a cell, or choose one, to see whose the frame is, every address that reaches it, and its bytes."));
    }
    const fold = this.shownPlan?.folded && !pointed ? this.parts.foldAt(this.parts.parse(word) ?? -1) : undefined;
    if (fold) return this.showBand(fold);
    const found = await this.askingFrame("frame", { pa: word });
    if (found) onChange(this.card, found, () => fill(this.card, frameCard(this.page, found)));
    return undefined;
  }
}
