// The cells of the book on a canvas: runs of one kind, marks for what else is in a cell, words where there is room, a band
// for what is folded away, and a frame around the cell that is chosen.

import { count, sized } from "./dom.js";
import { filling, inkOn, ofRole } from "./paint.js";
import { PAGE } from "./parts.js";

const LEAST_WORDS = 7; // CSS pixels

/** The context of a canvas that is cleared, in CSS pixels. */
export function cleared(canvas, width, height) {
  const ratio = devicePixelRatio || 1;
  const [wide, tall] = [Math.round(width * ratio), Math.round(height * ratio)];
  const to = canvas.getContext("2d");
  if (canvas.width !== wide || canvas.height !== tall) { // a canvas of another size is a new one, which takes time
    [canvas.width, canvas.height] = [wide, tall];
    canvas.style.height = `${height}px`;
  }
  to.setTransform(ratio, 0, 0, ratio, 0, 0);
  to.clearRect(0, 0, width, height);
  return to;
}

/** The runs [start, end) of cells of one kind, each within a row. */
function* alike(kinds, columns) {
  for (let start = 0, index = 1; index <= kinds.length; index++) {
    if (index < kinds.length && index % columns && kinds[index] === kinds[start]) continue;
    yield [start, index];
    start = index;
  }
}

export class Sheet {
  /** On a canvas by a plan: the `cells` that the server gave, in `parts` of the book, and the kind of each, by owner or by role; with names, and the look of a kind. */
  constructor(canvas, plan, { cells, parts, kinds, byOwner, roles, look, ownerOf }) {
    Object.assign(this, { canvas, plan, cells, parts, kinds, byOwner, roles, look, ownerOf });
    this.gap = plan.cell >= 24 ? 2 : plan.cell >= 6 ? 1 : 0;
    this.to = cleared(canvas, plan.width, plan.rows * plan.tall);
  }

  /** The upper left corner of a cell. */
  place(index) {
    const { columns, cell, tall } = this.plan;
    return [(index % columns) * cell, Math.floor(index / columns) * tall];
  }

  paint() {
    const { rows, columns, cell, tall, shift, selected } = this.plan;
    const { to, gap, cells } = this;
    this.paintRuns(this.kinds);
    for (let column = 1; gap && column < columns; column++) to.clearRect(column * cell - gap, 0, gap, rows * tall);
    for (const fold of this.parts.folds()) this.paintFold(fold);
    if (!shift && cell >= 44) cells.roles.forEach((_, index) => this.parts.foldAt(cells.first + index) || this.paintWords(index));
    if (shift && cell >= 6 && !this.byOwner) this.paintMixed();
    if (selected !== null && selected >= cells.first && selected < cells.first + cells.roles.length * 2 ** shift) this.paintChosen(Math.floor((selected - cells.first) / 2 ** shift));
  }

  paintRuns(kinds) {
    const { columns, cell, tall } = this.plan;
    const { to, gap } = this;
    const fillings = new Map();
    for (const [start, end] of alike(kinds, columns)) {
      const kind = kinds[start];
      if (!fillings.has(kind)) fillings.set(kind, filling(to, this.look(kind)));
      to.fillStyle = fillings.get(kind);
      const [x, y] = this.place(start);
      to.translate(x, y); // patterns begin anew
      to.fillRect(0, 0, (end - start) * cell - gap, tall - gap);
      to.translate(-x, -y);
    }
  }

  paintChosen(index) {
    const { cell, tall } = this.plan;
    const { to, gap } = this;
    const [x, y] = this.place(index);
    to.lineWidth = 3;
    to.strokeStyle = getComputedStyle(this.canvas).color;
    to.strokeRect(x + 0.5, y + 0.5, cell - gap - 1, tall - gap - 1);
    to.lineWidth = 1;
    to.strokeStyle = getComputedStyle(this.canvas).backgroundColor;
    to.strokeRect(x - 1.5, y - 1.5, cell - gap + 3, tall - gap + 3);
  }

