"""Segment and name everything in an image."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from pycocotools import mask as coco_mask

from ..validation import require_choice
from .image_input import read_image
from .large_image import open_large_image
from .mask_generation import EverythingSettings, MaskGeneration
from .tidying import distinct, quality_of, tidy_regions
from .tidying import non_overlapping as without_overlaps
from .tiles import TILE_OVERLAP, in_tiles, spread, to_image_frame

OUTPUT_MODES = ('rle', 'mask')
CROP_OVERLAP = 1 / 3  # of neighboring crops, as a fraction of their side


class EverythingMode(MaskGeneration):
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
        """Generate masks and names for the whole image (arXiv 2304.02643, appendix B).

        The counterpart of SAM's `SamAutomaticMaskGenerator`. Prompts are the boxes that the model's
        `ProposalHead` proposes, or, without one or with `points_per_side`, a grid of points. Masks
        are filtered and deduplicated at the decoder's resolution; only those that remain are
        enlarged and named, so that memory hardly grows with the number of prompts.

        Args:
            image: As for `OVSAMPredictor.set_image`, which it is passed to; None for the current
                image.
            image_format: `'RGB'` or `'BGR'`, the channel order of an array.
            image_index: Which of the current images, if none is given.
            points_per_side: Points along the longer side of the image, with the same spacing along
                the shorter one. SAM uses 32, which finds more small objects at four times the
                cost. None for boxes if the model proposes them, else 16.
            points_per_batch: Number of points, or boxes, decoded at once.
            num_proposals: Number of proposed boxes, at most.
            proposal_thr: Minimum score of a proposed box times the mask's predicted IoU. None for
                the predictor's `everything`, else 0.1.
            quality_thr: Minimum predicted IoU; without effect on decoders that predict none, such
                as OVSAM's. None for the predictor's `everything`, else 0.88.
            stability_thr: Minimum stability, see `stability_scores`. None for the predictor's
                `everything`, else 0.8.
            crop_layers: Number of times to repeat the search in crops of the image, for small
                objects: layer i has `2^i` by `2^i` overlapping crops. Masks that an inner edge of a
                crop cuts are dropped.
            nms_iou: Of two masks with a larger IoU, that of the larger crop is dropped, else that
                of lower quality (predicted IoU or, without, stability).
            min_area: Minimum area of a mask in pixels of the image.
            name_score_thr: Minimum probability of a mask's best name; it depends on the number of
                names.
            output_mode: `'rle'`: masks are run-length encodings as in COCO's JSON, `counts` as
                text. `'mask'`: `(H, W)` bool.
            top_k: Number of names of each mask, at most.
            min_mask_region_area: Islands and holes of fewer pixels are removed from each mask, see
                `remove_small_regions`; of masks that then overlap by more than `nms_iou`, those
                without changes are kept.
            non_overlapping: Whether each pixel belongs to one mask at most, the smallest, see
                `mmovsam.apis.non_overlapping`.
            tile_size: Side in pixels of overlapping tiles in which to search a large image;
                objects that are cut by tile borders are merged, see `mmovsam.apis.tiles.in_tiles`.
                The image may be larger than memory, see `open_large_image`; it is not set. None to
                search the image as a whole.
            tile_overlap: Overlap of neighboring tiles, as a fraction of their side.

        Returns:
            A dict for each mask, best quality first, with SAM's fields:

            - `segmentation`, see `output_mode`; `area` in pixels; `bbox`, x, y, width, height;
            - `point_coords`, `[[x, y]]`, the prompt, or the center of the prompted box;
            - `crop_box`, x, y, width, height, of the crop or tile;
            - `stability_score`; `predicted_iou` if the decoder predicts it;

            and these:

            - `proposal_score` of a proposed box;
            - `names` and `name_scores`, the `top_k` best names and their probabilities;
            - `name` and `score`, the best of them; None and the quality if the model only segments.

        Raises:
            FileNotFoundError: As for `OVSAMPredictor.set_image`.
            RuntimeError: No image is given and none is set.
            ValueError: As for `set_image`, an argument is out of range, or crops or tiles are
                requested without an image.
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
            things = self._segment_with_crops(image, image_format, image_index, settings)
        else:
            things = self._search_tiles(
                image,
                image_format,
                tile_size,
                tile_overlap,
                lambda predictor: predictor._segment(0, settings),
            )
            things = distinct(sorted(things, key=quality_of, reverse=True), nms_iou)
        things = [{key: thing[key] for key in thing if key != 'regions'} for thing in things]
        if min_mask_region_area:
            things = tidy_regions(things, min_mask_region_area, nms_iou)
            things = [thing for thing in things if thing['area'] >= min_area]
        if non_overlapping:
            things = without_overlaps(things, min_area)
        return decode_masks(things) if output_mode == 'mask' else things

    def _segment_with_crops(
        self, image, image_format: str, image_index: int, settings: EverythingSettings
    ) -> list[dict]:
        """Masks of an image and of its crops."""
        if image is not None:
            image = read_image(image, image_format, self.value_range)
            self.set_image(image, 'BGR')
        things = self._segment(image_index, settings)
        if not settings.crop_layers:
            return things
        predictor = self.fork()
        height, width = image.shape[:2]
        for box in _crop_boxes((height, width), settings.crop_layers):
            x1, y1, x2, y2 = box
            predictor.set_image(image[y1:y2, x1:x2], 'BGR')
            inner_edges = x1 > 0, y1 > 0, x2 < width, y2 < height
            for thing in predictor._segment(0, settings, inner_edges):
                things.append(to_image_frame(thing, box, (height, width)))
        things.sort(key=lambda thing: (np.prod(thing['crop_box'][2:]), -quality_of(thing)))
        things = distinct(things, settings.nms_iou)
        return sorted(things, key=quality_of, reverse=True)

    def _search_tiles(
        self,
        image,
        image_format: str,
        tile_size: int,
        tile_overlap: float,
        search: Callable[[MaskGeneration], list[dict]],
        by_name: bool = False,
    ) -> list[dict]:
        """Merged results of `search`, called with a predictor for each tile, see `in_tiles`."""
        predictor = self.fork()

        def search_tile(pixels: np.ndarray) -> list[dict]:
            predictor.set_image(pixels, 'BGR')
            return search(predictor)

        image = open_large_image(image, image_format, self.value_range)
        return in_tiles(image, search_tile, tile_size, tile_overlap, by_name)


def segment_everything(predictor: MaskGeneration, image=None, **options) -> list[dict]:
    """Segment and name everything in an image: `OVSAMPredictor.segment_everything` as a function.

    The predictor has the vocabulary; other arguments and the result are those of the method.
    """
    return predictor.segment_everything(image, **options)


def decode_masks(things: list[dict]) -> list[dict]:
    """Results whose masks are `(H, W)` bool in place of run lengths."""
    for thing in things:
        thing['segmentation'] = coco_mask.decode(thing['segmentation']).astype(bool)
    return things


def _crop_boxes(shape: Sequence[int], layers: int) -> Iterator[tuple[int, int, int, int]]:
    """The crops of all layers, xyxy in pixels; those of a layer overlap by `CROP_OVERLAP`."""
    for layer in range(1, layers + 1):
        spans = []
        for length in shape:
            number = min(2**layer, length)
            size = int(np.ceil(length / (number - (number - 1) * CROP_OVERLAP)))
            spans.append(spread(length, size, number))
        for (y1, y2), (x1, x2) in itertools.product(*spans):
            yield x1, y1, x2, y2
