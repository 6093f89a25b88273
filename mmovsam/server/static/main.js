// The page: what a user has in work, and what each button, key and gesture does with it.
import { Api } from './api.js';
import { Mask } from './mask.js';
import { Stage, colorOf, drawObjects } from './stage.js';
import { Store, readProject, toCoco, writeProject } from './store.js';
import { ask, count, download, el, element, say, shareOf } from './widgets.js';

const TOP = 5; // names to choose from
const SAME = 0.8; // IoU from which two masks are of one object
const MAX_UNDO = 100;
const IS_IMAGE = /\.(jpe?g|png|webp|tiff?|bmp|gif|avif|heic|heif)$/i;
const UNNAMED = 'object'; // what a model that only segments calls everything

// What undo goes back to. Never changed, but for the answer that comes to its prompt.
const NOTHING = { points: [], box: null, corner: null, answer: null, objects: [] };

const pictures = []; // {file, name, record, work, history}, in the order of their names
let current = null;
let work = NOTHING;
let history = [];
let selected = null;
let typed = false; // whether the name in the field is the user's
let vocabulary = [];
let settings = {};
let opening = 0;
const hidden = new WeakSet(); // objects that are not drawn
const decoded = new WeakMap(); // masks of objects

const api = new Api((wrong) => ask(wrong ? 'That is not it. Password of this server:' : 'Password of this server:', true));
const store = new Store((key) => current?.record?.key === key && restore());
const stage = new Stage(element('#stage canvas'), { click, drag, stroke, brush: radius });

// Pictures

async function openFiles(files) {
  const chosen = [...files].filter(({ type, name }) => type.startsWith('image/') || IS_IMAGE.test(name));
  if (!chosen.length) return say('There is no picture among them.', 'error');
  // the folder itself is no part of a name
  const nameOf = (file) => file.webkitRelativePath?.split('/').slice(1).join('/') || file.name;
  const opened = chosen.map((file) => ({ file, name: nameOf(file), history: [] }));
  opened.sort((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true }));
  keepWork();
  pictures.splice(0, pictures.length, ...opened);
  current = null;
  const labeled = new Set(store.labeled.map(({ file_name }) => file_name));
  const first = pictures.findIndex(({ name }) => !labeled.has(name));
  await show(Math.max(first, 0));
}

function keepWork() {
  if (current) Object.assign(current, { work, history });
}

async function show(index) {
  if (!(index in pictures)) return;
  const turn = ++opening, picture = pictures[index];
  keepWork();
  [current, work, history, selected] = [picture, NOTHING, [], null];
  setName('');
  stage.show(null);
  render();
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
    current = null;
    render();
    return say(error.message, 'error');
  }
  if (picture.work) [work, history] = [picture.work, picture.history];
  restore();
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  const back = work.objects.length;
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
function restore() {
  const kept = store.records.get(current.record.key)?.objects ?? [];
  const isSame = JSON.stringify(kept) === JSON.stringify(work.objects);
  if (!isSame) work = { ...work, objects: kept };
  render();
}

function keep() {
  const { record } = current;
  if (work.objects === store.records.get(record.key)?.objects) return;
  if (!work.objects.length && !store.records.has(record.key)) return;
  store.put({ ...record, objects: work.objects }).then(renderKept);
}

// The object in work

function commit(change) {
  history.push(work);
  if (history.length > MAX_UNDO) history.shift();
  work = { ...work, ...change };
  if (change.objects) keep();
  render();
}

function radius() {
  return ['brush', 'eraser'].includes(tool()) && stage.picture ? brushRadius() : 0;
}

function brushRadius() {
  return (Number(element('#radius').value) / 400) * Math.max(stage.picture.width, stage.picture.height);
}

const tool = () => element('#tools input:checked').value;

function chooseTool(value) {
  element(`#tools input[value=${value}]`).checked = true;
  element('#radius').hidden = !['brush', 'eraser'].includes(value);
  stage.draw();
}

function click(x, y, { button = 0, shiftKey = false } = {}) {
  const isBackground = button === 2 || shiftKey || tool() === 'not';
  if (tool() !== 'corners' || isBackground) {
    prompt({ points: [...work.points, [x, y, isBackground ? 0 : 1]] });
  } else if (work.corner) drag(...work.corner, x, y);
  else {
    commit({ corner: [x, y] });
    say('Now click the opposite corner.');
  }
}

