"""Class names, and text classifiers built from them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from os import PathLike, sep
from pathlib import Path

import torch
from torch import Tensor, nn

from ..logs import warn
from .encoding import cached_embeddings, encode_sentences
from .names import OVSAM_TEMPLATES, find_templates, plain_name, read_names, split_name
from .sources import WORDS, read_metainfo
from .text_classifier import TextClassifier


class Vocabulary:
    """The names, synonyms and prompts of K classes.

    Class names without synonyms are not split if that would give two classes one name:
    `'triangle, red'` beside `'triangle, yellow'`. A name of several classes is encoded once, with a
    warning.

    Args:
        names: The K class names, as in an annotation file; each is split by `split_name`.
        synonyms: More names for each class, K lists that may be empty.
        templates: Prompt templates, each with `{}` for the name; or the name or file of such a
            list, see `find_templates`. None for the text model's own `phrases`, or OVSAM's
            templates if it has none.
        novel: For each class True if it is novel, that is, absent from training, False if it is
            base, None if it is neither and never predicted; None as a whole without such a split.
        prompts: For any class one or several sentences to encode in place of its names and without
            templates.
        synsets: For each class WordNet's id of its meaning, or None. Text models with `phrases`
            prefer it to names and prompts; CLIP ignores it.

    Attributes:
        prompt_names: For each class its names, those from the class name first.
        names, templates, novel, prompts, synsets: The arguments as tuples, `prompts` as a dict of
            tuples.

    Raises:
        TypeError: If an argument is not a list or holds the wrong kind of thing.
        ValueError: If there is no class, a name is empty or given twice, lengths disagree, or a
            prompt is of no class.
    """

    def __init__(
        self,
        names: Sequence[str],
        synonyms: Sequence[Sequence[str]] | None = None,
        templates: str | PathLike | Sequence[str] | None = None,
        novel: Sequence[bool | None] | None = None,
        prompts: Mapping[str, str | Sequence[str]] | None = None,
        synsets: Sequence[str | None] | None = None,
    ) -> None:
        self.names = tuple(_as_list(names, 'names'))
        if not self.names:
            raise ValueError('a vocabulary needs at least one class name, got none')
        split_names = [split_name(name) for name in self.names]
        duplicates = list(_shared(zip(split_names, self.names)).values())
        if duplicates:
            shown = '; '.join(', '.join(map(repr, names)) for names in duplicates[:5])
            raise ValueError(f'{len(duplicates)} class names are given more than once: {shown}')
        self.prompt_names = _prompt_names(
            self.names, split_names, self._per_class(synonyms, 'synonyms')
        )
        if synsets is None:
            self._warn_of_shared_names()
        self._use_phrases = templates is None
        self.templates = OVSAM_TEMPLATES if templates is None else find_templates(templates)
        self.synsets = self._per_class(synsets, 'synsets')
        self.novel = self._per_class(novel, 'novel')
        if self.novel is not None:
            self.novel = tuple(None if flag is None else bool(flag) for flag in self.novel)
        if not isinstance(prompts or {}, Mapping):
            raise TypeError(f'prompts must be a dict of class names and sentences, got {prompts!r}')
        self.prompts = {name: _as_prompts(texts, name) for name, texts in (prompts or {}).items()}
        unknown = sorted(set(self.prompts) - set(self.names))
        if unknown:
            raise ValueError(f'there are prompts of {unknown[:5]}, which are no class names')

    def _warn_of_shared_names(self) -> None:
        classes = zip(self.prompt_names, self.names)
        shared = _shared((prompt_name, name) for names, name in classes for prompt_name in names)
        if shared:
            prompt_name, names = next(iter(shared.items()))
            warn(
                f'{len(shared)} names mean several classes, such as {prompt_name!r} '
                f'{" and ".join(map(repr, names[:3]))}: objects called so may be either'
            )

    def _per_class(self, values: Sequence | None, what: str) -> tuple | None:
        values = None if values is None else tuple(_as_list(values, what))
        if values is not None and len(values) != len(self):
            raise ValueError(
                f'{what} has {len(values)} entries for {len(self)} classes; give one for each'
            )
        return values

    @classmethod
    def from_source(cls, source: object, **kwargs) -> Vocabulary:
        """A vocabulary from a list, a word, a file or a dataset.

        Args:
            source: One of

                - a list of class names;
                - `'coco'`: 80 classes, 48 of them base, 17 novel and 15 neither, as in
                  `OVCocoDataset`;
                - `'lvis'`: 1,203 classes of LVIS v1 with synonyms, the 337 rare ones novel and the
                  others base, as in `OVLVISDataset`;
                - `'ade20k'`: the 150 classes of ADE20K's semantic segmentation;
                  `'pascal_context'`: the 59 of Pascal Context;
                - `'imagenet1k'`, `'imagenet22k'`: 1,000 and 21,841 classes with WordNet's synonyms.
                  Classes of the same names have WordNet's id in their name and its definition in
                  their prompt;
                - a file, see `from_file`;
                - a registered dataset: its name, its class, or a built one.
            **kwargs: Arguments of the class, which override the source's.

        Raises:
            TypeError: If it is none of these.
            FileNotFoundError: If the file does not exist.
            ValueError: If it is an unknown word, or its names are no vocabulary.
        """
        if isinstance(source, (str, PathLike)):
            path = Path(source)
            looks_like_path = isinstance(source, PathLike) or path.suffix or sep in source
            if source not in WORDS and (looks_like_path or path.is_file()):
                return cls.from_file(path, **kwargs)
        elif isinstance(source, Sequence):
            return cls(source, **kwargs)
        return cls.from_metainfo(read_metainfo(source), **kwargs)

    @classmethod
    def from_file(cls, path: str | Path, **kwargs) -> Vocabulary:
        """A vocabulary from a text file with a class on each line, its synonyms after commas.

        Prompts may follow the names, each after a tab. Blank lines are skipped. Structured files
        are read as well, see `mmovsam.vocabulary.names.read_structured_names`. `kwargs` are those
        of the class.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is of another encoding, or its names are no vocabulary.
        """
        rows = [[cell.strip() for cell in line.split('\t')] for line in read_names(path)]
        prompts = {name: texts for name, *texts in rows if texts}
        try:
            return cls([name for name, *_ in rows], **{'prompts': prompts, **kwargs})
        except ValueError as error:
            raise ValueError(f'in the vocabulary file {path}: {error}') from error

    @classmethod
    def from_metainfo(cls, metainfo: Mapping, **kwargs) -> Vocabulary:
        """A vocabulary from metainfo with `classes` and optionally other arguments of the class.

        `kwargs` override them.
        """
        if not metainfo.get('classes'):
            raise ValueError(f"the dataset's metainfo has no 'classes', only {sorted(metainfo)}")
        arguments = {key: metainfo.get(key) for key in ('synonyms', 'novel', 'prompts', 'synsets')}
        return cls(metainfo['classes'], **{**arguments, **kwargs})

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        shown = ', '.join(self.names[:3]) + (', ...' if len(self) > 3 else '')
        return f'Vocabulary({len(self)} classes: {shown})'

    def build_classifier(
        self,
        text_model: nn.Module,
        tokenizer: Callable[[list[str]], Tensor],
        batch_size: int = 256,
        progress: bool = True,
        cache: bool = True,
    ) -> TextClassifier:
        """Encode every name with a text model.

        Args:
            text_model: An open_clip model, or anything with its `encode_text`. It may have
                `phrases`, for sentences of its own, and `name_bias`, see `PhotoTextModel`.
            tokenizer: Its tokenizer: a list of B texts to (B, L) tokens.
            batch_size: Sentences encoded at once.
            progress: Whether a long run shows a progress bar.
            cache: Whether embeddings are cached on disk, see `mmovsam.vocabulary.encoding`.

        Returns:
            The classifier with embeddings in float32 on the CPU. Each is the normalized mean of the
            L2-normalized embeddings of a name's sentences.
        """
        sentences = self._sentences(text_model)
        groups = list(dict.fromkeys(chain.from_iterable(sentences)))
        index = {group: row for row, group in enumerate(groups)}
        encode = partial(encode_sentences, groups, text_model, tokenizer, batch_size, progress)
        rows = cached_embeddings(groups, text_model, tokenizer, encode) if cache else encode()
        order = [index[group] for group in chain.from_iterable(sentences)]
        bias = None
        if hasattr(text_model, 'name_bias'):
            bias = torch.tensor([text_model.name_bias(group) for group in groups])[order]
        return TextClassifier(
            rows[order],
            self.names,
            self.novel,
            tuple(map(len, sentences)),
            bias if bias is not None and bias.any() else None,
        )

    def _sentences(self, text_model: nn.Module) -> list[list[tuple[str, ...]]]:
        """For each class, and each of its names, the sentences whose embeddings are averaged."""
        phrases = getattr(text_model, 'phrases', None) if self._use_phrases else None
        wnids = (self.synsets if phrases is not None else None) or [None] * len(self)
        sentences = []
        for name, prompt_names, wnid in zip(self.names, self.prompt_names, wnids):
            if wnid is not None:
                groups = [phrases(prompt_names[0], wnid)]
            elif name in self.prompts:
                groups = [(text,) for text in self.prompts[name]]
            elif phrases is not None:
                groups = [phrases(prompt_name) for prompt_name in prompt_names]
            else:
                groups = [tuple(t.replace('{}', n) for t in self.templates) for n in prompt_names]
            sentences.append(list(dict.fromkeys(groups)))
        return sentences


def _prompt_names(
    names: Sequence[str], split_names: Sequence[tuple[str, ...]], synonyms: Sequence | None
) -> tuple[tuple[str, ...], ...]:
    """The distinct names in each class name and its synonyms.

    Without any synonyms a name that shares one of its parts with another class is not split.
    """
    if not any(synonyms or ()):
        uses = Counter(part for parts in split_names for part in parts)
        shared = [len(parts) > 1 and any(uses[p] > 1 for p in parts) for parts in split_names]
        return tuple(
            (plain_name(name),) if is_shared else parts
            for name, parts, is_shared in zip(names, split_names, shared)
        )
    synonyms = [_as_list(texts, 'the synonyms of a class') for texts in synonyms]
    return tuple(
        tuple(dict.fromkeys([*parts, *(name for text in texts for name in split_name(text))]))
        for parts, texts in zip(split_names, synonyms)
    )


def _as_list(values, what: str) -> list:
    if isinstance(values, str) or not hasattr(values, '__iter__'):
        raise TypeError(f'{what} must be a list, got {values!r}')
    return list(values)


def _as_prompts(prompts: str | Sequence[str], name: str) -> tuple[str, ...]:
    texts = [prompts] if isinstance(prompts, str) else _as_list(prompts, f'prompts of {name!r}')
    wrong = [text for text in texts if not isinstance(text, str) or not text.strip()]
    if wrong or not texts:
        raise ValueError(f'the prompts of {name!r} must be sentences, got {wrong or "none"}')
    return tuple(dict.fromkeys(texts))


def _shared(pairs: Iterable[tuple[object, str]]) -> dict[object, list[str]]:
    """The class names of each key that several have."""
    names = defaultdict(list)
    for key, name in pairs:
        names[key].append(name)
    return {key: classes for key, classes in names.items() if len(classes) > 1}
