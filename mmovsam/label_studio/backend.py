"""What Label Studio asks of a machine learning backend, answered by a predictor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache

from ..apis import OVSAMPredictor
from ..vocabulary import Vocabulary
from .images import ImageSource, LocalImage
from .label_config import LabelSet, parse_label_config
from .regions import brush_region, read_prompts, target_image

NUM_LABEL_SETS = 32  # whose encoded names are remembered
SETUP_SECONDS = 2  # Label Studio waits for 3
TOP_K = 5  # names in the note of a region


class LabelStudioBackend:
    """Answers Label Studio's requests, those of several projects and people at once.

    Points and rectangles that somebody draws come back as brush masks, each with the best of the
    project's own labels. An image is fetched and encoded once for all that is drawn on it. Methods
    may be called from several threads.

    Args:
        predictor: Of any vocabulary; it stays as it is.
        images: Where images may come from.
        model_version: What Label Studio shows as the version of the model.
        num_images: How many images stay open: encoded, each for one label set.
    """

    def __init__(
        self,
        predictor: OVSAMPredictor,
        images: ImageSource,
        model_version: str = 'mmovsam',
        num_images: int = 8,
    ) -> None:
        self.predictor = predictor
        self.images = images
        self.model_version = model_version
        self._label_sets = lru_cache(NUM_LABEL_SETS)(parse_label_config)
        self._naming = lru_cache(NUM_LABEL_SETS)(self._make_naming)
        self._open = lru_cache(num_images)(self._open_image)
        self._background = ThreadPoolExecutor(max_workers=1)

    def health(self) -> dict:
        """The answer to `/health`."""
        return dict(status='UP', model_class='OVSAM', model_version=self.model_version)

    def setup(self, request: Mapping) -> dict:
        """The answer to `/setup`: a project is connected, and its labels are encoded.

        Args:
            request: Has the label config as `schema`, or as `label_config`.

        Raises:
            ValueError: The label config has no brush labels, or they make no vocabulary.
        """
        sets = self._label_sets(_label_config(request, 'schema'))
        # Many labels take longer than Label Studio waits; then it is their first click that does.
        encoding = [self._background.submit(self._naming, labels) for labels in sets.values()]
        for done in wait(encoding, timeout=SETUP_SECONDS).done:
            done.result()
        return dict(model_version=self.model_version)

    def predict(self, request: Mapping) -> dict:
        """The answer to `/predict`: what was drawn on a task's image becomes brush masks.

        Args:
            request: Has `tasks`, `label_config` and, in `params.context.result`, the regions that
                were drawn on the one task; see `read_prompts` for what they mean together. Without
                a context there is nothing to find, and the answer has no prediction for any task.

        Returns:
            `results`, one for each task, and `model_version`.

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
        if not context:
            return dict(results=[[] for _ in tasks], model_version=self.model_version)
        regions = context.get('result')
        if not isinstance(regions, list):
            raise ValueError('The context of a request to /predict has a list as result.')
        if len(tasks) != 1:
            raise ValueError(f'Regions belong to one task, but there are {len(tasks)}.')
        result = self._annotate(tasks[0], sets, regions)
        score = sum(region['score'] for region in result) / max(len(result), 1)
        prediction = dict(result=result, score=score, model_version=self.model_version)
        return dict(results=[prediction], model_version=self.model_version)

    def _annotate(
        self, task: Mapping, sets: Mapping[str, LabelSet], regions: Sequence[Mapping]
    ) -> list[dict]:
        to_name = target_image(regions)
        if to_name is None:
            return []
        if to_name not in sets:
            raise ValueError(
                f'The image {to_name!r:.100} has no <BrushLabels toName="{to_name:.100}"> in the '
                f'label config, only {", ".join(sets)}.'
            )
        labels = sets[to_name]
        data = _mapping(task, 'data')
        if labels.image_key not in data:
            raise ValueError(
                f"The task's data has no {labels.image_key!r}, which the label config names as its "
                f'image, only {", ".join(map(str, data))}.'
            )
        predictor, width, height = self._open(labels, self.images.locate(data[labels.image_key]))
        prompts = read_prompts(regions, width, height)
        if not prompts:
            return []
        found = predictor.predict_batch(prompts, top_k=TOP_K)
        label_of = {label.name: label for label in labels.labels}
        return [
            brush_region(mask, label_of[names[0]], to_name, float(scores[0]), _note(names, scores))
            for mask, names, scores in zip(found.masks, found.names, found.name_scores)
            if mask.any()
        ]

    def _make_naming(self, labels: LabelSet) -> OVSAMPredictor:
        """A predictor that names things as a label set does."""
        predictor = self.predictor.fork()
        synonyms = [label.synonyms for label in labels.labels]
        names = [label.name for label in labels.labels]
        predictor.set_vocabulary(Vocabulary(names, synonyms=synonyms))
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


def _note(names: Sequence[str], scores: Sequence[float]) -> str:
    """The best name, and the others that are not all but impossible."""
    shown = [i for i in range(len(names)) if i == 0 or scores[i] >= 0.01]
    return ', '.join(f'{names[i]} {scores[i]:.0%}' for i in shown)