/** A box begins the object anew. */
function drag(x1, y1, x2, y2) {
  const box = [Math.min(x1, x2), Math.min(y1, y2), Math.max(x1, x2), Math.max(y1, y2)];
  prompt({ points: [], box, corner: null, answer: null });
}

function prompt(change) {
  if (!stage.picture || !current) return say('There is no picture: open one.', 'error');
  commit({ ...change, isAsked: false });
  answerAll();
}

let answering = null;

/** Asks for masks until the latest prompt has its answer; settled then. */
function answerAll() {
  if (work.isAsked === false) {
    answering ??= answerLatest().finally(() => {
      answering = null;
    });
  }
  return answering;
}

async function answerLatest() {
  while (work.isAsked === false) {
    const asked = work;
    asked.isAsked = true;
    try {
      asked.answer = await answerTo(asked);
      if (asked === work) say('Refine it with more clicks, or add it to the objects.');
    } catch (error) {
      if (asked === work) {
        work = history.pop() ?? NOTHING;
        say(error.message, 'error');
      }
    }
    if (asked === work || work.isAsked !== false) render();
  }
}

async function answerTo({ points, box, answer }) {
  const prompt = {};
  if (points.length) {
    prompt.point_coords = points.map(([x, y]) => [x, y]);
    prompt.point_labels = points.map(([, , label]) => label);
  }
  if (box) prompt.box = box;
  const before = answer && maskOf(answer);
  if (before?.area) prompt.mask = rle(before);
  const isOpen = points.length === 1 && !box && !prompt.mask; // how large the object is
  const masks = (await api.prompt([prompt], isOpen)).map(readMask);
  const best = masks.reduce((a, b) => (b.quality > a.quality ? b : a));
  return { prompt, masks, chosen: masks.indexOf(best) };
}

function readMask({ names, name_scores, segmentation, predicted_iou, stability_score }) {
  const top_k = names.map((name, index) => ({ name, score: Number(name_scores[index].toFixed(4)) }));
  const mask = Mask.decode(segmentation.counts, segmentation.size);
  return { top_k, mask, counts: segmentation.counts, quality: predicted_iou ?? stability_score };
}

const maskOf = (answer) => answer.masks[answer.chosen].mask;
const rle = (mask) => ({ size: stage.size, counts: mask.encode(stage.size) });
const namesOf = (answer) => answer?.masks[answer.chosen].top_k ?? [];

function nextMask() {
  const { answer } = work;
  if (answer?.masks.length > 1) commit({ answer: { ...answer, chosen: (answer.chosen + 1) % answer.masks.length } });
}

// Brush and eraser

async function stroke(places) {
  await answering;
  const value = tool() === 'brush' ? 1 : 0;
  const before = work.answer ? maskOf(work.answer) : new Mask(0, 0, 0, 0);
  const mask = before.stroke(places, brushRadius(), value, stage.size);
  const middle = places[Math.floor(places.length / 2)];
  const top_k = namesOf(work.answer);
  const painted = { masks: [{ mask, top_k, quality: null }], chosen: 0, stroke: [...middle, value] };
  commit({ answer: painted });
  if (!top_k.length && mask.area) await nameAnew();
  say('G lets the model refine what is painted; Enter adds it as it is.');
}

/** Names of the masks in work, which stay as they are. */
async function nameAnew() {
  const asked = work, { answer } = asked;
  const [x, y, width, height] = maskOf(answer).bbox;
  const prompt = answer.prompt ?? { box: [x, y, x + width, y + height], mask: rle(maskOf(answer)) };
  try {
    const named = (await api.prompt([prompt], answer.masks.length > 1)).map(readMask);
    asked.answer = { ...answer, masks: answer.masks.map((each, index) => ({ ...each, top_k: named[index].top_k })) };
    if (asked === work) render();
  } catch (error) {
    say(error.message, 'error');
  }
}

function refine() {
  const { answer, points } = work;
  if (!answer) return say('There is no mask to refine: click an object first.', 'error');
  prompt({ points: answer.stroke ? [...points, answer.stroke] : points.length ? points : [inside(maskOf(answer))] });
}

/** A place in a mask: the middle of the longest run of its middle row. */
function inside(mask) {
  const [x, y, width, height] = mask.bbox, row = y + Math.floor(height / 2);
  let [best, start] = [[0, x], null];
  for (let column = x; column <= x + width; column++) {
    if (mask.has(column, row)) start ??= column;
    else if (start !== null) {
      if (column - start > best[0]) best = [column - start, start];
      start = null;
    }
  }
  return [best[1] + best[0] / 2, row + 0.5, 1];
}

// The list

