// The server's routes. A session that the server forgot is opened again, with its picture and names.

export class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export class Api {
  /** `askPassword(wrong)` gives what the user typed, or null. */
  constructor(askPassword) {
    Object.assign(this, { askPassword, token: null, opening: null, password: null, picture: null, names: null });
  }

  /** One call after another. */
  async setImage(file) {
    this.picture = null;
    const answer = await this.inSession('PUT', '/image', file);
    this.picture = file;
    return answer;
  }

  async setNames(names) {
    const answer = await this.inSession('PUT', '/vocabulary', { names });
    this.names = names;
    return answer.names;
  }

  async prompt(prompts, multimask = false) {
    return (await this.ofPicture('/prompt', { prompts, multimask_output: multimask })).objects;
  }

  async find(names) {
    return (await this.ofPicture('/find', { names })).objects;
  }

  async everything() {
    return (await this.ofPicture('/everything', {})).objects;
  }

  /** Of the picture that was set last, which is set again where the server forgot it. */
  async ofPicture(path, body) {
    try {
      return await this.inSession('POST', path, body);
    } catch (error) {
      if (error.status !== 409 || !this.picture) throw error;
      await this.send('PUT', '/image', this.picture);
      return this.send('POST', path, body);
    }
  }

  async inSession(method, path, body) {
    const token = this.token ?? (await this.opened());
    try {
      return await this.send(method, path, body);
    } catch (error) {
      if (error.status !== 401) throw error;
      if (this.token === token) await this.opened();
      return this.send(method, path, body);
    }
  }

  /** Of a new session, one for all who ask at the same time. */
  opened() {
    this.opening ??= this.open().finally(() => {
      this.opening = null;
    });
    return this.opening;
  }

  async open() {
    this.token = null;
    for (let wrong = false; !this.token; wrong = true) {
      try {
        this.token = (await this.send('POST', '/sessions', { password: this.password })).token;
      } catch (error) {
        if (error.status !== 401) throw error;
        this.password = await this.askPassword(wrong);
        if (this.password === null) throw error;
      }
    }
    if (this.names) await this.send('PUT', '/vocabulary', { names: this.names });
    return this.token;
  }

  async send(method, path, body) {
    const headers = this.token ? { Authorization: `Bearer ${this.token}` } : {};
    if (!(body instanceof Blob) && body !== undefined) {
      headers['Content-Type'] = 'application/json';
      body = JSON.stringify(body);
    }
    let answer;
    try {
      answer = await fetch(path.slice(1), { method, headers, body });
    } catch {
      throw new Refusal(0, 'The server does not answer. Is it still running?');
    }
    if (answer.headers.get('Content-Type')?.startsWith('image/')) return answer.blob();
    const content = await answer.json().catch(() => ({}));
    if (answer.ok) return content;
    throw new Refusal(answer.status, content.error ?? `The server answers ${answer.status}.`);
  }
}
