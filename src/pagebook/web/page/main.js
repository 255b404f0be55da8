// The page: which view is shown, what is searched, how a guest is followed.  The whole state is in the link.

import { ask, latest, takeToken } from "./api.js";
import { el, fill, pasted } from "./dom.js";
import { bookView } from "./book.js";
import { spacesView } from "./spaces.js";
import { walkView } from "./walk.js";
import { checksView } from "./checks.js";
import { timeView } from "./time.js";

const VIEWS = { book: bookView, spaces: spacesView, walk: walkView, checks: checksView, time: timeView };
const PACE = 500; // milliseconds between two questions whether a guest has moved
const THEMES = ["", "light", "dark"];
const OF_ADDRESSES = ["spaces", "walk"];
const $ = (id) => document.getElementById(id);

const page = {
  machine: null,
  following: true,
  /** The state in the link. */
  state() {
    return Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  },
  /** A link to a state; of the same operations and the same step of the tape, unless it says others. */
  link(state) {
    const { ops, t } = this.state();
    state = { ops, t, ...state };
    return `#${new URLSearchParams(Object.entries(state).filter(([, value]) => value !== null && value !== undefined && value !== ""))}`;
  },
  /** Change the state: a new entry in the history, or the same one for what changes with every key. */
  go(state, replace = false) {
    const link = this.link(state);
    if (link === location.hash) return;
    if (replace) { history.replaceState(null, "", link); show(); } else location.hash = link;
  },
  /** Change the state, in place or with a new entry in the history, and wait until it is shown. */
  async goAndShow(state, replace = true) {
    if (replace) history.replaceState(null, "", this.link(state));
    else history.pushState(null, "", this.link(state));
    await show();
  },
  /** Say a sentence above the view, until it is hidden or there is nothing to say. */
  say(words) {
    $("notice").hidden = !words || words === page.hidden;
    if ($("said").textContent !== words) $("said").textContent = words;
  },
  /** What is always to be said of this machine: that it is no more seen, or how it was read. */
  remarks() {
    const { trouble, remarks } = this.machine ?? { trouble: "", remarks: [] };
    if (shown === "time" && page.machine?.tape) return ""; // which says itself where it is
    return trouble ? `This is the last that was seen: ${trouble}` : remarks.join("; ");
  },
};

let current = null;
let shown = "";
let when = ""; // of which the newest look is
let showing = 0;
let looks = 0;
let looked = null; // the newest look, when it is there
let refused = ""; // why the view cannot be shown as the link says
const left = {}; // the state in which each view was left

/** Show what the link says; until that is done, the page says to be busy. */
async function show() {
  takeToken();
  if (!page.machine) return;
  const mine = ++showing;
  $("main").setAttribute("aria-busy", "true");
  await showState(page.state(), () => mine === showing);
  if (mine === showing) $("main").setAttribute("aria-busy", "false");
}

async function showState(state, isLast) {
  const name = VIEWS[state.view] ? state.view : "book";
  refused = "";
  const { ops, t, ...rest } = state;
  left[name] = { ...rest, view: name };
  if (when !== timeOf(state)) look();
  if (!(await told(looked)) || !isLast()) return;
  if (name !== shown) {
    current?.close?.();
    shown = name;
    current = VIEWS[name](page);
    fill($("main"), current.element);
    for (const other of Object.keys(VIEWS)) {
      if (other === name) $(`tab-${other}`).setAttribute("aria-current", "page");
      else $(`tab-${other}`).removeAttribute("aria-current");
    }
    document.title = `${name} of ${page.machine.name} · pagebook`;
  }
  for (const other of Object.keys(VIEWS)) $(`tab-${other}`).href = page.link(wayTo(other, name, state));
  if (state.view && name !== state.view) refused = `There is no view called ${state.view}; this is the book.`;
  await shownBy(current.show(state));
}

/** A view as it was left, at the address that this one shows where both show addresses. */
function wayTo(other, name, { space, va }) {
  const way = { ...left[other], view: other };
  return OF_ADDRESSES.includes(other) && other !== name && va ? { ...way, space, va, table: "", step: "", trap: "" } : way;
}

/** What the view does; why it cannot is said until the link is another, and it is not asked again. */
async function shownBy(work) {
  try {
    await work;
  } catch (error) {
    refused = sentence(error);
    current.refuse?.();
  }
  page.say(refused || page.remarks());
}

function sentence(error) {
  if (!(error instanceof Error) || error instanceof TypeError) console.error(error);
  return error.message;
}

/** Whatever goes wrong is a sentence to the user. */
async function told(work) {
  try {
    await work;
    page.say(refused || page.remarks());
    return true;
  } catch (error) {
    page.say(sentence(error));
    return false;
  }
}

/** Which operations and which step of the tape a state is of; nothing for the machine as it is. */
function timeOf({ ops, t }) {
  return ops === undefined && t === undefined ? "" : `${ops ?? ""} ${t ?? "end"}`;
}

/** Ask for the machine as it is at the step that the link is of; an answer that a later question has overtaken is let go of. */
function look() {
  looked = lookOnce(++looks);
  return looked;
}

