// Colours and patterns of roles and owners, the same on the canvas and in the legend.
// The colours are Okabe and Ito's, which people who see red and green alike can tell apart; every one but the plainest
// also has a pattern, so that nothing hangs on colour alone.

const LIGHT = {
  "unknown": ["#d55e00", "cross"], "free": ["#e6e2d9", ""], "kernel image": ["#0072b2", ""], "device queue": ["#cc79a7", "dots"],
  "kernel stack": ["#56b4e9", "lines"], "trapframe": ["#f0e442", "rising"], "user": ["#009e73", ""], "shared": ["#e69f00", "bars"],
  "page table": ["#3d3d4a", ""],
};
const DARK = { ...LIGHT, "free": ["#2b2f37", ""], "kernel image": ["#2f8fd0", ""], "page table": ["#ececf2", ""] };
const OWNERS = ["#0072b2", "#009e73", "#e69f00", "#cc79a7", "#56b4e9", "#f0e442", "#d55e00", "#8a6fc0"];
const PATTERNS = ["", "rising", "dots", "bars", "lines", "cross", "grid"];
const TILE = 8;

/** Whether the page is dark now. */
export function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

/** Colour and pattern of a role. */
export function ofRole(name) {
  return (isDark() ? DARK : LIGHT)[name] ?? ["#888888", ""];
}

/** Colour and pattern of what no space owns, by its role. */
export function ofUnowned(role) {
  if (role === "free" || role === "unknown") return ofRole(role);
  return [isDark() ? "#9aa1ad" : "#6d7079", ofRole(role)[1]];
}

/** Colour and pattern of an owner by the number of its space; of several. */
export function ofOwner(number) {
  if (number === -2) return [isDark() ? "#6b7280" : "#b9b4a8", "rising"];
  return [OWNERS[number % OWNERS.length], PATTERNS[Math.floor(number / OWNERS.length) % PATTERNS.length]];
}

/** Black or white, whichever can be read on a colour. */
export function inkOn(colour) {
  const [r, g, b] = [1, 3, 5].map((at) => (parseInt(colour.slice(at, at + 2), 16) / 255) ** 2.2);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.18 ? "#000000" : "#ffffff";
}

const tiles = new Map();

/** What to fill with for a colour and a pattern. */
export function filling(context, [colour, pattern]) {
  if (!pattern) return colour;
  const key = colour + pattern;
  if (!tiles.has(key)) tiles.set(key, tile(colour, pattern));
  return context.createPattern(tiles.get(key), "repeat");
}

function tile(colour, pattern) {
  const made = document.createElement("canvas");
  made.width = made.height = TILE;
  const to = made.getContext("2d");
  to.fillStyle = colour;
  to.fillRect(0, 0, TILE, TILE);
  to.strokeStyle = to.fillStyle = inkOn(colour) === "#000000" ? "rgba(0,0,0,.5)" : "rgba(255,255,255,.55)";
  to.lineWidth = 1.3;
  const line = (...points) => {
    to.beginPath();
    to.moveTo(points[0], points[1]);
    to.lineTo(points[2], points[3]);
    to.stroke();
  };
  if (pattern === "cross" || pattern === "rising") { line(-1, 9, 9, -1); line(-1, 1, 1, -1); line(7, 9, 9, 7); }
  if (pattern === "cross") { line(-1, -1, 9, 9); }
  if (pattern === "lines" || pattern === "grid") line(0, 4, 8, 4);
  if (pattern === "bars" || pattern === "grid") line(4, 0, 4, 8);
  if (pattern === "dots") { to.beginPath(); to.arc(4, 4, 1.6, 0, 7); to.fill(); }
  return made;
}

/** A small square of a colour and a pattern, for the legend. */
export function swatch(look) {
  const made = document.createElement("canvas");
  made.width = made.height = 32;
  made.className = "swatch";
  made.setAttribute("aria-hidden", "true");
  const to = made.getContext("2d");
  to.scale(2, 2);
  to.fillStyle = filling(to, look);
  to.fillRect(0, 0, 16, 16);
  return made;
}
