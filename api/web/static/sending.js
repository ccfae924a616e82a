// Files to an upload, a few in each request and several requests at once. A request that breaks is sent again; one that
// is refused is sent file by file, so that a bad file costs only itself.
import { sendForm } from "./api.js";

const BATCH_FILES = 16;
const BATCH_BYTES = 32 * 1024 * 1024;
const TOGETHER = 3;
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

// `tell` hears of each file: bytes(one, sent) as it goes, done(one), or broken(one, error).
export async function send(path, files, tell) {
  const batches = inBatches(files);
  const work = async () => {
    for (let batch; (batch = batches.shift()); ) await sendBatch(path, batch, tell);
  };
  await Promise.all(Array.from({ length: TOGETHER }, work));
}

async function sendBatch(path, batch, tell) {
  try {
    await patiently(() => sendOnce(path, batch, tell));
    batch.forEach(tell.done);
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
