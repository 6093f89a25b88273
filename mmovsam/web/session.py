"""What one user has on the page: a picture, the object in work, the objects that are done."""

from __future__ import annotations

import tempfile
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask

from ..apis import OVSAMPredictor
from ..apis.auto_labeling.formats import UNNAMED, write_coco
from ..apis.auto_labeling.overlay import draw_objects
from ..apis.image_input import read_sent_image
from ..apis.name_encoder import NameEncoder
from .labels import Answer, LabeledObject, Prompt
from .pictures import jpeg
from .project import LabeledPicture, content_key

TOP_K = 5
MAX_UNDO = 100
SAME = 0.8  # IoU from which two masks are taken for one object
_DRAWING = threading.Lock()  # Matplotlib is not made for threads


@dataclass(frozen=True)
class _State:
    """What undo goes back to."""

    prompt: Prompt = Prompt()
    objects: tuple[LabeledObject, ...] = ()


class Session:
    """One user's work. A method that raises leaves everything as it was.

    Args:
        predictor: A fork that nobody else has.
        name_encoder: Makes classifiers of typed names.

    Attributes:
        shape: Height and width of the picture in pixels; None as long as none is open.
        key: Of the picture, see `content_key`.
        file_name: Of the picture.
        restored: Whether `restore` was called since the picture was opened.
        answer: To the prompt; None where it asks for nothing.
        lock: For whoever calls from several threads.
    """

    def __init__(self, predictor: OVSAMPredictor, name_encoder: NameEncoder) -> None:
        self.predictor = predictor
        self.name_encoder = name_encoder
        self.shape: tuple[int, int] | None = None
        self.key = self.file_name = ''
        self.restored = False
        self.answer: Answer | None = None
        self.lock = threading.RLock()
        self._state = _State()
        self._history: deque[_State] = deque(maxlen=MAX_UNDO)
        self._count = 0
        self._image: np.ndarray | None = None
        self._data: bytes | None = None

    @property
    def prompt(self) -> Prompt:
        """Of the object in work."""
        return self._state.prompt

    @property
    def objects(self) -> tuple[LabeledObject, ...]:
        """Those that are done, in the order in which they came."""
        return self._state.objects

    @property
    def names(self) -> tuple[str, ...]:
        """Those that things may have now."""
        return self.predictor.vocabulary

    def open(self, image: np.ndarray, file_name: str, data: bytes | None = None) -> None:
        """Take another picture, and encode it. What was there is forgotten, see `labeled`.

        Args:
            image: `(H, W, 3)` uint8 RGB.
            file_name: What exported files call it.
            data: The file that the image was read from, as `read_sent_image` takes it.
        """
        self.shape = self.answer = None
        self.restored = False
        self._state = _State()
        self._history.clear()
        self.predictor.set_image(image)
        self.key, self.file_name = content_key(image, data), Path(file_name).name
        self.shape, self._image, self._data = image.shape[:2], image, data

    def rest(self) -> None:
        """Free the memory of the encoded picture, and of its pixels if there is a file of them.

        Whatever needs them reads and encodes the picture again. While another thread has the lock,
        this does nothing.
        """
        if self.lock.acquire(blocking=False):
            self.predictor.reset_image()
            if self._data is not None:
                self._image = None
            self.lock.release()

    @property
    def image(self) -> np.ndarray:
        """`(H, W, 3)` uint8 RGB.

        Raises:
            ValueError: No picture is open.
        """
        self._require_open()
        if self._image is None:
            num_pixels, value_range = self.shape[0] * self.shape[1], self.predictor.value_range
            self._image = read_sent_image(self._data, self.file_name, num_pixels, value_range)
        return self._image

    # What is kept

    def labeled(self) -> LabeledPicture:
        """The picture and its objects, to be kept.

        Raises:
            ValueError: No picture is open.
        """
        self._require_open()
        return LabeledPicture(self.key, self.file_name, self.shape, self.objects)

    def restore(self, kept: LabeledPicture | None) -> None:
        """Take the objects that were kept of the picture, None if there were none.

        The first time since the picture was opened, objects that were added in the meantime stay;
        later the kept ones take the place of all, and `undo` goes back.

        Raises:
            ValueError: No picture is open, or they are of another one.
        """
        self._require_open()
        if kept is not None and (kept.key, kept.shape) != (self.key, self.shape):
            raise ValueError(f'These objects are of another picture, {kept.file_name}: open it.')
        objects = tuple(
            replace(thing, number=self._count + index)
            for index, thing in enumerate(kept.objects if kept else (), 1)
        )
        self._count += len(objects)
        if self.restored:
            self._commit(self.prompt, objects, self.answer)
        elif objects:
            self._state = replace(self._state, objects=(*objects, *self.objects))
            self._history.clear()
        self.restored = True

    # The object in work

    def click(self, x: float, y: float, foreground: bool = True) -> None:
        """Say of a point, in pixels of the picture, whether it belongs to the object.

        Raises:
            ValueError: No picture is open, or the point is outside it.
        """
        points = (*self.prompt.points, (x, y, int(foreground)))
        self._ask(Prompt(points, self.prompt.box))

    def drag(self, x1: float, y1: float, x2: float, y2: float) -> None:
        """Draw the object's box from any corner to the opposite one. It begins the object anew.

        Raises:
            ValueError: No picture is open, or the box has no area in it.
        """
        self._ask(Prompt(box=(min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))))

    def click_corner(self, x: float, y: float) -> None:
        """Give a corner of the object's box, and the second time the opposite one."""
        if self.prompt.corner is not None:
            self.drag(*self.prompt.corner, x, y)
        else:
            self._ask(replace(self.prompt, corner=(x, y)))

    def clear(self) -> None:
        """Drop what was clicked for the object in work."""
        if self.prompt != Prompt():
            self._commit(Prompt(), self.objects, None)

    def undo(self) -> None:
        """Go back by one click, box, or change of the list.

        Raises:
            ValueError: There is nothing to go back to.
        """
        if not self._history:
            raise ValueError('There is nothing to undo.')
        state = self._history[-1]
        if state.prompt != self.prompt:
            self.answer = self._answer_to(state.prompt)
        self._state = self._history.pop()

    def _ask(self, prompt: Prompt) -> None:
        self._require_picture()
        self._commit(prompt, self.objects, self._answer_to(prompt))

    def _answer_to(self, prompt: Prompt) -> Answer | None:
        if not prompt.asks:
            return None
        self._require_picture()
        said = self.predictor.predict(
            [point[:2] for point in prompt.points] or None,
            [point[2] for point in prompt.points] or None,
            prompt.box,
            multimask_output=False,
            top_k=TOP_K,
        )
        return Answer(
            said.masks[0],
            float(said.scores[0]),
            tuple(said.names[0]),
            tuple(said.name_scores[0].tolist()),
        )

    def _commit(
        self, prompt: Prompt, objects: tuple[LabeledObject, ...], answer: Answer | None
    ) -> None:
        self._history.append(self._state)
        self._state, self.answer = _State(prompt, objects), answer

    def _require_open(self) -> None:
        if self.shape is None:
            raise ValueError(
                'There is no picture: open one (again, if it was a while ago: its objects are '
                'kept).'
            )

    def _require_picture(self) -> None:
        image = self.image
        if not self.predictor.is_image_set:
            self.predictor.set_image(image)

    # Names

    def set_names(self, names: Sequence[str]) -> None:
        """Change what things may be called, to the model's own without names; name anew.

        Raises:
            ValueError: As for `NameEncoder.classifier`.
        """
        classifier = self.name_encoder.classifier(names) if names else self.name_encoder.own
        if classifier is None:
            raise ValueError('This model has no names of its own: give at least one.')
        self.predictor.set_vocabulary(classifier)
        self.answer = self._answer_to(self.prompt)

    # The list

    def add(self, name: str = '') -> None:
        """Put the object in work on the list, by the model's best name if none is given.

        Raises:
            ValueError: There is no mask.
        """
        if self.answer is None or not self.answer.mask.any():
            raise ValueError('There is no mask to add: click an object first.')
        thing = self._object(self.answer.segmentation, self.answer.names, self.answer.name_scores)
        thing = thing.renamed(name) if name.strip() else thing
        self._commit(Prompt(), (*self.objects, thing), None)

    def add_everything(self) -> int:
        """Put what is found in the picture on the list, but what is there already; count it.

        Raises:
            ValueError: No picture is open.
        """
        self._require_picture()
        return self._add_found(self.predictor.segment_everything(top_k=TOP_K))

    def find(self, text: str) -> int:
        """Put all objects of some names on the list, but what is there already.

        Args:
            text: The names, separated by commas.

        Returns:
            How many objects came.

        Raises:
            ValueError: No picture is open, or as for `NameEncoder.classifier`.
        """
        self._require_picture()
        names = [name.strip() for name in text.split(',') if name.strip()]
        classifier = self.name_encoder.classifier(names)
        return self._add_found(self.predictor.find(classifier, top_k=TOP_K))

    def _add_found(self, found: Sequence[dict]) -> int:
        there = [thing.segmentation for thing in self.objects]
        new = []
        for thing in found:
            mask = thing['segmentation']
            if there and coco_mask.iou([mask], there, [0] * len(there)).max() > SAME:
                continue
            new.append(self._object(mask, thing['names'], thing['name_scores']))
        if new:
            self._commit(self.prompt, (*self.objects, *new), self.answer)
        return len(new)

    def rename(self, number: int, name: str) -> None:
        """Call the object of a number something else.

        Raises:
            ValueError: There is no such object, or the name is blank.
        """
        self._require_object(number)
        objects = (t.renamed(name) if t.number == number else t for t in self.objects)
        self._commit(self.prompt, tuple(objects), self.answer)

    def remove(self, number: int) -> None:
        """Take the object of a number off the list.

        Raises:
            ValueError: There is no such object.
        """
        self._require_object(number)
        objects = (thing for thing in self.objects if thing.number != number)
        self._commit(self.prompt, tuple(objects), self.answer)

    def remove_all(self) -> None:
        """Empty the list."""
        if self.objects:
            self._commit(self.prompt, (), self.answer)

    def _object(
        self, segmentation: dict, names: Sequence[str], name_scores: Sequence[float]
    ) -> LabeledObject:
        self._count += 1
        name = names[0] if names else UNNAMED
        return LabeledObject(self._count, name, tuple(names), tuple(name_scores), segmentation)

    def _require_object(self, number: int) -> None:
        if number not in [thing.number for thing in self.objects]:
            raise ValueError(f'There is no object {number!r:.50} on the list.')

    # Files

    def to_coco(self) -> bytes:
        """The list as a COCO JSON file.

        Its categories are the names in force, and after them those that single objects were given;
        so pictures that are labeled with the same names have them in common.

        Raises:
            ValueError: The list is empty.
        """
        record = self._record()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / 'objects.json'
            write_coco(path, [record], self._categories())
            return path.read_bytes()

    def to_jpeg(self) -> bytes:
        """The picture as a JPEG file, with the objects of the list drawn on it.

        Raises:
            ValueError: The list is empty.
        """
        objects = self._record()['objects']
        with _DRAWING:
            drawn = draw_objects(self.image[..., ::-1], objects, self._categories())
        return jpeg(drawn[..., ::-1])

    def _record(self) -> dict:
        if not self.objects:
            raise ValueError('The list is empty: add an object first.')
        height, width = self.shape
        objects = [thing.as_record() for thing in self.objects]
        return dict(file_name=self.file_name, width=width, height=height, objects=objects)

    def _categories(self) -> list[str]:
        return list(dict.fromkeys([*self.names, *(thing.name for thing in self.objects)]))
