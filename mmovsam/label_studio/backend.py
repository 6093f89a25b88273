"""What Label Studio asks of a machine learning backend, answered by a predictor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache
from threading import Lock

import numpy as np
from pycocotools import mask as coco_mask

from ..apis import OVSAMPredictor
from ..apis.auto_labeling.label_config import LabelSet, parse_label_config
from ..apis.auto_labeling.label_studio import mask_regions, name_note, prediction
from ..apis.auto_labeling.sources import FindSource, Source
from .images import ImageSource, LocalImage
from .regions import read_prompts, target_image

NUM_LABEL_SETS = 32  # whose encoded names are remembered
SETUP_SECONDS = 2  # Label Studio waits for 3
TOP_K = 5  # names in the note of a region


class LabelStudioBackend:
    """Answers Label Studio's requests, those of several projects and people at once.

    Points and rectangles that somebody draws come back as brush masks, polygons or rectangles, as
    the project has labels, each with the best of them; and whole tasks come back with all objects
    that are found in them. An image is fetched and encoded once for all that is drawn on it.
    Methods may be called from several threads.

    Args:
        predictor: Of any vocabulary; it stays as it is.
        images: Where images may come from.
        model_version: What Label Studio shows as the version of the model.
        num_images: How many images stay open: encoded, each for one label set.
        source: What finds the objects of whole tasks; by default `find`, by the project's labels.
    """

    def __init__(
        self,
        predictor: OVSAMPredictor,
        images: ImageSource,
        model_version: str = 'mmovsam',
        num_images: int = 8,
        source: Source | None = None,
    ) -> None:
        self.predictor = predictor
        self.images = images
        self.source = source or FindSource({})
        self.model_version = model_version
        self._label_sets = lru_cache(NUM_LABEL_SETS)(parse_label_config)
        self._naming = lru_cache(NUM_LABEL_SETS)(self._make_naming)
        self._open = lru_cache(num_images)(self._open_image)
        self._source_lock = Lock()
        self._background = ThreadPoolExecutor(max_workers=1)

    def health(self) -> dict:
        """The answer to `/health`."""
        return dict(status='UP', model_class='OVSAM', model_version=self.model_version)

    def setup(self, request: Mapping) -> dict:
        """The answer to `/setup`: a project is connected, and its labels are encoded.

        The request has the label config as `schema`, or as `label_config`; one that has no labels,
        or none that make a vocabulary, is a `ValueError`.
        """
        sets = self._label_sets(_label_config(request, 'schema'))
        # Many labels take longer than Label Studio waits; then it is their first click that does.
        encoding = [self._background.submit(self._naming, labels) for labels in sets.values()]
        for done in wait(encoding, timeout=SETUP_SECONDS).done:
            done.result()
        return dict(model_version=self.model_version)

    def predict(self, request: Mapping) -> dict:
        """The answer to `/predict`: regions for what was drawn on a task, or for a task as a whole.

        The request has `tasks`, `label_config` and, in `params.context.result`, the regions that
        were drawn on the one task; see `read_prompts` for what they mean together. Without a
        context all objects of the task are wanted. Label Studio sends many tasks at once then, but
        waits only so long; so they get a single answer without a prediction, by which it learns to
        send them one by one.

        Raises:
            ValueError: Something of it is missing or cannot be meant so.
            FileNotFoundError: The image is not there.
            PermissionError: It lies where this backend may not read.
            OSError: It could not be fetched.
        """
        sets = self._label_sets(_label_config(request, 'label_config'))
        tasks = request.get('tasks')
        if not isinstance(tasks, list) or not all(isinstance(task, Mapping) for task in tasks):
            raise ValueError('A request to /predict has a list of tasks.')
        context = _mapping(_mapping(request, 'params'), 'context')
        regions = context.get('result') if context else []
        if not isinstance(regions, list):
            raise ValueError('The context of a request to /predict has a list as result.')
        if context and len(tasks) != 1:
            raise ValueError(f'Regions belong to one task, but there are {len(tasks)}.')
        if len(tasks) != 1:
            return dict(results=[[]], model_version=self.model_version)
        found = self._annotate(tasks[0], sets, regions) if context else self._find(tasks[0], sets)
        results = [prediction(list(found), self.model_version)]
        return dict(results=results, model_version=self.model_version)

    def _annotate(
        self, task: Mapping, sets: Mapping[str, LabelSet], regions: Sequence[Mapping]
    ) -> Iterator[dict]:
        """Regions for what was drawn."""
        target = target_image(regions)
        if target is None:
            return
        to_name, page = target
        if to_name not in sets:
            raise ValueError(
                f'{to_name!r:.100} has no labels in the label config, only {", ".join(sets)}.'
            )
        labels = sets[to_name]
        predictor, width, height = self._open(labels, self._locate(task, labels, page))
        prompts = read_prompts(regions, width, height)
        if prompts:
            pred = predictor.predict_batch(prompts, top_k=TOP_K)
            for mask, names, scores in zip(pred.masks, pred.names, pred.name_scores.tolist()):
                yield from _regions(mask, names, scores, scores[0], to_name, labels, page)

    def _find(self, task: Mapping, sets: Mapping[str, LabelSet]) -> Iterator[dict]:
        """Regions of all objects of a task."""
        for to_name, labels in sets.items():
            for page in range(len(_addresses(task, labels))):
                image = self.images.read(self._locate(task, labels, page))
                predictor = self._naming(labels).fork()
                with self._source_lock:
                    (found,) = self.source.find(predictor, {to_name: image[..., ::-1]}, TOP_K)
                for rle, score, names, scores in found:
                    mask = coco_mask.decode(rle).astype(bool)
                    yield from _regions(mask, names, scores, score, to_name, labels, page)

    def _locate(self, task: Mapping, labels: LabelSet, page: int) -> str | LocalImage:
        addresses = _addresses(task, labels)
        if not 0 <= page < len(addresses):
            raise ValueError(f'The task has no image {page}, only {len(addresses)}.')
        return self.images.locate(addresses[page])

    def _make_naming(self, labels: LabelSet) -> OVSAMPredictor:
        """A predictor that names things as a label set does."""
        predictor = self.predictor.fork()
        predictor.set_vocabulary(labels.vocabulary())
        return predictor

    def _open_image(
        self, labels: LabelSet, location: str | LocalImage
    ) -> tuple[OVSAMPredictor, int, int]:
        """A predictor that has the image set, and the image's width and height."""
        image = self.images.read(location)
        predictor = self._naming(labels).fork()
        predictor.set_image(image)
        return predictor, image.shape[1], image.shape[0]


