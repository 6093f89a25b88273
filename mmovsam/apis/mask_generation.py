"""Generate masks and names for a whole image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from mmdet.structures import DetDataSample
from mmdet.structures.mask import encode_mask_results

from ..layers import to_device
from ..layers.mask_decoder import DecodedMasks
from ..models.detectors.features import RegionEmbeddings
from ..models.detectors.instances import stability_scores
from ..prompts import GridPrompter, Prompts
from ..validation import require_at_least, require_fraction
from .image_features import EncodedImage
from .inference_results import measured
from .prediction import Prediction
from .tidying import distinct, quality_of

THRESHOLDS = dict(quality_thr=0.88, stability_thr=0.8, proposal_thr=0.1)
POINTS_PER_SIDE = 16


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

    def without_names(self) -> EverythingSettings:
        """The settings that the masks of an image depend on; its names and crops have no part."""
        return replace(self, crop_layers=0, name_score_thr=0.0, top_k=1, min_mask_region_area=0)


class MaskGeneration:
    """The part of `OVSAMPredictor` that generates masks for a whole image."""

    def _everything_settings(self, **options) -> EverythingSettings:
        """Settings of `segment_everything`, with this model's defaults in place of None."""
        for key, default in THRESHOLDS.items():
            if options.get(key) is None:
                options[key] = self.everything.get(key, default)
        if options.get('points_per_side') is None:
            options['points_per_side'] = None if self.model.proposal_head else POINTS_PER_SIDE
        return EverythingSettings(**options)

    def _candidates(self, image_index: int, settings: EverythingSettings) -> list[dict]:
        """Masks of an image with `regions`, cached with it; not to be modified."""
        cache = self._encoded(image_index).candidates
        key = settings.without_names()
        return cache[key] if key in cache else self._segment(image_index, key)

    def _segment(
        self,
        image_index: int,
        settings: EverythingSettings,
        inner_edges: Sequence[bool] = (False, False, False, False),
    ) -> list[dict]:
        """Masks of one image, as run lengths with `regions`, best first.

        Those that touch an inner edge (left, top, right, bottom) of the image are left out.
        """
        encoded = self._encoded(image_index)
        height, width = encoded.ori_shape
        prompts = self._search_prompts(encoded, settings)
        # a window decoder decodes several windows for each point
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

        pred, rows = self._recognize(encoded, prompts, candidates, settings)
        points = _prompt_points(prompts)
        things = []
        for candidate, row in zip(candidates, rows):
            mask, name_scores = measured(pred.masks[row]), pred.name_scores[row].tolist()
            is_improbable = name_scores and name_scores[0] < settings.name_score_thr
            if mask['area'] < settings.min_area or is_improbable:
                continue
            thing = dict(
                mask,
                point_coords=[points[candidate['prompt']]],
                crop_box=[0, 0, width, height],
                stability_score=candidate['stability_score'],
                name=pred.names[row][0] if name_scores else None,
                score=name_scores[0] if name_scores else quality_of(candidate),
                names=pred.names[row],
                name_scores=name_scores,
                regions=pred.regions and RegionEmbeddings(*(field[row] for field in pred.regions)),
            )
            for key in ('predicted_iou', 'proposal_score'):
                if key in candidate:
                    thing[key] = candidate[key]
            if 'logits' in candidate:  # the window decoder has refined the mask
                thing['predicted_iou'] = float(pred.scores[row])
            things.append(thing)
        if self.model.window_decoder is not None:
            things = [thing for thing in things if thing['predicted_iou'] >= settings.quality_thr]
            things = distinct(sorted(things, key=quality_of, reverse=True), settings.nms_iou)
        if not any(inner_edges) and settings.name_score_thr == 0:
            encoded.candidates.clear()  # only the latest: a mask takes kilobytes
            encoded.candidates[settings.without_names()] = things
        return things

    @torch.no_grad()
    def _search_prompts(self, encoded: EncodedImage, settings: EverythingSettings) -> Prompts:
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
        encoded: EncodedImage,
        prompts: Prompts,
        candidates: Sequence[dict],
        settings: EverythingSettings,
    ) -> tuple[Prediction, list[int]]:
        """Masks at full size with names, and the row of each candidate in them.

        A window decoder refines the mask of a point, and keeps that of a box; any other decodes the
        prompts once more.
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
                    quality = torch.tensor([[thing['predicted_iou']] for thing in candidates])
                    logits, quality = (to_device(t, self.device) for t in (logits, quality))
                    decoded = DecodedMasks(logits, quality, None)
            rows = list(range(len(candidates)))
        else:
            indices = sorted({candidate['prompt'] for candidate in candidates})
            prompts = prompts[indices]
            rows = [
                indices.index(candidate['prompt']) * self.model.masks_per_prompt
                + candidate['mask_index']
                for candidate in candidates
            ]
        pred = self._predict(
            encoded,
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
        """The good masks of a chunk of prompts, as run lengths at low resolution, without padding.

        They also have their `logits` if a window decoder is to refine them.
        """
        model = self.model
        scaled = prompts[chunk].scaled(encoded.scale_factor)
        with self._lock:
            if prompts.bboxes is None:
                logits, quality = model.propose(encoded.features, scaled)
            else:
                logits, quality, _ = model.decode_masks(encoded.features, scaled)
        masks_per_prompt = logits.shape[1]
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
            candidate = dict(
                prompt=chunk.start + row // masks_per_prompt,
                mask_index=row % masks_per_prompt,
                segmentation=mask,
                **{name: values[row] for name, values in scores.items()},
            )
            if model.window_decoder is not None:
                candidate['logits'] = logits[row].half().cpu()
            yield candidate


def _prompt_points(prompts: Prompts) -> list[list[float]]:
    """The point `[x, y]` of each prompt, or the center of its box."""
    if prompts.bboxes is not None:
        return prompts.bboxes.unflatten(1, (2, 2)).mean(1).tolist()
    return [] if prompts.point_coords is None else prompts.point_coords[:, 0].tolist()
