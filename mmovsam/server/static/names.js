// The names that things may have.
import { answered, nameAnew } from './prompting.js';
import { api, maskOfAnswer, state } from './state.js';
import { count, element, partsOf } from './widgets.js';

let wanted = null;

/** Puts the typed names in force; of several calls the last one counts. */
export async function setVocabulary() {
  const names = partsOf(element('#vocabulary').value, '\n');
  wanted = names;
  if (names.length) note(`Reading ${count(names.length, 'name')} …`);
  try {
    const inForce = await api.setNames(names);
    if (wanted !== names) return;
    state.vocabulary = inForce;
    note(names.length ? `${count(inForce.length, 'name')} in force.` : `${count(inForce.length, 'name')}, those of the model.`);
    remember('names', names.length ? names.join('\n') : null);
    await answered();
    if (maskOfAnswer(state.work.answer)?.area) await nameAnew();
  } catch (error) {
    if (wanted !== names) return;
    note(error.message, 'error');
    if (!error.status) setTimeout(() => wanted === names && setVocabulary(), 3000); // the server may come back
  }
}

export function note(text, kind = 'hint') {
  const line = element('#vocabulary-note');
  [line.textContent, line.className] = [text, kind];
}

function remember(key, value) {
  try {
    if (value === null) localStorage.removeItem(`mmovsam ${key}`);
    else localStorage.setItem(`mmovsam ${key}`, value);
  } catch {} // the browser forbids it
}

export function recall(key) {
  try {
    return localStorage.getItem(`mmovsam ${key}`);
  } catch {
    return null;
  }
}
