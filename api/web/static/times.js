// `time` elements come in UTC; the reader sees their own zone, and UTC on hovering.
const form = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });

export function localise(within) {
  for (const one of within.querySelectorAll("time[datetime]")) {
    if (one.title) continue;
    one.title = one.textContent;
    one.textContent = form.format(new Date(one.dateTime));
  }
}
