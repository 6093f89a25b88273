"""Evaluate `OVSAMPredictor.find` with names that are in an image and names that are not."""

import argparse
import contextlib
import io
import time
from collections import defaultdict
from pathlib import Path

import mmovsam  # noqa: F401  first: it mends torchvision where that is broken
import numpy as np
import torch
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from tqdm import tqdm
from mini_world import CATEGORIES, draw_scene

from mmovsam.apis import OVSAMPredictor
from mmovsam.apis.find import SCORE_THR
from mmovsam.engine.command_line import readable_errors
from mmovsam.photos import load_photographs
from mmovsam.vocabulary import load_classifier


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('data', choices=['photos', 'small-world'])
    add('--root', type=Path, default=Path('data/photos'), help='folder of the photographs')
    add('--set', default='coco_val', help='data set of photographs')
    add('--num-images', type=int, default=10)
    # the default of score_thr was chosen on the first 10 photographs
    add('--skip', type=int, default=10, help='images before these')
    add('--seed', type=int, default=0, help='of the order of photographs, or of scenes')
    add('--score-thr', type=float, default=SCORE_THR)
    add('--backgrounds', nargs='*', default=[], help='further classifiers of background names')
    add('--boxes', action='store_true', help='annotated boxes as candidates')
    add('--threads', type=int, default=1)
    return parser.parse_args()


def photographs(args):
    """Images with pairs of names and masks."""
    data = load_photographs(args.root, [args.set])
    order = np.random.default_rng(args.seed).permutation(len(data.paths))
    for index in order[args.skip : args.skip + args.num_images]:
        objects = [(obj['name'], obj['rle']) for obj in data.objects if obj['image'] == index]
        if objects:
            yield data.paths[index], objects


def scenes(args):
    """Drawn scenes with pairs of names and masks."""
    for index in range(args.skip, args.skip + args.num_images):
        scene = draw_scene(np.random.default_rng([args.seed, index]), 'test')
        masks = (np.asfortranarray(mask, np.uint8) for mask in scene.masks)
        names = (CATEGORIES[number - 1].name for number in scene.category_ids)
        yield scene.image, list(zip(names, map(coco_mask.encode, masks)))


def boxes_of(objects):
    """Boxes xyxy of annotated masks."""
    bboxes = np.array([coco_mask.toBbox(mask) for _, mask in objects])
    bboxes[:, 2:] += bboxes[:, :2]
    return bboxes


def evaluate(images, results, names):
    """Counts of results, correct ones and objects, and AP at an IoU of 0.5, of each name."""
    truth = COCO()
    annotations = [
        dict(id=number, image_id=image, category_id=names.index(name), segmentation=mask,
             area=float(coco_mask.area(mask)), bbox=coco_mask.toBbox(mask).tolist(), iscrowd=0)
        for number, (image, name, mask) in enumerate(
            ((image, *obj) for image, objects in enumerate(images) for obj in objects), 1)
    ]  # fmt: skip
    truth.dataset = dict(
        images=[
            dict(id=image, **dict(zip(('height', 'width'), objects[0][1]['size'])))
            for image, objects in enumerate(images)
        ],
        categories=[dict(id=label) for label in range(len(names))],
        annotations=annotations,
    )
    detections = [
        dict(image_id=image, category_id=names.index(obj['name']), score=obj['score'],
             segmentation=obj['segmentation'])
        for image, objects in enumerate(results) for obj in objects
    ]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        run = COCOeval(truth, truth.loadRes(detections) if detections else COCO(), 'segm')
        run.params.iouThrs = np.array([0.5])
        run.evaluate()
        run.accumulate()
    counts = np.zeros((len(names), 3), int)
    for result in filter(None, run.evalImgs):
        if result['aRng'] == run.params.areaRng[0]:
            correct = int((result['dtMatches'][0] > 0).sum())
            counts[result['category_id']] += len(result['dtIds']), correct, len(result['gtIds'])
    return counts, run.eval['precision'][0, :, :, 0, -1].mean(0)


def main(args):
    torch.set_num_threads(args.threads)
    if args.data == 'photos':
        predictor = OVSAMPredictor.from_pretrained('ovsam-photo', 'cpu')
        data = list(photographs(args))
        names = list(predictor.vocabulary)
    else:
        predictor = OVSAMPredictor.from_pretrained('ovsam-mini', 'cpu')
        data = list(scenes(args))
        names = list(dict.fromkeys(name for _, objects in data for name, _ in objects))
    backgrounds = {'those of the model': None}
    backgrounds.update({file: load_classifier(file) for file in args.backgrounds})
    detections, candidates, seconds = defaultdict(list), defaultdict(list), []
    predictor.find(names, np.zeros((32, 32, 3), np.uint8), bboxes=[[0, 0, 32, 32]])  # warm-up
    for image, objects in tqdm(data):
        bboxes = boxes_of(objects) if args.boxes else None
        times = [time.process_time()]
        predictor.set_image(image)
        for key, background in backgrounds.items():
            options = dict(background=background, bboxes=bboxes)
            detections[key].append(predictor.find(names, score_thr=args.score_thr, **options))
            times.append(time.process_time())
            candidates[key].append(predictor.find(names, score_thr=0.0, **options))
            times.append(time.process_time())
        predictor.find(names[:1], bboxes=bboxes)
        times.append(time.process_time())
        seconds.append(np.diff(times)[[0, 1, -1]])
    truth = [objects for _, objects in data]
    for key in backgrounds:
        print(f'\nBackground: {key}')
        report(truth, detections[key], candidates[key], names)
    first, again, one = np.mean(seconds, axis=0)
    print(
        f'\n{len(data)} images, {len(names)} names asked for, score_thr {args.score_thr}, mask '
        f'IoU 0.5. CPU seconds: first call {first:.1f}, again {again:.3f}, one name {one:.3f}'
    )


def report(truth, detections, candidates, names):
    """Print a table by names, and their sum."""
    counts, _ = evaluate(truth, detections, names)
    _, precision = evaluate(truth, candidates, names)
    print(f'{"name":<28}{"objects":>8}{"found":>7}{"right":>7}{"precision":>11}{"recall":>8}'
          f'{"AP":>7}')  # fmt: skip
    for label in np.flatnonzero(counts.sum(1)):
        found, correct, objects = counts[label]
        recall, ap = (correct / objects, precision[label]) if objects else (np.nan, np.nan)
        print(f'{names[label]:<28}{objects:>8}{found:>7}{correct:>7}'
              f'{correct / max(found, 1):>11.2f}{recall:>8.2f}{ap:>7.2f}')  # fmt: skip
    found, correct, objects = counts.sum(0)
    present = [{name for name, _ in objects} for objects in truth]
    false = sum(
        obj['name'] not in image_names
        for image_names, objects in zip(present, detections)
        for obj in objects
    )
    absent = sum(len(names) - len(image_names) for image_names in present)
    has_objects = counts[:, 2] > 0
    print(f'{"all":<28}{objects:>8}{found:>7}{correct:>7}{correct / max(found, 1):>11.3f}'
          f'{correct / max(objects, 1):>8.3f}{precision[has_objects].mean():>7.3f}')  # fmt: skip
    print(
        f'precision of names that are there {correct / max(found - false, 1):.3f}; false alarms '
        f'{false} in {absent} pairs of an image and an absent name: {false / max(absent, 1):.4f}'
    )


if __name__ == '__main__':
    with readable_errors():
        main(parse_args())
