"""Evaluate tracking on clips of the small world."""

import argparse
import time

import mmovsam  # noqa: F401  first: it mends torchvision where that is broken
import numpy as np
import torch
from pycocotools import mask as coco_mask
from mini_world import draw_clip

from mmovsam.apis import OVSAMPredictor, Tracker
from mmovsam.engine.command_line import readable_errors

MIN_VISIBLE = 50  # pixels; with fewer an object counts as absent
METHODS = {
    'copy the first mask': None,
    'copy the true mask of the frame before': None,
    'prompts only': dict(quality_thr=0.0, iou_thr=0.0, likeness_thr=-1.0, refind_thr=None),
    'without finding again': dict(refind_thr=None),
    'the tracker': {},
}


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('--num-clips', type=int, default=5)
    add('--num-frames', type=int, default=20)
    add('--num-objects', type=int, default=4)
    add('--seed', type=int, default=0, help='of the first clip')
    add('--ways', nargs='+', choices=list(METHODS), default=list(METHODS), metavar='METHOD')
    add('--threads', type=int, default=1)
    return parser.parse_args()


def track(method, predictor, clip):
    """Masks `(T, N, H, W)` of the objects of the first frame."""
    if method == 'copy the first mask':
        return np.repeat(clip.masks[:1], len(clip.masks), axis=0)
    if method == 'copy the true mask of the frame before':
        return np.concatenate((clip.masks[:1], clip.masks[:-1]))
    masks = np.zeros_like(clip.masks)
    tracker = Tracker(predictor, **METHODS[method])
    first = coco_mask.encode(np.asfortranarray(clip.masks[0].transpose(1, 2, 0), np.uint8))
    boxes = coco_mask.toBbox(first)
    boxes[:, 2:] += boxes[:, :2]
    for frame, image in enumerate(clip.images):
        for obj in tracker.step(image) if frame else tracker.start(image, boxes):
            masks[frame, obj['track_id'] - 1] = coco_mask.decode(obj['segmentation'])
    return masks


def evaluate(masks, clip):
    """IoUs of visible objects after the first frame, whether absent ones have a mask, and switches.

    A switch is a frame whose mask is, with an IoU above 0.5, another object than before.
    """
    ious, absent, switches = [], [], 0
    for index in range(masks.shape[1]):
        last = index
        for frame in range(1, len(masks)):
            truth, mask = clip.masks[frame], masks[frame, index]
            unions = (truth | mask).sum((1, 2)).clip(1)
            overlaps = (truth & mask).sum((1, 2)) / unions
            if truth[index].sum() < MIN_VISIBLE:
                absent.append(mask.any())
            else:
                ious.append(overlaps[index])
            best = int(overlaps.argmax())
            if overlaps[best] > 0.5:
                switches += best != last
                last = best
    return ious, absent, switches


def main(args):
    torch.set_num_threads(args.threads)
    predictor = OVSAMPredictor.from_pretrained('ovsam-mini', 'cpu', cache_size=0)
    clips = [
        draw_clip(np.random.default_rng(args.seed + i), args.num_frames, args.num_objects)
        for i in range(args.num_clips)
    ]
    visible = sum((clip.masks[1:].sum((2, 3)) >= MIN_VISIBLE).sum() for clip in clips)
    print(f'{len(clips)} clips of {args.num_frames} frames and {args.num_objects} objects; '
          f'{visible} masks of visible objects')  # fmt: skip
    print(f'{"":<40}{"J":>7}{"recall":>8}{"absent":>8}{"switches":>10}{"frames / CPU s":>16}')
    for method in args.ways:
        start = time.process_time()
        masks = [track(method, predictor, clip) for clip in clips]
        rate = len(clips) * args.num_frames / max(time.process_time() - start, 1e-9)
        ious, absent, switches = zip(*map(evaluate, masks, clips))
        ious, absent = np.concatenate(ious), np.concatenate(absent)
        speed = f'{rate:>16.1f}' if METHODS[method] is not None else f'{"":>16}'
        print(f'{method:<40}{ious.mean():>7.3f}{(ious > 0.5).mean():>8.3f}{absent.mean():>8.2f}'
              f'{sum(switches):>10}{speed}', flush=True)  # fmt: skip


if __name__ == '__main__':
    with readable_errors():
        main(parse_args())
