"""The table of the model card: masks and names, measured through `OVSAMPredictor`."""

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
from ..vocabulary.photo_text import RIDGE, KernelMap
from ..vocabulary.related_nouns import are_related
from .augmentation import make_batch
from .data import PhotoData, Photographs, load_photographs
from .name_training import BOX_JITTER, accuracy, read_regions
from .novel_names import novel_accuracy
from .other_words import OTHER_WORDS
from .tower import center_projection, set_imagenet_weights

TEXT = 'mmovsam://photo_text.safetensors'
IMAGENET = 'mmovsam://photo_imagenet1k.safetensors'
SMALL, MEDIUM = 32**2, 96**2
"""COCO's upper bounds of the areas in pixels of small and medium objects."""
CROP_SIZE = 192
"""Side in pixels of a baseline's crops; 260, on which the tower was trained, is worse."""
OFF = 0.1
"""Shift of the sides of inexact boxes, as a share of the box."""


class PhotoReport:
    """Measures a model on the first `num_images` photographs (None for all) of a data set.

    The set `val` is a folder below `root` with masks of all instances of known classes. The seed is
    that of the inexact boxes.
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
        self.root, self.val = Path(root), val
        self.photographs = load_photographs(root, [val])
        self.num_images = num_images or len(self.photographs.paths)
        self.rng = np.random.default_rng(seed)

    def images(self, desc: str, predictor: OVSAMPredictor | None = None) -> Iterable[list[dict]]:
        """Set each image in a predictor, by default the report's, and yield its objects."""
        predictor = predictor or self.predictor
        objects = defaultdict(list)
        for obj in self.photographs.objects:
            objects[obj['image']].append(obj)
        for index in tqdm(range(self.num_images), desc=desc):
            if objects[index]:
                predictor.set_image(self.photographs.paths[index])
                yield objects[index]

    def masks(self) -> dict[str, float]:
        """Mean IoU with boxes, inexact boxes (`off`), points, and after several clicks."""
        ious, areas = defaultdict(list), []
        for objects in self.images('masks'):
            truth = [coco_mask.decode(obj['rle']).astype(bool) for obj in objects]
            areas += [mask.sum() for mask in truth]
            boxes = np.array([_xyxy(obj['bbox']) for obj in objects])
            signs = self.rng.choice([-1, 1], boxes.shape)
            off = boxes + signs * OFF * np.tile(boxes[:, 2:] - boxes[:, :2], 2)
            for key, prompts in dict(box=boxes, off=off).items():
                prediction = self.predictor.predict_batch(
                    [dict(box=_clip(box, truth[0].shape)) for box in prompts]
                )
                ious[key] += [mask_iou(*pair) for pair in zip(prediction.masks, truth)]
            self._clicks(truth, ious)
        areas, box = np.array(areas), np.array(ious['box'])
        result = {key: float(np.mean(values)) for key, values in ious.items()}
        sizes = dict(small=areas < SMALL, large=areas >= MEDIUM)
        sizes['medium'] = ~sizes['small'] & ~sizes['large']
        for size, rows in sizes.items():
            result[f'box_{size}'] = float(box[rows].mean()) if rows.any() else float('nan')
        result['objects'] = len(box)
        return result

    def _clicks(self, truth: Sequence[np.ndarray], ious: dict[str, list]) -> None:
        points = [[deepest_point(mask)] for mask in truth]
        labels = [[1] for _ in truth]
        prompts = [dict(point_coords=p, point_labels=n) for p, n in zip(points, labels)]
        prediction = self.predictor.predict_batch(prompts, multimask_output=True)
        scores = prediction.scores.reshape(len(truth), -1)
        num_masks = scores.shape[1]
        all_ious = np.array(
            [mask_iou(mask, truth[i // num_masks]) for i, mask in enumerate(prediction.masks)]
        )
        rows = num_masks * np.arange(len(truth)) + scores.argmax(1)
        ious['point'] += all_ious[rows].tolist()
        ious['point_best'] += all_ious.reshape(scores.shape).max(1).tolist()
        masks, logits = prediction.masks[rows], prediction.low_res_logits[rows]
        for number in range(2, 6):
            for index, mask in enumerate(truth):
                point, label = _correction(masks[index], mask)
                points[index].append(point)
                labels[index].append(label)
            prompts = [
                dict(point_coords=p, point_labels=n, mask_input=low[None])
                for p, n, low in zip(points, labels, logits)
            ]
            prediction = self.predictor.predict_batch(prompts)
            masks, logits = prediction.masks, prediction.low_res_logits
            if number in (3, 5):
                ious[f'clicks_{number}'] += [mask_iou(*pair) for pair in zip(masks, truth)]

    def names(self) -> dict[str, float]:
        """Accuracy with annotated boxes, in the predictor's vocabulary."""
        return accuracy(*self._name_scores(self.predictor, list(self.predictor.vocabulary)))

    def other_words(self, draws: int = 20) -> dict[str, float]:
        """Accuracy with other words for the classes: random words for all, or for one at a time.

        The latter, where other classes keep their names, is a mean over classes.
        """
        classes = list(self.predictor.vocabulary)
        synonyms = {name: text.split(', ') for name, text in OTHER_WORDS.items() if name in classes}
        words = dict.fromkeys(word for group in synonyms.values() for word in group)
        predictor = self.predictor.fork()
        predictor.set_vocabulary([*classes, *words])
        scores, labels = self._name_scores(predictor, classes)
        column = {word: index for index, word in enumerate(predictor.vocabulary)}
        accuracies = []
        for _ in range(draws):
            names = [self.rng.choice(synonyms.get(name, [name])) for name in classes]
            accuracies.append(accuracy(scores[:, [column[name] for name in names]], labels))
        recalls = []
        for name, group in synonyms.items():
            label = classes.index(name)
            class_scores = scores[labels == label]
            if len(class_scores):
                rivals = class_scores[:, : len(classes)].clone()
                rivals[:, label] = -torch.inf
                rivals = rivals.amax(1, keepdim=True)
                correct = class_scores[:, [column[word] for word in group]] > rivals
                recalls.append(float(correct.float().mean()))
        return dict(_mean(accuracies), one_at_a_time=100 * sum(recalls) / max(len(recalls), 1))

    def many_names(self) -> dict[str, float]:
        """How often the best, and any of the best five of many names, are akin to the label."""
        result = {}
        for source in ('lvis', 'imagenet22k'):
            predictor = self.predictor.fork()
            predictor.set_vocabulary(load_classifier(f'mmovsam://photo_{source}.safetensors'))
            akin = []
            for objects in self.images(source, predictor):
                prediction = predictor.predict_batch(_boxes(objects), top_k=5)
                for names, obj in zip(prediction.names, objects):
                    akin.append([are_related(n.replace('_', ' '), obj['name']) for n in names])
            akin = np.array(akin)
            result[f'{source}_top1'] = 100 * akin[:, 0].mean()
            result[f'{source}_top5'] = 100 * akin.any(1).mean()
        return result

    def baselines(self) -> dict[str, float]:
        """Accuracy of ImageNet's tower alone, on crops and on its map of the photograph.

        As in the paper's baselines, SAM segments and a model untrained on regions names. The text
        map is ImageNet's alone, and the weights are from the package of `tower.py`.
        """
        tower = TimmBackbone(embed_dim=self.predictor.model.backbone.embed_dim)
        set_imagenet_weights(tower)
        data = PhotoData(self.photographs)
        center_projection(tower, data)
        text, tokenizer = load_photo_text(TEXT, IMAGENET)
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
                views['map'].append(tower.embed_regions(tower(batch.inputs)[-1], batch.bboxes))
                crops = cut_out(
                    batch.inputs, crop_windows(batch.bboxes, 0.0, square=True).float(), CROP_SIZE
                )
                features = [
                    tower.embed_map(tower(chunk)[-1]).mean((2, 3)) for chunk in crops.split(16)
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

    def novel_names(
        self, sets: Sequence[str] = ('coco_train', 'coco_partial', 'imagenet_samples')
    ) -> dict[str, float]:
        """Accuracy on base and novel names of COCO, by a namer trained anew on data sets.

        The model's other parts are used as they are; its tower learned no labels of novel classes.
        """
        model = self.predictor.model
        views, views_of_val = (
            read_regions(model, PhotoData(load_photographs(self.root, names)), jitter=jitter)
            for names, jitter in ((sets, BOX_JITTER), ([self.val], 0.0))
        )
        return novel_accuracy(model.region_namer.untrained(), views, views_of_val)

    def _name_scores(
        self, predictor: OVSAMPredictor, classes: Sequence[str]
    ) -> tuple[Tensor, Tensor]:
        """Scores `(N, V)` in the predictor's vocabulary, and labels `(N,)` of annotated objects."""
        vocabulary = predictor.vocabulary
        scores, labels = [], []
        for objects in self.images('names', predictor):
            prediction = predictor.predict_batch(_boxes(objects), top_k=len(vocabulary))
            for names, values, obj in zip(prediction.names, prediction.name_scores, objects):
                if obj['name'] in classes:
                    row = dict(zip(names, values))
                    scores.append([row[name] for name in vocabulary])
                    labels.append(classes.index(obj['name']))
        return torch.tensor(np.array(scores)), torch.tensor(labels)

    def everything(self) -> dict[str, float]:
        """Recall at an IoU of 0.5 of everything-mode, and the accuracy of its names."""
        recalled, correct, total = 0, 0, 0
        for objects in self.images('everything'):
            annotations = segment_everything(self.predictor)
            masks = [annotation['segmentation'] for annotation in annotations]
            total += len(objects)
            if not masks:
                continue
            ious = coco_mask.iou(masks, [obj['rle'] for obj in objects], [0] * len(objects))
            for column, obj in zip(np.array(ious).T, objects):
                if column.max() >= 0.5:
                    recalled += 1
                    correct += annotations[column.argmax()]['name'] == obj['name']
        return dict(recall=recalled / max(total, 1), names=100 * correct / max(recalled, 1))

    def whole_photographs(self, samples: str = 'imagenet_samples', splits: int = 10) -> dict:
        """Accuracy on photographs of ImageNet's classes: all, and 200 left out of the text map.

        For the latter the map from texts to rows is fitted anew without them.
        """
        photographs = load_photographs(self.root, [samples])
        predictor = self.predictor.fork()
        known = load_classifier(IMAGENET)
        predictor.set_vocabulary(known)
        labels = torch.arange(len(photographs.paths))  # one photograph for each class, in order
        embeddings, logits = self._embed_images(predictor, photographs)
        result = {f'imagenet_{key}': value for key, value in accuracy(logits, labels).items()}
        text_map = load_photo_text(TEXT)[0].text_map
        sharpness = float(text_map.sharpness)
        names, definitions = text_map.anchors.split(1000)
        rows = F.normalize(known.flat()[0], dim=1)
        for kind, texts in dict(name=names, described=definitions).items():
            accuracies = []
            for seed in range(splits):
                order = torch.randperm(1000, generator=torch.Generator().manual_seed(seed))
                test, train = order[:200], order[200:]
                fitted = KernelMap.fit(
                    torch.cat((names[train], definitions[train])), rows[train].repeat(2, 1),
                    sharpness, RIDGE,
                )  # fmt: skip
                mapped = F.normalize(fitted(texts[test]), dim=1)
                accuracies.append(accuracy(embeddings[test] @ mapped.T, torch.arange(200)))
            for key, value in _mean(accuracies).items():
                result[f'left_out_{kind}_{key}'] = value
        return result

    def _embed_images(
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


def _mean(results: Sequence[dict[str, float]]) -> dict[str, float]:
    keys = results[0] if results else ()
    return {key: float(np.mean([result[key] for result in results])) for key in keys}


def _boxes(objects: Sequence[dict]) -> list[dict]:
    return [dict(box=_xyxy(obj['bbox'])) for obj in objects]


def _xyxy(bbox: Sequence[float]) -> np.ndarray:
    x, y, width, height = bbox
    return np.array([x, y, x + width, y + height])


def _clip(box: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A box clipped to the image `(height, width)`, at least a pixel large."""
    height, width = shape
    x1, y1 = np.clip(box[:2], 0, [width - 1, height - 1])
    x2, y2 = np.clip(box[2:], [x1 + 1, y1 + 1], [width, height])
    return np.array([x1, y1, x2, y2])


def _correction(mask: np.ndarray, truth: np.ndarray) -> tuple[tuple[int, int], int]:
    """The next click of a user: the deepest point of the deeper error, and its label."""
    missing, extra = truth & ~mask, mask & ~truth
    depths = [
        cv2.distanceTransform(np.pad(error, 1).astype(np.uint8), cv2.DIST_L2, 5).max()
        for error in (missing, extra)
    ]
    if max(depths) == 0:
        return deepest_point(truth), 1
    label = int(depths[0] >= depths[1])
    return deepest_point(missing if label else extra), label
