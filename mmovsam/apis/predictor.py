"""Set an image once, prompt it many times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import mmcv
import numpy as np
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import CheckpointLoader

from ..checkpoints import check_fit, state_dict_of
from ..datasets.images import whole_image_size
from ..datasets.transforms import ResizeLongestSide
from ..fileio import find_config
from ..models.detectors import OVSAM
from ..models.detectors.instances import masks_to_bboxes
from ..prompts import Prompts
from ..vocabulary import TextClassifier, Vocabulary, load_text_encoder


@dataclass(frozen=True, eq=False)
class Prediction:
    """Masks with names; unpacks to `masks, scores, low_res_logits` as SAM's predictor returns them.

    Attributes:
        masks: `(N, H, W)` bool, at the size of the image that was set.
        scores: `(N,)` float32, probability of each mask's best name (1 without names).
        low_res_logits: `(N, h, w)` float32, over the padded network input.
        bboxes: `(N, 4)` float32 xyxy in pixels of that image, the bounding boxes of the masks;
            zeros for an empty mask.
        names: For each mask its `top_k` best names, best first; none where the model has none.
        name_scores: `(N, top_k)` float32, their probabilities.
    """

    masks: np.ndarray
    scores: np.ndarray
    low_res_logits: np.ndarray
    bboxes: np.ndarray
    names: list[list[str]]
    name_scores: np.ndarray

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter((self.masks, self.scores, self.low_res_logits))


class OVSAMPredictor:
    """Segment and name what is prompted in one image after another.

    Args:
        model: An OVSAM.
        text_encoder: Arguments of `mmovsam.vocabulary.load_text_encoder` for names that
            `set_vocabulary` is given as text; None if only built classifiers will be set.

    Raises:
        TypeError: The model is something else.
    """

    def __init__(self, model: OVSAM, text_encoder: dict | None = None) -> None:
        if not isinstance(model, OVSAM):
            raise TypeError(f'OVSAMPredictor needs an OVSAM, not a {type(model).__name__}.')
        self.model = model.eval()
        self._resize = ResizeLongestSide(model.input_size)
        self._text_encoder_args = text_encoder
        self._text_encoder = None
        self._features = None
        self._metainfo: dict = {}

    @classmethod
    def from_config(
        cls, config: str | Path, checkpoint: str | Path | None = None, device: str = 'cpu'
    ) -> OVSAMPredictor:
        """Build the model of a config and load its weights.

        Args:
            config: A config file, or the name of one of the package's, such as
                `mini/ovsam_mini_boxes.py`.
            checkpoint: File of weights; without it the config's `load_from`.
            device: As for `torch.device`.

        Raises:
            ValueError: Neither names weights, or they are not of this model.
            FileNotFoundError: Config or weights are not there.
        """
        cfg = Config.fromfile(find_config(config))
        checkpoint = checkpoint or cfg.get('load_from')
        if checkpoint is None:
            raise ValueError(f'{config} names no weights (load_from): give a checkpoint.')
        init_default_scope(cfg.get('default_scope') or 'mmdet')
        cfg.model.prompter = None
        model = MODELS.build(cfg.model)
        content = CheckpointLoader.load_checkpoint(str(checkpoint), map_location='cpu')
        check_fit(model, content, whole=True)
        model.load_state_dict(state_dict_of(content), strict=False)
        return cls(model.to(device), cfg.get('text_encoder'))

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def set_vocabulary(self, names: Sequence[str] | Vocabulary | TextClassifier) -> None:
        """Change what things may be called; the image that is set stays encoded.

        Args:
            names: Class names, a vocabulary, or a text classifier.

        Raises:
            TypeError: The names are a single string, or are no strings.
            ValueError: No names, a name twice, or no text encoder to read them with.
        """
        if not isinstance(names, TextClassifier):
            vocabulary = names if isinstance(names, Vocabulary) else Vocabulary(names)
            if self._text_encoder is None:
                if self._text_encoder_args is None:
                    raise ValueError(
                        'Names need the text tower of the model: give OVSAMPredictor a '
                        'text_encoder, or put one into the config, or set a TextClassifier.'
                    )
                self._text_encoder = load_text_encoder(**self._text_encoder_args)
            names = vocabulary.build_classifier(*self._text_encoder)
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
            ValueError: It is truncated, or no image of three channels of 8 bits.
        """
        self.reset_image()
        results = dict(img=_read_image(image, image_format))
        ori_shape = results['img'].shape[:2]
        results = self._resize(results)
        inputs = torch.from_numpy(np.ascontiguousarray(results['img'].transpose(2, 0, 1)))
        data = self.model.data_preprocessor(dict(inputs=[inputs], data_samples=None))
        self._features = self.model.extract_feat(data['inputs'])
        self._metainfo = dict(
            ori_shape=ori_shape,
            img_shape=results['img_shape'],
            scale_factor=results['scale_factor'],
        )

    @torch.no_grad()
    def predict(
        self,
        point_coords: np.ndarray | None = None,
        point_labels: np.ndarray | None = None,
        box: np.ndarray | None = None,
        *,
        top_k: int = 5,
    ) -> Prediction:
        """Segment and name what a prompt means.

        Args:
            point_coords: `(P, 2)` xy in pixels of the image, all for one object.
            point_labels: `(P,)`, 1 foreground, 0 background.
            box: `(4,)` xyxy in pixels of the image, together with points or alone, or `(N, 4)`
                for N objects. What lies outside the image is cut off.
            top_k: How many names each mask gets, at most.

        Returns:
            The N masks with their names, N = 1 but for `(N, 4)` boxes.

        Raises:
            RuntimeError: No image has been set.
            ValueError: No prompt, or one that lies outside the image, is empty, inverted or not
                finite, or of another shape.
        """
        if self._features is None:
            raise RuntimeError('No image is set: call set_image(image) before predict.')
        if top_k < 1:
            raise ValueError(f'top_k must be at least 1, not {top_k}.')
        prompts = self._prompts(point_coords, point_labels, box).to(self.device)
        instances = self.model.predict_prompts(
            self._features, prompts, self._metainfo, top_k=top_k, keep_logits=True
        )
        names: list[list[str]] = [[] for _ in range(len(prompts))]
        name_scores = np.zeros((len(prompts), 0), np.float32)
        if self.model.recognizes:
            known = self.model.classifier.names
            labels = instances.topk_labels.tolist()
            names = [[known[i] if known else str(i) for i in row] for row in labels]
            name_scores = instances.topk_scores.float().cpu().numpy()
        return Prediction(
            masks=instances.masks.cpu().numpy(),
            scores=instances.scores.float().cpu().numpy(),
            low_res_logits=instances.low_res_logits.cpu().numpy(),
            bboxes=masks_to_bboxes(instances.masks).float().cpu().numpy(),
            names=names,
            name_scores=name_scores,
        )

    def _prompts(self, point_coords, point_labels, box) -> Prompts:
        height, width = self._metainfo['ori_shape']
        fields = {}
        if point_coords is None and point_labels is not None:
            raise ValueError('point_labels need point_coords, (P, 2) xy in pixels.')
        if point_coords is None and box is None:
            raise ValueError('predict needs point_coords with point_labels, or a box.')
        if box is not None:
            fields['bboxes'] = _checked_boxes(box, width, height)
        if point_coords is not None:
            points, labels = _checked_points(point_coords, point_labels, width, height)
            fields['point_coords'], fields['point_labels'] = points[None], labels[None]
            if len(fields.get('bboxes', points[:1])) != 1:
                raise ValueError(
                    'Points belong to one object: give one box with them, not several.'
                )
        return Prompts(**fields)


