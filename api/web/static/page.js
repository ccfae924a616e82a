// What every page does: times in the reader's zone, a question before what cannot be undone, and staying up to date.
import { localise } from "./times.js";
import { keepUp } from "./live.js";

localise(document);
document.addEventListener("submit", (event) => {
  const question = event.submitter?.dataset.confirm ?? event.target.dataset.confirm;
  if (question && !window.confirm(question)) event.preventDefault();
});
const main = document.querySelector("main[data-every]");
if (main) keepUp(main, Number(main.dataset.every) * 1000);
