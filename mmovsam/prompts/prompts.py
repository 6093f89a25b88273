"""The prompts of one image: boxes, points and masks, as many as there are objects asked about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..layers import to_device


def _checked(name: str, value, shape: tuple, dtype: torch.dtype) -> Tensor:
    """`value` as a tensor of `dtype` whose shape fits `shape` (a string there matches any size)."""
    try:
        tensor = torch.as_tensor(value).to(dtype)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f'Prompts.{name} must be a tensor, got {value!r:.200}: {error}') from error
    # Nothing at all, such as an empty list, stands for no prompts.
    if tensor.numel() == 0 and tensor.ndim == 1 and len(shape) > 1:
        tensor = tensor.reshape([0 if isinstance(size, str) else size for size in shape])
    fits = tensor.ndim == len(shape) and all(
        isinstance(want, str) or want == got for want, got in zip(shape, tensor.shape)
    )
    if not fits:
        wanted = ', '.join(str(size) for size in shape)
        raise ValueError(
            f'Prompts.{name} has shape {tuple(tensor.shape)}, expected ({wanted}): a row for each'
        )
    return tensor


@dataclass(eq=False)
class Prompts:
    """The N prompts of one image, all in the pixels of one frame.

    The frame is the original image unless the code at hand says otherwise (see `scaled`). A prompt
    has a box, points, a mask, or several of them. In a set that mixes kinds, a prompt without a box
    has a row of NaN in `bboxes`, one without points has only padding in `point_labels`, and one
    without a mask has a `mask_input` of NaN; `groups` takes such a set apart.

    Args:
        bboxes: Boxes (N, 4), xyxy in pixels, float32; a row of NaN stands for no box.
        point_coords: Points (N, P, 2), xy in pixel indices, float32.
        point_labels: Their labels (N, P), int64: 1 foreground, 0 background, -1 padding.
        mask_input: Low-resolution mask logits (N, 1, h, w), float32; NaN throughout stands for no
            mask.
        labels: What a detector called each prompt, (N,), int64.
        scores: How sure it was, (N,), float32.
        annotated_bboxes: Of the annotated objects that the prompts stand for, (N, 4), xyxy in
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
        layout = dict(
            bboxes=(('N', 4), torch.float32),
            point_coords=(('N', 'P', 2), torch.float32),
            point_labels=(('N', 'P'), torch.int64),
            mask_input=(('N', 1, 'h', 'w'), torch.float32),
            labels=(('N',), torch.int64),
            scores=(('N',), torch.float32),
            annotated_bboxes=(('N', 4), torch.float32),
        )
        for name, (shape, dtype) in layout.items():
            value = getattr(self, name)
            if value is not None:
                setattr(self, name, _checked(name, value, shape, dtype))
        present = self._present()
        if not present.keys() & {'bboxes', 'point_coords', 'point_labels', 'mask_input'}:
            raise ValueError(
                'Prompts need bboxes, points or mask_input; for no prompts use Prompts.empty()'
            )
        sizes = {name: len(tensor) for name, tensor in present.items()}
        if len(set(sizes.values())) > 1:
            raise ValueError(f'Prompts disagree about their number: {sizes}; give one row for each')
        if (self.point_coords is None) != (self.point_labels is None):
            raise ValueError(
                'Prompts need point_coords and point_labels together (1, 0 background, -1 padding)'
            )
        if self.point_coords is not None:
            self._check_points()
        for name in ('bboxes', 'mask_input'):
            rows = present.get(name, torch.empty(0, 1)).flatten(1)
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
        """No prompts at all: `bboxes` of shape (0, 4) and nothing else."""
        return cls(bboxes=torch.zeros(0, 4, device=device))

    def _present(self) -> dict[str, Tensor]:
        named = ((name, getattr(self, name)) for name in self.__dataclass_fields__)
        return {name: tensor for name, tensor in named if tensor is not None}

    @classmethod
    def _made(cls, present: dict[str, Tensor]) -> Prompts:
        """Prompts out of parts of some that were checked: to check reads values, on any device."""
        made = object.__new__(cls)
        for name in cls.__dataclass_fields__:
            setattr(made, name, present.get(name))
        return made

    def _map(self, function) -> Prompts:
        return self._made({name: function(tensor) for name, tensor in self._present().items()})

    def __len__(self) -> int:
        return len(next(iter(self._present().values())))

    def __getitem__(self, index: int | slice | Sequence | Tensor) -> Prompts:
        """Some of the prompts, by a slice, or integers or booleans; one prompt is a set of one."""
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
        """Where the tensors live."""
        return next(iter(self._present().values())).device

    @property
    def has_bbox(self) -> Tensor:
        """Which prompts have a box: (N,) bool."""
        return self._none(torch.bool) if self.bboxes is None else ~self.bboxes.isnan().any(dim=1)

    @property
    def num_points(self) -> Tensor:
        """How many points that are no padding each prompt has: (N,) int64."""
        labels = self.point_labels
        return self._none(torch.int64) if labels is None else (labels >= 0).sum(dim=1)

    @property
    def has_mask(self) -> Tensor:
        """Which prompts have a mask: (N,) bool."""
        masks = self.mask_input
        return self._none(torch.bool) if masks is None else ~masks.isnan().flatten(1).all(dim=1)

    def _none(self, dtype: torch.dtype) -> Tensor:
        return torch.zeros(len(self), dtype=dtype, device=self.device)

    def to(self, device: torch.device | str) -> Prompts:
        """The same prompts on another device."""
        return self._map(lambda tensor: to_device(tensor, device))

    def scaled(self, scale: Sequence[float]) -> Prompts:
        """The same prompts in a frame of another size; whatever is not moved is shared.

        `scale` has the factors (sx, sy) from this frame to the other, as `scale_factor` has them
        from the original image to the resized one.
        """
        factors = torch.as_tensor(scale, dtype=torch.float32)
        if factors.shape != (2,) or not (factors.isfinite() & (factors > 0)).all():
            raise ValueError(f'scale must be two positive numbers (sx, sy), got {scale!r}')
        factors = to_device(factors, self.device)
        present = self._present()
        for name in ('bboxes', 'annotated_bboxes'):
            if name in present:
                present[name] = present[name] * factors.repeat(2)
        if self.point_coords is not None:
            present['point_coords'] = self.point_coords * factors
        return self._made(present)

    def groups(self) -> Iterator[tuple[Tensor, Prompts]]:
        """The prompts by kind: those with a box alone, with points alone, with both, with neither.

        A prompt encoder embeds each group at once: within a group every prompt has what any has, as
        many points, and a mask or none, without the NaN and padding that would change what a
        decoder says. Yields the places (n,) int64 in this set, ascending, and the prompts there. A
        prompt with nothing has one padding point.
        """
        kinds = torch.stack((self.has_bbox, self.num_points, self.has_mask), dim=1)
        order = ((True, False), (False, True), (True, True), (False, False))
        distinct = [(bool(b), n, bool(m)) for b, n, m in kinds.unique(dim=0).tolist()]
        for kind in sorted(distinct, key=lambda kind: order.index((kind[0], kind[1] > 0))):
            with_bbox, num_points, with_mask = kind
            chosen = (kinds == torch.tensor(kind, device=kinds.device)).all(dim=1)
            indices = chosen.nonzero()[:, 0]
            group = self[indices]
            if not with_bbox:
                group.bboxes = None
            if not with_mask:
                group.mask_input = None
            if num_points:  # those that are no padding, in their order
                padding = (group.point_labels < 0).int()
                places = padding.argsort(dim=1, stable=True)[:, :num_points]
                group.point_labels = group.point_labels.gather(1, places)
                places = places[..., None].expand(-1, -1, 2)
                group.point_coords = group.point_coords.gather(1, places)
            else:
                group.point_coords = group.point_labels = None
            if not (with_bbox or num_points or with_mask):
                n = len(indices)
                group.point_coords = torch.zeros(n, 1, 2, device=self.device)
                group.point_labels = torch.full((n, 1), -1, device=self.device)
            yield indices, group
