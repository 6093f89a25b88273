// The picture with all that is drawn on it: zoom, pan, and what a pointer does there.

const DRAG = 6; // pixels of the screen; what moves less is a click
const MAX_SCALE = 40; // pixels of the screen for one of the picture

/** The color of a class, always the same. */
export function colorOf(name) {
  let hash = 7;
  for (const character of name) hash = (hash * 31 + character.codePointAt(0)) % 100003;
  return `hsl(${(hash * 137.508) % 360} 85% 45%)`;
}

/** Draws objects `{name, mask}` on a context whose unit is the picture's pixel, `scale` on the screen. */
export function drawObjects(context, objects, scale, selected = null) {
  for (const thing of objects) {
    outline(context, thing.mask.path, colorOf(thing.name), scale, thing === selected ? 0.5 : 0.28);
  }
  context.font = `${13 / scale}px system-ui, sans-serif`;
  context.textBaseline = 'top';
  for (const { name, mask } of objects) {
    const pad = 4 / scale, line = 19 / scale, x = mask.x, y = Math.max(mask.y - line, 0); // above it, if there is room
    context.fillStyle = '#111827d9';
    context.fillRect(x, y, context.measureText(name).width + 3 * pad, line);
    context.fillStyle = colorOf(name);
    context.fillRect(x, y, pad, line);
    context.fillStyle = '#fff';
    context.fillText(name, x + 2 * pad, y + 3 / scale);
  }
}

function outline(context, path, color, scale, alpha) {
  context.globalAlpha = alpha;
  context.fillStyle = color;
  context.fill(path, 'evenodd');
  context.globalAlpha = 1;
  context.lineJoin = 'round';
  for (const [style, width] of [['#ffffffe6', 4.5], [color, 2.2]]) {
    context.strokeStyle = style;
    context.lineWidth = width / scale;
    context.stroke(path);
  }
}

export class Stage {
  picture = null; // an ImageBitmap
  scene = {};
  cursor = null;
  view = { scale: 1, x: 0, y: 0 }; // of the picture's corner, in pixels of the screen
  pointers = new Map();
  gesture = null;

  /**
   * Begins on a canvas. `on` has handlers of what is done, in pixels of the picture: `click(x, y,
   * event)`, `drag(x1, y1, x2, y2)` and `stroke(places)`; and `brush()`, the radius where a drag
   * paints or 0.
   */
  open(canvas, on) {
    Object.assign(this, { canvas, on });
    new ResizeObserver(() => this.resize()).observe(canvas);
    canvas.addEventListener('contextmenu', (event) => event.preventDefault());
    canvas.addEventListener('wheel', (event) => this.wheel(event), { passive: false });
    canvas.addEventListener('pointerdown', (event) => this.down(event));
    canvas.addEventListener('pointermove', (event) => this.move(event));
    canvas.addEventListener('pointerup', (event) => this.up(event));
    canvas.addEventListener('pointercancel', (event) => this.cancel(event));
    canvas.addEventListener('pointerleave', () => this.hover(null));
  }

  get size() {
    return this.picture ? [this.picture.height, this.picture.width] : null;
  }

  /** Shows a picture, an ImageBitmap, or none. */
  show(picture) {
    this.picture?.close();
    this.picture = picture;
    this.gesture = null;
    this.pointers.clear();
    this.scene = {};
    this.cursor = picture && [picture.width / 2, picture.height / 2];
    this.showCursor = false;
    this.fit();
  }

  /** What is drawn on the picture: `objects`, `selected`, `mask`, `points`, `box`, `corner`. */
  set(scene) {
    this.scene = scene;
    this.draw();
  }

  // View

  resize() {
    const ratio = window.devicePixelRatio;
    const { clientWidth, clientHeight } = this.canvas;
    this.canvas.width = Math.round(clientWidth * ratio);
    this.canvas.height = Math.round(clientHeight * ratio);
    if (this.isFitted) this.fit();
    else this.draw();
  }

