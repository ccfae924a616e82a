// The form of a schedule: while one types, the moments that the calendar names, or why it names none.
import { call, told } from "./api.js";

const PAUSE_MS = 250;
const form = document.getElementById("calendar");
const fires = document.getElementById("fires");
const said = document.getElementById("said");
const weekday = new Intl.DateTimeFormat(document.documentElement.lang, { weekday: "short", timeZone: "UTC" });
let timer = null;
let asked = 0;

// As the server writes it: the clock of the schedule's own zone, whatever the reader's is.
function local(at) {
  const day = weekday.format(new Date(`${at.slice(0, 10)}T00:00:00Z`));
  return `${day} ${at.slice(0, 10)} ${at.slice(11, 16)} ${at.slice(19)}`;
}

async function look() {
  const mine = ++asked;
  const { cron, time_zone: zone } = form.elements;
  const query = new URLSearchParams({ cron: cron.value, time_zone: zone.value.trim() });
  let found = [];
  let why = [];
  try {
    found = (await call(`/api/v1/schedules/preview?${query}`)).fires;
  } catch (error) {
    why = told(error);
  }
  if (mine !== asked) return;
  said.hidden = !why.length;
  said.replaceChildren(...why);
  fires.replaceChildren(...found.map((at) => Object.assign(document.createElement("li"), { textContent: local(at) })));
}

form.addEventListener("input", (event) => {
  if (!["cron", "time_zone"].includes(event.target.name)) return;
  clearTimeout(timer);
  timer = setTimeout(look, PAUSE_MS);
});

const ofPrediction = document.getElementById("of-prediction");
const { kind } = form.elements;
const fit = () => { if (ofPrediction) ofPrediction.hidden = kind.value !== "inference"; };
kind.addEventListener("change", fit);
fit();
