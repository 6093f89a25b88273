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
from .everything import OUTPUT_MODES
from .inference_results import measured
from .tidying import mask_quality, touching
from .tiles import TILE_OVERLAP

SCORE_THR = 0.5
DUPLICATE = 0.5  # IoU above which two masks of one name are one object
CERTAIN = 0.44  # score of a proposed box from which on its mask counts in full
PART = 0.8  # share of a mask inside of a larger one from which only the better of the two is kept
CANDIDATES = (
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
        """All objects of some names, without a click.

        The masks of `segment_everything`, or of the `bboxes` that are given, are the candidates. A
        candidate is an object of a name if that is the likeliest among its competitors, and if the
        `score` is high enough. The competitors are the other names and the `background`, without
        those that may be right of the same thing, see `mmovsam.vocabulary.related_nouns`. A mask
        may have several names that do not compete, such as `'person'` and `'woman'`.

        Of the masks of one name the best score comes first. A later one is left out if it overlaps
        one that is kept by an IoU above 0.5, a duplicate; if 80% of it or more lie inside of that,
        a part; or if 80% of that lie inside of it, a group or a whole that is less sure. So a
        higher `score_thr` takes results away and changes none.

        Candidates are remembered with the image: further calls with the same ones compare names
        only.

        Args:
            names: What to look for, in any words; or a text classifier with names.
            image: As for `OVSAMPredictor.set_image`, and set by it; None for one that is set.
            image_format: `'RGB'` or `'BGR'`, the channel order of an array.
            image_index: Which of the images that are set.
            bboxes: `(N, 4)` xyxy in pixels of the image, such as a detector's, or the `Prompts` of
                a prompter, whose boxes are read; None to look everywhere.
            score_thr: Objects with a lower score are left out.
            background: What else there may be; None for the model's own vocabulary, an empty list
                for nothing.
            candidates: Arguments of `segment_everything`: `points_per_side`, `points_per_batch`,
                `quality_thr`, `stability_thr`, `nms_iou`, `min_area`.
            output_mode: As for `segment_everything`.
            top_k: How many names an object gets, at most.
            tile_size: As for `segment_everything`: a large image is looked at tile by tile.
            tile_overlap: Likewise.

        Returns:
            Dicts as those of `segment_everything`, the best score first. `name` is one of the
            names; `names` and `name_scores` are it and its competitors, the likeliest first;
            `score` is the name's probability times the quality of the mask, its `predicted_iou` or,
            where the model predicts none, `stability_score`, and less for boxes that were proposed
            without certainty. In place of the point those of boxes have `box`, xyxy.

        Raises:
            FileNotFoundError: As for `OVSAMPredictor.set_image`.
            RuntimeError: No image is given and none is set.
            TypeError: The names are a single string, or are no strings.
            ValueError: As for `set_image`, there is no name, one is empty or given twice, the text
                tower is missing, an argument is out of range, a box is none, or the model has no
                names.
        """
        require_choice(OUTPUT_MODES, output_mode=output_mode)
        require_fraction(score_thr=score_thr)
        require_at_least(1, top_k=top_k)
        contest = self._contest(names, background)
        settings = candidates, score_thr, top_k
        if tile_size is None:
            if image is not None:
                self.set_image(image, image_format)
            found = self._find(contest, image_index, bboxes, *settings)
        elif image is None or bboxes is not None:
            raise ValueError('tile_size needs the image itself, and takes no bboxes.')
        else:
            things = self._in_tiles(
                image,
                image_format,
                tile_size,
                tile_overlap,
                lambda tile: tile._find(contest, 0, None, *settings),
                by_name=True,
            )
            found = []
            for name in contest.queries:
                found += one_mask_each([thing for thing in things if thing['name'] == name])
            found.sort(key=lambda thing: -thing['score'])
        if output_mode == 'mask':
            for thing in found:
                thing['segmentation'] = coco_mask.decode(thing['segmentation']).astype(bool)
        return found

    def _find(
        self,
        contest: NameContest,
        image_index: int,
        bboxes: np.ndarray | Tensor | Prompts | None,
        candidates: Mapping | None,
        score_thr: float,
        top_k: int,
    ) -> list[dict]:
        """What `find` returns of one image that is set, as run lengths."""
        if bboxes is None:
            require_known('The search for candidates', candidates or (), CANDIDATES)
            settings = self._everything_settings(**(candidates or {}))
            things = self._candidates(image_index, settings)
        elif candidates:
            raise ValueError('candidates are settings of a search without bboxes: give either.')
        else:
            things = self._in_boxes(image_index, bboxes)
        with self._lock, torch.no_grad():
            return _of_names(things, contest, score_thr, top_k)

    def _contest(
        self,
        names: Sequence[str] | TextClassifier,
        background: Sequence[str] | TextClassifier | None,
    ) -> NameContest:
        if not self.model.recognizes:
            raise ValueError('This model segments only: it was built without a classifier.')
        classifier = self.model.classifier
        if background is None:
            with self._lock:  # the model may read its vocabulary's file now
                named = classifier.has_vocabulary and classifier.class_names
            background = [classifier] if named else []
        else:
            background = self._classifiers_of(background, 'background') if len(background) else []
        return NameContest(self._classifiers_of(names, 'names'), background)

    def _classifiers_of(
        self, names: Sequence[str] | TextClassifier, argument: str
    ) -> list[OpenVocabClassifier]:
        """One for names that the model knows and one for others, or what is given."""
        classifier = self.model.classifier
        if isinstance(names, TextClassifier):
            if names.names is None:
                raise ValueError(f'{argument} are a text classifier without names.')
            return [classifier.with_vocabulary(names)]
        names = _checked_names(names, argument)
        with self._lock:
            known = classifier.class_names or () if classifier.has_vocabulary else ()
        labels = {split_name(name): label for label, name in enumerate(known)}
        old = [name for name in names if split_name(name) in labels]
        new = [name for name in names if split_name(name) not in labels]
        found = []
        if old:
            found.append(classifier.subset([labels[split_name(name)] for name in old], old))
        if new:
            found.append(self._name_encoder.classifier(new))
        return [classifier.with_vocabulary(each) for each in found]

    def _in_boxes(self, image_index: int, bboxes: np.ndarray | Tensor | Prompts) -> list[dict]:
        """The masks of boxes, with what they are named by, remembered with the image."""
        encoded = self._encoded(image_index)
        prompts = _boxes(bboxes)
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
                regions=RegionEmbeddings(*(part[row] for part in pred.regions)),
                **{quality: float(pred.scores[row])},
            )
            for row, mask in enumerate(pred.masks)
        ]
        encoded.candidates.clear()
        encoded.candidates[key] = [thing for thing in things if thing['area']]
        return encoded.candidates[key]