  fit() {
    if (this.picture) {
      const { clientWidth, clientHeight } = this.canvas, { width, height } = this.picture;
      const scale = Math.min(clientWidth / width, clientHeight / height);
      this.look(scale, (clientWidth - scale * width) / 2, (clientHeight - scale * height) / 2, true);
    } else this.draw();
  }

  look(scale, x, y, isFitted = false) {
    this.view = { scale, x, y };
    this.isFitted = isFitted;
    // where the picture is on the screen, for whoever asks the page
    Object.assign(this.canvas.dataset, { scale, x, y });
    this.draw();
  }

  /** By a factor, about a place on the canvas, by default its middle. */
  zoom(factor, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    if (!this.picture) return;
    const { clientWidth, clientHeight } = this.canvas, { width, height } = this.picture;
    const least = Math.min(clientWidth / width, clientHeight / height, 1) / 2;
    const scale = Math.min(Math.max(this.view.scale * factor, least), MAX_SCALE);
    const change = scale / this.view.scale;
    this.look(scale, x - change * (x - this.view.x), y - change * (y - this.view.y));
  }

  wheel(event) {
    event.preventDefault();
    const { left, top } = this.canvas.getBoundingClientRect();
    const lines = event.deltaMode ? 30 : 1;
    this.zoom(1.0015 ** (-event.deltaY * lines), event.clientX - left, event.clientY - top);
  }

  /** The place of an event in pixels of the picture, limited to it. */
  place(event) {
    const { left, top } = this.canvas.getBoundingClientRect(), { scale, x, y } = this.view;
    const limit = (value, most) => Math.min(Math.max(value, 0), most);
    return [
      limit((event.clientX - left - x) / scale, this.picture.width),
      limit((event.clientY - top - y) / scale, this.picture.height),
    ];
  }

  // Cursor of the keyboard

  /** Moves it by pixels of the screen. */
  moveCursor(dx, dy) {
    if (!this.picture) return;
    const limit = (value, most) => Math.min(Math.max(value, 0.5), most - 0.5);
    const [x, y] = this.cursor, { scale } = this.view;
    this.cursor = [limit(x + dx / scale, this.picture.width), limit(y + dy / scale, this.picture.height)];
    this.showCursor = true;
    this.draw();
  }

  // Pointers

