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
from ..models.backbones import TimmBackbone
from ..models.detectors.crops import crop_windows
from ..models.detectors.region_crops import cut_out
from ..prompts.gt_prompter import deepest_point
from ..vocabulary import Vocabulary, load_classifier, load_photo_text
from ..vocabulary.photo_text import KernelMap
from ..vocabulary.related_nouns import are_related
from .augmentation import make_batch
from .data import PhotoData, Photographs, load_photographs
from .name_training import accuracy
from .other_words import OTHER_WORDS
from .text_map import RIDGE, imagenet_map
from .tower import center_projection, set_imagenet_weights

TEXT = 'mmovsam://photo_text.safetensors'
IMAGENET = 'mmovsam://photo_imagenet1k.safetensors'
SMALL, MEDIUM = 32**2, 96**2
"""Areas in pixels below which COCO calls an object small, and medium."""
CROP_SIZE = 192
"""Of a baseline's crop in pixels; with 260, on which the tower was trained, it is worse."""
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

    def images(self, desc: str, predictor: OVSAMPredictor | None = None) -> Iterable[list[dict]]:
        """The objects of each image, which is set in the predictor, by default the report's."""
        predictor = predictor or self.predictor
        objects = defaultdict(list)
        for each in self.photographs.objects:
            objects[each['image']].append(each)
        for index in tqdm(range(self.num_images), desc=desc):
            if objects[index]:
                predictor.set_image(self.photographs.paths[index])
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

    def names(self) -> dict[str, float]:
        """Accuracy with annotated boxes, in the predictor's vocabulary."""
        return accuracy(*self._scores_of_names(self.predictor, list(self.predictor.vocabulary)))

    def other_words(self, draws: int = 20) -> dict[str, float]:
        """Accuracy where classes are called by other words: all of them, drawn, or one at a time.

        Of the latter there is the mean over classes: the others keep their names.
        """
        classes = list(self.predictor.vocabulary)
        others = {name: text.split(', ') for name, text in OTHER_WORDS.items() if name in classes}
        words = dict.fromkeys(word for group in others.values() for word in group)
        predictor = self.predictor.fork()
        predictor.set_vocabulary([*classes, *words])
        scores, labels = self._scores_of_names(predictor, classes)
        column = {word: index for index, word in enumerate(predictor.vocabulary)}
        parts = defaultdict(list)
        for _ in range(draws):
            names = [self.rng.choice(others.get(name, [name])) for name in classes]
            for key, value in accuracy(scores[:, [column[name] for name in names]], labels).items():
                parts[key].append(value)
        result = {key: float(np.mean(values)) for key, values in parts.items()}
        right = []
        for name, group in others.items():
            label = classes.index(name)
            own = scores[labels == label]
            if len(own):
                rivals = own[:, : len(classes)].clone()
                rivals[:, label] = -torch.inf
                rivals = rivals.amax(1, keepdim=True)
                found = own[:, [column[word] for word in group]] > rivals
                right.append(float(found.float().mean()))
        return dict(result, one_at_a_time=100 * sum(right) / max(len(right), 1))

    def many_names(self) -> dict[str, float]:
        """How often the first of many names is akin to the label, and any of the first five."""
        result = {}
        for source in ('lvis', 'imagenet22k'):
            predictor = self.predictor.fork()
            predictor.set_vocabulary(load_classifier(f'mmovsam://photo_{source}.safetensors'))
            akin = []
            for objects in self.images(source, predictor):
                found = predictor.predict_batch(_boxes(objects), top_k=5)
                for names, each in zip(found.names, objects):
                    akin.append([are_related(n.replace('_', ' '), each['name']) for n in names])
            akin = np.array(akin)
            result[f'{source}_top1'] = 100 * akin[:, 0].mean()
            result[f'{source}_top5'] = 100 * akin.any(1).mean()
        return result

    def baselines(self) -> dict[str, float]:
        """Names by ImageNet's tower alone, of crops and of its map of the photograph.

        So the paper compares: SAM cuts out, and a model that learned nothing of regions names. It
        reads the text map as ImageNet made it, and the weights from the package of `tower.py`.
        """
        tower = TimmBackbone(embed_dim=self.predictor.model.backbone.embed_dim)
        set_imagenet_weights(tower)
        data = PhotoData(self.photographs)
        center_projection(tower, data)
        text, tokenizer = load_photo_text(TEXT, IMAGENET)
        text.text_map = imagenet_map(text)
        vocabulary = list(self.predictor.vocabulary)
        rows = Vocabulary(vocabulary).build_classifier(text, tokenizer).flat()[0]
        views, labels = defaultdict(list), []
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for index in tqdm(range(self.num_images), desc='baselines'):
                images = torch.tensor([index])
                batch = make_batch(data, images, generator, 1000, augment=False, target_stride=1)
                if not len(batch.bboxes):
                    continue
                whole = tower(batch.inputs)[-1]
                views['map'].append(tower.embed_regions(whole, batch.bboxes))
                crops = cut_out(
                    batch.inputs, crop_windows(batch.bboxes, 0.0, square=True).float(), CROP_SIZE
                )
                features = [
                    tower.embed_map(tower(part)[-1]).mean((2, 3)) for part in crops.split(16)
                ]
                views['crops'].append(tower.project(torch.cat(features)))
                names = [self.photographs.objects[row]['name'] for row in batch.objects.tolist()]
                labels += [vocabulary.index(n) if n in vocabulary else -1 for n in names]
        labels, result = torch.tensor(labels), {}
        for view, embeddings in views.items():
            cosines = F.normalize(torch.cat(embeddings), dim=1) @ rows.T
            for key, value in accuracy(cosines[labels >= 0], labels[labels >= 0]).items():
                result[f'{view}_{key}'] = value
        return result

    def _scores_of_names(
        self, predictor: OVSAMPredictor, classes: Sequence[str]
    ) -> tuple[Tensor, Tensor]:
        """Scores `(N, V)` in the predictor's vocabulary, and labels `(N,)` of annotated objects."""
        vocabulary = predictor.vocabulary
        scores, labels = [], []
        for objects in self.images('names', predictor):
            found = predictor.predict_batch(_boxes(objects), top_k=len(vocabulary))
            for names, values, each in zip(found.names, found.name_scores, objects):
                if each['name'] in classes:
                    row = dict(zip(names, values))
                    scores.append([row[name] for name in vocabulary])
                    labels.append(classes.index(each['name']))
        return torch.tensor(np.array(scores)), torch.tensor(labels)

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
        known = load_classifier(IMAGENET)
        predictor.set_vocabulary(known)
        labels = torch.arange(len(photographs.paths))  # one for each class, in their order
        embeddings, logits = self._embed_whole(predictor, photographs)
        result = {f'imagenet_{key}': value for key, value in accuracy(logits, labels).items()}
        text_map = imagenet_map(load_photo_text(TEXT)[0])
        sharpness = float(text_map.sharpness)
        names, described = text_map.anchors.split(1000)
        rows = F.normalize(known.flat()[0], dim=1)
        for kind, texts in dict(name=names, described=described).items():
            parts = defaultdict(list)
            for seed in range(splits):
                order = torch.randperm(1000, generator=torch.Generator().manual_seed(seed))
                test, train = order[:200], order[200:]
                fitted = KernelMap.fit(
                    torch.cat((names[train], described[train])), rows[train].repeat(2, 1),
                    sharpness, RIDGE,
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


def _boxes(objects: Sequence[dict]) -> list[dict]:
    return [dict(box=_xyxy(each['bbox'])) for each in objects]


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
