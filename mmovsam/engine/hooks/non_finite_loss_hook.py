"""A hook for losses that are not finite."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from mmengine.dist import all_gather_object, all_reduce
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict
from mmengine.registry import HOOKS
from mmengine.structures import BaseDataElement
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...logs import warn
from ...prompts import Prompts
from ...validation import require_choice
from ..processes import unwrap


class NonFiniteLossError(ValueError):
    """A loss or the gradients are not finite."""


class _Forward(NamedTuple):
    """A forward pass before the optimizer's step."""

    names: tuple[str, ...]
    losses: Tensor
    """`(n,)`, on the model's device."""
    batch: Mapping
    """The arguments of the model, without the pixels."""


@HOOKS.register_module()
class NonFiniteLossHook(Hook):
    """Stop before a loss that is not finite changes the weights, or skip its batch.

    The message names the images, the sources and the prompts of the batch. The losses, and with
    `clip_grad` the norm of the gradients, are checked between the backward pass and the optimizer's
    step. All processes act alike. Gradients that overflow in mixed precision are left to its loss
    scaler.

    Args:
        action: `'stop'`, or `'skip'` to log a warning and train without the batch (with
            `accumulative_counts`, without all batches accumulated with it).
        max_skipped: Training stops when more steps in a row would be skipped.

    Raises:
        ValueError: The action is unknown.
    """

    def __init__(self, action: str = 'stop', max_skipped: int = 10) -> None:
        require_choice(('stop', 'skip'), action=action)
        self.action = action
        self.max_skipped = max_skipped
        self._skipped = 0
        self._pending: list[_Forward] = []

    def before_train(self, runner) -> None:
        if isinstance(runner.optim_wrapper, OptimWrapperDict):
            raise TypeError(
                'NonFiniteLossHook watches one optimizer, and optim_wrapper has '
                f'{", ".join(runner.optim_wrapper.keys())}. Leave the hook (`non_finite`) out of '
                'default_hooks.'
            )
        self._runner = runner
        unwrap(runner.model).register_forward_hook(self._after_forward, with_kwargs=True)
        runner.optim_wrapper.optimizer.register_step_pre_hook(
            lambda optimizer, args, kwargs: self._decide(optimizer)
        )

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        # the loss scaler of mixed precision skipped the step
        if self._pending and runner.optim_wrapper.should_update():
            self._decide(None)

    def _after_forward(self, model: nn.Module, args: Sequence, kwargs: Mapping, output) -> None:
        if kwargs.get('mode') != 'loss':
            return
        losses = {}
        for name, value in output.items():
            if 'loss' in name:
                values = value if isinstance(value, Sequence) else [value]
                losses[name] = sum(value.detach().mean() for value in values)
        batch = {key: value for key, value in kwargs.items() if not isinstance(value, Tensor)}
        values = torch.stack([value.float() for value in losses.values()])
        self._pending.append(_Forward(tuple(losses), values, batch))

    def _decide(self, optimizer: torch.optim.Optimizer | None) -> None:
        pending, self._pending = self._pending, []
        if not pending:
            return
        norm, wrapper = 0.0, self._runner.optim_wrapper
        if optimizer and wrapper.clip_grad_kwargs and wrapper.grad_name == 'grad_norm':
            norm = wrapper.message_hub.get_scalar('train/grad_norm').current()
        non_finite = ~torch.cat([forward.losses for forward in pending]).isfinite().all()
        non_finite = (non_finite | (not math.isfinite(norm))).float()
        all_reduce(non_finite, 'max')
        if not non_finite.item():
            self._skipped = 0
            return
        broken = _broken_statistics(unwrap(self._runner.model))
        reports = all_gather_object((self._describe(pending, norm), broken))
        message = '\n'.join(text for text, _ in reports if text)
        broken = next((name for _, name in reports if name), None)
        reason = None
        if self.action == 'stop':
            reason = (
                'The weights are as they were before. To train without such batches, give '
                "NonFiniteLossHook action='skip'."
            )
        elif broken:
            reason = (
                f'The batch cannot be skipped: the running statistics of {broken} have seen it. Go '
                'on from the last checkpoint, without these images.'
            )
        elif self._skipped == self.max_skipped:
            reason = (
                f'{self._skipped} steps in a row were skipped before this one: more is wrong than '
                'a few batches.'
            )
        if reason:
            raise NonFiniteLossError(f'{message}\n{reason}')
        self._skipped += 1
        warn(f'Skipped: {message}')
        if optimizer is not None:
            optimizer.zero_grad(set_to_none=True)  # makes the step a no-op

    def _describe(self, pending: Sequence[_Forward], norm: float) -> str:
        """Describe the failed batches, '' if they are those of another process."""
        failed = [forward for forward in pending if not forward.losses.isfinite().all()]
        step = f'in iteration {self._runner.iter + 1}'
        if not failed and math.isfinite(norm):
            return ''
        title = f'A loss is not finite {step}'
        if not failed:
            failed = pending
            title = f'The losses are finite {step}, the gradients (norm {norm}) not'
        lines = []
        for names, losses, batch in failed:
            values = zip(names, losses.tolist())
            lines.append(f'{title}: {", ".join(f"{name} {value:.6g}" for name, value in values)}')
            lines += [f'  {line}' for line in describe_batch(batch)]
        return '\n'.join(lines)


def describe_batch(batch: Mapping[str, Any]) -> list[str]:
    """File or id of each image of a batch, with its source and prompts, where it has them."""
    samples = batch.get('data_samples')
    if samples is not None:
        return [_describe_sample(sample) for sample in samples]
    columns = {
        key: value
        for key, value in batch.items()
        if isinstance(value, list | tuple) and all(isinstance(v, str | int) for v in value)
    }
    return [
        ', '.join(f'{key} {value!r}' for key, value in zip(columns, row))
        for row in zip(*columns.values())
    ]


def _describe_sample(sample: BaseDataElement) -> str:
    parts = [str(sample.get('img_path') or f'image {sample.get("img_id")!r}')]
    if sample.get('source') is not None:
        parts.append(f'source {sample.source}')
    if sample.get('prompts') is not None:
        parts.append(f"prompts in the network's input: {_describe_prompts(sample.prompts)}")
    return ', '.join(parts)


def _describe_prompts(prompts: Prompts) -> str:
    descriptions = []
    for i in range(len(prompts)):
        parts = []
        if prompts.bboxes is not None and prompts.bboxes[i].isfinite().all():
            parts.append(f'box {_rounded(prompts.bboxes[i])}')
        if prompts.point_coords is not None:
            for point, label in zip(prompts.point_coords[i], prompts.point_labels[i].tolist()):
                if label >= 0:
                    parts.append(f'{"background " * (not label)}point {_rounded(point)}')
        if prompts.mask_input is not None and prompts.mask_input[i].isfinite().any():
            parts.append('mask')
        descriptions.append(' and '.join(parts))
    return '; '.join(descriptions) or 'none'


def _rounded(numbers: Tensor) -> list[float]:
    return [round(number, 1) for number in numbers.tolist()]


def _broken_statistics(model: nn.Module) -> str | None:
    """The first batch normalization whose running statistics are not finite."""
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.track_running_stats:
            statistics = torch.cat([module.running_mean, module.running_var])
            if not statistics.isfinite().all():
                return name
    return None
