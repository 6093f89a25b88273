"""The prompts of one image: boxes, points and masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..layers import to_device

_FIELDS = dict(
    bboxes=(('N', 4), torch.float32),
    point_coords=(('N', 'P', 2), torch.float32),
    point_labels=(('N', 'P'), torch.int64),
    mask_input=(('N', 1, 'h', 'w'), torch.float32),
    labels=(('N',), torch.int64),
    scores=(('N',), torch.float32),
    annotated_bboxes=(('N', 4), torch.float32),
)


@dataclass(eq=False)
class Prompts:
    """The N prompts of one image, in pixels of one frame.

    The frame is the original image unless stated otherwise (see `scaled`). A prompt has a box,
    points, a mask, or several of them. In a mixed set a prompt without a box has a row of NaN in
    `bboxes`, one without points only padding in `point_labels`, and one without a mask a
    `mask_input` of NaN; `groups` separates them.

    Args:
        bboxes: Boxes (N, 4), xyxy in pixels, float32.
        point_coords: Points (N, P, 2), xy in pixel indices, float32.
        point_labels: Labels of points (N, P), int64: 1 foreground, 0 background, -1 padding.
        mask_input: Low-resolution mask logits (N, 1, h, w), float32.
        labels: A detector's labels (N,), int64.
        scores: A detector's scores (N,), float32.
        annotated_bboxes: Boxes of the annotated objects that the prompts stand for, (N, 4), xyxy in
            pixels, float32. They are no part of a prompt: a model reads them only for regions
            `'annotated'`, see `OVSAM`.

    Raises:
        TypeError: If a field is no tensor and cannot become one.
        ValueError: If shapes disagree, a box or mask is infinite or NaN in part, a point label is
            unknown, or points lack labels.
    """

    bboxes: Tensor | None = None
    point_coords: Tensor | None = None
    point_labels: Tensor | None = None
    mask_input: Tensor | None = None
    labels: Tensor | None = None
    scores: Tensor | None = None
    annotated_bboxes: Tensor | None = None

    def __post_init__(self) -> None:
        for name, value in self._tensors().items():
            setattr(self, name, _checked(name, value, *_FIELDS[name]))
        tensors = self._tensors()
        if not tensors.keys() & {'bboxes', 'point_coords', 'point_labels', 'mask_input'}:
            raise ValueError(
                'Prompts need bboxes, points or mask_input; for no prompts use Prompts.empty()'
            )
        sizes = {name: len(tensor) for name, tensor in tensors.items()}
        if len(set(sizes.values())) > 1:
            raise ValueError(f'Prompts disagree about their number: {sizes}; give one row for each')
        if (self.point_coords is None) != (self.point_labels is None):
            raise ValueError(
                'Prompts need point_coords and point_labels together (1, 0 background, -1 padding)'
            )
        if self.point_coords is not None:
            self._check_points()
        for name in ('bboxes', 'mask_input'):
            rows = tensors.get(name, torch.empty(0, 1)).flatten(1)
            wrong = ~rows.isfinite().all(dim=1) & ~rows.isnan().all(dim=1)
            if wrong.any():
                raise ValueError(
                    f'Prompts.{name} of prompt {wrong.nonzero()[0].item()} holds infinity, or NaN '
                    'in part, expected finite numbers; NaN throughout stands for none'
                )

    def _check_points(self) -> None:
        if self.point_coords.shape[:2] != self.point_labels.shape:
            raise ValueError(
                f'Prompts.point_labels has shape {tuple(self.point_labels.shape)}, expected '
                f'{tuple(self.point_coords.shape[:2])}: one label for each point'
            )
        unknown = (self.point_labels < -1) | (self.point_labels > 1)
        if unknown.any():
            raise ValueError(
                f'Prompts.point_labels holds {self.point_labels[unknown].unique().tolist()}, '
                'expected 1 (foreground), 0 (background) or -1 (padding)'
            )

    @classmethod
    def empty(cls, device: torch.device | str | None = None) -> Prompts:
        """No prompts: `bboxes` of shape (0, 4) and nothing else."""
        return cls(bboxes=torch.zeros(0, 4, device=device))

    def _tensors(self) -> dict[str, Tensor]:
        """The fields that are not None."""
        tensors = {name: getattr(self, name) for name in _FIELDS}
        return {name: tensor for name, tensor in tensors.items() if tensor is not None}

    @classmethod
    def _unchecked(cls, tensors: dict[str, Tensor]) -> Prompts:
        """Prompts of checked tensors: checks read values, for which a GPU has to synchronize."""
        prompts = object.__new__(cls)
        vars(prompts).update(dict.fromkeys(_FIELDS), **tensors)
        return prompts

    def _map(self, function) -> Prompts:
        return self._unchecked({name: function(tensor) for name, tensor in self._tensors().items()})

    def __len__(self) -> int:
        return len(next(iter(self._tensors().values())))

    def __getitem__(self, index: int | slice | Sequence | Tensor) -> Prompts:
        """Some of the prompts, by an integer, a slice, or a list of integers or booleans."""
        if isinstance(index, int) and not isinstance(index, bool):
            if not -len(self) <= index < len(self):
                raise IndexError(f'prompt {index} of {len(self)}')
            index = slice(index, index + 1 or None)
        elif not isinstance(index, slice):
            index = torch.as_tensor(index, device=self.device)
            if index.ndim != 1:
                raise IndexError(f'prompts are chosen by one list, not by {tuple(index.shape)}')
            if index.numel() == 0 and index.dtype != torch.bool:
                index = index.long()
        return self._map(lambda tensor: tensor[index])

    def __iter__(self) -> Iterator[Prompts]:
        return (self[i] for i in range(len(self)))

    @property
    def device(self) -> torch.device:
        """The device of the tensors."""
        return next(iter(self._tensors().values())).device

    @property
    def has_bbox(self) -> Tensor:
        """Which prompts have a box: (N,) bool."""
        return self._zeros(torch.bool) if self.bboxes is None else ~self.bboxes.isnan().any(dim=1)

    @property
    def num_points(self) -> Tensor:
        """The number of points of each prompt, without padding: (N,) int64."""
        labels = self.point_labels
        return self._zeros(torch.int64) if labels is None else (labels >= 0).sum(dim=1)

    @property
    def has_mask(self) -> Tensor:
        """Which prompts have a mask: (N,) bool."""
        masks = self.mask_input
        return self._zeros(torch.bool) if masks is None else ~masks.isnan().flatten(1).all(dim=1)

    def _zeros(self, dtype: torch.dtype) -> Tensor:
        return torch.zeros(len(self), dtype=dtype, device=self.device)

    def to(self, device: torch.device | str) -> Prompts:
        """The same prompts on another device."""
        return self._map(lambda tensor: to_device(tensor, device))

    def scaled(self, scale: Sequence[float]) -> Prompts:
        """The prompts in a resized frame; tensors without coordinates are shared.

        `scale` has the factors (sx, sy) from this frame to the other, as `scale_factor` of a data
        sample.
        """
        factors = torch.as_tensor(scale, dtype=torch.float32)
        if factors.shape != (2,) or not (factors.isfinite() & (factors > 0)).all():
            raise ValueError(f'scale must be two positive numbers (sx, sy), got {scale!r}')
        factors = to_device(factors, self.device)
        tensors = self._tensors()
        for name in ('bboxes', 'annotated_bboxes'):
            if name in tensors:
                tensors[name] = tensors[name] * factors.repeat(2)
        if self.point_coords is not None:
            tensors['point_coords'] = self.point_coords * factors
        return self._unchecked(tensors)

    def groups(self) -> Iterator[tuple[Tensor, Prompts]]:
        """Group the prompts by kind: a box alone, points alone, both, neither.

        A prompt encoder embeds a group at once: its prompts have the same number of points, and all
        or none have boxes and masks, without NaN or padding. Yields the indices (n,) int64 of a
        group's prompts, ascending, and the prompts. A prompt with nothing gets one padding point.
        """
        kinds = torch.stack((self.has_bbox, self.num_points, self.has_mask), dim=1)
        ranks = ((True, False), (False, True), (True, True), (False, False))
        distinct = [(bool(b), n, bool(m)) for b, n, m in kinds.unique(dim=0).tolist()]
        for kind in sorted(distinct, key=lambda kind: ranks.index((kind[0], kind[1] > 0))):
            with_bbox, num_points, with_mask = kind
            indices = (kinds == torch.tensor(kind, device=kinds.device)).all(dim=1).nonzero()[:, 0]
            group = self[indices]
            if not with_bbox:
                group.bboxes = None
            if not with_mask:
                group.mask_input = None
            if num_points:  # without padding, in their order
                padding = (group.point_labels < 0).int()
                order = padding.argsort(dim=1, stable=True)[:, :num_points]
                group.point_labels = group.point_labels.gather(1, order)
                order = order[..., None].expand(-1, -1, 2)
                group.point_coords = group.point_coords.gather(1, order)
            else:
                group.point_coords = group.point_labels = None
            if not (with_bbox or num_points or with_mask):
                n = len(indices)
                group.point_coords = torch.zeros(n, 1, 2, device=self.device)
                group.point_labels = torch.full((n, 1), -1, device=self.device)
            yield indices, group


def _checked(name: str, value, shape: tuple, dtype: torch.dtype) -> Tensor:
    """`value` as a tensor of `dtype` whose shape fits `shape` (a string there matches any size)."""
    try:
        tensor = torch.as_tensor(value).to(dtype)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f'Prompts.{name} must be a tensor, got {value!r:.200}: {error}') from error
    # an empty list stands for no prompts
    if tensor.numel() == 0 and tensor.ndim == 1 and len(shape) > 1:
        tensor = tensor.reshape([0 if isinstance(size, str) else size for size in shape])
    fits = tensor.ndim == len(shape) and all(
        isinstance(expected, str) or expected == size for expected, size in zip(shape, tensor.shape)
    )
    if not fits:
        raise ValueError(
            f'Prompts.{name} has shape {tuple(tensor.shape)}, expected '
            f'({", ".join(map(str, shape))}): a row for each'
        )
    return tensor
