// Files to an upload, a few in each request and several requests at once. What the server has is not sent again. A
// request that breaks is sent again; one that is refused is sent file by file, so that a bad file costs only itself.
import { call, sendForm } from "./api.js";

const BATCH_FILES = 16;
const BATCH_BYTES = 32 * 1024 * 1024;
const TOGETHER = 3;
// A browser hashes a file as a whole, in memory; a larger one is just sent.
const MOST_HASHED_BYTES = 64 * 1024 * 1024;
const ATTEMPTS = 6;
const LONGEST_WAIT_S = 30;
// No answer, or one that says: not now.
const PASSING = new Set([0, 408, 429, 500, 502, 503, 504]);

function inBatches(files) {
  const batches = [];
  let room = 0;
  for (const one of files) {
    const last = batches.at(-1);
    if (last && last.length < BATCH_FILES && one.file.size <= room) last.push(one);
    else batches.push([one]), (room = BATCH_BYTES);
    room -= one.file.size;
  }
  return batches;
}

// `tell` hears of each file: bytes(one, sent) as it goes, done(one, wasThere), or broken(one, error).
export async function send(path, files, tell) {
  const batches = inBatches(files);
  const work = async () => {
    for (let batch; (batch = batches.shift()); ) {
      const { there, lacking } = await sorted(path, batch);
      for (const one of there) tell.done(one, true);
      if (lacking.length) await sendBatch(path, lacking, tell);
    }
  };
  await Promise.all(Array.from({ length: TOGETHER }, work));
}

// By what the server has. Browsers hash only for pages that came safely (TLS, or this machine): else all is sent.
async function sorted(path, batch) {
  const hashed = crypto.subtle ? batch.filter(isHashed) : [];
  if (!hashed.length) return { there: [], lacking: batch };
  const digests = new Map();
  try {
    for (const one of hashed) digests.set(one, await digestOf(one.file));
    const names = Object.fromEntries(hashed.map((one) => [digests.get(one), one.name]));
    const asked = { sha256: Object.keys(names), names };
    const missing = new Set((await patiently(() => call(`${path}/missing`, asked))).missing);
    const isThere = (one) => digests.has(one) && !missing.has(digests.get(one));
    return { there: batch.filter(isThere), lacking: batch.filter((one) => !isThere(one)) };
  } catch {
    return { there: [], lacking: batch }; // sending them says what is wrong
  }
}

// The server knows no zip, only what was in it.
const isHashed = (one) => one.file.size <= MOST_HASHED_BYTES && !one.name.toLowerCase().endsWith(".zip");

async function digestOf(file) {
  const bytes = new Uint8Array(await crypto.subtle.digest("SHA-256", await file.arrayBuffer()));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function sendBatch(path, batch, tell) {
  try {
    await patiently(() => sendOnce(path, batch, tell));
    for (const one of batch) tell.done(one, false);
  } catch (error) {
    if (batch.length > 1 && !PASSING.has(error.status)) for (const one of batch) await sendBatch(path, [one], tell);
    else batch.forEach((one) => tell.broken(one, error));
  }
}

function sendOnce(path, batch, tell) {
  const form = new FormData();
  for (const one of batch) form.append("files", one.file, one.name);
  return sendForm(path, form, (loaded) => {
    for (const one of batch) {
      tell.bytes(one, Math.min(one.file.size, loaded));
      loaded = Math.max(0, loaded - one.file.size);
    }
  });
}

async function patiently(act) {
  for (let attempt = 1; ; attempt++) {
    try {
      return await act();
    } catch (error) {
      if (attempt === ATTEMPTS || !PASSING.has(error.status)) throw error;
      const waitS = error.waitS || Math.min(LONGEST_WAIT_S, 2 ** (attempt - 1));
      await new Promise((go) => setTimeout(go, waitS * 1000));
    }
  }
}
