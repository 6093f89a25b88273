"""Objects followed through the frames of a clip, by prompting each frame with the last mask."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from pycocotools import mask as coco_mask
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ..checkpoints.loading import load_checkpoint_file, save_checkpoint
from ..engine.processes import only_run
from ..fileio import write_atomic
from ..logs import warn
from ..models.detectors.features import RegionEmbeddings
from .auto_labeling.journal import Journal, model_settings, read_record
from .find import SCORE_THR
from .prediction import Prediction
from .predictor import OVSAMPredictor

POINTS_PER_SIDE = 12
SAME = 0.7  # IoU above which two tracks would have one object; the less alike of them is lost
TAKEN = 0.3  # IoU with a track that is there, above which a mask is none of a lost one
ARRAYS = 'bbox', 'logits', 'looks', 'velocity'  # of a track
SIZES = 1 / 3, 3.0  # how much smaller or larger, by its area, a lost object may come back


@dataclass
class Track:
    """An object that is followed; its id is from 1, its name None where nobody knows.

    It has its last mask as run lengths, as `logits` `(h, w)` and with its box, xyxy in pixels;
    `looks` `(2, D)`, what it was named by in its first frame and lately, of length 1 each;
    `velocity` `(2,)`, how far the middle of its box went in the last frame; and `missed`, how many
    frames ago it was last seen.
    """

    track_id: int
    name: str | None
    bbox: np.ndarray
    mask: dict
    logits: np.ndarray
    looks: Tensor
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(2))
    missed: int = 0

    def update(self, pred: Prediction, row: int, is_sure: bool) -> None:
        """Take a mask of a new frame; one that is sure says how the object looks lately."""
        before, after = (box[:2] + box[2:] for box in (self.bbox, pred.bboxes[row]))
        self.velocity = (after - before) / 2
        self.bbox, self.mask = pred.bboxes[row], pred.masks[row]
        self.logits = pred.low_res_logits[row]
        if is_sure:
            self.looks = torch.stack((self.looks[0], _looks(pred.regions)[row]))

    def result(self, score: float) -> dict:
        """What `Tracker.step` says of it."""
        x1, y1, x2, y2 = map(float, self.bbox)
        return dict(
            track_id=self.track_id,
            name=self.name,
            segmentation=self.mask,
            area=int(coco_mask.area(self.mask)),
            bbox=[x1, y1, x2 - x1, y2 - y1],
            score=score,
        )


class Tracker:
    """Follows objects by prompts; it has no memory of frames such as SAM 2's.

    In each frame a track is prompted with its last mask and box, a little enlarged, and with the
    box moved on as in the frame before. The mask that looks most like the object is taken if its
    quality, its overlap with the last mask and its likeness are good enough. Else the track is
    lost, and looked for among everything in the frame, by likeness alone.

    Args:
        predictor: Its images are replaced.
        margin: How much boxes are enlarged, in parts of their sides, on each side.
        quality_thr: Least predicted IoU or stability of a mask.
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
        self.margin, self.quality_thr, self.iou_thr = margin, quality_thr, iou_thr
        self.likeness_thr, self.refind_thr = likeness_thr, refind_thr
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
        pred = self._predict([dict(box=box) for box in np.asarray(bboxes, float)])
        best = [each[0] if each else None for each in pred.names]
        looks = _looks(pred.regions)[:, None].expand(-1, 2, -1) if len(bboxes) else ()
        fields = zip(names or best, pred.bboxes, pred.masks, pred.low_res_logits, looks)
        self.tracks = [Track(number, *each) for number, each in enumerate(fields, 1)]
        return [track.result(score) for track, score in zip(self.tracks, pred.scores.tolist())]

    def step(self, image, **options) -> list[dict]:
        """Look for the objects in the next frame; arguments as for `start`.

        Returns:
            For each object that is there: `track_id`, `name`, `segmentation` (run lengths), `area`,
            `bbox` (x, y, width, height) and `score`, the quality of the mask times the likeness.
        """
        self.predictor.set_image(image, **options)
        followed = self._follow([track for track in self.tracks if not track.missed])
        scores = {}
        for track, pred, row, likeness in sorted(followed, key=lambda each: -each[-1]):
            rivals = [other.mask for other in self.tracks if other.track_id in scores]
            if rivals and coco_mask.iou([pred.masks[row]], rivals, [0] * len(rivals)).max() > SAME:
                continue
            scores[track.track_id] = likeness * float(pred.scores[row])
            track.update(pred, row, likeness >= (self.refind_thr or 1))
        for track in self.tracks:
            track.missed = 0 if track.track_id in scores else track.missed + 1
        lost = [track for track in self.tracks if track.missed]
        if lost and self.refind_thr is not None:
            scores.update(self._refind(lost, [t.mask for t in self.tracks if not t.missed]))
        found = (track for track in self.tracks if track.track_id in scores)
        return [track.result(scores[track.track_id]) for track in found]

    def save(self, file: Path, frames: int) -> None:
        """Write the tracks after so many frames to a `.pth` file."""
        tensors, about = {}, []
        for track in self.tracks:
            values = dict(vars(track))
            for key in ARRAYS:
                tensors[f'{track.track_id}.{key}'] = torch.as_tensor(values.pop(key))
            about.append(values)
        save_checkpoint(tensors, file, dict(frames=frames, tracks=about))

    def load(self, file: Path) -> int:
        """Take up the tracks that `save` wrote; returns the number of frames."""
        content = load_checkpoint_file(file)
        self.tracks = []
        for about in content['meta']['tracks']:
            arrays = {key: content['state_dict'][f'{about["track_id"]}.{key}'] for key in ARRAYS}
            looks = arrays.pop('looks')
            arrays = {key: value.numpy().copy() for key, value in arrays.items()}
            self.tracks.append(Track(**about, **arrays, looks=looks.clone()))
        return content['meta']['frames']

    def _predict(self, prompts: Sequence[Mapping]) -> Prediction:
        return self.predictor.predict_batch(prompts, top_k=1, mask_format='rle', keep_regions=True)

    def _follow(self, tracks: Sequence[Track]) -> list[tuple[Track, Prediction, int, float]]:
        """The best mask of each track that has a good one, with its likeness."""
        if not tracks:
            return []
        height, width = self.predictor._encoded(0).ori_shape
        prompts, owners = [], []
        for track in tracks:
            margin = self.margin * np.tile(track.bbox[2:] - track.bbox[:2], 2)
            around = track.bbox + margin * [-1, -1, 1, 1]
            prompts.append(dict(box=around, mask_input=track.logits[None]))
            owners.append(track)
            if np.abs(track.velocity).max() >= 1:
                prompts.append(dict(box=around + np.tile(track.velocity, 2)))
                owners.append(track)
        for prompt in prompts:
            box = np.clip(prompt['box'], 0, (width, height, width, height))
            corner = np.minimum(box[:2], (width - 2, height - 2))
            prompt['box'] = np.concatenate((corner, np.maximum(box[2:], corner + 2)))
        pred = self._predict(prompts)
        looks = _looks(pred.regions)
        best: dict[int, tuple[Track, Prediction, int, float]] = {}
        for row, track in enumerate(owners):
            likeness = float((track.looks @ looks[row]).max())
            overlap = coco_mask.iou([pred.masks[row]], [track.mask], [0])[0, 0]
            is_good = pred.scores[row] >= self.quality_thr and overlap >= self.iou_thr
            before = best[track.track_id][-1] if track.track_id in best else -1
            if is_good and likeness >= self.likeness_thr and likeness > before:
                best[track.track_id] = track, pred, row, likeness
        return list(best.values())

    def _refind(self, lost: Sequence[Track], taken: Sequence[dict]) -> dict[int, float]:
        """Scores of lost tracks that are found among everything in the frame."""
        things = self.predictor.segment_everything(points_per_side=self.points_per_side, top_k=1)
        if things and taken:
            masks = [thing['segmentation'] for thing in things]
            free = coco_mask.iou(masks, list(taken), [0] * len(taken)).max(1) <= TAKEN
            things = [thing for thing, is_free in zip(things, free) if is_free]
        if not things:
            return {}
        pred = self._predict([dict(box=box) for box in _xyxy(things)])
        looks = _looks(pred.regions)
        alike = np.array([(looks @ track.looks.T).max(1).values.numpy() for track in lost])
        sizes = np.array([coco_mask.area(track.mask) for track in lost], float)
        ratios = coco_mask.area(list(pred.masks))[None] / sizes[:, None]
        alike[(ratios < SIZES[0]) | (ratios > SIZES[1])] = 0
        scores = {}
        for place, row in zip(*linear_sum_assignment(-alike)):
            if alike[place, row] >= self.refind_thr:
                track = lost[place]
                track.update(pred, row, True)
                track.velocity, track.missed = np.zeros(2), 0
                scores[track.track_id] = float(alike[place, row] * pred.scores[row])
        return scores


