"""The part of a pipeline that decides where an image's pixels are."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence

from ..prompts.detectors import type_name

# These make the same of an image each time.
_FIXED = {
    'LoadImageFromFile', 'Resize', 'ResizeLongestSide', 'FixScaleResize', 'FixShapeResize', 'Pad',
    'Normalize',
}  # fmt: skip
# These leave each pixel in its place: they change its color, or not the image at all.
_IN_PLACE = {
    'AutoContrast', 'Brightness', 'Color', 'ColorTransform', 'Contrast', 'Equalize',
    'FilterAnnotations', 'Invert', 'LoadAnnotations', 'PackDetInputs', 'PhotoMetricDistortion',
    'Posterize', 'RandomGrayscale', 'Sharpness', 'Solarize', 'SolarizeAdd', 'YOLOXHSVRandomAug',
}  # fmt: skip


def fixed_pipeline(dataset: Mapping) -> list[dict]:
    """The configs of a data set's transforms that set the place of pixels, the same each time.

    Args:
        dataset: The config of a data set, or of a wrapper such as `ConcatDataset`.

    Raises:
        ValueError: A transform moves pixels at random, or is not known; the parts of the data set
            have unlike transforms; or no transform loads an image.
    """
    found = [list(map(_fixed, pipeline)) for pipeline in _pipelines(dataset)]
    found = [[transform for transform in pipeline if transform] for pipeline in found]
    if any(pipeline != found[0] for pipeline in found):
        raise ValueError(
            'The parts of the data set put pixels in different places: '
            f'{", ".join(map(str, found))}. Give them the same transforms.'
        )
    if not found[0] or found[0][0]['type'] != 'LoadImageFromFile':
        raise ValueError(
            'The pipeline of a data set with stored teacher features begins with '
            f"dict(type='LoadImageFromFile'), not with {found[0][:1]}."
        )
    return found[0]


def with_pipeline(dataset: Mapping, pipeline: Sequence[dict]) -> dict:
    """A data set's config with other transforms and without stored teacher features."""
    if type_name(dataset) == 'TeacherFeatureDataset':
        return with_pipeline(dataset['dataset'], pipeline)
    changed = dict(dataset)
    if 'dataset' in dataset:
        changed['dataset'] = with_pipeline(dataset['dataset'], pipeline)
    if 'datasets' in dataset:
        changed['datasets'] = [with_pipeline(part, pipeline) for part in dataset['datasets']]
    if not dataset.keys() & {'dataset', 'datasets'}:
        changed['pipeline'] = copy.deepcopy(list(pipeline))
    elif 'pipeline' in dataset:
        changed['pipeline'] = []
    return changed


def _pipelines(dataset: Mapping) -> list[list[Mapping]]:
    """The transforms of each part of a data set, with those of the wrappers around it."""
    parts = [*dataset.get('datasets', ())]
    if 'dataset' in dataset:
        parts.append(dataset['dataset'])
    last = list(dataset.get('pipeline') or ())
    return [[*pipeline, *last] for part in parts for pipeline in _pipelines(part)] or [last]


def _fixed(transform: Mapping) -> dict | None:
    """A transform's config in JSON's types; None if it leaves pixels in their place."""
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