def _label_config(request: Mapping, key: str) -> str:
    config = request.get(key) or request.get('label_config')
    if not isinstance(config, str):
        raise ValueError(f"The request has no {key}, the project's label config as text.")
    return config


def _mapping(container: Mapping, key: str) -> Mapping:
    value = container.get(key) or {}
    if not isinstance(value, Mapping):
        raise ValueError(f'{key} of a request is an object, not {value!r:.100}.')
    return value


def _addresses(task: Mapping, labels: LabelSet) -> list:
    """Where a task has the images of an `<Image>`."""
    data = _mapping(task, 'data')
    if labels.image_key not in data:
        raise ValueError(
            f"The task's data has no {labels.image_key!r}, which the label config names as its "
            f'image, only {", ".join(map(str, data))}.'
        )
    addresses = data[labels.image_key]
    if not labels.has_pages:
        return [addresses]
    if not isinstance(addresses, list):
        raise ValueError(
            f'{labels.image_key!r} of the task is a list of images, not {addresses!r:.100}.'
        )
    return addresses


def _regions(
    mask: np.ndarray,
    names: Sequence[str],
    scores: Sequence[float],
    score: float,
    to_name: str,
    labels: LabelSet,
    page: int,
) -> list[dict]:
    label = next(label for label in labels.labels if label.name == names[0])
    note = name_note(names, scores)
    return mask_regions(mask, label, to_name, score, note, page if labels.has_pages else None)
