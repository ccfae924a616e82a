// What every page does: times in the reader's zone, a question before what cannot be undone, nothing sent that would be
// lost because the session is over, and staying up to date.
import { localise } from "./times.js";
import { keepUp } from "./live.js";
import { isLive } from "./session.js";

localise(document);
const hasSession = document.getElementById("ended") !== null;
let passed = null;
let isAsking = false;
// What was sent is not sent again while its answer is on the way.
const sent = new WeakSet();
const ANSWERED_MS = 20_000;
document.addEventListener("submit", async (event) => {
  const { target: form, submitter } = event;
  if (event.defaultPrevented) return;
  if (sent.has(form)) return event.preventDefault();
  const question = submitter?.dataset.confirm ?? form.dataset.confirm;
  if (form !== passed && question && !(isAsking || window.confirm(question))) return event.preventDefault();
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
  if (form.method !== "post") return;
  sent.add(form);
  setTimeout(() => sent.delete(form), ANSWERED_MS);
});
const main = document.querySelector("main[data-every]");
if (main) keepUp(main, Number(main.dataset.every) * 1000);
