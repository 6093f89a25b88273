"""Compare labels and masks of a model in half precision and in float32 on drawn scenes."""

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


def compare(config, dtype, num_scenes, seed=0, device='cpu'):
    """The number of objects, the share with equal labels, and the mean and least IoU of masks."""
    exact, half = (OVSAMPredictor.from_config(config, device=device) for _ in range(2))
    prepare_for_inference(half.model, dtype)
    equal, ious = [], []
    for index in range(num_scenes):
        scene = draw_scene(np.random.default_rng([seed, index]), 'test')
        prompts = [dict(box=box) for box in scene.bboxes]
        predictions = []
        for predictor in (exact, half):
            predictor.set_image(scene.image)
            predictions.append(predictor.predict_batch(prompts))
        first, second = predictions
        equal += [a[0] == b[0] for a, b in zip(first.names, second.names)]
        ious += [mask_iou(a, b) for a, b in zip(first.masks, second.masks)]
    return dict(
        objects=len(equal),
        equal_labels=float(np.mean(equal)),
        mean_iou=float(np.mean(ious)),
        least_iou=float(min(ious)),
    )


if __name__ == '__main__':
    args = parse_args()
    dtype = getattr(torch, args.dtype)
    device = choose_device(args.device)
    print(json.dumps(compare(args.config, dtype, args.scenes, args.seed, device)))
