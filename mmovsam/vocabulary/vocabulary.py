"""Class names, and the text classifier that CLIP makes of them."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from .names import split_name
from .templates import OVSAM_TEMPLATES


def _as_list(values, what: str) -> list:
    if isinstance(values, str) or not hasattr(values, '__iter__'):
        raise TypeError(f'{what} must be a list, got {values!r}')
    return list(values)


def _with_synonyms(names: tuple[str, ...], synonyms: Sequence[str]) -> tuple[str, ...]:
    more = [split_name(synonym) for synonym in _as_list(synonyms, 'the synonyms of a class')]
    return tuple(dict.fromkeys([*names, *(name for names in more for name in names)]))


@contextmanager
def _eval_mode(module: nn.Module) -> Iterator[None]:
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


class Vocabulary:
    """K classes, each with the names that it goes by.

    Args:
        names: The K class names, as an annotation file has them; `split_name` takes each apart.
        synonyms: More names for each class, K lists that may be empty.
        templates: The sentences that a name is put into, each with `{}` for the name.
        novel: For each class True if it is novel, that is, absent from training, False if it is
            base, None if it is neither; None as a whole where the classes have no such split.

    Attributes:
        names: The K class names as given.
        prompt_names: For each class the names that CLIP reads, the first from the class name.
        templates: The sentences.
        novel: K times True, False or None; or None.

    Raises:
        TypeError: If an argument is not a list or holds the wrong kind of thing.
        ValueError: If there is no class, a name is empty or given twice, or lengths disagree.
    """

    def __init__(
        self,
        names: Sequence[str],
        synonyms: Sequence[Sequence[str]] | None = None,
        templates: Sequence[str] = OVSAM_TEMPLATES,
        novel: Sequence[bool | None] | None = None,
    ) -> None:
        self.names = tuple(_as_list(names, 'names'))
        if not self.names:
            raise ValueError('a vocabulary needs at least one class name, got none')
        own = [split_name(name) for name in self.names]
        self._check_unique(own)
        more = [()] * len(self) if synonyms is None else _as_list(synonyms, 'synonyms')
        self._check_length(more, 'synonyms')
        self.prompt_names = tuple(_with_synonyms(*both) for both in zip(own, more))
        self.templates = tuple(_as_list(templates, 'templates'))
        wrong = [t for t in self.templates if not isinstance(t, str) or t.count('{}') != 1]
        if wrong or not self.templates:
            raise ValueError(
                f'templates must be sentences with one {{}} for the name, got {wrong or "none"}'
            )
        self.novel = None
        if novel is not None:
            self.novel = tuple(
                None if flag is None else bool(flag) for flag in _as_list(novel, 'novel')
            )
            self._check_length(self.novel, 'novel')

    def _check_unique(self, own: list[tuple[str, ...]]) -> None:
        places = defaultdict(list)
        for name, parts in zip(self.names, own):
            places[parts].append(name)
        twice = [same for same in places.values() if len(same) > 1]
        if twice:
            shown = '; '.join(', '.join(map(repr, same)) for same in twice[:5])
            raise ValueError(f'{len(twice)} class names are given more than once: {shown}')

    def _check_length(self, values: Sequence, what: str) -> None:
        if len(values) != len(self):
            raise ValueError(
                f'{what} has {len(values)} entries for {len(self)} classes; give one for each'
            )

    @classmethod
    def from_file(cls, path: str | Path, **kwargs) -> Vocabulary:
        """A vocabulary from a text file with a class on each line, its synonyms after commas.

        Args:
            path: A text file in UTF-8. Blank lines are skipped.
            **kwargs: `templates` and `novel`, as for the class itself.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is not UTF-8, or its names make no vocabulary.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f'no vocabulary file {path}: give a text file, a class a line')
        try:
            text = path.read_text(encoding='utf-8-sig')
        except UnicodeDecodeError as error:
            raise ValueError(
                f'the vocabulary file {path} is not UTF-8 (byte {error.start}): save it as UTF-8'
            ) from error
        try:
            return cls([line.strip() for line in text.split('\n') if line.strip()], **kwargs)
        except ValueError as error:
            raise ValueError(f'in the vocabulary file {path}: {error}') from error

    @classmethod
    def from_metainfo(cls, metainfo: Mapping, **kwargs) -> Vocabulary:
        """The vocabulary of a dataset.

        Args:
            metainfo: A dataset's metainfo: `classes`, and where it has them `synonyms` and `novel`.
            **kwargs: `templates`, as for the class itself.

        Raises:
            ValueError: If it has no `classes`.
        """
        if not metainfo.get('classes'):
            raise ValueError(f"the dataset's metainfo has no 'classes', only {sorted(metainfo)}")
        return cls(
            metainfo['classes'],
            synonyms=metainfo.get('synonyms'),
            novel=metainfo.get('novel'),
            **kwargs,
        )

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        shown = ', '.join(self.names[:3]) + (', ...' if len(self) > 3 else '')
        return f'Vocabulary({len(self)} classes: {shown})'

    def index(self, name: str) -> int:
        """The label of a class, by its name as given or by any of the names it goes by.

        Raises:
            ValueError: If no class has this name; the message names the most similar ones.
        """
        if name in self.names:
            return self.names.index(name)
        wanted = split_name(name)[0]
        for label, names in enumerate(self.prompt_names):
            if wanted in names:
                return label
        close = difflib.get_close_matches(wanted, [n for names in self.prompt_names for n in names])
        hint = f'did you mean {", ".join(map(repr, close))}?' if close else 'add it to the list'
        raise ValueError(f'unknown class name {name!r} in a vocabulary of {len(self)}: {hint}')

    @torch.no_grad()
    def encode(
        self,
        text_model: nn.Module,
        tokenizer: Callable[[list[str]], Tensor],
        batch_size: int = 256,
        progress: bool = True,
    ) -> Tensor:
        """The text classifier: what CLIP's text tower makes of every name.

        Args:
            text_model: An open_clip model, or anything with its `encode_text`.
            tokenizer: Its tokenizer: a list of B texts to (B, L) tokens.
            batch_size: Sentences encoded at once.
            progress: Whether a long run shows its progress.

        Returns:
            (K, P, D) float32 on the CPU, P the names of a class, shorter lists repeating their
            first. Each is the mean of the L2-normalized embeddings of its sentences, normalized
            again, as in CLIP's prompt ensembling (Radford et al., 2021, section 3.1.4). The
            background row is not in it.

        Raises:
            ValueError: If `batch_size` is not positive or the model returns no finite numbers.
        """
        if batch_size < 1:
            raise ValueError(f'batch_size must be at least 1, got {batch_size}')
        unique = list(dict.fromkeys(name for names in self.prompt_names for name in names))
        place = {name: row for row, name in enumerate(unique)}
        sentences = [t.replace('{}', name) for name in unique for t in self.templates]
        device = next((p.device for p in text_model.parameters()), torch.device('cpu'))
        starts = range(0, len(sentences), batch_size)
        hidden = not progress or len(starts) < 10
        sums = None
        with _eval_mode(text_model):
            for start in tqdm(starts, desc='encoding names', unit='batch', disable=hidden):
                texts = sentences[start : start + batch_size]
                features = text_model.encode_text(tokenizer(texts).to(device)).float().cpu()
                if sums is None:
                    sums = torch.zeros(len(unique), features.shape[1])
                rows = torch.arange(start, start + len(texts)) // len(self.templates)
                sums.index_add_(0, rows, F.normalize(features, dim=-1))
        if not sums.isfinite().all():
            raise ValueError('the text tower returns NaN or infinity: are its weights loaded?')
        width = max(map(len, self.prompt_names))
        rows = [
            [place[name] for name in (*names, *[names[0]] * (width - len(names)))]
            for names in self.prompt_names
        ]
        return F.normalize(sums, dim=-1)[torch.tensor(rows)]
