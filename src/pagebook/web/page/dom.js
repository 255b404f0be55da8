// Elements made of plain words: nothing here ever parses text as HTML.

const LONGEST_PASTE = 1000; // letters
const UNITS = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/** An element with attributes, listeners (functions under the event's name) and children; null and false are left out. */
export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") made.addEventListener(name, value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** A button; what it does is its name where the words on it are a sign. */
export function button(words, name, click) {
  return el("button", { type: "button", "aria-label": /[a-z]/i.test(words) ? null : name, title: name, click }, words);
}

/** Put these children, and only these, into an element. */
export function fill(parent, ...children) {
  parent.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
}

/** Pasted lines as one, of a long text the end, which is as much as a question can hold. */
export function pasted(text) {
  return text.trim().replace(/\s+/g, " ").slice(-LONGEST_PASTE);
}

/** "1 frame", "2 frames", with the thousands parted. */
export function count(number, word) {
  return `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;
}

/** Bytes in the largest unit that there is one of: 2 MiB, 4 KiB; with a tilde where that is not all of them. */
export function sized(bytes) {
  const number = BigInt(bytes);
  let unit = 0;
  while (unit < UNITS.length - 1 && number >> BigInt(10 * (unit + 1))) unit++;
  const whole = number >> BigInt(10 * unit);
  if (whole << BigInt(10 * unit) === number) return `${whole} ${UNITS[unit]}`;
  return `~${(Number(number) / 1024 ** unit).toFixed(1).replace(/\.0$/, "")} ${UNITS[unit]}`;
}

/** Call `draw` unless it was drawn from equal data before: what is read or focused by somebody stays as it is. */
export function onChange(holder, data, draw) {
  const key = JSON.stringify(data, (name, value) => (name === "generation" ? undefined : value));
  if (holder.drawnFrom === key) return;
  holder.drawnFrom = key;
  draw();
}

/** Rights as letters, each with its name for those who do not see them. */
export function rights(flags, names) {
  const set = [...flags].filter((letter) => letter !== "-").map((letter) => names[letter.toUpperCase()]);
  return el("span", { class: "rights", title: set.join(", ") },
    [...flags].map((letter) => el("span", { class: letter === "-" ? "off" : `right-${letter}` }, letter)));
}

/** The rule's page: headings, paragraphs, code, which is all that such a page has. */
export function story(text) {
  const made = [];
  let code = null;
  let lines = [];
  const flush = () => {
    if (lines.length) made.push(el("p", {}, lines.join(" ").split("`").map((part, at) => (at % 2 ? el("code", {}, part) : part))));
    lines = [];
  };
  for (const line of text.split("\n")) {
    if (line.startsWith("```")) {
      flush();
      if (code) made.push(el("pre", { tabindex: "0" }, code.join("\n")));
      code = code ? null : [];
    } else if (code) code.push(line);
    else if (line.startsWith("## ")) { flush(); made.push(el("h4", {}, line.slice(3))); }
    else if (line.startsWith("# ")) continue;
    else if (!line.trim()) flush();
    else lines.push(line);
  }
  flush();
  return made;
}
