"""Class names, and the text classifier that CLIP makes of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from os import PathLike, sep
from pathlib import Path

import torch
from torch import Tensor, nn

from ..logs import warn
from .encoding import cached_embeddings, encode_sentences
from .names import OVSAM_TEMPLATES, find_templates, plain_name, read_names, split_name
from .sources import WORDS, read_metainfo
from .text_classifier import TextClassifier


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
    return {key: same for key, same in names.items() if len(same) > 1}


class Vocabulary:
    """K classes, each with the names that it goes by.

    A name that is empty, and a class that is given twice, are errors. Class names without synonyms
    stay whole if taking them apart would give two classes one name: `'triangle, red'` beside
    `'triangle, yellow'`. A name that two classes share all the same is encoded once, and they score
    alike where it is the best of both; the log says so. A sentence that is longer
    than the text tower's context is cut off at its end, with a warning.

    Args:
        names: The K class names, as an annotation file has them; `split_name` takes each apart.
        synonyms: More names for each class, K lists that may be empty.
        templates: The sentences that a name is put into, each with `{}` for the name; or the name
            or file of such a list, see `find_templates`. None for the text model's own phrases
            where it has some, for OVSAM's templates where it has none.
        novel: For each class True if it is novel, that is, absent from training, False if it is
            base, None if it is neither, and never predicted; None as a whole where the classes have
            no such split.
        prompts: For any of the classes a sentence, or several, that CLIP reads as it is: in place
            of the class's names and without templates.
        synsets: For each class WordNet's id of its meaning, or None. Text models that know
            WordNet go by it, before names and prompts; CLIP does not.

    Attributes:
        names: The K class names as given.
        prompt_names: For each class the names that it goes by, the first from the class name.
        templates: The sentences.
        novel: K times True, False or None; or None.
        prompts: Class names and their sentences, of the classes that have their own.
        synsets: K times an id or None; or None.

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
        parts = [split_name(name) for name in self.names]
        twice = list(_shared(zip(parts, self.names)).values())
        if twice:
            shown = '; '.join(', '.join(map(repr, same)) for same in twice[:5])
            raise ValueError(f'{len(twice)} class names are given more than once: {shown}')
        self.prompt_names = self._prompt_names(parts, self._one_each(synonyms, 'synonyms'))
        if synsets is None:
            self._tell_shared()
        self._own_phrases = templates is None
        self.templates = OVSAM_TEMPLATES if templates is None else find_templates(templates)
        self.synsets = self._one_each(synsets, 'synsets')
        self.novel = self._one_each(novel, 'novel')
        if self.novel is not None:
            self.novel = tuple(None if flag is None else bool(flag) for flag in self.novel)
        if not isinstance(prompts or {}, Mapping):
            raise TypeError(f'prompts must be a dict of class names and sentences, got {prompts!r}')
        self.prompts = {name: _as_prompts(texts, name) for name, texts in (prompts or {}).items()}
        unknown = sorted(set(self.prompts) - set(self.names))
        if unknown:
            raise ValueError(f'there are prompts of {unknown[:5]}, which are no class names')

    def _prompt_names(
        self, parts: list[tuple[str, ...]], synonyms: Sequence | None
    ) -> tuple[tuple[str, ...], ...]:
        """The parts of each class name and its synonyms, each once.

        Without any synonyms a name stays whole where another class has one of its parts.
        """
        if not any(synonyms or ()):
            uses = Counter(part for each in parts for part in each)
            shares = [len(each) > 1 and any(uses[part] > 1 for part in each) for each in parts]
            named = zip(self.names, parts, shares)
            return tuple((plain_name(name),) if whole else each for name, each, whole in named)
        more = [_as_list(each, 'the synonyms of a class') for each in synonyms]
        return tuple(
            tuple(dict.fromkeys([*each, *(name for text in texts for name in split_name(text))]))
            for each, texts in zip(parts, more)
        )

    def _tell_shared(self) -> None:
        pairs = zip(self.prompt_names, self.names)
        shared = _shared((part, name) for parts, name in pairs for part in parts)
        if shared:
            part, names = next(iter(shared.items()))
            warn(
                f'{len(shared)} names mean several classes, such as {part!r} '
                f'{" and ".join(map(repr, names[:3]))}: objects called so may be either'
            )

    def _one_each(self, values: Sequence | None, what: str) -> tuple | None:
        values = None if values is None else tuple(_as_list(values, what))
        if values is not None and len(values) != len(self):
            raise ValueError(
                f'{what} has {len(values)} entries for {len(self)} classes; give one for each'
            )
        return values

    @classmethod
    def from_source(cls, source: object, **kwargs) -> Vocabulary:
        """A vocabulary from whatever names classes.

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
                  Those whose names all belong to another class too have WordNet's id in their name
                  and its definition in their prompt;
                - a file, see `from_file`;
                - a registered dataset: its name, its class, or a built one.
            **kwargs: As for the class itself; they take the place of what the source says.

        Raises:
            TypeError: If it is nothing of the kind.
            FileNotFoundError: If it is a path to no file.
            ValueError: If it is an unknown word, or its names make no vocabulary.
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

        An annotation file in COCO's layout, a JSON list, YOLO's `data.yaml` and a table with a
        heading `name` are read as well.

        What follows after a tab is a prompt, a sentence that CLIP reads instead of the names; after
        another tab comes another one. Blank lines are skipped; `kwargs` are those of the class.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is of another encoding, or its names make no vocabulary.
        """
        lines = [[part.strip() for part in line.split('\t')] for line in read_names(path)]
        prompts = {name: texts for name, *texts in lines if texts}
        try:
            return cls([line[0] for line in lines], **{'prompts': prompts, **kwargs})
        except ValueError as error:
            raise ValueError(f'in the vocabulary file {path}: {error}') from error

    @classmethod
    def from_metainfo(cls, metainfo: Mapping, **kwargs) -> Vocabulary:
        """The vocabulary of a dataset's metainfo.

        That has `classes`, and perhaps `synonyms`, `novel`, `prompts` and `synsets`, which
        `kwargs`, those of the class itself, take the place of.
        """
        if not metainfo.get('classes'):
            raise ValueError(f"the dataset's metainfo has no 'classes', only {sorted(metainfo)}")
        about = {key: metainfo.get(key) for key in ('synonyms', 'novel', 'prompts', 'synsets')}
        return cls(metainfo['classes'], **{**about, **kwargs})

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
        """What CLIP's text tower makes of every name.

        Args:
            text_model: An open_clip model, or anything with its `encode_text`. It may have
                `phrases`, for sentences of its own, and `name_bias`, see `PhotoTextModel`.
            tokenizer: Its tokenizer: a list of B texts to (B, L) tokens.
            batch_size: Sentences encoded at once.
            progress: Whether a long run shows its rate and the time left.
            cache: Whether embeddings are kept on disk, see `mmovsam.vocabulary.encoding`.

        Returns:
            The classifier, its embeddings in float32 on the CPU. Each is the mean of the
            L2-normalized embeddings of a name's sentences, normalized again.
        """
        readings = self._readings(text_model)
        row = {}
        for reading in readings:
            for sentences in reading:
                row.setdefault(sentences, len(row))
        groups = list(row)
        encode = partial(encode_sentences, groups, text_model, tokenizer, batch_size, progress)
        rows = cached_embeddings(groups, text_model, tokenizer, encode) if cache else encode()
        order = [row[sentences] for reading in readings for sentences in reading]
        bias = None
        if hasattr(text_model, 'name_bias'):
            bias = torch.tensor([text_model.name_bias(sentences) for sentences in groups])[order]
        return TextClassifier(
            rows[order],
            self.names,
            self.novel,
            tuple(map(len, readings)),
            bias if bias is not None and bias.any() else None,
        )

    def _readings(self, text_model: nn.Module) -> list[list[tuple[str, ...]]]:
        """What each class is read by, each time as the sentences that are averaged."""
        phrases = getattr(text_model, 'phrases', None) if self._own_phrases else None
        wnids = (self.synsets if phrases is not None else None) or [None] * len(self)
        readings = []
        for name, prompt_names, wnid in zip(self.names, self.prompt_names, wnids):
            if wnid is not None:
                reading = [phrases(prompt_names[0], wnid)]
            elif name in self.prompts:
                reading = [(text,) for text in self.prompts[name]]
            elif phrases is not None:
                reading = [phrases(prompt_name) for prompt_name in prompt_names]
            else:
                reading = [tuple(t.replace('{}', n) for t in self.templates) for n in prompt_names]
            readings.append(list(dict.fromkeys(reading)))
        return readings