  /** The cells of a fold as one band, with what is folded there. */
  paintFold({ first, frames, all }) {
    const { columns, cell, tall, shift, width } = this.plan;
    const { to, gap, cells } = this;
    const start = Math.max(Math.ceil((first - cells.first) / 2 ** shift), 0);
    const stop = Math.min(Math.floor((first + frames - cells.first) / 2 ** shift), cells.roles.length);
    if (stop <= start) return;
    const colour = ofRole("free")[0];
    const [top, bottom] = [Math.floor(start / columns), Math.floor((stop - 1) / columns)];
    to.fillStyle = filling(to, [colour, "rising"]);
    for (let row = top; row <= bottom; row++) {
      const [left, right] = [Math.max(start - row * columns, 0), Math.min(stop - row * columns, columns)];
      to.fillRect(left * cell, row * tall, (right - left) * cell - gap, tall - (row < bottom ? 0 : gap));
    }
    const words = `${count(all, "free frame")}, ${sized(BigInt(all) * PAGE)}`;
    const [left, right] = top === bottom ? [(start % columns) * cell, ((stop - 1) % columns + 1) * cell] : [0, width];
    const size = Math.min(parseFloat(getComputedStyle(this.canvas).fontSize) * 0.9, (bottom - top + 1) * tall * 0.75);
    to.font = `${size}px system-ui, sans-serif`;
    const wide = to.measureText(words).width + size;
    if (wide > right - left || size < LEAST_WORDS) return;
    const [x, y] = [(left + right) / 2, ((top + bottom + 1) * tall - gap) / 2];
    to.fillStyle = colour;
    to.fillRect(x - wide / 2, y - size * 0.65, wide, size * 1.3);
    to.fillStyle = inkOn(colour);
    to.textAlign = "center";
    to.textBaseline = "middle";
    to.fillText(words, x, y);
    to.textAlign = "start";
  }

  /** The roles that are in a cell beside the one that most of its frames have, as marks at its foot; unknown first. */
  paintMixed() {
    const { to, gap, cells, roles } = this;
    const [wide, tall] = [this.plan.cell - gap, this.plan.tall - gap];
    const size = Math.max(wide / 3, 2);
    const colours = roles.map((name) => ofRole(name)[0]);
    const free = 1 << roles.indexOf("free");
    cells.present.forEach((present, index) => {
      const others = present & ~free & ~(1 << cells.roles[index]);
      if (!others) return;
      const [x, y] = this.place(index);
      let at = 0;
      for (let role = 0; role < roles.length && at < 3; role++) {
        if (!(others >> role & 1)) continue;
        to.fillStyle = colours[role];
        to.fillRect(x + at++ * size, y + tall - size, size, size);
      }
    });
  }

  /** Address, role and owner in the cell of a frame. */
  paintWords(index) {
    const { to, gap, cells } = this;
    const [x, y] = this.place(index);
    const [wide, tall] = [this.plan.cell - gap, this.plan.tall - gap];
    const [colour, pattern] = this.look(this.kinds[index]);
    const lines = [`0x${this.parts.address(cells.first + index).toString(16)}`, this.roles[cells.roles[index]], this.ownerOf(index)];
    const size = Math.min(Math.max(wide / 9, 8), 15);
    to.save();
    to.beginPath();
    to.rect(x, y, wide, tall);
    to.clip();
    to.font = `${size}px ui-monospace, monospace`;
    to.textBaseline = "top";
    const fitting = lines.filter(Boolean).slice(0, Math.floor((tall - 6) / (size * 1.25)));
    if (pattern) {
      to.fillStyle = colour;
      to.fillRect(x, y, wide, fitting.length * size * 1.25 + 8);
    }
    to.fillStyle = inkOn(colour);
    fitting.forEach((words, line) => to.fillText(words, x + 4, y + 5 + line * size * 1.25));
    to.restore();
  }
}
