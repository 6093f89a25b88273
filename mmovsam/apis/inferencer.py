"""Files, folders, addresses and arrays in; masks with names, pictures and JSON out."""

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
class _Item:
    """An input on its way through the inferencer."""

    name: str  # as messages call it: the file or address, or a number
    is_file: bool
    stem: str  # of its files in `out_dir`
    image: np.ndarray | None = None  # (H, W, 3) uint8 BGR
    packed: dict | None = None  # what the pipeline makes of it
    prompts: Prompts | None = None
    error: Exception | None = None  # why there is no image


class OVSAMInferencer(DetInferencer):
    """Segment and name what is prompted in many images, by the conventions of MMDetection's own.

    What comes out for an image is what `model.test_step` gives for it. Prompts come from the
    config's prompter (a detector, a grid, a file), or with the call.

    Args:
        model: A config, its file, the name of one of the package's, such as
            `'mini/ovsam_mini_rtmdet.py'`, or that of a pretrained model, such as
            `'ovsam-lvis-rn50x16'`.
        weights: File of weights, their address, or the name of a pretrained model; by default the
            config's `load_from`.
        device: As for `torch.device`; by default the best that there is.
        scope: Of MMEngine's registries.
        palette: Colors of the classes in pictures, as for `DetInferencer`; by default random ones.
        show_progress: Whether there is a bar.
        prompter: Config of a prompter in place of the config's own, such as
            `dict(type='GridPrompter')`.
        detector: Or a detector whose boxes with a score of 0.3 or more are the prompts, as
            `DetectorPrompter` takes it.
        value_range: The values that are black and white in images of more than 8 bits, such as
            `(0, 4095)`; by default percentiles of each image, see `mmovsam.pixels.to_color`.
        font: Of names in pictures: an installed family or a file; by default whichever fonts of the
            system have the letters.

    Raises:
        FileNotFoundError: Config or weights are not there.
        TypeError: The model takes no prompts.
        ValueError: Nothing names weights, they are not of this model, or there are both a prompter
            and a detector.
        DownloadError: Weights cannot be fetched.
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
        cfg.visualizer.vis_backends = None  # pictures are kept by this class alone
        with safe_loading():
            super().__init__(cfg, weights and str(weights), device, scope, palette, show_progress)
        if not isinstance(self.model, PromptedDetector):
            raise TypeError(
                f'OVSAMInferencer needs an OVSAM, not a {type(self.model).__name__}: '
                "mmdet.apis.DetInferencer takes MMDetection's own."
            )
        self._name_encoder = NameEncoder(text_encoder=cfg.get('text_encoder'))

    def set_vocabulary(self, names: Sequence[str] | Vocabulary | TextClassifier) -> None:
        """Change what things may be called, from the next call on.

        Raises:
            TypeError: The names are a single string, or are no strings.
            ValueError: No names, a name twice, no text encoder to read them with, or a model that
                segments only.
        """
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
        """Segment and name what is prompted in images.

        An input that cannot be read stops nothing: a warning names it and the reason, and in its
        place is a result without instances that has the reason as `error`. If no input can be read,
        the reason of the first is raised.

        Args:
            inputs: One of these, or a list of them: a file; a folder, whose images and those of all
                folders in it come by name; a glob such as `'photos/**/*.jpg'`; the address of a
                file (`http://`, `https://`, `file://`, or what else MMEngine reads); an array
                `(H, W, 3)` uint8 BGR, as `mmcv.imread` reads it; a PIL image.
            batch_size: Images that the model gets at once.
            out_dir: Folder for pictures, `vis/NAME.jpg` (`.png` for such a file), and, with
                `no_save_pred=False`, a JSON for each image, `preds/NAME.json`. NAME is that of the
                file, where two have the same with `_2` behind it, or for an array its number.
            prompts: In place of the prompter, in pixels of each image: `Prompts`, or a dict as for
                `OVSAMPredictor.predict`, for every image; or a list with, for each image, such a
                one or a list of dicts.
            kwargs: As for `DetInferencer`: `return_vis`, `show`, `wait_time`, `no_save_vis`,
                `draw_pred`, `pred_score_thr`, `return_datasamples`, `print_result`, `no_save_pred`.

        Returns:
            `predictions`, a dict for each image in their order, ready for JSON: `labels`, `names`,
            `scores`, `bboxes` (xyxy in pixels), `masks` (COCO's run-length encoding), and of a
            model with names `topk_labels`, `topk_names` and `topk_scores`; `img_path` for files,
            `error` where there is no image. And `visualization`, the pictures `(H, W, 3)` uint8 RGB
            if they are wanted, None for one without an image.

        Raises:
            FileNotFoundError: There is no such file or folder, or a glob fits nothing.
            TypeError: Prompts are of another kind.
            ValueError: A folder has no images, none can be read, a prompt is out of place, the
                prompter needs annotations, or a picture would replace its image.
        """
        return super().__call__(inputs, batch_size, out_dir=str(out_dir), prompts=prompts, **kwargs)

    # Setting up

    def _load_weights_to_model(
        self, model: nn.Module, checkpoint: dict | None, cfg: ConfigDict
    ) -> None:
        if checkpoint is None:
            load_initial_weights(model)
        else:
            check_fit(model, checkpoint, whole=True)
            model.load_state_dict(state_dict_of(checkpoint), strict=False)
        model.dataset_meta = dict(palette='random' if self.palette == 'none' else self.palette)

    def _init_pipeline(self, cfg: ConfigDict) -> Compose:
        return inference_pipeline(cfg, value_range=self.value_range)

    # Before the model

    def _inputs_to_list(self, inputs) -> list:
        return list_inputs(inputs)

    def preprocess(
        self, inputs: list, batch_size: int = 1, prompts: Prompts | Mapping | Sequence | None = None
    ) -> Iterator[tuple[list[_Item], list[_Item]]]:
        """Read the images of one batch after the other; each is for pictures and for the model."""
        require_at_least(1, batch_size=batch_size)
        given = self._given_prompts(prompts, len(inputs))
        names = FileNames()
        errors = []
        for start in range(0, len(inputs), batch_size):
            with ExitStack() as files:
                batch = slice(start, start + batch_size)
                items = [
                    self._read(*source_and_prompts, names, files)
                    for source_and_prompts in zip(inputs[batch], given[batch])
                ]
                yield items, items
            errors += [item.error for item in items if item.error is not None]
        if len(errors) == len(inputs) > 0:
            raise errors[0]

    def _given_prompts(self, prompts, count: int) -> list:
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

    def _read(self, source, prompts, names: FileNames, files: ExitStack) -> _Item:
        is_file = isinstance(source, str)
        if is_file:
            name, stem = source, names.name(source)
        else:
            stem = names.name(f'{self.num_predicted_imgs:08d}')
            name = f'image {stem}'
            self.num_predicted_imgs += 1
        item = _Item(name, is_file, stem)
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

    # The model

    @torch.no_grad()
    def forward(self, inputs: list[_Item]) -> list[DetDataSample]:
        """Run the model on a batch; what could not be read gets a sample without instances."""
        read = [item for item in inputs if item.error is None]
        samples = iter(self._predict(read) if read else ())
        results = []
        for item in inputs:
            sample = next(samples) if item.error is None else _no_instances(item.error)
            sample.set_metainfo(dict(out_name=item.stem))
            if item.is_file:
                sample.set_metainfo(dict(img_path=item.name))
            results.append(sample)
        return results

    def _predict(self, items: list[_Item]) -> list[DetDataSample]:
        batch = {key: [item.packed[key] for item in items] for key in ('inputs', 'data_samples')}
        if items[0].prompts is None:
            return self.model.test_step(batch)
        with prompted(self.model, [item.prompts for item in items]):
            return self.model.test_step(batch)

    # After the model

    def visualize(
        self,
        inputs: list[_Item],
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
        names = self._class_names()
        names = names and tuple(map(as_text, names))
        self.visualizer.dataset_meta = dict(self.model.dataset_meta, classes=names)
        pictures = []
        for item, sample in zip(inputs, preds):
            if item.error is not None:
                pictures.append(None)
                continue
            shown = drawable(sample, pred_score_thr)
            use_fonts(self.visualizer, self._names_of(shown.pred_instances.labels), self.font)
            self.visualizer.add_datasample(
                item.stem,
                item.image[..., ::-1],
                shown,
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
        """The instances of an image as numbers and text, see `__call__`; also as a file."""
        found = data_sample.pred_instances
        keys = ('img_path', 'error')
        result = {key: data_sample.get(key) for key in keys if key in data_sample}
        result.update(
            labels=found.labels.tolist(),
            names=self._names_of(found.labels),
            scores=found.scores.tolist(),
            bboxes=found.bboxes.tolist(),
            masks=run_lengths(found.masks),
        )
        if 'topk_labels' in found:
            result.update(
                topk_labels=found.topk_labels.tolist(),
                topk_names=[self._names_of(labels) for labels in found.topk_labels],
                topk_scores=found.topk_scores.tolist(),
            )
        if pred_out_dir and 'error' not in result:
            file = Path(pred_out_dir, 'preds', f'{data_sample.get("out_name")}.json')
            write_atomic(file, json.dumps(result))
        return result

    def _class_names(self) -> Sequence[str] | None:
        """What labels mean: the vocabulary's, or for a model without names the detector's."""
        if self.model.classifier is None:
            return getattr(self.model.prompter, 'classes', None)
        return self.model.dataset_meta.get('classes')

    def _names_of(self, labels: Tensor) -> list[str]:
        known = self._class_names()
        return [known[label] if known else str(label) for label in labels.tolist()]


def _no_instances(error: Exception) -> DetDataSample:
    """The result for an image that could not be read."""
    sample = DetDataSample(metainfo=dict(error=str(error)))
    sample.pred_instances = InstanceData(
        labels=torch.zeros(0, dtype=torch.long),
        scores=torch.zeros(0),
        bboxes=torch.zeros(0, 4),
        masks=torch.zeros(0, 0, 0, dtype=torch.bool),
    )
    return sample
