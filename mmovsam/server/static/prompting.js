// The object in work: what clicks, boxes and strokes ask, and what the model answers.
import { Mask } from './mask.js';
import { NOTHING, api, changed, chosenOf, commit, held, keep, maskOfAnswer, namesOf, readObject, rle, stage, state, withMask } from './state.js';
import { element, say } from './widgets.js';

export const tool = () => element('#tools input:checked').value;

export function chooseTool(value) {
  element(`#tools input[value=${value}]`).checked = true;
  element('#radius').hidden = !['brush', 'eraser'].includes(value);
  stage.draw();
}

export function radius() {
  return ['brush', 'eraser'].includes(tool()) && stage.picture ? brushRadius() : 0;
}

function brushRadius() {
  return (Number(element('#radius').value) / 400) * Math.max(stage.picture.width, stage.picture.height);
}

export function click(x, y, { button = 0, shiftKey = false } = {}) {
  const isBackground = button === 2 || shiftKey || tool() === 'not';
  if (tool() !== 'corners' || isBackground) {
    prompt({ points: [...state.work.points, [x, y, isBackground ? 0 : 1]] });
  } else if (state.work.corner) drag(...state.work.corner, x, y);
  else {
    commit({ corner: [x, y] });
    say('Now click the opposite corner.');
  }
}

/** A box begins the object anew. */
export function drag(x1, y1, x2, y2) {
  const box = [Math.min(x1, x2), Math.min(y1, y2), Math.max(x1, x2), Math.max(y1, y2)];
  prompt({ points: [], box, corner: null, answer: null });
}

function prompt(change) {
  if (!stage.picture || !state.current) return say('There is no picture: open one.', 'error');
  commit({ ...change, isAsked: false });
  answerAll();
}

const ASKING = 'Asking the model …';
let answering = null;

/** Settled when nothing is being asked. */
export const answered = () => answering;

/** Asks for masks until the latest prompt has its answer. */
export function answerAll() {
  if (state.work.isAsked === false) {
    answering ??= answerLatest().finally(() => {
      answering = null;
      if (element('#status').textContent === ASKING) say(''); // of what was undone meanwhile
    });
  }
}

async function answerLatest() {
  while (state.work.isAsked === false) {
    const asked = state.work, { current } = state;
    asked.isAsked = true;
    say(ASKING, 'busy');
    let answer = null;
    try {
      answer = await answerTo(asked);
    } catch (error) {
      if (asked === state.work) {
        state.work = state.history.pop() ?? NOTHING;
        say(error.message, 'error');
      }
    }
    if (answer && current === state.current) {
      asked.answer = answer;
      addOthers(asked);
      if (asked === state.work) say('Refine it with more clicks, or add it to the objects.');
    } else asked.isAsked = false; // again, if somebody comes back to it
    if (asked === state.work || state.work.isAsked !== false) changed();
  }
}

async function answerTo({ points, box, answer }) {
  const prompt = {};
  if (points.length) {
    prompt.point_coords = points.map(([x, y]) => [x, y]);
    prompt.point_labels = points.map(([, , label]) => label);
  }
  if (box) prompt.box = box;
  if (maskOfAnswer(answer)?.area) prompt.mask = rle(chosenOf(answer));
  return { prompt, masks: await masksOf(prompt), chosen: 0 };
}

const masksOf = async (prompt, multimask = false) => (await api.prompt([prompt], multimask)).map(readObject);

/** What else a single click may mean, once its likeliest mask is shown. */
async function addOthers(asked) {
  const { answer, points, box } = asked;
  if (points.length !== 1 || box || answer.prompt.mask) return;
  const masks = await masksOf(answer.prompt, true).catch(() => []);
  if (asked !== state.work || asked.answer !== answer || masks.length < 2) return;
  const best = masks.reduce((a, b) => (b.quality > a.quality ? b : a));
  asked.answer = { ...answer, masks, chosen: masks.indexOf(best) };
  changed();
}

export function undo() {
  if (!state.history.length) return say('There is nothing to undo.', 'error');
  const before = state.work;
  state.work = state.history.pop();
  if (state.work.objects !== before.objects) keep();
  state.typed = false;
  changed();
  answerAll();
}

export function nextMask() {
  const { answer } = state.work;
  if (answer?.masks.length > 1) commit({ answer: { ...answer, chosen: (answer.chosen + 1) % answer.masks.length } });
}

/** What the brush painted or the eraser erased, along `[x, y]` places. */
export const stroke = held(async (places) => {
  await answering;
  const value = tool() === 'brush' ? 1 : 0;
  const before = maskOfAnswer(state.work.answer) ?? new Mask(0, 0, 0, 0);
  const mask = before.stroke(places, brushRadius(), value, stage.size);
  const middle = places[Math.floor(places.length / 2)];
  const top_k = namesOf(state.work.answer);
  const painted = withMask({ counts: mask.encode(stage.size), top_k, quality: null }, mask);
  commit({ answer: { masks: [painted], chosen: 0, stroke: [...middle, value] } });
  say('G lets the model refine what is painted; Enter adds it as it is.');
  if (!top_k.length && mask.area) await nameAnew();
});

/** Names of the masks in work, which stay as they are. */
export async function nameAnew() {
  const asked = state.work, { answer } = asked;
  const [x, y, width, height] = maskOfAnswer(answer).bbox;
  const prompt = answer.prompt ?? { box: [x, y, x + width, y + height], mask: rle(chosenOf(answer)) };
  try {
    const named = await masksOf(prompt, answer.masks.length > 1);
    asked.answer = { ...answer, masks: answer.masks.map((each, index) => ({ ...each, top_k: named[index].top_k })) };
    if (asked === state.work) changed();
  } catch (error) {
    say(error.message, 'error');
  }
}

export function refine() {
  const { answer, points } = state.work;
  if (!answer) return say('There is no mask to refine: click an object first.', 'error');
  prompt({ points: answer.stroke ? [...points, answer.stroke] : points.length ? points : [inside(maskOfAnswer(answer))] });
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
