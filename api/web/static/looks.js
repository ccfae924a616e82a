// The viewer beside the findings of a report: it shows the image that one chooses, or the first of the finding that one
// comes to. Without it the small pictures lead to pages of their own.
import { viewers } from "./viewer.js";

const [viewer] = viewers;
const of = document.querySelector(".viewer-of");
const firstOf = (finding) => finding.querySelector(".looks a");
let shown = null;

function show(link) {
  shown?.removeAttribute("aria-current");
  shown = link;
  shown.setAttribute("aria-current", "true");
  of.href = `#${link.closest("[data-finding]").id}`;
  of.textContent = link.firstElementChild.alt;
  viewer.look(link.dataset, of.textContent);
}

document.addEventListener("focusin", ({ target }) => {
  const finding = target.closest("[data-finding]");
  const link = target.closest(".looks a") ?? (finding?.contains(shown) ? null : finding && firstOf(finding));
  if (link && link !== shown) show(link);
});
document.addEventListener("click", (event) => {
  const link = event.target.closest(".looks a");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  show(link);
  viewer.canvas.focus();
});
// Back to where one decides, unless the key was for the window.
viewer.canvas.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !event.defaultPrevented) document.querySelector(of.hash).focus();
});
show(firstOf(document.querySelector(of.hash)));