def _checked_names(names: Sequence[str], argument: str) -> list[str]:
    if isinstance(names, str) or not hasattr(names, '__iter__'):
        raise TypeError(f"{argument} are a list such as ['dog', 'a red cup'], not {names!r:.100}.")
    names = list(names)
    if not names:
        raise ValueError(f"{argument} are empty: give at least one, such as ['dog'].")
    seen: dict[tuple, str] = {}
    for name in names:
        parts = split_name(name)  # says what is empty or no string
        if parts in seen:
            raise ValueError(
                f'{argument} have {seen[parts]!r} and {name!r}, which are one: drop one.'
            )
        seen[parts] = name
    return names


def _boxes(bboxes: np.ndarray | Tensor | Prompts) -> Prompts:
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


class NameContest:
    """How probable each name that is looked for is, among those that are not akin to it.

    The other names and the background compete with a name, but for those that may be right of the
    same thing, see `are_related`: whether it is a cup says nothing against a red cup.

    Args:
        queries: Classifiers of the names that are looked for, all of one model and with names.
        background: Classifiers of further names.
    """

    def __init__(
        self, queries: Sequence[OpenVocabClassifier], background: Sequence[OpenVocabClassifier]
    ) -> None:
        self.classifiers = [*queries, *background]
        names = [name for classifier in self.classifiers for name in classifier.class_names]
        self.queries = tuple(name for classifier in queries for name in classifier.class_names)
        known = set(map(split_name, self.queries))
        excluded = torch.cat([each.excluded[:-1] for each in self.classifiers]).tolist()
        kept = [
            i
            for i, name in enumerate(names)
            if i < len(self.queries) or not (excluded[i] or split_name(name) in known)
        ]
        self.names = tuple(names[i] for i in kept)
        self._kept = torch.tensor(kept)
        shares = torch.cat([each.alpha[:-1] for each in self.classifiers]).cpu()
        nothing = queries[0].alpha[-1:].cpu()  # the share of the column for none of the names
        self._alpha = torch.cat((shares[self._kept], nothing))

    def __call__(self, regions: RegionEmbeddings) -> Iterator[tuple[str, Tensor, Sequence[str]]]:
        """The probabilities of the names of N regions.

        Yields:
            For each name that is looked for: it, `(N, 1 + C)` probabilities of it and of its C
            competitors, and what these are called, it first.
        """
        head, clip = (self._logits(each) for each in (regions.by_head, regions.by_tower))
        rivals = _rivals(self.queries, self.names)
        for label, name in enumerate(self.queries):
            columns = [label, *rivals[label].tolist(), len(self.names)]
            fused = fuse_opinions(
                head[:, columns], clip[:, columns], regions.visible, self._alpha[columns]
            )
            yield name, fused.softmax(1)[:, :-1], [self.names[i] for i in columns[:-1]]

    def _logits(self, embeddings: Tensor) -> Tensor:
        """`(N, K + 1)` of embeddings `(N, D)`; the last column is for none of the names."""
        logits = [
            classifier.logits(embeddings.to(classifier.embeddings.device))[:, :-1].cpu()
            for classifier in self.classifiers
        ]
        logits = torch.cat(logits, 1)[:, self._kept]
        return torch.cat((logits, logits.new_zeros(len(logits), 1)), 1)


