"""Conversion of released files to one checkpoint, and back."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor

from ..downloads import is_address
from ..version import __version__
from .loading import save_checkpoint
from .released import FORMATS, locate
from .remote import PART
from .resample import resample_positions
from .sources import Source, by_prefix, named_tensors

_MASK_TOKENS = 'head.mask_decoder.mask_tokens.weight'
_LABEL_TOKEN = 'head.label_token.weight'
_BATCH_COUNTER = 'num_batches_tracked'


def expected_tensors(config: Config) -> dict[str, Tensor]:
    """The state dict of a config's model on the `meta` device; no file is read or downloaded."""
    scope = DefaultScope.overwrite_default_scope(config.get('default_scope') or 'mmdet')
    with scope, torch.device('meta'):
        return MODELS.build(config.model).state_dict()


@dataclass
class Conversion:
    """A converted checkpoint, which can be saved if there are no problems.

    Attributes:
        tensors: The state dict, by the names of the model.
        sources: The files.
        missing: Names of the model that are in none of the files.
        problems: Sentences.
    """

    tensors: dict[str, Tensor]
    sources: list[Source]
    missing: list[str]
    problems: list[str]

    def report(self) -> str:
        """What was used of each source, and what the checkpoint lacks."""
        lines = [line for source in self.sources for line in source.report()]
        for prefix, names in by_prefix(self.missing).items():
            location = locate(names[0], decoder_of='sam')
            origin = f'comes with --{location[0]}' if location else 'is in none of these formats'
            lines.append(f'Not in the checkpoint: {prefix} ({len(names):,} tensors) {origin}')
        return '\n'.join(lines)

    def save(self, path) -> None:
        """Write the checkpoint, `.pth` or `.safetensors`, atomically.

        Raises:
            ValueError: There are problems, or the suffix is another one; nothing is written.
        """
        if self.problems:
            raise ValueError('\n'.join(['Nothing was written.', *self.problems]))
        files = {f'{source.key}_file': Path(source.name).name for source in self.sources}
        save_checkpoint(self.tensors, path, {'mmovsam_version': __version__, **files})


def convert(
    files: Mapping[str, str],
    target: Mapping[str, Tensor],
    allow_unexpected: Sequence[str] = (),
    allow_missing: Sequence[str] = (),
) -> Conversion:
    """Collect the parameters of a model from released files.

    Tensors get the model's types. SAM's mask decoder is used if no clip2sam file is given, with as
    many of its masks as the model has, and of a SAM at an address only the needed part is fetched.
    Position embeddings are resampled to the model's image size. Unchanged tensors stay
    memory-mapped.

    Args:
        files: By the keys of `FORMATS`; see `Source.read`.
        target: The result of `expected_tensors`.
        allow_unexpected: Prefixes of names in the files that may be left over.
        allow_missing: Prefixes of names in the model that may be missing.

    Raises:
        FileNotFoundError: A file does not exist.
        ValueError: A file is no checkpoint.
    """
    files = {key: str(files[key]) for key in FORMATS if files.get(key)}
    if 'sam' in files:
        files['sam'] = _needed_part_of_sam(files, target)
    sources = {key: Source.read(key, name) for key, name in files.items()}
    names_in_files, missing = {key: {} for key in sources}, []
    for name in target:
        key, file_name = _locate(name, sources, target)
        if key in sources:
            names_in_files[key][name] = file_name
        else:
            missing.append(name)
    tensors, problems = {}, []
    for key, source in sources.items():
        tensors.update(_convert_source(source, names_in_files[key], target))
        source.release()
        problems += source.problems(allow_unexpected, allow_missing)
    return Conversion(tensors, list(sources.values()), missing, problems)


def _needed_part_of_sam(files: Mapping[str, str], target: Mapping[str, Tensor]) -> str:
    """SAM's file; if it is at an address and the model needs one of its modules, that module."""
    if not is_address(files['sam']) or PART in files['sam']:
        return files['sam']
    locations = [_locate(name, files, target) for name in target]
    modules = {file_name.split('.')[0] for key, file_name in locations if key == 'sam'}
    return f'{files["sam"]}{PART}{modules.pop()}.' if len(modules) == 1 else files['sam']


