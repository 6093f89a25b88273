// Pictures: which are open, and what the browser kept of them.
import { setName } from './list.js';
import { answerAll } from './prompting.js';
import { NOTHING, api, changed, forgetMasks, inTurn, stage, state, store } from './state.js';
import { count, inOrder, say } from './widgets.js';

const IS_IMAGE = /\.(jpe?g|png|webp|tiff?|bmp|gif|avif|heic|heif)$/i;
let opening = 0, loading = null;

/** Opens files, which may have names of their own, by default their paths in the folder that was chosen. */
export async function openFiles(files, names = new Map()) {
  const chosen = [...files].filter(({ type, name }) => type.startsWith('image/') || IS_IMAGE.test(name));
  if (!chosen.length) return say('There is no picture among them.', 'error');
  const nameOf = (file) => names.get(file) ?? (file.webkitRelativePath.split('/').slice(1).join('/') || file.name);
  const opened = chosen.map((file) => ({ file, name: nameOf(file), history: [] }));
  opened.sort((a, b) => inOrder(a.name, b.name));
  while (inTurn()) await inTurn();
  keepWork();
  state.pictures.splice(0, state.pictures.length, ...opened);
  state.current = null;
  const labeled = new Set(store.labeled.map(({ file_name }) => file_name));
  const first = state.pictures.findIndex(({ name }) => !labeled.has(name));
  await show(Math.max(first, 0));
}

/** Opens files and folders that were dropped; one folder alone is no part of a name. */
export async function openDropped(items) {
  const names = new Map();
  const visit = async (entry, path) => {
    if (entry.isFile) return names.set(await new Promise((...done) => entry.file(...done)), path);
    const reader = entry.createReader(), read = () => new Promise((...done) => reader.readEntries(...done));
    for (let some = await read(); some.length; some = await read()) {
      for (const each of some) await visit(each, path ? `${path}/${each.name}` : each.name);
    }
  };
  const entries = [...items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
  try {
    for (const entry of entries) await visit(entry, entry.isFile || entries.length > 1 ? entry.name : '');
  } catch (error) {
    return say(`The browser cannot read what was dropped: ${error.message}`, 'error');
  }
  await openFiles([...names.keys()], names);
}

function keepWork() {
  if (state.current && stage.picture) Object.assign(state.current, { work: state.work, history: state.history });
  forgetMasks();
}

export async function show(index) {
  while (inTurn()) await inTurn();
  if (!(index in state.pictures)) return;
  const turn = ++opening, picture = state.pictures[index];
  keepWork();
  [state.current, state.work, state.history, state.selected] = [picture, NOTHING, [], null];
  setName('');
  stage.show(null);
  changed();
  say(`Encoding ${picture.name} …`, 'busy');
  await loading; // what is only passed by is never sent
  if (turn !== opening) return;
  const start = performance.now();
  const loaded = load(picture.file);
  loading = loaded.catch(() => {});
  try {
    const { bitmap, width, height, sha256: key } = await loaded;
    if (turn !== opening) return bitmap.close();
    picture.record = { key, file_name: picture.name, width, height, objects: [] };
    stage.show(bitmap);
  } catch (error) {
    if (turn !== opening) return;
    changed();
    return say(error.message, 'error');
  }
  if (picture.work) [state.work, state.history] = [picture.work, picture.history];
  restore();
  answerAll();
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  const back = state.work.objects.length;
  say(back ? `${count(back, 'object')} of this picture came back.` : `Encoded in ${seconds} s. Click an object.`);
}

/** Has the server encode a file; its answer, and the pixels, which it decodes where the browser cannot. */
async function load(file) {
  const [answer, bitmap] = await Promise.all([api.setImage(file), bitmapOf(file).catch(() => null)]);
  if (bitmap?.width === answer.width && bitmap.height === answer.height) return { ...answer, bitmap };
  bitmap?.close();
  return { ...answer, bitmap: await createImageBitmap(await api.send('POST', '/page/decode', file)) };
}

/** None of a WebP file with EXIF data, by which the server turns pictures and Chrome does not. */
async function bitmapOf(file) {
  const start = await file.slice(8, 21).text();
  return start.startsWith('WEBPVP8X') && start.charCodeAt(12) & 8 ? null : createImageBitmap(file);
}

/** The objects that the browser kept of the picture. Undo does not go back to others. */
export function restore() {
  const { key, width, height } = state.current.record;
  const record = store.records.get(key);
  const kept = record?.width === width && record.height === height ? record.objects : [];
  const isSame = JSON.stringify(kept) === JSON.stringify(state.work.objects);
  if (!isSame) [state.work, state.history] = [{ ...state.work, edited: null, objects: kept }, []];
  changed();
}