@lru_cache(maxsize=4)  # the same names are looked for in many images
def _rivals(queries: tuple[str, ...], names: tuple[str, ...]) -> list[np.ndarray]:
    """Which names compete with each that is looked for, as indices `(C,)`."""
    return [
        np.flatnonzero([not are_related(name, other) for other in names]).astype(np.int32)
        for name in queries
    ]


def _of_names(
    things: Sequence[dict], contest: NameContest, score_thr: float, top_k: int
) -> list[dict]:
    """The candidates that have one of the names, the best first."""
    if not things:
        return []
    regions = RegionEmbeddings(*map(torch.stack, zip(*(thing['regions'] for thing in things))))
    quality = torch.tensor([_quality(thing) for thing in things])
    found = []
    for name, probabilities, rivals in contest(regions):
        scores = probabilities[:, 0].float() * quality
        best = probabilities.float().topk(min(top_k, len(rivals)), dim=1)
        chosen = (best.indices[:, 0] == 0) & (scores >= score_thr)
        found += one_mask_each(
            [
                dict(
                    {key: value for key, value in things[row].items() if key != 'regions'},
                    name=name,
                    score=float(scores[row]),
                    names=[rivals[index] for index in best.indices[row].tolist()],
                    name_scores=best.values[row].tolist(),
                )
                for row in chosen.nonzero()[:, 0].tolist()
            ]
        )
    return sorted(found, key=lambda thing: -thing['score'])


def _quality(thing: Mapping) -> float:
    certainty = min(thing.get('proposal_score', CERTAIN) / CERTAIN, 1.0) ** 0.5
    return mask_quality(thing) * certainty


def one_mask_each(things: Sequence[dict]) -> list[dict]:
    """Objects of one name without duplicates, parts and groups, by the rule of `FindMode.find`.

    They have run lengths; the best score comes first.
    """
    things = sorted(things, key=lambda thing: -thing['score'])
    boxes = coco_mask.toBbox([thing['segmentation'] for thing in things]) if things else []
    kept: list[int] = []
    for number, thing in enumerate(things):
        mask = thing['segmentation']
        near = touching(boxes[number], boxes[kept])
        others = [things[kept[index]]['segmentation'] for index in np.flatnonzero(near)]
        ious, inside, around = (
            np.max(coco_mask.iou(masks, rivals, [int(crowd)] * len(rivals)), initial=0)
            for masks, rivals, crowd in (
                ([mask], others, False),
                ([mask], others, True),  # of a crowd it is the share of the mask that lies in it
                (others, [mask], True),
            )
        )
        if ious <= DUPLICATE and max(inside, around) < PART:
            kept.append(number)
    return [things[number] for number in kept]
