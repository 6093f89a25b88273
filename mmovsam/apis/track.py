"""Objects followed through the frames of a clip, by prompting each frame with the last mask."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from pycocotools import mask as coco_mask
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ..models.detectors.features import RegionEmbeddings
from .find import SCORE_THR
from .prediction import Prediction
from .predictor import OVSAMPredictor

POINTS_PER_SIDE = 12
SAME = 0.7
"""IoU above which two tracks would have one object; the less alike of them is lost."""
SIZES = 1 / 3, 3.0
"""How much smaller or larger, by its area, a lost object may come back."""


@dataclass
class Track:
    """An object that is followed.

    Attributes:
        track_id: From 1.
        name: What it is called, None where nobody knows.
        bbox: xyxy of its last mask in pixels.
        mask: Its last mask as run lengths.
        logits: Of the same, `(h, w)`.
        looks: `(2, D)` what it was named by in its first frame and lately, of length 1 each.
        velocity: `(2,)`, how far the middle of its box went in the last frame.
        missed: How many frames ago it was last seen.
    """

    track_id: int
    name: str | None
    bbox: np.ndarray
    mask: dict
    logits: np.ndarray
    looks: Tensor
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(2))
    missed: int = 0


class Tracker:
    """Follows objects by prompts; it has no memory of frames such as SAM 2's.

    In each frame a track is prompted with its last mask and box, a little enlarged, and with the
    box moved on as in the frame before. The answer that looks most like the object is taken if its
    quality, its overlap with the last mask and its likeness are good enough. Else the track is
    lost, and looked for among everything in the frame, by likeness alone.

    Args:
        predictor: Its images are replaced.
        margin: How much boxes are enlarged, in parts of their sides, on each side.
        quality_thr: Least predicted IoU or stability of an answer.
        iou_thr: Least overlap with the last mask, an IoU.
        likeness_thr: Least cosine of what the regions are named by, with the first or the last of
            the object.
        refind_thr: The same for an object that was lost; None to look for none.
        points_per_side: Of the grid of points that lost objects are looked for with; None for no
            points where the model proposes boxes, else 12.

    Raises:
        ValueError: The model has no names, so there is nothing to compare.
    """

    def __init__(
        self,
        predictor: OVSAMPredictor,
        *,
        margin: float = 0.1,
        quality_thr: float = 0.5,
        iou_thr: float = 0.3,
        likeness_thr: float = 0.6,
        refind_thr: float | None = 0.75,
        points_per_side: int | None = None,
    ) -> None:
        if not predictor.model.recognizes:
            raise ValueError('Tracking compares what names are read from: this model has no names.')
        self.predictor = predictor
        self.margin = margin
        self.quality_thr = quality_thr
        self.iou_thr = iou_thr
        self.likeness_thr = likeness_thr
        self.refind_thr = refind_thr
        if points_per_side is None and not predictor.model.proposal_head:
            points_per_side = POINTS_PER_SIDE
        self.points_per_side = points_per_side
        self.tracks: list[Track] = []

    def start(
        self, image, bboxes: np.ndarray, names: Sequence[str | None] | None = None, **options
    ) -> list[dict]:
        """Begin with the objects in some boxes of a frame.

        Args:
            image: As for `OVSAMPredictor.set_image`.
            bboxes: `(N, 4)` xyxy in pixels.
            names: What they are called; by default what the model says.
            options: `image_format`.

        Returns:
            As `step`, all of them.
        """
        self.predictor.set_image(image, **options)
        said = self._ask([dict(box=box) for box in np.asarray(bboxes, float)])
        looks = _looks(said.regions) if len(bboxes) else []
        self.tracks = []
        for row, look in enumerate(looks):
            best = said.names[row][0] if said.names[row] else None
            self.tracks.append(
                Track(
                    track_id=row + 1,
                    name=best if names is None else names[row],
                    bbox=said.bboxes[row],
                    mask=said.masks[row],
                    logits=said.low_res_logits[row],
                    looks=torch.stack((look, look)),
                )
            )
        return [_thing(track, float(said.scores[row])) for row, track in enumerate(self.tracks)]

    def step(self, image, **options) -> list[dict]:
        """Look for the objects in the next frame.

        Args:
            image: As for `start`.
            options: Likewise.

        Returns:
            For each object that is there: `track_id`, `name`, `segmentation` (run lengths), `area`,
            `bbox` (x, y, width, height) and `score`, the quality of the mask times the likeness.
        """
        self.predictor.set_image(image, **options)
        followed = self._follow([track for track in self.tracks if not track.missed])
        scores = {}
        for track, said, row, likeness in sorted(followed, key=lambda each: -each[-1]):
            rivals = [other.mask for other in self.tracks if other.track_id in scores]
            if rivals and coco_mask.iou([said.masks[row]], rivals, [0] * len(rivals)).max() > SAME:
                continue
            scores[track.track_id] = likeness * float(said.scores[row])
            _update(track, said, row, likeness >= (self.refind_thr or 1))
        for track in self.tracks:
            track.missed = 0 if track.track_id in scores else track.missed + 1
        lost = [track for track in self.tracks if track.missed]
        if lost and self.refind_thr is not None:
            scores.update(self._refind(lost, [t.mask for t in self.tracks if not t.missed]))
        return [
            _thing(track, scores[track.track_id])
            for track in self.tracks
            if track.track_id in scores
        ]

    def _ask(self, prompts: Sequence[Mapping]) -> Prediction:
        return self.predictor.predict_batch(prompts, top_k=1, mask_format='rle', keep_regions=True)

    def _follow(self, tracks: Sequence[Track]) -> Iterator[tuple[Track, Prediction, int, float]]:
        """The accepted answers to the prompts of tracks, with their likeness."""
        if not tracks:
            return
        height, width = self.predictor._encoded(0).ori_shape
        prompts, owners = [], []
        for track in tracks:
            sides = track.bbox[2:] - track.bbox[:2]
            around = np.concatenate((track.bbox[:2] - self.margin * sides,
                                     track.bbox[2:] + self.margin * sides))  # fmt: skip
            prompts.append(dict(box=around, mask_input=track.logits[None]))
            owners.append(track)
            if np.abs(track.velocity).max() >= 1:
                prompts.append(dict(box=around + np.tile(track.velocity, 2)))
                owners.append(track)
        for prompt in prompts:
            box = np.clip(prompt['box'], 0, (width, height, width, height))
            left = min(box[0], width - 2), min(box[1], height - 2)
            prompt['box'] = np.concatenate((left, np.maximum(box[2:], np.add(left, 2))))
        said = self._ask(prompts)
        looks = _looks(said.regions)
        best: dict[int, tuple[Track, Prediction, int, float]] = {}
        for row, track in enumerate(owners):
            likeness = float((track.looks @ looks[row]).max())
            overlap = coco_mask.iou([said.masks[row]], [track.mask], [0])[0, 0]
            if (
                said.scores[row] >= self.quality_thr
                and overlap >= self.iou_thr
                and likeness >= self.likeness_thr
                and likeness > best.get(track.track_id, (0, 0, 0, -1))[-1]
            ):
                best[track.track_id] = track, said, row, likeness
        yield from best.values()

    def _refind(self, lost: Sequence[Track], taken: Sequence[dict]) -> dict[int, float]:
        """Scores of lost tracks that are found among everything in the frame."""
        things = self.predictor.segment_everything(points_per_side=self.points_per_side, top_k=1)
        masks = [thing['segmentation'] for thing in things]
        if masks and taken:
            free = coco_mask.iou(masks, list(taken), [0] * len(taken)).max(1) <= 0.3
            things = [thing for thing, is_free in zip(things, free) if is_free]
        if not things:
            return {}
        boxes = np.array([thing['bbox'] for thing in things])
        boxes[:, 2:] += boxes[:, :2]
        said = self._ask([dict(box=box) for box in boxes])
        looks = _looks(said.regions)
        alike = np.array([(looks @ track.looks.T).max(1).values.numpy() for track in lost])
        sizes = np.array([coco_mask.area(track.mask) for track in lost], float)
        ratios = coco_mask.area(list(said.masks))[None] / sizes[:, None]
        alike[(ratios < SIZES[0]) | (ratios > SIZES[1])] = 0
        scores = {}
        for place, row in zip(*linear_sum_assignment(-alike)):
            if alike[place, row] >= self.refind_thr:
                track = lost[place]
                _update(track, said, row, True)
                track.velocity, track.missed = np.zeros(2), 0
                scores[track.track_id] = float(alike[place, row] * said.scores[row])
        return scores


def _looks(regions: RegionEmbeddings) -> Tensor:
    """`(N, D)` of length 1, what the head and the tower name by, of equal weight."""
    parts = (F.normalize(part.float(), dim=1) for part in (regions.by_head, regions.by_tower))
    return torch.cat(tuple(parts), dim=1) / 2**0.5


def _update(track: Track, said: Prediction, row: int, is_sure: bool) -> None:
    before, after = (box[:2] + box[2:] for box in (track.bbox, said.bboxes[row]))
    track.velocity = (after - before) / 2
    track.bbox, track.mask = said.bboxes[row], said.masks[row]
    track.logits = said.low_res_logits[row]
    if is_sure:
        track.looks = torch.stack((track.looks[0], _looks(said.regions)[row]))


def _thing(track: Track, score: float) -> dict:
    x1, y1, x2, y2 = map(float, track.bbox)
    return dict(
        track_id=track.track_id,
        name=track.name,
        segmentation=track.mask,
        area=int(coco_mask.area(track.mask)),
        bbox=[x1, y1, x2 - x1, y2 - y1],
        score=score,
    )


def track(
    predictor: OVSAMPredictor,
    frames: Iterable[tuple[str, np.ndarray]],
    names: Sequence[str] | None = None,
    bboxes: np.ndarray | None = None,
    *,
    video: str = 'clip',
    score_thr: float = SCORE_THR,
    on_frame: Callable[[str, np.ndarray, list[dict]], None] | None = None,
    **options,
) -> dict:
    """Follow objects through a clip.

    Args:
        predictor: Its images are replaced.
        frames: Names and `(H, W, 3)` uint8 BGR, see `mmovsam.apis.frames.read_frames`.
        names: What to follow: all objects of these names in the first frame that has one, see
            `OVSAMPredictor.find`.
        bboxes: Or `(N, 4)` xyxy in pixels of the first frame.
        video: What the clip is called.
        score_thr: Of `find`.
        on_frame: Called with each frame and what is found in it.
        options: Of `Tracker`.

    Returns:
        COCO's layout with `videos`; images have `video_id` and `frame_id`, counted from 0,
        annotations `video_id`, `track_id` and `score` besides.

    Raises:
        ValueError: Neither names nor boxes are given or both, there is no frame, or as for
            `Tracker`.
    """
    if (names is None) == (bboxes is None):
        raise ValueError('Give names or bboxes of what is to be followed.')
    tracker = Tracker(predictor, **options)
    images, annotations, started = [], [], False
    categories = {} if names is None else {name: i for i, name in enumerate(names, 1)}
    for number, (file_name, image) in enumerate(frames):
        height, width = image.shape[:2]
        about = dict(id=number + 1, file_name=file_name, width=width, height=height)
        images.append(dict(about, video_id=1, frame_id=number))
        things = []
        if started:
            things = tracker.step(image, image_format='BGR')
        elif bboxes is not None:
            things = tracker.start(image, bboxes, image_format='BGR')
        else:
            found = predictor.find(names, image, image_format='BGR', score_thr=score_thr)
            if found:
                boxes = np.array([thing['bbox'] for thing in found])
                boxes[:, 2:] += boxes[:, :2]
                called = [thing['name'] for thing in found]
                things = tracker.start(image, boxes, called, image_format='BGR')
        started = started or bool(things)
        for thing in things:
            name = thing['name']
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=number + 1,
                    video_id=1,
                    category_id=categories.setdefault(name, len(categories) + 1),
                    **{key: value for key, value in thing.items() if key != 'name'},
                    iscrowd=0,
                )
            )
        if on_frame is not None:
            on_frame(file_name, image, things)
    if not images:
        raise ValueError(f'{video} has no frame.')
    return dict(
        videos=[dict(id=1, name=video)],
        images=images,
        annotations=annotations,
        categories=[dict(id=number, name=name) for name, number in categories.items()],
    )
