"""The files that a checkpoint is made of: what each gives, and what it says about itself."""

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
_EXTRA_MASKS = (
    'mask_decoder.output_hypernetworks_mlps.',
    'mask_decoder.iou_token.',
    'mask_decoder.iou_prediction_head.',
)
_SAM_PARTS = ('image_encoder.', 'prompt_encoder.', 'mask_decoder.')


@dataclass
class Source:
    """A file, its tensors by their names in it, and what became of them.

    `key` is of `FORMATS`, and the flag of the command line; `name` is as the user gave it: a file,
    `mmovsam://NAME`, an address, or for CLIP open_clip's `MODEL:TAG`.
    """

    key: str
    name: str
    tensors: dict[str, Tensor]
    used: set[str] = field(default_factory=set)
    """Names in the file."""
    notes: list[str] = field(default_factory=list)
    """What was changed on the way."""
    missing: list[str] = field(default_factory=list)
    """Names in the model."""
    differing: list[str] = field(default_factory=list)
    """Sentences."""

    @classmethod
    def read(cls, key: str, name: str) -> Source:
        """Open a file; its large tensors stay there."""
        return cls(key, name, named_tensors(_clip_file(name) if key == 'clip' else name))

    @property
    def title(self) -> str:
        """How messages name it."""
        return f'--{self.key} {self.name}'

    def _unused(self) -> dict[str, list[str]]:
        """Names that were not used, by the reason; those without one are unexpected: `''`."""
        reasons = defaultdict(list)
        absent = set(_SAM_PARTS) - {name.split('.')[0] + '.' for name in self.used}
        for name in self.tensors:
            reason = ''
            if self.key == 'clip' and name.startswith(_TEXT_TOWER):
                reason = 'the text side, of which vocabularies are made'
            elif self.key == 'sam' and name.startswith(tuple(absent)):
                reason = 'no part of this model, or taken from another file'
            elif self.key == 'sam' and name.startswith(_EXTRA_MASKS):
                reason = 'more masks, and their IoU, than this model predicts'
            if name not in self.used:
                reasons[reason].append(name)
        return reasons

    def release(self) -> None:
        """Keep shapes and types only: memory that nothing else needs is given back."""
        self.tensors = {name: tensor.to('meta') for name, tensor in self.tensors.items()}

    def report(self) -> list[str]:
        """What was used, what not and why, and everything that does not fit."""
        unused, licence = self._unused(), licence_of(self.name)
        unexpected = unused.pop('', [])
        return [
            f'{self.title}: {self._amount(self.tensors)}',
            *([f'  licence: {licence}'] if licence else []),
            f'  used: {self._amount(self.used)}',
            *(f'  {note}' for note in self.notes),
            *(
                f'  not used: {part} ({self._amount(group)}): {reason}'
                for reason, names in unused.items()
                for part, group in by_part(names).items()
            ),
            *(f'  unexpected: {name}' for name in _shortened(unexpected)),
            *(f'  missing: {name}' for name in _shortened(self.missing)),
            *(f'  another shape: {sentence}' for sentence in self.differing),
        ]

    def _amount(self, names: Collection[str]) -> str:
        size = sum(self.tensors[name].nbytes for name in names)
        power = min(max(len(str(size)) - 1, 0) // 3, 3)
        return f'{len(names):,} tensors, {size / 1000**power:.3g} {("B", "kB", "MB", "GB")[power]}'

    def problems(self, allow_unexpected: Sequence[str], allow_missing: Sequence[str]) -> list[str]:
        """What forbids to go on, a sentence each with its remedy; some prefixes are no fault."""
        if not self.used:
            wanted = ', '.join(f'{file_prefix}*' for file_prefix, _ in FORMATS[self.key])
            other = format_of(self.tensors)
            remedy = 'Does the config have this part?'
            if other not in (None, self.key):
                remedy = f'It looks like a file for --{other}.'
            found = ', '.join(by_part(self.tensors))
            return [
                f'{self.title} gives this model nothing. Expected {wanted}, found {found}. {remedy}'
            ]
        problems = []
        unexpected = _without(self._unused()[''], allow_unexpected)
        if unexpected:
            problems.append(
                f'{self.title} holds {len(unexpected)} unexpected tensors '
                f'({", ".join(by_part(unexpected))}): is it for another model? If they may be left '
                'out, name their prefix with --allow-unexpected.'
            )
        missing = _without(self.missing, allow_missing)
        if missing:
            problems.append(
                f'{self.title} lacks {len(missing)} tensors of the model '
                f'({", ".join(by_part(missing))}): is it whole, and of this model? If they may be '
                'missing, name their prefix with --allow-missing.'
            )
        if self.differing:
            problems.append(
                f'{self.title} has {len(self.differing)} tensors of another shape than the model '
                f'({self.differing[0]}): choose the config that fits the file.'
            )
        return problems


def named_tensors(path) -> dict[str, Tensor]:
    """The tensors of a file as `load_checkpoint_file` reads it; an error names the file."""
    checkpoint = load_checkpoint_file(path)
    try:
        return state_dict_of(checkpoint)
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error


def by_part(names) -> dict[str, list[str]]:
    """Names in groups with the same beginning."""
    groups = defaultdict(list)
    for name in names:
        first, dot, _ = name.partition('.')
        groups[f'{first}{dot}*' if dot else first].append(name)
    return groups


def _shortened(names: Sequence[str]) -> list[str]:
    return [*names[:20], *([f'... and {len(names) - 20} more'] if len(names) > 20 else [])]


def _without(names: Sequence[str], prefixes: Sequence[str]) -> list[str]:
    return [name for name in names if not name.startswith(tuple(prefixes))]


def _clip_file(name: str) -> str | Path:
    model, colon, tag = str(name).rpartition(':')
    if not colon or name.startswith(SCHEME) or is_address(name) or Path(name).is_file():
        return name
    try:
        return fetch(f'open_clip://{model}:{tag}')
    except ValueError as error:
        raise ValueError(f'{name} is neither a file nor in open_clip: {error}') from error
