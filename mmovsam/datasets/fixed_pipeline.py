"""The geometric transforms of a pipeline, which stored teacher features depend on."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence

from ..config_files import type_name, wrapped_datasets

# deterministic
_FIXED = {
    'LoadImageFromFile', 'Resize', 'ResizeLongestSide', 'FixScaleResize', 'FixShapeResize', 'Pad',
    'Normalize',
}  # fmt: skip
# change colors, or not the image at all
_IN_PLACE = {
    'AutoContrast', 'Brightness', 'Color', 'ColorTransform', 'Contrast', 'Equalize',
    'FilterAnnotations', 'Invert', 'LoadAnnotations', 'PackDetInputs', 'PhotoMetricDistortion',
    'Posterize', 'RandomGrayscale', 'Sharpness', 'Solarize', 'SolarizeAdd', 'YOLOXHSVRandomAug',
}  # fmt: skip


def fixed_pipeline(dataset: Mapping) -> list[dict]:
    """The configs of a dataset's transforms that decide where pixels are.

    Args:
        dataset: The config of a dataset, or of a wrapper such as `ConcatDataset`.

    Raises:
        ValueError: A transform moves pixels at random, or is unknown; wrapped datasets have
            different transforms; or no transform loads an image.
    """
    pipelines = [list(filter(None, map(_fixed, steps))) for steps in _pipelines(dataset)]
    if any(pipeline != pipelines[0] for pipeline in pipelines):
        raise ValueError(
            'The parts of the data set put pixels in different places: '
            f'{", ".join(map(str, pipelines))}. Give them the same transforms.'
        )
    if not pipelines[0] or pipelines[0][0]['type'] != 'LoadImageFromFile':
        raise ValueError(
            'The pipeline of a data set with stored teacher features begins with '
            f"dict(type='LoadImageFromFile'), not with {pipelines[0][:1]}."
        )
    return pipelines[0]


def with_pipeline(dataset: Mapping, pipeline: Sequence[dict]) -> dict:
    """A dataset's config with another pipeline and without stored teacher features."""
    if type_name(dataset) == 'TeacherFeatureDataset':
        return with_pipeline(dataset['dataset'], pipeline)
    changed = dict(dataset)
    if 'dataset' in dataset:
        changed['dataset'] = with_pipeline(dataset['dataset'], pipeline)
    if 'datasets' in dataset:
        changed['datasets'] = [with_pipeline(inner, pipeline) for inner in dataset['datasets']]
    if not dataset.keys() & {'dataset', 'datasets'}:
        changed['pipeline'] = copy.deepcopy(list(pipeline))
    elif 'pipeline' in dataset:
        changed['pipeline'] = []
    return changed


def _pipelines(dataset: Mapping) -> list[list[Mapping]]:
    """The transforms of each wrapped dataset, with those of its wrappers."""
    last = list(dataset.get('pipeline') or ())
    inner = [steps for cfg in wrapped_datasets(dataset) for steps in _pipelines(cfg)]
    return [[*steps, *last] for steps in inner] or [last]


def _fixed(transform: Mapping) -> dict | None:
    """A transform's config in JSON's types; None if it does not move pixels."""
    name = type_name(transform)
    if name in _IN_PLACE:
        return None
    if name not in _FIXED:
        raise ValueError(
            f'The transform {name} moves pixels, or is not known to leave them in their place, and '
            "a teacher's stored features stay where they are. Remove it, or train with a live "
            f'teacher. These are known: {", ".join(sorted(_FIXED | _IN_PLACE))}.'
        )
    settings = {key: value for key, value in transform.items() if key != 'backend_args'}
    return json.loads(json.dumps(dict(settings, type=name), sort_keys=True, default=str))
