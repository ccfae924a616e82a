// The API as the session's cookie may use it; what it refuses is thrown.
// Asked for each time: it is another one after another login.
const csrf = () => document.querySelector("meta[name=csrf]")?.content ?? "";
const titles = JSON.parse(document.querySelector("meta[name=problems]")?.content ?? "{}");

// Status 0: no answer came.
class Refused extends Error {
  constructor(status, problem) {
    super(problem?.detail ?? "");
    this.status = status;
    this.title = titles[problem?.reason] ?? titles[status] ?? problem?.title ?? String(status);
  }
}

// An error for a page: what it is in the page's words, then what the API says of it, which is English.
export function told(error) {
  const title = Object.assign(document.createElement("b"), { textContent: error.title ?? error.message });
  if (!error.title || !error.message) return [title];
  return [title, " ", Object.assign(document.createElement("span"), { textContent: error.message, lang: "en", className: "said" })];
}

export async function answered(path, given) {
  const answer = await fetch(path, given).catch(() => { throw new Refused(0); });
  if (!answer.ok) throw new Refused(answer.status, await answer.json().catch(() => null));
  return answer;
}

export async function call(path, body, headers = {}) {
  const given = { headers: { "X-CSRF-Token": csrf(), ...headers } };
  if (body !== undefined) {
    given.method = "POST";
    given.headers["Content-Type"] = "application/json";
    given.body = JSON.stringify(body);
  }
  return (await answered(path, given)).json();
}

// The same with a form of files: only XMLHttpRequest tells how much of a body is sent.
export function sendForm(path, form, onBytes) {
  return new Promise((give, refuse) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    request.setRequestHeader("X-CSRF-Token", csrf());
    request.responseType = "json";
    request.upload.onprogress = (event) => onBytes(event.loaded);
    request.onerror = () => refuse(new Refused(0));
    request.onload = () => {
      if (request.status < 400) return give(request.response);
      const refused = new Refused(request.status, request.response);
      refused.waitS = Number(request.getResponseHeader("Retry-After")) || 0;
      refuse(refused);
    };
    request.send(form);
  });
}
