// Address spaces: a layout of regions; a region opens into the tables on the way to it, a table into its cells, a cell
// into its bits.  The link holds the space, an address and the level down to which tables are open.

import { ask } from "./api.js";
import { pteBits } from "./bits.js";
import { count, el, fill, onChange, rights, sized } from "./dom.js";
import { figure } from "./figure.js";

const KINDS = ["absent", "table", "leaf"];
const COLUMNS = 32;

export function spacesView(page) {
  const list = el("nav", { class: "spaces-list", "aria-label": "Address spaces" });
  const layout = el("div", { class: "layout" });
  const tables = el("div", { class: "tables" });
  const element = el("section", { class: "spaces", "aria-label": "Spaces" }, list, layout, tables);

  function showList(name) {
    const machine = page.machine;
    const harts = machine.harts.filter((hart) => hart.satp !== null);
    fill(list, el("h2", {}, "Spaces"),
      el("ul", {}, machine.spaces.map((space) => el("li", {}, el("a", {
        href: page.link({ view: "spaces", space: space.name }), "aria-current": space.name === name ? "true" : null,
      }, space.name, el("span", { class: "dim" }, [space.pid === null ? "" : ` pid ${space.pid}`, space.state ? ` ${space.state}` : ""].join("")))))),
      harts.length ? [el("h3", {}, "Harts"), el("ul", {}, harts.map((hart) => el("li", {},
        `hart ${hart.number}${hart.privilege ? `, ${hart.privilege}` : ""}: `,
        hart.spaces.length ? hart.spaces.map((one) => el("a", { href: page.link({ view: "spaces", space: one }) }, one)) : el("code", {}, hart.satp))))] : null);
  }

  /** Which region holds the address. */
  function mark(state) {
    for (const region of layout.querySelectorAll(".region")) {
      const low = BigInt(region.dataset.va);
      const here = state.va && BigInt(state.va) >= low && BigInt(state.va) < low + BigInt(region.dataset.size);
      if (here) region.setAttribute("aria-current", "true");
      else region.removeAttribute("aria-current");
    }
  }

  function showLayout(space) {
    const pieces = [];
    let end = null;
    for (const run of space.runs) {
      const va = BigInt(run.va);
      if (end !== null && va > end) pieces.push(el("li", { class: "gap" }, `${sized(va - end)} not mapped`));
      end = va + BigInt(run.size);
      const tall = Math.min(Math.max(Math.log2(run.pages + 1) * 0.35, 0), 5);
      const made = el("a", {
        class: `region ${kindOf(run.flags)}`, href: page.link({ view: "spaces", space: space.name, va: run.va, level: run.level }),
        "data-va": run.va, "data-size": run.size,
      },
        el("span", { class: "name" }, run.name || "unnamed"),
        el("span", { class: "mono" }, `${run.va} `, el("span", { class: "dim" }, `→ ${run.pa}`)),
        el("span", {}, rights(run.flags, page.machine.flags), ` ${sized(run.size)}`, run.level ? ` in pages of ${sized(BigInt(run.size) / BigInt(run.pages))}` : ""));
      made.style.paddingBlock = `${0.3 + tall / 2}rem`;
      pieces.push(el("li", {}, made));
    }
    fill(layout,
      el("h2", {}, space.name),
      el("p", { class: "dim" }, `${space.format}, root ${space.root}; ${count(space.mappings, "mapping")} in ${count(space.runs.length, "run")}${space.size ? `; size ${space.size}` : ""}`),
      space.problems.length ? el("ul", { class: "problems" }, space.problems.map((one) => el("li", {}, `${one.va}: ${one.kind}, level-${one.level} PTE ${one.pte} at ${one.pte_pa}`))) : null,
      el("p", {}, figure("Draw it beside physical memory", { of: "layout", space: space.name })),
      el("ol", { class: "regions", "aria-label": "Regions by address" }, pieces),
      space.more_runs ? el("p", { class: "dim" }, "and more runs; search for an address to go there") : null);
  }

  /** The tables from the root down to `level`, each with the cell that the address goes through. */
  async function showTables(space, state) {
    if (!state.va) {
      tables.drawnFrom = null;
      return fill(tables, el("h2", {}, "Tables"), el("p", {}, "Choose a region to see the tables on the way to it, or "),
        el("a", { class: "button", href: page.link({ view: "spaces", space: space.name, va: "0x0", level: space.levels - 1 }) }, "open the root table"));
    }
    const va = BigInt(state.va);
    const lowest = Math.min(Math.max(Number(state.level ?? 0) || 0, 0), space.levels - 1);
    if (!tables.childElementCount) fill(tables, el("p", { class: "dim" }, "Reading the tables…"));
    const made = [el("h2", {}, `Tables to ${state.va}`)];
    const read = [];
    let pa = space.root;
    for (let level = space.levels - 1; level >= lowest; level--) {
      const table = await ask("table", { space: space.name, pa, level });
      const index = Number(va >> BigInt(12 + level * space.index_bits) & (1n << BigInt(space.index_bits)) - 1n);
      read.push(table);
      made.push(...await tableOf(space, table, index, va));
      if (table.kinds[index] !== 1 || level === lowest) break;
      pa = table.targets[index];
    }
    onChange(tables, [space.name, state.va, lowest, read], () => fillTables(made));
    return undefined;
  }

  /** Tables in the place of those that are shown; an entry that has the focus keeps it. */
  function fillTables(...children) {
    const entry = tables.contains(document.activeElement) ? document.activeElement.dataset.index : undefined;
    const level = document.activeElement?.closest(".grid")?.dataset.level;
    fill(tables, ...children);
    if (entry !== undefined) tables.querySelector(`[data-level="${level}"] [data-index="${entry}"]`)?.focus();
  }

  async function tableOf(space, table, index, va) {
    const go = (cell) => {
      const shift = BigInt(12 + table.level * space.index_bits);
      const above = va >> shift + BigInt(space.index_bits) << shift + BigInt(space.index_bits);
      let address = (above | BigInt(cell) << shift) & (1n << BigInt(space.va_bits)) - 1n;
      if (space.va_bits < space.xlen && address >> BigInt(space.va_bits - 1)) address |= (1n << BigInt(space.xlen)) - (1n << BigInt(space.va_bits));
      const opens = table.kinds[cell] === 1 && table.level > 0;
      return { view: "spaces", space: space.name, va: `0x${address.toString(16)}`, level: opens ? table.level - 1 : table.level };
    };
    const grid = cells(table, index, (cell) => page.go(go(cell)));
    const decoded = await ask("pte", { value: table.ptes[index], format: space.format });
    const kind = KINDS[table.kinds[index]];
    const leads = { absent: "absent: no address leads on from here", table: `a pointer to the table at ${table.targets[index]}`, leaf: `a leaf: ${sized(table.covers)} at ${table.targets[index]}` }[kind];
    const whose = kind === "absent" ? null : el("a", { href: page.link({ view: "book", sel: table.targets[index] }) }, "in the book");
    return [
      el("h3", {}, `Level ${table.level}${table.level === space.levels - 1 ? ", the root" : ""}: the table at ${table.pa}`),
      el("p", { class: "dim" }, `${table.ptes.length} entries of ${table.pte_bytes} bytes, each for ${sized(table.covers)}; ${count(table.kinds.filter(Boolean).length, "entry").replace("entrys", "entries")} valid`),
      grid,
      el("p", {}, el("strong", {}, `Entry ${index}`), ` at 0x${(BigInt(table.pa) + BigInt(index * table.pte_bytes)).toString(16)} is `, el("code", {}, table.ptes[index]), `, ${leads} `, whose),
      pteBits(table.ptes[index], decoded.places, page.machine.flags),
      el("p", {}, figure("Draw this table", { of: "page-table", space: space.name, table: table.pa })),
    ];
  }

  async function show(state) {
    const machine = page.machine;
    if (!machine.spaces.length) return fill(layout, "This machine has no address space that is known.");
    if (state.table) return fromTable(state);
    const name = state.space ?? machine.spaces[0].name;
    showList(name);
    const space = await ask("space", { name });
    onChange(layout, space, () => showLayout(space));
    mark(state);
    await showTables(space, state);
    return undefined;
  }

  /** A table by its own address, as the book knows it: shown alone, with its first entry. */
  async function fromTable(state) {
    showList(state.space);
    const space = await ask("space", { name: state.space });
    onChange(layout, space, () => showLayout(space));
    mark({});
    const table = await ask("table", { space: state.space, pa: state.table, level: state.level });
    const index = Math.min(Math.max(Number(state.index ?? 0) || 0, 0), table.ptes.length - 1);
    const decoded = await ask("pte", { value: table.ptes[index], format: space.format });
    tables.drawnFrom = null;
    fillTables(el("h2", {}, `The table at ${table.pa}`), el("p", { class: "dim" }, `level ${table.level}, of ${state.space}`),
      cells(table, index, (cell) => page.go({ ...state, index: cell })),
      el("p", {}, el("strong", {}, `Entry ${index}`), " is ", el("code", {}, table.ptes[index]), `, ${KINDS[table.kinds[index]]}`),
      pteBits(table.ptes[index], decoded.places, page.machine.flags));
  }

  /** Nothing is shown of a space that cannot be asked. */
  function refuse() {
    layout.drawnFrom = tables.drawnFrom = null;
    fill(layout);
    fill(tables);
  }

  return { element, show, refuse, refresh: show };
}

