// What is saved and opened: COCO's JSON, pictures, projects.
import { restore } from './pictures.js';
import { drawObjects } from './stage.js';
import { changed, drawn, inTurn, stage, state, store } from './state.js';
import { readProject, toCoco, writeProject } from './store.js';
import { ask, count, download, inOrder, say } from './widgets.js';

const stem = (name) => name.split('/').at(-1).replace(/\.[^.]+$/, '');

export async function saveCoco() {
  const byName = new Map(store.labeled.map((record) => [record.file_name, record]));
  const records = [];
  for (const picture of state.pictures) {
    if (picture.record || byName.has(picture.name)) {
      const kept = store.records.get(picture.record?.key ?? (await digest(picture.file)));
      if (kept?.objects.length) records.push({ ...kept, file_name: picture.name });
    }
  }
  if (!records.length) return say('The list is empty: add an object first.', 'error');
  const name = `${state.pictures.length === 1 ? stem(state.pictures[0].name) : 'objects'}.json`;
  const content = JSON.stringify(toCoco(records, state.vocabulary), null, 1);
  download(new Blob([content], { type: 'application/json' }), name);
  say(`Saved ${name}, the objects of ${count(records.length, 'picture')}.`);
}

/** The SHA-256 of a file that was not opened yet; none where the browser forbids it. */
async function digest(file) {
  if (!crypto.subtle) return null; // of a page that neither is local nor speaks HTTPS
  const bytes = new Uint8Array(await crypto.subtle.digest('SHA-256', await file.arrayBuffer()));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

export async function savePicture() {
  if (!state.work.objects.length) return say('The list is empty: add an object first.', 'error');
  const { width, height } = stage.picture;
  const canvas = Object.assign(document.createElement('canvas'), { width, height });
  const context = canvas.getContext('2d');
  context.drawImage(stage.picture, 0, 0);
  drawObjects(context, state.work.objects.map(drawn), Math.min(1, 1000 / Math.max(width, height)));
  const name = `${stem(state.current.name)}_objects.jpg`;
  canvas.toBlob((blob) => download(blob, name), 'image/jpeg', 0.92);
  say(`Saved ${name}.`);
}

export function saveProject() {
  const records = store.labeled.sort((a, b) => inOrder(a.file_name, b.file_name));
  if (!records.length) return say('No objects are kept: add one first.', 'error');
  download(new Blob([writeProject(records)], { type: 'application/json' }), 'mmovsam_project.json');
  say(`Saved the objects of ${count(records.length, 'picture')}.`);
}

export async function openProject(file) {
  let records;
  try {
    records = readProject(await file.text(), file.name);
  } catch (error) {
    return say(error.message, 'error');
  }
  const replaced = records.filter(({ key, objects }) => {
    const there = store.records.get(key)?.objects;
    return there?.length && JSON.stringify(there) !== JSON.stringify(objects);
  });
  const question = `Replace the objects of ${count(replaced.length, 'picture')} by those of the project?`;
  if (replaced.length && (await ask(question)) === null) return;
  while (inTurn()) await inTurn();
  for (const record of records) await store.put(record);
  if (state.current?.record && records.some(({ key }) => key === state.current.record.key)) restore();
  changed();
  say(`${file.name} has objects of ${count(records.length, 'picture')}.`);
}

export async function forget() {
  const number = store.labeled.length;
  if (!number) return say('No objects are kept.');
  if ((await ask(`Remove the objects of ${count(number, 'picture')} from this browser?`)) === null) return;
  await store.clear();
  for (const picture of state.pictures) Object.assign(picture, { work: null, history: [] });
  [state.work, state.history, state.selected] = [{ ...state.work, objects: [] }, [], null];
  changed();
  say('No objects are kept any more.');
}
