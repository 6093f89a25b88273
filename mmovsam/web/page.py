"""The page on Gradio: what each event has the session do."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..apis.image_input import read_sent_image
from . import markup
from .layout import CORNER, NOT_OBJECT, PageLayout, gr
from .pictures import as_data_url, read_file
from .project import LabeledPicture, read_project, write_project
from .session import Session
from .session_store import SessionStore

PROJECT_FILE = 'mmovsam_project.json'
NEXT = 'Refine it with more clicks, or add it to the objects.'


class Page(PageLayout):
    """The handlers of the page.

    Each returns the components that change. What a user can get wrong is said in a status line.

    Args:
        sessions: Of all users.
        names: The names that a session begins with; none are shown if they are more than
            `max_names`.
        max_names: How many may be typed.
        max_pixels: Of a picture.
        max_file_size: Of a project file, in characters.
        vocabularies: Names to choose from, each list by what it is called.
        examples: Pictures to choose from, `(H, W, 3)` uint8 RGB each, by their titles: what
            stands before a colon names exported files.
        value_range: Of pictures of more than 8 bits, see `mmovsam.pixels.to_color`.
    """

    def __init__(
        self,
        sessions: SessionStore,
        names: Sequence[str],
        max_names: int,
        max_pixels: int,
        max_file_size: int = 20 * 2**20,
        vocabularies: Mapping[str, Sequence[str]] | None = None,
        examples: Mapping[str, np.ndarray] | None = None,
        value_range: Sequence[float] | None = None,
    ) -> None:
        self.sessions = sessions
        self.first_names = names
        self.max_names = max_names
        self.max_pixels = max_pixels
        self.max_file_size = max_file_size
        self.value_range = value_range
        self.vocabularies = dict(vocabularies or {})
        self.examples = dict(examples or {})
        self._order = itertools.count(1)

    # Handlers

    def upload(self, path: str, request: gr.Request) -> Iterator[dict]:
        """Open an uploaded file, and remove it from the disk."""
        name = Path(path).name
        try:
            data = read_file(path)
            image = read_sent_image(data, name, self.max_pixels, self.value_range)
        except (ValueError, FileNotFoundError) as error:
            yield {self.status: markup.status(str(error), 'error')}
        else:
            yield from self._open(image, name, data, request)
        finally:
            Path(path).unlink(missing_ok=True)

    def example(self, event: gr.EventData, request: gr.Request) -> Iterator[dict]:
        """Open one of the examples."""
        title, image = list(self.examples.items())[event.key]
        yield from self._open(image, f'{title.partition(":")[0]}.jpg', None, request)

    def _open(
        self, image: np.ndarray, name: str, data: bytes | None, request: gr.Request
    ) -> Iterator[dict]:
        height, width = image.shape[:2]
        yield {
            self.picture: markup.picture(image),
            self.marks: '',
            self.answer: markup.EMPTY_ANSWER,
            self.objects: markup.EMPTY_LIST,
            self.name: '',
            self.status: markup.status(f'Encoding the picture, {width} x {height} …', 'busy'),
        }
        start = time.monotonic()
        with self._session(request) as session:
            session.open(image, name, data)
            changes = self._view(session) | {self.kept: self._note(opened=session.key)}
        seconds = time.monotonic() - start
        status = markup.status(f'Encoded in {seconds:.1f} s. Click an object.')
        yield changes | {self.status: status}

    def gesture(self, mode: str, name: str, event: gr.EventData, request: gr.Request) -> dict:
        """A click or a drag on the picture."""
        x1, y1, x2, y2 = map(float, (*event.start, *event.end))

        def do(session: Session) -> str:
            if event.drag:
                session.drag(x1, y1, x2, y2)
            elif mode == CORNER and not event.background:
                session.click_corner(x1, y1)
                if session.prompt.corner is not None:
                    return 'Now click the opposite corner.'
            else:
                session.click(x1, y1, foreground=mode != NOT_OBJECT and not event.background)
            return NEXT

        return self._do(do, request, name)

    def undo(self, name: str, request: gr.Request) -> dict:
        """Go back one step."""
        return self._do(lambda session: session.undo(), request, name)

    def clear(self, request: gr.Request) -> dict:
        """Drop the object in work."""
        return self._do(lambda session: session.clear(), request)

    def pick_name(self, event: gr.EventData, request: gr.Request) -> str:
        """Take one of the best names."""
        with self._session(request) as session:
            names = session.answer.names if session.answer is not None else ()
        return names[event.key] if 0 <= event.key < len(names) else ''

    def edit_names(self, text: str, name: str, request: gr.Request) -> dict:
        """Change the vocabulary."""
        names = [line.strip() for line in text.split('\n') if line.strip()]

        def do(session: Session) -> str:
            session.set_names(names)
            return markup.names_note(session.names, own=not names)

        return self._do(do, request, name, self.names_note)

    def add(self, name: str, request: gr.Request) -> dict:
        """Put the object in work on the list."""

        def do(session: Session) -> str:
            session.add(name)
            return f'Added: {session.objects[-1].name}. Click the next object.'

        return self._do(do, request)

    def everything(self, name: str, request: gr.Request) -> Iterator[dict]:
        """Put all objects of the picture on the list."""
        yield {self.status: markup.status('Looking for everything in the picture …', 'busy')}

        def do(session: Session) -> str:
            count = session.add_everything()
            return f'{count} objects came to the list. Undo takes them off again.'

        yield self._do(do, request, name)

    def find(self, text: str, name: str, request: gr.Request) -> Iterator[dict]:
        """Put all objects of the names that were typed on the list."""
        yield {self.status: markup.status(f'Looking for {text.strip()} …', 'busy')}

        def do(session: Session) -> str:
            count = session.find(text)
            return f'{count} found of: {text.strip()}. Undo takes them off the list again.'

        yield self._do(do, request, name)

    def rename(self, name: str, event: gr.EventData, request: gr.Request) -> dict:
        """Rename an object of the list."""
        return self._do(lambda session: session.rename(event.key, event.name), request, name)

    def remove(self, name: str, event: gr.EventData, request: gr.Request) -> dict:
        """Take an object off the list."""
        return self._do(lambda session: session.remove(event.key), request, name)

    def restore(self, name: str, event: gr.EventData, request: gr.Request) -> dict:
        """Take the objects that the browser kept of the picture, as JSON; None if it kept none."""
        if event.record is None:
            with self._session(request) as session:
                if session.shape is None or session.restored:
                    return {self.status: gr.skip()}
                session.restore(None)
                return {self.kept: self._record(session) if session.objects else gr.skip()}

        def do(session: Session) -> str:
            try:
                kept = LabeledPicture.from_json(event.record)
            except ValueError as error:
                raise ValueError(f'What was kept of this picture is damaged: {error}.') from None
            session.restore(kept)
            return f'{markup.count(len(kept.objects), "object")} of this picture came back.'

        changes = self._do(do, request, name)
        if event.sync:  # another tab wrote it; two that write in turn would never end
            changes.pop(self.kept, None)
        return changes

    def remove_all(self, name: str, request: gr.Request) -> dict:
        """Empty the list."""
        return self._do(lambda session: session.remove_all(), request, name)

    def open_project(self, event: gr.EventData) -> dict:
        """Check a project file, and hand its pictures' objects to the browser to be kept."""
        try:
            if len(event.text) > self.max_file_size:
                raise ValueError(
                    f'{event.name} was not opened: it is larger than {self.max_file_size:,} bytes.'
                )
            pictures = read_project(event.text, event.name)
        except ValueError as error:
            return {self.status: markup.status(str(error), 'error')}
        records = {picture.key: picture.to_json() for picture in pictures}
        status = f'{event.name} has objects of {markup.count(len(pictures), "picture")}.'
        return {self.kept: self._note(project=records), self.status: markup.status(status)}

    def save_project(self, event: gr.EventData) -> dict:
        """Hand all that the browser kept to it as one file."""
        pictures, num_damaged = [], 0
        for record in event.records:
            try:
                pictures.append(LabeledPicture.from_json(record))
            except ValueError:
                num_damaged += 1
        pictures.sort(key=lambda picture: (picture.file_name, picture.key))
        if not pictures:
            status = markup.status('No objects are kept: add one first.', 'error')
            return {self.file: [], self.status: status}
        file = as_data_url(write_project(pictures), 'application/json')
        status = f'Saved the objects of {markup.count(len(pictures), "picture")}.'
        if num_damaged:
            status += (
                f' Those of {markup.count(num_damaged, "picture")} are damaged and were left out.'
            )
        kind = 'error' if num_damaged else ''
        return {self.file: [PROJECT_FILE, file], self.status: markup.status(status, kind)}

    def save_json(self, request: gr.Request) -> dict:
        """Hand the list to the browser as a COCO JSON file."""
        return self._save('.json', 'application/json', Session.to_coco, request)

    def save_picture(self, request: gr.Request) -> dict:
        """Hand the picture with its objects to the browser."""
        return self._save('_objects.jpg', 'image/jpeg', Session.to_jpeg, request)

    def leave(self, request: gr.Request) -> None:
        """The user's window was closed, or its connection is lost."""
        self.sessions.leave(request.session_hash)

    @contextlib.contextmanager
    def _session(self, request: gr.Request) -> Iterator[Session]:
        session = self.sessions.get(request.session_hash)
        with session.lock:
            yield session

    def _do(
        self,
        do: Callable[[Session], str | None],
        request: gr.Request,
        name: str = '',
        line: gr.HTML | None = None,
    ) -> dict:
        """Have the session do something, and show what it has then.

        A `name` that the user typed stays; one that the model had given changes with the answer.
        What `do` returns, or which value was wrong, is said in `line`, by default the status.
        """
        line = line or self.status
        with self._session(request) as session:
            given, before = _best_name(session), session.objects
            try:
                text = do(session) or ''
            except ValueError as error:
                return {line: markup.status(str(error), 'error')}
            changes = self._view(session) | {line: markup.status(text)}
            if session.restored and session.objects is not before:
                changes[self.kept] = self._record(session)
        if name.strip() and name != given:
            del changes[self.name]
        return changes

    def _view(self, session: Session) -> dict:
        return {
            self.marks: markup.marks(session),
            self.answer: markup.answer(session.answer),
            self.objects: markup.object_list(session.objects),
            self.name: _best_name(session),
        }

    def _record(self, session: Session) -> dict:
        record = session.labeled().to_json() if session.objects else None
        return self._note(key=session.key, record=record)

    def _note(self, **content) -> dict:
        """What `kept.js` is to do; of two about a picture the later one counts."""
        return dict(content, order=next(self._order))

    def _save(
        self,
        ending: str,
        media_type: str,
        content: Callable[[Session], bytes],
        request: gr.Request,
    ) -> dict:
        with self._session(request) as session:
            name = Path(session.file_name).stem + ending
            try:
                file = as_data_url(content(session), media_type)
            except ValueError as error:
                return {self.file: [], self.status: markup.status(str(error), 'error')}
        return {self.file: [name, file], self.status: markup.status(f'Saved {name}.')}


def _best_name(session: Session) -> str:
    return session.answer.names[0] if session.answer and session.answer.names else ''
