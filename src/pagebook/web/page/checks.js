// What is wrong: each finding with its story and a way to the place; and the story of any rule.

import { ask } from "./api.js";
import { count, el, fill, story } from "./dom.js";

const SIGNS = { error: "✕", warning: "!", note: "i" };

export function checksView(page) {
  const list = el("div", { class: "findings" });
  const head = el("p", { role: "status", class: "lead" }, "Asking every rule…");
  const chosen = el("div", { class: "card rule" });
  const element = el("section", { class: "checks", "aria-label": "Checks" }, el("h2", {}, "What is wrong"), head, chosen, list);
  let key = "";
  let told = "";

  /** The story of the rule that the link names. */
  async function tell({ rule = "" }) {
    chosen.hidden = !rule;
    if (!rule || rule === told) return;
    const found = await ask("rule", { id: rule });
    told = rule;
    fill(chosen, el("h3", {}, `${found.id} ${found.name}`), story(found.text), el("a", { class: "button", href: page.link({ view: "checks" }) }, "Close"));
  }

  async function show(state) {
    await tell(state);
    const found = await ask("checks");
    const past = page.machine.trouble ? "When it was seen last: " : "";
    const now = JSON.stringify([past, found.findings, found.more, found.blind]);
    if (now === key) return;
    key = now;
    const total = found.findings.length + Object.values(found.more).reduce((sum, more) => sum + more, 0);
    fill(head, past, total
      ? `${count(total, "finding")} by ${count(found.rules.length, "rule")}.`
      : `Nothing is wrong: ${count(found.rules.length, "rule")} asked of ${found.machine}, none is broken.`);
    fill(list, found.findings.map((one) => finding(page, found, one)),
      Object.entries(found.more).map(([id, more]) => el("p", { class: "dim" }, `${id} ${found.names[id].name}: ${count(more, "more finding")} like these`)),
      Object.entries(found.blind).map(([id, why]) => el("p", { class: "dim" }, `${id} was not asked, as ${why}.`)),
      total ? null : el("ul", { class: "asked" }, Object.entries(found.names).map(([id, rule]) => el("li", {}, el("a", { href: page.link({ view: "checks", rule: id }) }, id), ` ${rule.summary}`))));
  }

  /** Nothing is told of a rule that there is not. */
  function refuse() {
    chosen.hidden = true;
    if (!key) fill(head);
  }

  return { element, show, refuse, refresh: show };
}

function finding(page, found, one) {
  const rule = found.names[one.rule];
  const places = [
    one.va !== null && one.space ? el("a", { class: "button", href: page.link({ view: "walk", space: one.space, va: one.va }) }, `Walk to ${one.va} in ${one.space}`) : null,
    one.va !== null && one.space ? el("a", { class: "button", href: page.link({ view: "spaces", space: one.space, va: one.va }) }, "Show its tables") : null,
    one.pa !== null ? el("a", { class: "button", href: page.link({ view: "book", sel: one.pa }) }, `Frame ${one.pa} in the book`) : null,
    one.pte_pa !== null ? el("a", { class: "button", href: page.link({ view: "book", sel: one.pte_pa }) }, "The frame that holds the PTE") : null,
  ].filter(Boolean);
  const told = el("div", {});
  const open = async (event) => {
    if (!event.target.open || told.childElementCount) return;
    try {
      fill(told, story((await ask("rule", { id: one.rule })).text));
    } catch (error) {
      fill(told, error.message);
    }
  };
  const where = [one.space, one.va ?? (one.pa && `frame ${one.pa}`)].filter(Boolean).join(" ");
  return el("article", { class: `finding ${one.severity}` },
    el("h3", {}, el("span", { class: "sign", "aria-hidden": "true" }, SIGNS[one.severity] ?? "!"), ` ${one.severity}: ${rule?.name ?? one.rule} `, el("span", { class: "dim" }, one.rule)),
    el("p", { class: "place" }, where, one.pages > 1 ? `, ${one.pages} pages` : ""),
    el("p", {}, one.message),
    one.pte === null ? null : el("p", { class: "mono dim" }, `level-${one.level} PTE ${one.pte} at ${one.pte_pa}`),
    el("p", {}, el("strong", {}, "Do: "), one.remedy),
    el("p", { class: "places" }, places),
    el("details", { toggle: open }, el("summary", {}, "The story of this rule"), told));
}