async function lookOnce(number) {
  const state = page.state();
  when = timeOf(state);
  let found;
  try {
    found = await ask("machine");
  } catch (error) {
    if (number !== looks) return looked;
    when = null;
    throw error;
  }
  if (number !== looks) return looked;
  page.machine = found;
  $("when").hidden = !when;
  $("when").textContent = state.t === undefined ? "✕ End of the tape" : `✕ Step ${(page.machine.generation - 1).toLocaleString("en")}`;
  const { name, guest, live } = page.machine;
  $("machine").title = name;
  $("machine").textContent = [name.replace(/^(qemu \d+) .*/, "$1"), guest && guest !== name ? guest : ""].filter(Boolean).join(" · "); // without a kernel's path
  $("follow").hidden = !live;
  showFollowing();
  return undefined;
}

async function follow() {
  if (page.machine?.live && page.following && !document.hidden) {
    const before = page.machine;
    if (await told(look()) && page.machine.generation !== before.generation && (!refused || isOther(before))) {
      refused = "";
      await shownBy(current?.refresh?.(page.state()));
    }
  }
  setTimeout(follow, PACE);
}

/** Whether what was refused before may be answered now: it is another guest, or there are other spaces. */
function isOther(before) {
  const who = ({ target, trouble, spaces }) => JSON.stringify([target, trouble, spaces.map((space) => space.name)]);
  return who(before) !== who(page.machine);
}

function showFollowing() {
  const ended = page.machine?.trouble ? "✕ Gone: stop waiting" : "● Live: pause";
  $("follow").textContent = page.following ? ended : "○ Paused: follow";
  $("follow").setAttribute("aria-pressed", String(page.following));
}

function theme(word) {
  if (word) document.documentElement.dataset.theme = word;
  else delete document.documentElement.dataset.theme;
  $("theme").textContent = `Theme: ${word || "system"}`;
  current?.repaint?.();
}

function setUpTheme() {
  let word = localStorage.getItem("pagebook-theme") ?? "";
  if (!THEMES.includes(word)) word = "";
  theme(word);
  $("theme").addEventListener("click", () => {
    word = THEMES[(THEMES.indexOf(word) + 1) % THEMES.length];
    localStorage.setItem("pagebook-theme", word);
    theme(word);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => current?.repaint?.());
}

function setUpSearch() {
  const asking = latest();
  const hits = $("hits");
  const close = () => { hits.hidden = true; };
  $("search").addEventListener("submit", async (event) => {
    event.preventDefault();
    const words = pasted($("words").value);
    if (!words) return close();
    await told(asking("search", { q: words }).then((found) => {
      if (!found) return;
      if (found.hits.length === 1 && found.hits[0].view === "trap") {
        $("words").value = "";
        close();
        return page.go(placeOf(found.hits[0], words));
      }
      hits.hidden = false;
      if (found.hits.length) fill(hits, el("ul", {}, found.hits.map((hit) => el("li", {}, el("a", { href: page.link(placeOf(hit, words)), click: close }, hit.words)))));
      else fill(hits, el("p", {}, `Nothing here is called ${words}.`));
      hits.querySelector("a")?.focus();
    }));
  });
  $("search").addEventListener("keydown", (event) => {
    if (event.key === "Escape") { close(); $("words").focus(); }
    const links = [...hits.querySelectorAll("a")];
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || hits.hidden || !links.length) return;
    event.preventDefault();
    links[(links.indexOf(document.activeElement) + step + links.length) % links.length].focus();
  });
  document.addEventListener("click", (event) => { if (!$("search").contains(event.target)) close(); });
}

function placeOf(hit, words) {
  if (hit.view === "trap") return { view: "walk", trap: words };
  if (hit.view === "rule") return { view: "checks", rule: hit.rule };
  if (hit.view === "book") return { view: "book", sel: hit.pa, row: "" };
  if (hit.view === "spaces") return { view: "spaces", space: hit.space };
  return { view: "walk", space: hit.space, va: hit.va };
}

async function share() {
  const words = $("share").textContent;
  try {
    await navigator.clipboard.writeText(location.href);
    $("share").textContent = "Copied, without the token";
  } catch {
    $("share").textContent = "Copy it from the address bar";
  }
  setTimeout(() => { $("share").textContent = words; }, 2000);
}

function setUpKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|TEXTAREA)$/.test(event.target.tagName)) return;
    const view = Object.keys(VIEWS)[Number(event.key) - 1];
    if (event.key === "/") { event.preventDefault(); $("words").select(); }
    else if (view && event.target.tagName !== "SELECT") page.go({ view });
  });
}

async function start() {
  takeToken();
  setUpTheme();
  setUpSearch();
  setUpKeys();
  $("share").addEventListener("click", share);
  $("skip").addEventListener("click", (event) => { event.preventDefault(); $("main").focus(); });
  $("when").addEventListener("click", () => page.go({ ...page.state(), ops: "", t: "" }));
  $("follow").addEventListener("click", () => { page.following = !page.following; showFollowing(); });
  $("hide").addEventListener("click", () => { page.hidden = $("said").textContent; $("notice").hidden = true; });
  showFollowing();
  addEventListener("hashchange", show);
  await told(look());
  if (!page.machine) return;
  await show();
  document.body.dataset.ready = "yes";
  setTimeout(follow, PACE);
}

start();
