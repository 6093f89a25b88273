"""Prompts as people give them: each is checked, and all of an image are brought together."""

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


def checked_prompts(
    prompts: Prompts | Sequence[Mapping], ori_shape: Sequence[int], logit_size: int
) -> Prompts:
    """The prompts of one image `(H, W)`, each in order and in its place.

    They are dicts with arguments of `OVSAMPredictor.predict`, or `Prompts`, whose `labels` and
    `scores` are not read. `logit_size` is the side of low-resolution logits.

    Raises:
        TypeError: They are neither.
        ValueError: As for `checked_prompt`; the message says which prompt.
    """
    if isinstance(prompts, Prompts):
        prompts = list(_rows(prompts))
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
            checked.append(checked_prompt(prompt, ori_shape, logit_size))
        except ValueError as error:
            raise ValueError(f'Prompt {index}: {error}') from None
    return as_prompts(checked, logit_size)


def _rows(prompts: Prompts) -> Iterator[dict]:
    """Each prompt by itself; padding is left out."""
    names = ('bboxes', 'point_coords', 'point_labels', 'mask_input')
    tensors = (getattr(prompts, name) for name in names)
    bboxes, points, labels, masks = (t if t is None else t.cpu().numpy() for t in tensors)
    for i in range(len(prompts)):
        row = {}
        if bboxes is not None and not np.isnan(bboxes[i]).any():
            row['box'] = bboxes[i]
        if labels is not None and (labels[i] >= 0).any():
            real = labels[i] >= 0
            row.update(point_coords=points[i, real], point_labels=labels[i, real])
        if masks is not None and not np.isnan(masks[i]).all():
            row['mask_input'] = masks[i]
        yield row


def checked_prompt(prompt: Mapping, ori_shape: Sequence[int], logit_size: int) -> dict:
    """A prompt for one object, arguments of `OVSAMPredictor.predict`, as arrays of the right kind.

    Returns:
        What there is of `bboxes` `(4,)`, `point_coords` `(P, 2)`, `point_labels` `(P,)` and
        `mask_input` `(1, h, w)`, named as in `Prompts`; the box is cut off at the image's edge.

    Raises:
        ValueError: There is nothing, or something outside the image, empty, inverted, not finite,
            of another shape or unknown.
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
        fields['bboxes'] = _checked_box(_array(prompt['box'], 'box'), size)
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


def _checked_box(box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
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


def as_prompts(prompts: Sequence[Mapping[str, np.ndarray]], logit_size: int) -> Prompts:
    """Prompts of any kinds, each of `checked_prompt`, in one set."""
    if not prompts:
        return Prompts.empty()
    most = max(len(prompt.get('point_labels', ())) for prompt in prompts)
    empty = dict(
        bboxes=((4,), np.nan, torch.float32),
        point_coords=((most, 2), 0, torch.float32),
        point_labels=((most,), -1, torch.int64),
        mask_input=((1, logit_size, logit_size), np.nan, torch.float32),
    )
    fields = {
        name: torch.full((len(prompts), *shape), value, dtype=dtype)
        for name, (shape, value, dtype) in empty.items()
        if any(name in prompt for prompt in prompts)
    }
    for index, prompt in enumerate(prompts):
        for name, array in prompt.items():
            fields[name][index, : len(array)] = torch.from_numpy(array)
    return Prompts(**fields)


@contextmanager
def prompted(model: PromptedDetector, prompts: list[Prompts]) -> Iterator[None]:
    """Have a model prompted by the given prompts of each image of a batch, not by its prompter."""
    prompter, model.prompter = model.prompter, nn.Identity()
    model.prompter.forward = lambda _: prompts
    try:
        yield
    finally:
        model.prompter = prompter
