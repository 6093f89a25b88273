"""Set an image once, prompt it many times."""

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
from torch import Tensor

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
from .prompt_input import as_prompts, checked_prompt, checked_prompts
from .sam_interface import SamInterface

_LOCKS: WeakKeyDictionary[OVSAM, threading.RLock] = WeakKeyDictionary()
_LOCKS_LOCK = threading.Lock()


def _lock_of(model: OVSAM) -> threading.RLock:
    with _LOCKS_LOCK:
        return _LOCKS.setdefault(model, threading.RLock())


def _class_names(classifier: OpenVocabClassifier | None) -> tuple[str, ...]:
    if classifier is None or not classifier.has_vocabulary:
        return ()
    return classifier.class_names or tuple(map(str, range(classifier.num_classes)))


class OVSAMPredictor(EverythingMode, FindMode, SamInterface):
    """Segment and name what is prompted in one image after another.

    Takes the place of SAM's `SamPredictor`, with `predict_torch`, `transform` and the rest of it;
    `mmovsam.apis.Prediction` says what it adds. Several predictors may share a model: each has its
    own images and its own vocabulary, and a lock has them use the model one at a time, so that each
    may live in a thread of its own.

    Args:
        model: An OVSAM; its weights are taken to stay as they are.
        text_encoder: Arguments of `mmovsam.vocabulary.load_text_encoder` for names that
            `set_vocabulary` is given as text; None if only built classifiers will be set.
        cache_size: How many encoded images are remembered beside those that are set, so that
            setting one of them again costs nothing; 0 for none. In full size one takes 106 MB. The
            forks of a predictor remember them together: only who has an image finds it there.
        everything: Thresholds that suit this model in `segment_everything`, `quality_thr` and
            `stability_thr`, where a call gives none.
        value_range: The values that are black and white in images of more than 8 bits, such as
            `(0, 4095)`; by default percentiles of each image, see `mmovsam.pixels.to_color`.

    Attributes:
        model: The OVSAM.
        everything: As given.
        value_range: Of the images that are set next; it may be changed.

    Raises:
        TypeError: The model is something else.
        ValueError: `cache_size` is negative, or `value_range` is none.
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
        self._lock = _lock_of(model)
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
        """Build the model of a config and load its weights.

        Args:
            config: A config file, the name of one of the package's, such as
                `mini/ovsam_mini_boxes.py`, or that of a pretrained model, see `from_pretrained`.
            checkpoint: File of weights, their address (`https://`, `hf://`), or the name of a
                pretrained model; without it the config's `load_from`.
            device: As for `torch.device`; by default the GPU if there is one, else the CPU.
            cache_size: As for the class.

        Raises:
            ValueError: Neither names weights, they are not of this model, or there is no such
                device.
            FileNotFoundError: Config or weights are not there.
            DownloadError: Weights cannot be fetched.
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
        """A model with its weights, by its name.

        What is not in the package is fetched and converted at first use, and kept: see
        `mmovsam.pretrained.fetch_model`.

        Args:
            name: One of `mmovsam.pretrained.MODELS`, such as `'ovsam-photo'`.
            device: As for `from_config`.
            cache_size: As for the class.

        Raises:
            ValueError: There is no such model or device.
            DownloadError: Its weights cannot be fetched.
        """
        return cls.from_config(find_pretrained(name).name, None, device, cache_size)

    def fork(self) -> OVSAMPredictor:
        """A predictor on the same model and text tower, for somebody else.

        It starts with this one's vocabulary and without an image; each changes its own from then
        on.
        """
        other = copy.copy(self)
        other.reset_image()
        return other

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self._encoder.device

    @property
    def classifier(self) -> OpenVocabClassifier | None:
        """What names the masks: this predictor's own or the model's; None without names."""
        return (self._classifier or self.model.classifier) if self.model.recognizes else None

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The names now in force; their numbers where the classifier came without names."""
        with self._lock:  # the model may read its vocabulary's file now
            return _class_names(self.classifier)

    def set_vocabulary(self, names: Sequence[str] | Vocabulary | TextClassifier) -> None:
        """Change what things may be called; the images that are set stay encoded.

        Until then names are the model's. Only this predictor changes.

        Args:
            names: Class names, a vocabulary, or a text classifier.

        Raises:
            TypeError: The names are a single string, or are no strings.
            ValueError: No names, a name twice, no text encoder to read them with, a classifier of
                another CLIP model, or a model that segments only.
        """
        if not self.model.recognizes:
            raise ValueError('This model segments only: it was built without a classifier.')
        names = self._name_encoder.encode(names)  # nobody's click waits for it
        check_width(names.embeddings.shape[-1], self.model.head.embed_dim)
        self._classifier = self.model.classifier.with_vocabulary(names)

    # Images

    def set_image(self, image, image_format: str = 'RGB') -> None:
        """Encode an image; every later prompt is decoded from the result.

        Args:
            image: An array, a PIL image, or a file; see `read_image`.
            image_format: `'RGB'` or `'BGR'`, the channel order of an array.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is truncated or no image.
        """
        self.set_image_batch([image], image_format)

    def set_image_batch(self, images: Sequence, image_format: str = 'RGB') -> None:
        """Encode several images at once, each of its own size.

        Args:
            images: As for `set_image`; `image_index` of later calls counts them from 0.
            image_format: Of all arrays.

        Raises:
            FileNotFoundError: As for `set_image`; then no image is set.
            ValueError: Likewise, or there are none.
        """
        self.reset_image()
        if not isinstance(images, (list, tuple)) or not images:
            raise ValueError(f'set_image_batch takes a list of images, got {images!r:.100}.')
        arrays = [read_image(image, image_format, self.value_range) for image in images]
        with self._lock:
            self._images = self._encoder.encode(arrays)

    def reset_image(self) -> None:
        """Forget the images that are set."""
        self._images = []

    @property
    def nbytes(self) -> int:
        """Bytes of memory that this predictor takes beside the model: its images and its names."""
        own = self._classifier.buffers() if self._classifier is not None else ()
        names = sum(tensor.numel() * tensor.element_size() for tensor in own)
        return names + sum(image.nbytes for image in self._images)

    @property
    def is_image_set(self) -> bool:
        """Whether there is an image to prompt."""
        return bool(self._images)

    def save_features(self, path: str | PathLike) -> None:
        """Write what the encoder made of the images that are set, to a whole `.safetensors` file.

        Raises:
            RuntimeError: No image is set.
            ValueError: The file's name ends otherwise.
        """
        self._encoded(0)
        if Path(path).suffix != '.safetensors':
            raise ValueError(f'Features go into a .safetensors file, not {path}.')
        with self._lock:
            self._encoder.save(self._images, path)

    def load_features(self, path: str | PathLike) -> None:
        """Set the images of a file that `save_features` wrote, without the images themselves.

        Raises:
            FileNotFoundError: There is no such file; as with other errors no image is set then.
            ValueError: It is damaged, no such file, or of another model.
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
        """Segment and name one object, prompted in any combination of ways.

        Args:
            point_coords: `(P, 2)` xy in pixels of the image.
            point_labels: `(P,)`, 1 foreground, 0 background.
            box: `(4,)` xyxy in pixels of the image. What lies outside is cut off.
            mask_input: `(1, h, w)` logits of an earlier prediction, to refine it:
                `low_res_logits[i][None]`.
            multimask_output: Whether to give the decoder's three extra masks, for prompts that may
                mean several things (a shirt, or who wears it). OVSAM's released decoder, and any
                other with one mask, gives that one in either case.
            return_logits: Whether `masks` are float logits instead of bool.
            top_k: How many names each mask gets, at most.
            image_index: Of the images that are set.

        Returns:
            The N masks with their names, N = 3 or 1.

        Raises:
            RuntimeError: No image has been set.
            ValueError: No prompt, or one that lies outside the image, is empty, inverted or not
                finite, or of another shape.
        """
        prompt = dict(
            point_coords=point_coords, point_labels=point_labels, box=box, mask_input=mask_input
        )
        mask_format = 'logits' if return_logits else 'tensor'
        encoded = self._encoded(image_index)
        checked = checked_prompt(prompt, encoded.ori_shape, self.model.logit_size)
        prompts = as_prompts([checked], self.model.logit_size)
        return self._predict(encoded, prompts, multimask_output, top_k, mask_format, True)

    def mask_input(self, mask: np.ndarray, image_index: int = 0) -> np.ndarray:
        """A mask of the image as `mask_input`, to prompt with what is known already.

        Args:
            mask: `(H, W)` bool at the size of the image that is set.
            image_index: Of the images that are set.

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
        """Segment and name many objects of one image, some after the others.

        At most `chunk_size` of the model's `test_cfg` are decoded at once. Each gets what it
        would get alone.

        Args:
            prompts: One for each object, in pixels of the image: `Prompts`, or dicts with
                `point_coords`, `point_labels`, `box` and `mask_input` as `predict` takes them, in
                any mix.
            top_k: How many names each mask gets, at most.
            mask_format: `'tensor'`, or `'rle'` for many masks of large images.
            image_index: Of the images that are set.
            multimask_output: As for `predict`.
            keep_logits: Whether the result has `low_res_logits`; in full size 1,000 of them take
                260 MB.
            keep_regions: Whether the result has `regions`, by which masks are named in other
                vocabularies later.

        Returns:
            A mask for each prompt in their order; with `multimask_output` those of one prompt
            after those of another.

        Raises:
            RuntimeError: No image has been set.
            TypeError: The prompts are something else.
            ValueError: As for `predict`; the message says which prompt.
        """
        require_choice(MASK_FORMATS, mask_format=mask_format)
        encoded = self._encoded(image_index)
        prompts = checked_prompts(prompts, encoded.ori_shape, self.model.logit_size)
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
        keep_logits: bool,
        keep_regions: bool = False,
        decoded: tuple[Tensor, Tensor] | None = None,
    ) -> Prediction:
        require_at_least(1, top_k=top_k)
        per_prompt = self.model.masks_per_prompt if multimask_output else 1
        with self._lock:
            classifier = self.classifier
            if classifier is not None:
                classifier.to(self.device)
            writer = PredictionWriter(
                per_prompt * len(prompts),
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
                chunk = prompts[rows]
                known = decoded and DecodedMasks(*(part[rows] for part in decoded), None)
                outputs = self.model.recognize(
                    encoded.features,
                    chunk.scaled(encoded.scale_factor),
                    multimask_output=multimask_output,
                    classifier=classifier,
                    decoded=known,
                )
                probabilities = None
                if classifier is not None:
                    probabilities = classifier.probabilities(outputs.fused_logits)
                writer.add(outputs, probabilities)
        return writer.prediction()
