// The page of submitting: files go to an upload as they are dropped; then what a job would do is shown, and a button
// queues it. What is dropped later goes to the same upload.
import { call, told } from "./api.js";
import { chosen, dropped } from "./gather.js";
import { send } from "./sending.js";

const UPLOADS = "/api/v1/uploads";
const JOBS = "/api/v1/jobs";
const KIB = 1024;
const ROWS = 500;
const OUTCOMES = { rejected: "failed", duplicate: "skipped", stored: "done" };
const COUNTS = ["total", "new", "already_predicted", "duplicate", "not_accepted", "no_pixel_data", "not_selected", "rejected"];

const at = (id) => document.getElementById(id);
const wish = at("wish");
const words = JSON.parse(wish.dataset.words);
const figures = new Intl.NumberFormat(document.documentElement.lang);
const say = (key, values = {}) => words[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
const size = (bytes) => (bytes < KIB * KIB ? `${figures.format(Math.ceil(bytes / KIB))} KiB` : `${figures.format(Math.round(bytes / KIB / KIB))} MiB`);

const files = { all: 0, done: 0, bytes: 0, sent: 0, broken: [] };
const keys = new Map();
let upload = null;
let turn = Promise.resolve();
let numWaiting = 0;
let asked = 0;

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

// One drop after the other, so that the preflight is of all of them.
function add(gathering) {
  numWaiting++;
  at("queue").disabled = true;
  turn = turn.then(async () => {
    try {
      alarm(null);
      const found = await gathering;
      if (found.length) await sendAll(found);
    } catch (error) {
      alarm(error);
    }
    numWaiting--;
    if (upload && !numWaiting) await preflight();
  });
}

async function sendAll(found) {
  upload ??= (await call(UPLOADS, { label: wish.elements.label.value })).id;
  files.all += found.length;
  files.bytes += found.reduce((sum, one) => sum + one.file.size, 0);
  at("sending").hidden = false;
  showSent();
  await send(`${UPLOADS}/${upload}`, found, { bytes: showBytes, done: showDone, broken: showBroken });
}

// So much of a file is sent now; less than before where its request broke.
function account(one, bytes) {
  files.sent += bytes - (one.sent ?? 0);
  one.sent = bytes;
}

function showSent() {
  at("all").max = files.bytes || 1;
  at("all").value = files.bytes ? files.sent : files.done / files.all;
  at("sent").textContent = say("sent", {
    done: figures.format(files.done), all: figures.format(files.all), sent: size(files.sent), size: size(files.bytes),
  });
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

function showDone(one) {
  one.row?.remove();
  account(one, one.file.size);
  files.done++;
  showSent();
}

function showBroken(one, error) {
  const why = element("span", "", "broken");
  why.append(...told(error));
  rowOf(one).append(" ", why);
  account(one, 0);
  files.broken.push(one);
  at("again").hidden = false;
  showSent();
}

at("again").addEventListener("click", () => {
  const broken = files.broken.splice(0);
  at("again").hidden = true;
  for (const one of broken) {
    one.row.remove();
    one.row = null;
    files.bytes -= one.file.size;
  }
  files.all -= broken.length;
  add(broken);
});

const wanted = () => ({ uploads: [upload], ...Object.fromEntries(new FormData(wish)) });

async function preflight() {
  const mine = ++asked;
  at("queue").disabled = true;
  try {
    const [seen, plan] = await Promise.all([call(`${UPLOADS}/${upload}`), call(JOBS, { ...wanted(), dry_run: true })]);
    if (mine !== asked || numWaiting) return;
    alarm(null);
    showFiles(seen);
    showPlan(plan.counts);
  } catch (error) {
    if (mine === asked) alarm(error);
  }
}

function showPlan(counts) {
  const rows = COUNTS.filter((name) => name === "total" || name === "new" || counts[name]).map((name) => {
    const row = document.createElement("tr");
    const told = element("th", say(`count_${name}`));
    told.scope = "row";
    const why = name === "not_accepted" ? Object.entries(counts.not_accepted_why) : [];
    for (const [reason, number] of why) told.append(element("span", `${figures.format(number)}: ${reason}`, "hint"));
    row.append(told, element("td", figures.format(counts[name]), "figure"));
    return row;
  });
  at("counts").replaceChildren(...rows);
  at("plan").hidden = false;
  at("queue").disabled = !counts.total;
}

function showFiles(seen) {
  const order = Object.keys(OUTCOMES);
  const sorted = seen.files.sort((one, other) => order.indexOf(one.outcome) - order.indexOf(other.outcome));
  const rows = sorted.slice(0, ROWS).map((file) => {
    const row = document.createElement("tr");
    const outcome = document.createElement("td");
    outcome.append(element("span", say(file.outcome), `state ${OUTCOMES[file.outcome]}`));
    const why = element("td", file.reason_text ?? "");
    if (file.detail) why.append(" ", element("span", file.detail, "hint"));
    const name = element("th", file.name, "id");
    name.scope = "row";
    row.append(name, outcome, why, element("td", size(file.size_bytes), "figure"));
    return row;
  });
  at("rows").replaceChildren(...rows);
  const numbers = Object.fromEntries(order.map((name) => [name, figures.format(seen.counts[name])]));
  at("outcomes").textContent = say("outcomes", numbers);
  at("left-out").hidden = sorted.length <= ROWS;
  at("left-out").textContent = say("left_out", { number: figures.format(sorted.length - ROWS) });
  at("arrived").hidden = false;
}

// Asking again for the same job, after an answer that was lost, gives the same one.
function keyOf(body) {
  const text = JSON.stringify(body);
  if (!keys.has(text)) keys.set(text, [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16)).join(""));
  return keys.get(text);
}

at("queue").addEventListener("click", async () => {
  at("queue").disabled = true;
  try {
    const body = wanted();
    const job = await call(JOBS, body, { "Idempotency-Key": keyOf(body) });
    location.assign(`/jobs/${job.id}`);
  } catch (error) {
    alarm(error);
    at("queue").disabled = false;
  }
});

for (const id of ["files", "folder"]) {
  at(id).addEventListener("change", (event) => {
    add(Promise.resolve(chosen(event.target)));
    event.target.value = "";
  });
}
wish.addEventListener("submit", (event) => event.preventDefault());
wish.addEventListener("change", (event) => {
  // What else is chosen changes no count.
  if (upload && !numWaiting && event.target.name === "model") preflight();
});
for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
  // Beside the field a drop would open the file in place of the page.
  document.addEventListener(name, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", name.startsWith("drage") || name === "dragover");
    if (name === "drop") add(dropped(event.dataTransfer));
  });
}
window.addEventListener("beforeunload", (event) => {
  if (numWaiting) event.preventDefault();
});
