"""One checkpoint out of the files that people have, and the same files out of a checkpoint."""

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
from .sources import Source, by_part, named_tensors

_MASK_TOKENS = 'head.mask_decoder.mask_tokens.weight'
_LABEL_TOKEN = 'head.label_token.weight'
_COUNTER = 'num_batches_tracked'


def expected_tensors(config: Config) -> dict[str, Tensor]:
    """Names, shapes and types of the model of a config, on the `meta` device.

    Nothing that the config names is read or downloaded.
    """
    scope = DefaultScope.overwrite_default_scope(config.get('default_scope') or 'mmdet')
    with scope, torch.device('meta'):
        return MODELS.build(config.model).state_dict()


@dataclass
class Conversion:
    """A checkpoint that is ready to be written, unless there are problems."""

    tensors: dict[str, Tensor]
    """By the names of the model."""
    sources: list[Source]
    left: list[str]
    """Names of the model that no given source holds."""
    problems: list[str]

    def report(self) -> str:
        """What became of each source, and what the checkpoint does not hold."""
        lines = [line for source in self.sources for line in source.report()]
        for part, names in by_part(self.left).items():
            place = locate(names[0], decoder_of='sam')
            origin = f'comes with --{place[0]}' if place else 'is in none of these formats'
            lines.append(f'Not in the checkpoint: {part} ({len(names):,} tensors) {origin}')
        return '\n'.join(lines)

    def save(self, path) -> None:
        """Write the checkpoint, `.pth` or `.safetensors`, whole or not at all.

        Raises:
            ValueError: There are problems, or the name ends otherwise; nothing is written.
        """
        if self.problems:
            raise ValueError('\n'.join(['Nothing was written.', *self.problems]))
        notes = {f'{source.key}_file': Path(source.name).name for source in self.sources}
        save_checkpoint(self.tensors, path, {'mmovsam_version': __version__, **notes})


def convert(
    files: Mapping[str, str],
    target: Mapping[str, Tensor],
    allow_unexpected: Sequence[str] = (),
    allow_missing: Sequence[str] = (),
) -> Conversion:
    """Collect the parameters of a model out of the files that people have.

    Every part of the model that a given file is there for becomes complete. Types become those of
    the model. SAM's mask decoder is taken where no clip2sam file is given; of its masks, as many as
    the model has. Of a SAM at an address only the part is fetched that the model needs. Where the
    model has another image size than 1024, positions are resampled. Memory is needed for what
    changes on the way only.

    Args:
        files: By the keys of `FORMATS`; see `Source.read`.
        target: What `expected_tensors` says.
        allow_unexpected: Prefixes of names in the files that are no fault.
        allow_missing: Prefixes of names in the model that may be missing.

    Raises:
        FileNotFoundError: A file does not exist.
        ValueError: A file is no checkpoint.
    """
    files = {key: str(files[key]) for key in FORMATS if files.get(key)}
    if 'sam' in files:
        files['sam'] = _part_wanted(files, target)
    sources = {key: Source.read(key, name) for key, name in files.items()}
    wanted, left = {key: {} for key in sources}, []
    for name in target:
        key, file_name = _place(name, sources, target)
        if key in sources:
            wanted[key][name] = file_name
        else:
            left.append(name)
    tensors, problems = {}, []
    for key, source in sources.items():
        tensors.update(_take(source, wanted[key], target))
        source.release()
        problems += source.problems(allow_unexpected, allow_missing)
    return Conversion(tensors, list(sources.values()), left, problems)


def _part_wanted(files: Mapping[str, str], target: Mapping[str, Tensor]) -> str:
    """SAM's file; at an address that part of it, if it is one, that the model needs."""
    if not is_address(files['sam']) or PART in files['sam']:
        return files['sam']
    places = [_place(name, files, target) for name in target]
    parts = {file_name.split('.')[0] for key, file_name in places if key == 'sam'}
    return f'{files["sam"]}{PART}{parts.pop()}.' if len(parts) == 1 else files['sam']


