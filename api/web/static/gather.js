// What was dropped or chosen: files, each with its path in the folder that it came from. Hidden ones are passed over.
const isHidden = (path) => path.split("/").some((part) => part.startsWith("."));

export function chosen(input) {
  const files = [...input.files].map((file) => ({ file, name: file.webkitRelativePath || file.name }));
  return files.filter((one) => !isHidden(one.name));
}

export async function dropped(transfer) {
  // The list is empty after the first wait, so the entries are taken before.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
  const found = [];
  for (const entry of entries) await walk(entry, found);
  return found;
}

async function walk(entry, found) {
  if (isHidden(entry.name)) return;
  if (entry.isFile) {
    const file = await new Promise((give, refuse) => entry.file(give, refuse));
    found.push({ file, name: entry.fullPath.replace(/^\//, "") });
    return;
  }
  const reader = entry.createReader();
  // It gives some entries at a time, at the end none.
  for (let some; (some = await new Promise((give, refuse) => reader.readEntries(give, refuse))).length; ) {
    for (const one of some) await walk(one, found);
  }
}
