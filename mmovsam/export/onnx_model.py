"""An exported model in onnxruntime."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from ..prompts import Prompts
from .vocabulary import VocabularyArrays

FORMAT = 'mmovsam ONNX, version 1'
SETTINGS = 'model.json'
PROVIDERS = ('CPUExecutionProvider',)
BOX_CORNERS, PADDING = (2, 3), -1  # labels of points beside 1 (foreground) and 0 (background)


class ONNXModel:
    """Encoder and decoder of an export in onnxruntime.

    Args:
        path: The folder of the export, or `model.json` in it.
        precision: `'float32'` or `'int8'`, of the weights.
        num_threads: Threads of each operation; 0 for all cores.
        providers: Execution providers of onnxruntime, the preferred first, such as
            `('CUDAExecutionProvider', 'CPUExecutionProvider')` with the package onnxruntime-gpu.

    Attributes:
        settings: The content of `model.json`.
        vocabulary: By default that of the export; None for a model without names. It can be
            replaced at any time, and encoded images stay valid.

    Raises:
        ImportError: onnxruntime is not installed.
        FileNotFoundError: The export does not exist.
        ValueError: The export is malformed or has no weights in this precision, or onnxruntime
            lacks a provider.
    """

    def __init__(
        self,
        path: str | PathLike,
        precision: str = 'float32',
        num_threads: int = 0,
        providers: Sequence[str] = PROVIDERS,
    ) -> None:
        folder = Path(path).parent if Path(path).name == SETTINGS else Path(path)
        self.settings = _read_settings(folder / SETTINGS)
        files = self.settings['files'].get(precision)
        if files is None:
            raise ValueError(
                f'{folder} has no weights in {precision!r}, it has '
                f'{sorted(self.settings["files"])}. Write them with tools/export.py.'
            )
        self.encoder, self.decoder = (
            _session(folder / files[part], num_threads, providers)
            for part in ('encoder', 'decoder')
        )
        self.vocabulary = None
        if 'vocabulary' in self.settings:
            self.vocabulary = VocabularyArrays.load(folder / self.settings['vocabulary'])

    def encode(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Encode an image `(1, 3, S, S)` float32, normalized and padded."""
        outputs = self.encoder.run(None, dict(image=image))
        return dict(zip(self.settings['encoder']['outputs'], outputs))

    def decode(
        self, features: dict[str, np.ndarray], prompts: Prompts, img_shape: tuple[int, int]
    ) -> tuple[np.ndarray, ...]:
        """Segment and name N prompts, boxes and points in pixels of the network's input.

        `img_shape` is the `(H, W)` of the image in the input. Returns logits `(N, 1, h, w)`,
        quality `(N,)` and, for a model with names, probabilities `(N, K)`.
        """
        shared = dict(features, img_shape=np.array(img_shape[:2], np.int64))
        if self.vocabulary is not None:
            shared.update(self.vocabulary.inputs)
        indices, outputs = [], []
        for index, points in point_groups(prompts):
            indices.append(index)
            outputs.append(self.decoder.run(None, dict(shared, **points)))
        if not outputs:
            points = _points(np.zeros((0, 1, 2)), np.zeros((0, 1)))
            return tuple(self.decoder.run(None, dict(shared, **points)))
        order = np.argsort(np.concatenate(indices))
        return tuple(np.concatenate(output)[order] for output in zip(*outputs))


def _read_settings(path: Path) -> dict:
    try:
        settings = json.loads(path.read_text(encoding='utf-8'))
    except FileNotFoundError:
        raise FileNotFoundError(
            f'There is no export {path} (in {Path.cwd()}). Write it with tools/export.py.'
        ) from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{path} is damaged ({error}). Write it again.') from None
    if not isinstance(settings, dict) or settings.get('format') != FORMAT:
        raise ValueError(f'{path} is not of the format {FORMAT!r}. Export the model again.')
    if not _is_complete(settings):
        raise ValueError(f'{path} lacks settings or has wrong ones. Export the model again.')
    return settings


def _is_complete(settings: dict) -> bool:
    """Whether settings have plain file names, and the graphs' inputs and outputs."""
    parts, files = ('encoder', 'decoder'), settings.get('files')
    if not isinstance(files, dict) or not all(isinstance(group, dict) for group in files.values()):
        return False
    names = [group.get(part) for group in files.values() for part in parts]
    names.append(settings.get('vocabulary', 'none'))
    graphs = [settings.get(part) for part in parts]
    if not all(isinstance(graph, dict) and {'inputs', 'outputs'} <= {*graph} for graph in graphs):
        return False
    # opening longer names fails with another error than a missing file
    return all(
        isinstance(name, str)
        and 0 < len(name.encode(errors='replace')) < 256
        and Path(name).name == name
        for name in names
    )


def _session(path: Path, num_threads: int, providers: Sequence[str]):
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(f"This needs: pip install 'mmovsam[export]' ({error})") from None
    available = onnxruntime.get_available_providers()
    missing = [name for name in providers if name not in available]
    if missing:
        raise ValueError(
            f'onnxruntime has no {", ".join(missing)}: it has {", ".join(available)} '
            '(onnxruntime-gpu?)'
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    if not path.is_file():
        raise FileNotFoundError(f'The export lacks {path}. Write it with tools/export.py.')
    try:
        return onnxruntime.InferenceSession(path, options, providers=list(providers))
    except Exception as error:  # onnxruntime has a class for each of its error codes
        reason = ' '.join(str(error).split())[:200]
        raise ValueError(
            f'{path} is no graph for onnxruntime ({reason}). Write it again.'
        ) from None


def point_groups(prompts: Prompts) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Inputs of the exported decoder, in groups of prompts with the same number of points.

    A box is two points after the others; without a box, a point of padding follows. Yields indices
    of prompts `(n,)`, and their `point_coords` `(n, P, 2)` and `point_labels` `(n, P)`.
    """
    for index, group in prompts.groups():
        if group.mask_input is not None:
            raise ValueError('Prompts of an export are boxes and points; give no mask_input.')
        count = len(group)
        coords, labels = [np.zeros((count, 0, 2))], [np.zeros((count, 0))]
        if group.point_coords is not None:
            coords.append(group.point_coords.cpu().numpy())
            labels.append(group.point_labels.cpu().numpy())
        if group.bboxes is not None:
            coords.append(group.bboxes.cpu().numpy().reshape(count, 2, 2))
            labels.append(np.tile(BOX_CORNERS, (count, 1)))
        else:
            coords.append(np.zeros((count, 1, 2)))
            labels.append(np.full((count, 1), PADDING))
        yield index.cpu().numpy(), _points(np.concatenate(coords, 1), np.concatenate(labels, 1))


def _points(coords: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    return dict(point_coords=coords.astype(np.float32), point_labels=labels.astype(np.int64))