def _place(name: str, sources: Collection[str], target: Mapping) -> tuple[str | None, str]:
    """The format that gives a parameter, and its name there."""
    if name == 'neck.pos_embed' and 'sam2clip' not in sources and 'sam' in sources:
        # training an adapter starts from its teacher's positions
        teacher = target.get('teacher.pos_embed')
        if teacher is not None and teacher.shape == target[name].shape:
            return 'sam', 'image_encoder.pos_embed'
    decoder_of = 'clip2sam' if 'clip2sam' in sources else 'sam'
    return locate(name, decoder_of) or (None, name)


def _take(source: Source, wanted: Mapping[str, str], target: Mapping) -> dict[str, Tensor]:
    """What a source gives, in the types and shapes of the model; says what does not fit."""
    taken, num_cast = {}, 0
    for name, file_name in wanted.items():
        like = target[name]
        if file_name not in source.tensors:
            if name.endswith(_COUNTER):  # younger than many a file, and not used by frozen norms
                taken[name] = torch.zeros(like.shape, dtype=like.dtype)
            else:
                source.missing.append(name)
            continue
        tensor = source.tensors[file_name]
        source.used.add(file_name)
        has_masks = source.key == 'sam' and name.endswith(_MASK_TOKENS)
        if has_masks and tensor.shape[:1] > like.shape[:1]:
            source.notes.append(f'the first {len(like)} of {len(tensor)} masks')
            tensor = tensor[: len(like)]
        num_cast += tensor.dtype != like.dtype
        taken[name] = tensor.to(like.dtype)
    resampled = resample_positions(taken, {name: target[name].shape for name in taken})
    taken.update(resampled)
    source.differing = [
        f'{wanted[name]} is {tuple(source.tensors[wanted[name]].shape)} in the file and '
        f'{tuple(target[name].shape)} in the model'
        for name, tensor in taken.items()
        if tensor.shape != target[name].shape
    ]
    if num_cast:
        source.notes.append(f"{num_cast:,} tensors turned into the model's type")
    for name in resampled:
        before, after = (tuple(t.shape) for t in (source.tensors[wanted[name]], resampled[name]))
        source.notes.append(f'resampled to the image size: {wanted[name]} {before} to {after}')
    return taken


def export_released(
    checkpoint, folder, allow_unexpected: Sequence[str] = ()
) -> dict[str, tuple[Path, int]]:
    """Write the parameters of one of our checkpoints to files of the formats they came from.

    The files in `folder` are `{format}_{name of the checkpoint}.pth`: CLIP's image tower under
    open_clip's names, SAM's parts under SAM's, and the two released files. Values and types are as
    they were. Prefixes of names in the checkpoint may be left out.

    Returns:
        By format the file and how many tensors it holds.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ValueError: It holds what belongs to no format; nothing is written.
    """
    names = list(named_tensors(checkpoint))
    decoder_of = 'clip2sam' if _LABEL_TOKEN in names else 'sam'
    places = {name: locate(name, decoder_of) for name in names}
    unexpected = [
        name
        for name, place in places.items()
        if place is None and not name.startswith(tuple(allow_unexpected))
    ]
    if unexpected or not any(places.values()):
        raise ValueError(
            f'{checkpoint} holds {len(unexpected)} tensors that belong to no released format '
            f'({", ".join(by_part(unexpected))}). Is it of OVSAM? If they may be left out, name '
            'their prefix with --allow-unexpected. Nothing was written.'
        )
    written = {}
    for key in FORMATS:
        renamed = {name: place[1] for name, place in places.items() if place and place[0] == key}
        if not renamed:
            continue
        path = Path(folder) / f'{key}_{Path(checkpoint).stem}.pth'
        # read again for each: what one file has brought into memory is let go of before the next
        tensors = named_tensors(checkpoint)
        save_checkpoint({file_name: tensors[name] for name, file_name in renamed.items()}, path)
        written[key] = path, len(renamed)
    return written
