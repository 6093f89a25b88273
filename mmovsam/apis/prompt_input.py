"""Checks prompts that users pass and stacks them into `Prompts`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from ..models.detectors.prompted_detector import PromptedDetector
from ..prompts import Prompts
from ..prompts.boxes import check_units
from ..validation import require_known

FIELDS = ('point_coords', 'point_labels', 'box', 'mask_input')


def check_prompts(
    prompts: Prompts | Sequence[Mapping], ori_shape: Sequence[int], logit_size: int
) -> Prompts:
    """Check the prompts of an image `(H, W)` and stack them.

    They are `Prompts`, whose `labels` and `scores` are ignored, or dicts with arguments of
    `OVSAMPredictor.predict`. `logit_size` is the side of low-resolution logits.

    Raises:
        TypeError: The prompts are of another type.
        ValueError: As for `check_prompt`; the message says which prompt.
    """
    if isinstance(prompts, Prompts):
        prompts = list(_as_dicts(prompts))
    elif isinstance(prompts, (Mapping, str)) or not isinstance(prompts, Sequence):
        raise TypeError(
            'prompts are a mmovsam.prompts.Prompts, or a list of a dict for each object with '
            f'{", ".join(FIELDS)}, not {type(prompts).__name__}.'
        )
    checked = []
    for index, prompt in enumerate(prompts):
        if not isinstance(prompt, Mapping):
            raise TypeError(
                f'Prompt {index} is a dict with {", ".join(FIELDS)}, not {type(prompt).__name__}.'
            )
        try:
            checked.append(check_prompt(prompt, ori_shape, logit_size))
        except ValueError as error:
            raise ValueError(f'Prompt {index}: {error}') from None
    return stack_prompts(checked, logit_size)


def _as_dicts(prompts: Prompts) -> Iterator[dict]:
    """Arguments of `OVSAMPredictor.predict` for each prompt, without padding."""
    prompts = prompts.to('cpu')
    has_bbox, num_points, has_mask = prompts.has_bbox, prompts.num_points, prompts.has_mask
    for i in range(len(prompts)):
        prompt = {}
        if has_bbox[i]:
            prompt['box'] = prompts.bboxes[i]
        if num_points[i]:
            valid = prompts.point_labels[i] >= 0
            prompt['point_coords'] = prompts.point_coords[i, valid]
            prompt['point_labels'] = prompts.point_labels[i, valid]
        if has_mask[i]:
            prompt['mask_input'] = prompts.mask_input[i]
        yield prompt


def check_prompt(prompt: Mapping, ori_shape: Sequence[int], logit_size: int) -> dict:
    """Check the prompt of one object, arguments of `OVSAMPredictor.predict`.

    Returns:
        Arrays, those that are given of `bboxes` `(4,)`, clipped to the image, `point_coords`
        `(P, 2)`, `point_labels` `(P,)` and `mask_input` `(1, h, w)`.

    Raises:
        ValueError: The prompt is empty, or an argument is unknown, outside of the image, empty,
            inverted, not finite, or of another shape.
    """
    prompt = {key: value for key, value in prompt.items() if value is not None}
    require_known('A prompt', prompt, FIELDS)
    if ('point_labels' in prompt) != ('point_coords' in prompt):
        raise ValueError(
            'A prompt has point_coords, (P, 2) xy, and '
            'point_labels, 1 foreground and 0 background, together.'
        )
    if not prompt:
        raise ValueError(
            'A prompt needs point_coords with point_labels, a box, or a mask_input; this is empty.'
        )
    size = ori_shape[1], ori_shape[0]
    fields = {}
    if 'box' in prompt:
        fields['bboxes'] = _check_box(_array(prompt['box'], 'box'), size)
    if 'point_coords' in prompt:
        points = _array(prompt['point_coords'], 'point_coords')
        labels = _array(prompt['point_labels'], 'point_labels', None)
        _check_points(points, labels, size)
        fields.update(point_coords=points, point_labels=labels.astype(np.int64))
    if 'mask_input' in prompt:
        mask = fields['mask_input'] = _array(prompt['mask_input'], 'mask_input')
        if mask.shape != (1, logit_size, logit_size):
            raise ValueError(
                f'mask_input is (1, {logit_size}, {logit_size}), such as low_res_logits[i][None] '
                f'of an earlier prediction; got shape {mask.shape}.'
            )
        if not np.isfinite(mask).all():
            raise ValueError('mask_input holds NaN or infinity.')
    return fields


def _array(value, name: str, dtype=np.float32) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
    try:
        return np.asarray(value, dtype)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f'{name} must be an array of numbers, got {value!r:.200} ({error}).'
        ) from None


def _check_points(points: np.ndarray, labels: np.ndarray, size: tuple[int, int]) -> None:
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
    inside = (points >= 0).all(1) & (points <= size).all(1)
    if not inside.all():
        point = points[~inside][0].tolist()
        raise ValueError(f'Point {point} is not inside the image of {size[0]}x{size[1]} pixels.')


def _check_box(box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The box `(4,)` clipped to the image."""
    if box.shape not in ((4,), (1, 4)):
        raise ValueError(
            f'A box is (4,) xyxy in pixels, got shape {box.shape}. For several objects, call '
            'predict_batch(Prompts(bboxes=boxes)).'
        )
    box = box.reshape(4)
    if not np.isfinite(box).all() or not (box[2:] > box[:2]).all():
        raise ValueError(
            f'Box {box.tolist()} is empty, inverted or not finite: expected x1 < x2 and y1 < y2.'
        )
    if not ((box[2:] > 0).all() and (box[:2] < size).all()):
        raise ValueError(f'Box {box.tolist()} is outside the image of {size[0]}x{size[1]} pixels.')
    if size != (1, 1):
        check_units(box[None])
    return box.clip(0, (*size, *size)).astype(np.float32)


def stack_prompts(prompts: Sequence[Mapping[str, np.ndarray]], logit_size: int) -> Prompts:
    """Stack results of `check_prompt`, which may have different fields, with padding."""
    if not prompts:
        return Prompts.empty()
    num_points = max(len(prompt.get('point_labels', ())) for prompt in prompts)
    padding = dict(
        bboxes=((4,), np.nan, torch.float32),
        point_coords=((num_points, 2), 0, torch.float32),
        point_labels=((num_points,), -1, torch.int64),
        mask_input=((1, logit_size, logit_size), np.nan, torch.float32),
    )
    fields = {
        name: torch.full((len(prompts), *shape), value, dtype=dtype)
        for name, (shape, value, dtype) in padding.items()
        if any(name in prompt for prompt in prompts)
    }
    for index, prompt in enumerate(prompts):
        for name, array in prompt.items():
            fields[name][index, : len(array)] = torch.from_numpy(array)
    return Prompts(**fields)


@contextmanager
def prompted(model: PromptedDetector, prompts: list[Prompts]) -> Iterator[None]:
    """Replace a model's prompter by the given prompts, one `Prompts` for each image of a batch."""
    prompter, model.prompter = model.prompter, nn.Identity()
    model.prompter.forward = lambda _: prompts
    try:
        yield
    finally:
        model.prompter = prompter
