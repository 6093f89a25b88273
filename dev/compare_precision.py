"""Compare a model in half precision with itself in float32: labels and masks of drawn scenes."""

import argparse
import json

import mmovsam  # noqa: F401  first: it mends torchvision where that is broken
import numpy as np
import torch
from mini_world import draw_scene
from mmovsam.apis import OVSAMPredictor, prepare_for_inference
from mmovsam.devices import choose_device
from mmovsam.evaluation.open_vocab_metric import mask_iou


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--config', default='mini/ovsam_mini_boxes.py')
    parser.add_argument('--dtype', default='bfloat16', choices=['bfloat16', 'float16'])
    parser.add_argument('--device')
    parser.add_argument('--scenes', type=int, default=100)
    parser.add_argument('--seed', type=int, default=0)
    return parser.parse_args()


def boxes_of(masks):
    """Boxes xyxy in pixels of masks that are not empty, one row each."""
    corners = []
    for mask in masks:
        rows, columns = np.nonzero(mask)
        corners.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    return corners


def compare(config, dtype, num_scenes, seed=0, device='cpu'):
    """Objects, the share of them with equal labels, and the mean and least IoU of their masks."""
    exact, half = (OVSAMPredictor.from_config(config, device=device) for _ in range(2))
    prepare_for_inference(half.model, dtype)
    equal, overlaps = [], []
    for index in range(num_scenes):
        scene = draw_scene(np.random.default_rng([seed, index]), 'test')
        prompts = [dict(box=box) for box in boxes_of(scene.masks)]
        answers = []
        for predictor in (exact, half):
            predictor.set_image(scene.image)
            answers.append(predictor.predict_batch(prompts))
        wanted, found = answers
        equal += [a[0] == b[0] for a, b in zip(wanted.names, found.names)]
        overlaps += [mask_iou(a, b) for a, b in zip(wanted.masks, found.masks)]
    return dict(
        objects=len(equal),
        equal_labels=float(np.mean(equal)),
        mean_iou=float(np.mean(overlaps)),
        least_iou=float(min(overlaps)),
    )


if __name__ == '__main__':
    args = parse_args()
    dtype = getattr(torch, args.dtype)
    device = choose_device(args.device)
    print(json.dumps(compare(args.config, dtype, args.scenes, args.seed, device)))
