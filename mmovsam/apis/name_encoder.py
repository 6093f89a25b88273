"""Encodes class names with a model's text encoder."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..vocabulary import TextClassifier, Vocabulary, load_text_encoder, split_name

Words = tuple[str, ...]  # of a name, see `split_name`
ClassEmbeddings = tuple[Tensor, Tensor]  # a class's embeddings (P, D) and biases (P,)
CACHE_SIZE = 20_000  # encoded names


class NameEncoder:
    """Makes text classifiers of names, with a text encoder that is loaded at first use.

    `encode` is for a whole vocabulary, `classifier` for lists that users type, which change by a
    name or two at a time. Thread-safe.

    Args:
        vocabulary: The model's classifier, if it has one.
        text_encoder: Arguments of `mmovsam.vocabulary.load_text_encoder`, if there is one.
        max_names: Maximum length of a typed list.
        built: Prebuilt classifiers by title; the model's comes before them, the first before the
            others, where several have a name.
    """

    def __init__(
        self,
        vocabulary: TextClassifier | None = None,
        text_encoder: Mapping | None = None,
        max_names: int = 2000,
        built: Mapping[str, TextClassifier] | None = None,
    ) -> None:
        self.vocabulary = vocabulary
        self.max_names = max_names
        self.built = dict(built or {})
        self._text_encoder_args = text_encoder
        self._text_encoder = None
        self._built: dict[Words, tuple[ClassEmbeddings, bool]] = {}  # and whether it is novel
        for classifier in (*reversed(self.built.values()), vocabulary):
            if classifier is not None and classifier.names is not None:
                # None, of a class that is never predicted, counts as novel in a typed list
                novel = classifier.novel or [True] * len(classifier.names)
                classes = zip(_split_classes(classifier), (flag is not False for flag in novel))
                self._built.update(zip(map(split_name, classifier.names), classes))
        self._encoded: dict[Words, ClassEmbeddings] = {}
        self._lock = threading.Lock()

    def encode(self, names: Sequence[str] | Vocabulary | TextClassifier) -> TextClassifier:
        """The classifier of class names or of a vocabulary; a classifier is returned unchanged.

        Raises:
            TypeError: `names` is a single string, or has elements that are not strings.
            ValueError: There are no names, a name occurs twice, or there is no text encoder.
        """
        if isinstance(names, TextClassifier):
            return names
        vocabulary = names if isinstance(names, Vocabulary) else Vocabulary(names)
        if self._text_encoder_args is None:
            raise ValueError(
                'Names need the text tower of the model: put text_encoder=dict(...) into its '
                'config (or give it to OVSAMPredictor), or set a built TextClassifier.'
            )
        with self._lock:
            return vocabulary.build_classifier(*self._load())

    def classifier(self, names: Sequence[str]) -> TextClassifier:
        """A classifier of typed names; spellings of the same words are one class.

        Names of prebuilt classifiers keep their embeddings and whether they are base or novel. All
        others are novel; the text encoder encodes them once.

        Raises:
            ValueError: There are no names, one is empty, there are too many, or there is no text
                encoder.
        """
        for classifier in self.built.values():
            if tuple(names) == classifier.names:
                return classifier
        unique: dict[Words, str] = {}
        for name in names:
            unique.setdefault(split_name(name), name)
        if not unique:
            raise ValueError('There is no name: give at least one.')
        if len(unique) > self.max_names:
            raise ValueError(
                f'{len(unique)} names are more than the {self.max_names} that fit: leave some out.'
            )
        typed = [words for words in unique if words not in self._built]
        with self._lock:
            new = {words: unique[words] for words in typed if words not in self._encoded}
            if new:
                self._encoded.update(zip(new, self._encode(list(new.values()))))
            encoded = {words: (self._encoded[words], True) for words in typed}
            if len(self._encoded) > max(CACHE_SIZE, self.max_names):
                self._encoded = {words: self._encoded[words] for words in typed}
        classes = (encoded.get(words) or self._built[words] for words in unique)
        class_embeddings, novel = zip(*classes)
        embeddings, biases = zip(*class_embeddings)
        bias = torch.cat(biases)
        return TextClassifier(
            torch.cat(embeddings),
            tuple(unique.values()),
            novel,
            tuple(map(len, embeddings)),
            bias if bias.any() else None,
        )

    def load_text_encoder(self) -> None:
        """Load the text encoder now rather than at the first typed name."""
        with self._lock:
            self._load()

    def _load(self) -> tuple:
        if self._text_encoder is None:
            self._text_encoder = load_text_encoder(**self._text_encoder_args)
        return self._text_encoder

    def _encode(self, names: list[str]) -> list[ClassEmbeddings]:
        if self._text_encoder_args is None:
            raise ValueError(
                f'{", ".join(names)}: this model knows its own names only. Give it a text_encoder.'
            )
        # not cached on disk: typed names are often fragments of words
        vocabulary = Vocabulary(names)
        classifier = vocabulary.build_classifier(*self._load(), progress=False, cache=False)
        return _split_classes(classifier)


def _split_classes(classifier: TextClassifier) -> list[ClassEmbeddings]:
    """The embeddings of each class."""
    embeddings, counts = classifier.flat()
    sizes = counts.tolist()
    return list(zip(embeddings.split(sizes), classifier.flat_bias().split(sizes)))
