// Small parts of the page: elements, the status line, questions, files that are saved.

export const element = (selector) => document.querySelector(selector);

/** A new element with properties and children; text is never read as HTML. */
export function el(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** Has a list show these rows; those that it shows already are left alone, with what is typed there. */
export function fill(list, rows) {
  const wanted = new Set(rows);
  for (const row of [...list.children]) if (!wanted.has(row)) row.remove();
  let next = list.firstElementChild;
  for (const row of rows) {
    if (row === next) next = next.nextElementSibling;
    else list.insertBefore(row, next);
  }
}

/** Scrolls a list, and nothing around it, until it shows a row. */
export function reveal(row) {
  const list = row.parentNode, [outer, inner] = [list, row].map((each) => each.getBoundingClientRect());
  list.scrollTop += Math.min(inner.top - outer.top, 0) + Math.max(inner.bottom - outer.bottom, 0);
}

/** The status line; `kind` is 'busy' while something goes on, 'error' for what went wrong. */
export function say(text, kind = '') {
  const line = element('#status');
  [line.textContent, line.className] = [text, kind];
}

/** A name as it is kept: one line without spaces around it. */
export const plainName = (text) => text.trim().split(/\s+/).join(' ');

/** What stands between separators, without what is blank. */
export const partsOf = (text, separator) => text.split(separator).map((part) => part.trim()).filter(Boolean);

/** Orders names of files as people count: 2 before 10. */
export const inOrder = new Intl.Collator('en', { numeric: true }).compare;

/** Such as '1 name' or '1,200 names'. */
export const count = (number, what) => `${number.toLocaleString('en')} ${what}${number === 1 ? '' : 's'}`;

export const shareOf = (share) => (share === null ? 'painted' : share < 0.01 ? '<1%' : `${Math.round(100 * share)}%`);

/** Asks a question: what the user typed, or '' where nothing is to be typed; null if they cancel. */
export function ask(question, wantsReply = false) {
  const dialog = element('#ask'), reply = element('#reply');
  element('#question').textContent = question;
  Object.assign(reply, { hidden: !wantsReply, value: '' });
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes' ? reply.value : null), { once: true });
  });
}

export function download(blob, name) {
  const link = el('a', { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
