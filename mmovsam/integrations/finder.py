"""A callable that finds the objects of an image."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import torch

from ..apis import OVSAMPredictor
from ..apis.auto_labeling.sources import FIND, Detection, find_source
from ..apis.find import SCORE_THR
from ..apis.image_input import read_image
from ..validation import require_fraction
from ..vocabulary import Vocabulary
from ..vocabulary.sources import WORDS

NAME_SUFFIXES = ('.txt', '.csv', '.tsv', '.json', '.yaml', '.yml', '.names')


class ObjectFinder:
    """Finds the objects of images like `auto_label`; it has a `predictor` and `names`.

    Args:
        model: A config or the name of a pretrained model, see `OVSAMPredictor.from_config`.
        checkpoint: See `OVSAMPredictor.from_config`.
        names: The vocabulary: a list, a text with commas between names, or a source that
            `Vocabulary.from_source` reads, such as `'lvis'` or a file; None for the model's.
        prompter: Finds the objects, see `find_source`: `'find'`, `'everything'` or a detector.
        score_thr: Default threshold of scores; None for 0.5 with `'find'`, for 0 with others.
        device: See `OVSAMPredictor.from_config`.
        **options: Options of the prompter.
    """

    def __init__(
        self,
        model: str | Path = 'ovsam-photo',
        checkpoint: str | Path | None = None,
        names: str | Sequence[str] | PathLike | None = None,
        prompter: str | Path = FIND,
        score_thr: float | None = None,
        device: str | torch.device | None = None,
        **options,
    ) -> None:
        finds = prompter == FIND
        self.score_thr = SCORE_THR * finds if score_thr is None else score_thr
        require_fraction(score_thr=self.score_thr)
        # find all: calls apply the threshold
        self._source = find_source(prompter, dict(options, score_thr=0) if finds else options, [])
        self.predictor = OVSAMPredictor.from_config(model, checkpoint, device)
        if names is not None:
            path = Path(names) if isinstance(names, str) else None
            is_file = path and (path.is_file() or path.suffix.lower() in NAME_SUFFIXES)
            if path and names not in WORDS and not is_file:
                names = [name.strip() for name in names.split(',') if name.strip()]
            self.predictor.set_vocabulary(Vocabulary.from_source(names))
        self.names = self.predictor.vocabulary

    def __call__(self, image, score_thr: float | None = None) -> list[Detection]:
        """The objects of an image, see `read_image`, by the finder's or another threshold."""
        image = read_image(image, value_range=self.predictor.value_range)
        (objects,) = self._source.find(self.predictor, dict(image=image), top_k=5)
        score_thr = self.score_thr if score_thr is None else score_thr
        return [obj for obj in objects if obj.score >= score_thr]
