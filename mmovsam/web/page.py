"""The page on Gradio: its layout, and what each event has the session do."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from . import markup
from .pictures import as_data_url, read_picture
from .session import Session
from .session_store import SessionStore

try:
    import gradio as gr
except ImportError as error:
    raise ImportError(f"The page needs Gradio: pip install 'mmovsam[web]' ({error}).") from error

TITLE = 'Open-Vocabulary SAM'
HELP = (
    'Click an object to cut it out and name it. Right-click what does not belong to it. Or drag a '
    'box around it.'
)
OBJECT, NOT_OBJECT, CORNER = 'Object', 'Not the object', 'Box corners'
NEXT = 'Refine it with more clicks, or add it to the objects.'


class Page:
    """The handlers of the page.

    Each returns the components that change. What a user can get wrong is said in a status line.

    Args:
        sessions: Of all users.
        names: The names that a session begins with; none are shown if they are more than
            `max_names`.
        max_names: How many may be typed.
        max_pixels: Of a picture.
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
        vocabularies: Mapping[str, Sequence[str]] | None = None,
        examples: Mapping[str, np.ndarray] | None = None,
        value_range: Sequence[float] | None = None,
    ) -> None:
        self.sessions = sessions
        self.first_names = names
        self.max_names = max_names
        self.max_pixels = max_pixels
        self.value_range = value_range
        self.vocabularies = dict(vocabularies or {})
        self.examples = dict(examples or {})

    # Handlers

    def upload(self, path: str, request: gr.Request) -> Iterator[dict]:
        """Open an uploaded file, and remove it from the disk."""
        try:
            image = read_picture(path, self.max_pixels, self.value_range)
        except (ValueError, FileNotFoundError) as error:
            yield {self.status: markup.status(str(error), 'error')}
        else:
            yield from self._open(image, Path(path).name, request)
        finally:
            Path(path).unlink(missing_ok=True)

    def example(self, event: gr.EventData, request: gr.Request) -> Iterator[dict]:
        """Open one of the examples."""
        title, image = list(self.examples.items())[event.key]
        yield from self._open(image, f'{title.partition(":")[0]}.jpg', request)

    def _open(self, image: np.ndarray, name: str, request: gr.Request) -> Iterator[dict]:
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
            session.open(image, name)
            changes = self._view(session)
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
            return _names_note(session.names, own=not names)

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
            given = _best_name(session)
            try:
                text = do(session) or ''
            except ValueError as error:
                return {line: markup.status(str(error), 'error')}
            changes = self._view(session) | {line: markup.status(text)}
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

    # Layout

    def layout(self) -> gr.Blocks:
        """The components, and which handler each event has."""
        choices = _script('choices.js')
        few = len(self.first_names) <= self.max_names
        with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as blocks:
            gr.HTML(f'<h1>{TITLE}</h1><p>{HELP}</p>', elem_id='header', js_on_load=None)
            with gr.Row(equal_height=False):
                with gr.Column(scale=5, min_width=480):
                    with gr.Row(elem_id='toolbar'):
                        upload = gr.UploadButton(
                            'Open a picture', file_types=['image'], variant='primary', size='md'
                        )
                        mode = gr.Radio(
                            [OBJECT, NOT_OBJECT, CORNER],
                            value=OBJECT,
                            label='What a click marks',
                            show_label=False,
                            container=False,
                            elem_id='mode',
                        )
                        undo = gr.Button('Undo', size='md', elem_id='undo')
                        clear = gr.Button('Clear', size='md')
                        everything = gr.Button('Find everything', size='md')
                    with gr.Column(elem_id='stage'):
                        empty = markup.empty_stage(bool(self.examples))
                        self.picture = gr.HTML(empty, js_on_load=None)
                        self.marks = gr.HTML('', elem_id='marks', js_on_load=_script('stage.js'))
                    self.status = gr.HTML(markup.status(''), js_on_load=None)
                    examples = gr.HTML(markup.examples(self.examples), js_on_load=choices)
                with gr.Column(scale=2, min_width=320, elem_id='side'):
                    with gr.Column(elem_classes='card'):
                        gr.HTML('<h2>What it is</h2>', js_on_load=None)
                        self.answer = gr.HTML(markup.EMPTY_ANSWER, js_on_load=choices)
                        with gr.Row(elem_classes='joined'):
                            self.name = gr.Textbox(
                                label='Name',
                                show_label=False,
                                container=False,
                                placeholder='Choose a name, or type one',
                                elem_id='name',
                            )
                            add = gr.Button('Add', variant='primary', size='md')
                    with gr.Column(elem_classes='card'):
                        gr.HTML('<h2>Objects</h2>', js_on_load=None)
                        with gr.Row(elem_classes='joined'):
                            wanted = gr.Textbox(
                                label='What to find',
                                show_label=False,
                                container=False,
                                placeholder='All of a name: dog, a red cup',
                                max_lines=1,
                                elem_id='wanted',
                            )
                            find = gr.Button('Find', size='md')
                        self.objects = gr.HTML(
                            markup.EMPTY_LIST, js_on_load=choices, elem_id='objects'
                        )
                        with gr.Row():
                            save_json = gr.Button('Save COCO JSON', size='md', min_width=120)
                            save_picture = gr.Button('Save picture', size='md', min_width=120)
                    with gr.Column(elem_classes='card'):
                        gr.HTML('<h2>Names to choose from</h2>', js_on_load=None)
                        with gr.Row(elem_id='vocabularies', visible=bool(self.vocabularies)):
                            choices_of_names = [
                                (gr.Button(title, size='sm'), '\n'.join(listed))
                                for title, listed in self.vocabularies.items()
                            ]
                        names = gr.Textbox(
                            '\n'.join(self.first_names) if few else '',
                            label='Names to choose from, one a line',
                            show_label=False,
                            container=False,
                            placeholder='One a line. Empty: those that the model brings.',
                            lines=6,
                            max_lines=6,
                            elem_id='names',
                        )
                        self.names_note = gr.HTML(
                            markup.status(_names_note(self.first_names, own=True)), js_on_load=None
                        )
            self.file = gr.JSON(visible=False)

            view = [self.marks, self.answer, self.objects, self.name, self.status]
            quiet = dict(show_progress='hidden', api_visibility='private')
            # Gradio's queue, which reports progress, looks for news 20 times a second only.
            queued = dict(quiet, concurrency_limit=4)
            quick = dict(quiet, queue=False, trigger_mode='multiple')
            upload.upload(self.upload, upload, [self.picture, *view], **queued)
            examples.pick(self.example, None, [self.picture, *view], **queued)
            everything.click(self.everything, self.name, view, **queued)
            gr.on([find.click, wanted.submit], self.find, [wanted, self.name], view, **queued)
            self.marks.gesture(self.gesture, [mode, self.name], view, **quick)
            undo.click(self.undo, self.name, view, **quick)
            clear.click(self.clear, None, view, **quick)
            self.answer.pick(self.pick_name, None, self.name, **quick)
            gr.on([add.click, self.name.submit], self.add, self.name, view, **quick)
            self.objects.rename(self.rename, self.name, view, **quick)
            self.objects.pick(self.remove, self.name, view, **quick)
            for button, text in choices_of_names:  # as if they were typed
                button.click(lambda text=text: text, None, names, **quick)
            names.change(  # Gradio's input event misses what is pasted or deleted
                self.edit_names,
                [names, self.name],
                [*view, self.names_note],
                **dict(quick, trigger_mode='always_last'),
            )
            save = _script('save.js')
            for button, handler in ((save_json, self.save_json), (save_picture, self.save_picture)):
                made = button.click(handler, None, [self.file, self.status], **quick)
                made.success(None, self.file, None, js=save, api_visibility='private')
            blocks.unload(self.leave)
        return blocks


def _best_name(session: Session) -> str:
    return session.answer.names[0] if session.answer and session.answer.names else ''


def _names_note(names: Sequence[str], own: bool) -> str:
    count = '1 name' if len(names) == 1 else f'{len(names):,} names'
    return f'{count}, those of the model.' if own else f'{count} in force.'


def _script(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding='utf-8')