def _checked_points(coords, labels, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Points `(P, 2)` and labels `(P,)` of one object."""
    if labels is None:
        raise ValueError('point_coords need point_labels: 1 foreground, 0 background.')
    points, labels = np.asarray(coords, np.float32), np.asarray(labels)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        raise ValueError(f'point_coords are (P, 2) xy in pixels, got shape {points.shape}.')
    if labels.shape != points.shape[:1]:
        raise ValueError(
            f'point_labels are one for each of {len(points)} points, got shape {labels.shape}.'
        )
    if not np.isin(labels, (0, 1)).all():
        raise ValueError(
            f'point_labels are 1 (foreground) or 0 (background), got {labels.tolist()}.'
        )
    inside = (points >= 0).all(1) & (points <= (width, height)).all(1)
    if not inside.all():
        raise ValueError(
            f'Point {points[~inside][0].tolist()} is not inside the image of '
            f'{width}x{height} pixels.'
        )
    return points, labels.astype(np.int64)


def _checked_boxes(box, width: int, height: int) -> np.ndarray:
    """Boxes `(N, 4)`, cut off at the image's edge."""
    boxes = np.asarray(box, np.float32)
    if boxes.ndim not in (1, 2) or boxes.shape[-1] != 4:
        raise ValueError(f'A box is (4,) or (N, 4) xyxy in pixels, got shape {boxes.shape}.')
    boxes = boxes.reshape(-1, 4)
    proper = np.isfinite(boxes).all(1) & (boxes[:, 2:] > boxes[:, :2]).all(1)
    if not proper.all():
        raise ValueError(
            f'Box {boxes[~proper][0].tolist()} is empty, inverted or not finite: expected '
            'x1 < x2 and y1 < y2.'
        )
    inside = (boxes[:, 2:] > 0).all(1) & (boxes[:, :2] < (width, height)).all(1)
    if not inside.all():
        raise ValueError(
            f'Box {boxes[~inside][0].tolist()} is outside the image of {width}x{height} pixels.'
        )
    return boxes.clip(0, (width, height, width, height)).astype(np.float32)


def _read_image(image, image_format: str) -> np.ndarray:
    """The image as `(H, W, 3)` uint8 in BGR."""
    if image_format not in ('RGB', 'BGR'):
        raise ValueError(f"image_format is 'RGB' or 'BGR', not {image_format!r}.")
    if isinstance(image, (str, Path)):
        return _read_file(Path(image))
    if hasattr(image, 'convert'):  # PIL
        image, image_format = image.convert('RGB'), 'RGB'
    array = np.asarray(image)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or array.size == 0:
        raise ValueError(
            f'An image is (H, W, 3) uint8, got {array.shape} {array.dtype}. Convert it first.'
        )
    return array if image_format == 'BGR' else np.ascontiguousarray(array[..., ::-1])


def _read_file(path: Path) -> np.ndarray:
    if not path.is_file():
        raise FileNotFoundError(
            f'There is no image file {path}. The working folder is {Path.cwd()}.'
        )
    data = path.read_bytes()
    # OpenCV would fill the missing part of a truncated image with gray.
    image = mmcv.imfrombytes(data) if whole_image_size(data) else None
    if image is None:
        raise ValueError(
            f'{path} is truncated or no image ({len(data)} bytes). Get it again, or convert it '
            'to JPEG or PNG.'
        )
    return image
