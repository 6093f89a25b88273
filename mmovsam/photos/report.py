"""The table of the model card: masks and names, through the predictor that users have."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from pycocotools import mask as coco_mask
from torch import Tensor
from tqdm import tqdm

from ..apis import OVSAMPredictor, segment_everything
from ..evaluation.open_vocab_metric import mask_iou
from ..prompts.gt_prompter import deepest_point
from ..vocabulary import load_classifier, load_photo_text
from ..vocabulary.photo_text import KernelMap
from .data import Photographs, load_photographs
from .name_training import accuracy

SMALL, MEDIUM = 32**2, 96**2
"""Areas in pixels below which COCO calls an object small, and medium."""
OFF = 0.1
"""How far the sides of boxes are moved, in parts of the box."""


class PhotoReport:
    """Measures a model on photographs with masks of all instances of known classes.

    They are the first `num_images` of the set `val` below the folder `root`; None for all. The seed
    is of the boxes that are off.
    """

    def __init__(
        self,
        predictor: OVSAMPredictor,
        root: str | Path,
        val: str = 'coco_val',
        num_images: int | None = None,
        seed: int = 0,
    ) -> None:
        self.predictor = predictor
        self.root = Path(root)
        self.photographs = load_photographs(root, [val])
        self.num_images = num_images or len(self.photographs.paths)
        self.rng = np.random.default_rng(seed)

    def images(self, desc: str) -> Iterable[list[dict]]:
        """The objects of each image, which is set in the predictor."""
        objects = defaultdict(list)
        for each in self.photographs.objects:
            objects[each['image']].append(each)
        for index in tqdm(range(self.num_images), desc=desc):
            if objects[index]:
                self.predictor.set_image(self.photographs.paths[index])
                yield objects[index]

    def masks(self) -> dict[str, float]:
        """Mean IoU with boxes, with boxes that are off, with points, and after several clicks."""
        ious, areas = defaultdict(list), []
        for objects in self.images('masks'):
            truth = [coco_mask.decode(each['rle']).astype(bool) for each in objects]
            areas += [mask.sum() for mask in truth]
            boxes = np.array([_xyxy(each['bbox']) for each in objects])
            signs = self.rng.choice([-1, 1], boxes.shape)
            off = boxes + signs * OFF * np.tile(boxes[:, 2:] - boxes[:, :2], 2)
            for key, given in dict(box=boxes, off=off).items():
                found = self.predictor.predict_batch(
                    [dict(box=_inside(box, truth[0])) for box in given]
                )
                ious[key] += [mask_iou(*pair) for pair in zip(found.masks, truth)]
            self._clicks(truth, ious)
        areas, box = np.array(areas), np.array(ious['box'])
        result = {key: float(np.mean(values)) for key, values in ious.items()}
        sizes = dict(small=areas < SMALL, large=areas >= MEDIUM)
        sizes['medium'] = ~sizes['small'] & ~sizes['large']
        for size, chosen in sizes.items():
            result[f'box_{size}'] = float(box[chosen].mean()) if chosen.any() else float('nan')
        result['objects'] = len(box)
        return result

    def _clicks(self, truth: Sequence[np.ndarray], ious: dict[str, list]) -> None:
        points = [[deepest_point(mask)] for mask in truth]
        labels = [[1] for _ in truth]
        prompts = [dict(point_coords=p, point_labels=n) for p, n in zip(points, labels)]
        found = self.predictor.predict_batch(prompts, multimask_output=True)
        several = len(found.masks) // len(truth)
        scores = found.scores.reshape(-1, several)
        each = np.array(
            [[mask_iou(found.masks[several * i + j], mask) for j in range(several)]
             for i, mask in enumerate(truth)]
        )  # fmt: skip
        chosen = scores.argmax(1)
        rows = several * np.arange(len(truth)) + chosen
        ious['point'] += each[np.arange(len(truth)), chosen].tolist()
        ious['point_best'] += each.max(1).tolist()
        masks, logits = found.masks[rows], found.low_res_logits[rows]
        for number in range(2, 6):
            for index, mask in enumerate(truth):
                point, label = _correction(masks[index], mask)
                points[index].append(point)
                labels[index].append(label)
            prompts = [
                dict(point_coords=p, point_labels=n, mask_input=low[None])
                for p, n, low in zip(points, labels, logits)
            ]
            found = self.predictor.predict_batch(prompts)
            masks, logits = found.masks, found.low_res_logits
            if number in (3, 5):
                ious[f'clicks_{number}'] += [mask_iou(*pair) for pair in zip(masks, truth)]

    def names(self, groups: dict[str, set[str]] | None = None) -> dict[str, float]:
        """Accuracy with annotated boxes, in the predictor's vocabulary.

        The `groups` are sets of names that are also counted by themselves.
        """
        vocabulary = list(self.predictor.vocabulary)
        logits, labels = [], []
        for objects in self.images('names'):
            found = self.predictor.predict_batch(
                [dict(box=_xyxy(each['bbox'])) for each in objects], top_k=len(vocabulary)
            )
            for names, scores, each in zip(found.names, found.name_scores, objects):
                if each['name'] in vocabulary:
                    row = dict(zip(names, scores))
                    logits.append([row[name] for name in vocabulary])
                    labels.append(vocabulary.index(each['name']))
        logits, labels = torch.tensor(np.array(logits)), torch.tensor(labels)
        result = accuracy(logits, labels)
        for group, members in (groups or {}).items():
            chosen = torch.tensor([vocabulary[label] in members for label in labels])
            own = accuracy(logits[chosen], labels[chosen])
            result.update({f'{group}_{key}': value for key, value in own.items()})
        return result

    def everything(self) -> dict[str, float]:
        """Recall at an IoU of 0.5 of everything-mode, and how many of those have the right name."""
        found, right, total = 0, 0, 0
        for objects in self.images('everything'):
            things = segment_everything(self.predictor)
            masks = [thing['segmentation'] for thing in things]
            total += len(objects)
            if not masks:
                continue
            ious = coco_mask.iou(masks, [each['rle'] for each in objects], [0] * len(objects))
            for column, each in zip(np.array(ious).T, objects):
                if column.max() >= 0.5:
                    found += 1
                    right += things[column.argmax()]['name'] == each['name']
        return dict(recall=found / max(total, 1), names=100 * right / max(found, 1))

    def whole_photographs(self, samples: str = 'imagenet_samples', splits: int = 10) -> dict:
        """Top-1 of photographs of ImageNet's classes, among all and among 200 left out of the text.

        Of the latter the map from texts to rows is fitted anew without them.
        """
        photographs = load_photographs(self.root, [samples])
        predictor = self.predictor.fork()
        known = load_classifier('mmovsam://photo_imagenet1k.safetensors')
        predictor.set_vocabulary(known)
        labels = torch.arange(len(photographs.paths))  # one for each class, in their order
        embeddings, logits = self._embed_whole(predictor, photographs)
        result = {f'imagenet_{key}': value for key, value in accuracy(logits, labels).items()}
        text_map = load_photo_text('mmovsam://photo_text.safetensors')[0].text_map
        sharpness = float(text_map.sharpness)
        names, described = text_map.anchors[:1000], text_map.anchors[1000:]
        rows = F.normalize(known.flat()[0], dim=1)
        for kind, texts in dict(name=names, described=described).items():
            parts = defaultdict(list)
            for seed in range(splits):
                order = torch.randperm(1000, generator=torch.Generator().manual_seed(seed))
                test, train = order[:200], order[200:]
                fitted = KernelMap.fit(
                    torch.cat((names[train], described[train])), rows[train].repeat(2, 1),
                    sharpness, 0.2,
                )  # fmt: skip
                mapped = F.normalize(fitted(texts[test]), dim=1)
                own = accuracy(embeddings[test] @ mapped.T, torch.arange(200))
                for key, value in own.items():
                    parts[f'left_out_{kind}_{key}'].append(value)
            result.update({key: float(np.mean(values)) for key, values in parts.items()})
        return result

    def _embed_whole(
        self, predictor: OVSAMPredictor, photographs: Photographs
    ) -> tuple[Tensor, Tensor]:
        embeddings, logits = [], []
        model = predictor.model
        for path in tqdm(photographs.paths, desc='whole photographs'):
            predictor.set_image(path)
            encoded = predictor._encoded(0)
            height, width = encoded.img_shape
            box = torch.tensor([[0.0, 0.0, width, height]])
            with torch.no_grad():
                embedded = model.embed_regions(encoded.features, box)
                embeddings.append(F.normalize(embedded, dim=1))
                logits.append(predictor.classifier.logits(embedded)[:, :-1])
        return torch.cat(embeddings).cpu(), torch.cat(logits).cpu()


def _xyxy(bbox: Sequence[float]) -> np.ndarray:
    x, y, width, height = bbox
    return np.array([x, y, x + width, y + height])


def _inside(box: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A box cut off at the image's edge, at least a pixel large."""
    height, width = mask.shape
    x1, y1 = np.clip(box[:2], 0, [width - 1, height - 1])
    x2, y2 = np.clip(box[2:], [x1 + 1, y1 + 1], [width, height])
    return np.array([x1, y1, x2, y2])


def _correction(found: np.ndarray, wanted: np.ndarray) -> tuple[tuple[int, int], int]:
    """Where a person would click next: the deepest point of the larger error, and its label."""
    missing, extra = wanted & ~found, found & ~wanted
    depths = [
        cv2.distanceTransform(np.pad(error, 1).astype(np.uint8), cv2.DIST_L2, 5).max()
        for error in (missing, extra)
    ]
    if max(depths) == 0:
        return deepest_point(wanted), 1
    label = int(depths[0] >= depths[1])
    return deepest_point(missing if label else extra), label