function kindOf(flags) {
  if (flags.includes("w") && flags.includes("x")) return "writable-code";
  if (flags.includes("x")) return "code";
  return flags.includes("w") ? "data" : "constant";
}

/** A table as a grid of its entries: one is in the order of tabs, arrows go to the others, Enter chooses. */
function cells(table, chosen, choose) {
  const made = table.kinds.map((kind, index) => el("div", {
    role: "gridcell", class: `cell ${KINDS[kind]} ${table.flags[index].includes("u") ? "user" : ""}`, tabindex: index === chosen ? "0" : "-1",
    "aria-selected": String(index === chosen), "data-index": index,
    "aria-label": `entry ${index}: ${KINDS[kind]}${kind ? ` ${table.ptes[index]} to ${table.targets[index]} ${table.flags[index]}` : ""}`,
    title: `${index}: ${KINDS[kind]}${kind ? ` → ${table.targets[index]} ${table.flags[index]}` : ""}`,
  }, kind === 1 ? "▸" : kind === 2 ? "■" : ""));
  const rows = [];
  for (let at = 0; at < made.length; at += COLUMNS) rows.push(el("div", { role: "row", class: "row" }, made.slice(at, at + COLUMNS)));
  const move = (event) => {
    const at = Number(event.target.dataset?.index);
    if (!Number.isInteger(at)) return;
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - COLUMNS, ArrowDown: at + COLUMNS, Home: 0, End: made.length - 1 }[event.key];
    if (event.key === "Enter" || event.key === " ") choose(at);
    else if (to === undefined) return;
    else made[Math.min(Math.max(to, 0), made.length - 1)].focus();
    event.preventDefault();
  };
  const click = (event) => { if (event.target.dataset?.index) choose(Number(event.target.dataset.index)); };
  return el("div", { role: "grid", class: "grid", "data-level": table.level, "aria-label": `Entries of the table at ${table.pa}`, keydown: move, click }, rows);
}
