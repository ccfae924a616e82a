// What every page does: times in the reader's zone, a question before what cannot be undone, nothing sent that would be
// lost because the session is over, and staying up to date.
import { localise } from "./times.js";
import { keepUp } from "./live.js";
import { isLive } from "./session.js";

localise(document);
const hasSession = document.getElementById("ended") !== null;
let passed = null;
let isAsking = false;
document.addEventListener("submit", async (event) => {
  const { target: form, submitter } = event;
  if (event.defaultPrevented) return;
  if (hasSession && form.method === "post" && form !== passed) {
    event.preventDefault();
    if (isAsking) return;
    isAsking = true;
    passed = (await isLive()) ? form : null;
    isAsking = false;
    if (passed) form.requestSubmit(submitter);
    passed = null;
    return;
  }
  const question = submitter?.dataset.confirm ?? form.dataset.confirm;
  if (question && !window.confirm(question)) event.preventDefault();
});
const main = document.querySelector("main[data-every]");
if (main) keepUp(main, Number(main.dataset.every) * 1000);
