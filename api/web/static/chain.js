// Goes on along the chain where the page ended, a part at a time; where it breaks, the page of that part says so.
import { call } from "./api.js";

const checking = document.getElementById("checking");

async function goOn(bar, next) {
  while (next) {
    const found = await call(`/api/v1/audit/chain?limit=10000&cursor=${next}`);
    if (!found.holds) return location.replace(`?cursor=${next}`);
    bar.max = found.sealed;
    bar.value = Number(found.last.split(":")[0]);
    document.getElementById("last").textContent = found.last;
    next = found.next;
  }
  document.getElementById("said").textContent = checking.dataset.done;
  checking.remove();
}

if (checking) {
  const bar = checking.querySelector("progress");
  const button = checking.querySelector("form");
  button.hidden = true;
  bar.hidden = false;
  // What could not be asked can be asked again.
  goOn(bar, checking.dataset.next).catch(() => { button.hidden = false; });
}
