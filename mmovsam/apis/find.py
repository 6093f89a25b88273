"""Find the objects of an image that have a given name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor

from ..models.detectors.features import RegionEmbeddings
from ..models.heads import OpenVocabClassifier
from ..models.heads.open_vocab_classifier import fuse_opinions
from ..prompts import Prompts
from ..validation import require_at_least, require_choice, require_fraction, require_known
from ..vocabulary import TextClassifier, split_name
from ..vocabulary.related_nouns import are_related
from .everything import OUTPUT_MODES, decode_masks
from .inference_results import measured
from .tidying import mask_quality, touching
from .tiles import TILE_OVERLAP

SCORE_THR = 0.5
DUPLICATE_IOU = 0.5  # of two masks of one name with a larger IoU one is dropped
PART_OVERLAP = 0.8  # or if this share of one lies inside of the other
SURE_PROPOSAL = 0.44  # proposal scores above do not raise the score of an object any more
CANDIDATE_OPTIONS = (
    'points_per_side',
    'points_per_batch',
    'num_proposals',
    'proposal_thr',
    'quality_thr',
    'stability_thr',
    'nms_iou',
    'min_area',
)


class FindMode:
    """The part of `OVSAMPredictor` that finds objects by their names."""

    def find(
        self,
        names: Sequence[str] | TextClassifier,
        image=None,
        *,
        image_format: str = 'RGB',
        image_index: int = 0,
        bboxes: np.ndarray | Tensor | Prompts | None = None,
        score_thr: float = SCORE_THR,
        background: Sequence[str] | TextClassifier | None = None,
        candidates: Mapping | None = None,
        output_mode: str = 'rle',
        top_k: int = 5,
        tile_size: int | None = None,
        tile_overlap: float = TILE_OVERLAP,
    ) -> list[dict]:
        """Find all objects with the given names.

        Candidates are the masks of `segment_everything`, or of the given `bboxes`; they are cached
        with the image, so that further calls compare names only. A candidate is an object of a name
        if that is its most probable one and its `score` is high enough. Probabilities are among the
        name, the other names and the `background`, without names that may apply to the same object,
        see `mmovsam.vocabulary.related_nouns.are_related`: a mask may be found as `'person'` and as
        `'woman'`.

        Of the masks of one name, best score first, one is dropped if its IoU with an earlier one is
        above 0.5 (a duplicate), or if 80% or more of either lie inside of the other (a part, or a
        group). So a higher `score_thr` removes results and changes none.

        Args:
            names: Free text, such as `['dog', 'red cup']`; or a text classifier with names.
            image: As for `OVSAMPredictor.set_image`, which it is passed to; None for the current
                image.
            image_format: `'RGB'` or `'BGR'`, the channel order of an array.
            image_index: Which of the current images, if none is given.
            bboxes: `(N, 4)` xyxy in pixels of the image, such as a detector's, or `Prompts` with
                boxes; None to search the whole image.
            score_thr: Minimum score of an object.
            background: Names of other objects; None for the model's vocabulary, an empty list for
                none.
            candidates: Arguments of `segment_everything`: `points_per_side`, `points_per_batch`,
                `num_proposals`, `proposal_thr`, `quality_thr`, `stability_thr`, `nms_iou`,
                `min_area`.
            output_mode: As for `segment_everything`.
            top_k: Number of names of each object, at most.
            tile_size: As for `segment_everything`, to search a large image in tiles.
            tile_overlap: As for `segment_everything`.

        Returns:
            Dicts as of `segment_everything`, best score first. `name` is one of the given names;
            `names` and `name_scores` are it and its competitors, most probable first; `score` is
            the name's probability times the quality of the mask (its `predicted_iou`, or
            `stability_score` if the model predicts none), less for boxes proposed with a low score.
            Masks of `bboxes` have `box`, xyxy, in place of `point_coords`.

        Raises:
            FileNotFoundError: As for `OVSAMPredictor.set_image`.
            RuntimeError: No image is given and none is set.
            TypeError: `names` is a single string, or has elements that are not strings.
            ValueError: As for `set_image`, there are no names, one is empty or occurs twice, there
                is no text encoder, an argument is out of range, a box is invalid, or the model only
                segments.
        """
        require_choice(OUTPUT_MODES, output_mode=output_mode)
        require_fraction(score_thr=score_thr)
        require_at_least(1, top_k=top_k)
        name_scorer = self._name_scorer(names, background)
        settings = candidates, score_thr, top_k
        if tile_size is None:
            if image is not None:
                self.set_image(image, image_format)
            things = self._find(name_scorer, image_index, bboxes, *settings)
        elif image is None or bboxes is not None:
            raise ValueError('tile_size needs the image itself, and takes no bboxes.')
        else:
            in_tiles = self._search_tiles(
                image,
                image_format,
                tile_size,
                tile_overlap,
                lambda predictor: predictor._find(name_scorer, 0, None, *settings),
                by_name=True,
            )
            things = []
            for name in name_scorer.queries:
                things += suppress_overlaps([thing for thing in in_tiles if thing['name'] == name])
            things.sort(key=lambda thing: -thing['score'])
        return decode_masks(things) if output_mode == 'mask' else things

    def _find(
        self,
        name_scorer: NameScorer,
        image_index: int,
        bboxes: np.ndarray | Tensor | Prompts | None,
        candidates: Mapping | None,
        score_thr: float,
        top_k: int,
    ) -> list[dict]:
        """The results of `find` in one of the current images, as run lengths."""
        if bboxes is None:
            require_known('The search for candidates', candidates or (), CANDIDATE_OPTIONS)
            settings = self._everything_settings(**(candidates or {}))
            things = self._candidates(image_index, settings)
        elif candidates:
            raise ValueError('candidates are settings of a search without bboxes: give either.')
        else:
            things = self._box_candidates(image_index, bboxes)
        with self._lock, torch.no_grad():
            return _select_by_name(things, name_scorer, score_thr, top_k)

    def _name_scorer(
        self,
        names: Sequence[str] | TextClassifier,
        background: Sequence[str] | TextClassifier | None,
    ) -> NameScorer:
        self._require_names()
        classifier = self.model.classifier
        if background is None:
            with self._lock:  # the model may read its vocabulary's file now
                has_names = classifier.has_vocabulary and classifier.class_names
            background = [classifier] if has_names else []
        else:
            background = self._classifiers(background, 'background') if len(background) else []
        return NameScorer(self._classifiers(names, 'names'), background)

    def _classifiers(
        self, names: Sequence[str] | TextClassifier, argument: str
    ) -> list[OpenVocabClassifier]:
        """One for names of the model's vocabulary, and one for those that are not in it."""
        classifier = self.model.classifier
        if isinstance(names, TextClassifier):
            if names.names is None:
                raise ValueError(f'{argument} are a text classifier without names.')
            return [classifier.with_vocabulary(names)]
        names = _check_names(names, argument)
        with self._lock:
            vocabulary = classifier.class_names or () if classifier.has_vocabulary else ()
        labels = {split_name(name): label for label, name in enumerate(vocabulary)}
        old = [name for name in names if split_name(name) in labels]
        new = [name for name in names if split_name(name) not in labels]
        text_classifiers = []
        if old:
            indices = [labels[split_name(name)] for name in old]
            text_classifiers.append(classifier.subset(indices, old))
        if new:
            text_classifiers.append(self._name_encoder.classifier(new))
        return list(map(classifier.with_vocabulary, text_classifiers))

    def _box_candidates(
        self, image_index: int, bboxes: np.ndarray | Tensor | Prompts
    ) -> list[dict]:
        """The masks of boxes with `regions`, cached with the image."""
        encoded = self._encoded(image_index)
        prompts = _box_prompts(bboxes)
        key = prompts.bboxes.numpy().tobytes()
        if key in encoded.candidates:
            return encoded.candidates[key]
        pred = self.predict_batch(
            prompts,
            top_k=1,
            mask_format='rle',
            image_index=image_index,
            keep_logits=False,
            keep_regions=True,
        )
        height, width = encoded.ori_shape
        quality = 'predicted_iou' if self.model.predicts_quality else 'stability_score'
        things = [
            dict(
                measured(mask),
                box=prompts.bboxes[row].tolist(),
                crop_box=[0, 0, width, height],
                regions=RegionEmbeddings(*(field[row] for field in pred.regions)),
                **{quality: float(pred.scores[row])},
            )
            for row, mask in enumerate(pred.masks)
        ]
        encoded.candidates.clear()
        encoded.candidates[key] = [thing for thing in things if thing['area']]
        return encoded.candidates[key]