async function add() {
  await answering;
  const { answer } = work, mask = answer && maskOf(answer);
  if (!mask?.area) return say('There is no mask to add: click an object first.', 'error');
  const top_k = namesOf(answer);
  const name = element('#name').value.trim().split(/\s+/).join(' ') || (top_k[0]?.name ?? UNNAMED);
  const thing = { name, top_k, counts: mask.encode(stage.size) };
  decoded.set(thing, mask);
  typed = false;
  commit({ ...NOTHING, objects: [...work.objects, thing] });
  say(`Added: ${name}. Click the next object.`);
}

function maskOfObject(thing) {
  if (!decoded.has(thing)) decoded.set(thing, Mask.decode(thing.counts, stage.size));
  return decoded.get(thing);
}

function replaceObject(thing, ...others) {
  commit({ objects: work.objects.flatMap((each) => (each === thing ? others : [each])) });
}

function rename(thing, name) {
  const other = { ...thing, name };
  decoded.set(other, maskOfObject(thing));
  if (hidden.has(thing)) hidden.add(other);
  if (selected === thing) selected = other;
  replaceObject(thing, other);
}

/** Takes an object off the list, to change its mask. */
function edit(thing) {
  const answer = { masks: [{ mask: maskOfObject(thing), top_k: thing.top_k, quality: null }], chosen: 0 };
  selected = null;
  commit({ ...NOTHING, answer, objects: work.objects.filter((each) => each !== thing) });
  setName(thing.name);
  typed = true;
  say('Change it with clicks or the brush, and add it again.');
}

async function addFound(text, find) {
  if (!stage.picture) return say('There is no picture: open one.', 'error');
  say(`Looking for ${text} …`, 'busy');
  const { record } = current;
  let found;
  try {
    found = (await find()).map(readMask);
  } catch (error) {
    return say(error.message, 'error');
  }
  if (current?.record !== record) return; // of another picture
  const there = work.objects.map(maskOfObject), fresh = [];
  for (const { mask, top_k, counts } of found) {
    if (there.some((other) => other.iou(mask) > SAME)) continue;
    const thing = { name: top_k[0]?.name ?? UNNAMED, top_k, counts };
    decoded.set(thing, mask);
    fresh.push(thing);
  }
  if (fresh.length) commit({ objects: [...work.objects, ...fresh] });
  say(`${count(fresh.length, 'object')} came to the list, of ${text}.${fresh.length ? ' Undo takes them off again.' : ''}`);
}

function find() {
  const text = element('#wanted').value;
  const names = text.split(',').map((name) => name.trim()).filter(Boolean);
  if (!names.length) return say('What is to be found? Type a name.', 'error');
  addFound(names.join(', '), () => api.find(names));
}

function undo() {
  if (!history.length) return say('There is nothing to undo.', 'error');
  const before = work;
  work = history.pop();
  if (work.objects !== before.objects) keep();
  typed = false;
  render();
  answerAll();
}

function select(step) {
  const { objects } = work;
  if (!objects.length) return;
  const index = objects.indexOf(selected);
  selected = objects[index < 0 ? (step > 0 ? 0 : objects.length - 1) : (index + step + objects.length) % objects.length];
  render();
}

function toggle(thing) {
  if (hidden.has(thing)) hidden.delete(thing);
  else hidden.add(thing);
  render();
}

// Names

let wanted = null;

/** Puts the typed names in force; of several calls the last one counts. */
async function setVocabulary() {
  const names = element('#vocabulary').value.split('\n').map((name) => name.trim()).filter(Boolean);
  wanted = names;
  try {
    const inForce = await api.setNames(names);
    if (wanted !== names) return;
    vocabulary = inForce;
    note(names.length ? `${count(inForce.length, 'name')} in force.` : `${count(inForce.length, 'name')}, those of the model.`);
    remember('names', names.length ? names.join('\n') : null);
    await answering;
    if (work.answer && maskOf(work.answer).area) await nameAnew();
  } catch (error) {
    if (wanted === names) note(error.message, 'error');
  }
}

function note(text, kind = 'hint') {
  const line = element('#vocabulary-note');
  [line.textContent, line.className] = [text, kind];
}

function remember(key, value) {
  try {
    if (value === null) localStorage.removeItem(`mmovsam ${key}`);
    else localStorage.setItem(`mmovsam ${key}`, value);
  } catch {} // the browser forbids it
}

function recall(key) {
  try {
    return localStorage.getItem(`mmovsam ${key}`);
  } catch {
    return null;
  }
}

