// What a user has in work, and what undo goes back to.
import { Api } from './api.js';
import { Mask } from './mask.js';
import { Stage } from './stage.js';
import { Store } from './store.js';
import { ask } from './widgets.js';

export const UNNAMED = 'object'; // what a model that only segments calls everything
export const TOP = 5; // names to choose from
const MAX_UNDO = 100;

/** Nothing in work. Such states are never changed, but for the answer that comes to a prompt. */
export const NOTHING = { points: [], box: null, corner: null, answer: null, isAsked: null, edited: null, objects: [] };

export const state = {
  pictures: [], // {file, name, record, work, history}, in the order of their names
  current: null, // one of them
  work: NOTHING,
  history: [],
  selected: null, // an object of the list
  typed: false, // whether the name in the field is the user's
  vocabulary: [],
  hidden: new WeakSet(), // objects that are not drawn
};

export const api = new Api((wrong) =>
  ask(wrong ? 'That is not it. Password of this server:' : 'Password of this server:', true));
export const store = new Store();
export const stage = new Stage();

let show = () => {};

/** `show()` is called whenever something has changed. */
export function onChange(callback) {
  show = callback;
}

export const changed = () => show();

/** Changes what is in work, so that `undo` goes back. */
export function commit(change) {
  state.history.push(state.work);
  if (state.history.length > MAX_UNDO) state.history.shift();
  state.work = { ...state.work, ...change };
  if (change.objects) keep();
  changed();
}

/** Has the browser keep the objects of the picture. */
export function keep() {
  const { record } = state.current;
  if (state.work.objects === store.records.get(record.key)?.objects) return;
  if (!state.work.objects.length && !store.records.has(record.key)) return;
  store.put({ ...record, objects: state.work.objects }).then(changed);
}

// Turns

let last = null; // what has to be done before anything else

/** An action that waits for the model, as one that actions after it wait for. */
export const held = (action) => (...given) => {
  const before = last;
  const mine = (async () => {
    await before;
    await action(...given);
  })().finally(() => {
    if (last === mine) last = null;
  });
  last = mine;
};

/** Settled when this is not held any more: then look again. Null where nothing is. */
export const inTurn = () => last;

// Masks: objects, and what an answer has to choose from, have them as run lengths, `counts`

export const chosenOf = (answer) => answer?.masks[answer.chosen];

export const namesOf = (answer) => chosenOf(answer)?.top_k ?? [];

export const rle = ({ counts }) => ({ size: stage.size, counts });

let decoded = new WeakMap();

export function maskOf(thing) {
  if (!decoded.has(thing)) decoded.set(thing, Mask.decode(thing.counts, stage.size));
  return decoded.get(thing);
}

/** Frees the masks of a picture that is left. */
export function forgetMasks() {
  decoded = new WeakMap();
}

/** What has a mask that is decoded already. */
export function withMask(thing, mask) {
  decoded.set(thing, mask);
  return thing;
}

export const maskOfAnswer = (answer) => answer && maskOf(chosenOf(answer));

/** What is drawn of an object of the list. */
export const drawn = (thing) => ({ name: thing.name, mask: maskOf(thing) });

/** An object of the server's answer. */
export function readObject({ name, names, name_scores, segmentation: { size, counts }, predicted_iou, stability_score }) {
  if (String(size) !== String(stage.size)) throw new Error('This answer is of another picture: click again.');
  const top_k = names.map((each, index) => ({ name: each, score: Number(name_scores[index].toFixed(4)) }));
  return { name: name ?? UNNAMED, top_k, counts, quality: predicted_iou ?? stability_score };
}
