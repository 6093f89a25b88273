"""The files that a checkpoint is converted from, and reports about them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from ..downloads import fetch, is_address, licence_of
from .loading import SCHEME, load_checkpoint_file, state_dict_of
from .released import FORMATS, format_of

_TEXT_TOWER = (
    'transformer.',
    'token_embedding.',
    'positional_embedding',
    'ln_final.',
    'text_projection',
    'text.',
    'text_decoder.',
    'logit_scale',
    'logit_bias',
    'attn_mask',
    'input_resolution',
    'context_length',
    'vocab_size',
)
_MULTIMASK = (
    'mask_decoder.output_hypernetworks_mlps.',
    'mask_decoder.iou_token.',
    'mask_decoder.iou_prediction_head.',
)
_SAM_PARTS = ('image_encoder.', 'prompt_encoder.', 'mask_decoder.')


@dataclass
class Source:
    """A file and the result of its conversion.

    Attributes:
        key: A key of `FORMATS`, and the option of the command line.
        name: As given by the user: a file, `mmovsam://NAME`, an address, or for CLIP open_clip's
            `MODEL:TAG`.
        tensors: By their names in the file.
        used: Names in the file.
        notes: Phrases about changes of tensors.
        missing: Names in the model.
        differing: Sentences about other shapes than in the model.
    """

    key: str
    name: str
    tensors: dict[str, Tensor]
    used: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, key: str, name: str) -> Source:
        """Open a file; large tensors are memory-mapped."""
        return cls(key, name, named_tensors(_clip_file(name) if key == 'clip' else name))

    @property
    def title(self) -> str:
        """The name in messages."""
        return f'--{self.key} {self.name}'

    def _unused(self) -> dict[str, list[str]]:
        """Unused names by reason; those of the reason `''` are unexpected."""
        unused = defaultdict(list)
        unused_modules = set(_SAM_PARTS) - {name.split('.')[0] + '.' for name in self.used}
        for name in self.tensors:
            reason = ''
            if self.key == 'clip' and name.startswith(_TEXT_TOWER):
                reason = 'the text side, of which vocabularies are made'
            elif self.key == 'sam' and name.startswith(tuple(unused_modules)):
                reason = 'no part of this model, or taken from another file'
            elif self.key == 'sam' and name.startswith(_MULTIMASK):
                reason = 'more masks, and their IoU, than this model predicts'
            if name not in self.used:
                unused[reason].append(name)
        return unused

    def release(self) -> None:
        """Free memory: only shapes and types are kept."""
        self.tensors = {name: tensor.to('meta') for name, tensor in self.tensors.items()}

    def report(self) -> list[str]:
        """Lines about what was used, what not and why, and what does not fit."""
        unused, licence = self._unused(), licence_of(self.name)
        unexpected = unused.pop('', [])
        return [
            f'{self.title}: {self._size(self.tensors)}',
            *([f'  licence: {licence}'] if licence else []),
            f'  used: {self._size(self.used)}',
            *(f'  {note}' for note in self.notes),
            *(
                f'  not used: {prefix} ({self._size(group)}): {reason}'
                for reason, names in unused.items()
                for prefix, group in by_prefix(names).items()
            ),
            *(f'  unexpected: {name}' for name in _shorten(unexpected)),
            *(f'  missing: {name}' for name in _shorten(self.missing)),
            *(f'  another shape: {sentence}' for sentence in self.differing),
        ]

    def _size(self, names: Collection[str]) -> str:
        size = sum(self.tensors[name].nbytes for name in names)
        power = min(max(len(str(size)) - 1, 0) // 3, 3)
        return f'{len(names):,} tensors, {size / 1000**power:.3g} {("B", "kB", "MB", "GB")[power]}'

    def problems(self, allow_unexpected: Sequence[str], allow_missing: Sequence[str]) -> list[str]:
        """Sentences with remedies that forbid to save; names with the prefixes are allowed."""
        if not self.used:
            expected = ', '.join(f'{file_prefix}*' for file_prefix, _ in FORMATS[self.key])
            actual = ', '.join(by_prefix(self.tensors))
            key = format_of(self.tensors)
            remedy = 'Does the config have this part?'
            if key not in (None, self.key):
                remedy = f'It looks like a file for --{key}.'
            return [
                f'{self.title} gives this model nothing. Expected {expected}, found {actual}. '
                f'{remedy}'
            ]
        problems = []
        unexpected = _without(self._unused()[''], allow_unexpected)
        if unexpected:
            problems.append(
                f'{self.title} holds {len(unexpected)} unexpected tensors '
                f'({", ".join(by_prefix(unexpected))}): is it for another model? If they may be '
                'left out, name their prefix with --allow-unexpected.'
            )
        missing = _without(self.missing, allow_missing)
        if missing:
            problems.append(
                f'{self.title} lacks {len(missing)} tensors of the model '
                f'({", ".join(by_prefix(missing))}): is it whole, and of this model? If they may '
                'be missing, name their prefix with --allow-missing.'
            )
        if self.differing:
            problems.append(
                f'{self.title} has {len(self.differing)} tensors of another shape than the model '
                f'({self.differing[0]}): choose the config that fits the file.'
            )
        return problems


def named_tensors(path) -> dict[str, Tensor]:
    """The state dict of a file for `load_checkpoint_file`; errors name the file."""
    checkpoint = load_checkpoint_file(path)
    try:
        return state_dict_of(checkpoint)
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error


def by_prefix(names) -> dict[str, list[str]]:
    """Names grouped by their first component: `visual.*`."""
    groups = defaultdict(list)
    for name in names:
        first, dot, _ = name.partition('.')
        groups[f'{first}{dot}*' if dot else first].append(name)
    return groups


def _shorten(names: Sequence[str]) -> list[str]:
    return [*names[:20], *([f'... and {len(names) - 20} more'] if len(names) > 20 else [])]


def _without(names: Sequence[str], prefixes: Sequence[str]) -> list[str]:
    return [name for name in names if not name.startswith(tuple(prefixes))]


def _clip_file(name: str) -> str | Path:
    """The file of open_clip's `MODEL:TAG`; other names as they are."""
    model, colon, tag = str(name).rpartition(':')
    if not colon or name.startswith(SCHEME) or is_address(name) or Path(name).is_file():
        return name
    try:
        return fetch(f'open_clip://{model}:{tag}')
    except ValueError as error:
        raise ValueError(f'{name} is neither a file nor in open_clip: {error}') from error
