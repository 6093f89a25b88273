// Keeps the objects of each picture in the browser's storage, and gives them back when the picture
// is opened again. Gradio runs this with its `element`, `props`, `trigger` and `watch`; the server
// writes and checks the records, this only stores them.
const PREFIX = 'mmovsam ';
const unkept = new Map(); // records that the storage did not take
let current = null; // the picture's key
const latest = new Map(); // the order of a picture's latest note; answers may overtake each other

const storedKeys = () => {
  try {
    return Object.keys(localStorage).filter((name) => name.startsWith(PREFIX));
  } catch {
    return []; // the browser forbids it
  }
};
const keys = () => {
  const all = new Set([...storedKeys().map((name) => name.slice(PREFIX.length)), ...unkept.keys()]);
  return [...all].filter((key) => read(key) !== null);
};
const read = (key) => {
  if (unkept.has(key)) return unkept.get(key);
  return storedKeys().includes(PREFIX + key) ? localStorage.getItem(PREFIX + key) : null;
};
const write = (key, record) => {
  unkept.delete(key);
  try {
    if (record === null) localStorage.removeItem(PREFIX + key);
    else localStorage.setItem(PREFIX + key, record);
  } catch {
    if (record !== null || read(key) !== null) unkept.set(key, record);
  }
};
const pictures = (count) => (count === 1 ? '1 picture' : `${count} pictures`);
const tell = () => {
  const line = element.querySelector('p');
  const count = keys().length;
  line.className = unkept.size ? 'status error' : 'hint';
  line.textContent = unkept.size
    ? "The browser's storage is full: save the project before you leave, and choose Forget all."
    : count ? `Objects of ${pictures(count)} are kept in this browser.` : '';
};

const openProject = (records) => {
  const replaced = Object.keys(records).filter((key) => ![null, records[key]].includes(read(key)));
  const question = `Replace the objects of ${pictures(replaced.length)} by those of the project?`;
  if (replaced.length && !confirm(question)) return;
  for (const [key, record] of Object.entries(records)) write(key, record);
  if (current in records) trigger('restore', { record: records[current], sync: false });
};

watch('value', () => {
  const note = props.value;
  if (note.opened) {
    current = note.opened;
    latest.clear(); // a server that was started again counts from 1
    trigger('restore', { record: read(current), sync: false });
  } else if (note.project) openProject(note.project);
  else if (note.order > (latest.get(note.key) ?? 0)) {
    latest.set(note.key, note.order);
    write(note.key, note.record);
  }
  tell();
});

const file = document.createElement('input');
Object.assign(file, { type: 'file', accept: '.json' });
file.addEventListener('change', async () => {
  const [project] = file.files;
  if (project) trigger('open_project', { name: project.name, text: await project.text() });
  file.value = '';
});
const actions = {
  'save-project': () => trigger('save_project', { records: keys().map(read) }),
  'open-project': () => file.click(),
  'forget-all': () => {
    const count = keys().length;
    if (!count || !confirm(`Remove the objects of ${pictures(count)} from this browser?`)) return;
    for (const key of keys()) write(key, null);
    trigger('remove_all', {});
    tell();
  },
};
document.addEventListener('click', (event) => actions[event.target.closest('button')?.id]?.());
window.addEventListener('beforeunload', (event) => unkept.size && event.preventDefault());
window.addEventListener('storage', (event) => {
  // another tab has changed them
  if (current && event.key === PREFIX + current && event.newValue !== null)
    trigger('restore', { record: event.newValue, sync: true });
  tell();
});
tell();
