// A PTE as a row of its bits, in fields.

import { el } from "./dom.js";

/** The fields of a PTE from the highest bit down; those in `marked` decided, and are shown so. */
export function pteBits(value, places, names, marked = {}) {
  const bits = BigInt(value);
  return el("div", { class: "bits", role: "list", "aria-label": `The bits of ${value}` }, [...places].reverse().map((place) => {
    const field = bits >> BigInt(place.low) & (1n << BigInt(place.bits)) - 1n;
    const words = place.bits > 4 ? `0x${field.toString(16)}` : field.toString(2).padStart(place.bits, "0");
    const range = place.bits > 1 ? `${place.low + place.bits - 1}–${place.low}` : String(place.low);
    return el("div", { role: "listitem", class: `field ${place.name in marked ? "decided" : ""} ${field ? "set" : ""}`, title: names[place.name] ?? place.name },
      el("span", { class: "where" }, range), el("span", { class: "value" }, words), el("span", { class: "name" }, place.name),
      place.name in marked ? el("span", { class: "verdict" }, "decided") : null);
  }));
}