// Files

const stem = (name) => name.split('/').at(-1).replace(/\.[^.]+$/, '');

async function saveCoco() {
  const byName = new Map(store.labeled.map((record) => [record.file_name, record]));
  const records = [];
  for (const picture of pictures) {
    if (picture.record || byName.has(picture.name)) {
      const kept = store.records.get(picture.record?.key ?? (await digest(picture.file)));
      if (kept?.objects.length) records.push(kept);
    }
  }
  if (!records.length) return say('The list is empty: add an object first.', 'error');
  const name = `${pictures.length === 1 ? stem(pictures[0].name) : 'objects'}.json`;
  const content = JSON.stringify(toCoco(records, vocabulary), null, 1);
  download(new Blob([content], { type: 'application/json' }), name);
  say(`Saved ${name}, the objects of ${count(records.length, 'picture')}.`);
}

/** The SHA-256 of a file that was not opened yet; none where the browser forbids it. */
async function digest(file) {
  if (!crypto.subtle) return null; // of a page that neither is local nor speaks HTTPS
  const bytes = new Uint8Array(await crypto.subtle.digest('SHA-256', await file.arrayBuffer()));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

async function savePicture() {
  if (!work.objects.length) return say('The list is empty: add an object first.', 'error');
  const { width, height } = stage.picture;
  const canvas = Object.assign(document.createElement('canvas'), { width, height });
  const context = canvas.getContext('2d');
  context.drawImage(stage.picture, 0, 0);
  drawObjects(context, work.objects.map(drawn), Math.min(1, 1000 / Math.max(width, height)));
  const name = `${stem(current.name)}_objects.jpg`;
  canvas.toBlob((blob) => download(blob, name), 'image/jpeg', 0.92);
  say(`Saved ${name}.`);
}

function saveProject() {
  const records = store.labeled.sort((a, b) => a.file_name.localeCompare(b.file_name, 'en', { numeric: true }));
  if (!records.length) return say('No objects are kept: add one first.', 'error');
  download(new Blob([writeProject(records)], { type: 'application/json' }), 'mmovsam_project.json');
  say(`Saved the objects of ${count(records.length, 'picture')}.`);
}

async function openProject(file) {
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
  for (const record of records) await store.put(record);
  if (current?.record && records.some(({ key }) => key === current.record.key)) restore();
  render();
  say(`${file.name} has objects of ${count(records.length, 'picture')}.`);
}

async function forget() {
  const number = store.labeled.length;
  if (!number) return say('No objects are kept.');
  if ((await ask(`Remove the objects of ${count(number, 'picture')} from this browser?`)) === null) return;
  await store.clear();
  for (const picture of pictures) Object.assign(picture, { work: null, history: [] });
  [work, history, selected] = [{ ...work, objects: [] }, [], null];
  render();
  say('No objects are kept any more.');
}

// What is shown

function setName(value) {
  element('#name').value = value;
  typed = false;
}

const drawn = (thing) => ({ name: thing.name, mask: maskOfObject(thing) });

function render() {
  const { answer, points, box, corner, objects } = work;
  const mask = answer && maskOf(answer);
  if (!objects.includes(selected)) selected = null;
  if (stage.picture) {
    const shown = objects.filter((thing) => !hidden.has(thing));
    const views = shown.map(drawn);
    stage.set({ objects: views, selected: views[shown.indexOf(selected)], mask, points, box, corner });
  }
  element('#empty').hidden = Boolean(current);
  element('#described').textContent = !current ? 'No picture.' : [
    `${current.name}: ${count(points.length, 'point')}`, ...(box ? ['a box'] : []), ...(corner ? ['a corner'] : []),
    ...(mask ? [`a mask of ${count(mask.area, 'pixel')}`] : []), count(objects.length, 'object'),
  ].join(', ');
  renderAnswer(answer, mask);
  renderObjects(objects);
  renderPictures();
  renderKept();
}

function renderAnswer(answer, mask) {
  const top_k = namesOf(answer);
  const best = element('#best');
  best.className = mask?.area && top_k.length ? '' : 'hint';
  const { quality } = answer?.masks[answer.chosen] ?? {};
  if (!answer) best.textContent = 'Nothing is clicked yet.';
  else if (!mask.area) best.textContent = 'The mask is empty. Undo, and click elsewhere.';
  else best.textContent = top_k[0]?.name ?? `Mask quality ${shareOf(quality)}. This model gives no names.`;
  element('#names').replaceChildren(...top_k.slice(0, TOP).map(({ name, score }, index) => {
    const button = el('button', { title: String(index + 1), onclick: () => chooseName(index) },
      el('span', {}, name), el('b', {}, shareOf(score)));
    button.style.setProperty('--share', `${100 * score}%`);
    return el('li', {}, button);
  }));
  element('#masks').hidden = !(answer?.masks.length > 1);
  element('#masks').replaceChildren(el('span', { className: 'hint' }, 'Masks'), ...(answer?.masks ?? []).map((each, index) =>
    el('button', {
      ariaPressed: String(index === answer.chosen), title: 'M',
      onclick: () => commit({ answer: { ...answer, chosen: index } }),
    }, shareOf(each.quality))));
  if (!typed) setName(mask?.area ? (top_k[0]?.name ?? '') : '');
}

function chooseName(index) {
  const name = namesOf(work.answer)[index]?.name;
  if (name === undefined) return;
  setName(name);
  typed = true;
}

function renderObjects(objects) {
  const list = element('#objects');
  if (!objects.length) return list.replaceChildren(el('li', { className: 'hint' }, 'Objects that you add are listed here.'));
  list.replaceChildren(...objects.map((thing, index) => {
    const which = `object ${index + 1}, ${thing.name}`;
    const color = el('button', { className: 'color', title: 'Show or hide: V', ariaLabel: `Show or hide ${which}`, onclick: () => toggle(thing) });
    color.style.setProperty('--color', colorOf(thing.name));
    const field = el('input', { value: thing.name, ariaLabel: `Name of ${which}` });
    field.onchange = () => {
      const name = field.value.trim().split(/\s+/).join(' ');
      if (name) rename(thing, name);
      else field.value = thing.name;
    };
    field.onfocus = () => {
      selected = thing;
      stage.set({ ...stage.scene, selected: stage.scene.objects.find((each) => each.mask === maskOfObject(thing)) });
    };
    const row = el('li', {}, color, field,
      el('button', { title: 'Edit: I', ariaLabel: `Edit ${which}`, onclick: () => edit(thing) }, '✎'),
      el('button', { title: 'Remove: Delete', ariaLabel: `Remove ${which}`, onclick: () => replaceObject(thing) }, '✕'));
    row.classList.toggle('off', hidden.has(thing));
    row.classList.toggle('selected', thing === selected);
    return row;
  }));
}

function renderPictures() {
  element('#pictures-card').hidden = pictures.length < 2;
  const labeled = new Map(store.labeled.map(({ file_name, objects }) => [file_name, objects.length]));
  element('#pictures').replaceChildren(...pictures.map((picture, index) =>
    el('li', {}, el('button', { ariaCurrent: String(picture === current), title: picture.name, onclick: () => show(index) },
      el('span', {}, picture.name), el('b', {}, labeled.has(picture.name) ? String(labeled.get(picture.name)) : '')))));
  element('#pictures [aria-current=true]')?.scrollIntoView({ block: 'nearest' });
}

function renderKept() {
  const line = element('#kept'), number = store.labeled.length;
  line.className = store.unkept.size ? 'error' : 'hint';
  line.textContent = store.unkept.size
    ? "The browser's storage is full or forbidden: save the project before you leave."
    : number ? `Objects of ${count(number, 'picture')} are kept in this browser.` : '';
}

// Buttons, keys, files

const buttons = {
  open: () => element('#choose-files').click(),
  'open-folder': () => element('#choose-folder').click(),
  undo,
  clear: () => {
    if (work.points.length || work.box || work.corner || work.answer) commit({ ...NOTHING, objects: work.objects });
    setName('');
  },
  everything: () => addFound('everything', () => api.everything()),
  'zoom-in': () => stage.zoom(1.4),
  'zoom-out': () => stage.zoom(1 / 1.4),
  'zoom-fit': () => stage.fit(),
  add,
  'save-coco': saveCoco,
  'save-picture': savePicture,
  'save-project': saveProject,
  'open-project': () => element('#choose-project').click(),
  forget,
  help: () => element('#keys').showModal(),
};

const onSelected = (action) => () => selected && action(selected);
const step = (by) => () => show(pictures.indexOf(current) + by);
const resizeBrush = (factor) => () => {
  const field = element('#radius');
  field.value = Math.max(1, Math.round(field.value * factor));
  stage.draw();
};

const keys = {
  Enter: add,
  Escape: buttons.clear,
  z: undo,
  ArrowLeft: step(-1),
  ArrowRight: step(1),
  ArrowUp: () => select(-1),
  ArrowDown: () => select(1),
  ' ': (event) => stage.picture && click(...stage.cursor, { shiftKey: event.shiftKey }),
  q: () => chooseTool('object'),
  w: () => chooseTool('not'),
  r: () => chooseTool('corners'),
  b: () => chooseTool('brush'),
  e: () => chooseTool('eraser'),
  '[': resizeBrush(1 / 1.3),
  ']': resizeBrush(1.3),
  m: nextMask,
  g: refine,
  i: onSelected(edit),
  v: onSelected(toggle),
  Delete: onSelected((thing) => replaceObject(thing)),
  f: () => element('#wanted').focus(),
  t: () => element('#name').select(),
  a: buttons.everything,
  '+': buttons['zoom-in'],
  '=': buttons['zoom-in'],
  '-': buttons['zoom-out'],
  0: buttons['zoom-fit'],
  s: saveCoco,
  p: (event) => buttons[event.shiftKey ? 'open-project' : 'save-project'](),
  o: (event) => buttons[event.shiftKey ? 'open-folder' : 'open'](),
  h: buttons.help,
};
for (let number = 1; number <= TOP; number++) keys[number] = () => chooseName(number - 1);

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

document.addEventListener('keydown', (event) => {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || document.querySelector('dialog[open]')) return;
  if (target.matches('textarea, input:not([type=radio], [type=range])')) {
    if (key === 'Escape') target.blur();
    if (key === 'Enter' && target.id === 'name') {
      add();
      target.blur();
    }
    return;
  }
  if (target.matches('button') && (key === 'Enter' || key === ' ')) return; // it is pressed already
  const arrow = ARROWS[key];
  if (arrow && (event.shiftKey || event.altKey)) {
    const pixels = event.altKey ? 1 : 16;
    stage.moveCursor(arrow[0] * pixels, arrow[1] * pixels);
  } else if (event.altKey) return;
  else {
    const action = keys[key] ?? keys[key.toLowerCase()];
    if (!action) return;
    action(event);
  }
  event.preventDefault();
});

