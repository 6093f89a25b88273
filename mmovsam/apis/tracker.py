"""Tracks objects from frame to frame, prompting each frame with the last masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from pycocotools import mask as coco_mask
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ..checkpoints.loading import load_checkpoint_file, save_checkpoint
from ..models.detectors.features import RegionEmbeddings
from .prediction import Prediction
from .predictor import OVSAMPredictor

POINTS_PER_SIDE = 12
SAME_OBJECT_IOU = 0.7  # of two tracks with a larger IoU the one of lower similarity is lost
TRACKED_IOU = 0.3  # a mask with a larger IoU with a current track cannot be a lost object
UPDATE_SIMILARITY = 0.75  # from which on the latest appearance of a track is replaced
AREA_RATIOS = 1 / 3, 3.0  # of a lost object when it is found again
ARRAYS = 'bbox', 'logits', 'embeddings', 'velocity'  # fields of a track


@dataclass
class Track:
    """A tracked object with its last mask."""

    track_id: int  # from 1
    name: str | None
    bbox: np.ndarray  # (4,) xyxy in pixels
    mask: dict  # run lengths
    logits: np.ndarray  # (h, w)
    embeddings: Tensor  # (2, D) normalized, of the first and the latest frame
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(2))  # of the box's center
    missed: int = 0  # frames since it was last seen

    def update(self, pred: Prediction, row: int, with_embedding: bool) -> None:
        """Take a mask of a new frame, and its embedding as the latest if that is reliable."""
        before, after = (box[:2] + box[2:] for box in (self.bbox, pred.bboxes[row]))
        self.velocity = (after - before) / 2
        self.bbox, self.mask = pred.bboxes[row], pred.masks[row]
        self.logits = pred.low_res_logits[row]
        if with_embedding:
            embedding = _normalized_embeddings(pred.regions)[row]
            self.embeddings = torch.stack((self.embeddings[0], embedding))

    def result(self, score: float) -> dict:
        """The track's entry in the result of `Tracker.step`."""
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
    """Tracks objects by prompting; it has no memory of frames such as SAM 2's.

    In each frame a track is prompted with its last mask and enlarged box, and with the box moved on
    by its velocity. The mask most similar to the object is taken if its quality, its IoU with the
    last mask and its similarity suffice. Otherwise the track is lost, and searched among all masks
    of the frame, by similarity alone. Similarity is the cosine of the region's embedding with that
    of the object's first or latest frame, whichever is larger.

    Args:
        predictor: Its current images are replaced.
        margin: Enlargement of boxes on each side, as a fraction of the side.
        quality_thr: Minimum predicted IoU or stability of a mask.
        iou_thr: Minimum IoU with the last mask.
        likeness_thr: Minimum similarity.
        refind_thr: Minimum similarity for a lost object; None not to search lost objects.
        points_per_side: As for `segment_everything`, of the search for lost objects; None for boxes
            if the model proposes them, else 12.

    Raises:
        ValueError: The model only segments: it has no region embeddings.
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
        """Start tracks from boxes in the first frame.

        Args:
            image: As for `OVSAMPredictor.set_image`.
            bboxes: `(N, 4)` xyxy in pixels.
            names: Names of the objects; by default those that the model predicts.
            options: `image_format`.

        Returns:
            As of `step`, for all objects.
        """
        self.predictor.set_image(image, **options)
        pred = self._predict([dict(box=box) for box in np.asarray(bboxes, float)])
        names = names or [best[0] if best else None for best in pred.names]
        embeddings = ()
        if len(bboxes):
            embeddings = _normalized_embeddings(pred.regions)[:, None].expand(-1, 2, -1)
        fields = zip(names, pred.bboxes, pred.masks, pred.low_res_logits, embeddings)
        self.tracks = [Track(track_id, *values) for track_id, values in enumerate(fields, 1)]
        return [track.result(score) for track, score in zip(self.tracks, pred.scores.tolist())]

    def step(self, image, **options) -> list[dict]:
        """Track the objects into the next frame; arguments as for `start`.

        Returns:
            For each visible object `track_id`, `name`, `segmentation` (run lengths), `area`, `bbox`
            (x, y, width, height) and `score`, the quality of the mask times the similarity.
        """
        self.predictor.set_image(image, **options)
        pred, matches = self._match([track for track in self.tracks if not track.missed])
        scores = {}
        for track, row, similarity in sorted(matches, key=lambda match: -match[-1]):
            masks = [track.mask for track in self.tracks if track.track_id in scores]
            ious = coco_mask.iou([pred.masks[row]], masks, [0] * len(masks))
            if np.max(ious, initial=0) > SAME_OBJECT_IOU:
                continue
            scores[track.track_id] = similarity * float(pred.scores[row])
            track.update(pred, row, similarity >= UPDATE_SIMILARITY)
        for track in self.tracks:
            track.missed = 0 if track.track_id in scores else track.missed + 1
        lost = [track for track in self.tracks if track.missed]
        if lost and self.refind_thr is not None:
            scores.update(self._refind(lost, [t.mask for t in self.tracks if not t.missed]))
        visible = (track for track in self.tracks if track.track_id in scores)
        return [track.result(scores[track.track_id]) for track in visible]

    def save(self, file: Path, num_frames: int) -> None:
        """Write the tracks after `num_frames` frames to a `.pth` file."""
        tensors, meta = {}, []
        for track in self.tracks:
            values = dict(vars(track))
            for key in ARRAYS:
                tensors[f'{track.track_id}.{key}'] = torch.as_tensor(values.pop(key))
            meta.append(values)
        save_checkpoint(tensors, file, dict(frames=num_frames, tracks=meta))

    def load(self, file: Path) -> int:
        """Restore the tracks of a file of `save`, and return the number of frames."""
        checkpoint = load_checkpoint_file(file)
        meta, tensors = checkpoint['meta'], checkpoint['state_dict']
        self.tracks = []
        for values in meta['tracks']:
            arrays = {key: tensors[f'{values["track_id"]}.{key}'].clone() for key in ARRAYS}
            embeddings = arrays.pop('embeddings')
            arrays = {key: tensor.numpy() for key, tensor in arrays.items()}
            self.tracks.append(Track(**values, **arrays, embeddings=embeddings))
        return meta['frames']

    def _predict(self, prompts: Sequence[Mapping]) -> Prediction:
        return self.predictor.predict_batch(prompts, top_k=1, mask_format='rle', keep_regions=True)

    def _match(
        self, tracks: Sequence[Track]
    ) -> tuple[Prediction | None, list[tuple[Track, int, float]]]:
        """A prediction, and for each track with a good mask its row in it and its similarity."""
        if not tracks:
            return None, []
        height, width = self.predictor.original_size
        prompts, prompted_tracks = [], []
        for track in tracks:
            margin = self.margin * np.tile(track.bbox[2:] - track.bbox[:2], 2)
            box = track.bbox + margin * [-1, -1, 1, 1]
            prompts.append(dict(box=box, mask_input=track.logits[None]))
            prompted_tracks.append(track)
            if np.abs(track.velocity).max() >= 1:
                prompts.append(dict(box=box + np.tile(track.velocity, 2)))
                prompted_tracks.append(track)
        for prompt in prompts:
            box = np.clip(prompt['box'], 0, (width, height, width, height))
            corner = np.minimum(box[:2], (width - 2, height - 2))
            prompt['box'] = np.concatenate((corner, np.maximum(box[2:], corner + 2)))
        pred = self._predict(prompts)
        embeddings = _normalized_embeddings(pred.regions)
        best: dict[int, tuple[Track, int, float]] = {}
        for row, track in enumerate(prompted_tracks):
            similarity = float((track.embeddings @ embeddings[row]).max())
            iou = coco_mask.iou([pred.masks[row]], [track.mask], [0])[0, 0]
            is_good = pred.scores[row] >= self.quality_thr and iou >= self.iou_thr
            best_similarity = best[track.track_id][-1] if track.track_id in best else -1
            if is_good and similarity >= self.likeness_thr and similarity > best_similarity:
                best[track.track_id] = track, row, similarity
        return pred, list(best.values())

    def _refind(self, lost: Sequence[Track], tracked: Sequence[dict]) -> dict[int, float]:
        """Scores of lost tracks that are found among all masks of the frame.

        `tracked` are the masks of the other tracks.
        """
        things = self.predictor.segment_everything(points_per_side=self.points_per_side, top_k=1)
        if things and tracked:
            masks = [thing['segmentation'] for thing in things]
            ious = coco_mask.iou(masks, list(tracked), [0] * len(tracked)).max(1)
            things = [thing for thing, iou in zip(things, ious) if iou <= TRACKED_IOU]
        if not things:
            return {}
        pred = self._predict([dict(box=box) for box in bboxes_of(things)])
        embeddings = _normalized_embeddings(pred.regions)
        similarity = np.array(
            [(embeddings @ track.embeddings.T).max(1).values.numpy() for track in lost]
        )
        areas = np.array([coco_mask.area(track.mask) for track in lost], float)
        ratios = coco_mask.area(list(pred.masks))[None] / areas[:, None]
        similarity[(ratios < AREA_RATIOS[0]) | (ratios > AREA_RATIOS[1])] = 0
        scores = {}
        for index, row in zip(*linear_sum_assignment(-similarity)):
            if similarity[index, row] >= self.refind_thr:
                track = lost[index]
                track.update(pred, row, True)
                track.velocity, track.missed = np.zeros(2), 0
                scores[track.track_id] = float(similarity[index, row] * pred.scores[row])
        return scores


def _normalized_embeddings(regions: RegionEmbeddings) -> Tensor:
    """`(N, D)` of length 1, the embeddings of head and tower with equal weights."""
    both = [F.normalize(field.float(), dim=1) for field in (regions.by_head, regions.by_tower)]
    return torch.cat(both, dim=1) / 2**0.5


def bboxes_of(things: Sequence[Mapping]) -> np.ndarray:
    """The boxes `(N, 4)` xyxy of results of `segment_everything` or `find`."""
    boxes = np.array([thing['bbox'] for thing in things])
    boxes[:, 2:] += boxes[:, :2]
    return boxes
