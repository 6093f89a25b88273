"""Predict masks and class names from prompts on an image that is encoded once."""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.registry import init_default_scope
from mmengine.runner import CheckpointLoader

from ..checkpoints import check_fit, safe_loading, state_dict_of
from ..devices import choose_device
from ..layers.mask_decoder import DecodedMasks
from ..models.backbones import TimmBackbone
from ..models.detectors import OVSAM
from ..models.detectors.instances import MASK_FORMATS
from ..models.heads import OpenVocabClassifier
from ..pixels import checked_range
from ..pretrained import checkpoint_file, find_pretrained, read_config
from ..prompts import Prompts
from ..prompts.gt_prompter import mask_logits
from ..validation import require_at_least, require_choice
from ..vocabulary import TextClassifier, Vocabulary
from ..vocabulary.text_classifier import check_width
from .everything import EverythingMode
from .find import FindMode
from .image_features import EncodedImage, ImageEncoder
from .image_input import read_image
from .name_encoder import NameEncoder
from .prediction import Prediction, PredictionWriter
from .prompt_input import check_prompt, check_prompts, stack_prompts
from .sam_interface import SamInterface

_LOCKS: WeakKeyDictionary[OVSAM, threading.RLock] = WeakKeyDictionary()
_LOCKS_LOCK = threading.Lock()