def _locate(name: str, sources: Collection[str], target: Mapping) -> tuple[str | None, str]:
    """The format that holds a parameter, and its name there."""
    if name == 'neck.pos_embed' and 'sam2clip' not in sources and 'sam' in sources:
        # training of an adapter starts with the teacher's position embedding
        teacher = target.get('teacher.pos_embed')
        if teacher is not None and teacher.shape == target[name].shape:
            return 'sam', 'image_encoder.pos_embed'
    decoder_of = 'clip2sam' if 'clip2sam' in sources else 'sam'
    return locate(name, decoder_of) or (None, name)


def _convert_source(
    source: Source, file_names: Mapping[str, str], target: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """A source's tensors in the model's types and shapes; what does not fit is noted in it.

    `file_names` has the names in the file by the names of the model.
    """
    tensors, file_shapes, num_cast = {}, {}, 0
    for name, file_name in file_names.items():
        expected = target[name]
        if file_name not in source.tensors:
            if name.endswith(_BATCH_COUNTER):  # not in old files, and not used by frozen norms
                tensors[name] = torch.zeros(expected.shape, dtype=expected.dtype)
            else:
                source.missing.append(name)
            continue
        tensor = source.tensors[file_name]
        source.used.add(file_name)
        file_shapes[name] = tuple(tensor.shape)
        is_mask_tokens = source.key == 'sam' and name.endswith(_MASK_TOKENS)
        if is_mask_tokens and tensor.shape[:1] > expected.shape[:1]:
            source.notes.append(f'the first {len(expected)} of {len(tensor)} masks')
            tensor = tensor[: len(expected)]
        num_cast += tensor.dtype != expected.dtype
        tensors[name] = tensor.to(expected.dtype)
    resampled = resample_positions(tensors, {name: target[name].shape for name in tensors})
    tensors.update(resampled)
    source.differing = [
        f'{file_names[name]} is {file_shapes[name]} in the file and '
        f'{tuple(target[name].shape)} in the model'
        for name, tensor in tensors.items()
        if tensor.shape != target[name].shape
    ]
    if num_cast:
        source.notes.append(f"{num_cast:,} tensors turned into the model's type")
    source.notes += [
        f'resampled to the image size: {file_names[name]} {file_shapes[name]} to '
        f'{tuple(tensor.shape)}'
        for name, tensor in resampled.items()
    ]
    return tensors


def export_released(
    checkpoint, folder, allow_unexpected: Sequence[str] = ()
) -> dict[str, tuple[Path, int]]:
    """Write the parameters of one of our checkpoints to files in the formats they came from.

    The files in `folder` are `{format}_{name of the checkpoint}.pth`: CLIP's image tower under
    open_clip's names, SAM's modules under SAM's, and the two released files. Values and types are
    kept. `allow_unexpected` are prefixes of names in the checkpoint that may be left out.

    Returns:
        By format the file and its number of tensors.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ValueError: It has tensors that belong to no format; nothing is written.
    """
    names = list(named_tensors(checkpoint))
    decoder_of = 'clip2sam' if _LABEL_TOKEN in names else 'sam'
    locations = {name: locate(name, decoder_of) for name in names}
    unexpected = [
        name
        for name, location in locations.items()
        if location is None and not name.startswith(tuple(allow_unexpected))
    ]
    if unexpected or not any(locations.values()):
        raise ValueError(
            f'{checkpoint} holds {len(unexpected)} tensors that belong to no released format '
            f'({", ".join(by_prefix(unexpected))}). Is it of OVSAM? If they may be left out, name '
            'their prefix with --allow-unexpected. Nothing was written.'
        )
    written = {}
    for key in FORMATS:
        file_names = {name: loc[1] for name, loc in locations.items() if loc and loc[0] == key}
        if not file_names:
            continue
        path = Path(folder) / f'{key}_{Path(checkpoint).stem}.pth'
        tensors = named_tensors(checkpoint)  # mapped anew, so that the last file's memory is freed
        save_checkpoint({file_name: tensors[name] for name, file_name in file_names.items()}, path)
        written[key] = path, len(file_names)
    return written
