// The book's parts: their frames are numbered one after the other, however far apart their addresses are.  Of a part that
// is folded, only the first frames are shown and numbered.

export const PAGE = 4096n;

export class Parts {
  /** Of `base` in hex, `frames` shown, and `all` that there are, by address. */
  constructor(list) {
    this.list = list;
    this.frames = list.reduce((sum, part) => sum + part.frames, 0);
  }

  /** The number of the frame at a physical address, or null; where it is folded away, that of the last one shown before it. */
  number(pa) {
    let before = 0;
    for (const { base, frames, all } of this.list) {
      const offset = (pa - BigInt(base)) / PAGE;
      if (pa >= BigInt(base) && offset < BigInt(all)) return before + Math.min(Number(offset), frames - 1);
      before += frames;
    }
    return null;
  }

  /** The number of the frame that a word names, or null. */
  parse(word) {
    try {
      return word ? this.number(BigInt(word)) : null;
    } catch {
      return null;
    }
  }

  address(number) {
    let before = 0;
    for (const { base, frames } of this.list) {
      if (number < before + frames) return BigInt(base) + BigInt(number - before) * PAGE;
      before += frames;
    }
    return null;
  }

  /** Whether the frame at an address is among those that are shown. */
  isShown(pa) {
    return this.address(this.number(pa)) === pa;
  }

  /** The parts of which most frames are folded away: the number of the first, how many are shown, how many there are. */
  folds() {
    let before = 0;
    return this.list.map(({ base, frames, all }) => {
      before += frames;
      return { first: before - frames, frames, all, base: BigInt(base) };
    }).filter(({ frames, all }) => all > frames);
  }

  /** The fold that a frame is of, or undefined. */
  foldAt(number) {
    return this.folds().find(({ first, frames }) => number >= first && number < first + frames);
  }
}
