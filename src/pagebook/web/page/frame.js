// One frame: whose it is, every address that reaches it, its bytes.

import { count, el, rights, sized } from "./dom.js";
import { figure } from "./figure.js";
import { ofRole, swatch } from "./paint.js";

const LINE = 16; // bytes
const FIRST_LINES = 16;

export function frameCard(page, found) {
  const owner = found.owner ? el("a", { href: page.link({ view: "spaces", space: found.owner }) }, found.owner) : "nobody";
  const facts = [
    ["Role", [swatch(ofRole(found.role)), found.role, found.level === null ? "" : `, level ${found.level}`]],
    ["Owner", [owner]],
    ["Address", [found.pa]],
    ["Frame number", [found.pfn]],
    found.name ? ["Part of", [found.name]] : null,
    found.symbols.length ? ["Symbols", [found.symbols.join(", ")]] : null,
    ["Mapped by", [found.uses.length ? `${count(found.uses.length, "mapping")}${found.more_uses ? " and more" : ""}` : "nobody"]],
    found.level !== null && found.owner
      ? ["As a table", [el("a", { href: page.link({ view: "spaces", space: found.owner, table: found.pa, level: found.level }) }, "its entries")]]
      : null,
  ].filter(Boolean);
  return [
    el("h2", {}, `Frame ${found.pa}`),
    el("dl", { class: "facts" }, facts.map(([name, what]) => [el("dt", {}, name), el("dd", {}, what)])),
    el("h3", {}, "Reached from"),
    found.uses.length ? uses(page, found) : el("p", { class: "dim" }, "No address of any space leads here."),
    found.bytes === null ? el("p", { class: "dim" }, "There are no bytes to read here.") : [el("h3", {}, "Bytes"), dump(found), el("p", {}, figure("Draw this page", { of: "page", pa: found.pa }))],
  ];
}

function uses(page, found) {
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Addresses that reach the frame" },
    el("table", {},
      el("thead", {}, el("tr", {}, ["Space", "Address", "Rights", "Size", "Place"].map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, found.uses.map((use) => el("tr", {},
        el("td", {}, use.space),
        el("td", {}, el("a", { href: page.link({ view: "walk", space: use.space, va: use.va }) }, use.va)),
        el("td", {}, rights(use.flags, page.machine.flags)),
        el("td", {}, sized(use.size)),
        el("td", {}, use.name))))),
    found.more_uses ? el("p", { class: "dim" }, "and more") : null);
}

/** The bytes in hex and as letters; lines that repeat the one above are left out, as hexdump does. */
function dump(found) {
  const lines = [];
  let before = null;
  let skipped = 0;
  for (let at = 0; at < found.bytes.length; at += 2 * LINE) {
    const hex = found.bytes.slice(at, at + 2 * LINE);
    if (hex === before) { skipped++; continue; }
    if (skipped) lines.push(`     ${count(skipped, "more line")} like it`);
    skipped = 0;
    before = hex;
    const pairs = hex.match(/../g);
    const letters = pairs.map((pair) => { const code = parseInt(pair, 16); return code > 31 && code < 127 ? String.fromCharCode(code) : "·"; }).join("");
    lines.push(`${(at / 2).toString(16).padStart(3, "0")}  ${pairs.slice(0, 8).join(" ")}  ${pairs.slice(8).join(" ")}  ${letters}`);
  }
  if (skipped) lines.push(`     ${count(skipped, "more line")} like it`);
  const shown = el("pre", { class: "bytes", tabindex: "0", "aria-label": "The bytes of the frame" }, lines.slice(0, FIRST_LINES).join("\n"));
  if (lines.length <= FIRST_LINES) return shown;
  const more = el("button", { type: "button", click: () => { shown.textContent = lines.join("\n"); more.remove(); } }, "All 4096 bytes");
  return [shown, more];
}
