// A review by keys alone. All that they do can be done without them, too.
const CHOICES = { a: "agree", d: "disagree", u: "unsure" };
const findings = [...document.querySelectorAll("[data-finding]")];
let current = -1;

const here = () => findings[current];
const mark = () => findings.forEach((one, place) => one.classList.toggle("current", place === current));

function go(to) {
  if (!findings.length) return;
  current = Math.max(0, Math.min(findings.length - 1, to));
  mark();
  here().focus({ preventScroll: true });
  here().scrollIntoView({ block: "nearest" });
}

function choose(verdict) {
  // Nothing is said of what is not marked yet.
  if (current < 0) return go(0);
  here()?.querySelector(`input[value="${verdict}"]`)?.click();
}

function write() {
  if (document.querySelector("[data-finding] textarea")) here()?.querySelector("textarea")?.focus();
  else document.querySelector("a[data-next]")?.click();
}

function flip(details) {
  if (details) details.open = !details.open;
}

const acts = {
  j: () => go(current + 1),
  k: () => go(current - 1),
  ArrowDown: () => go(current + 1),
  ArrowUp: () => go(current - 1),
  n: write,
  v: () => document.querySelector(".viewer canvas")?.focus(),
  h: () => document.querySelector(".viewer-heat")?.click(),
  s: () => document.querySelector("[data-sign]")?.focus(),
  "?": () => flip(document.getElementById("keys")),
};
for (const [key, verdict] of Object.entries(CHOICES)) acts[key] = () => choose(verdict);

document.addEventListener("keydown", (event) => {
  const { target, key } = event;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const isText = target.matches("textarea, input:not([type=radio], [type=checkbox], [type=range])");
  if (isText && key === "Escape") return go(current);
  // In a choice, arrows move the choice, and in the image they go through the series.
  if (isText || !(key in acts) || (key.startsWith("Arrow") && !target.matches("body, [data-finding]"))) return;
  event.preventDefault();
  acts[key]();
});

// Who comes to a finding by mouse or Tab goes on from there.
document.addEventListener("focusin", ({ target }) => {
  const place = findings.indexOf(target.closest("[data-finding]"));
  if (place >= 0 && place !== current) {
    current = place;
    mark();
  }
});
