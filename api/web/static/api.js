// The API as the session's cookie may use it; what it refuses is thrown, in its own words.
// Asked for each time: it is another one after another login.
const csrf = () => document.querySelector("meta[name=csrf]")?.content ?? "";

export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export async function call(path, body, headers = {}) {
  const given = { headers: { "X-CSRF-Token": csrf(), ...headers } };
  if (body !== undefined) {
    given.method = "POST";
    given.headers["Content-Type"] = "application/json";
    given.body = JSON.stringify(body);
  }
  const answer = await fetch(path, given);
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, said.detail ?? answer.statusText);
  return said;
}

// The same with a form of files: only XMLHttpRequest tells how much of a body is sent.
export function sendForm(path, form, onBytes) {
  return new Promise((give, refuse) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    request.setRequestHeader("X-CSRF-Token", csrf());
    request.responseType = "json";
    request.upload.onprogress = (event) => onBytes(event.loaded);
    request.onerror = () => refuse(new Refused(0, ""));
    request.onload = () => {
      if (request.status < 400) return give(request.response);
      const refused = new Refused(request.status, request.response?.detail ?? request.statusText);
      refused.waitS = Number(request.getResponseHeader("Retry-After")) || 0;
      refuse(refused);
    };
    request.send(form);
  });
}