def _check_names(names: Sequence[str], argument: str) -> list[str]:
    if isinstance(names, str) or not hasattr(names, '__iter__'):
        raise TypeError(f"{argument} are a list such as ['dog', 'a red cup'], not {names!r:.100}.")
    names = list(names)
    if not names:
        raise ValueError(f"{argument} are empty: give at least one, such as ['dog'].")
    by_words: dict[tuple, str] = {}
    for name in names:
        words = split_name(name)  # raises if it is empty or not a string
        if words in by_words:
            raise ValueError(
                f'{argument} have {by_words[words]!r} and {name!r}, which are one: drop one.'
            )
        by_words[words] = name
    return names


def _box_prompts(bboxes: np.ndarray | Tensor | Prompts) -> Prompts:
    if isinstance(bboxes, Prompts):
        if bboxes.bboxes is None or not bool(bboxes.has_bbox.all()):
            raise ValueError('bboxes are Prompts without boxes: have the prompter give some.')
        bboxes = bboxes.bboxes
    bboxes = torch.as_tensor(bboxes, dtype=torch.float32).detach().cpu()
    if bboxes.numel() == 0:
        bboxes = bboxes.reshape(0, 4)
    if bboxes.ndim != 2 or bboxes.shape[1] != 4:
        raise ValueError(f'bboxes are (N, 4) xyxy in pixels, got shape {tuple(bboxes.shape)}.')
    return Prompts(bboxes=bboxes.contiguous())


