"""The page's layout on Gradio, and which handler each event has."""

from __future__ import annotations

from pathlib import Path

from . import markup

try:
    import gradio as gr
except ImportError as error:
    raise ImportError(f"The page needs Gradio: pip install 'mmovsam[web]' ({error}).") from error

TITLE = 'Open-Vocabulary SAM'
HELP = (
    'Click an object to cut it out and name it. Right-click what does not belong to it. Or drag a '
    'box around it. Key H lists the keys.'
)
KEYS = 'Enter: add · Esc: clear · Z: undo · S: save COCO JSON · H: hide this'
OBJECT, NOT_OBJECT, CORNER = 'Object', 'Not the object', 'Box corners'


class PageLayout:
    """The components of `Page`, which are attributes once they are laid out."""

    def layout(self) -> gr.Blocks:
        """The components, and which handler each event has."""
        choices = _script('choices.js')
        few = len(self.first_names) <= self.max_names
        with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as blocks:
            gr.HTML(
                f'<h1>{TITLE}</h1><p>{HELP}</p><p id="keys" hidden>{KEYS}</p>',
                elem_id='header',
                js_on_load=_script('keys.js'),
            )
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
                        clear = gr.Button('Clear', size='md', elem_id='clear')
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
                            add = gr.Button('Add', variant='primary', size='md', elem_id='add')
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
                            save_json = gr.Button(
                                'Save COCO JSON', size='md', min_width=120, elem_id='save-json'
                            )
                            save_picture = gr.Button('Save picture', size='md', min_width=120)
                        with gr.Row():
                            for title in ('Save project', 'Open project', 'Forget all'):
                                elem_id = title.lower().replace(' ', '-')
                                gr.Button(title, size='md', min_width=90, elem_id=elem_id)
                        self.kept = gr.HTML(
                            html_template='<p class="hint"></p>',
                            js_on_load=_script('kept.js'),
                            elem_id='kept',
                        )
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
                            markup.status(markup.names_note(self.first_names, own=True)),
                            js_on_load=None,
                        )
            self.file = gr.JSON(visible=False)

            view = [self.marks, self.answer, self.objects, self.name, self.status, self.kept]
            quiet = dict(show_progress='hidden', api_visibility='private')
            # Gradio's queue, which reports progress, looks for news 20 times a second only.
            queued = dict(quiet, concurrency_limit=4)
            opening = dict(queued, trigger_mode='always_last')  # another picture while one opens
            quick = dict(quiet, queue=False, trigger_mode='multiple')
            upload.upload(self.upload, upload, [self.picture, *view], **opening)
            examples.pick(self.example, None, [self.picture, *view], **opening)
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
            self.kept.restore(self.restore, self.name, view, **quick)
            self.kept.remove_all(self.remove_all, self.name, view, **quick)
            self.kept.open_project(self.open_project, None, [self.kept, self.status], **quick)
            save = _script('save.js')
            for save_event, handler in (
                (save_json.click, self.save_json),
                (save_picture.click, self.save_picture),
                (self.kept.save_project, self.save_project),
            ):
                made = save_event(handler, None, [self.file, self.status], **quick)
                made.success(None, self.file, None, js=save, api_visibility='private')
            blocks.unload(self.leave)
        return blocks


def _script(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding='utf-8')
