// Goes on along the chain where the page ended, a part at a time; where it breaks, the page of that part says so.
import { call, told } from "./api.js";

const checking = document.getElementById("checking");

async function goOn(bar, button) {
  while (button.value) {
    const found = await call(`/api/v1/audit/chain?limit=${checking.dataset.seals}&cursor=${button.value}`);
    if (!found.holds) return location.replace(`?cursor=${button.value}`);
    bar.max = found.sealed;
    bar.value = Number(found.last.split(":")[0]);
    document.getElementById("last").textContent = found.last;
    button.value = found.next ?? "";
  }
  document.getElementById("said").textContent = checking.dataset.done;
  checking.remove();
}

if (checking) {
  const [bar, form, alarm] = ["progress", "form", ".alarm"].map((one) => checking.querySelector(one));
  form.hidden = true;
  bar.hidden = false;
  // From as far as one came, it can be asked again.
  goOn(bar, form.cursor).catch((error) => {
    form.hidden = alarm.hidden = false;
    alarm.replaceChildren(...told(error));
  });
}
