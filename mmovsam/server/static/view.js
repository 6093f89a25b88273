// What the page shows of the state.
import { chooseName, edit, rename, replaceObject, setName, toggle } from './list.js';
import { show } from './pictures.js';
import { colorOf } from './stage.js';
import { TOP, commit, drawn, maskOf, maskOfObject, namesOf, stage, state, store } from './state.js';
import { count, el, element, plainName, shareOf } from './widgets.js';

export function render() {
  const { answer, points, box, corner, objects } = state.work;
  const mask = answer && maskOf(answer);
  if (!objects.includes(state.selected)) state.selected = null;
  if (stage.picture) {
    const shown = objects.filter((thing) => !state.hidden.has(thing));
    const views = shown.map(drawn);
    stage.set({ objects: views, selected: views[shown.indexOf(state.selected)], mask, points, box, corner });
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
  if (!state.typed) setName(mask?.area ? (top_k[0]?.name ?? '') : '');
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
      const name = plainName(field.value);
      if (name) rename(thing, name);
      else field.value = thing.name;
    };
    field.onfocus = () => {
      state.selected = thing;
      stage.set({ ...stage.scene, selected: stage.scene.objects.find((each) => each.mask === maskOfObject(thing)) });
    };
    const row = el('li', {}, color, field,
      el('button', { title: 'Edit: I', ariaLabel: `Edit ${which}`, onclick: () => edit(thing) }, '✎'),
      el('button', { title: 'Remove: Delete', ariaLabel: `Remove ${which}`, onclick: () => replaceObject(thing) }, '✕'));
    row.classList.toggle('off', state.hidden.has(thing));
    row.classList.toggle('selected', thing === state.selected);
    return row;
  }));
}

function renderPictures() {
  element('#pictures-card').hidden = state.pictures.length < 2;
  const labeled = new Map(store.labeled.map(({ file_name, objects }) => [file_name, objects.length]));
  element('#pictures').replaceChildren(...state.pictures.map((picture, index) =>
    el('li', {}, el('button', { ariaCurrent: String(picture === state.current), title: picture.name, onclick: () => show(index) },
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
