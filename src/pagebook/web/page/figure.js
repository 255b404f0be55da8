// The figures of pagebook draw, of what a view shows: drawn when somebody asks for one, over the page, and a file to keep.

import { ask } from "./api.js";
import { el, fill } from "./dom.js";
import { isDark } from "./paint.js";

/** A button that shows the figure `of` something, which the query names. */
export function figure(words, query) {
  return el("button", { type: "button", class: "figure", click: () => show(query) }, words);
}

async function show(query) {
  let url = null;
  const inside = el("div", {}, el("p", { class: "dim", role: "status" }, "Drawing…"));
  const close = el("button", { type: "button", click: () => box.close() }, "Close");
  const box = el("dialog", { class: "drawn", "aria-label": "A figure", keydown: (event) => event.stopPropagation(), close: () => { URL.revokeObjectURL(url); box.remove(); } }, inside, close);
  document.body.append(box);
  box.showModal();
  try {
    const found = await ask("figure", { ...query, theme: isDark() ? "dark" : "light" });
    url = URL.createObjectURL(new Blob([found.svg], { type: "image/svg+xml" }));
    fill(inside, el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "The figure" }, el("img", { src: url, alt: `${found.title}. ${found.description}` })));
    close.before(el("a", { class: "button", href: url, download: `${query.of}.svg` }, "Save it as SVG"), " ");
  } catch (error) {
    fill(inside, el("p", { role: "alert" }, error.message));
  }
}
