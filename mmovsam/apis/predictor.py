"""Set an image once, prompt it many times."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import mmcv
import numpy as np
import torch
from mmdet.apis import init_detector
from torch import Tensor

from ..models.detectors import OVSAM
from ..prompts import Prompts
from ..vocabulary import TextClassifier, Vocabulary, load_text_encoder
from .configs import load_config


class _Masks(NamedTuple):
    masks: np.ndarray
    scores: np.ndarray
    low_res_logits: np.ndarray


class Prediction(_Masks):
    """Masks with names; unpacks to `masks, scores, low_res_logits` as SAM's predictor returns them.

    Attributes:
        masks: `(N, H, W)` bool, at the size of the image that was set.
        scores: `(N,)` float32, probability of each mask's best name (1 without names).
        low_res_logits: `(N, h, w)` float32, over the padded network input.
        bboxes: `(N, 4)` float32 xyxy in pixels of that image, the bounding boxes of the masks.
        names: For each mask its best names, best first.
        name_scores: `(N, top_k)` float32, their probabilities.
    """

    bboxes: np.ndarray
    names: list[list[str]]
    name_scores: np.ndarray


class OVSAMPredictor:
    """Segment and name what is prompted in one image after another.

    Args:
        model: An OVSAM, for example of `mmdet.apis.init_detector`.
        text_encoder: Arguments of `mmovsam.vocabulary.load_text_encoder` for names that
            `set_vocabulary` is given as text; None if only built classifiers will be set.

    Raises:
        TypeError: The model is something else.
    """

    def __init__(self, model: OVSAM, text_encoder: dict | None = None) -> None:
        if not isinstance(model, OVSAM):
            raise TypeError(f'OVSAMPredictor needs an OVSAM, not a {type(model).__name__}.')
        self.model = model.eval()
        self._text_encoder_args = text_encoder
        self._text_encoder = None
        self._features = None
        self._metainfo: dict = {}

    @classmethod
    def from_config(
        cls, config: str | Path, checkpoint: str | None = None, device: str = 'cpu'
    ) -> OVSAMPredictor:
        """Build the model of a config and load its weights.

        Args:
            config: A config file, or the name of one of the package's, such as
                `mini/ovsam_mini_boxes.py`.
            checkpoint: File of weights; without it the config's `load_from`.
            device: As for `torch.device`.

        Raises:
            ValueError: Neither names weights.
            FileNotFoundError: Config or weights are not there.
        """
        cfg = load_config(config)
        checkpoint = checkpoint or cfg.get('load_from')
        if checkpoint is None:
            raise ValueError(f'{config} names no weights (load_from): give a checkpoint.')
        cfg.model.prompter = None
        model = init_detector(cfg, checkpoint, palette='random', device=device)
        return cls(model, cfg.get('text_encoder'))

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def set_vocabulary(self, names: Sequence[str] | Vocabulary | TextClassifier) -> None:
        """Change what things may be called; the image that is set stays encoded.

        Args:
            names: Class names, a vocabulary, or a text classifier.

        Raises:
            ValueError: No names, a name twice, or no text encoder to read them with.
        """
        if not isinstance(names, TextClassifier):
            vocabulary = names if isinstance(names, Vocabulary) else Vocabulary(names)
            if self._text_encoder is None:
                if self._text_encoder_args is None:
                    raise ValueError(
                        'Names need the text tower of the model: give OVSAMPredictor a text_encoder, or '
                        'put one into the config, or set a TextClassifier.'
                    )
                self._text_encoder = load_text_encoder(**self._text_encoder_args)
            embeddings = vocabulary.encode(*self._text_encoder)
            names = TextClassifier(embeddings, vocabulary.names, vocabulary.novel)
        self.model.set_vocabulary(names)

    def reset_image(self) -> None:
        """Forget the image."""
        self._features, self._metainfo = None, {}

    @torch.no_grad()
    def set_image(self, image: np.ndarray | str | Path, image_format: str = 'RGB') -> None:
        """Encode an image; every later prompt is answered from the result.

        Args:
            image: `(H, W, 3)` uint8, a PIL image, or a file.
            image_format: `'RGB'` or `'BGR'`, the channel order of an array.

        Raises:
            FileNotFoundError: There is no such file.
            TypeError, ValueError: It is no image of three channels of 8 bits.
        """
        self.reset_image()
        bgr = _read_image(image, image_format)
        height, width = bgr.shape[:2]
        scale = self.model.input_size / max(height, width)
        new_size = tuple(max(1, int(side * scale + 0.5)) for side in (width, height))
        resized = mmcv.imresize(bgr, new_size, interpolation='bilinear', backend='cv2')
        inputs = torch.from_numpy(np.ascontiguousarray(resized.transpose(2, 0, 1)))
        data = self.model.data_preprocessor(dict(inputs=[inputs], data_samples=None))
        self._features = self.model.extract_feat(data['inputs'])
        self._metainfo = dict(
            ori_shape=(height, width),
            img_shape=resized.shape[:2],
            scale_factor=(new_size[0] / width, new_size[1] / height),
        )

    @torch.no_grad()
    def predict(
        self,
        point_coords: np.ndarray | None = None,
        point_labels: np.ndarray | None = None,
        box: np.ndarray | None = None,
        top_k: int = 5,
    ) -> Prediction:
        """Segment and name what a prompt means.

        Args:
            point_coords: `(P, 2)` xy in pixels of the image, all for one object.
            point_labels: `(P,)`, 1 foreground, 0 background.
            box: `(4,)` xyxy in pixels of the image, together with points or alone, or `(N, 4)` for N
                objects at once.
            top_k: How many names each mask gets.

        Raises:
            RuntimeError: No image has been set.
            ValueError: No prompt, or one that lies outside the image, is empty, inverted or not finite.
        """
        if self._features is None:
            raise RuntimeError('No image is set: call set_image(image) before predict.')
        prompts = self._prompts(point_coords, point_labels, box).to(self.device)
        said = self.model.recognize(self._features, prompts.scaled(self._metainfo['scale_factor']))
        instances = self.model.builder(
            said, prompts, self._metainfo, self.model.input_size, True, self._classifier, top_k
        )
        prediction = Prediction(
            instances.masks.cpu().numpy(),
            instances.scores.cpu().numpy(),
            said.low_res_logits[:, 0].float().cpu().numpy(),
        )
        prediction.bboxes = self._mask_bboxes(instances.masks)
        prediction.names, prediction.name_scores = [[] for _ in range(len(prompts))], None
        if self._classifier is not None:
            prediction.name_scores = instances.topk_scores.cpu().numpy()
            known = self._classifier.names
            prediction.names = [
                [known[i] if known else str(i) for i in row] for row in instances.topk_labels.tolist()
            ]
        return prediction

    @property
    def _classifier(self):
        return self.model.classifier if self.model.recognizes else None

    @staticmethod
    def _mask_bboxes(masks: Tensor) -> np.ndarray:
        from ..models.detectors.instances import masks_to_bboxes

        return masks_to_bboxes(masks).float().cpu().numpy()

    def _prompts(self, point_coords, point_labels, box) -> Prompts:
        height, width = self._metainfo['ori_shape']
        fields = {}
        if point_coords is None and box is None:
            raise ValueError('predict needs point_coords with point_labels, or a box.')
        if box is not None:
            fields['bboxes'] = _checked_boxes(box, width, height)
        if point_coords is not None:
            points = np.asarray(point_coords, np.float32).reshape(-1, 2)
            if point_labels is None:
                raise ValueError('point_coords need point_labels: 1 foreground, 0 background.')
            labels = np.asarray(point_labels).reshape(-1)
            inside = (points >= 0).all(1) & (points <= (width, height)).all(1)
            if not inside.all():
                raise ValueError(
                    f'Point {points[~inside][0].tolist()} is outside the image of {width}x{height} pixels.'
                )
            fields['point_coords'], fields['point_labels'] = points[None], labels[None]
            if len(fields.get('bboxes', points[:1])) != 1:
                raise ValueError('Points belong to one object: give one box with them, not several.')
        return Prompts(**fields)


def _checked_boxes(box, width: int, height: int) -> np.ndarray:
    boxes = np.asarray(box, np.float32)
    if boxes.ndim not in (1, 2) or boxes.shape[-1] != 4:
        raise ValueError(f'A box is (4,) or (N, 4) xyxy in pixels, got shape {boxes.shape}.')
    boxes = boxes.reshape(-1, 4)
    for row in boxes:
        x1, y1, x2, y2 = row.tolist()
        if not np.isfinite(row).all() or x2 <= x1 or y2 <= y1:
            raise ValueError(f'Box {row.tolist()} is empty, inverted or not finite: expected x1 < x2, y1 < y2.')
        if x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
            raise ValueError(f'Box {row.tolist()} is outside the image of {width}x{height} pixels.')
    return boxes.clip(0, (width, height, width, height)).astype(np.float32)


def _read_image(image, image_format: str) -> np.ndarray:
    """The image as `(H, W, 3)` uint8 in BGR."""
    if image_format not in ('RGB', 'BGR'):
        raise ValueError(f"image_format is 'RGB' or 'BGR', not {image_format!r}.")
    if isinstance(image, (str, Path)):
        if not Path(image).is_file():
            raise FileNotFoundError(f'There is no image file {image}.')
        bgr = mmcv.imread(str(image))
        if bgr is None:
            raise ValueError(f'{image} is no image that can be read: it is broken or of another kind.')
        return bgr
    if hasattr(image, 'convert'):  # PIL
        image, image_format = image.convert('RGB'), 'RGB'
    array = np.asarray(image)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or array.size == 0:
        raise ValueError(
            f'An image is (H, W, 3) uint8, got {array.shape} {array.dtype}. Convert it first.'
        )
    return array if image_format == 'BGR' else np.ascontiguousarray(array[..., ::-1])