class OVSAMPredictor(EverythingMode, FindMode, SamInterface):
    """Predicts masks and class names for prompts on an image that is encoded once.

    A drop-in replacement for SAM's `SamPredictor`, `predict_torch` and `transform` included; see
    `mmovsam.apis.Prediction` for what the results have besides. Several predictors may share a
    model: each has its own images and vocabulary, and a lock serializes their use of the model, so
    that each may run in its own thread.

    Args:
        model: The OVSAM; its weights must not change.
        text_encoder: Arguments of `mmovsam.vocabulary.load_text_encoder`, for a `set_vocabulary` of
            names; None if only built classifiers will be set.
        cache_size: Number of encoded images that are cached, by content, besides those that are
            set; 0 for none. At full size each takes 106 MB. Forks of a predictor share the cache.
        everything: Defaults of `quality_thr`, `stability_thr` and `proposal_thr` in
            `segment_everything` for this model.
        value_range: The values that are black and white in images of more than 8 bits, such as
            `(0, 4095)`; by default percentiles of each image, see `mmovsam.pixels.to_color`.

    Attributes:
        model: As above.
        everything: As above.
        value_range: As above; may be changed, and applies to images set afterwards.

    Raises:
        TypeError: The model is not an OVSAM.
        ValueError: `cache_size` is negative, or `value_range` is not a range.
    """

    def __init__(
        self,
        model: OVSAM,
        text_encoder: Mapping | None = None,
        cache_size: int = 8,
        everything: Mapping | None = None,
        value_range: Sequence[float] | None = None,
    ) -> None:
        if not isinstance(model, OVSAM):
            raise TypeError(f'OVSAMPredictor needs an OVSAM, not a {type(model).__name__}.')
        self.model = model.eval()
        self.everything = dict(everything or {})
        self.value_range = checked_range(value_range)
        self._lock = _model_lock(model)
        self._encoder = ImageEncoder(model, cache_size)
        self._name_encoder = NameEncoder(text_encoder=text_encoder)
        self._classifier: OpenVocabClassifier | None = None
        self._images: list[EncodedImage] = []

    @classmethod
    def from_config(
        cls,
        config: str | Path,
        checkpoint: str | Path | None = None,
        device: str | torch.device | None = None,
        cache_size: int = 8,
    ) -> OVSAMPredictor:
        """Build a model from a config and load its weights.

        Args:
            config: A config file, the name of a config of the package, such as
                `mini/ovsam_mini_boxes.py`, or of a pretrained model, see `from_pretrained`.
            checkpoint: A file of weights, its URL (`https://`, `hf://`), or the name of a
                pretrained model; by default the config's `load_from`.
            device: As for `torch.device`; by default the GPU if there is one, else the CPU.
            cache_size: As for the class.

        Raises:
            ValueError: There are no weights, they do not fit the model, or the device is unknown.
            FileNotFoundError: Config or weights do not exist.
            DownloadError: Weights cannot be downloaded.
        """
        device = choose_device(device)
        cfg = read_config(config, weights=checkpoint is None)
        checkpoint = checkpoint_file(checkpoint) if checkpoint else cfg.get('load_from')
        if checkpoint is None:
            raise ValueError(f'{config} names no weights (load_from): give a checkpoint.')
        init_default_scope(cfg.get('default_scope') or 'mmdet')
        cfg.model.prompter = None
        model = MODELS.build(cfg.model)
        with safe_loading():
            content = CheckpointLoader.load_checkpoint(str(checkpoint), map_location='cpu')
        check_fit(model, content, strict=True)
        model.load_state_dict(state_dict_of(content), strict=False)
        if isinstance(model.backbone, TimmBackbone):
            model.eval().backbone.fold_batch_norms()
        everything = cfg.get('everything')
        return cls(model.to(device), cfg.get('text_encoder'), cache_size, everything)

    @classmethod
    def from_pretrained(
        cls, name: str, device: str | torch.device | None = None, cache_size: int = 8
    ) -> OVSAMPredictor:
        """Load a pretrained model by name.

        Weights that are not part of the package are downloaded and converted at first use, see
        `mmovsam.pretrained.fetch_model`.

        Args:
            name: One of `mmovsam.pretrained.MODELS`, such as `'ovsam-photo'`.
            device: As for `from_config`.
            cache_size: As for the class.

        Raises:
            ValueError: There is no such model or device.
            DownloadError: Weights cannot be downloaded.
        """
        return cls.from_config(find_pretrained(name).name, None, device, cache_size)

    def fork(self) -> OVSAMPredictor:
        """A predictor on the same model, with this vocabulary and without images.

        Later changes to the vocabulary or images of either do not affect the other.
        """
        predictor = copy.copy(self)
        predictor.reset_image()
        return predictor

    @property
    def device(self) -> torch.device:
        """The model's device."""
        return self._encoder.device

    @property
    def classifier(self) -> OpenVocabClassifier | None:
        """The classifier of `set_vocabulary`, by default the model's; None if it only segments."""
        return (self._classifier or self.model.classifier) if self.model.recognizes else None

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The current class names; their indices if the classifier has none."""
        with self._lock:  # the model may read its vocabulary's file now
            return _class_names(self.classifier)

    def set_vocabulary(self, names: Sequence[str] | Vocabulary | TextClassifier) -> None:
        """Replace the class names of this predictor; images that are set stay encoded.

        Args:
            names: Class names, a vocabulary, or a text classifier.

        Raises:
            TypeError: `names` is a single string, or has elements that are not strings.
            ValueError: There are no names, a name occurs twice, there is no text encoder, the
                classifier is of another CLIP model, or the model only segments.
        """
        self._require_names()
        names = self._name_encoder.encode(names)  # without the lock: predictions go on meanwhile
        check_width(names.embeddings.shape[-1], self.model.head.embed_dim)
        self._classifier = self.model.classifier.with_vocabulary(names)

    def _require_names(self) -> None:
        if not self.model.recognizes:
            raise ValueError('This model segments only: it was built without a classifier.')

    # Images

    def set_image(self, image, image_format: str = 'RGB') -> None:
        """Encode an image for later prompts.

        Args:
            image: An array, a PIL image, or a file; see `read_image`.
            image_format: `'RGB'` or `'BGR'`, the channel order of an array.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: The file is truncated or not an image.
        """
        self.set_image_batch([image], image_format)

    def set_image_batch(self, images: Sequence, image_format: str = 'RGB') -> None:
        """Encode a batch of images of any sizes.

        Args:
            images: As for `set_image`; other methods select one by `image_index`, from 0.
            image_format: Channel order of all arrays.

        Raises:
            FileNotFoundError: As for `set_image`; then no image is set.
            ValueError: Likewise, or the list is empty.
        """
        self.reset_image()
        if not isinstance(images, (list, tuple)) or not images:
            raise ValueError(f'set_image_batch takes a list of images, got {images!r:.100}.')
        arrays = [read_image(image, image_format, self.value_range) for image in images]
        with self._lock:
            self._images = self._encoder.encode(arrays)

    def reset_image(self) -> None:
        """Drop the current images."""
        self._images = []

    @property
    def nbytes(self) -> int:
        """Bytes of memory of this predictor's images and vocabulary, without the model."""
        buffers = self._classifier.buffers() if self._classifier is not None else ()
        return sum(tensor.nbytes for tensor in buffers) + sum(i.nbytes for i in self._images)

    @property
    def is_image_set(self) -> bool:
        """Whether an image has been set."""
        return bool(self._images)

    def save_features(self, path: str | PathLike) -> None:
        """Write the image features of the current images to a `.safetensors` file, atomically.

        Raises:
            RuntimeError: No image is set.
            ValueError: The file name has another suffix.
        """
        self._encoded(0)
        if Path(path).suffix != '.safetensors':
            raise ValueError(f'Features go into a .safetensors file, not {path}.')
        with self._lock:
            self._encoder.save(self._images, path)

    def load_features(self, path: str | PathLike) -> None:
        """Set images from a file of `save_features`, without encoding; after an error none is set.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: The file is damaged, of another format, or of another model.
        """
        self.reset_image()
        with self._lock:
            self._images = self._encoder.load(path)

    def _encoded(self, image_index: int) -> EncodedImage:
        if not self._images:
            raise RuntimeError(
                'No image is set: call set_image(image) first (or set_image_batch, load_features).'
            )
        if not 0 <= image_index < len(self._images):
            raise ValueError(
                f'image_index is {image_index!r}, but images 0 to {len(self._images) - 1} are set.'
            )
        return self._images[image_index]

    # Prompts

    def predict(
        self,
        point_coords: np.ndarray | None = None,
        point_labels: np.ndarray | None = None,
        box: np.ndarray | None = None,
        mask_input: np.ndarray | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        *,
        top_k: int = 5,
        image_index: int = 0,
    ) -> Prediction:
        """Predict masks and names of one object from points, a box, a mask, or a combination.

        Args:
            point_coords: `(P, 2)` xy in pixels of the image.
            point_labels: `(P,)`, 1 foreground, 0 background.
            box: `(4,)` xyxy in pixels of the image; clipped to it.
            mask_input: `(1, h, w)` logits of a previous prediction, `low_res_logits[i][None]`.
            multimask_output: Whether to return three masks for an ambiguous prompt (a shirt, or the
                person who wears it). Decoders with a single mask, such as OVSAM's released one,
                always return one.
            return_logits: Whether `masks` are float logits instead of bool.
            top_k: Number of names of each mask, at most.
            image_index: Which of the images of `set_image_batch`.

        Returns:
            N masks with names, N = 3 or 1.

        Raises:
            RuntimeError: No image has been set.
            ValueError: There is no prompt, or it is outside of the image, empty, inverted, not
                finite, or has another shape.
        """
        prompt = dict(
            point_coords=point_coords, point_labels=point_labels, box=box, mask_input=mask_input
        )
        encoded = self._encoded(image_index)
        prompt = check_prompt(prompt, encoded.ori_shape, self.model.logit_size)
        prompts = stack_prompts([prompt], self.model.logit_size)
        mask_format = 'logits' if return_logits else 'tensor'
        return self._predict(encoded, prompts, multimask_output, top_k, mask_format)

    def mask_input(self, mask: np.ndarray, image_index: int = 0) -> np.ndarray:
        """Convert a binary mask of the image to a `mask_input`.

        Args:
            mask: `(H, W)` bool at the size of the image.
            image_index: As for `predict`.

        Returns:
            `(1, h, w)` float32 logits.

        Raises:
            RuntimeError: No image has been set.
            ValueError: The mask has another shape, or is empty.
        """
        encoded = self._encoded(image_index)
        mask = np.asarray(mask, bool)
        if mask.shape != encoded.ori_shape or not mask.any():
            raise ValueError(
                f'A mask is (H, W), here {encoded.ori_shape}, and not empty; got {mask.shape} with '
                f'{mask.sum()} pixels.'
            )
        logits = mask_logits(mask, encoded.img_shape, (self.model.input_size,) * 2)[None]
        size = (self.model.logit_size,) * 2
        if logits.shape[1:] != size:
            logits = F.interpolate(logits[None], size, mode='bilinear', antialias=True)[0]
        return logits.numpy()

    def predict_batch(
        self,
        prompts: Prompts | Sequence[Mapping],
        *,
        top_k: int = 5,
        mask_format: str = 'tensor',
        image_index: int = 0,
        multimask_output: bool = False,
        keep_logits: bool = True,
        keep_regions: bool = False,
    ) -> Prediction:
        """Predict masks and names of many objects of an image, independently of each other.

        At most `chunk_size` prompts, of the model's `test_cfg`, are decoded at once.

        Args:
            prompts: One for each object, in pixels of the image: `Prompts`, or dicts with the
                `point_coords`, `point_labels`, `box` and `mask_input` of `predict`, in any mix.
            top_k: Number of names of each mask, at most.
            mask_format: `'tensor'`, or `'rle'` for many masks of large images.
            image_index: As for `predict`.
            multimask_output: As for `predict`.
            keep_logits: Whether the result has `low_res_logits`; 1,000 at full size take 260 MB.
            keep_regions: Whether the result has `regions`, to classify the masks with another
                vocabulary later.

        Returns:
            A mask for each prompt, in order; with `multimask_output` all masks of the first prompt,
            then those of the second, and so on.

        Raises:
            RuntimeError: No image has been set.
            TypeError: The prompts are of another type.
            ValueError: As for `predict`; the message says which prompt.
        """
        require_choice(MASK_FORMATS, mask_format=mask_format)
        encoded = self._encoded(image_index)
        prompts = check_prompts(prompts, encoded.ori_shape, self.model.logit_size)
        return self._predict(
            encoded, prompts, multimask_output, top_k, mask_format, keep_logits, keep_regions
        )

    @torch.no_grad()
    def _predict(
        self,
        encoded: EncodedImage,
        prompts: Prompts,
        multimask_output: bool,
        top_k: int,
        mask_format: str,
        keep_logits: bool = True,
        keep_regions: bool = False,
        decoded: DecodedMasks | None = None,
    ) -> Prediction:
        """Predict checked prompts chunk by chunk; `decoded` are their masks if known already."""
        require_at_least(1, top_k=top_k)
        masks_per_prompt = self.model.masks_per_prompt if multimask_output else 1
        with self._lock:
            classifier = self.classifier
            if classifier is not None:
                classifier.to(self.device)
            writer = PredictionWriter(
                masks_per_prompt * len(prompts),
                encoded.metainfo,
                self.model.input_size,
                self.model.logit_size if keep_logits else 0,
                _class_names(classifier),
                top_k,
                mask_format,
                keep_regions,
            )
            step = self.model.chunk_size
            for start in range(0, max(len(prompts), 1), step):
                rows = slice(start, start + step)
                outputs = self.model.recognize(
                    encoded.features,
                    prompts[rows].scaled(encoded.scale_factor),
                    multimask_output=multimask_output,
                    classifier=classifier,
                    decoded=decoded and DecodedMasks(decoded[0][rows], decoded[1][rows], None),
                )
                probabilities = None
                if classifier is not None:
                    probabilities = classifier.probabilities(outputs.fused_logits)
                writer.add(outputs, probabilities)
        return writer.prediction()


def _model_lock(model: OVSAM) -> threading.RLock:
    """The lock that all predictors of a model share."""
    with _LOCKS_LOCK:
        return _LOCKS.setdefault(model, threading.RLock())


def _class_names(classifier: OpenVocabClassifier | None) -> tuple[str, ...]:
    if classifier is None or not classifier.has_vocabulary:
        return ()
    return classifier.class_names or tuple(map(str, range(classifier.num_classes)))
