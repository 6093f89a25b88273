// The objects of the picture: what comes to the list and what is done with it.
import { answered } from './prompting.js';
import { NOTHING, UNNAMED, api, changed, chosenOf, commit, held, maskOf, maskOfAnswer, namesOf, readObject, stage, state, withMask } from './state.js';
import { count, element, partsOf, plainName, say } from './widgets.js';

const SAME = 0.8; // IoU from which two masks are of one object

const isSame = (a, b) => Math.min(a.area, b.area) > SAME * Math.max(a.area, b.area) && a.iou(b) > SAME;

export function setName(value) {
  element('#name').value = value;
  state.typed = false;
}

export const chooseName = held(async (index) => {
  await answered();
  const name = namesOf(state.work.answer)[index]?.name;
  if (name === undefined) return;
  setName(name);
  state.typed = true;
});

/** Drops the object in work; one of the list that was being changed stays as it was. */
export function clear() {
  const { points, box, corner, answer, objects } = state.work;
  if (points.length || box || corner || answer) commit({ ...NOTHING, objects });
  setName('');
}

export const add = held(async () => {
  await answered();
  const { answer, edited, objects } = state.work, mask = maskOfAnswer(answer);
  if (!mask?.area) return say('There is no mask to add: click an object first.', 'error');
  const top_k = namesOf(answer);
  const name = plainName(element('#name').value) || (top_k[0]?.name ?? UNNAMED);
  const thing = withMask({ name, top_k, counts: chosenOf(answer).counts }, mask);
  state.typed = false;
  const index = objects.indexOf(edited);
  commit({ ...NOTHING, objects: index < 0 ? [...objects, thing] : objects.with(index, thing) });
  say(`${index < 0 ? 'Added' : 'Changed'}: ${name}. Click the next object.`);
});

/** Puts another object in its place, or none. */
export function replaceObject(thing, other = null) {
  const { edited, objects } = state.work;
  const others = objects.flatMap((each) => (each !== thing ? [each] : other ? [other] : []));
  commit({ edited: edited === thing ? other : edited, objects: others });
}

export function rename(thing, name) {
  const other = withMask({ ...thing, name }, maskOf(thing));
  if (state.hidden.has(thing)) state.hidden.add(other);
  if (state.selected === thing) state.selected = other;
  replaceObject(thing, other);
}

/** Has the mask of an object of the list in work, until it is added again. */
export function edit(thing) {
  const answer = { masks: [{ ...thing, quality: null }], chosen: 0 };
  commit({ ...NOTHING, answer, edited: thing, objects: state.work.objects });
  setName(thing.name);
  state.typed = true;
  say('Change it with clicks or the brush, and add it again. Esc leaves it as it was.');
}

export async function addFound(text, find) {
  if (!stage.picture) return say('There is no picture: open one.', 'error');
  say(`Looking for ${text} …`, 'busy');
  const { record } = state.current;
  let found;
  try {
    found = await find();
  } catch (error) {
    return say(error.message, 'error');
  }
  if (state.current?.record !== record) return; // of another picture
  const there = state.work.objects.map(maskOf), fresh = [];
  for (const { name, top_k, counts } of found.map(readObject)) {
    const thing = { name, top_k, counts }, mask = maskOf(thing);
    if (!there.some((other) => isSame(other, mask))) fresh.push(thing);
  }
  if (fresh.length) commit({ objects: [...state.work.objects, ...fresh] });
  say(`${count(fresh.length, 'object')} came to the list, of ${text}.${fresh.length ? ' Undo takes them off again.' : ''}`);
}

export function find() {
  const text = element('#wanted').value;
  const names = partsOf(text, ',');
  if (!names.length) return say('What is to be found? Type a name.', 'error');
  addFound(names.join(', '), () => api.find(names));
}

export function select(step) {
  const { objects } = state.work;
  if (!objects.length) return;
  const index = objects.indexOf(state.selected);
  const next = index < 0 && step < 0 ? objects.length - 1 : index + step;
  state.selected = objects[(next + objects.length) % objects.length];
  changed();
}

export function toggle(thing) {
  if (state.hidden.has(thing)) state.hidden.delete(thing);
  else state.hidden.add(thing);
  changed();
}