  down(event) {
    if (!this.picture) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, event);
    if (this.pointers.size > 1) {
      this.gesture = { kind: 'pinch' };
    } else if (event.button === 1 || event.ctrlKey) {
      event.preventDefault();
      this.gesture = { kind: 'pan' };
    } else {
      const kind = this.on.brush() && event.button === 0 ? 'stroke' : 'draw';
      this.gesture = { kind, start: event, places: [this.place(event)] };
    }
    this.showCursor = false;
    this.draw();
  }

  move(event) {
    this.hover(event);
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    this.pointers.set(event.pointerId, event);
    const { kind } = this.gesture ?? {};
    if (kind === 'pinch' && this.pointers.size === 2) this.pinch(event, before);
    else if (kind === 'pan') {
      const { scale, x, y } = this.view;
      this.look(scale, x + event.clientX - before.clientX, y + event.clientY - before.clientY);
    } else if (kind === 'stroke') this.gesture.places.push(this.place(event));
    else if (kind === 'draw') this.gesture.places[1] = this.place(event);
    this.draw();
  }

  pinch(event, before) {
    const other = [...this.pointers.values()].find(({ pointerId }) => pointerId !== event.pointerId);
    const apart = (each) => Math.hypot(each.clientX - other.clientX, each.clientY - other.clientY);
    const { left, top } = this.canvas.getBoundingClientRect();
    const middle = (each) => [(each.clientX + other.clientX) / 2 - left, (each.clientY + other.clientY) / 2 - top];
    const [[x1, y1], [x2, y2]] = [middle(before), middle(event)];
    this.view = { ...this.view, x: this.view.x + x2 - x1, y: this.view.y + y2 - y1 };
    this.zoom(apart(event) / Math.max(apart(before), 1), x2, y2);
  }

  up(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    const { kind, places, start } = this.gesture ?? {};
    if (!this.pointers.size) this.gesture = null;
    if (kind === 'stroke') this.on.stroke(places);
    if (kind === 'draw') {
      if (this.isDrag(start, event)) this.on.drag(...places[0], ...this.place(event));
      else this.on.click(...places[0], start);
    }
    this.draw();
  }

  cancel(event) {
    this.pointers.delete(event.pointerId);
    this.gesture = null;
    this.draw();
  }

  isDrag(start, event) {
    return Math.hypot(event.clientX - start.clientX, event.clientY - start.clientY) > DRAG;
  }

  hover(event) {
    this.pointer = event && this.picture ? this.place(event) : null;
    if (this.on.brush()) this.draw();
  }

  // Drawing

  draw() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.paint();
    });
  }

  paint() {
    const context = this.canvas.getContext('2d'), ratio = window.devicePixelRatio;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    if (!this.picture) return;
    const { scale, x, y } = this.view;
    context.setTransform(ratio * scale, 0, 0, ratio * scale, ratio * x, ratio * y);
    context.imageSmoothingEnabled = scale < 3;
    context.drawImage(this.picture, 0, 0);
    const { objects = [], selected, mask, points = [], box, corner } = this.scene;
    drawObjects(context, objects, scale, selected);
    if (mask) outline(context, mask.path, '#1d4ed8', scale, 0.38);
    const bounds = [...(box ? [box] : []), ...this.band()];
    for (const [x1, y1, x2, y2] of bounds) this.dashed(context, x1, y1, x2 - x1, y2 - y1);
    if (corner) this.dot(context, ...corner, '#1d4ed8');
    for (const [px, py, label] of points) this.dot(context, px, py, label ? '#16a34a' : '#dc2626', !label);
    this.paintBrush(context);
    if (this.showCursor) this.cross(context, ...this.cursor);
  }

  band() {
    const { kind, start, places } = this.gesture ?? {};
    const last = this.pointers.get(start?.pointerId);
    return kind === 'draw' && last && this.isDrag(start, last) ? [[...places[0], ...places[1]]] : [];
  }

  paintBrush(context) {
    const radius = this.on.brush();
    if (!radius) return;
    context.strokeStyle = context.fillStyle = '#1d4ed880';
    if (this.gesture?.kind === 'stroke') {
      context.lineWidth = 2 * radius;
      context.lineCap = context.lineJoin = 'round';
      context.beginPath();
      this.gesture.places.forEach((place) => context.lineTo(...place));
      context.lineTo(...this.gesture.places.at(-1));
      context.stroke();
    }
    if (!this.pointer) return;
    context.lineWidth = 1.5 / this.view.scale;
    context.strokeStyle = '#fff';
    context.beginPath();
    context.arc(...this.pointer, radius, 0, 2 * Math.PI);
    context.stroke();
  }

  dashed(context, ...rectangle) {
    const { scale } = this.view;
    for (const [style, dash] of [['#ffffffe6', []], ['#1d4ed8', [7 / scale, 5 / scale]]]) {
      context.setLineDash(dash);
      context.strokeStyle = style;
      context.lineWidth = 2 / scale;
      context.strokeRect(...rectangle);
    }
    context.setLineDash([]);
  }

  dot(context, x, y, color, minus = false) {
    const { scale } = this.view;
    for (const [style, radius] of [['#fff', 8], [color, 5.5], ...(minus ? [['#fff', 2]] : [])]) {
      context.fillStyle = style;
      context.beginPath();
      context.arc(x, y, radius / scale, 0, 2 * Math.PI);
      context.fill();
    }
  }

  cross(context, x, y) {
    const { scale } = this.view, [near, far] = [4 / scale, 16 / scale];
    for (const [style, width] of [['#fff', 4], ['#111827', 1.8]]) {
      context.strokeStyle = style;
      context.lineWidth = width / scale;
      context.beginPath();
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        context.moveTo(x + dx * near, y + dy * near);
        context.lineTo(x + dx * far, y + dy * far);
      }
      context.stroke();
    }
  }
}
