// The page: what each button, key and gesture does.
import { add, addFound, chooseName, clear, edit, find, replaceObject, select, toggle } from './list.js';
import { forget, openProject, saveCoco, savePicture, saveProject } from './files.js';
import { note, recall, setVocabulary } from './names.js';
import { openDropped, openFiles, restore, show } from './pictures.js';
import { chooseTool, click, drag, nextMask, radius, refine, stroke, tool, undo } from './prompting.js';
import { TOP, api, changed, inTurn, onChange, stage, state, store } from './state.js';
import { render } from './view.js';
import { count, el, element, say } from './widgets.js';

/** An action that waits for what is held, and then again for what was held meanwhile. */
const afterwards = (action) => (...given) => {
  const turn = inTurn();
  return turn ? turn.then(() => afterwards(action)(...given)) : action(...given);
};

onChange(render);
stage.open(element('#stage canvas'), { click: afterwards(click), drag: afterwards(drag), stroke: afterwards(stroke), brush: radius });
store.onChange = (key) => state.current?.record?.key === key && restore();

// buttons of file dialogs, which never wait: seconds after a click or a key browsers refuse them
const dialogs = { open: 'files', 'open-folder': 'folder', 'open-project': 'project' };
const dialogKeys = { o: 'open', 'Shift+o': 'open-folder', 'Shift+p': 'open-project' };
const buttons = {
  undo,
  clear,
  everything: () => addFound('everything', () => api.everything()),
  'zoom-in': () => stage.zoom(1.4),
  'zoom-out': () => stage.zoom(1 / 1.4),
  'zoom-fit': () => stage.fit(),
  add,
  'save-coco': saveCoco,
  'save-picture': savePicture,
  'save-project': saveProject,
  forget,
  help: () => element('#keys').showModal(),
};

const onSelected = (action) => () => state.selected && action(state.selected);
const step = (by) => () => show(state.pictures.indexOf(state.current) + by);
const resizeBrush = (factor) => () => {
  const field = element('#radius');
  field.value = Math.max(1, Math.round(field.value * factor));
  stage.draw();
};

const keys = {
  Enter: add,
  Escape: clear,
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
  Backspace: onSelected((thing) => replaceObject(thing)), // the key of that name on a Mac
  f: () => element('#wanted').focus(),
  t: () => element('#name').select(),
  a: buttons.everything,
  '+': buttons['zoom-in'],
  '=': buttons['zoom-in'],
  '-': buttons['zoom-out'],
  0: buttons['zoom-fit'],
  s: saveCoco,
  p: saveProject,
  h: buttons.help,
};
for (let number = 1; number <= TOP; number++) keys[number] = () => chooseName(number - 1);

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

document.addEventListener('keydown', (event) => {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.isComposing || document.querySelector('dialog[open]')) return;
  if (target.matches('textarea, input:not([type=radio], [type=range])')) {
    if (key === 'Escape') {
      if (target.matches('#objects input')) target.value = target.defaultValue;
      target.blur();
    }
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
  } else if (event.altKey || (arrow && target.type === 'radio')) return;
  else {
    const small = key.toLowerCase(), action = keys[key] ?? keys[small];
    const dialog = dialogKeys[event.shiftKey ? `Shift+${small}` : small];
    if (dialog) element(`#${dialog}`).click();
    else if (action) afterwards(action)(event);
    else return;
  }
  event.preventDefault();
});

for (const [id, input] of Object.entries(dialogs)) element(`#${id}`).onclick = () => element(`#choose-${input}`).click();
for (const [id, action] of Object.entries(buttons)) element(`#${id}`).onclick = () => afterwards(action)({});
element('#tools').onchange = () => {
  chooseTool(tool());
  element('#stage canvas').focus({ preventScroll: true });
};
element('#name').oninput = ({ target }) => {
  state.typed = target.value.trim() !== '';
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
const { classList } = element('#stage');
document.ondragover = (event) => {
  if (!event.dataTransfer.types.includes('Files')) return;
  event.preventDefault();
  classList.add('dropping');
};
document.ondragleave = () => classList.remove('dropping');
document.ondrop = (event) => {
  if (!event.dataTransfer.types.includes('Files')) return;
  event.preventDefault();
  classList.remove('dropping');
  openDropped(event.dataTransfer.items);
};
window.addEventListener('beforeunload', (event) => store.unkept.size && event.preventDefault());

async function start() {
  const settings = await api.send('GET', '/page/settings');
  await store.open();
  element('#vocabularies').replaceChildren(...Object.entries(settings.vocabularies).map(([title, names]) =>
    el('button', {
      onclick: () => {
        element('#vocabulary').value = names.join('\n');
        setVocabulary();
      },
    }, title)));
  element('#examples').replaceChildren(...settings.examples.map((title, index) =>
    el('button', { title, ariaLabel: title, onclick: () => openExample(index, title) },
      el('img', { src: `page/examples/${index}`, alt: '' }))));
  const names = recall('names');
  element('#vocabulary').value = names ?? settings.names.join('\n');
  state.vocabulary = settings.names;
  if (names !== null) setVocabulary();
  else note(`${count(settings.num_names, 'name')}, those of the model.`);
  changed();
}

async function openExample(index, title) {
  try {
    const blob = await api.send('GET', `/page/examples/${index}`);
    const name = `${title.split(':')[0]}.png`;
    await openFiles([new File([blob], name, { type: blob.type })]);
  } catch (error) {
    say(error.message, 'error');
  }
}

start().catch((error) => say(error.message, 'error'));
