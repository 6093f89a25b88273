"""Label Studio's machine learning backend, by a predictor."""

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

NUM_LABEL_SETS = 32  # with cached vocabularies
SETUP_SECONDS = 2  # Label Studio waits for 3
TOP_K = 5  # names in the note of a region


class LabelStudioBackend:
    """Handles Label Studio's requests, from several projects and users at once; thread-safe.

    Points and rectangles become brush masks, polygons or rectangles, according to the labels of the
    project, and whole tasks get all objects that are found in them. An image is fetched and encoded
    once for all prompts.

    Args:
        predictor: Forked for the requests, and not changed.
        images: Reads the images of tasks.
        model_version: Shown by Label Studio.
        num_images: Number of encoded images to keep, each for one label set.
        source: Finds the objects of whole tasks; by default `find`, by the project's labels.
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
        """Response to `/health`."""
        return dict(status='UP', model_class='OVSAM', model_version=self.model_version)

    def setup(self, request: Mapping) -> dict:
        """Response to `/setup`, which encodes the labels of a project.

        The request has the label config as `schema` or `label_config`; one without usable labels
        raises a `ValueError`.
        """
        sets = self._label_sets(_label_config(request, 'schema'))
        # many labels take longer than Label Studio waits: then the first click does
        futures = [self._background.submit(self._naming, labels) for labels in sets.values()]
        for future in wait(futures, timeout=SETUP_SECONDS).done:
            future.result()
        return dict(model_version=self.model_version)

    def predict(self, request: Mapping) -> dict:
        """Response to `/predict`: regions for the prompts on a task, or for a whole task.

        The request has `tasks`, `label_config` and, in `params.context.result`, the prompts on the
        only task, see `read_prompts`. Without a context, all objects of a task are found. Several
        tasks would take longer than Label Studio waits: a response without predictions makes it
        send them one by one.

        Raises:
            ValueError: The request is malformed.
            FileNotFoundError: The image does not exist.
            PermissionError: The image is in a place that is not allowed.
            OSError: The image could not be fetched.
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
        if context:
            regions = self._annotate(tasks[0], sets, regions)
        else:
            regions = self._find(tasks[0], sets)
        results = [prediction(list(regions), self.model_version)]
        return dict(results=results, model_version=self.model_version)

    def _annotate(
        self, task: Mapping, sets: Mapping[str, LabelSet], regions: Sequence[Mapping]
    ) -> Iterator[dict]:
        """Regions for the prompts on a task."""
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
                    (objects,) = self.source.find(predictor, {to_name: image[..., ::-1]}, TOP_K)
                for rle, score, names, scores in objects:
                    mask = coco_mask.decode(rle).astype(bool)
                    yield from _regions(mask, names, scores, score, to_name, labels, page)

    def _locate(self, task: Mapping, labels: LabelSet, page: int) -> str | LocalImage:
        addresses = _addresses(task, labels)
        if not 0 <= page < len(addresses):
            raise ValueError(f'The task has no image {page}, only {len(addresses)}.')
        return self.images.locate(addresses[page])

    def _make_naming(self, labels: LabelSet) -> OVSAMPredictor:
        """A predictor with the vocabulary of a label set."""
        predictor = self.predictor.fork()
        predictor.set_vocabulary(labels.vocabulary())
        return predictor

    def _open_image(
        self, labels: LabelSet, location: str | LocalImage
    ) -> tuple[OVSAMPredictor, int, int]:
        """A predictor with the image set, and the image's width and height."""
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
    """The addresses of a task's images for an `<Image>`."""
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
