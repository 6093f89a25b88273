"""Batch inference from files, folders, URLs or arrays to masks with names, pictures and JSON."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import cv2
import numpy as np
import torch
from mmdet.apis import DetInferencer
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ..checkpoints import (
    check_fit,
    load_initial_weights,
    names_all_weights,
    safe_loading,
    state_dict_of,
)
from ..fileio import mark_results, write_atomic
from ..fonts import use_fonts
from ..logs import warn
from ..models.detectors.instances import drawable
from ..models.detectors.prompted_detector import PromptedDetector
from ..pretrained import checkpoint_file, read_config
from ..prompts import GTPrompter, Prompts
from ..prompts.detectors import inference_pipeline
from ..validation import require_at_least
from ..vocabulary import TextClassifier, Vocabulary
from .auto_labeling.overlay import as_text
from .image_input import read_image
from .inference_results import run_lengths
from .input_list import FileNames, list_inputs, local_file
from .name_encoder import NameEncoder
from .prompt_input import check_prompts, prompted


@dataclass
class _Input:
    """An input of a batch."""

    name: str  # for messages: the file or URL, or a number
    is_file: bool  # or a URL
    stem: str  # of its result files
    image: np.ndarray | None = None  # (H, W, 3) uint8 BGR
    packed: dict | None = None  # the pipeline's result
    prompts: Prompts | None = None
    error: Exception | None = None  # why it cannot be read


class OVSAMInferencer(DetInferencer):
    """Segments and names prompted objects in many images; OVSAM's `DetInferencer`.

    Predictions are those of `model.test_step`. Prompts come from the config's prompter (a detector,
    a grid, a file), or are passed to the call.

    Args:
        model: A config, its file, the name of a config of the package, such as
            `'mini/ovsam_mini_rtmdet.py'`, or of a pretrained model, such as `'ovsam-lvis-rn50x16'`.
        weights: A file of weights, its URL, or the name of a pretrained model; by default the
            config's `load_from`.
        device: As for `torch.device`; by default the best available.
        scope: Scope of MMEngine's registries.
        palette: Colors of the classes in pictures, as for `DetInferencer`; by default random.
        show_progress: Whether to show a progress bar.
        prompter: Config of a prompter that replaces the config's, such as
            `dict(type='GridPrompter')`.
        detector: Or a detector, see `DetectorPrompter`, whose boxes with a score of 0.3 or more are
            the prompts.
        value_range: The values that are black and white in images of more than 8 bits, such as
            `(0, 4095)`; by default percentiles of each image, see `mmovsam.pixels.to_color`.
        font: Font of names in pictures, an installed family or a file; by default the system's
            fonts that have the letters.

    Raises:
        FileNotFoundError: Config or weights do not exist.
        TypeError: The model takes no prompts.
        ValueError: There are no weights, they do not fit the model, or both a prompter and a
            detector are given.
        DownloadError: Weights cannot be downloaded.
    """

    preprocess_kwargs = {'prompts'}

    def __init__(
        self,
        model: str | PathLike | Config | Mapping,
        weights: str | PathLike | None = None,
        device: str | None = None,
        scope: str = 'mmdet',
        palette: str = 'none',
        show_progress: bool = True,
        prompter: Mapping | None = None,
        detector: str | PathLike | Mapping | None = None,
        value_range: Sequence[float] | None = None,
        font: str | PathLike | None = None,
    ) -> None:
        self.value_range = value_range
        self.font = font
        if isinstance(model, (str, PathLike)):
            model = read_config(model, weights=weights is None)
        cfg = ConfigDict(model.to_dict() if isinstance(model, Config) else copy.deepcopy(model))
        if 'model' not in cfg:
            raise ValueError(f'The config has no model, only {sorted(cfg)}.')
        if detector is not None:
            if prompter is not None:
                raise ValueError('Give a detector or a prompter, not both.')
            prompter = dict(type='DetectorPrompter', detector=detector, score_thr=0.3)
        if prompter is not None:
            cfg.model.prompter = prompter
        weights = checkpoint_file(weights) if weights else cfg.get('load_from')
        if weights is None and not names_all_weights(cfg.model):
            raise ValueError('The config names no weights (load_from): give weights=...')
        cfg.setdefault('visualizer', dict(type='DetLocalVisualizer'))
        cfg.visualizer.vis_backends = None  # this class alone saves pictures
        with safe_loading():
            super().__init__(cfg, weights and str(weights), device, scope, palette, show_progress)
        if not isinstance(self.model, PromptedDetector):
            raise TypeError(
                f'OVSAMInferencer needs an OVSAM, not a {type(self.model).__name__}: '
                "mmdet.apis.DetInferencer takes MMDetection's own."
            )
        self._name_encoder = NameEncoder(text_encoder=cfg.get('text_encoder'))

    def set_vocabulary(self, names: Sequence[str] | Vocabulary | TextClassifier) -> None:
        """Replace the class names, see `OVSAMPredictor.set_vocabulary`."""
        self.model.set_vocabulary(self._name_encoder.encode(names))

    def __call__(
        self,
        inputs,
        batch_size: int = 1,
        *,
        out_dir: str | PathLike = '',
        prompts: Prompts | Mapping | Sequence | None = None,
        **kwargs,
    ) -> dict:
        """Segment and name prompted objects in images.

        An input that cannot be read is reported in a warning, and gets a result without instances
        that has the reason as `error`; if none can be read, the first reason is raised.

        Args:
            inputs: One of these, or a list of them: a file; a folder, with its subfolders; a glob
                such as `'photos/**/*.jpg'`; a URL (`http://`, `https://`, `file://`, or another
                that MMEngine reads); an array `(H, W, 3)` uint8 BGR, as of `mmcv.imread`; a PIL
                image.
            batch_size: Number of images that the model gets at once.
            out_dir: Folder for pictures, `vis/NAME.jpg` (`.png` for PNG files), and, with
                `no_save_pred=False`, a JSON for each image, `preds/NAME.json`. NAME is the file's
                name, with a number if it occurs twice, or an array's index.
            prompts: Prompts in pixels of each image, in place of the prompter: `Prompts`, or a dict
                as for `OVSAMPredictor.predict`, for all images; or a list that has one of these or
                a list of dicts for each image.
            kwargs: As for `DetInferencer`: `return_vis`, `show`, `wait_time`, `no_save_vis`,
                `draw_pred`, `pred_score_thr`, `return_datasamples`, `print_result`, `no_save_pred`.

        Returns:
            `predictions`, a dict for each image, ready for JSON, with `labels`, `names`, `scores`,
            `bboxes` (xyxy in pixels), `masks` (COCO's run-length encoding); `topk_labels`,
            `topk_names` and `topk_scores` if the model has a vocabulary; `img_path` for files;
            `error` if the image cannot be read. And, if requested, `visualization`, pictures
            `(H, W, 3)` uint8 RGB, or None for an image that cannot be read.

        Raises:
            FileNotFoundError: A file or folder does not exist, or a glob matches nothing.
            TypeError: Prompts are of another type.
            ValueError: A folder has no images, none can be read, a prompt is invalid, the prompter
                needs annotations, or a picture would overwrite its image.
        """
        return super().__call__(inputs, batch_size, out_dir=str(out_dir), prompts=prompts, **kwargs)

    # Hooks of DetInferencer: setup

    def _load_weights_to_model(
        self, model: nn.Module, checkpoint: dict | None, cfg: ConfigDict
    ) -> None:
        if checkpoint is None:
            load_initial_weights(model)
        else:
            check_fit(model, checkpoint, strict=True)
            model.load_state_dict(state_dict_of(checkpoint), strict=False)
        model.dataset_meta = dict(palette='random' if self.palette == 'none' else self.palette)

    def _init_pipeline(self, cfg: ConfigDict) -> Compose:
        return inference_pipeline(cfg, value_range=self.value_range)

    # Hooks of DetInferencer: before the model

    def _inputs_to_list(self, inputs) -> list:
        return list_inputs(inputs)

    def preprocess(
        self, inputs: list, batch_size: int = 1, prompts: Prompts | Mapping | Sequence | None = None
    ) -> Iterator[tuple[list[_Input], list[_Input]]]:
        """Read images batch by batch; each batch is yielded for `visualize` and for `forward`."""
        require_at_least(1, batch_size=batch_size)
        all_prompts = self._prompts_by_image(prompts, len(inputs))
        names = FileNames()
        errors = []
        for start in range(0, len(inputs), batch_size):
            with ExitStack() as files:
                chunk = slice(start, start + batch_size)
                batch = [
                    self._read(source, prompts, names, files)
                    for source, prompts in zip(inputs[chunk], all_prompts[chunk])
                ]
                yield batch, batch
            errors += [item.error for item in batch if item.error is not None]
        if len(errors) == len(inputs) > 0:
            raise errors[0]

    def _prompts_by_image(self, prompts, count: int) -> list:
        if prompts is None:
            if isinstance(self.model.prompter, (GTPrompter, type(None))):
                raise ValueError(
                    'The config prompts by annotations, which images alone do not have: give '
                    "prompts=..., or OVSAMInferencer(prompter=dict(type='GridPrompter')) or "
                    'another one.'
                )
            return [None] * count
        if isinstance(prompts, (Prompts, Mapping)):
            return [prompts] * count
        if not isinstance(prompts, (list, tuple)) or None in prompts:
            raise TypeError(
                'prompts are Prompts or a dict, or a list with such a one or a list of dicts for '
                f'each image, not {prompts!r:.100}.'
            )
        if len(prompts) != count:
            raise ValueError(
                f'There are prompts for {len(prompts)} images and {count} images. Several prompts '
                'for one image are a list in the list: prompts=[[dict(...), dict(...)]].'
            )
        return list(prompts)

    def _read(self, source, prompts, names: FileNames, files: ExitStack) -> _Input:
        is_file = isinstance(source, str)
        if is_file:
            name, stem = source, names.name(source)
        else:
            stem = names.name(f'{self.num_predicted_imgs:08d}')
            name = f'image {stem}'
            self.num_predicted_imgs += 1
        item = _Input(name, is_file, stem)
        try:
            path = files.enter_context(local_file(source)) if is_file else source
            item.image = read_image(path, 'BGR', self.value_range)
            item.packed = self.pipeline(path if is_file else item.image)
        except Exception as error:  # no single image ends a run
            item.error = error
            expected = isinstance(error, (OSError, ValueError))
            if item.name not in str(error) or not expected:
                reason = error if expected else repr(error)
                item.error = ValueError(f'{item.name} cannot be read: {reason}')
            warn(f'{item.error} It is left out.')
            return item
        if prompts is None:
            return item
        prompts = [prompts] if isinstance(prompts, Mapping) else prompts
        try:
            item.prompts = check_prompts(prompts, item.image.shape, self.model.logit_size)
        except (TypeError, ValueError) as error:
            raise type(error)(f'{item.name}: {error}') from None
        return item

    # Hooks of DetInferencer: the model

    @torch.no_grad()
    def forward(self, inputs: list[_Input]) -> list[DetDataSample]:
        """Run the model on a batch; unreadable images get data samples without instances."""
        readable = [item for item in inputs if item.error is None]
        predictions = iter(self._predict(readable) if readable else ())
        data_samples = []
        for item in inputs:
            sample = next(predictions) if item.error is None else _empty_sample(item.error)
            sample.set_metainfo(dict(out_name=item.stem))
            if item.is_file:
                sample.set_metainfo(dict(img_path=item.name))
            data_samples.append(sample)
        return data_samples

    def _predict(self, inputs: list[_Input]) -> list[DetDataSample]:
        batch = {key: [item.packed[key] for item in inputs] for key in ('inputs', 'data_samples')}
        if inputs[0].prompts is None:
            return self.model.test_step(batch)
        with prompted(self.model, [item.prompts for item in inputs]):
            return self.model.test_step(batch)

    # Hooks of DetInferencer: after the model

    def visualize(
        self,
        inputs: list[_Input],
        preds: list[DetDataSample],
        return_vis: bool = False,
        show: bool = False,
        wait_time: float = 0,
        draw_pred: bool = True,
        pred_score_thr: float = 0.3,
        no_save_vis: bool = False,
        img_out_dir: str = '',
    ) -> list[np.ndarray | None] | None:
        """Draw the pictures of a batch; see `__call__`."""
        out_dir = '' if no_save_vis else img_out_dir
        if not (show or return_vis or out_dir):
            return None
        classes = self._classes()
        classes = classes and tuple(map(as_text, classes))
        self.visualizer.dataset_meta = dict(self.model.dataset_meta, classes=classes)
        pictures = []
        for item, sample in zip(inputs, preds):
            if item.error is not None:
                pictures.append(None)
                continue
            sample = drawable(sample, pred_score_thr)
            use_fonts(self.visualizer, self._names(sample.pred_instances.labels), self.font)
            self.visualizer.add_datasample(
                item.stem,
                item.image[..., ::-1],
                sample,
                draw_gt=False,
                draw_pred=draw_pred,
                show=show,
                wait_time=wait_time,
                pred_score_thr=pred_score_thr,
            )
            picture = self.visualizer.get_image()
            if out_dir:
                suffix = '.png' if Path(item.name).suffix.lower() == '.png' else '.jpg'
                file = Path(out_dir, 'vis', item.stem + suffix)
                if item.is_file and file.resolve() == Path(item.name).resolve():
                    raise ValueError(f'The picture of {file} would replace it: choose an out_dir.')
                _, data = cv2.imencode(suffix, picture[..., ::-1])
                mark_results(file.parent)
                write_atomic(file, data.tobytes())
            pictures.append(picture)
        return pictures if return_vis else None

    def pred2dict(self, data_sample: DetDataSample, pred_out_dir: str = '') -> dict:
        """The instances of an image as a dict for JSON, see `__call__`; also written to a file."""
        instances = data_sample.pred_instances
        keys = ('img_path', 'error')
        result = {key: data_sample.get(key) for key in keys if key in data_sample}
        result.update(
            labels=instances.labels.tolist(),
            names=self._names(instances.labels),
            scores=instances.scores.tolist(),
            bboxes=instances.bboxes.tolist(),
            masks=run_lengths(instances.masks),
        )
        if 'topk_labels' in instances:
            result.update(
                topk_labels=instances.topk_labels.tolist(),
                topk_names=list(map(self._names, instances.topk_labels)),
                topk_scores=instances.topk_scores.tolist(),
            )
        if pred_out_dir and 'error' not in result:
            file = Path(pred_out_dir, 'preds', f'{data_sample.get("out_name")}.json')
            write_atomic(file, json.dumps(result))
        return result

    def _classes(self) -> Sequence[str] | None:
        """Class names: the vocabulary's, or the detector's if the model only segments."""
        if self.model.classifier is None:
            return getattr(self.model.prompter, 'classes', None)
        return self.model.dataset_meta.get('classes')

    def _names(self, labels: Tensor) -> list[str]:
        classes = self._classes()
        return [classes[label] if classes else str(label) for label in labels.tolist()]


def _empty_sample(error: Exception) -> DetDataSample:
    """The result for an unreadable image."""
    sample = DetDataSample(metainfo=dict(error=str(error)))
    sample.pred_instances = InstanceData(
        labels=torch.zeros(0, dtype=torch.long),
        scores=torch.zeros(0),
        bboxes=torch.zeros(0, 4),
        masks=torch.zeros(0, 0, 0, dtype=torch.bool),
    )
    return sample
