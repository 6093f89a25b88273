"""The tower's maps of photographs, computed once and kept on disk."""

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
    """Maps of a tower that stays as it is, in memory-mapped files of 16 bits.

    Those of EfficientNet-Lite2 take 3.8 MB a view. What an interrupted run has computed is not
    computed again. Each of the N photographs is encoded V times: as in a test first, then
    augmented. Maps of other photographs in the folder are a `ValueError`.

    Attributes:
        transforms: `(V * N, 4)`, which take a place of each photograph to the input, see
            `test_transforms`; the views of all photographs before the next views of all.
    """

    def __init__(self, folder: Path, data: PhotoData, views: int = 2) -> None:
        self.folder, self.data = folder, data
        folder.mkdir(parents=True, exist_ok=True)
        self.done = self._file('done', (views * len(data),), np.bool_)
        tested = test_transforms(data.sizes)
        drawn = [self._drawn(number)[0] for number in range(len(data), len(self.done))]
        self.transforms = torch.cat((tested, *drawn))
        self.levels = [
            np.lib.format.open_memmap(file, 'r+') for file in sorted(folder.glob('level*.npy'))
        ]

    def __len__(self) -> int:
        return len(self.done)

    @torch.inference_mode()
    def encode(self, tower: nn.Module, amp: bool = False) -> None:
        """Compute what is not there yet, by a tower in eval mode on the device of the data.

        With `amp` it computes in bfloat16. Maps of another tower in the folder are a `ValueError`.
        """
        mark, digest = self.folder / 'tower.txt', module_fingerprint(tower)
        if mark.is_file() and mark.read_text() != digest:
            raise ValueError(
                f'{self.folder} has the maps of another tower. Delete it, or choose another folder.'
            )
        mark.write_text(digest)
        left = np.flatnonzero(~self.done).tolist()
        bar = tqdm(total=len(self), initial=len(self) - len(left), desc='encoding photographs')
        for number in left:
            index = torch.tensor([number % len(self.data)])
            transform, colors = self.transforms[number][None], self.colors_of(number)
            inputs = make_inputs(self.data, index, transform, colors)
            with torch.autocast(inputs.device.type, torch.bfloat16, enabled=amp):
                maps = tower(inputs)
            if not self.levels:
                self.levels = [
                    self._file(f'level{level}', (len(self), *each.shape[1:]), np.float16)
                    for level, each in enumerate(maps)
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
        """What draws the colors of a view; None for one as in a test."""
        return self._drawn(number)[1] if number >= len(self.data) else None

    def _drawn(self, number: int) -> tuple[Tensor, torch.Generator]:
        """The transform of an augmented view, and what draws its colors."""
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
