"""Detectors of other packages: their config, test pipeline, default weights and class names."""

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

from ..config_files import find_config
from ..pixels import load_all_depths
from ..vocabulary.names import read_names

CONFIG_SUFFIXES = ('.py', '.json', '.yml', '.yaml')


def detector_config(detector: str | PathLike | Mapping | Config) -> tuple[ConfigDict, str | None]:
    """The whole config of a detector, with the key `model`, and the weights that it comes with.

    A detector is a whole config or its `model` alone; or the name of a config file, as
    `find_config` takes it; or the name or alias of a model in MMDetection's index, such as
    `'rtmdet_tiny_8xb32-300e_coco'` or `'rtmdet-t'`. The checkpoint is the one that the index names,
    else `init_cfg` of the model, else `load_from`, else None.
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
    """Config file and checkpoint of a model by its name or alias."""
    known = []
    for folder, model in _indexed_models():
        aliases = model.get('Alias') or []
        aliases = [aliases] if isinstance(aliases, str) else aliases
        names = [str(known_as).lower() for known_as in (model['Name'], *aliases)]
        if name.lower() in names:
            weights = model.get('Weights')
            return folder / model['Config'], weights[0] if isinstance(weights, list) else weights
        known += names
    near = ' or '.join(difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5))
    hint = f'did you mean {near}?' if near else "its names are those of MMDetection's configs."
    raise ValueError(
        f'MMDetection {mmdet.__version__} has no model {name} in its index; {hint} Or give a '
        "config file, or '<package>::<path>' with an installed package"
    )


def _indexed_models() -> Iterator[tuple[Path, dict]]:
    """The models of MMDetection's index, each with the folder that its paths start in."""
    home = Path(mmdet.__file__).parent
    for folder in (home / '.mim', home.parent):  # of a wheel, of a checkout
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
    """The test pipeline of a whole config, for images from files and from memory alike.

    As `mmdet.apis.DetInferencer` has it: `InferencerLoader` takes the place of the loader, with the
    loader's settings. Annotations are not loaded. It takes `{'img_path': ...}` or `{'img': ...}`
    and packs a data sample with `ori_shape`.

    Args:
        config: The config.
        pipeline: The pipeline, where the config does not hold it.
        value_range: Of images in files of more than 8 bits, see `mmovsam.pixels.to_color`.
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


def type_name(config: Mapping) -> str:
    """The name of a config's type, without the scope before it."""
    kind = config['type']
    return kind.split('.')[-1] if isinstance(kind, str) else kind.__name__


def checkpoint_classes(checkpoint: Any) -> tuple[str, ...] | None:
    """What a checkpoint's `meta`, or its `dataset_meta`, says that its labels are called."""
    meta = checkpoint.get('meta') if isinstance(checkpoint, Mapping) else None
    if not isinstance(meta, Mapping):
        return None
    return _classes_of(meta.get('dataset_meta')) or _classes_of(meta)


def config_classes(config: Mapping) -> tuple[str, ...] | None:
    """What a config's test or validation data set says that a detector's labels are called."""
    loaders = [config.get(key) or {} for key in ('test_dataloader', 'val_dataloader')]
    found = (_dataset_classes(loader.get('dataset')) for loader in loaders)
    return next(filter(None, found), None)


def _dataset_classes(dataset: Mapping | None) -> tuple[str, ...] | None:
    if not isinstance(dataset, Mapping) or dataset.get('class_agnostic'):  # of our data sets
        return None
    inner = [dataset.get('dataset'), *(dataset.get('datasets') or ())]
    kind = dataset.get('type')
    kind = DATASETS.get(kind) if isinstance(kind, str) else kind
    found = (
        _classes_of(dataset.get('metainfo')),
        *(_dataset_classes(part) for part in inner),
        _classes_of(getattr(kind, 'METAINFO', None)),
    )
    return next(filter(None, found), None)


def _classes_of(metainfo: Any) -> tuple[str, ...] | None:
    if not isinstance(metainfo, Mapping):
        return None
    names = {str(key).lower(): value for key, value in metainfo.items()}.get('classes')
    if isinstance(names, str) and Path(names).is_file():  # MMEngine takes a file of names as well
        names = read_names(names)
    if isinstance(names, (list, tuple)) and names and all(isinstance(n, str) for n in names):
        return tuple(names)
    return None


def given_classes(classes: str | PathLike | Sequence[str]) -> tuple[str, ...]:
    """Class names as a user gives them: the names, or a file of them, see `read_names`."""
    names = read_names(classes) if isinstance(classes, (str, PathLike)) else list(classes)
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong or not names:
        raise ValueError(
            f'classes must be names or a text file with one on each line, got {wrong or classes!r}'
        )
    return tuple(names)
