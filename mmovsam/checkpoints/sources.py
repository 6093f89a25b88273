"""The files that a checkpoint is made of: what each gives, and what it says about itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
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
    """A file, its tensors, and what became of them.

    Args:
        key: Of `FORMATS`; also the flag of the command line.
        name: As the user gave it.
        tensors: By the names in the file.
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

    def __post_init__(self) -> None:
        self.title = f'--{self.key} {self.name}'

    @classmethod
    def read(cls, key: str, name: str) -> Source:
        """Open a file; its large tensors stay there.

        It is a file, `mmovsam://NAME`, an address, or for CLIP open_clip's `MODEL:TAG`, which
        open_clip downloads if it has not yet.
        """
        return cls(key, name, named_tensors(_clip_file(name) if key == 'clip' else name))

    def _rest(self) -> tuple[dict[str, list[str]], list[str]]:
        """Names that were not used: those with a reason, by it, and those that have none."""
        reasons = defaultdict(list)
        absent = set(_SAM_PARTS) - {name.split('.')[0] + '.' for name in self.used}
        for name in self.tensors:
            if name in self.used:
                continue
            if self.key == 'clip' and name.startswith(_TEXT_TOWER):
                reasons['the text side, of which vocabularies are made'].append(name)
            elif self.key == 'sam' and name.startswith(tuple(absent)):
                reasons['no part of this model, or taken from another file'].append(name)
            elif self.key == 'sam' and name.startswith(_EXTRA_MASKS):
                reasons['more masks, and their IoU, than this model predicts'].append(name)
            else:
                reasons[''].append(name)
        unexpected = reasons.pop('', [])
        return reasons, unexpected

    def release(self) -> None:
        """Keep shapes and types only: memory that nothing else needs is given back."""
        self.tensors = {name: tensor.to('meta') for name, tensor in self.tensors.items()}

    def report(self) -> list[str]:
        """What was used, what not and why, and everything that does not fit."""
        lines = [f'{self.title}: {_amount(self.tensors.values())}']
        if licence := licence_of(self.name):
            lines.append(f'  licence: {licence}')
        lines.append(f'  used: {_amount(self.tensors[name] for name in self.used)}')
        lines += [f'  {note}' for note in self.notes]
        unused, unexpected = self._rest()
        for reason, names in unused.items():
            for part, group in by_part(names).items():
                amount = _amount(self.tensors[name] for name in group)
                lines.append(f'  not used: {part} ({amount}): {reason}')
        lines += [f'  unexpected: {name}' for name in _shortened(unexpected)]
        lines += [f'  missing: {name}' for name in _shortened(self.missing)]
        lines += [f'  another shape: {sentence}' for sentence in self.differing]
        return lines

    def problems(self, allow_unexpected: Sequence[str], allow_missing: Sequence[str]) -> list[str]:
        """What forbids to go on, a sentence each with its remedy; some prefixes are no fault."""
        if not self.used:
            wanted = ', '.join(f'{file_prefix}*' for file_prefix, _ in FORMATS[self.key])
            found = ', '.join(by_part(self.tensors))
            other = format_of(self.tensors)
            if other in (None, self.key):
                remedy = 'Does the config have this part?'
            else:
                remedy = f'It looks like a file for --{other}.'
            return [
                f'{self.title} gives this model nothing. Expected {wanted}, found {found}. {remedy}'
            ]
        problems = []
        unexpected = [n for n in self._rest()[1] if not n.startswith(tuple(allow_unexpected))]
        if unexpected:
            problems.append(
                f'{self.title} holds {len(unexpected)} unexpected tensors '
                f'({", ".join(by_part(unexpected))}): is it for another model? If they may be left '
                'out, name their prefix with --allow-unexpected.'
            )
        missing = [name for name in self.missing if not name.startswith(tuple(allow_missing))]
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


def _amount(tensors) -> str:
    tensors = list(tensors)
    size = sum(tensor.nbytes for tensor in tensors)
    power = min(max(len(str(size)) - 1, 0) // 3, 3)
    return f'{len(tensors):,} tensors, {size / 1000**power:.3g} {("B", "kB", "MB", "GB")[power]}'


def _clip_file(name: str) -> str | Path:
    model, colon, tag = str(name).rpartition(':')
    if not colon or name.startswith(SCHEME) or is_address(name) or Path(name).is_file():
        return name
    try:
        return fetch(f'open_clip://{model}:{tag}')
    except ValueError as error:
        raise ValueError(f'{name} is neither a file nor in open_clip: {error}') from error
