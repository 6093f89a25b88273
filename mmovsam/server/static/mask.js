// Masks as COCO's run lengths, as pixels that a brush changes, and as outlines.

/** Runs of zeros and ones, column after column, of COCO's compressed run lengths. */
export function runsOf(counts) {
  const runs = [];
  for (let at = 0; at < counts.length; ) {
    let value = 0;
    for (let shift = 0, more = true; more; shift += 5) {
      const code = counts.charCodeAt(at++) - 48;
      if (!(code >= 0 && code < 64) || shift > 25) throw new Error('no run lengths');
      value |= (code & 31) << shift;
      more = Boolean(code & 32);
      if (!more && code & 16) value |= -1 << (shift + 5);
    }
    if (runs.length > 2) value += runs[runs.length - 2];
    if (value < 0) throw new Error('no run lengths');
    runs.push(value);
  }
  return runs;
}

function countsOf(runs) {
  const codes = [];
  runs.forEach((run, index) => {
    let value = index > 2 ? run - runs[index - 2] : run;
    for (let more = true; more; ) {
      let code = value & 31;
      value >>= 5;
      more = code & 16 ? value !== -1 : value !== 0;
      if (more) code |= 32;
      codes.push(code + 48);
    }
  });
  return codes.map((code) => String.fromCharCode(code)).join('');
}

/**
 * Of COCO's compressed run lengths the `area`, the `bbox`, x, y, width, height, and the runs of `ones`, from a place to a
 * last one; throws where they are none of a picture of this size.
 */
export function measured(counts, [height, width]) {
  const runs = runsOf(counts), ones = [];
  if (runs.reduce((sum, run) => sum + run, 0) !== width * height) throw new Error('another size');
  let at = 0, area = 0, left = width, right = -1, top = height, bottom = -1;
  runs.forEach((run, index) => {
    if (index % 2 && run) {
      const end = at + run - 1, columns = [Math.floor(at / height), Math.floor(end / height)];
      const several = columns[0] !== columns[1];
      left = Math.min(left, columns[0]);
      right = Math.max(right, columns[1]);
      top = Math.min(top, several ? 0 : at % height);
      bottom = Math.max(bottom, several ? height - 1 : end % height);
      ones.push([at, end]);
      area += run;
    }
    at += run;
  });
  return { area, bbox: area ? [left, top, right - left + 1, bottom - top + 1] : [0, 0, 0, 0], ones };
}

/** Pixels of a picture, of which only a rectangle is stored: `data[column * height + row]`. */
export class Mask {
  pixels = null; // how many are inside, once that was asked

  constructor(x, y, width, height, data = new Uint8Array(width * height)) {
    Object.assign(this, { x, y, width, height, data });
  }

  /** Of COCO's compressed run lengths; throws where they are none of a picture of this size. */
  static decode(counts, size) {
    const { area, bbox, ones } = measured(counts, size), mask = new Mask(...bbox), [height] = size;
    mask.pixels = area;
    for (const [start, end] of ones) { // a run that goes through columns fills them: they are whole
      const from = (Math.floor(start / height) - mask.x) * mask.height + (start % height) - mask.y;
      mask.data.fill(1, from, from + end - start + 1);
    }
    return mask;
  }

  /** COCO's compressed run lengths, in a picture of this size. */
  encode([height, width]) {
    const runs = [];
    let at = 0, last = 0;
    const change = (position) => {
      runs.push(position - at);
      at = position;
      last = 1 - last;
    };
    for (let column = 0; column < this.width; column++) {
      const start = (this.x + column) * height + this.y, end = start + this.height;
      for (let row = 0; row < this.height; row++) {
        if (this.data[column * this.height + row] !== last) change(start + row);
      }
      if (last && (this.height < height || column === this.width - 1)) change(end);
    }
    if (at < width * height) runs.push(width * height - at);
    return countsOf(runs);
  }

  get area() {
    if (this.pixels === null) {
      this.pixels = 0;
      for (let at = 0; at < this.data.length; at++) this.pixels += this.data[at];
    }
    return this.pixels;
  }

  /** x, y, width, height of what is inside; all 0 of an empty mask. */
  get bbox() {
    let left = this.width, right = -1, top = this.height, bottom = -1;
    for (let column = 0; column < this.width; column++) {
      for (let row = 0; row < this.height; row++) {
        if (!this.data[column * this.height + row]) continue;
        left = Math.min(left, column);
        right = column;
        top = Math.min(top, row);
        bottom = Math.max(bottom, row);
      }
    }
    if (right < 0) return [0, 0, 0, 0];
    return [this.x + left, this.y + top, right - left + 1, bottom - top + 1];
  }

