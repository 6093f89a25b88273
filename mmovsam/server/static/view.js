// What the page shows of the state.
import { chooseName, edit, rename, replaceObject, setName, toggle } from './list.js';
import { show } from './pictures.js';
import { colorOf } from './stage.js';
import { TOP, commit, drawn, maskOfAnswer, namesOf, stage, state, store } from './state.js';
import { count, el, element, fill, plainName, reveal, shareOf } from './widgets.js';

export function render() {
  const { answer, points, box, corner, objects } = state.work;
  const mask = maskOfAnswer(answer);
  if (!objects.includes(state.selected)) state.selected = null;
  if (stage.picture) {
    const seen = objects.filter((thing) => !state.hidden.has(thing) && thing !== state.work.edited);
    const views = seen.map(drawn);
    stage.set({ objects: views, selected: views[seen.indexOf(state.selected)], mask, points, box, corner });
  }
  element('#empty').hidden = Boolean(state.current);
  element('#described').textContent = !stage.picture ? 'No picture.' : [
    `${state.current.name}: ${count(points.length, 'point')}`, ...(box ? ['a box'] : []), ...(corner ? ['a corner'] : []),
    ...(mask ? [`a mask of ${count(mask.area, 'pixel')}`] : []), count(objects.length, 'object'),
  ].join(', ');
  renderAnswer(answer, mask);
  renderObjects(objects);
  renderPictures();
  renderKept();
}

function renderAnswer(answer, mask) {
  const top_k = mask?.area ? namesOf(answer) : [];
  const best = element('#best');
  best.className = top_k.length ? '' : 'hint';
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
  if (!state.typed) setName(top_k[0]?.name ?? '');
}

const pictureRows = new WeakMap();
let objectRows = new WeakMap(); // of the open picture
const rowOf = (rows, thing, make) => rows.get(thing) ?? rows.set(thing, make(thing)).get(thing);
const noObjects = el('li', { className: 'hint' }, 'Objects that you add are listed here.');
let shown = {}; // the picture and the object that are marked in their lists

function renderObjects(objects) {
  const list = element('#objects'), before = list.childElementCount;
  if (state.current !== shown.picture) objectRows = new WeakMap();
  fill(list, objects.length ? objects.map((thing) => rowOf(objectRows, thing, objectRow)) : [noObjects]);
  for (const thing of objects) {
    const { classList } = objectRows.get(thing);
    classList.toggle('off', state.hidden.has(thing));
    classList.toggle('selected', thing === state.selected);
    classList.toggle('edited', thing === state.work.edited);
  }
  if (list.childElementCount === before + 1) reveal(list.lastElementChild);
  if (state.selected && state.selected !== shown.object) reveal(objectRows.get(state.selected));
  shown.object = state.selected;
}

function objectRow(thing) {
  const { name } = thing;
  const color = el('button', { className: 'color', title: 'Show or hide: V', ariaLabel: `Show or hide ${name}`, onclick: () => toggle(thing) });
  color.style.setProperty('--color', colorOf(name));
  const field = el('input', { value: name, ariaLabel: `Name of ${name}`, maxLength: 200 });
  field.onchange = () => {
    const other = plainName(field.value);
    if (other) rename(thing, other);
    else field.value = name;
  };
  field.onfocus = () => {
    state.selected = thing;
    render();
  };
  return el('li', {}, color, field,
    el('button', { title: 'Edit: I', ariaLabel: `Edit ${name}`, onclick: () => edit(thing) }, '✎'),
    el('button', { title: 'Remove: Delete', ariaLabel: `Remove ${name}`, onclick: () => replaceObject(thing) }, '✕'));
}

function renderPictures() {
  const { pictures, current } = state;
  element('#pictures-card').hidden = pictures.length < 2;
  let done = 0;
  fill(element('#pictures'), pictures.map((picture) => rowOf(pictureRows, picture, pictureRow)));
  const byName = new Map(store.labeled.map((record) => [record.file_name, record]));
  for (const picture of pictures) {
    const record = picture.record ? store.records.get(picture.record.key) : byName.get(picture.name);
    const number = pictureRows.get(picture).querySelector('b'), text = String(record?.objects.length || '');
    if (number.textContent !== text) number.textContent = text;
    done += text !== '';
  }
  element('#done').textContent = `${done.toLocaleString('en')} of ${count(pictures.length, 'picture')} with objects`;
  if (current === shown.picture) return;
  for (const [picture, isOpen] of [[shown.picture, false], [current, true]]) {
    if (picture) pictureRows.get(picture).firstElementChild.ariaCurrent = String(isOpen);
  }
  if (current) reveal(pictureRows.get(current));
  shown.picture = current;
}

function pictureRow(picture) {
  const open = () => show(state.pictures.indexOf(picture));
  return el('li', {}, el('button', { title: picture.name, onclick: open }, el('span', {}, picture.name), el('b')));
}

function renderKept() {
  const line = element('#kept'), number = store.labeled.length;
  line.className = store.unkept.size ? 'error' : 'hint';
  line.textContent = store.unkept.size
    ? "The browser's storage is full or forbidden: save the project before you leave."
    : number ? `Objects of ${count(number, 'picture')} are kept in this browser.` : '';
}
