"""Segment and name everything in an image."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from mmdet.structures import DetDataSample
from mmdet.structures.mask import encode_mask_results
from pycocotools import mask as coco_mask

from ..layers import to_device
from ..models.detectors.features import RegionEmbeddings
from ..models.detectors.instances import stability_scores
from ..prompts import GridPrompter, Prompts
from ..validation import require_at_least, require_choice, require_fraction
from .image_features import EncodedImage
from .image_input import read_image
from .inference_results import measured
from .large_image import open_large_image
from .prediction import Prediction
from .tidying import distinct, quality_of, tidy_regions
from .tidying import non_overlapping as without_overlaps
from .tiles import TILE_OVERLAP, in_image, in_tiles, spread

OUTPUT_MODES = ('rle', 'mask')
THRESHOLDS = dict(quality_thr=0.88, stability_thr=0.8, proposal_thr=0.1)
POINTS_PER_SIDE = 16
OVERLAP = 1 / 3  # of neighboring crops, in parts of a crop's side


class EverythingMode:
    """The part of `OVSAMPredictor` that segments and names everything in an image."""

    def segment_everything(
        self,
        image=None,
        *,
        image_format: str = 'RGB',
        image_index: int = 0,
        points_per_side: int | None = None,
        points_per_batch: int = 64,
        num_proposals: int = 100,
        proposal_thr: float | None = None,
        quality_thr: float | None = None,
        stability_thr: float | None = None,
        crop_layers: int = 0,
        nms_iou: float = 0.7,
        min_area: int = 20,
        name_score_thr: float = 0.0,
        output_mode: str = 'rle',
        top_k: int = 5,
        min_mask_region_area: int = 0,
        non_overlapping: bool = False,
        tile_size: int | None = None,
        tile_overlap: float = TILE_OVERLAP,
    ) -> list[dict]:
        """Ask about all of an image, and keep each good mask once (arXiv 2304.02643, appendix B).

        A model with a `ProposalHead` is asked about the boxes that it proposes; another one, or one
        with `points_per_side`, about a grid of points. Masks are judged and compared at the
        decoder's resolution. Only those that are kept get names and their full size, a few at a
        time; all of them exist at full size as run lengths only, or for `output_mode='mask'` in the
        result. So memory hardly grows with the number of prompts.

        Args:
            image: As for `OVSAMPredictor.set_image`, and set by it; None for one that is set.
            image_format: `'RGB'` or `'BGR'`, the channel order of an array.
            image_index: Which of the images that are set.
            points_per_side: Points along the longer side of the image; along the shorter one there
                are as many as make the grid even. SAM has 32, for many small things, at four times
                the cost. None for no points where the model proposes boxes, else 16.
            points_per_batch: Points, or boxes, decoded at once.
            num_proposals: Boxes that are asked about, at most, where the model proposes them.
            proposal_thr: Their masks are left out if the score of the box times the predicted IoU
                is lower. None for what suits the model: `everything`, else 0.1.
            quality_thr: Masks are left out whose IoU, as the decoder predicts it, is lower; of no
                effect on a decoder that predicts none, such as OVSAM's. None for what suits the
                model: `everything`, else 0.88.
            stability_thr: Masks are left out that are less stable, see `stability_scores`. None
                likewise, else 0.8.
            crop_layers: How often to ask again, about parts of the image, for small things: layer i
                cuts it into `2^i` by `2^i` overlapping crops, each encoded by itself and with a
                grid of its own. Masks that an inner edge of a crop cuts are left out.
            nms_iou: Of two masks with a larger intersection over union one is left out: that of the
                larger crop, else the one of lower quality (predicted IoU or, without, stability).
            min_area: Masks of fewer pixels of the image are left out.
            name_score_thr: Masks are left out whose best name is less probable. There is no limit
                for all vocabularies: among more names each is less probable.
            output_mode: `'rle'`: masks are run lengths as COCO's JSON has them, `counts` as text.
                `'mask'`: `(H, W)` bool.
            top_k: How many names a mask gets, at most.
            min_mask_region_area: Islands and holes of fewer pixels are removed from each mask, see
                `remove_small_regions`; of masks that overlap by more than `nms_iou` then, those
                that were tidy already stay.
            non_overlapping: Whether masks have no pixel in common; a pixel of several goes to the
                smallest of them, see `mmovsam.apis.non_overlapping`.
            tile_size: Side in pixels of overlapping tiles that a large image is looked at in, each
                encoded by itself and with a grid of its own; objects that a seam cuts are put
                together, see `mmovsam.apis.tiles.in_tiles`. The image may be larger than memory,
                see `open_large_image`; it is not set. None to look at it as a whole.
            tile_overlap: Of neighboring tiles, in parts of their side.

        Returns:
            A dict for each mask, those of the best quality first. What SAM's users know:

            - `segmentation`, see `output_mode`; `area` in pixels; `bbox`, x, y, width, height;
            - `point_coords`, `[[x, y]]`, what was asked, or the center of the box that was;
            - `crop_box`, x, y, width, height, of what it was asked;
            - `stability_score`; `predicted_iou` where the decoder predicts it;
            - `proposal_score` of a box that the model proposed.

            And besides:

            - `names` and `name_scores`, the `top_k` best names and their probabilities;
            - `name` and `score`, the best of them; for a model without names None and the quality.

        Raises:
            FileNotFoundError: As for `OVSAMPredictor.set_image`.
            RuntimeError: No image is given and none is set.
            ValueError: As for `set_image`, an argument is out of range, or crops or tiles are
                wanted of an image that is not given.
        """
        settings = self._everything_settings(
            points_per_side=points_per_side,
            points_per_batch=points_per_batch,
            num_proposals=num_proposals,
            proposal_thr=proposal_thr,
            quality_thr=quality_thr,
            stability_thr=stability_thr,
            crop_layers=crop_layers,
            nms_iou=nms_iou,
            min_area=min_area,
            name_score_thr=name_score_thr,
            top_k=top_k,
            min_mask_region_area=min_mask_region_area,
        )
        require_choice(OUTPUT_MODES, output_mode=output_mode)
        if image is None and (crop_layers or tile_size is not None):
            raise ValueError(
                'crop_layers and tile_size need the image itself: give it to segment_everything.'
            )
        if crop_layers and tile_size is not None:
            raise ValueError('Give crop_layers or tile_size: tiles have no crops.')
        if tile_size is None:
            found = self._in_whole(image, image_format, image_index, settings)
        else:
            found = self._in_tiles(
                image,
                image_format,
                tile_size,
                tile_overlap,
                lambda tile: tile._segment(0, settings),
            )
            found = distinct(sorted(found, key=quality_of, reverse=True), nms_iou)
        found = [{key: thing[key] for key in thing if key != 'regions'} for thing in found]
        if min_mask_region_area:
            found = tidy_regions(found, min_mask_region_area, nms_iou)
            found = [thing for thing in found if thing['area'] >= min_area]
        if non_overlapping:
            found = without_overlaps(found, min_area)
        if output_mode == 'mask':
            for thing in found:
                thing['segmentation'] = coco_mask.decode(thing['segmentation']).astype(bool)
        return found

    def _in_whole(
        self, image, image_format: str, image_index: int, settings: EverythingSettings
    ) -> list[dict]:
        """Everything in an image and in its crops."""
        if image is not None:
            image = read_image(image, image_format, self.value_range)
            self.set_image(image, 'BGR')
        found = self._segment(image_index, settings)
        if not settings.crop_layers:
            return found
        crops = self.fork()
        height, width = image.shape[:2]
        for box in _crop_boxes((height, width), settings.crop_layers):
            x1, y1, x2, y2 = box
            crops.set_image(image[y1:y2, x1:x2], 'BGR')
            inner_edges = x1 > 0, y1 > 0, x2 < width, y2 < height
            for thing in crops._segment(0, settings, inner_edges):
                found.append(in_image(thing, box, (height, width)))
        found.sort(key=lambda thing: (np.prod(thing['crop_box'][2:]), -quality_of(thing)))
        found = distinct(found, settings.nms_iou)
        return sorted(found, key=quality_of, reverse=True)

    def _in_tiles(
        self,
        image,
        image_format: str,
        tile_size: int,
        tile_overlap: float,
        find: Callable[[EverythingMode], list[dict]],
        by_name: bool = False,
    ) -> list[dict]:
        """What is found in the tiles of an image, see `in_tiles`, by a predictor that has one."""
        tile = self.fork()

        def look(pixels: np.ndarray) -> list[dict]:
            tile.set_image(pixels, 'BGR')
            return find(tile)

        image = open_large_image(image, image_format, self.value_range)
        return in_tiles(image, look, tile_size, tile_overlap, by_name)

    def _everything_settings(self, **given) -> EverythingSettings:
        """Settings of `segment_everything`, with the thresholds that suit the model for None."""
        for key, default in THRESHOLDS.items():
            if given.get(key) is None:
                given[key] = self.everything.get(key, default)
        if given.get('points_per_side') is None:
            given['points_per_side'] = None if self.model.proposal_head else POINTS_PER_SIDE
        return EverythingSettings(**given)

    def _candidates(self, image_index: int, settings: EverythingSettings) -> list[dict]:
        """Everything in an image, with `regions`, remembered with it; not to be changed."""
        remembered = self._encoded(image_index).candidates
        key = _without_names(settings)
        return remembered[key] if key in remembered else self._segment(image_index, key)

    def _segment(
        self,
        image_index: int,
        settings: EverythingSettings,
        inner_edges: Sequence[bool] = (False, False, False, False),
    ) -> list[dict]:
        """Everything in one image, as run lengths, the best first; each has its `regions`."""
        encoded = self._encoded(image_index)
        height, width = encoded.ori_shape
        prompts = self._everything_prompts(encoded, settings)
        # a window decoder looks at several windows for each point
        has_windows = self.model.window_decoder is not None and prompts.bboxes is None
        step = settings.points_per_batch // 4 + 1 if has_windows else settings.points_per_batch
        candidates = [
            candidate
            for start in range(0, len(prompts), step)
            for candidate in self._decode(
                encoded, prompts, slice(start, start + step), settings, inner_edges
            )
        ]
        candidates.sort(key=quality_of, reverse=True)
        candidates = distinct(candidates, settings.nms_iou)

        pred, rows = self._recognize(image_index, prompts, candidates, settings)
        points = _prompt_points(prompts)
        found = []
        for candidate, row in zip(candidates, rows):
            measures, name_scores = measured(pred.masks[row]), pred.name_scores[row].tolist()
            is_improbable = name_scores and name_scores[0] < settings.name_score_thr
            if measures['area'] < settings.min_area or is_improbable:
                continue
            thing = dict(
                measures,
                point_coords=[points[candidate['prompt']]],
                crop_box=[0, 0, width, height],
                stability_score=candidate['stability_score'],
                name=pred.names[row][0] if name_scores else None,
                score=name_scores[0] if name_scores else quality_of(candidate),
                names=pred.names[row],
                name_scores=name_scores,
                regions=pred.regions and RegionEmbeddings(*(part[row] for part in pred.regions)),
            )
            for key in ('predicted_iou', 'proposal_score'):
                if key in candidate:
                    thing[key] = candidate[key]
            if 'logits' in candidate:  # the mask of a point is another one now
                thing['predicted_iou'] = float(pred.scores[row])
            found.append(thing)
        if self.model.window_decoder is not None:
            found = [thing for thing in found if thing['predicted_iou'] >= settings.quality_thr]
            found = distinct(sorted(found, key=quality_of, reverse=True), settings.nms_iou)
        if not any(inner_edges) and settings.name_score_thr == 0:
            encoded.candidates.clear()  # only the latest: a mask takes kilobytes
            encoded.candidates[_without_names(settings)] = found
        return found

    @torch.no_grad()
    def _everything_prompts(self, encoded: EncodedImage, settings: EverythingSettings) -> Prompts:
        """Boxes that the model proposes, or a grid of points, in pixels of the image."""
        if settings.points_per_side is None:
            with self._lock:
                bboxes, scores = self.model.propose_bboxes(
                    encoded.features, encoded.img_shape, settings.num_proposals
                )
            bboxes = bboxes / torch.tensor(encoded.scale_factor).repeat(2)
            return Prompts(bboxes=bboxes, scores=scores)
        side = min(settings.points_per_side, max(encoded.ori_shape))
        sample = DetDataSample(metainfo=dict(ori_shape=encoded.ori_shape))
        return GridPrompter(side, even=True).prompts_of(sample)

    def _recognize(
        self,
        image_index: int,
        prompts: Prompts,
        candidates: Sequence[dict],
        settings: EverythingSettings,
    ) -> tuple[Prediction, list[int]]:
        """Full masks and names, and the row of each candidate in them.

        A window decoder looks again at each mask of a point; of another decoder the points are
        asked once more.
        """
        decoded = None
        if self.model.window_decoder is not None:
            prompts = prompts[[candidate['prompt'] for candidate in candidates]]
            if candidates:
                logits = torch.stack([candidate['logits'] for candidate in candidates])
                logits = logits.float()[:, None]
                if prompts.bboxes is None:
                    size = self.model.logit_size
                    logits = F.interpolate(logits, (size, size), mode='bilinear')
                    prompts = replace(prompts, mask_input=logits)
                else:
                    quality = torch.tensor([[one['predicted_iou']] for one in candidates])
                    decoded = tuple(to_device(part, self.device) for part in (logits, quality))
            rows = list(range(len(candidates)))
        else:
            chosen = sorted({candidate['prompt'] for candidate in candidates})
            prompts = prompts[chosen]
            each = self.model.masks_per_prompt
            rows = [chosen.index(one['prompt']) * each + one['which'] for one in candidates]
        pred = self._predict(
            self._encoded(image_index),
            prompts,
            multimask_output=self.model.window_decoder is None,
            top_k=settings.top_k,
            mask_format='rle',
            keep_logits=False,
            keep_regions=True,
            decoded=decoded,
        )
        return pred, rows

    @torch.no_grad()
    def _decode(
        self,
        encoded: EncodedImage,
        prompts: Prompts,
        chunk: slice,
        settings: EverythingSettings,
        inner_edges: Sequence[bool],
    ) -> Iterator[dict]:
        """The good masks of some prompts, as run lengths at low resolution, without the padding."""
        model = self.model
        scaled = prompts[chunk].scaled(encoded.scale_factor)
        with self._lock:
            if prompts.bboxes is None:
                logits, quality = model.propose(encoded.features, scaled)
            else:
                logits, quality, _ = model.decode_masks(encoded.features, scaled)
        masks_of_each = logits.shape[1]
        logits = logits.float().flatten(0, 1)
        stability = stability_scores(logits[:, None], model.input_size, encoded.img_shape)
        good = stability >= settings.stability_thr
        scores = dict(stability_score=stability)
        if quality is not None:
            scores['predicted_iou'] = quality.float().flatten()
            good &= scores['predicted_iou'] >= settings.quality_thr
        if prompts.scores is not None:
            scores['proposal_score'] = to_device(prompts.scores[chunk], stability.device)
            good &= quality_of(scores) >= settings.proposal_thr
        stride = model.input_size // logits.shape[-1]
        height, width = (-(-side // stride) for side in encoded.img_shape)
        masks = logits[:, :height, :width] > 0
        edges = masks[:, :, 0], masks[:, 0], masks[:, :, -1], masks[:, -1]
        for edge, is_inner in zip(edges, inner_edges):
            if is_inner:
                good &= ~edge.any(1)
        rows = good.nonzero()[:, 0].tolist()
        scores = {name: values.tolist() for name, values in scores.items()}
        for row, mask in zip(rows, encode_mask_results(masks[good].cpu().numpy())):
            kept = {} if model.window_decoder is None else dict(logits=logits[row].half().cpu())
            yield dict(
                prompt=chunk.start + row // masks_of_each,
                which=row % masks_of_each,
                segmentation=mask,
                **{name: values[row] for name, values in scores.items()},
                **kept,
            )


def segment_everything(predictor: EverythingMode, image=None, **options) -> list[dict]:
    """Segment and name everything in an image, see `OVSAMPredictor.segment_everything`.

    Args:
        predictor: An `OVSAMPredictor`, which has the vocabulary.
        image: As for the method.
        options: Likewise.

    Returns:
        As of the method.
    """
    return predictor.segment_everything(image, **options)


@dataclass(frozen=True)
class EverythingSettings:
    """Arguments of `segment_everything`."""

    quality_thr: float
    stability_thr: float
    proposal_thr: float = THRESHOLDS['proposal_thr']
    points_per_side: int | None = POINTS_PER_SIDE
    points_per_batch: int = 64
    num_proposals: int = 100
    crop_layers: int = 0
    nms_iou: float = 0.7
    min_area: int = 20
    name_score_thr: float = 0.0
    top_k: int = 5
    min_mask_region_area: int = 0

    def __post_init__(self) -> None:
        require_fraction(
            quality_thr=self.quality_thr,
            stability_thr=self.stability_thr,
            proposal_thr=self.proposal_thr,
            nms_iou=self.nms_iou,
            name_score_thr=self.name_score_thr,
        )
        counts = ('points_per_side', 'points_per_batch', 'num_proposals', 'top_k')
        require_at_least(1, **{name: getattr(self, name) for name in counts})
        sizes = ('crop_layers', 'min_area', 'min_mask_region_area')
        require_at_least(0, **{name: getattr(self, name) for name in sizes})


def _prompt_points(prompts: Prompts) -> list[list[float]]:
    """The point `[x, y]` of each prompt, or the center of its box."""
    if prompts.bboxes is not None:
        return prompts.bboxes.unflatten(1, (2, 2)).mean(1).tolist()
    return [] if prompts.point_coords is None else prompts.point_coords[:, 0].tolist()


def _without_names(settings: EverythingSettings) -> EverythingSettings:
    return replace(settings, crop_layers=0, name_score_thr=0.0, top_k=1, min_mask_region_area=0)


def _crop_boxes(shape: Sequence[int], layers: int) -> Iterator[tuple[int, int, int, int]]:
    """The crops of all layers, xyxy in pixels; those of a layer overlap by `OVERLAP`."""
    for layer in range(1, layers + 1):
        spans = []
        for length in shape:
            number = min(2**layer, length)
            size = int(np.ceil(length / (number - (number - 1) * OVERLAP)))
            spans.append(spread(length, size, number))
        for (y1, y2), (x1, x2) in itertools.product(*spans):
            yield x1, y1, x2, y2
