// Keeps a page up to date without loading it again: asks with the ETag whether it still holds, and replaces the parts
// that have an id and differ. Asks less often while nothing answers, and not at all while nobody looks.
import { hasEnded, isLive, isTouched } from "./session.js";
import { localise } from "./times.js";

const LONGEST_MS = 60_000;

export function keepUp(main, everyMs) {
  let etag = null;
  let waitMs = everyMs;
  const look = async () => {
    if (!document.hidden) {
      try {
        const answer = await fetch(location.href, { headers: etag ? { "If-None-Match": etag } : {}, cache: "no-store" });
        const isOver = (answer.redirected || hasEnded()) && !(await isLive());
        // What tells of patients goes with the session, unless something that was typed would go with it.
        if (isOver && !isTouched(document)) return location.reload();
        if (answer.ok && !isOver) {
          etag = answer.headers.get("ETag");
          replace(main, new DOMParser().parseFromString(await answer.text(), "text/html"));
        }
        waitMs = answer.ok || answer.status === 304 ? everyMs : Math.min(LONGEST_MS, waitMs * 2);
      } catch {
        waitMs = Math.min(LONGEST_MS, waitMs * 2);
      }
    }
    setTimeout(look, waitMs);
  };
  setTimeout(look, waitMs);
}

function replace(main, fresh) {
  localise(fresh);
  addAndRemove(main, fresh.getElementById("main"));
  for (const part of main.querySelectorAll("section[id], nav[id]")) {
    const other = fresh.getElementById(part.id);
    if (!other || other.innerHTML === part.innerHTML || isInUse(part)) continue;
    const open = [...part.querySelectorAll("details")].map((one) => one.open);
    part.className = other.className;
    part.innerHTML = other.innerHTML;
    part.querySelectorAll("details").forEach((one, place) => { one.open = open[place] ?? false; });
  }
}

// Whether somebody is typing or choosing in it, or did: that stays as it is.
const isInUse = (part) => part.contains(document.activeElement) || isTouched(part);

// Sections that came, where they belong; and away with those that went, unless somebody is in them.
function addAndRemove(main, other) {
  const parts = [...other.querySelectorAll(":scope > section[id]")];
  const ids = new Set(parts.map((one) => one.id));
  for (const part of main.querySelectorAll(":scope > section[id]")) {
    if (!ids.has(part.id) && !isInUse(part)) part.remove();
  }
  let next = null;
  for (const part of parts.reverse()) {
    const here = document.getElementById(part.id);
    if (!here) main.insertBefore(part, next);
    next = here ?? part;
  }
}