for (const [id, action] of Object.entries(buttons)) element(`#${id}`).onclick = () => action({});
element('#tools').onchange = () => {
  chooseTool(tool());
  element('#stage canvas').focus({ preventScroll: true });
};
element('#name').oninput = ({ target }) => {
  typed = target.value.trim() !== '';
};
element('#find').onsubmit = (event) => {
  event.preventDefault();
  element('#wanted').blur();
  find();
};
let pause;
element('#vocabulary').oninput = () => {
  clearTimeout(pause);
  pause = setTimeout(setVocabulary, 300);
};
for (const [id, take] of [['files', openFiles], ['folder', openFiles], ['project', ([file]) => file && openProject(file)]]) {
  element(`#choose-${id}`).onchange = ({ target }) => {
    const files = [...target.files];
    target.value = '';
    if (files.length) take(files);
  };
}
const area = element('#stage');
area.ondragover = (event) => {
  event.preventDefault();
  area.classList.add('dropping');
};
area.ondragleave = () => area.classList.remove('dropping');
area.ondrop = (event) => {
  event.preventDefault();
  area.classList.remove('dropping');
  openFiles(event.dataTransfer.files);
};
window.addEventListener('beforeunload', (event) => store.unkept.size && event.preventDefault());

// Start

async function start() {
  settings = await api.send('GET', '/page/settings');
  await store.open();
  element('#vocabularies').replaceChildren(...Object.entries(settings.vocabularies).map(([title, names]) =>
    el('button', {
      onclick: () => {
        element('#vocabulary').value = names.join('\n');
        setVocabulary();
      },
    }, title)));
  element('#examples').replaceChildren(...settings.examples.map((title, index) =>
    el('button', { title, ariaLabel: title, onclick: () => openExample(index) },
      el('img', { src: `page/examples/${index}`, alt: '' }))));
  const names = recall('names');
  element('#vocabulary').value = names ?? settings.names.join('\n');
  vocabulary = settings.names;
  if (names !== null) setVocabulary();
  else note(`${count(settings.num_names, 'name')}, those of the model.`);
  render();
}

async function openExample(index) {
  try {
    const blob = await api.send('GET', `/page/examples/${index}`);
    const name = `${settings.examples[index].split(':')[0]}.png`;
    await openFiles([new File([blob], name, { type: blob.type })]);
  } catch (error) {
    say(error.message, 'error');
  }
}

start().catch((error) => say(error.message, 'error'));
