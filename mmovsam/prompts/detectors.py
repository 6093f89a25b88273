"""Configs, test pipelines, weights and class names of MMDetection's detectors."""

from __future__ import annotations

import contextlib
import copy
import difflib
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import mmdet
from mmdet.registry import DATASETS, TRANSFORMS
from mmdet.utils import get_test_pipeline_cfg
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose
from mmengine.fileio import load

from ..config_files import find_config, type_name, wrapped_datasets
from ..pixels import load_all_depths
from ..vocabulary.names import read_names

CONFIG_SUFFIXES = ('.py', '.json', '.yml', '.yaml')


def detector_config(detector: str | PathLike | Mapping | Config) -> tuple[ConfigDict, str | None]:
    """The config of a detector, with the key `model`, and its default checkpoint or None.

    `detector` is a whole config or its `model` alone; a config file, see `find_config`; or a name
    or alias in MMDetection's model index, such as `'rtmdet_tiny_8xb32-300e_coco'` or `'rtmdet-t'`.
    The checkpoint is that of the index, of the model's `init_cfg`, or `load_from`.
    """
    checkpoint = None
    if isinstance(detector, Config):
        detector = detector.to_dict()
    if isinstance(detector, Mapping):
        config = ConfigDict(copy.deepcopy(dict(detector)))
        config = ConfigDict(model=config) if 'type' in config else config
    else:
        name = str(detector)
        if Path(name).suffix in CONFIG_SUFFIXES or '::' in name:
            file = find_config(name)
        else:
            file, checkpoint = _from_index(name)
        config = ConfigDict(Config.fromfile(file).to_dict())
    if 'model' not in config:
        raise ValueError(
            f'the config of the detector has no model, only {sorted(config)}; '
            'give a whole MMDetection config or the dict of its model'
        )
    init_cfg = config.model.get('init_cfg')
    pretrained = isinstance(init_cfg, Mapping) and init_cfg.get('type') == 'Pretrained'
    default = init_cfg['checkpoint'] if pretrained else config.get('load_from')
    return config, checkpoint or default


def _from_index(name: str) -> tuple[Path, str | None]:
    """Config file and checkpoint of a model in MMDetection's index."""
    all_names = []
    for folder, model in _indexed_models():
        aliases = model.get('Alias') or []
        aliases = [aliases] if isinstance(aliases, str) else aliases
        names = [str(alias).lower() for alias in (model['Name'], *aliases)]
        if name.lower() in names:
            weights = model.get('Weights')
            return folder / model['Config'], weights[0] if isinstance(weights, list) else weights
        all_names += names
    close = ' or '.join(difflib.get_close_matches(name.lower(), all_names, n=3, cutoff=0.5))
    hint = f'did you mean {close}?' if close else "its names are those of MMDetection's configs."
    raise ValueError(
        f'MMDetection {mmdet.__version__} has no model {name} in its index; {hint} Or give a '
        "config file, or '<package>::<path>' with an installed package"
    )


def _indexed_models() -> Iterator[tuple[Path, dict]]:
    """The models of MMDetection's index, each with the folder that its paths are relative to."""
    package = Path(mmdet.__file__).parent
    for folder in (package / '.mim', package.parent):  # of a wheel, of a checkout
        if not (folder / 'model-index.yml').is_file():
            continue
        for file in load(folder / 'model-index.yml')['Import']:
            if (folder / file).is_file():
                yield from ((folder, model) for model in load(folder / file).get('Models', ()))
        return


def inference_pipeline(
    config: ConfigDict,
    pipeline: Sequence[Mapping] | None = None,
    value_range: Sequence[float] | None = None,
) -> Compose:
    """The test pipeline of a config, for images from files and from memory alike.

    As in `mmdet.apis.DetInferencer`, `InferencerLoader` replaces the loader, with its settings, and
    annotations are not loaded. It takes `{'img_path': ...}` or `{'img': ...}` and packs a data
    sample with `ori_shape`.

    Args:
        config: A whole config.
        pipeline: The pipeline, if the config has none.
        value_range: For files of more than 8 bits, see `mmovsam.pixels.to_color`.
    """
    with contextlib.suppress(AttributeError, RuntimeError):  # no data set, or none with a pipeline
        pipeline = pipeline or get_test_pipeline_cfg(config)
    steps = pipeline or config.get('test_pipeline')
    if not steps:
        raise ValueError(
            'the config has no test pipeline: give a whole one, or DetectorPrompter(pipeline=[...])'
        )
    transforms = []
    for step in steps:
        step = dict(step)
        kind = type_name(step)
        if kind == 'LoadProposals':
            raise ValueError(
                'the detector starts from proposals of another one (LoadProposals in its test '
                'pipeline); give a detector that finds boxes in an image by itself'
            )
        if kind in ('LoadAnnotations', 'LoadPanopticAnnotations'):
            continue
        if kind in ('LoadImageFromFile', 'LoadImageFromNDArray'):
            step['type'] = 'mmdet.InferencerLoader'
        if kind == 'PackDetInputs' and 'meta_keys' in step:
            step['meta_keys'] = tuple(dict.fromkeys((*step['meta_keys'], 'ori_shape')))
        transforms.append(TRANSFORMS.build(step))
    transforms = Compose(transforms)
    load_all_depths(transforms, value_range)
    return transforms


def checkpoint_classes(checkpoint: Any) -> tuple[str, ...] | None:
    """Class names in a checkpoint's `meta` or its `dataset_meta`."""
    meta = checkpoint.get('meta') if isinstance(checkpoint, Mapping) else None
    if not isinstance(meta, Mapping):
        return None
    return _classes_of(meta.get('dataset_meta')) or _classes_of(meta)


def config_classes(config: Mapping) -> tuple[str, ...] | None:
    """Class names of a config's test or validation dataset."""
    loaders = [config.get(key) or {} for key in ('test_dataloader', 'val_dataloader')]
    classes = (_dataset_classes(loader.get('dataset')) for loader in loaders)
    return next(filter(None, classes), None)


def _dataset_classes(dataset: Mapping | None) -> tuple[str, ...] | None:
    if not isinstance(dataset, Mapping) or dataset.get('class_agnostic'):  # of our datasets
        return None
    dataset_type = dataset.get('type')
    if isinstance(dataset_type, str):
        dataset_type = DATASETS.get(dataset_type)
    candidates = (
        _classes_of(dataset.get('metainfo')),
        *map(_dataset_classes, wrapped_datasets(dataset)),
        _classes_of(getattr(dataset_type, 'METAINFO', None)),
    )
    return next(filter(None, candidates), None)


def _classes_of(metainfo: Any) -> tuple[str, ...] | None:
    if not isinstance(metainfo, Mapping):
        return None
    names = {str(key).lower(): value for key, value in metainfo.items()}.get('classes')
    if isinstance(names, str) and Path(names).is_file():  # as in MMEngine
        names = read_names(names)
    if isinstance(names, (list, tuple)) and names and all(isinstance(n, str) for n in names):
        return tuple(names)
    return None


def given_classes(classes: str | PathLike | Sequence[str]) -> tuple[str, ...]:
    """Class names of a list, or of a file for `read_names`."""
    names = read_names(classes) if isinstance(classes, (str, PathLike)) else list(classes)
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong or not names:
        raise ValueError(
            f'classes must be names or a text file with one on each line, got {wrong or classes!r}'
        )
    return tuple(names)
