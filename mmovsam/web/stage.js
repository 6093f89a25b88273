// Gestures on the picture: a click, or a drag from corner to corner. Gradio runs this for the layer
// of marks, with its `element` and `trigger`. The server says what a gesture means, and draws.
const DRAG = 6; // pixels of the screen; what moves less is a click
let start = null;

const position = (event) => {
  const svg = element.querySelector('svg');
  const { left, top, width, height } = svg.getBoundingClientRect();
  const inside = (share) => Math.min(Math.max(share, 0), 1);
  const picture = svg.viewBox.baseVal;
  return [
    inside((event.clientX - left) / width) * picture.width,
    inside((event.clientY - top) / height) * picture.height,
  ];
};

const isDrag = (event) =>
  Math.hypot(event.clientX - start.screen[0], event.clientY - start.screen[1]) > DRAG;

const drawBand = (event) => {
  const { width, height } = element.querySelector('svg').viewBox.baseVal;
  const [x, y] = position(event);
  const band = element.querySelector('.band').style;
  band.display = isDrag(event) ? 'block' : 'none';
  band.left = `${(Math.min(x, start.at[0]) / width) * 100}%`;
  band.top = `${(Math.min(y, start.at[1]) / height) * 100}%`;
  band.width = `${(Math.abs(x - start.at[0]) / width) * 100}%`;
  band.height = `${(Math.abs(y - start.at[1]) / height) * 100}%`;
};

element.addEventListener('contextmenu', (event) => event.preventDefault());
element.addEventListener('pointerdown', (event) => {
  if (start || !element.querySelector('svg')) return;
  start = { at: position(event), screen: [event.clientX, event.clientY] };
  element.setPointerCapture(event.pointerId);
});
element.addEventListener('pointermove', (event) => {
  if (start) drawBand(event);
});
element.addEventListener('pointercancel', () => {
  start = null;
});
element.addEventListener('pointerup', (event) => {
  if (!start) return;
  trigger('gesture', {
    start: start.at,
    end: position(event),
    drag: isDrag(event),
    background: event.button === 2 || event.shiftKey,
  });
  element.querySelector('.band').style.display = 'none';
  start = null;
});
