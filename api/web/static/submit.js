// The page of submitting: what is dropped or chosen goes to an upload at once; then the page of that upload says what
// each file is and what a job would do. What is dropped there goes to the same upload.
import { call, told } from "./api.js";
import { chosen, dropped } from "./gather.js";
import { send } from "./sending.js";

const UPLOADS = "/api/v1/uploads";
const KIB = 1024;

const at = (id) => document.getElementById(id);
const drop = at("drop");
const words = JSON.parse(drop.dataset.words);
const figures = new Intl.NumberFormat(document.documentElement.lang);
const say = (key, values = {}) => words[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
const size = (bytes) => (bytes < KIB * KIB ? `${figures.format(Math.ceil(bytes / KIB))} KiB` : `${figures.format(Math.round(bytes / KIB / KIB))} MiB`);

const files = { all: 0, done: 0, there: 0, bytes: 0, sent: 0, broken: [] };
let upload = drop.dataset.upload;
let turn = Promise.resolve();
let numWaiting = 0;

function element(name, text, className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = className;
  return made;
}

function alarm(error) {
  at("alarm").hidden = !error;
  at("alarm").replaceChildren(...(error ? told(error) : []));
}

// One drop after the other, so that what is looked at is all of them.
function add(gathering) {
  numWaiting++;
  hold(true);
  turn = turn.then(async () => {
    try {
      alarm(null);
      const found = await gathering;
      if (found.length) await sendAll(found);
    } catch (error) {
      alarm(error);
      return;
    } finally {
      numWaiting--;
      hold(numWaiting > 0);
    }
    if (files.done && !numWaiting && !files.broken.length) look();
  });
}

// Nothing is queued or looked at while files are on their way.
function hold(isHeld) {
  if (at("plan")) at("plan").inert = isHeld;
}

async function sendAll(found) {
  upload ||= (await call(UPLOADS, {})).id;
  files.all += found.length;
  files.bytes += found.reduce((sum, one) => sum + one.file.size, 0);
  at("sending").hidden = false;
  showSent();
  await send(`${UPLOADS}/${upload}`, found, { bytes: showBytes, done: showDone, broken: showBroken });
}

// With what is chosen for the job, where that was to be seen already.
function look() {
  if (at("wish")) at("wish").requestSubmit(at("look"));
  else location.assign(`/submit/${upload}`);
}

// So much of a file is accounted for now; less than before where its request broke.
function account(one, bytes) {
  files.sent += bytes - (one.sent ?? 0);
  one.sent = bytes;
}

function showSent() {
  at("all").max = files.bytes || 1;
  at("all").value = files.bytes ? files.sent : files.done / files.all;
  const counts = { done: files.done, all: files.all, there: files.there };
  const numbers = Object.fromEntries(Object.entries(counts).map(([name, value]) => [name, figures.format(value)]));
  at("sent").textContent = say(files.there ? "sent_there" : "sent", { ...numbers, sent: size(files.sent), size: size(files.bytes) });
}

function rowOf(one) {
  if (!one.row) {
    one.row = document.createElement("li");
    one.bar = document.createElement("progress");
    one.bar.max = one.file.size || 1;
    one.bar.ariaLabel = one.name;
    one.row.append(one.bar, element("span", one.name, "id"));
    at("under-way").append(one.row);
  }
  return one.row;
}

function showBytes(one, bytes) {
  rowOf(one);
  one.bar.value = bytes;
  account(one, bytes);
  showSent();
}

function showDone(one, wasThere) {
  one.row?.remove();
  account(one, one.file.size);
  files.done++;
  if (wasThere) files.there++;
  showSent();
}

function showBroken(one, error) {
  const why = element("span", "", "broken");
  why.append(...told(error));
  rowOf(one).append(" ", why);
  account(one, 0);
  files.broken.push(one);
  at("broken").hidden = false;
  showSent();
}

at("again").addEventListener("click", () => {
  const broken = files.broken.splice(0);
  at("broken").hidden = true;
  for (const one of broken) {
    one.row.remove();
    one.row = null;
    files.bytes -= one.file.size;
  }
  files.all -= broken.length;
  add(Promise.resolve(broken));
});
at("go-on").addEventListener("click", look);

for (const id of ["files", "folder"]) {
  at(id).addEventListener("change", (event) => {
    add(Promise.resolve(chosen(event.target)));
    event.target.value = "";
  });
}
for (const choice of document.querySelectorAll("[data-look]")) choice.addEventListener("change", look);
for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
  // Beside the field a drop would open the file in place of the page.
  document.addEventListener(name, (event) => {
    event.preventDefault();
    drop.firstElementChild.classList.toggle("over", name.startsWith("drage") || name === "dragover");
    if (name === "drop") add(dropped(event.dataTransfer));
  });
}
window.addEventListener("beforeunload", (event) => {
  if (numWaiting) event.preventDefault();
});
drop.hidden = false;
