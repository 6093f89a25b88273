"""Feature maps of photographs, computed once by the frozen tower and kept on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..checkpoints.fingerprint import module_fingerprint
from .augmentation import make_inputs, random_transforms, test_transforms
from .data import PhotoData


class EncodedPhotos:
    """Feature maps of a frozen tower in memory-mapped float16 files.

    Those of EfficientNet-Lite2 take 3.8 MB a view. An interrupted run goes on where it stopped.
    Each of the N photographs has V views: one as in a test, then augmented ones. Maps of other
    photographs in the folder raise a `ValueError`.

    Attributes:
        transforms: `(V * N, 4)`, from photograph to input, see `test_transforms`; the first views
            of all photographs come before the second views of all.
    """

    def __init__(self, folder: Path, data: PhotoData, views: int = 2) -> None:
        self.folder, self.data = folder, data
        folder.mkdir(parents=True, exist_ok=True)
        self.done = self._file('done', (views * len(data),), np.bool_)
        augmented = [self._augmentation(number)[0] for number in range(len(data), len(self.done))]
        self.transforms = torch.cat((test_transforms(data.sizes), *augmented))
        self.levels = [
            np.lib.format.open_memmap(file, 'r+') for file in sorted(folder.glob('level*.npy'))
        ]

    def __len__(self) -> int:
        return len(self.done)

    @torch.inference_mode()
    def encode(self, tower: nn.Module, amp: bool = False) -> None:
        """Compute the missing maps with a tower in eval mode on the device of the data.

        `amp` is bfloat16. Maps of another tower in the folder raise a `ValueError`.
        """
        tower_file, fingerprint = self.folder / 'tower.txt', module_fingerprint(tower)
        if tower_file.is_file() and tower_file.read_text() != fingerprint:
            raise ValueError(
                f'{self.folder} has the maps of another tower. Delete it, or choose another folder.'
            )
        tower_file.write_text(fingerprint)
        missing = np.flatnonzero(~self.done).tolist()
        bar = tqdm(total=len(self), initial=len(self) - len(missing), desc='encoding photographs')
        for number in missing:
            index = torch.tensor([number % len(self.data)])
            transform, colors = self.transforms[number][None], self.colors_of(number)
            inputs = make_inputs(self.data, index, transform, colors)
            with torch.autocast(inputs.device.type, torch.bfloat16, enabled=amp):
                maps = tower(inputs)
            if not self.levels:
                self.levels = [
                    self._file(f'level{level}', (len(self), *values.shape[1:]), np.float16)
                    for level, values in enumerate(maps)
                ]
            for level, values in zip(self.levels, maps):
                level[number] = values[0].half().cpu().numpy()
            self.done[number] = True
            bar.update()
        bar.close()

    def maps(self, number: int) -> tuple[Tensor, ...]:
        """Maps `(1, C, h, w)` float32 of a view, from fine to coarse."""
        return tuple(
            torch.from_numpy(level[number : number + 1]).to(self.data.device).float()
            for level in self.levels
        )

    def colors_of(self, number: int) -> torch.Generator | None:
        """The generator of the color jitter of a view; None for a view as in a test."""
        return self._augmentation(number)[1] if number >= len(self.data) else None

    def _augmentation(self, number: int) -> tuple[Tensor, torch.Generator]:
        """The transform of an augmented view, and the generator of its color jitter."""
        generator = torch.Generator().manual_seed(number)
        size = self.data.sizes[number % len(self.data)][None]
        return random_transforms(size, generator), generator

    def _file(self, name: str, shape: tuple[int, ...], dtype: type) -> np.memmap:
        path = self.folder / f'{name}.npy'
        if not path.is_file():
            return np.lib.format.open_memmap(path, 'w+', dtype, shape)
        file = np.lib.format.open_memmap(path, 'r+')
        if file.shape != shape or file.dtype != dtype:
            raise ValueError(
                f'{path} has the maps of other photographs: it holds {file.shape}, {shape} was '
                f'expected. Delete {self.folder}, or choose another folder.'
            )
        return file
