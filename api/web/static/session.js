// Whether the page's session goes on. Where it has ended the page says so and keeps what was typed; it goes on when the
// same person has logged in again, in another tab: its forms then carry the word of the new session.
const ended = document.getElementById("ended");
const unreachable = document.getElementById("unreachable");
const touched = new Set();

export const hasEnded = () => !ended.hidden;

// Whether somebody typed or chose something in a form within.
export const isTouched = (within) => [...touched].some((form) => within.contains(form));

// True where this person's next request would be taken; else the page says why not.
export async function isLive() {
  const answer = await fetch("/api/v1/me", { cache: "no-store" }).catch(() => null);
  const me = answer?.ok ? await answer.json() : null;
  const isOurs = me?.name === ended.dataset.reader;
  unreachable.hidden = Boolean(me) || answer?.status === 401;
  if (unreachable.hidden) ended.hidden = isOurs;
  if (!isOurs) return false;
  document.querySelector("meta[name=csrf]").content = me.csrf;
  for (const one of document.querySelectorAll("input[name=csrf]")) one.value = me.csrf;
  return true;
}

if (ended) {
  document.addEventListener("input", ({ target }) => target.form && touched.add(target.form));
  document.addEventListener("visibilitychange", () => {
    if (hasEnded() && !document.hidden) isLive();
  });
}