class NameScorer:
    """The probability of each queried name among the names that compete with it.

    These are the other names and the background, without those that may apply to the same object,
    see `are_related`: a cup may be a red cup. All classifiers are of one model.
    """

    def __init__(
        self, queries: Sequence[OpenVocabClassifier], background: Sequence[OpenVocabClassifier]
    ) -> None:
        self.classifiers = [*queries, *background]
        names = [name for classifier in self.classifiers for name in classifier.class_names]
        self.queries = tuple(name for classifier in queries for name in classifier.class_names)
        queried = set(map(split_name, self.queries))
        excluded = torch.cat([c.excluded[:-1] for c in self.classifiers]).tolist()
        indices = [
            i
            for i, name in enumerate(names)
            if i < len(self.queries) or not (excluded[i] or split_name(name) in queried)
        ]
        self.names = tuple(names[i] for i in indices)
        self._indices = torch.tensor(indices)
        alpha = torch.cat([classifier.alpha[:-1] for classifier in self.classifiers]).cpu()
        no_class = queries[0].alpha[-1:].cpu()
        self._alpha = torch.cat((alpha[self._indices], no_class))

    def __call__(self, regions: RegionEmbeddings) -> Iterator[tuple[str, Tensor, Sequence[str]]]:
        """Score the names of N regions.

        Yields:
            For each queried name: the name, probabilities `(N, 1 + C)` of it and of its C
            competitors, and the names of these columns.
        """
        head, clip = self._logits(regions.by_head), self._logits(regions.by_tower)
        competitors = _competitors(self.queries, self.names)
        for label, name in enumerate(self.queries):
            columns = [label, *competitors[label].tolist(), len(self.names)]
            fused = fuse_opinions(
                head[:, columns], clip[:, columns], regions.visible, self._alpha[columns]
            )
            yield name, fused.softmax(1)[:, :-1], [self.names[i] for i in columns[:-1]]

    def _logits(self, embeddings: Tensor) -> Tensor:
        """`(N, K + 1)` of embeddings `(N, D)`; the last column is for "none of the names"."""
        logits = [
            classifier.logits(embeddings.to(classifier.embeddings.device))[:, :-1].cpu()
            for classifier in self.classifiers
        ]
        logits = torch.cat(logits, 1)[:, self._indices]
        return torch.cat((logits, logits.new_zeros(len(logits), 1)), 1)


@lru_cache(maxsize=4)  # the same names are often searched in many images
def _competitors(queries: tuple[str, ...], names: tuple[str, ...]) -> list[np.ndarray]:
    """Indices `(C,)` of the names that compete with each queried one."""
    return [
        np.flatnonzero([not are_related(query, name) for name in names]).astype(np.int32)
        for query in queries
    ]


def _select_by_name(
    things: Sequence[dict], name_scorer: NameScorer, score_thr: float, top_k: int
) -> list[dict]:
    """The candidates that have a queried name, best score first."""
    if not things:
        return []
    regions = RegionEmbeddings(*map(torch.stack, zip(*(thing['regions'] for thing in things))))
    quality = torch.tensor([_quality(thing) for thing in things])
    selected = []
    for name, probabilities, names in name_scorer(regions):
        scores = probabilities[:, 0].float() * quality
        best = probabilities.float().topk(min(top_k, len(names)), dim=1)
        is_selected = (best.indices[:, 0] == 0) & (scores >= score_thr)
        selected += suppress_overlaps(
            [
                dict(
                    {key: value for key, value in things[row].items() if key != 'regions'},
                    name=name,
                    score=float(scores[row]),
                    names=[names[index] for index in best.indices[row].tolist()],
                    name_scores=best.values[row].tolist(),
                )
                for row in is_selected.nonzero()[:, 0].tolist()
            ]
        )
    return sorted(selected, key=lambda thing: -thing['score'])


def _quality(thing: Mapping) -> float:
    factor = min(thing.get('proposal_score', SURE_PROPOSAL) / SURE_PROPOSAL, 1.0) ** 0.5
    return mask_quality(thing) * factor


def suppress_overlaps(things: Sequence[dict]) -> list[dict]:
    """Drop duplicates, parts and groups among objects of one name, see `FindMode.find`.

    Masks are run lengths; the result has the best score first.
    """
    things = sorted(things, key=lambda thing: -thing['score'])
    masks = [thing['segmentation'] for thing in things]
    bboxes = coco_mask.toBbox(masks) if masks else []
    keep: list[int] = []
    for index, mask in enumerate(masks):
        near = [masks[keep[i]] for i in touching(bboxes[index], bboxes[keep]).nonzero()[0]]
        iou = coco_mask.iou([mask], near, [0] * len(near))
        inside = coco_mask.iou([mask], near, [1] * len(near))  # of crowds: the share of the mask
        around = coco_mask.iou(near, [mask], [1])
        iou, inside, around = (np.max(values, initial=0) for values in (iou, inside, around))
        if iou <= DUPLICATE_IOU and max(inside, around) < PART_OVERLAP:
            keep.append(index)
    return [things[index] for index in keep]
