// The objects of each picture: kept in the browser, as project files and as COCO's JSON.
//
// A record is `{key, file_name, width, height, objects}`, where key is the SHA-256 of the picture's
// file, and an object `{name, top_k: [{name, score}], counts}`.
import { measured, runsOf } from './mask.js';

const FORMAT = 'mmovsam project', VERSION = 1;
const MAX_PIXELS = 2 ** 28;

const done = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

export class Store {
  records = new Map(); // what is kept, and what the browser did not take
  unkept = new Set();
  database = null;
  channel = new BroadcastChannel('mmovsam');
  onChange = () => {}; // is told the key of a record that another tab wrote

  constructor() {
    this.channel.onmessage = async ({ data: key }) => {
      if (!this.database) return;
      const record = await done(this.table('readonly').get(key));
      if (record) this.records.set(key, record);
      else this.records.delete(key);
      this.onChange(key);
    };
  }

  async open() {
    try {
      const request = indexedDB.open('mmovsam', 1);
      request.onupgradeneeded = () => request.result.createObjectStore('pictures', { keyPath: 'key' });
      this.database = await done(request);
      for (const record of await done(this.table('readonly').getAll())) {
        try {
          this.records.set(record.key, checkedRecord(record));
        } catch {} // of another version
      }
    } catch {} // the browser forbids it
  }

  table(mode) {
    return this.database.transaction('pictures', mode).objectStore('pictures');
  }

  /** Pictures with objects. */
  get labeled() {
    return [...this.records.values()].filter(({ objects }) => objects.length);
  }

  async put(record) {
    this.records.set(record.key, record);
    this.unkept.add(record.key);
    try {
      await done(this.table('readwrite').put(record));
      if (this.records.get(record.key) === record) this.unkept.delete(record.key);
      this.channel.postMessage(record.key);
    } catch {} // full, or forbidden
  }

  async clear() {
    const keys = [...this.records.keys()];
    this.records.clear();
    this.unkept.clear();
    if (this.database) await done(this.table('readwrite').clear());
    keys.forEach((key) => this.channel.postMessage(key));
  }
}

function require(holds, message) {
  if (!holds) throw new Error(message);
}

const isText = (value) => typeof value === 'string' && value.trim() !== '' && value.length <= 1000;

/** The record, if all of it is right, without what does not belong to it. */
export function checkedRecord({ key, file_name, width, height, objects }) {
  require(/^[0-9a-f]{64}$/.test(key), `${JSON.stringify(key)?.slice(0, 80)} is no SHA-256 of a picture`);
  require(isText(file_name), 'file_name is missing or wrong');
  const isSize = [width, height].every((side) => Number.isInteger(side) && side > 0);
  require(isSize && width * height <= MAX_PIXELS, `${width}x${height} is no size of a picture`);
  require(Array.isArray(objects), 'objects is missing or wrong');
  const checked = objects.map((thing, index) => {
    const where = `object ${index + 1}`;
    require(isText(thing?.name), `${where}: a name is missing, or longer than 1,000 characters`);
    const names = Array.isArray(thing.top_k) && thing.top_k.every(
      (each) => isText(each?.name) && each.score >= 0 && each.score <= 1,
    );
    require(names, `${where}: top_k is missing or wrong`);
    let runs = [];
    try {
      runs = runsOf(thing.counts);
    } catch {}
    const sum = runs.reduce((total, run) => total + run, 0);
    const isMask = sum === width * height && runs.some((run, index) => index % 2 && run);
    require(isMask, `${where}: its run lengths are no mask of ${width}x${height} pixels`);
    const top_k = thing.top_k.map(({ name, score }) => ({ name, score }));
    return { name: thing.name, top_k, counts: thing.counts };
  });
  return { key, file_name, width, height, objects: checked };
}

export function writeProject(records) {
  const lines = records.map((record) => JSON.stringify(record)).join(',\n');
  return `{"format": "${FORMAT}", "version": ${VERSION}, "pictures": [\n${lines}\n]}\n`;
}

/** The records of a project file; of a damaged one none, and an error that says what is wrong. */
export function readProject(text, fileName) {
  try {
    let content;
    try {
      content = JSON.parse(text);
    } catch (error) {
      throw new Error(`it is cut off or no JSON (${error.message})`);
    }
    require(content?.format === FORMAT, 'it was not saved by "Save project"');
    require(content.version === VERSION, `its version is ${content.version}, this page reads ${VERSION}`);
    require(Array.isArray(content.pictures), 'pictures is missing or wrong');
    const keys = new Set();
    return content.pictures.map((picture, index) => {
      const where = `picture ${index + 1}`;
      let record;
      try {
        record = checkedRecord(picture ?? {});
      } catch (error) {
        throw new Error(`${where}: ${error.message}`);
      }
      require(!keys.has(record.key), `${where} is there twice`);
      keys.add(record.key);
      return record;
    });
  } catch (error) {
    throw new Error(`${fileName} was not opened: ${error.message}. Nothing was changed.`);
  }
}

/** Records in COCO's layout. Categories are the names in force, and others that objects have. */
export function toCoco(records, names) {
  const given = records.flatMap(({ objects }) => objects.map(({ name }) => name));
  const categories = [...new Set([...names, ...given])];
  const ids = new Map(categories.map((name, index) => [name, index + 1]));
  const annotations = [];
  records.forEach(({ width, height, objects }, index) => {
    for (const { name, top_k, counts } of objects) {
      const { area, bbox } = measured(counts, [height, width]);
      annotations.push({
        id: annotations.length + 1,
        image_id: index + 1,
        category_id: ids.get(name),
        segmentation: { size: [height, width], counts },
        bbox,
        area,
        iscrowd: 0,
        score: top_k.find((each) => each.name === name)?.score ?? 1, // one that only a person gave
        top_k,
      });
    }
  });
  return {
    info: { description: 'Labeled by mmovsam' },
    licenses: [],
    categories: categories.map((name, index) => ({ id: index + 1, name, supercategory: '' })),
    images: records.map(({ file_name, width, height }, index) => ({ id: index + 1, file_name, width, height })),
    annotations,
  };
}
