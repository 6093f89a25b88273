// Keys that stand for buttons, where nothing is typed. Gradio runs this for the header, its `element`.
const BUTTONS = { Enter: 'add', Escape: 'clear', z: 'undo', s: 'save-json' };
document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest('textarea, input:not([type=radio])')) return;
  if (event.key === 'Enter' && event.target.closest('button')) return; // it is pressed already
  if (event.key === 'h') element.querySelector('#keys').toggleAttribute('hidden');
  document.getElementById(BUTTONS[event.key])?.click();
});