  has(x, y) {
    const column = x - this.x, row = y - this.y;
    const inside = column >= 0 && row >= 0 && column < this.width && row < this.height;
    return inside && this.data[column * this.height + row] === 1;
  }

  /** Intersection over union with another mask. */
  iou(other) {
    let both = 0;
    const left = Math.max(this.x, other.x), right = Math.min(this.x + this.width, other.x + other.width);
    const top = Math.max(this.y, other.y), bottom = Math.min(this.y + this.height, other.y + other.height);
    for (let x = left; x < right; x++) {
      for (let y = top; y < bottom; y++) {
        both += this.data[(x - this.x) * this.height + y - this.y] &
          other.data[(x - other.x) * other.height + y - other.y];
      }
    }
    return both / Math.max(this.area + other.area - both, 1);
  }

  /** The same mask with what a brush of this radius painted, or erased, along `[x, y]` places. */
  stroke(places, radius, value, [height, width]) {
    const xs = places.map(([x]) => x), ys = places.map(([, y]) => y);
    const limit = (number, most) => Math.min(Math.max(Math.round(number), 0), most);
    let left = limit(Math.min(...xs) - radius, width), right = limit(Math.max(...xs) + radius, width);
    let top = limit(Math.min(...ys) - radius, height), bottom = limit(Math.max(...ys) + radius, height);
    if (this.width) {
      [left, right] = [Math.min(left, this.x), Math.max(right, this.x + this.width)];
      [top, bottom] = [Math.min(top, this.y), Math.max(bottom, this.y + this.height)];
    }
    const mask = new Mask(left, top, right - left, bottom - top);
    for (let column = 0; column < this.width; column++) {
      const from = column * this.height, to = (this.x + column - left) * mask.height + this.y - top;
      mask.data.set(this.data.subarray(from, from + this.height), to);
    }
    places.forEach(([x2, y2], index) => {
      const [x1, y1] = places[Math.max(index - 1, 0)];
      const [dx, dy] = [x2 - x1, y2 - y1], length = dx * dx + dy * dy || 1;
      const rows = [Math.min(y1, y2) - radius, Math.max(y1, y2) + radius].map((y) => limit(y, height));
      const columns = [Math.min(x1, x2) - radius, Math.max(x1, x2) + radius].map((x) => limit(x, width));
      for (let x = columns[0]; x < columns[1]; x++) {
        for (let y = rows[0]; y < rows[1]; y++) {
          const [px, py] = [x + 0.5 - x1, y + 0.5 - y1];
          const share = Math.min(Math.max((px * dx + py * dy) / length, 0), 1);
          if (Math.hypot(px - share * dx, py - share * dy) <= radius) {
            mask.data[(x - left) * mask.height + y - top] = value;
          }
        }
      }
    });
    return mask;
  }

  /** Its outline along the edges of pixels, holes too, as a path to fill by the even-odd rule. */
  get path() {
    if (!this.outline) this.outline = this.trace();
    return this.outline;
  }

  trace() {
    const { width, height, data } = this, path = new Path2D();
    const inside = (x, y) => x >= 0 && y >= 0 && x < width && y < height && data[x * height + y] === 1;
    const seen = new Uint8Array(width * height);
    // the inside is at the right hand, all the way round
    const walk = (left, top) => {
      let x = left, y = top, dx = 1, dy = 0;
      path.moveTo(this.x + x, this.y + y);
      do {
        if (dx === 1) seen[x * height + y] = 1;
        x += dx;
        y += dy;
        const isAhead = inside(x + (dx + dy - 1) / 2, y + (dy - dx - 1) / 2); // at the left hand
        if (isAhead) [dx, dy] = [dy, -dx];
        else if (!inside(x + (dx - dy - 1) / 2, y + (dy + dx - 1) / 2)) [dx, dy] = [-dy, dx]; // at the right hand
        else continue;
        path.lineTo(this.x + x, this.y + y);
      } while (x !== left || y !== top || dx !== 1);
      path.closePath();
    };
    // each run of ones, in each column, has an edge above it
    for (let from = data.indexOf(1), to; from >= 0; from = data.indexOf(1, to)) {
      to = data.indexOf(0, from);
      if (to < 0) to = data.length;
      for (let at = from; at < to; at += height - (at % height)) {
        if (!seen[at]) walk(Math.floor(at / height), at % height);
      }
    }
    return path;
  }
}