def _looks(regions: RegionEmbeddings) -> Tensor:
    """`(N, D)` of length 1, what the head and the tower name by, of equal weight."""
    parts = (F.normalize(part.float(), dim=1) for part in (regions.by_head, regions.by_tower))
    return torch.cat(tuple(parts), dim=1) / 2**0.5


def _xyxy(things: Sequence[Mapping]) -> np.ndarray:
    boxes = np.array([thing['bbox'] for thing in things])
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def track(
    predictor: OVSAMPredictor,
    frames: Iterable[tuple[str, np.ndarray]],
    names: Sequence[str] | None = None,
    bboxes: np.ndarray | None = None,
    *,
    video: str = 'clip',
    score_thr: float = SCORE_THR,
    on_frame: Callable[[str, np.ndarray, list[dict]], None] | None = None,
    out: str | PathLike | None = None,
    overwrite: bool = False,
    **options,
) -> dict:
    """Follow objects through a clip.

    With `out`, what is found in a frame goes at once into a journal beside it. Whatever stops the
    run, but a kill, `out` has the frames that are done; the same call takes it up from there, and
    its result is the one that it would have had.

    Args:
        predictor: Its images are replaced.
        frames: Names and `(H, W, 3)` uint8 BGR, see `mmovsam.apis.frames.read_frames`.
        names: What to follow: all objects of these names in the first frame that has one, see
            `OVSAMPredictor.find`.
        bboxes: Or `(N, 4)` xyxy in pixels of the first frame.
        video: What the clip is called.
        score_thr: Of `find`.
        on_frame: Called with each frame and what is found in it.
        out: A JSON file to write the result to.
        overwrite: Whether to replace `out`, and to forget an unfinished run that had other
            settings.
        options: Of `Tracker`.

    Returns:
        COCO's layout with `videos`; images have `video_id` and `frame_id`, counted from 0,
        annotations `video_id`, `track_id` and `score` besides.

    Raises:
        FileExistsError: `out` would be replaced.
        ValueError: Neither names nor boxes are given or both, there is no frame, an unfinished run
            had other settings or frames, or as for `Tracker`.
    """
    if (names is None) == (bboxes is None):
        raise ValueError('Give names or bboxes of what is to be followed.')
    tracker, done = Tracker(predictor, **options), []

    def content() -> dict:
        return _as_coco(done, names or (), video)

    def follow(note: Callable[[dict], None]) -> None:
        for number, (name, image) in enumerate(frames):
            height, width = image.shape[:2]
            record = dict(file_name=name, width=width, height=height)
            if out is not None:
                record['crc32'] = zlib.crc32(np.ascontiguousarray(image))
            if number < len(done):
                if record != {key: done[number][key] for key in record}:
                    raise ValueError(
                        f'Frame {number}, {name}, is not that of the unfinished run of {out}. '
                        f'Write somewhere else, or remove {out}.journal.'
                    )
                continue
            things = []
            if tracker.tracks:
                things = tracker.step(image, image_format='BGR')
            elif bboxes is not None:
                things = tracker.start(image, bboxes, image_format='BGR')
            elif found := predictor.find(names, image, image_format='BGR', score_thr=score_thr):
                called = [thing['name'] for thing in found]
                things = tracker.start(image, _xyxy(found), called, image_format='BGR')
            if on_frame is not None:
                on_frame(name, image, things)
            done.append(dict(record, objects=things))
            note(done[-1])

    if out is None:
        follow(lambda record: None)
        return content()
    settings = dict(model_settings(predictor), video=video, names=names, score_thr=score_thr)
    settings.update(options, bboxes=None if bboxes is None else np.asarray(bboxes).tolist())
    journal = Journal(out := Path(out), settings)
    journal.check_new([out], overwrite)
    with only_run(journal.folder / 'lock'):
        state = journal.folder / 'tracker.pth'  # after some frame; records of later ones are redone
        places = list(journal.open(overwrite).values())
        if places and state.exists():
            number = tracker.load(state)
            done += map(read_record, places[:number])
            warn(f'An unfinished run goes on after its {number} frames.')
        with journal.writer(0) as write:

            def note(record: dict) -> None:
                write(record)
                tracker.save(state, len(done))

            try:
                follow(note)
                write_atomic(out, json.dumps(content()))
            except BaseException:
                if done:
                    write_atomic(out, json.dumps(content()))
                    warn(f'{out} has {len(done)} frames. The same call goes on from there.')
                else:
                    journal.remove()
                raise
        journal.remove()
    return content()


def _as_coco(records: Sequence[Mapping], names: Sequence[str], video: str) -> dict:
    """The layout that `track` returns; further names may be among those of records."""
    if not records:
        raise ValueError(f'{video} has no frame.')
    images, annotations = [], []
    categories = {name: number for number, name in enumerate(names, 1)}
    for number, record in enumerate(records):
        about = {key: record[key] for key in ('file_name', 'width', 'height')}
        images.append(dict(id=number + 1, **about, video_id=1, frame_id=number))
        for thing in record['objects']:
            category_id = categories.setdefault(thing['name'], len(categories) + 1)
            about = {key: value for key, value in thing.items() if key != 'name'}
            ids = dict(id=len(annotations) + 1, image_id=number + 1, video_id=1)
            annotations.append(dict(ids, category_id=category_id, **about, iscrowd=0))
    return dict(
        videos=[dict(id=1, name=video)],
        images=images,
        annotations=annotations,
        categories=[dict(id=number, name=name) for name, number in categories.items()],
    )
