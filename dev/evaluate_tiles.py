"""Evaluate everything-mode in tiles on mosaics of the small world."""

import argparse
import time

import mmovsam  # noqa: F401  first: it mends torchvision where that is broken
import numpy as np
import torch
from pycocotools import mask as coco_mask
from scipy.optimize import linear_sum_assignment
from mini_world import CATEGORIES, draw_mosaic

from mmovsam.apis import OVSAMPredictor, semantic_map
from mmovsam.apis.tiles import SAME_OBJECT_IOU, TILE_OVERLAP, to_image_frame, tile_boxes
from mmovsam.engine.command_line import readable_errors
from mmovsam.evaluation.semantic import semantic_scores


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('--num-images', type=int, default=4)
    add('--rows', type=int, default=3, help='of a mosaic, each 320 pixels')
    add('--columns', type=int, default=4, help='of a mosaic, each 320 pixels')
    add('--seed', type=int, default=0)
    add('--tile-size', type=int, default=320)
    add('--threads', type=int, default=1)
    return parser.parse_args()


def without_merging(predictor, image, size):
    """Annotations of tiles without overlap, not merged."""
    result = []
    for tile in tile_boxes(image.shape, size, 0):
        x1, y1, x2, y2 = tile
        annotations = predictor.segment_everything(image[y1:y2, x1:x2])
        result += [to_image_frame(annotation, tile, image.shape) for annotation in annotations]
    return result


def methods(size):
    """Names and functions of a predictor and an image."""
    yield 'whole', lambda predictor, image: predictor.segment_everything(image)
    yield (
        'whole, 64 points',
        lambda predictor, image: predictor.segment_everything(image, points_per_side=64),
    )
    yield 'tiles, not merged', lambda predictor, image: without_merging(predictor, image, size)
    for overlap in (TILE_OVERLAP, 0.4):
        yield (
            f'tiles, overlap {overlap}',
            lambda predictor, image, overlap=overlap: predictor.segment_everything(
                image, tile_size=size, tile_overlap=overlap
            ),
        )


def crosses(mask, size, shape):
    """Whether a mask crosses the seams of tiles without overlap."""
    x, y, width, height = coco_mask.toBbox(mask)
    tiles = np.array(list(tile_boxes(shape, size, 0)))
    inside = (tiles[:, :2] <= (x, y)) & (tiles[:, 2:] >= (x + width, y + height))
    return not inside.all(1).any()


def count(scene, annotations, size):
    """Counts `(2, 4)` of all objects and of those across seams: objects, recalled, named, and IoU.

    A mask recalls an object if their IoU is above 0.5, one mask for each object.
    """
    masks = [coco_mask.encode(np.asfortranarray(mask, np.uint8)) for mask in scene.masks]
    predicted = [annotation['segmentation'] for annotation in annotations]
    ious = coco_mask.iou(masks, predicted, [0] * len(predicted))
    ious = np.reshape(ious, (len(masks), len(predicted)))
    rows, columns = linear_sum_assignment(-ious * (ious > SAME_OBJECT_IOU))
    counts = np.zeros((2, 4))
    across = np.array([crosses(mask, size, scene.image.shape) for mask in masks])
    counts[:, 0] = len(masks), across.sum()
    for row, column in zip(rows, columns):
        if ious[row, column] > SAME_OBJECT_IOU:
            name = CATEGORIES[scene.category_ids[row] - 1].name
            hit = 1, annotations[column]['name'] == name, ious[row, column]
            counts[0, 1:] += hit
            counts[1, 1:] += np.array(hit) * across[row]
    return counts


def maps(scene, annotations, names):
    """Predicted and annotated class maps; pixels without a name are the last class."""
    predicted = semantic_map(annotations, scene.image.shape, names)
    annotated = np.full(predicted.shape, -1, np.int32)
    for number, mask in zip(scene.category_ids, scene.masks):
        annotated[mask] = number - 1
    return [np.where(values < 0, len(names) - 1, values) for values in (predicted, annotated)]


def main(args):
    torch.set_num_threads(args.threads)
    predictor = OVSAMPredictor.from_pretrained('ovsam-mini', 'cpu', cache_size=0)
    shape = args.rows, args.columns
    scenes = [
        draw_mosaic(np.random.default_rng([args.seed, i]), 'test', *shape)
        for i in range(args.num_images)
    ]
    names = [category.name for category in CATEGORIES] + ['background']
    height, width = scenes[0].image.shape[:2]
    print(f'{len(scenes)} mosaics of {width}x{height} pixels, tiles of {args.tile_size}')
    print(f'{"":<22}{"objects":>8}{"found":>7}{"recall":>8}{"precision":>11}{"IoU":>7}{"named":>7}'
          f'{"across seams":>14}{"recall":>8}{"IoU":>7}{"CPU s":>8}'
          f'{"mIoU":>7}{"mAcc":>7}{"aAcc":>7}')  # fmt: skip
    for method, segment in methods(args.tile_size):
        counts, number, start = np.zeros((2, 4)), 0, time.process_time()
        results = [segment(predictor, scene.image) for scene in scenes]
        seconds = (time.process_time() - start) / len(scenes)
        for scene, annotations in zip(scenes, results):
            counts += count(scene, annotations, args.tile_size)
            number += len(annotations)
        pairs = [maps(scene, annotations, names) for scene, annotations in zip(scenes, results)]
        scores = semantic_scores(pairs, len(names))
        (objects, correct, named, iou), (across, seam_correct, _, seam_iou) = counts
        print(
            f'{method:<22}{objects:>8.0f}{number:>7}{correct / objects:>8.3f}'
            f'{correct / number:>11.3f}{iou / max(correct, 1):>7.3f}'
            f'{named / max(correct, 1):>7.3f}{across:>14.0f}'
            f'{seam_correct / max(across, 1):>8.3f}{seam_iou / max(seam_correct, 1):>7.3f}'
            f'{seconds:>8.1f}'
            f'{scores["mIoU"]:>7.1f}{scores["mAcc"]:>7.1f}{scores["aAcc"]:>7.1f}',
            flush=True,
        )


if __name__ == '__main__':
    with readable_errors():
        main(parse_args())
