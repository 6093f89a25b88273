// Pictures: which are open, and what the browser kept of them.
import { setName } from './list.js';
import { NOTHING, api, changed, stage, state, store } from './state.js';
import { count, inOrder, say } from './widgets.js';

const IS_IMAGE = /\.(jpe?g|png|webp|tiff?|bmp|gif|avif|heic|heif)$/i;
let opening = 0;

export async function openFiles(files) {
  const chosen = [...files].filter(({ type, name }) => type.startsWith('image/') || IS_IMAGE.test(name));
  if (!chosen.length) return say('There is no picture among them.', 'error');
  // the folder itself is no part of a name
  const nameOf = (file) => file.webkitRelativePath?.split('/').slice(1).join('/') || file.name;
  const opened = chosen.map((file) => ({ file, name: nameOf(file), history: [] }));
  opened.sort((a, b) => inOrder(a.name, b.name));
  keepWork();
  state.pictures.splice(0, state.pictures.length, ...opened);
  state.current = null;
  const labeled = new Set(store.labeled.map(({ file_name }) => file_name));
  const first = state.pictures.findIndex(({ name }) => !labeled.has(name));
  await show(Math.max(first, 0));
}

function keepWork() {
  if (state.current) Object.assign(state.current, { work: state.work, history: state.history });
}

export async function show(index) {
  if (!(index in state.pictures)) return;
  const turn = ++opening, picture = state.pictures[index];
  keepWork();
  [state.current, state.work, state.history, state.selected] = [picture, NOTHING, [], null];
  setName('');
  stage.show(null);
  changed();
  say(`Encoding ${picture.name} …`, 'busy');
  const start = performance.now();
  try {
    const encoding = api.setImage(picture.file);
    const bitmap = await bitmapOf(picture.file, encoding);
    const { width, height, sha256: key } = await encoding;
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
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  const back = state.work.objects.length;
  say(back ? `${count(back, 'object')} of this picture came back.` : `Encoded in ${seconds} s. Click an object.`);
}

/** Pixels of a file, as the server sees them, which decodes what the browser cannot. */
async function bitmapOf(file, encoding) {
  let bitmap = null;
  try {
    bitmap = await createImageBitmap(file);
  } catch {}
  const { width, height } = await encoding;
  if (bitmap?.width === width && bitmap.height === height) return bitmap;
  bitmap?.close();
  return createImageBitmap(await api.send('POST', '/page/decode', file));
}

/** The objects that the browser kept of the picture. */
export function restore() {
  const kept = store.records.get(state.current.record.key)?.objects ?? [];
  const isSame = JSON.stringify(kept) === JSON.stringify(state.work.objects);
  if (!isSame) state.work = { ...state.work, objects: kept };
  changed();
}
